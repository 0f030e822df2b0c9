#!/usr/bin/env bash
# Decord counts VP8 frames that are never shown.
#
# Expected: len() is the number of frames that a player shows.
# What happens: two-pass VP8 stores pictures that are only referred to
# (alternate references), each in a packet of its own. Decord counts these
# packets, so len() is too large and numbers after a jump are late by as many.
# The packets of PyAV are more than its frames, and neither says which are
# hidden (a bit in the packet does).
# Versions: decord 0.6.0; PyAV 18.1.0 (FFmpeg 8.1.2); file written by the
# FFmpeg of imageio-ffmpeg 0.8.1; 2026-11-29.
# Why it matters: WebM copies of web videos are VP8 files of this kind.
# Output seen:
#   packets, of them hidden: (124, 4)
#   len of decord: 124
#   decord asked for [10, 100, 70, 30, 110]: [10, 98, 68, 30, 108]

set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install -qq --disable-pip-version-check \
    av==18.1.0 numpy==2.4.6 decord==0.6.0 imageio-ffmpeg==0.8.1
cd "$room"
venv/bin/python - <<'PY'
import subprocess
import sys

import av
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


encode('source.mkv', 'ffv1', frames=120)
for number_of_pass in '12':
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', '-i', 'source.mkv',
         *'-c:v libvpx -b:v 300k -auto-alt-ref 1 -lag-in-frames 25 -g 60'
         ' -threads 1 -pass'.split(), number_of_pass, '-y', 'clip.webm'],
        check=True)
check('frames played', in_order('clip.webm') == list(range(120)), True)
with av.open('clip.webm') as file:
    packets = [packet for packet in file.demux(video=0) if packet.size]
hidden = sum(not bytes(packet)[0] & 16 for packet in packets)
check('packets, of them hidden', (len(packets), hidden), (124, 4))
reader = decord.VideoReader('clip.webm')
check('len of decord', len(reader), 124)
picks = [10, 100, 70, 30, 110]
check(f'decord asked for {picks}',
      [number(reader[k].asnumpy()) for k in picks], [10, 98, 68, 30, 108])
PY
