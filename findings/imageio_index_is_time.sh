#!/usr/bin/env bash
# imageio's PyAV plugin takes a frame number for a time.
#
# Expected: imread(path, plugin="pyav", index=k) is the k-th frame of
# iterating over the file.
# What happens: the plugin computes a time from k and the average frame rate,
# and seeks there. With a varying frame rate, in AVI, in transport streams and
# with open groups of pictures it returns another frame, or raises
# StopIteration for a frame that exists. Only constant_framerate=False, which
# decodes from the start, is right. improps() counts 0 frames in Matroska.
# Versions: imageio 2.38.1 on PyAV 18.1.0 (FFmpeg 8.1.2); 2026-11-29.
# Why it matters: the call is the shortest way to take one frame out of a
# video, and it works on the first file that one tries.
# Output seen:
#   constant.mp4, asked for [26, 35, 59, 11, 2]: [26, 35, 59, 11, 2]
#   constant.mp4, with constant_framerate=False: [26, 35, 59, 11, 2]
#   varying.mp4, asked for [26, 35, 59, 11, 2]: [18, 27, 43, 11, 2]
#   varying.mp4, with constant_framerate=False: [26, 35, 59, 11, 2]
#   opengop.mp4, asked for [26, 35, 59, 11, 2]: [26, 36, 59, 12, 2]
#   opengop.mp4, with constant_framerate=False: [26, 35, 59, 11, 2]
#   clip.ts, asked for [26, 35, 59, 11, 2]: [36, 36, 'none', 12, 12]
#   clip.ts, with constant_framerate=False: [26, 35, 59, 11, 2]
#   clip.avi, asked for [26, 35, 59, 11, 2]: [25, 36, 'none', 12, 1]
#   clip.avi, with constant_framerate=False: [26, 35, 59, 11, 2]
#   frames of a Matroska file by improps: 0

set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install -qq --disable-pip-version-check \
    av==18.1.0 numpy==2.4.6 imageio==2.38.1
cd "$room"
venv/bin/python - <<'PY'
import sys

import av
import imageio.v3 as iio
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


picks = [26, 35, 59, 11, 2]


def read(path, **options):
    for k in picks:
        try:
            yield number(iio.imread(path, plugin='pyav', index=k, **options))
        except StopIteration:
            yield 'none'


def tries(*args, **options):
    return list(read(*args, **options))


varying = [k + 2 * ((k + 2) // 3) for k in range(60)]
x264 = 'scenecut=0:keyint=12:b-adapt=0:threads=1'
for path, codec, times, extra, recorded in (
        ('constant.mp4', 'libx264', None, '', picks),
        ('varying.mp4', 'libx264', varying, '', [18, 27, 43, 11, 2]),
        ('opengop.mp4', 'libx264', None, ':open-gop=1', [26, 36, 59, 12, 2]),
        ('clip.ts', 'libx264', None, '', [36, 36, 'none', 12, 12]),
        ('clip.avi', 'mpeg4', None, None, [25, 36, 'none', 12, 1])):
    options = {} if extra is None else {'x264-params': x264 + extra}
    encode(path, codec, times=times, **options)
    check(f'{path}, frames played', in_order(path) == list(range(60)), True)
    check(f'{path}, asked for {picks}', tries(path), recorded)
    check(f'{path}, with constant_framerate=False',
          tries(path, constant_framerate=False), picks)
encode('constant.mkv', 'libx264')
check('frames of a Matroska file by improps',
      iio.improps('constant.mkv', plugin='pyav').shape[0], 0)
PY
