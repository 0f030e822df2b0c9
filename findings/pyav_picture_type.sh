#!/usr/bin/env bash
# A decoded frame tells the next encoder which kind of picture to make.
#
# Expected: to encode a video again with a key frame every 8 frames
# (keyint=8, scenecut=0, no B-frames), decode it and hand each frame to
# libx264: the result has key frames at 0, 8, 16, ...
# What happens: a frame keeps the kind that it had in the source (pict_type), PyAV
# hands it to x264, and x264 makes key frames where the source had them: at 0, 8,
# 12 and 20. With frame.pict_type = PictureType.NONE they are at 0, 8 and 16.
# Output seen:
#   seen: source    IBBPBBPBBPBPIBBPBBPBBPBP
#   seen: kept      IPPPPPPPIPPPIPPPPPPPIPPP
#   seen: forgotten IPPPPPPPIPPPPPPPIPPPPPPP
# Versions: PyAV 18.1.0; 2026-11-29.
# Why it matters: who encodes a data set again for fast access to single frames
# gets other groups of pictures than planned, and is not told.
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
from av.video.frame import PictureType


def encode(path, frames, params):
    with av.open(path, 'w') as file:
        stream = file.add_stream('libx264', rate=25,
                                 options={'x264-params': params})
        stream.width, stream.height, stream.pix_fmt = 128, 64, 'yuv420p'
        for number, frame in enumerate(frames):
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def kinds(path):
    with av.open(path) as file:
        return ''.join('?IPB'[frame.pict_type]
                       for frame in file.decode(video=0))


def decoded(path, forget):
    with av.open(path) as file:
        for frame in file.decode(video=0):
            if forget:
                frame.pict_type = PictureType.NONE
            yield frame


rng = np.random.default_rng(0)
still = rng.integers(0, 255, (96, 128), dtype=np.uint8)
pictures = [av.VideoFrame.from_ndarray(np.roll(still, n, 1), 'yuv420p')
            for n in range(24)]
encode('source.mp4', pictures, 'keyint=12:min-keyint=12:scenecut=0:'
       'bframes=2:b-adapt=0:open-gop=0')
asked = 'keyint=8:min-keyint=8:scenecut=0:bframes=0'
encode('kept.mp4', decoded('source.mp4', False), asked)
encode('forgotten.mp4', decoded('source.mp4', True), asked)
found = {name: kinds(f'{name}.mp4')
         for name in ('source', 'kept', 'forgotten')}
for name, value in found.items():
    print(f'seen: {name:9} {value}')
wanted = 'IPPPPPPP' * 3
if (found['forgotten'] != wanted
        or found['kept'] != 'IPPPPPPPIPPPIPPPPPPPIPPP'):
    sys.exit('This has changed: see the comment at the top.')
PY
