"""Read any frames of a video file, those and no others.

Frame ``k`` is the k-th frame that a player shows, whatever the container, the
codec, edit lists, start times and frame rates. The path of a file::

    open --> best video stream --> all its packets, demuxed once
        --> order of presentation (packets.py), or "the decoder has to tell"
    frames asked for --> their packets --> runs from a key frame each
        --> decoder, told before each packet whether its frame is wanted
        --> pictures (pictures.py) of the wanted ones, each once

A decoded frame is known by the number of the packet that it came from, never
by counting or by a timestamp of the container; a frame that does not come out
of a run is looked for from the start of the file. So a frame that the file
calls a key frame and that is none costs time, and does not give another frame.
"""

import errno
import io
import os
import sys
import time
from collections import deque
from collections.abc import (
    Collection,
    Container,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import chain, pairwise
from typing import Any

import numpy as np

from .damage import (
    REMEDY,
    BrokenVideoError,
    Source,
    find_damage,
    first_line,
    is_system_fault,
)
from .packets import MPEG, TRUE_TIMES, Packet, find_order, find_starts, note
from .pictures import Painter

__all__ = ['VideoReader', 'check_seconds', 'identify']

#: Compressed bytes that are kept between counting and decoding, so that most
#: clips are read from disk once.
_KEPT = 1 << 25
#: Bytes that a packet takes beside its own.
_OVERHEAD = 1 << 10
#: Bytes between two places of a file that are worth a jump instead of reading.
_JUMP = 1 << 23
#: Packets of interlaced H.264 that are decoded to see whether each is a
#: whole frame or one field of it.
_FIELDS_PROBE = 8

#: What holds videos, as FFmpeg calls it. Playlists, pictures, scripts and
#: text, which it would open too, are no videos.
_CONTAINERS = (
    'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,'
    'asf,ogg,nut,mxf,gxf,ivf,obu,h264,hevc,vvc,m4v,h263,mjpeg,dv,rm,wtv,gif,'
    'yuv4mpegpipe,vc1,vc1test')
#: Containers in which a seek ends near a place, if not at it.
_SEEKING = frozenset(('mov,mp4,m4a,3gp,3g2,mj2', 'matroska,webm', 'mpegts'))
#: Containers of broadcasts, which play on after what did not arrive.
_LOSSY = frozenset(('mpegts', 'mpeg'))
#: FFmpeg's AV_FIELD_PROGRESSIVE; below it nothing is known.
_PROGRESSIVE = 1

#: Decoders whose discard level may change from packet to packet and that
#: give the same frames for it.
_DISCARDING = frozenset(('h264', 'hevc', 'mpeg1video', 'mpeg2video',
                         'mpeg4'))


class VideoReader:
    """Frames of a video by their number, from 0.

    A reader does one thing at a time: each process or thread needs its own,
    and a :meth:`stream` ends where another call begins.

    Args:
        source (Source): Path of a file, its bytes, or an open binary file.
        num_threads (int): Threads of the decoder; 0 lets FFmpeg choose. The
            frames are the same.
        max_seconds (float): Seconds that opening the file, and each call of
            :meth:`read`, may take before the file counts as broken.
        name (str): What errors call a source that is no path.

    Attributes:
        total_frames (int): Frames that a player shows.
        avg_fps (float): Frames a second, from the first to the last one.
        times (np.ndarray): When each frame is shown, in seconds from the
            first one, ``(total_frames, )`` float64.
        codec (str): FFmpeg's name of the codec.
        container (str): FFmpeg's name of the container.
        sample_aspect_ratio (Fraction | None): Width of a pixel in units of
            its height, if it is said. Pictures are not scaled by it.

    Raises:
        BrokenVideoError: If there is no video to see in it, or opening takes
            longer than ``max_seconds``.
        OSError: If the machine fails, for example for want of permission.
        ValueError: If ``max_seconds`` is not positive.
    """

    def __init__(self, source: Source, *, num_threads: int = 1,
                 max_seconds: float = 300., name: str = '') -> None:
        self._source = source
        self._num_threads = num_threads
        self._max_seconds = check_seconds(max_seconds)
        self.name = name or (os.fspath(source) if isinstance(
            source, (str, os.PathLike)) else 'the video')
        self._deadline = time.monotonic() + max_seconds
        self._container: Any = None
        self._kept: list[Any] | None = []
        self._shown: list[int] | None = None
        self._packets: list[Packet] = []
        self._decoder: Any = None
        self._turn = 0
        self._new_headers = False
        # Where a file that is read again stands: behind all packets at first.
        self._reading: Iterator[Any] = iter(())
        self._place = sys.maxsize
        self._damaged: Exception | None = None
        try:
            self._check_source()
            self._open()
            self._count()
            self._painter = Painter(*self._size)
        except BaseException:
            self.close()
            raise
        if self._kept is not None:
            self._close_container()

    def __len__(self) -> int:
        return self.total_frames

    def __enter__(self) -> 'VideoReader':
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file and of what is kept of it."""
        self._close_container()
        self._kept = []
        self._decoder = None

    # -- opening -----------------------------------------------------------

    def _check_source(self) -> None:
        """Refuse what its first bytes show to be broken or no video."""
        if isinstance(self._source, str) and '://' in self._source:
            return
        damage = find_damage(self._source)
        if damage:
            raise BrokenVideoError(f'{self.name} {damage}; {REMEDY}.',
                                   self.name)

    def _close_container(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def _open(self) -> None:
        """Open the file and choose its stream."""
        import av
        source: Any = self._source
        if isinstance(source, bytes):
            source = io.BytesIO(source)
        elif isinstance(source, (str, os.PathLike)):
            source = os.fspath(source)
            if '://' not in source:
                # A colon in a name is no protocol.
                source = f'file:{source}'
        else:
            source.seek(0)
        self._close_container()
        with self._explained():
            self._container = av.open(
                source, options=dict(format_whitelist=_CONTAINERS),
                timeout=max(0.001, self._deadline - time.monotonic()),
                metadata_errors='ignore')
        self.container = self._container.format.name
        self._stream = self._choose_stream()
        self._decoder = self._new_decoder()
        # A stream must not be asked once its container is closed.
        self.codec = self._stream.codec.canonical_name
        self._time_base = self._stream.time_base
        self._rate = (self._stream.average_rate
                      or self._stream.guessed_rate or 0)
        self.sample_aspect_ratio = self._stream.sample_aspect_ratio

    def _choose_stream(self) -> Any:
        """FFmpeg's best video stream that is no attached picture."""
        from av.stream import Disposition
        streams = [stream for stream in self._container.streams.video
                   if not stream.disposition & Disposition.attached_pic
                   and stream.codec_context is not None]
        if not streams:
            kinds = sorted({stream.type
                            for stream in self._container.streams})
            raise BrokenVideoError(
                f'{self.name} has no video to see, only '
                f'{" and ".join(kinds) or "an empty container"}'
                f'{" (a cover picture)" if "video" in kinds else ""}; take '
                'it out of the list of videos.', self.name)
        best = self._container.streams.best('video')
        if best in streams:
            return best
        return max(streams, key=lambda stream: (
            bool(stream.disposition & Disposition.default),
            stream.codec_context.width * stream.codec_context.height))

    def _new_decoder(self) -> Any:
        decoder = self._stream.codec_context
        decoder.thread_count = self._num_threads
        if self._num_threads != 1:
            # Threads of whole frames change those of interlaced MPEG-4.
            decoder.thread_type = ('SLICE' if decoder.name == 'mpeg4'
                                   else 'AUTO')
        return decoder

    # -- what is there -----------------------------------------------------

    def _count(self) -> None:
        """Demux all packets; find the order and the number of frames."""
        decoder = self._decoder
        self._size = decoder.width, decoder.height
        # Where packets may be lost, what conceals them depends on the others.
        self._discards = (
            self.codec in _DISCARDING and self.container not in _LOSSY
            and not (self.codec == 'hevc'
                     and _has_layers(decoder.extradata)))
        size, corrupt = 0, False
        for packet in self._demux():
            self._packets.append(note(packet, self.codec))
            corrupt |= packet.is_corrupt
            self._new_headers |= packet.has_sidedata('new_extradata')
            if self._kept is not None:
                self._kept.append(packet)
                size += packet.size + _OVERHEAD
                if size > _KEPT:
                    self._kept = None
        if not self._packets:
            raise BrokenVideoError(
                f'{self.name} holds no frames: its header announces a '
                f'{self.codec} stream and no picture follows; {REMEDY}.',
                self.name)
        # What follows a new header cannot do without it. Without packet 0,
        # which MPEG-4 with a header of its own wants first, FFmpeg drops
        # interlaced B-pictures for good.
        self._jumps = not (self._new_headers or (
            self.codec == 'mpeg4' and decoder.extradata))
        # Of packed pictures FFmpeg may hand out the next one for one that is
        # passed over.
        self._discards &= all(len(packet.kind) <= 1
                              for packet in self._packets)
        order = find_order(self._packets, self.codec, self.container,
                           bool(decoder.has_b_frames))
        trusted = (any(packet.key for packet in self._packets)
                   and not (corrupt and self.container in _LOSSY)
                   and not self._holds_fields())
        if order is not None and trusted:
            self._hide_what_fails_at_the_start(order)
            self._shown = [n for n in order if self._packets[n].shown]
            self._starts = find_starts(self._packets, order)
            self._set_total(len(self._shown))
        elif (trusted and self._packets[0].key and self.codec not in MPEG
              and (self.container not in TRUE_TIMES
                   or all(packet.pts is not None
                          for packet in self._packets))):
            self._set_total(sum(packet.shown for packet in self._packets))
        else:
            self._count_by_decoding()

    def _count_by_decoding(self) -> None:
        """Let the decoder tell how many frames there are."""
        self._shown = None
        last = len(self._packets) - 1
        total = sum(1 for _ in self._decode(0, last))
        if self._damaged is not None and self.container not in _LOSSY:
            raise BrokenVideoError(
                f'{self.name} has packets that cannot be decoded '
                f'({_reason(self._damaged)}); {REMEDY}.', self.name)
        self._set_total(total)

    def _set_total(self, total: int) -> None:
        if not total:
            raise BrokenVideoError(
                f'{self.name} holds no frame that can be decoded as '
                f'{self.codec}; {REMEDY}.', self.name)
        self.total_frames = total
        self.times, self.avg_fps = self._clock()

    def _holds_fields(self) -> bool:
        """Whether packets of H.264 are fields, of which two make a frame."""
        # PyAV tells since 18.1.
        fields = getattr(self._decoder, 'field_order', _PROGRESSIVE + 1)
        if self.codec != 'h264' or fields <= _PROGRESSIVE:
            return False
        first = next(n for n, packet in enumerate(self._packets)
                     if packet.key)
        probe = [n for n, packet in enumerate(self._packets)
                 if packet.shown and n >= first][:_FIELDS_PROBE]
        return bool(probe) and len(probe) > len(
            {n for n, _ in self._decode(first, probe[-1])} & set(probe))

    def _hide_what_fails_at_the_start(self, order: Sequence[int]) -> None:
        """Find out which frames before the first key frame are shown.

        A file may begin inside a group of pictures, and frames that are
        predicted from what was cut off are passed over.
        """
        key = next(n for n, packet in enumerate(self._packets) if packet.key)
        early = [n for n in (*order[:order.index(key)], *range(key))
                 if self._packets[n].shown]
        if early:
            found = {n for n, _ in self._decode(0, max(key, *early))}
            for number in early:
                self._packets[number].shown = number in found

    def _clock(self) -> tuple[np.ndarray, float]:
        """Seconds of each frame from the first one, and frames a second."""
        packets = [packet for packet in self._packets if packet.shown]
        if self._shown is not None:
            packets = [self._packets[n] for n in self._shown]
        ticks: list[Any] = [packet.pts for packet in packets]
        if (self._shown is None or self.container not in TRUE_TIMES
                or None in ticks or any(a >= b for a, b in pairwise(ticks))):
            # Storage slots are as far apart as what is shown in them.
            ticks = sorted(packet.place[1] for packet in packets
                           if packet.place[1] is not None)
        if (len(ticks) != self.total_frames or None in ticks
                or any(a >= b for a, b in pairwise(ticks))):
            rate = float(self._rate)
            return np.arange(self.total_frames) / (rate or np.inf), rate
        unit = self._time_base
        times = (np.array(ticks, dtype=np.float64) - ticks[0]) * float(unit)
        span = ticks[-1] - ticks[0] + packets[-1].duration
        if not packets[-1].duration and len(ticks) > 1:
            span += Fraction(span, len(ticks) - 1)
        return times, float(len(ticks) / (span * unit) if span else self._rate)

    # -- packets -----------------------------------------------------------

    def _demux(self) -> Iterator[Any]:
        """Packets of the stream from where the container stands."""
        packets = self._container.demux(self._stream)
        with self._explained():
            # At the end PyAV trips over streams that the header lacks.
            with suppress(IndexError):
                for packet in packets:
                    self._check_time()
                    if packet.size:
                        yield packet

    def _feed(self, first: int, last: int) -> Iterator[tuple[int, Any]]:
        """Packets by their number, from memory or from the file."""
        if self._kept is None:
            self._go_to(first)
            return self._verified(first, last)
        if self._new_headers:
            # A decoder does not go back to the header that it began with.
            self._open()
            self._close_container()
        return enumerate(self._kept[first:last + 1], first)

    def _verified(self, first: int, last: int) -> Iterator[tuple[int, Any]]:
        """Packets of a file that is read again, if they are the same."""
        for packet in self._reading:
            number = self._place
            self._place += 1
            if (number >= len(self._packets) or (packet.pos, packet.size)
                    != self._packets[number].place[::2]):
                raise BrokenVideoError(
                    f'{self.name} has changed since it was opened; read it '
                    'when it is whole.', self.name)
            if number >= first:
                yield number, packet
            if number == last:
                return

    def _go_to(self, first: int) -> None:
        """Let the file stand at a packet that is not behind ``first``.

        A seek may end anywhere (in MP4 behind the place asked for, in
        transport streams inside a group), so where it ended is looked up.
        """
        if self._new_headers:
            self._place = len(self._packets)
        if self._place <= first and not self._is_far(self._place, first):
            return
        if self._is_far(0, first):
            with self._explained():
                self._container.seek(self._packets[first].pts,
                                     stream=self._stream)
            packets = self._demux()
            landed = next(packets, None)
            number = next((n for n in range(first, -1, -1) if landed and
                           self._packets[n].place[0] == landed.pos), -1)
            if number >= 0:
                self._reading, self._place = chain([landed], packets), number
                return
        self._open()
        self._reading, self._place = self._demux(), 0

    def _is_far(self, here: int, there: int) -> bool:
        """Whether a jump is worth more than reading on."""
        place, target = (self._packets[n].place[0] for n in (here, there))
        return (self.container in _SEEKING and place is not None
                and target is not None and target - place > _JUMP
                and self._packets[there].pts is not None)

    # -- decoding ----------------------------------------------------------

    def _decode(self, first: int, last: int,
                wanted: Container[int] | None = None
                ) -> Iterator[tuple[int, Any]]:
        """Decode packets from a key frame on.

        Args:
            first (int): Number of the packet to begin with.
            last (int): Number of the last one.
            wanted (Container[int] | None): Those whose frames are wanted;
                others are decoded as far as these need them. All if None.

        Yields:
            tuple[int, Any]: Number of the packet and its frame, in the order
            of presentation.
        """
        from av.error import FFmpegError
        if self._decoder is None:
            raise ValueError(f'{self.name} is closed: open it again to read '
                             'more frames.')
        turn = self._turn = self._turn + 1
        packets = self._feed(first, last)
        decoder = self._decoder
        decoder.flush_buffers()
        kept = wanted if self._discards else None
        for number, packet in chain(packets, [(-1, None)]):
            self._check_time()
            if turn != self._turn:
                raise RuntimeError(
                    f'{self.name} was read otherwise in the middle of a '
                    'stream: end the stream first, or open a second reader.')
            if packet is not None:
                packet.pts = packet.dts = number
                decoder.skip_frame = (
                    'DEFAULT' if kept is None or number in kept
                    else 'NONREF')
            try:
                frames = decoder.decode(packet)
            except FFmpegError as error:
                self._damaged = self._damaged or error
                continue
            for frame in frames:
                yield frame.pts, frame
        decoder.flush_buffers()

    # -- reading -----------------------------------------------------------

    def read(self, indices: Iterable[int]) -> list[np.ndarray]:
        """Read frames by their number.

        Args:
            indices (Iterable[int]): Numbers from 0 to ``total_frames - 1``,
                in any order and as often as wanted.

        Returns:
            list[np.ndarray]: A picture for each index, ``(H, W, 3)`` uint8
            RGB, upright, each with memory of its own.

        Raises:
            IndexError: If there is no frame of that number.
            BrokenVideoError: If a frame cannot be decoded, or it takes
                longer than ``max_seconds``.
        """
        asked = self._checked(indices)
        self._start_clock()
        found = {index: self._paint(frame)
                 for index, frame in self._find(sorted(set(asked)))}
        # The last use of a picture takes it, earlier ones copy it.
        last_use = {index: place for place, index in enumerate(asked)}
        return [found[index] if last_use[index] == place
                else found[index].copy()
                for place, index in enumerate(asked)]

    def stream(self, indices: Iterable[int]
               ) -> Iterator[tuple[int, np.ndarray]]:
        """Read frames one by one, holding none of them.

        Args:
            indices (Iterable[int]): Numbers of frames, ascending.

        Yields:
            tuple[int, np.ndarray]: Number and picture, as :meth:`read` gives
            it.

        Raises:
            IndexError: If there is no frame of that number.
            ValueError: If the numbers do not ascend.
            BrokenVideoError: If a frame cannot be decoded.
        """
        wanted = self._checked(indices)
        if any(a >= b for a, b in pairwise(wanted)):
            raise ValueError('stream() goes through a video once and was '
                             'asked for frames that do not ascend: sort '
                             'them, or use read().')
        self._start_clock()
        for index, frame in self._find(wanted):
            yield index, self._paint(frame)
            self._deadline = time.monotonic() + self._max_seconds

    def __iter__(self) -> Iterator[np.ndarray]:
        """All frames in their order, holding none of them."""
        return (picture for _, picture in self.stream(
            range(self.total_frames)))

    def frames(self) -> Iterator[Any]:
        """All frames in their order as PyAV decodes them, not upright.

        Yields:
            Any: Frames of PyAV; their timestamps mean nothing.

        Raises:
            BrokenVideoError: If one cannot be decoded.
        """
        self._start_clock()
        for _, frame in self._find(range(self.total_frames)):
            yield frame
            self._deadline = time.monotonic() + self._max_seconds

    def _checked(self, indices: Iterable[int]) -> list[int]:
        asked = [int(index) for index in indices]
        for index in asked:
            if not 0 <= index < self.total_frames:
                raise IndexError(
                    f'{self.name} has the frames 0 to '
                    f'{self.total_frames - 1}, and {index} is asked for: '
                    'sample below total_frames.')
        return asked

    def _paint(self, frame: Any) -> np.ndarray:
        with self._explained():
            return self._painter.paint(frame)

    def _find(self, wanted: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Distinct frames, ascending, wherever they are found."""
        left = deque(wanted)
        for from_start in (False, True):
            for index, frame in self._come_out(left, from_start):
                if not left or index != left[0]:
                    break
                left.popleft()
                yield index, frame
            if not left:
                # Key frames that are none, as of intra refresh, will not do.
                self._jumps &= not from_start
                return
        if self._shown is not None and self._damaged is None:
            # Nothing is damaged, so packets are not frames in this file.
            self._count_by_decoding()
            for index, frame in self._come_out(left):
                left.popleft()
                yield index, frame
        if left:
            reason = '' if self._damaged is None else (
                f' ({_reason(self._damaged)})')
            raise BrokenVideoError(
                f'frame {left[0]} of {self.name} cannot be decoded{reason}; '
                f'{REMEDY}.', self.name)

    def _come_out(self, wanted: Collection[int], from_start: bool = False
                  ) -> Iterator[tuple[int, Any]]:
        """Distinct frames, ascending, as far as they come out.

        Args:
            wanted (Collection[int]): Their numbers, ascending.
            from_start (bool): Whether to decode everything before them.
        """
        last = len(self._packets) - 1
        if self._shown is None:  # count what comes out of the decoder
            expected = iter(tuple(wanted))
            index = next(expected, None)
            for place, (_, frame) in enumerate(self._decode(0, last)):
                if index is None:
                    return
                if place == index:
                    yield place, frame
                    index = next(expected, None)
            return
        index_of = {self._shown[index]: index for index in wanted}
        numbers = sorted(index_of)
        runs = [(0, numbers)] if from_start or not self._jumps else (
            self._runs(numbers))
        for first, run in runs:
            left_packets = None if from_start else frozenset(run)
            for number, frame in self._decode(first, run[-1], left_packets):
                if number in index_of and not (frame.is_corrupt and first):
                    yield index_of[number], frame

    def _runs(self, numbers: Sequence[int]) -> list[tuple[int, list[int]]]:
        """Packets that are decoded in one go, and the one to begin with."""
        runs: list[tuple[int, list[int]]] = []
        for number in numbers:
            first, run = self._starts[number], [number]
            while runs and first <= runs[-1][1][-1] + 1:
                before, earlier = runs.pop()
                first, run = min(first, before), earlier + run
            runs.append((first, run))
        return runs

    # -- time and errors ---------------------------------------------------

    def _start_clock(self) -> None:
        self._deadline = time.monotonic() + self._max_seconds
        self._damaged = None

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise BrokenVideoError(
                f'{self.name} takes longer than {self._max_seconds:g} s to '
                'read; raise max_seconds if it is meant to, or take it out '
                'of the list of videos.', self.name)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what FFmpeg says of a file into a sentence about it."""
        from av.error import FFmpegError
        try:
            yield
        except FFmpegError as error:
            self._check_time()
            if is_system_fault(error):
                raise
            raise BrokenVideoError(
                f'{self.name} cannot be read as a video '
                f'({_reason(error, not self._packets)}); {REMEDY}.',
                self.name) from error


def _reason(error: Exception, opening: bool = False) -> str:
    """What FFmpeg says, without the name of the file."""
    if opening and getattr(error, 'errno', None) == errno.EINVAL:
        return 'it is in none of the formats that hold videos'
    return getattr(error, 'strerror', None) or first_line(error)


def _has_layers(header: bytes | None) -> bool:
    """Whether an HEVC stream may have temporal layers.

    In one that has, pictures that no picture of their own layer refers to
    may still be what those of a higher layer are predicted from. Rec. ITU-T
    H.265, 7.3.2.1: three bits behind 12 of the video parameter set.
    """
    start = (header or b'').find(b'\x40\x01')
    if header is None or not 0 <= start < len(header) - 3:
        return True
    return (header[start + 3] >> 1 & 7) > 0


def check_seconds(max_seconds: float) -> float:
    """Refuse a limit that no file could keep, or that none would break.

    Args:
        max_seconds (float): The limit.

    Returns:
        float: The same.

    Raises:
        ValueError: If it is not positive.
    """
    if not max_seconds > 0:  # neither is NaN
        raise ValueError(f'max_seconds is {max_seconds}: give the seconds '
                         'that a file may take, above 0.')
    return max_seconds


def identify(path: str | os.PathLike) -> tuple[str, str]:
    """Codec and container of a video file, by its header.

    Args:
        path (str | os.PathLike): The file.

    Returns:
        tuple[str, str]: FFmpeg's names; empty if there is no video in it.
    """
    import av
    from av.error import FFmpegError
    try:
        with av.open(f'file:{os.fspath(path)}', options=dict(
                format_whitelist=_CONTAINERS),
                metadata_errors='ignore') as container:
            best = container.streams.best('video')
            return (best.codec.canonical_name if best else '',
                    container.format.name)
    except FFmpegError:
        return '', ''
