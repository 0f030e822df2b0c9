#!/usr/bin/env bash
# Which decoders obey a discard level that changes from packet to packet.
#
# Expected: skip_frame="NONREF", set before a packet that is not wanted, drops
# its frame if no other needs it, for every codec that has such frames.
# What happens: H.264, HEVC, MPEG-2 and MPEG-4 obey at each packet, with one
# thread and with four, and wanted frames are bit for bit those of a full
# decode. VP9 and VP8 ignore it. AV1 (libdav1d) takes the level of the first
# packet for good: set to NONREF at the start, it also drops frames that were
# asked for later.
# Versions: PyAV 18.1.0 (FFmpeg 8.1.2); 2026-11-29.
# Why it matters: sparse sampling from long videos gets about twice as fast by
# this, and wrong for AV1.
# Output seen:
#   h264.mp4, 1 and 4 threads: fewer frames, wanted ones missing, the rest
#     is right: [(True, False, True), (True, False, True)]
#   h265.mp4, 1 and 4 threads: fewer frames, wanted ones missing, the rest
#     is right: [(True, False, True), (True, False, True)]
#   mpeg2.mkv, 1 and 4 threads: fewer frames, wanted ones missing, the rest
#     is right: [(True, False, True), (True, False, True)]
#   mpeg4.mp4, 1 and 4 threads: fewer frames, wanted ones missing, the rest
#     is right: [(True, False, True), (True, False, True)]
#   vp8.webm, 1 and 4 threads: fewer frames, wanted ones missing, the rest
#     is right: [(False, False, True), (False, False, True)]
#   vp9.webm, 1 and 4 threads: fewer frames, wanted ones missing, the rest
#     is right: [(False, False, True), (False, False, True)]
#   av1.mp4, 1 and 4 threads: fewer frames, wanted ones missing, the rest is
#     right: [(True, True, True), (True, True, True)]

set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install -qq --disable-pip-version-check \
    av==18.1.0 numpy==2.4.6
cd "$room"
SVT_LOG=0 venv/bin/python - <<'PY'
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


def check(what, seen, recorded):
    print(f'seen: {what}: {seen}')
    if seen != recorded:
        sys.exit(f'changed: {what} was {recorded}.')


def decode(path, wanted=None, threads=1):
    """Frames by their place; NONREF before every packet not wanted."""
    with av.open(path) as file:
        decoder = file.streams.video[0].codec_context
        decoder.thread_count = threads
        if threads > 1:
            decoder.thread_type = 'FRAME'
        packets = [p for p in file.demux(video=0) if p.size]
        rank = {t: k for k, t in enumerate(sorted(p.pts for p in packets))}
        found = {}
        for packet in [*packets, None]:
            if packet is not None and wanted is not None:
                decoder.skip_frame = (
                    'DEFAULT' if rank[packet.pts] in wanted else 'NONREF')
            for frame in decoder.decode(packet):
                found[rank[frame.pts]] = frame.to_ndarray()
        return found


wanted = {7, 18, 26, 33, 50, 51}
x264 = {'x264-params': 'scenecut=0:keyint=12:b-adapt=0:threads=1'}
x265 = {'x265-params': 'scenecut=0:keyint=12:b-adapt=0:log-level=none:'
                       'pools=1:frame-threads=1'}
for path, codec, options, fewer, lost in (
        ('h264.mp4', 'libx264', x264, True, False),
        ('h265.mp4', 'libx265', x265, True, False),
        ('mpeg2.mkv', 'mpeg2video', {}, True, False),
        ('mpeg4.mp4', 'mpeg4', {}, True, False),
        ('vp8.webm', 'libvpx', {}, False, False),
        ('vp9.webm', 'libvpx-vp9', {}, False, False),
        ('av1.mp4', 'libsvtav1', {'preset': '8'}, True, True)):
    encode(path, codec, **options)
    full = decode(path)
    results = []
    for threads in (1, 4):
        found = decode(path, wanted, threads)
        results.append((
            len(found) < len(full), bool(wanted - found.keys()),
            all(np.array_equal(found[k], full[k]) for k in found)))
    check(f'{path}, 1 and 4 threads: fewer frames, wanted ones missing, '
          'the rest is right', results, 2 * [(fewer, lost, True)])
PY
