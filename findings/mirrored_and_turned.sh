#!/usr/bin/env bash
# Mirrored video is turned upside down by its readers; decord ignores rotation
# in Matroska.
#
# Expected: a reader that applies the display matrix shows what a player
# shows.
# What happens: a matrix that mirrors left and right is taken for a rotation
# by 180 degrees (PyAV's frame.rotation, decord, OpenCV), one that mirrors top
# and bottom for none at all. A rotation by 90 degrees is right everywhere in
# MP4; in Matroska decord leaves the picture lying. (Numbers: brightness of
# the quarters, row by row; FFmpeg shows what a player does.)
# Versions: PyAV 18.1.0 (FFmpeg 8.1.2); decord 0.6.0; OpenCV 5.0.0.93; FFmpeg
# of imageio-ffmpeg 0.8.1; 2026-11-29.
# Why it matters: front cameras of phones store mirrored video this way; left
# and right matter for actions, and upside down for everything.
# Output seen:
#   mirrored.mp4: FFmpeg, rotation by PyAV, decord, OpenCV: ('1 0 4 3',
#     -180, '4 3 1 0', '4 3 1 0')
#   flipped.mp4: FFmpeg, rotation by PyAV, decord, OpenCV: ('3 4 0 1', 0, '0
#     1 3 4', '0 1 3 4')
#   turned.mp4: FFmpeg, rotation by PyAV, decord, OpenCV: ('1 4 0 3', 90, '1
#     4 0 3', '1 4 0 3')
#   turned.mkv: FFmpeg, rotation by PyAV, decord, OpenCV: ('1 4 0 3', 90, '0
#     1 3 4', '1 4 0 3')

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



def check(what, seen, recorded):
    print(f'seen: {what}: {seen}')
    if seen != recorded:
        sys.exit(f'changed: {what} was {recorded}.')


def corners(rgb):
    """Where the four quarters of the picture ended up, by brightness."""
    h, w = rgb.shape[0] // 4, rgb.shape[1] // 4
    return ' '.join(str(int(rgb[y * h, x * w].mean() / 60 + .5))
                    for y in (1, 3) for x in (1, 3))


luma = np.kron([[16, 90], [160, 235]], np.ones((32, 64)))
start = np.vstack([luma, np.full((32, 128), 128)]).astype(np.uint8)
with av.open('plain.mp4', 'w') as file:
    stream = file.add_stream('libx264', rate=25)
    stream.width, stream.height = 128, 64
    for k in range(4):
        frame = av.VideoFrame.from_ndarray(start, 'yuv420p')
        frame.pts = k
        file.mux(stream.encode(frame))
    file.mux(stream.encode(None))
for path, turn, recorded in (
        ('mirrored.mp4', ['-display_hflip'],
         ('1 0 4 3', -180, '4 3 1 0', '4 3 1 0')),
        ('flipped.mp4', ['-display_vflip'],
         ('3 4 0 1', 0, '0 1 3 4', '0 1 3 4')),
        ('turned.mp4', ['-display_rotation', '90'],
         ('1 4 0 3', 90, '1 4 0 3', '1 4 0 3')),
        ('turned.mkv', ['-display_rotation', '90'],
         ('1 4 0 3', 90, '0 1 3 4', '1 4 0 3'))):
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', *turn,
                    '-i', 'plain.mp4', '-c', 'copy', path], check=True)
    player = imageio_ffmpeg.read_frames(path)
    size = next(player)['size']
    shown = np.frombuffer(next(player), np.uint8).reshape(*size[::-1], 3)
    player.close()
    with av.open(path) as file:
        rotation = next(file.decode(video=0)).rotation
    opencv = cv2.VideoCapture(path).read()[1]
    check(f'{path}: FFmpeg, rotation by PyAV, decord, OpenCV',
          (corners(shown), rotation,
           corners(decord.VideoReader(path)[0].asnumpy()), corners(opencv)),
          recorded)
PY
