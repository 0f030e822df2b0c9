#!/usr/bin/env bash
# XviD in AVI with packed B-frames: the encoder loses the last frames, OpenCV
# and decord lose their place.
#
# Expected: FFmpeg's libxvid encoder writes 60 frames for 60, and readers find
# frame k.
# What happens: with two B-frames 58 of 60 frames are stored, while the header
# says 60. B-frames are packed behind the picture they wait for, and an empty
# packet follows. OpenCV, asked for late frames, returns one up to two places
# earlier; decord returns the first frames again and again. Reading in order
# is right.
# Versions: FFmpeg of imageio-ffmpeg 0.8.1; OpenCV 5.0.0.93; decord 0.6.0;
# PyAV 18.1.0 (FFmpeg 8.1.2); 2026-11-29.
# Why it matters: UCF101 and its contemporaries are XviD in AVI. Who encodes
# such a file anew loses the end of the action.
# Output seen:
#   0 B-frames, frames played are 0 to 59: True
#   1 B-frames, frames played are 0 to 58: True
#   2 B-frames, frames played are 0 to 57: True
#   frame count of OpenCV: 60.0
#   OpenCV asked for [35, 34, 42, 27, 11, 2, 48]: [33, 32, 40, 25, 11, 2,
#     46]
#   decord asked for [35, 34, 42, 27, 11, 2, 48]: [0, 0, 0, 0, 1, 0, 0]

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


encode('source.mkv', 'ffv1')
for b_frames, stored in (('0', 60), ('1', 59), ('2', 58)):
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', '-i', 'source.mkv',
         *'-c:v libxvid -g 12 -q:v 3 -y -bf'.split(), b_frames, 'clip.avi'],
        check=True)
    check(f'{b_frames} B-frames, frames played are 0 to {stored - 1}',
          in_order('clip.avi') == list(range(stored)), True)
capture, picks = cv2.VideoCapture('clip.avi'), [35, 34, 42, 27, 11, 2, 48]
check('frame count of OpenCV', capture.get(cv2.CAP_PROP_FRAME_COUNT), 60.0)
found = []
for k in picks:
    capture.set(cv2.CAP_PROP_POS_FRAMES, k)
    found.append(number(capture.read()[1]))
check(f'OpenCV asked for {picks}', found, [33, 32, 40, 25, 11, 2, 46])
reader = decord.VideoReader('clip.avi')
check(f'decord asked for {picks}',
      [number(reader[k].asnumpy()) for k in picks], [0, 0, 0, 0, 1, 0, 0])
PY
