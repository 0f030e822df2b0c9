#!/usr/bin/env bash
# Decord cannot jump in H.264 inside AVI.
#
# Expected: VideoReader(path)[k] is frame k, or an error is raised.
# What happens: asked for frame k, decord returns frame k modulo the distance
# of key frames: it counts from the key frame it wanted, and reads from the
# start of the file. There are no B-frames in this file. Reading in order is
# right.
# Versions: decord 0.6.0; file written by PyAV 18.1.0 (FFmpeg 8.1.2);
# 2026-11-29.
# Why it matters: many cameras write H.264 AVI; a clip from the middle
# silently becomes one from the first second.
# Output seen:
#   decord, asked for [26, 35, 59, 28, 11, 2, 34, 40, 22]: [2, 11, 11, 4,
#     11, 2, 10, 4, 10]

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


picks = [26, 35, 59, 28, 11, 2, 34, 40, 22]

encode('clip.avi', 'libx264', b_frames=0, **{'x264-params': 'scenecut=0'})
check('frames played', in_order('clip.avi') == list(range(60)), True)
reader = decord.VideoReader('clip.avi')
check('decord, in order, is right',
      [number(frame.asnumpy()) for frame in reader] == list(range(60)), True)
reader = decord.VideoReader('clip.avi')
check(f'decord, asked for {picks}',
      [number(reader[k].asnumpy()) for k in picks],
      [2, 11, 11, 4, 11, 2, 10, 4, 10])
PY
