"""Video files and network streams, decoded by FFmpeg through PyAV."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from time import monotonic
from typing import Any

import av
from av.video.frame import VideoFrame

from ...engines.errors import SourceError
from ..images.pixels import Pixels
from ..values.arrays import Image
from .base import Arrival, FrameSource, Images, Media, SourceInfo, TimeRange
from .conversion import Converter, colour_matrix, is_sideways, is_wide_gamut, to_bgr
from .nvdec import GpuDecoder, decoder_for
from .packets.causes import cause
from .packets.container import WHOLE, exact, reason
from .packets.decoder import Decoder
from .packets.demuxer import Demuxer
from .packets.headers import described, has_no_timestamps
from .packets.numbering import Numbering
from .packets.opening import Opener
from .packets.run_up import RunUp
from .packets.stored import public
from .packets.timestamps import ArrivalClock, MediaClock

_log = logging.getLogger(__name__)

_UNENDING = ("rtsp://", "rtsps://", "rtmp://", "rtmps://")  # streams that end only when the connection does
_UNENDING_FORMAT = "mpjpeg"  # MJPEG over HTTP, as cameras send it
_INDEX_LAST = (
    "an MP4 with its index at the end needs a server that answers range requests: "
    "download it first, or write it with the index in front (faststart)"
)
_LAST_PART = 1.0  # seconds before the end of a recording
_USUAL_RATE = Fraction(25)  # if a file does not tell
_Timed = tuple[VideoFrame, float, int]  # frame, time in seconds and number since the last seek


def open_media(
    location: str,
    name: str,
    time_range: TimeRange,
    *,
    timeout: float | None = None,
    decode: str = "cpu",
    stream: int | None = None,
    light: bool = False,
) -> FrameSource:
    """Open a video file or, with a ``timeout``, a network stream.

    Args:
        location: absolute path, or URL.
        name: name for messages, without passwords.
        time_range: requested part.
        timeout: seconds without any data after which a stream counts as dead; None for a file.
        decode: device that decodes, as in ``open_source``.
        stream: number of the video stream; None for the default one.
        light: decode in the calling thread alone, without sound, and with colours that may differ by a few levels.

    Raises:
        SourceError: it does not answer, is not a video, cannot be decoded on that device, or has no frame in the time
            range.
    """
    reader = _Reader(Media(location, timeout, stream), name, decoder_for(decode, name), light=light)
    if reader.info.live and time_range.start is not None:
        reader.close()
        raise SourceError(
            f"{name}: a live source has no position {time_range.start:g} s to start from; leave start out"
        )
    if reader.info.live:
        _log.info("%s: live; Frame.index counts from the first frame received", name)
    source = FrameSource(reader.images(time_range.start or 0.0), reader.info, time_range)
    source.arrival = reader.arrival
    info = reader.info  # the first frame has told more
    source.info = replace(source.info, pixel_aspect=info.pixel_aspect, wide_gamut=info.wide_gamut)
    if source.info.sound is not None:
        source.info = replace(source.info, sound=replace(source.info.sound, zero=reader.zero or Fraction(0)))
    return source


def open_stored_video(url: str, *, start: float | None = None) -> FrameSource:
    """Open a video in storage, such as S3, from ``start`` seconds on; see ``stored_path``.

    Raises:
        SourceError: it cannot be opened, or is not a video.
    """
    return open_media(url, public(url), TimeRange(start))


class _Reader:
    """Decodes the video stream of a container; ``images`` closes it when it ends."""

    def __init__(self, media: Media, name: str, gpu: GpuDecoder | None, *, light: bool) -> None:
        self._media, self._name, self._opener, self._light = media, name, Opener(name, gpu), light
        self._lost = 0  # packets that earlier decoders could not decode
        self._before: int | None = 0  # frames before those that the numbering counts; None if unknown
        self._open()
        self._time = 0.0
        self.arrival = Arrival()  # of the newest packet
        self._is_silent = False  # the server does not answer

    @property
    def zero(self) -> Fraction | None:
        """Timestamp of the first frame in seconds, from which all times count; None if the frames have none."""
        return self._clock.origin

    def _describe(self, frame: VideoFrame) -> None:
        """Add to ``info`` how the pixels and colours of a frame are to be shown.

        Raises:
            SourceError: its colours cannot be converted.
        """
        try:
            colour_matrix(frame)
        except SourceError as error:
            raise SourceError(f"{self._name}: {error}") from error
        aspect = exact(self._demuxer.video.sample_aspect_ratio) or Fraction(1)
        aspect = 1 / aspect if is_sideways(frame) else aspect
        self.info: SourceInfo = replace(self.info, pixel_aspect=aspect, wide_gamut=is_wide_gamut(frame))

    def close(self) -> None:
        """Close the file or connection."""
        if self._is_silent:  # saying goodbye takes as long as the timeout
            threading.Thread(target=self._demuxer.close, daemon=True).start()
        else:
            self._demuxer.close()

    def images(self, start: float) -> Images:
        """Yield upright BGR images from ``start`` seconds on, with their times and numbers."""
        begun = False
        try:
            for frame, time, number in self._enter(start):
                if time >= start:
                    if not begun:
                        self._describe(frame)
                    begun = True
                    if self._before is None:  # unknown: count from here
                        self._before = -number
                    yield self._image_of(frame), time, self._before + number
            if self._any and not begun:
                length = self._time + float(1 / (self.info.rate or _USUAL_RATE))
                raise SourceError(
                    f"{self._name}: start is {start:g} s, but it lasts {length:.2f} s; give an earlier start"
                )
        finally:
            self.close()
            if lost := self._lost + self._decoder.lost:
                what = (
                    "1 packet could not be decoded and was"
                    if lost == 1
                    else f"{lost} packets could not be decoded and were"
                )
                _log.warning("%s is damaged: %s skipped", self._name, what)

    def _open(self) -> None:
        self._demuxer = Demuxer(self._media, self._opener, self._name, with_sound=not self._light)
        container, stream = self._demuxer.container, self._demuxer.video
        self.info = described(container, stream, self._media, self._name)
        # AVI has packet counts instead of presentation times; the times that FFmpeg derives are not in order.
        self._only_dts = container.format.name == "avi"
        self._base = self._demuxer.base
        if self.info.live and has_no_timestamps(container):
            self.info = replace(self.info, rate=None)  # FFmpeg assumes 25
            self._clock: MediaClock | ArrivalClock = ArrivalClock()
        else:
            self._clock = MediaClock(1 / (self.info.rate or _USUAL_RATE), self._base)
        self._before = 0
        self._any = False  # frames so far
        self._run_up: RunUp | None = None  # to a start that has not been reached
        self._follow()

    def _follow(self) -> None:
        """Decode the stream that the demuxer reads now."""
        self._stream = self._demuxer.video
        # Frame threads hold back one frame each: good for a file, bad for a camera, and useless on a GPU.
        self._stream.thread_type = "SLICE" if self.info.live or self._opener.gpu or self._light else "AUTO"
        if self._light:
            self._stream.codec_context.thread_count = 1
        self._convert = Converter()
        self._reopen = self._demuxer.reopener()
        self._decoder = Decoder(self._stream, by_dts=self._only_dts)
        self._numbering = Numbering(self._demuxer.container, self._stream, by_dts=self._only_dts)

    def _enter(self, start: float) -> Iterator[_Timed]:
        """Yield frames from a little before ``start``, and the first one, which defines time 0.

        Where a seek does not find the time or the number of a frame, all packets are read, and those before the last
        key frames are not decoded.
        """
        demuxer = self._demuxer
        seeks = self._numbering.is_indexed and not demuxer.is_joined if demuxer.is_local else not demuxer.is_joinable
        self._run_up = RunUp(start) if start and not seeks else None
        frames = self._timed()
        first = next(frames, None)
        if seeks and first and first[1] < start:
            sought = self._sought(start)
            if sought is None:
                self.close()
                self._open()
                self._run_up = RunUp(start)
                frames, first = self._timed(), None
            else:
                frames, first = sought
        if first:
            yield first
        yield from frames

    def _sought(self, start: float) -> tuple[Iterator[_Timed], _Timed] | None:
        """Return the frames from a seek to before ``start`` on, and the first of them; None if it finds none."""
        if self._clock.origin is None or (self._demuxer.is_local and not self._numbering.is_indexed):
            return None
        for target in _steps_back(start):
            try:
                self._demuxer.seek(self._clock.origin + target)
            except av.FFmpegError as error:
                _log.info("%s: cannot seek (%s); reading from the start", self._name, reason(error))
                return None
            self._clock.rewind()
            self._numbering.restart()
            frames = self._timed()
            try:
                first = next(frames, None)
            except SourceError as error:  # a server without ranges ends the connection
                if self._demuxer.is_local:
                    raise
                _log.info("%s; reading from the start", error)
                return None
            if first and first[1] <= start:
                self._before = self._numbering.frames_before()
                if self._before is None:
                    if self._demuxer.is_local:
                        return None
                    self._warn_of_numbers()
                return frames, first
        return None

    def _warn_of_numbers(self) -> None:
        _log.warning("%s: its frames before the start cannot be counted; Frame.index begins at 0", self._name)

    def _timed(self) -> Iterator[_Timed]:
        for frame in self._decode():
            self._time = self._clock.stamp(None if self._only_dts else frame.pts, frame.dts)
            self._any = True
            yield frame, self._time, self._numbering.number(frame)

    def _decode(self) -> Iterator[VideoFrame]:
        """Yield all frames that can be decoded, then raise an error if the file or stream ended early."""
        broken = None
        self._decoder.restart()
        try:
            for packet in self._demuxer.packets():
                if self._demuxer.video is not self._stream:
                    yield from self._change_stream()
                if packet.stream.index != self._stream.index:
                    continue
                self.arrival.time = monotonic()
                if packet.has_sidedata("encryption_info"):
                    raise SourceError(f"{self._name}: it is encrypted; give a decrypted copy")
                self._numbering.add(packet, decoded=self._run_up is None)
                if self._run_up is None:
                    frames = self._decoder.decode(packet)
                    self.arrival.damaged = self._lost + self._decoder.lost
                    yield from frames
                else:
                    yield from self._approach(packet)
        except av.FFmpegError as error:
            broken, self._is_silent = reason(error), isinstance(error, av.ExitError)
        if self._run_up is not None:
            yield from self._arrive()
        yield from self._decoder.flush(self._reopen)
        is_unending = self._demuxer.container.format.name == _UNENDING_FORMAT
        is_unending = is_unending or self._media.location.lower().startswith(_UNENDING)
        if is_unending and not self._is_over():
            broken = broken or "the server has ended the stream"
        cut_short = not self.info.live and self._decoder.begun and self._demuxer.is_cut_short()
        if not self._any and not self.info.live and self._run_up is None and (known := cause(self._media.location)):
            raise SourceError(f"{self._name}: {known}")
        if broken or cut_short:  # nothing was read: the seek went past the end
            raise SourceError(self._broken_off(broken))

    def _is_over(self) -> bool:
        """Return True at the end of a recording, whose length the server tells."""
        length = self._demuxer.container.duration
        return length is not None and self._time > length / av.time_base - _LAST_PART

    def _approach(self, packet: Any) -> Iterator[VideoFrame]:
        """Yield the first frame of the stream, then those of the packets that lead to the start once it is reached."""
        assert self._run_up is not None
        stamp, origin = packet.dts if self._only_dts else packet.pts, self._clock.origin
        if stamp is None and not self._run_up.frames:  # without timestamps the frames must be counted
            self._run_up = None
            yield from self._decoder.decode(packet)
            return
        self._run_up.add(packet)
        if not self._run_up.frames:
            self._run_up.decoded += 1
            self._run_up.frames = self._decoder.decode(packet)
            yield from self._run_up.frames[:1]
            if self._run_up.frames and self._time >= self._run_up.start:
                yield from self._arrive()
        elif self._run_up.is_full or (
            stamp is not None and origin is not None and stamp * self._base - origin >= self._run_up.start
        ):
            yield from self._arrive()
        else:
            self._run_up.drop()

    def _arrive(self) -> Iterator[VideoFrame]:
        """Yield the frames of the packets that lead to the start; from here on all are decoded."""
        run_up, self._run_up = self._run_up, None
        assert run_up is not None
        packets = list(run_up.packets)
        if not run_up.dropped:
            yield from run_up.frames[1:]
            packets = packets[run_up.decoded :]
        else:
            if self._numbering.by_count:
                self._before = None
                self._warn_of_numbers()
            self._stream.codec_context.flush_buffers()
            self._decoder.restart()
            self._numbering.again()
            self._clock.rewind()
        for packet in packets:
            yield from self._decoder.decode(packet)

    def _change_stream(self) -> Iterator[VideoFrame]:
        """Yield the last frames of a stream that has ended, and continue with the one that follows in the file."""
        if self._run_up is None:
            yield from self._decoder.flush(self._reopen)
        else:
            self._run_up = RunUp(self._run_up.start)
        if self.info.sound is None and self._demuxer.sound is not None:
            _log.warning("%s: sound begins at %.2f s, too late to be kept", self._name, self._time)
        self._lost += self._decoder.lost
        if self._before is not None:
            self._before += self._numbering.total
        self._follow()

    def _broken_off(self, why: str | None) -> str:
        local = self._media.timeout is None
        why = why or ("the file is truncated" if local else "the connection was lost")
        if not self._any:
            is_mp4 = self._demuxer.container.format.name.startswith("mov")
            remedy = _INDEX_LAST if is_mp4 else "check the connection, and try again"
            return f"{self._name}: no frame of it could be read ({why}); {WHOLE if local else remedy}"
        text = f"{self._name}: ended early at {self._time:.2f} s"
        if self.info.duration is not None and self._demuxer.states_length:
            text += f" of {self.info.duration:.2f} s"
        return f"{text} ({why}); all frames before it were read, and the outputs so far are kept"

    def _image_of(self, frame: VideoFrame) -> Image | Pixels:
        gpu = self._opener.gpu
        if gpu is not None and (pixels := gpu.pixels(frame)) is not None:
            return pixels
        return to_bgr(frame, self._convert, exact=not self._light)


def _steps_back(start: float) -> Iterator[Fraction]:
    """Yield ``start`` and earlier and earlier times, because a seek may land too late."""
    back = 0
    while start - back > 0:
        yield Fraction(start) - back
        back = 2 * back + 1
