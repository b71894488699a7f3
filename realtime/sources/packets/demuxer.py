"""Packets of the video and the sound of a file or stream, on one clock that neither restarts nor leaps."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from time import monotonic
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.format import Flags
from av.video.stream import VideoStream

from ....engines.closing import Closing
from ....engines.errors import SourceError
from ..base import Media
from .container import choose_sound, choose_video, exact, rate_of
from .endings import is_cut
from .joined import BOUNDED, next_file, next_table
from .timestamps import LEAP, Timeline

_log = logging.getLogger(__name__)

Opener = Callable[[Media], InputContainer]

_JOINABLE = ("mpegts", "mpeg")  # formats of which files can be joined end to end, and the rest opened on its own
_WITH_TABLES = "mpegts"  # the one of them that lists its streams in tables
_LEAST = 188  # bytes of such a rest
_ADAPTIVE = ("hls", "dash")  # formats that download each of several variants, unless it is discarded
_SEEKABLE = ("mov", "matroska", "avi")  # formats with one clock, in which a seek finds a time
# Formats whose header states the length, so that a truncated file can be recognised. Others derive it from the last
# packet in the file.
_LENGTH_IN_HEADER = ("mov", "matroska", "flv", "avi", "mxf", "ivf", "rm")
_USUAL_RATE = Fraction(25)  # if a file does not tell
_USUAL_BASE = Fraction(1, 90000)


class Demuxer(Closing):
    """Reader of the packets of a video stream, and of the sound stream that goes with it.

    Files of a transport stream can be joined end to end, and each may begin with other streams. FFmpeg finds streams
    only when it opens a file. So where the clock of the video jumps, and where its packets end before the file
    does, the rest of the file is opened on its own, and if it has other streams, reading continues there.
    """

    def __init__(self, media: Media, opener: Opener, name: str, *, with_sound: bool = True) -> None:
        """Open ``media`` and choose its streams.

        Args:
            media: file or stream.
            opener: opens the media, or a part of the file, and raises ``SourceError`` or ``av.FFmpegError``.
            name: name of the media for messages.
            with_sound: read the sound, too.

        Raises:
            SourceError: it cannot be opened, or has no video.
        """
        self._with_sound = with_sound
        self._media, self._opener, self._name = media, opener, name
        self._part, self._begin = media, 0  # the part of the file that is being read, and its first byte
        self._containers = [opener(media)]
        if self.container.format.name in BOUNDED and self.is_joined:
            self.close()
            self._part = self._part_from(0)
            self._containers = [opener(self._part)]
        try:
            self._take(choose_video(self.container, media.stream, name))
        except BaseException:
            self.close()
            raise
        self._begins: dict[int, int] = {}  # IDs of streams, and the first byte of each in the part that is read
        flags: Any = self.container.format.flags
        self._step = 1 / (rate_of(self.video) or _USUAL_RATE)
        self._timeline = Timeline(self._step, self.base, leap=self._largest_step(bool(flags & Flags.ts_discont.value)))
        self._ends: dict[int, int] = {}  # end of the last packet of each stream, because sound may outlast the video
        self._last: dict[int, int] = {}  # timestamp of that packet
        self._is_partial = False  # the last packet

    def _largest_step(self, may_restart: bool) -> float | None:
        """Return the seconds by which a timestamp may lie ahead of the last one; None for any.

        FLV has a clock that runs on, so only a timestamp beyond the length of the file is wrong.
        """
        if may_restart:
            return LEAP
        length = (self.container.duration or 0) / av.time_base
        return length + LEAP if length and self.container.format.name == "flv" else None

    @property
    def container(self) -> InputContainer:
        """Container that is being read."""
        return self._containers[-1]

    @property
    def base(self) -> Fraction:
        """Seconds per unit of the timestamps of the video."""
        return exact(self.video.time_base) or _USUAL_BASE

    @property
    def is_local(self) -> bool:
        """True for a file."""
        return self._media.timeout is None

    @property
    def is_joinable(self) -> bool:
        """True for a format of which files can be joined end to end."""
        return self.container.format.name in _JOINABLE

    @property
    def may_change(self) -> bool:
        """True if codec or sample rate of the sound may change within the file."""
        return self.is_joinable or self.is_joined or self.container.format.name == "flv"

    @property
    def is_seekable(self) -> bool:
        """True if a seek finds a time: the format has one clock, or reading everything before it takes too long."""
        return not self.is_local or (self.container.format.name.startswith(_SEEKABLE) and not self.is_joined)

    @property
    def is_joined(self) -> bool:
        """True for a file in which another one of its format follows; of FLV that is not known at once."""
        kind = self.container.format.name
        return self._is_file and kind != "flv" and next_file(Path(self._media.location), kind, 0, 0) is not None

    def reopener(self) -> Callable[[], InputContainer]:
        """Return a function that opens the part of the file that is being read once more."""
        part = self._part
        return lambda: self._opener(part)

    def seek(self, time: Fraction) -> None:
        """Move to a key frame at or before ``time``, seconds on the clock of the video.

        Raises:
            av.FFmpegError: it cannot be sought.
        """
        self.container.seek(int(time / self.base), stream=self.video)
        self._timeline.rewind()

    def packets(self) -> Iterator[Any]:
        """Yield the packets of the video and the sound, as they come in the file, with repaired timestamps.

        ``video`` and ``sound`` change where reading continues with other streams.

        Raises:
            av.FFmpegError: reading fails.
        """
        for packet in self._read():
            if packet.stream.index == self.video.index:
                yield from self._timeline.video(packet)
            elif self.sound is not None and packet.stream.index == self.sound.index:
                yield from self._timeline.sound(packet)
        yield from self._timeline.rest()

    @property
    def states_length(self) -> bool:
        """True if the length is that of the whole, even if the file is cut."""
        return not self.is_local or self.container.format.name.startswith(_LENGTH_IN_HEADER)

    def is_cut_short(self) -> bool:
        """Return True if the file ended long before the duration in its header, or within a packet.

        Streams of images or packets without a container, such as raw H.264, do not tell.
        """
        kind = self.container.format.name
        if self._is_file and is_cut(Path(self._media.location), kind, self._begin):
            return True
        if not self.states_length:
            return False
        end = (self.container.duration or 0) / av.time_base  # at least, because the first packet may come after 0
        if kind == "avi":  # of which FFmpeg corrects the duration
            end = max(end, float(self.video.frames * self._step))
        streams = self.container.streams
        seen = max((last * (exact(streams[i].time_base) or 0) for i, last in self._ends.items()), default=end)
        return self._is_partial or end - seen > max(0.5, end / 50)

    def close(self) -> None:
        """Close the file or connection."""
        for container in self._containers:
            container.close()

    def _take(self, video: VideoStream) -> None:
        self.video: VideoStream = video
        self.sound: AudioStream | None = choose_sound(self.container, video) if self._with_sound else None
        if self.container.format.name.startswith(_ADAPTIVE) or not self._with_sound:
            for stream in self.container.streams:
                if stream is not self.video and stream is not self.sound:
                    stream.discard = av.stream.Discard.all

    def _read(self) -> Iterator[Any]:
        """Yield the packets as FFmpeg reads them."""
        has_parts = self.is_joinable and self._is_file
        while True:
            newest: Any = None  # packet of the video with a known place
            last = 0  # byte after the last packet
            for packet in _demuxed(self.container, self._media.timeout):
                self._note_end(packet)
                last = max(last, 0 if packet.pos is None else packet.pos + packet.size)
                if has_parts and packet.pos is not None:
                    self._begins.setdefault(packet.stream.id, packet.pos)
                    if packet.stream.index == self.video.index:
                        jumps = newest is not None and self._timeline.jumps(packet)
                        if jumps and self._continues(self._joint(newest, packet.pos), with_sound=True):
                            break
                        newest = packet
                yield packet
            else:
                rest = None if newest is None else self._rest(newest)
                if not (rest is not None and self._continues(rest, with_sound=False)) and not self._enters_next(last):
                    return

    def _joint(self, newest: Any, jump: int) -> int:
        """Return the first byte of the file that follows, in the part that is read.

        In a transport stream it is that of a table of programs, without which no stream of the rest is found.

        Args:
            newest: last packet of the video before its clock jumps.
            jump: first byte of the packet after it.
        """
        between = self._other_videos(newest.pos, jump)  # of a file with another video
        if between and (rest := self._rest(newest)) is not None:
            return rest
        if self.container.format.name != _WITH_TABLES:
            return jump
        table = next_table(
            Path(self._media.location), self._begin + newest.pos, self._begin + jump, stream=self.video.id
        )
        return jump if table is None else table - self._begin

    def _rest(self, newest: Any) -> int | None:
        """Return the first byte of the rest after ``newest``, the last packet of the video; None if it has no video."""
        if self.container.format.name == _WITH_TABLES:
            return int(newest.pos + newest.size)
        return min(self._other_videos(newest.pos, self.container.size), default=None)

    def _other_videos(self, last: int, end: int) -> list[int]:
        """Return the first bytes of the videos that begin between ``last`` and ``end``."""
        ids = [stream.id for stream in self.container.streams.video]
        return [begin for stream, begin in self._begins.items() if stream in ids and last < begin < end]

    def _continues(self, place: int, *, with_sound: bool) -> bool:
        """Return True if the rest of the file has other streams, which are read from now on.

        Args:
            place: first byte of the rest in the part that is being read.
            with_sound: True if another sound alone counts.
        """
        if place + _LEAST >= self.container.size:
            return False
        begin = self._begin + place
        part = self._part_from(begin)
        opened = self._opened(part)
        if opened is None:
            return False
        container, video = opened
        same_sound = _kind(choose_sound(container, video)) == _kind(self.sound)
        known = self._begins.get(video.id, place) < place
        if known and _kind(video) == _kind(self.video) and (same_sound or not with_sound):
            container.close()
            return False
        _log.info("%s: other streams from byte %d on", self._name, begin)
        self._enter(part, begin, container, video)
        return True

    def _enters_next(self, last: int) -> bool:
        """Return True if another file of the same format follows, which is read from now on.

        Args:
            last: byte after the last packet in the part that is being read.
        """
        kind = self.container.format.name
        begin = next_file(Path(self._media.location), kind, self._begin, self._begin + last) if self._is_file else None
        if begin is None:
            return False
        part = self._part_from(begin)
        opened = self._opened(part)
        if opened is None or exact(opened[1].time_base) != exact(self.video.time_base):
            if opened is not None:
                opened[0].close()
            _log.warning(
                "%s: another file follows in it from byte %d on, which is not read; give the files one by one, or join "
                "them with ffmpeg -f concat",
                self._name,
                begin,
            )
            return False
        self._enter(part, begin, *opened)
        return True

    @property
    def _is_file(self) -> bool:
        return self.is_local and Path(self._media.location).is_file()

    def _part_from(self, begin: int) -> Media:
        kind = self.container.format.name
        end = next_file(Path(self._media.location), kind, begin, begin) if kind in BOUNDED else None
        return replace(self._media, location=f"subfile,,start,{begin},end,{end or 0},,:{self._media.location}")

    def _opened(self, part: Media) -> tuple[InputContainer, VideoStream] | None:
        """Open a part of the file and return it with its video; None if it has none."""
        try:
            container = self._opener(part)
        except (SourceError, av.FFmpegError):
            return None
        try:
            return container, choose_video(container, None, self._name)
        except SourceError:
            container.close()
            return None

    def _enter(self, part: Media, begin: int, container: InputContainer, video: VideoStream) -> None:
        """Read a part of the file from now on."""
        self._containers.append(container)
        self._part, self._begin, self._begins = part, begin, {}
        self._take(video)

    def _note_end(self, packet: Any) -> None:
        self._is_partial = packet.is_corrupt
        stamps = [stamp for stamp in (packet.pts, packet.dts) if stamp is not None]
        if stamps:  # where composition offsets are negative, the decoding time is the later one
            index, stamp = packet.stream.index, max(stamps)
            end = stamp + (packet.duration or max(stamp - self._last.get(index, stamp), 0))
            self._ends[index] = max(self._ends.get(index, end), end)
            self._last[index] = stamp


def _demuxed(container: InputContainer, timeout: float | None) -> Iterator[Any]:
    """Yield the packets that are not empty.

    Before version 19, PyAV raises ``IndexError`` at the end of a file in which a stream appeared after its opening.

    Raises:
        av.FFmpegError: reading fails, or a packet takes longer than ``timeout`` seconds. FFmpeg then returns the packet
            that it has begun, and would wait as long again.
    """
    packets = container.demux()
    late = False
    while not late:
        begun = monotonic()
        try:
            packet = next(packets, None)
        except IndexError:
            return
        if packet is None:
            return
        late = timeout is not None and monotonic() - begun >= timeout
        if packet.size:
            yield packet
    raise av.ExitError(errno.ETIMEDOUT, "no packet within the timeout")


def _kind(stream: VideoStream | AudioStream | None) -> object:
    """Return the properties that two streams must share to be decoded by one decoder."""
    if stream is None or stream.codec_context is None:
        return None
    rate = stream.codec_context.sample_rate if isinstance(stream, AudioStream) else 0
    return stream.codec_context.codec.canonical_name, rate
