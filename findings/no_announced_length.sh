#!/usr/bin/env bash
# Files that do not announce their length: decord refuses them, OpenCV counts
# below zero.
#
# Expected: a reader finds out how many frames there are by looking.
# What happens: live WebM (what a browser records), raw H.264, Ogg, IVF and
# GIF carry no number of frames or no duration of the stream. Decord cannot
# open any of them. OpenCV opens all; for live WebM and raw H.264 its frame
# count is a huge negative number, and asked for frame 30 it gives frame 0.
# Versions: decord 0.6.0; OpenCV 5.0.0.93; PyAV 18.1.0 (FFmpeg 8.1.2);
# imageio-ffmpeg 0.8.1 writes Ogg; 2026-11-29.
# Why it matters: range(int(capture.get(CAP_PROP_FRAME_COUNT))) is an empty
# loop for these files, and a sampler divides by a negative length.
# Output seen:
#   live.webm, frame count of OpenCV: -2.305843009213694e+17
#   live.webm, count of OpenCV is negative: True
#   live.webm, frame 30 of OpenCV: 0
#   raw.h264, frame count of OpenCV: -192153584101141.0
#   raw.h264, count of OpenCV is negative: True
#   raw.h264, frame 30 of OpenCV: 0
#   clip.ogv, frame count of OpenCV: 60.0
#   clip.ogv, count of OpenCV is negative: False
#   clip.ogv, frame 30 of OpenCV: 30
#   clip.ivf, frame count of OpenCV: 60.0
#   clip.ivf, count of OpenCV is negative: False
#   clip.ivf, frame 30 of OpenCV: 30
#   clip.gif, frame count of OpenCV: 60.0
#   clip.gif, count of OpenCV is negative: False
#   clip.gif, frame 30 of OpenCV: 30

set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install -qq --disable-pip-version-check \
    av==18.1.0 numpy==2.4.6 decord==0.6.0 \
    imageio-ffmpeg==0.8.1 opencv-python-headless==5.0.0.93
cd "$room"
OPENCV_FFMPEG_LOGLEVEL=-8 venv/bin/python - <<'PY'
import subprocess
import sys

import av
import cv2
import decord
import imageio_ffmpeg
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


def decord_opens(path):
    try:
        return bool(len(decord.VideoReader(path)))
    except decord.DECORDError as error:
        return 'Failed to measure duration' not in str(error)


encode('source.mkv', 'ffv1')
for path, options in (('live.webm', '-c:v libvpx-vp9 -live 1'),
                      ('raw.h264', '-c:v libx264 -g 12'),
                      ('clip.ogv', '-c:v libtheora'),
                      ('clip.ivf', '-c:v libvpx-vp9'),
                      ('clip.gif', '')):
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', '-i', 'source.mkv',
         *options.split(), path], check=True)
    check(f'{path}, frames played', in_order(path) == list(range(60)), True)
    check(f'{path}, decord opens it', decord_opens(path), False)
    capture = cv2.VideoCapture(path)
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    print(f'seen: {path}, frame count of OpenCV: {count}')
    check(f'{path}, count of OpenCV is negative', count < 0,
          path in ('live.webm', 'raw.h264'))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 30)
    there, frame = capture.read()
    check(f'{path}, frame 30 of OpenCV', there and number(frame),
          0 if path in ('live.webm', 'raw.h264') else 30)
PY
