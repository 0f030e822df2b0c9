#!/usr/bin/env bash
# Decord loses the first group of pictures of an MPEG transport stream.
#
# Expected: reading in order gives frames 0, 1, 2, ...
# What happens: the first frame is the 13th one, even in order: the first
# group is passed over, all numbers are 12 too high, and the last frame is
# repeated to fill the announced length.
# Versions: decord 0.6.0; file written by PyAV 18.1.0 (FFmpeg 8.1.2);
# 2026-11-29.
# Why it matters: recorded television, HLS segments and camera recordings are
# transport streams. Clips begin late, and the end is a still picture.
# Output seen:
#   libx264, decord in order, its first and last five: [12, 13, 14, 15, 16,
#     59, 59, 59, 59, 59]
#   libx264, times that decord repeats the last frame: 13
#   mpeg2video, decord in order, its first and last five: [12, 13, 14, 15,
#     16, 59, 59, 59, 59, 59]
#   mpeg2video, times that decord repeats the last frame: 13

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


for codec in ('libx264', 'mpeg2video'):
    options = {'x264-params': 'scenecut=0'} if codec == 'libx264' else {}
    encode('clip.ts', codec, b_frames=2, **options)
    check(f'{codec}, frames played', in_order('clip.ts') == list(range(60)),
          True)
    found = [number(f.asnumpy()) for f in decord.VideoReader('clip.ts')]
    check(f'{codec}, decord in order, its first and last five',
          found[:5] + found[-5:], [12, 13, 14, 15, 16] + 5 * [59])
    check(f'{codec}, times that decord repeats the last frame',
          found.count(59), 13)
PY
