#!/usr/bin/env bash
# Jumps in HEVC and H.264 with open groups of pictures lose the frames before
# the key frame: PyAV never delivers them, decord counts wrong.
#
# Expected: after container.seek(pts) the frame of that time comes out;
# decord[k] is frame k.
# What happens: in MP4 a seek may land on a key frame whose leading frames,
# shown before it and stored behind it, are the target. They refer to the
# group before and are dropped, so the target never comes. Decord counts what
# comes out from the key frame on and is up to three frames late. In Matroska
# PyAV lands one group earlier, and all is well.
# Versions: PyAV 18.1.0 (FFmpeg 8.1.2); decord 0.6.0; 2026-11-29.
# Why it matters: open groups are x265's default and what phones, broadcasters
# and many HEVC copies of data sets use.
# Output seen:
#   h265.mp4, PyAV loses after a seek: [9, 10, 11, 21, 22, 23, 33, 34, 35,
#     45, 46, 47]
#   h265.mp4, decord asked for [40, 21, 35, 45, 46]: [40, 24, 38, 48, 49]
#   h265.mkv, PyAV loses after a seek: []
#   h264.mp4, PyAV loses after a seek: [9, 10, 11, 21, 22, 23, 33, 34, 35,
#     45, 46, 47]
#   h264.mp4, decord asked for [40, 21, 35, 45, 46]: [40, 24, 38, 48, 49]

set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install -qq --disable-pip-version-check \
    av==18.1.0 numpy==2.4.6 decord==0.6.0
cd "$room"
venv/bin/python - <<'PY'
import sys

import av
import decord
import numpy as np

decord.logging.set_level(decord.logging.QUIET)


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


def lost(path):
    """Frames that do not come out behind a seek to their own time."""
    with av.open(path) as file:
        stream = file.streams.video[0]
        times = sorted(p.pts for p in file.demux(stream) if p.size)
        missed = []
        for k, time in enumerate(times):
            file.seek(time, stream=stream)
            if all(frame.pts != time for frame in file.decode(stream)):
                missed.append(k)
        return missed


groups = 'keyint=12:min-keyint=12:scenecut=0:bframes=3:b-adapt=0:'
x265 = {'x265-params': groups + 'log-level=none:pools=1:frame-threads=1'}
x264 = {'x264-params': groups + 'open-gop=1'}
leading = [9, 10, 11, 21, 22, 23, 33, 34, 35, 45, 46, 47]
for path, codec, options, recorded, returned in (
        ('h265.mp4', 'libx265', x265, leading, [40, 24, 38, 48, 49]),
        ('h265.mkv', 'libx265', x265, [], None),
        ('h264.mp4', 'libx264', x264, leading, [40, 24, 38, 48, 49])):
    encode(path, codec, **options)
    check(f'{path}, frames played', in_order(path) == list(range(60)), True)
    check(f'{path}, PyAV loses after a seek', lost(path), recorded)
    if returned:
        reader = decord.VideoReader(path)
        check(f'{path}, decord asked for [40, 21, 35, 45, 46]',
              [number(reader[k].asnumpy()) for k in (40, 21, 35, 45, 46)],
              returned)
PY
