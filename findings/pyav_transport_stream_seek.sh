#!/usr/bin/env bash
# A seek in an MPEG transport stream ends inside a group of pictures.
#
# Expected: container.seek(pts) goes to the key frame at or before pts, as it
# does in MP4 and as backward=True suggests.
# What happens: it goes to the packet whose time is near pts, key frame or
# not. The decoder then waits for the next key frame, so that the frame asked
# for never comes: not one of 60. Even a seek to the time of frame 0 passes
# over the first key frame. Only a time before the first packet helps.
# Versions: PyAV 18.1.0 (FFmpeg 8.1.2); 2026-11-29.
# Why it matters: seek and then decode up to the time is the usual way to read
# a clip; here it ends with a frame of the next group or with nothing.
# Output seen:
#   frames reached by a seek to their time: 0
#   first frame out after a seek to 0, 5, 30, 59: [12, 12, 36, None]
#   after a seek to a second before the first frame: 0

set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install -qq --disable-pip-version-check \
    av==18.1.0 numpy==2.4.6
cd "$room"
venv/bin/python - <<'PY'
import sys

import av
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


encode('clip.ts', 'libx264', **{'x264-params': 'scenecut=0:keyint=12'})
check('frames played', in_order('clip.ts') == list(range(60)), True)
with av.open('clip.ts') as file:
    stream = file.streams.video[0]
    times = sorted(p.pts for p in file.demux(stream) if p.size)
    reached, first = 0, {}
    for k, time in enumerate(times):
        file.seek(time, stream=stream)
        frames = [number(frame.to_ndarray(format='rgb24'))
                  for frame in file.decode(stream)]
        reached += k in frames
        first[k] = frames[0] if frames else None
    check('frames reached by a seek to their time', reached, 0)
    check('first frame out after a seek to 0, 5, 30, 59',
          [first[k] for k in (0, 5, 30, 59)], [12, 12, 36, None])
    file.seek(times[0] - 90000, stream=stream)
    check('after a seek to a second before the first frame',
          number(next(file.decode(stream)).to_ndarray(format='rgb24')), 0)
PY
