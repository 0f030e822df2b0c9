#!/usr/bin/env bash
# Three readers give three answers for 10-bit video; for 8 bits all agree.
#
# Expected: readers that agree bit for bit on 8-bit video differ by rounding
# at most on 10-bit video.
# What happens: the means of PyAV, decord and OpenCV are up to two levels
# apart on the same H.264 file of 10 bits, single pixels more. On the same
# picture in 8 bits they are equal in every pixel, whether PyAV interpolates
# by its default or bicubically.
# Versions: PyAV 18.1.0 (FFmpeg 8.1.2); decord 0.6.0; OpenCV 5.0.0.93;
# 2026-11-29.
# Why it matters: a model trained with one reader and served with another sees
# a shift of brightness on HDR and phone videos only.
# Output seen:
#   8 bits: all equal to PyAV: ['PyAV', 'PyAV bicubic', 'decord', 'OpenCV']
#   10 bits: mean of R, G, B by PyAV: [125.9  124.68  93.75]
#   10 bits: mean of R, G, B by PyAV bicubic: [125.97 124.65  93.7 ]
#   10 bits: mean of R, G, B by decord: [126.68 124.1   94.57]
#   10 bits: mean of R, G, B by OpenCV: [127.59 124.42  95.17]
#   10 bits: more than half a level apart: ['decord and PyAV', 'decord and
#     PyAV bicubic', 'OpenCV and PyAV', 'OpenCV and PyAV bicubic', 'OpenCV
#     and decord']
#   10 bits: means of red 1 to 2.5 levels apart: True

set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install -qq --disable-pip-version-check \
    av==18.1.0 numpy==2.4.6 decord==0.6.0 opencv-python-headless==5.0.0.93
cd "$room"
OPENCV_FFMPEG_LOGLEVEL=-8 venv/bin/python - <<'PY'
import sys

import av
import cv2
import decord
import numpy as np

decord.logging.set_level(decord.logging.QUIET)



def check(what, seen, recorded):
    print(f'seen: {what}: {seen}')
    if seen != recorded:
        sys.exit(f'changed: {what} was {recorded}.')


def write(path, layout):
    y, x = np.mgrid[:64, :128]
    picture = np.stack([x * 2, y * 4, (x + y) % 256], 2).astype(np.uint8)
    options = {'crf': '1', 'x264-params': 'threads=1'}
    with av.open(path, 'w') as file:
        stream = file.add_stream('libx264', rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 64, layout
        for k in range(4):
            frame = av.VideoFrame.from_ndarray(picture, 'rgb24')
            frame.pts = k
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def read(path):
    with av.open(path) as file:
        frame = next(file.decode(video=0))
        yield 'PyAV', frame.to_ndarray(format='rgb24')
        yield 'PyAV bicubic', frame.reformat(
            format='rgb24', interpolation='BICUBIC', threads=1).to_ndarray()
    yield 'decord', decord.VideoReader(path)[0].asnumpy()
    yield 'OpenCV', cv2.VideoCapture(path).read()[1][..., ::-1]


write('eight.mp4', 'yuv420p')
write('ten.mp4', 'yuv420p10le')
eight = dict(read('eight.mp4'))
check('8 bits: all equal to PyAV', [name for name, rgb in eight.items()
      if np.array_equal(rgb, eight['PyAV'])], list(eight))
ten = dict(read('ten.mp4'))
for name, rgb in ten.items():
    print(f'seen: 10 bits: mean of R, G, B by {name}:',
          rgb.mean((0, 1)).round(2))
names = list(ten)
apart = [f'{a} and {b}' for k, a in enumerate(names) for b in names[:k]
         if np.abs(ten[a].astype(int) - ten[b]).mean() > .5]
check('10 bits: more than half a level apart', apart,
      ['decord and PyAV', 'decord and PyAV bicubic', 'OpenCV and PyAV',
       'OpenCV and PyAV bicubic', 'OpenCV and decord'])
red = [float(rgb[..., 0].mean()) for rgb in ten.values()]
check('10 bits: means of red 1 to 2.5 levels apart',
      1 < max(red) - min(red) < 2.5, True)
PY
