#!/usr/bin/env bash
# OpenCV guesses the number of frames, and stops at the guess when it jumps.
#
# Expected: setting CAP_PROP_POS_FRAMES to k and reading gives frame k.
# What happens: in Matroska the count is duration times frame rate: 100 for 60
# frames of varying length, and in a program stream 55 for 60 frames of
# constant length. Late numbers give earlier frames, and numbers beyond a
# count that is too small all give the same frame. MP4, which stores the
# count, is right.
# Versions: OpenCV 5.0.0.93; files written by PyAV 18.1.0 (FFmpeg 8.1.2);
# 2026-11-29.
# Why it matters: phones and screen recorders vary the frame rate, and
# linspace(0, count - 1) then samples a video whose second half does not
# exist.
# Output seen:
#   varying.mp4, frame count of OpenCV: 60.0
#   varying.mp4, OpenCV asked for [4, 26, 35, 58, 59]: [4, 26, 35, 58, 59]
#   varying.mkv, frame count of OpenCV: 100.0
#   varying.mkv, OpenCV asked for [4, 26, 35, 58, 59]: [4, 26, 35, 42, 43]
#   constant.mpg, frame count of OpenCV: 55.0
#   constant.mpg, OpenCV asked for [4, 26, 35, 58, 59]: [4, 26, 35, 52, 52]

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


picks = [4, 26, 35, 58, 59]
times = [k + 2 * ((k + 2) // 3) for k in range(60)]


def jump(capture, k):
    capture.set(cv2.CAP_PROP_POS_FRAMES, k)
    there, frame = capture.read()
    return number(frame) if there else None


for path, codec, clock, count, found in (
        ('varying.mp4', 'libx264', times, 60.0, picks),
        ('varying.mkv', 'libx264', times, 100.0, [4, 26, 35, 42, 43]),
        ('constant.mpg', 'mpeg2video', None, 55.0, [4, 26, 35, 52, 52])):
    options = {'x264-params': 'scenecut=0:keyint=12'} if clock else {}
    encode(path, codec, times=clock, b_frames=2, **options)
    check(f'{path}, frames played', in_order(path) == list(range(60)), True)
    capture = cv2.VideoCapture(path)
    check(f'{path}, frame count of OpenCV',
          capture.get(cv2.CAP_PROP_FRAME_COUNT), count)
    check(f'{path}, OpenCV asked for {picks}',
          [jump(capture, k) for k in picks], found)
PY
