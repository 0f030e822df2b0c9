#!/usr/bin/env bash
# AV1: decord finds no video stream; OpenCV announces all frames and reads
# none.
#
# Expected: a reader that opens a file reads it, or says what is missing.
# What happens: decord's FFmpeg knows no AV1 and calls the stream absent.
# OpenCV's wheel has an AV1 decoder for graphics cards only: isOpened() is
# true, size and frame count are right, and read() returns False at once.
# Versions: decord 0.6.0; OpenCV 5.0.0.93; PyAV 18.1.0 (FFmpeg 8.1.2);
# 2026-11-29.
# Why it matters: data sets fetched from video sites since 2023 are partly
# AV1. A loop over read() takes such a file for an empty video.
# Output seen:
#   decord cannot find the stream: True
#   OpenCV opens it: True
#   frame count of OpenCV: 60.0
#   OpenCV reads a frame: False

set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install -qq --disable-pip-version-check \
    av==18.1.0 numpy==2.4.6 decord==0.6.0 opencv-python-headless==5.0.0.93
cd "$room"
SVT_LOG=0 OPENCV_FFMPEG_LOGLEVEL=-8 venv/bin/python - <<'PY'
import sys

import av
import cv2
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


encode('clip.mp4', 'libsvtav1', preset='8')
check('frames played', in_order('clip.mp4') == list(range(60)), True)
try:
    decord.VideoReader('clip.mp4')
except decord.DECORDError as error:
    check('decord cannot find the stream',
          'cannot find video stream' in str(error), True)
else:
    sys.exit('changed: decord opens AV1.')
capture = cv2.VideoCapture('clip.mp4')
check('OpenCV opens it', capture.isOpened(), True)
check('frame count of OpenCV', capture.get(cv2.CAP_PROP_FRAME_COUNT), 60.0)
check('OpenCV reads a frame', capture.read()[0], False)
PY
