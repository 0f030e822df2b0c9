#!/usr/bin/env bash
# OpenCV cannot go to the first frames of an MPEG transport stream.
#
# Expected: setting CAP_PROP_POS_FRAMES to 0 rewinds to the first frame.
# What happens: frame 0 gives frame 12, the first one of the second group of
# pictures, and 1 to 12 all give frame 13. From frame 13 on, and in order from
# the start, all is right. The position that OpenCV reports after set(5) is
# 12.
# Versions: OpenCV 5.0.0.93; file written by PyAV 18.1.0 (FFmpeg 8.1.2);
# 2026-11-29.
# Why it matters: a loop over a camera recording that rewinds by POS_FRAMES=0
# never sees the first half second again.
# Output seen:
#   OpenCV in order, first frame: 0
#   OpenCV asked for [0, 1, 5, 11, 12, 13, 14, 59]: [12, 13, 13, 13, 13, 13,
#     14, 59]
#   position it says after set(5): 12.0

set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install -qq --disable-pip-version-check \
    av==18.1.0 numpy==2.4.6 opencv-python-headless==5.0.0.93
cd "$room"
OPENCV_FFMPEG_LOGLEVEL=-8 venv/bin/python - <<'PY'
import sys

import av
import cv2
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


encode('clip.ts', 'libx264', **{'x264-params': 'scenecut=0:keyint=12'})
check('frames played', in_order('clip.ts') == list(range(60)), True)
capture = cv2.VideoCapture('clip.ts')
check('OpenCV in order, first frame', number(capture.read()[1]), 0)
found = []
for k in (0, 1, 5, 11, 12, 13, 14, 59):
    capture = cv2.VideoCapture('clip.ts')
    capture.set(cv2.CAP_PROP_POS_FRAMES, k)
    found.append(number(capture.read()[1]))
check('OpenCV asked for [0, 1, 5, 11, 12, 13, 14, 59]', found,
      [12, 13, 13, 13, 13, 13, 14, 59])
capture.set(cv2.CAP_PROP_POS_FRAMES, 5)
check('position it says after set(5)',
      capture.get(cv2.CAP_PROP_POS_FRAMES), 12.0)
PY
