#!/usr/bin/env bash
# A player crops Matroska video; PyAV, decord and OpenCV show the part that is
# cut off.
#
# Expected: the size of a frame is the one that the file asks to be shown.
# What happens: the header of this file hides 32 columns on the left
# (PixelCropLeft). FFmpeg's program, and imageio-ffmpeg with it, crops to
# 96x64 while it warns that the source is 128x64. The libraries return 128x64,
# hidden columns included, and PyAV gives no hint: cropping is not among the
# side data of a frame.
# Versions: PyAV 18.1.0 (FFmpeg 8.1.2); decord 0.6.0; OpenCV 5.0.0.93;
# imageio-ffmpeg 0.8.1; 2026-11-29.
# Why it matters: tools that remux without encoding remove black bars by this
# header; boxes annotated in a player are then off by the bar.
# Output seen:
#   places for the field: 1
#   FFmpeg shows: (96, 64)
#   PyAV returns: (128, 64)
#   PyAV tells of cropping: False
#   decord returns: (128, 64)
#   OpenCV returns: (128, 64)

set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
"$room/venv/bin/pip" install -qq --disable-pip-version-check \
    av==18.1.0 numpy==2.4.6 decord==0.6.0 \
    imageio-ffmpeg==0.8.1 opencv-python-headless==5.0.0.93
cd "$room"
OPENCV_FFMPEG_LOGLEVEL=-8 venv/bin/python - <<'PY'
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


def check(what, seen, recorded):
    print(f'seen: {what}: {seen}')
    if seen != recorded:
        sys.exit(f'changed: {what} was {recorded}.')


encode('whole.mp4', 'libx264')
with av.open('whole.mp4') as source, av.open(
        'whole.mkv', 'w', options={'write_crc32': '0'}) as file:
    stream = file.add_stream_from_template(source.streams.video[0])
    for packet in source.demux(video=0):
        if packet.dts is not None:
            packet.stream = stream
            file.mux(packet)
with open('whole.mkv', 'rb') as file:
    data = file.read()
# An optional field, DisplayUnit, makes room for PixelCropLeft = 32.
unit, crop = b'\x54\xb2\x81\x04', b'\x54\xcc\x81\x20'
check('places for the field', data.count(unit), 1)
with open('cropped.mkv', 'wb') as file:
    file.write(data.replace(unit, crop))
player = imageio_ffmpeg.read_frames('cropped.mkv')
check('FFmpeg shows', next(player)['size'], (96, 64))
player.close()
with av.open('cropped.mkv') as file:
    frame = next(file.decode(video=0))
    check('PyAV returns', (frame.width, frame.height), (128, 64))
    names = [data.type.name for data in frame.side_data]
    check('PyAV tells of cropping', any('CROP' in n for n in names), False)
check('decord returns', decord.VideoReader('cropped.mkv')[0].shape[1::-1],
      (128, 64))
check('OpenCV returns', cv2.VideoCapture('cropped.mkv').read()[1].shape[1::-1],
      (128, 64))
PY
