#!/usr/bin/env bash
# imageio-ffmpeg counts 60 frames and delivers 100.
#
# Expected: read_frames() yields as many frames as count_frames_and_secs()
# says.
# What happens: where the frame rate varies, the count is that of the frames
# stored, while the frames come from FFmpeg's program at a constant rate: long
# frames are repeated. Frame k of the one is not frame k of the other.
# Versions: imageio-ffmpeg 0.8.1; file written by PyAV 18.1.0 (FFmpeg 8.1.2);
# 2026-11-29.
# Why it matters: indices sampled by the count reach the first 60 % of the
# frames delivered, and features of repeated frames weigh double.
# Output seen:
#   varying.mp4, counted: (60, 4.0)
#   varying.mp4, delivered: 100
#   varying.mp4, distinct among them: 60
#   varying.mp4, number 59 is a frame around 35: True
#   varying.mkv, counted: (60, 4.0)
#   varying.mkv, delivered: 100
#   varying.mkv, distinct among them: 60
#   varying.mkv, number 59 is a frame around 35: True

set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install -qq --disable-pip-version-check \
    av==18.1.0 numpy==2.4.6 imageio-ffmpeg==0.8.1
cd "$room"
venv/bin/python - <<'PY'
import sys

import av
import imageio_ffmpeg
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


times = [k + 2 * ((k + 2) // 3) for k in range(60)]
for path in ('varying.mp4', 'varying.mkv'):
    encode(path, 'libx264', times=times)
    check(f'{path}, frames played', in_order(path) == list(range(60)), True)
    check(f'{path}, counted',
          imageio_ffmpeg.count_frames_and_secs(path), (60, 4.0))
    frames = imageio_ffmpeg.read_frames(path)
    width, height = next(frames)['size']
    found = [number(np.frombuffer(data, np.uint8).reshape(height, width, 3))
             for data in frames]
    check(f'{path}, delivered', len(found), 100)
    check(f'{path}, distinct among them', len(set(found)), 60)
    check(f'{path}, number 59 is a frame around 35',
          found[59] in (34, 35), True)
PY
