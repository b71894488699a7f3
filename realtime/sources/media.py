"""Video files and network streams, decoded by FFmpeg through PyAV."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from ...engines.errors import SourceError
from ..faces import Image
from ..images.pixels import Pixels
from .base import FrameSource, Images, Media, SourceInfo, TimeRange
from .container import exact, open_container, reason
from .conversion import to_bgr
from .decoder import Decoder
from .numbering import Numbering
from .nvdec import GpuDecoder, decoder_for
from .timestamps import Clock

_log = logging.getLogger(__name__)

# Containers whose header states the length, so that a truncated file can be recognised. Others
# take it from the last packet that is there.
_LENGTH_IN_HEADER = ("mov", "matroska", "flv", "avi")
_LIVE_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "tcp")
_WHOLE = "give a whole video or image file"
_INDEX_LAST = (
    "an MP4 with its index at the end needs a server that answers range requests: "
    "download it first, or have it made with the index in front (faststart)"
)
_USUAL_RATE = Fraction(25)  # where a file does not say
_USUAL_BASE = Fraction(1, 90000)
_Timed = tuple[VideoFrame, float, int]  # frame, time in seconds and number since the last seek


def open_media(
    location: str, name: str, time_range: TimeRange, *, timeout: float | None = None, decode: str = "cpu"
) -> FrameSource:
    """Open a video file or, with a ``timeout``, a network stream.

    Args:
        location: absolute path, or URL.
        name: what to call it in messages, free of passwords.
        cut: the part that is wanted; a file is entered by seeking.
        timeout: seconds without any data after which a stream counts as dead; None for a file.
        decode: where, as of ``open_source``.

    Raises:
        SourceError: it does not answer, is no video, cannot be decoded (there), or has nothing in the cut.
    """
    reader = _Reader(Media(location, timeout), name, decoder_for(decode, name))
    if reader.info.live and time_range.start is not None:
        reader.close()
        raise SourceError(f"{name}: a live source has no place {time_range.start:g} s to start from; leave start out")
    if reader.info.live:
        _log.info("%s: live; Frame.index counts from the first frame received", name)
    return FrameSource(reader.images(time_range.start or 0.0), reader.info, time_range)


class _Reader:
    """Decodes the video stream of a container; ``images`` closes it when it ends."""

    def __init__(self, media: Media, name: str, gpu: GpuDecoder | None) -> None:
        self._media, self._name, self._gpu = media, name, gpu
        self._before: int | None = 0  # frames before the place of the last seek; None if unknown
        self._open()
        self._restamp()
        self._convert = VideoReformatter()
        self._ends: dict[int, int] = {}  # of the last packet of each stream: sound may outlast the video
        self._is_partial = False  # the last packet
        self._time = 0.0
        self._any = False

    def close(self) -> None:
        """Close the file or connection."""
        self._container.close()

    def images(self, start: float) -> Images:
        """Yield upright BGR images from ``start`` seconds on, with their times and numbers."""
        try:
            for frame, time, number in self._enter(start):
                if time >= start:
                    if self._before is None:  # unknown: count from here
                        self._before = -number
                    yield self._image_of(frame), time, self._before + number
        finally:
            self.close()
            if lost := self._decoder.lost:
                what = (
                    "1 packet could not be decoded and was"
                    if lost == 1
                    else f"{lost} packets could not be decoded and were"
                )
                _log.warning("%s is damaged: %s skipped", self._name, what)

    def _open(self) -> None:
        self._container = self._opened()
        try:
            self._stream = _video_of(self._container, self._name)
            self.info = _info(self._container, self._stream, self._media, self._name)
        except BaseException:
            self.close()
            raise
        # Threads by frame hold back a frame each: right for a file, wrong for a camera, and no use to a GPU.
        self._stream.thread_type = "SLICE" if self.info.live or self._gpu else "AUTO"
        self._base = exact(self._stream.time_base) or _USUAL_BASE
        # AVI counts packets and has no presentation times; the ones made up for it jump about.
        self._only_dts = self._container.format.name == "avi"
        self._decoder = Decoder(self._stream, by_dts=self._only_dts)
        self._numbering = Numbering(self._container, self._stream, by_dts=self._only_dts)
        self._before = 0

    def _opened(self) -> InputContainer:
        """The container, decoded on the GPU if that is wanted and can be."""

        def opener(accelerator: HWAccel | None) -> InputContainer:
            return _open_container(self._media, self._name, accelerator)

        if self._gpu is not None:
            container = self._gpu.open(opener)
            if container is not None:
                return container
            self._gpu = None
        return opener(None)

    def _restamp(self) -> None:
        self._clock = Clock(1 / (self.info.rate or _USUAL_RATE), self._base)

    def _enter(self, start: float) -> Iterator[_Timed]:
        """Frames from somewhat before ``start``; from the first, where seeking does not work."""
        frames = self._timed()
        first = next(frames, None)  # it tells the time that the others count from
        if first and first[1] < start and self._clock.origin is not None:
            for target in _steps_back(start):
                if not self._seek(self._clock.origin + target):
                    break
                frames = self._timed()
                first = next(frames, None)
                if first and first[1] <= start:
                    break
            if not (first and first[1] <= start):
                self.close()
                self._open()
                self._restamp()
                frames, first = self._timed(), None
            else:
                self._before = self._frames_before()
        if first:
            yield first
        yield from frames

    def _seek(self, stamp: Fraction) -> bool:
        try:
            self._container.seek(int(stamp / self._base), stream=self._stream)
        except av.FFmpegError as error:
            _log.info("%s: cannot seek (%s); reading from the start", self._name, reason(error))
            return False
        self._clock.rewind()
        self._numbering.restart()
        return True

    def _frames_before(self) -> int | None:
        """Return the number of frames before the place of a seek; None if it is unknown."""
        local = self._media.timeout is None  # a stream over a network is not read only to count its packets
        reopen = partial(_open_container, self._media, self._name, None) if local else None
        before = self._numbering.frames_before(reopen)
        if before is None:
            _log.warning("%s: its frames before the start cannot be counted; Frame.index begins at 0", self._name)
        return before

    def _timed(self) -> Iterator[_Timed]:
        for frame in self._decode():
            self._time = self._clock.stamp(None if self._only_dts else frame.pts, frame.dts)
            self._any = True
            yield frame, self._time, self._numbering.number(frame)

    def _decode(self) -> Iterator[VideoFrame]:
        """All frames that can be decoded, then an error if they are not all that there should be."""
        broken = None
        self._decoder.restart()
        try:
            for packet in self._container.demux():
                self._note_end(packet)
                if packet.stream.index == self._stream.index and packet.size:
                    self._numbering.add(packet)
                    yield from self._decoder.decode(packet)
        except av.FFmpegError as error:
            broken = reason(error)
        yield from self._decoder.flush(self._opened)
        if broken or (self._decoder.begun and self._cut_short()):  # not begun: it was a seek past the end
            raise SourceError(self._broken_off(broken))

    def _note_end(self, packet: Any) -> None:
        if packet.size:
            self._is_partial = packet.is_corrupt
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is not None:
            index, end = packet.stream.index, stamp + (packet.duration or 0)
            self._ends[index] = max(self._ends.get(index, end), end)

    def _cut_short(self) -> bool:
        """Return whether the end came long before the header says, or in the middle of a packet."""
        container = self._container
        if self.info.live or not container.format.name.startswith(_LENGTH_IN_HEADER):
            return False
        end = (container.duration or 0) / av.time_base  # at least: the first packet may come after 0
        streams = container.streams
        seen = max((last * (exact(streams[i].time_base) or 0) for i, last in self._ends.items()), default=end)
        return self._is_partial or end - seen > max(0.5, end / 50)

    def _broken_off(self, why: str | None) -> str:
        local = self._media.timeout is None
        why = why or ("the file is truncated" if local else "the connection was lost")
        if not self._any:
            is_mp4 = self._container.format.name.startswith("mov")
            remedy = _INDEX_LAST if is_mp4 else "check the connection, and try again"
            return f"{self._name}: no frame of it could be read ({why}); {_WHOLE if local else remedy}"
        text = f"{self._name}: broken off at {self._time:.2f} s"
        if self.info.duration is not None:
            text += f" of {self.info.duration:.2f} s"
        return f"{text} ({why}); all frames before were read and what was written of them is kept"

    def _image_of(self, frame: VideoFrame) -> Image | Pixels:
        if self._gpu is not None and (pixels := self._gpu.pixels(frame)) is not None:
            return pixels
        return to_bgr(frame, self._convert)


def _steps_back(start: float) -> Iterator[Fraction]:
    """``start`` and ever earlier times: what a seek hits may still begin too late."""
    back = 0
    while start - back > 0:
        yield Fraction(start) - back
        back = 2 * back + 1


def _open_container(media: Media, name: str, accelerator: HWAccel | None) -> InputContainer:
    try:
        return open_container(media, accelerator)
    except av.FFmpegError as error:
        why = reason(error)
    # Raised here and not above: the original error holds the whole URL, and would be chained.
    if media.timeout is None:
        raise SourceError(f"{name}: cannot be read as a video ({why}); {_WHOLE}")
    raise SourceError(
        f"{name}: no video from there ({why}); check that the address is right, that it is switched on "
        "and reachable from here, and the user and password in it"
    )


def _video_of(container: InputContainer, name: str) -> VideoStream:
    """Return the first video stream that is not the cover image of an audio file."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if container.format.name == "tty" or not (streams or container.streams.audio):
        raise SourceError(f"{name}: no video in it, or damaged; {_WHOLE}")
    if not streams:
        raise SourceError(f"{name}: it has sound but no video; give a file with a video stream")
    if streams[0].codec_context is None:
        raise SourceError(f"{name}: its codec is unknown to this build of FFmpeg; convert it to H.264 first")
    return streams[0]


def _info(container: InputContainer, stream: VideoStream, media: Media, name: str) -> SourceInfo:
    """Return the description of the headers; width and height come with the first frame."""
    duration = _duration(container, stream)
    rate = exact(stream.average_rate) or exact(stream.guessed_rate)
    sound = media if container.streams.audio else None
    local = media.timeout is None
    if not local and (duration is None or media.location.split("://")[0].lower() in _LIVE_SCHEMES):
        return SourceInfo(name, 0, 0, rate, live=True, sound=sound)
    frames = stream.frames or (round(duration * rate) if duration and rate else None)
    files = (Path(media.location),) if local else ()
    return SourceInfo(name, 0, 0, rate, frames, duration, files=files, sound=sound)


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and (base := exact(stream.time_base)):
        return float(stream.duration * base)
    if container.duration is None:
        return None
    late = max(container.start_time or 0, 0) if container.format.name.startswith("matroska") else 0
    # Matroska as FFmpeg writes it counts from 0, not from the first packet.
    return (container.duration - (late if late < container.duration else 0)) / av.time_base
