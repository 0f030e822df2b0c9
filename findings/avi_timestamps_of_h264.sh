#!/usr/bin/env bash
# H.264 with B-frames in AVI: the pictures come in order, their timestamps do
# not.
#
# Expected: frames come out of the decoder in ascending order of pts.
# What happens: AVI stores no times, so FFmpeg makes up one for each packet in
# the order of storage, and a reordered frame keeps the time of its packet.
# Sorting by pts shuffles the video, and waiting for pts >= target stops at a
# wrong frame. MPEG-4 in AVI is only one frame late.
# Versions: PyAV 18.1.0 (FFmpeg 8.1.2); 2026-11-29.
# Why it matters: clip readers choose frames by pts, as the documentation of
# most libraries advises.
# Output seen:
#   h264.avi, pictures in order: True
#   h264.avi, first timestamps of frames: [1, 4, 3, 5, 2, 8, 7, 9]
#   mpeg4.avi, pictures in order: True
#   mpeg4.avi, first timestamps of frames: [1, 2, 3, 4, 5, 6, 7, 8]

set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install -qq --disable-pip-version-check \
    av==18.1.0 numpy==2.4.6
cd "$room"
venv/bin/python - <<'PY'
import sys

import av
import numpy as np


def picture(number):
    """Yuv420p: eight blocks spell the number in black and white."""
    bits = np.array([16 + 219 * (number >> bit & 1) for bit in range(8)])
    luma = np.kron(bits.reshape(2, 4), np.ones((32, 32)))
    return np.vstack([luma, np.full((32, 128), 128)]).astype(np.uint8)


def number(rgb):
    return sum(int(rgb[16 + bit // 4 * 32, 16 + bit % 4 * 32, 0] > 125) << bit
               for bit in range(8))


def encode(path, codec, frames=60, times=None, b_frames=3, **options):
    with av.open(path, 'w') as file:
        stream = file.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.gop_size = 128, 64, 12
        stream.max_b_frames = b_frames
        for k in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(k), 'yuv420p')
            frame.pts = k if times is None else times[k]
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def in_order(path):
    with av.open(path) as file:
        return [number(frame.to_ndarray(format='rgb24'))
                for frame in file.decode(video=0)]


def check(what, seen, recorded):
    print(f'seen: {what}: {seen}')
    if seen != recorded:
        sys.exit(f'changed: {what} was {recorded}.')


for path, codec, options, recorded in (
        ('h264.avi', 'libx264', {'x264-params': 'scenecut=0:keyint=12:'
                                 'b-adapt=0:threads=1'},
         [1, 4, 3, 5, 2, 8, 7, 9]),
        ('mpeg4.avi', 'mpeg4', {}, [1, 2, 3, 4, 5, 6, 7, 8])):
    encode(path, codec, **options)
    check(f'{path}, pictures in order', in_order(path) == list(range(60)),
          True)
    with av.open(path) as file:
        times = [frame.pts for frame in file.decode(video=0)]
    check(f'{path}, first timestamps of frames', times[:8], recorded)
PY
