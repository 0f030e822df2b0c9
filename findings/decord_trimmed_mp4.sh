#!/usr/bin/env bash
# Decord on an MP4 that was cut without encoding: wrong length, and numbers
# whose meaning depends on what was read before.
#
# Expected: len() counts the frames that a player shows, and [k] is the k-th
# of them.
# What happens: an edit list hides the frames between the key frame and the
# cut. Decord counts them, leaves them out when it reads in order (and repeats
# the last frame instead), and counts them when it jumps: the same number
# gives two pictures. PyAV's stream.frames and OpenCV's frame count include
# the hidden frames, too; what they decode does not.
# Versions: decord 0.6.0; OpenCV 5.0.0.93; PyAV 18.1.0 (FFmpeg 8.1.2);
# imageio-ffmpeg 0.8.1 cuts; 2026-11-29.
# Why it matters: most annotated data sets are cut this way out of longer
# videos.
# Output seen:
#   stream.frames of PyAV: 60
#   frame count of OpenCV: 60.0
#   len of decord: 60
#   decord in order, numbers 0, 33 and 59: [5, 38, 59]
#   times that decord repeats the last frame: 6
#   decord after jumps, numbers 45, 33, 0 and 2: [45, 33, 5, 7]

set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install -qq --disable-pip-version-check \
    av==18.1.0 numpy==2.4.6 decord==0.6.0 \
    imageio-ffmpeg==0.8.1 opencv-python-headless==5.0.0.93
cd "$room"
venv/bin/python - <<'PY'
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


encode('long.mp4', 'libx264', **{'x264-params': 'scenecut=0:keyint=12'})
subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', '-ss', '0.2',
                '-i', 'long.mp4', '-c', 'copy', 'cut.mp4'], check=True)
check('frames played', in_order('cut.mp4') == list(range(5, 60)), True)
with av.open('cut.mp4') as file:
    check('stream.frames of PyAV', file.streams.video[0].frames, 60)
check('frame count of OpenCV', cv2.VideoCapture('cut.mp4').get(
    cv2.CAP_PROP_FRAME_COUNT), 60.0)
reader = decord.VideoReader('cut.mp4')
check('len of decord', len(reader), 60)
found = [number(frame.asnumpy()) for frame in reader]
check('decord in order, numbers 0, 33 and 59', found[::33] + found[-1:],
      [5, 38, 59])
check('times that decord repeats the last frame', found.count(59), 6)
reader = decord.VideoReader('cut.mp4')
check('decord after jumps, numbers 45, 33, 0 and 2',
      [number(reader[k].asnumpy()) for k in (45, 33, 0, 2)],
      [45, 33, 5, 7])
PY
