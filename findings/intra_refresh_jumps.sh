#!/usr/bin/env bash
# H.264 with periodic intra refresh: its "key frames" show nothing for a
# while, and decord takes later frames for the ones asked for.
#
# Expected: decoding from a packet that is marked as a key frame shows that
# frame.
# What happens: a recovery point is marked as a key frame, in MP4, too. The
# decoder starts there and holds back every frame until the picture is whole,
# here for six frames. After a seek by PyAV these frames never come; decord
# counts the first that comes as the key frame and is six frames late without
# an error.
# Versions: PyAV 18.1.0 (FFmpeg 8.1.2); decord 0.6.0; 2026-11-29.
# Why it matters: game streams, screen recordings and video calls use intra
# refresh, and so do data sets made of them.
# Output seen:
#   marked as key frames: [0, 24, 48]
#   first frame after a seek to frame 25 by PyAV: 30
#   decord, asked for [26, 35, 28, 11, 40]: [32, 41, 34, 11, 40]

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


options = {'x264-params': 'intra-refresh=1:keyint=24:scenecut=0:threads=1'}
encode('clip.mp4', 'libx264', b_frames=0, **options)
check('frames played', in_order('clip.mp4') == list(range(60)), True)
with av.open('clip.mp4') as file:
    stream = file.streams.video[0]
    packets = [packet for packet in file.demux(stream) if packet.size]
    check('marked as key frames', [k for k, packet in enumerate(packets)
                                   if packet.is_keyframe], [0, 24, 48])
    file.seek(packets[25].pts, stream=stream)
    frames = [number(frame.to_ndarray(format='rgb24'))
              for frame in file.decode(stream)]
    check('first frame after a seek to frame 25 by PyAV', frames[0], 30)
reader = decord.VideoReader('clip.mp4')
check('decord, asked for [26, 35, 28, 11, 40]',
      [number(reader[k].asnumpy()) for k in (26, 35, 28, 11, 40)],
      [32, 41, 34, 11, 40])
PY
