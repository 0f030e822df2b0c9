"""Which packet of a stream holds the k-th frame that a player shows.

A file stores its packets in the order in which they are decoded. Frames that
are predicted from later ones (B-frames) are stored behind those, and some
packets hold nothing to see. This module finds the order of presentation from
the packets alone, without decoding, and says so where that is impossible::

    packets (demuxed once) --> numbers 0, 1, ... in order of decoding
        codec without reordering     --> the order of decoding
        MPEG-1, MPEG-2, MPEG-4 Visual --> the types of their pictures
        true timestamps              --> ascending timestamps
        none of these                --> unknown: the decoder has to tell

MPEG types come before timestamps because AVI has none and because program
streams stamp some of their pictures only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

__all__ = ['MPEG', 'TRUE_TIMES', 'Packet', 'find_order', 'find_starts', 'note']

#: Codecs that show frames in the order in which they decode them. Those of
#: AVI matter most: its timestamps are made up.
_NO_REORDERING = frozenset((
    'av1', 'vp8', 'vp9', 'mjpeg', 'prores', 'dnxhd', 'dvvideo', 'ffv1',
    'huffyuv', 'ffvhuff', 'utvideo', 'magicyuv', 'rawvideo', 'png', 'gif',
    'msmpeg4v1', 'msmpeg4v2', 'msmpeg4v3', 'wmv1', 'wmv2', 'h263', 'h263p',
    'flv1', 'cinepak', 'svq1', 'theora', 'vp6', 'vp6f', 'jpeg2000',
    'indeo3', 'indeo5'))
#: Codecs whose pictures say of which kind they are, and may repeat others.
MPEG = frozenset(('mpeg1video', 'mpeg2video', 'mpeg4'))
#: Demuxers whose timestamps are those that the writer meant.
TRUE_TIMES = frozenset(('mov,mp4,m4a,3gp,3g2,mj2', 'matroska,webm',
                         'mpegts', 'mpeg', 'flv', 'nut', 'mxf', 'gxf'))
#: Bytes of the largest packet that holds no picture of its own in MPEG-4;
#: FFmpeg draws the line there, too.
_EMPTY_VOP = 19
#: How far into a packet its picture's header is looked for, in bytes.
_HEAD = 1 << 16


@dataclass(slots=True)
class Packet:
    """What is kept of a packet of the stream.

    Args:
        pts (int | None): When it is shown, in the stream's time base.
        duration (int): How long, in the same unit; 0 if unknown.
        key (bool): Whether decoding can start with it.
        shown (bool): Whether a frame comes out of it; the container says no
            where an edit list hides a frame, the codec where it only stores
            a reference.
        kind (str): ``'I'``, ``'P'`` or ``'B'`` for MPEG; else empty.
        place (tuple): Position, timestamp and size: what tells it from
            every other packet.
    """

    pts: int | None
    duration: int
    key: bool
    shown: bool
    kind: str
    place: tuple[int | None, int | None, int]


def note(packet: Any, codec: str) -> Packet:
    """Note what matters of a packet.

    Args:
        packet (Any): Of PyAV, not empty.
        codec (str): FFmpeg's name of the codec.

    Returns:
        Packet: Without its data.
    """
    shown, kind = not packet.is_discard, ''
    if codec in MPEG:
        kind = _picture_kind(memoryview(packet)[:_HEAD].tobytes(), codec)
    elif codec == 'vp8':
        # RFC 6386, section 9.1: the fifth bit of a frame is show_frame.
        shown = shown and bool(memoryview(packet)[0] & 0x10)
    return Packet(packet.pts, packet.duration or 0, packet.is_keyframe,
                  shown, kind, (packet.pos, packet.dts, packet.size))


def _picture_kind(data: bytes, codec: str) -> str:
    """Kinds of the pictures that start in a packet.

    MPEG-1 (ISO/IEC 11172-2, 2.4.3.4) and MPEG-2 (13818-2, 6.2.3): three bits
    behind the ten of temporal_reference. MPEG-4 Visual (14496-2, 6.2.5): two
    bits; DivX packs two pictures into one packet.
    """
    kinds = ''
    start = data.find(b'\x00\x00\x01')
    while 0 <= start < len(data) - 5:
        code = data[start + 3]
        if codec == 'mpeg4' and code == 0xB6:
            kinds += 'IPBS'[data[start + 4] >> 6]
        elif codec != 'mpeg4' and code == 0x00:
            # A second field of a picture is no second frame.
            return '?IPBD???'[(data[start + 5] >> 3) & 7]
        start = data.find(b'\x00\x00\x01', start + 3)
    return kinds


def find_order(packets: Sequence[Packet], codec: str, container: str,
               reorders: bool = False) -> list[int] | None:
    """Numbers of the packets in the order in which they are shown.

    Args:
        packets (Sequence[Packet]): In the order of decoding. Those of MPEG
            that no decoding can start with lose their mark as key frames.
        codec (str): FFmpeg's name of the codec.
        container (str): FFmpeg's name of the demuxer.
        reorders (bool): Whether the stream says that frames are shown in
            another order than they are decoded in.

    Returns:
        list[int] | None: All numbers, also those of packets that are not
        shown; ``None`` if the packets do not tell.
    """
    if codec in _NO_REORDERING:
        return list(range(len(packets)))
    if codec in MPEG:
        return _order_by_kind(packets)
    if container in TRUE_TIMES:
        return _order_by_time(packets, reorders)
    return None


def _order_by_kind(packets: Sequence[Packet]) -> list[int] | None:
    """B-pictures are shown at once, others when the next one has come.

    DivX and XviD put a B-picture behind the one it waits for, into the same
    packet. FFmpeg decodes one picture for each packet, so those that follow
    come out one packet late, until a packet that holds nothing makes up.
    Decoding can start at an I-picture for which no other waits; writers call
    packets behind it key frames, too.
    """
    order: list[int] = []
    held: list[int] = []
    waiting = ''
    for number, packet in enumerate(packets):
        packet.key = packet.key and not waiting and packet.kind[:1] == 'I'
        if packet.place[2] > _EMPTY_VOP:
            waiting += packet.kind
        kind, waiting = waiting[:1], waiting[1:]
        if not kind or kind not in 'IPBS' or len(waiting) > 1:
            return None  # a packet that shows nothing, or is damaged
        if kind == 'B':
            order.append(number)
        else:
            order += held
            held = [number]
    # One that waits for a packet behind the last one never comes out.
    return order + held


def _order_by_time(packets: Sequence[Packet],
                   reorders: bool) -> list[int] | None:
    """Ascending timestamps, if they can be believed.

    Where the decoder reorders frames and the timestamps do not, a muxer may
    have stamped packets one after the other.
    """
    times = [packet.pts for packet in packets if packet.pts is not None]
    clock = [packet.place[1] for packet in packets
             if packet.place[1] is not None]
    if (len(times) < len(packets) or len(set(times)) < len(times)
            or any(a > b for a, b in pairwise(clock))):
        return None
    order = sorted(range(len(times)), key=times.__getitem__)
    if reorders and len(times) > 2 and order == list(range(len(times))):
        return None
    return order


def find_starts(packets: Sequence[Packet], order: Sequence[int]) -> list[int]:
    """The packet from which each packet can be decoded.

    That is the last key frame before it, in the order of decoding and in
    that of presentation: frames that follow a key frame in the file and are
    shown before it (open groups of pictures) need the group before, too.

    Args:
        packets (Sequence[Packet]): In the order of decoding.
        order (Sequence[int]): Their numbers in the order of presentation.

    Returns:
        list[int]: One number for each packet, 0 where no key frame is.
    """
    rank = [0] * len(packets)
    for place, number in enumerate(order):
        rank[number] = place
    found: list[int] = []
    keys: list[int] = []
    for number, packet in enumerate(packets):
        if packet.key:
            keys.append(number)
        found.append(next((key for key in reversed(keys)
                           if rank[key] <= rank[number]), 0))
    return found
