"""Sound of a source, moved to the clock of the annotated video."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from fractions import Fraction

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.filter import Graph
from av.packet import Packet

from ...engines.errors import SourceError
from ..sources.base import Media, SourceInfo
from ..sources.packets.container import channels_of, has_custom_layout, open_container, reason
from ..sources.packets.demuxer import Demuxer

_log = logging.getLogger(__name__)

# Codecs that players expect in a container; all others are encoded again. Matroska accepts whatever FFmpeg can write.
_COPIED = {
    ".mp4": {"aac", "mp3", "ac3", "eac3", "alac", "opus"},
    ".mov": {"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be"},
}
_LAYOUTS = {1: "mono", 6: "5.1", 8: "7.1"}  # of encoded sound, by the number of channels; others become stereo
_USUAL_RATE = 48_000
_AUDIBLE = 0.02  # seconds by which sound may be off before silence is put in or samples are left out
_LOWEST_MP3 = 16_000  # samples a second of MP3 in MP4, at least
# Seconds without sound, at the beginning or between two packets, that MP4 cannot represent by itself.
_GAP = Fraction(1, 4)
_RUN_UP = Fraction(2)  # seconds read before the start, because a seek lands on a key frame of the video


def open_sound(info: SourceInfo, output: OutputContainer, *, suffix: str, start: float) -> Sound | None:
    """Add a sound stream to ``output``, which must not have been written to yet.

    Args:
        info: description of the source, which is opened a second time.
        output: container of the video being written.
        suffix: suffix of the output, as in ``.mp4``.
        start: time of the first written frame, in seconds after the source's first frame; 0 in the video.

    Returns:
        None if the source has no sound after ``start``, or is live. Sound that cannot be read costs the sound, never
        the video, and a warning says so.
    """
    media = info.sound
    if media is None or info.live:
        return None
    moment = media.zero + Fraction(start)
    demuxer = None
    try:
        demuxer = Demuxer(media, open_container, info.name)
        stream = _sound_in(demuxer, media, info.name)
        if stream is not None and not (demuxer.is_seekable and _ends_before(stream, moment)):
            return Sound(demuxer, stream, output, name=info.name, suffix=suffix, start=moment)
    except (FFmpegError, SourceError, ValueError) as error:
        why = reason(error) if isinstance(error, FFmpegError) else str(error)
        _log.warning("%s: its sound cannot be read (%s); the video will have no sound", info.name, why)
    except BaseException:
        if demuxer is not None:
            demuxer.close()
        raise
    if demuxer is not None:
        demuxer.close()
    return None


def _sound_in(demuxer: Demuxer, media: Media, name: str) -> AudioStream | None:
    """Return the sound stream to write.

    One without a sample rate is declared only. Its packets may begin later in the file, so they are looked for.
    """
    stream = demuxer.sound
    if stream is None:
        if demuxer.container.streams.audio:
            _log.warning("%s: the codec of its sound is unknown to FFmpeg; the video will have no sound", name)
        return None
    if stream.sample_rate:
        return stream
    with Demuxer(media, open_container, name) as search:
        for packet in search.packets():
            if isinstance(packet.stream, AudioStream) and packet.stream.sample_rate:
                return stream
    _log.warning("%s: its sound is declared, but missing; the video will have no sound", name)
    return None


def _ends_before(stream: AudioStream, moment: Fraction) -> bool:
    """Return True if the stream ends by ``moment``, in seconds on the source's clock, according to its header."""
    if stream.start_time is None or stream.duration is None or not stream.time_base:
        return False
    return (stream.start_time + stream.duration) * stream.time_base <= moment


class Sound:
    """Sound written beside the video: packets are copied if the container accepts them, else encoded as AAC.

    Sound whose codec or sample rate may change, as in files that are joined and in FLV, is always encoded.
    """

    def __init__(
        self,
        demuxer: Demuxer,
        stream: AudioStream,
        output: OutputContainer,
        *,
        name: str,
        suffix: str,
        start: Fraction,
    ) -> None:
        """Add the stream.

        Args:
            demuxer: packets of the source; closed with the sound.
            stream: sound stream that the demuxer reads first.
            output: container of the video being written.
            name: name of the source for messages.
            suffix: suffix of the output.
            start: time on the source's clock, in seconds, that becomes 0.
        """
        self._name, self._demuxer, self._output, self._start = name, demuxer, output, start
        self._is_mp4 = suffix != ".mkv"
        begin = stream.start_time
        # If a track has no packet in the first fragment, a killed process leaves no readable MP4; so silence is added.
        late = self._is_mp4 and (begin is None or begin * (stream.time_base or 0) - start > _GAP)
        channels = channels_of(stream)
        if not (late or demuxer.may_change) and _can_be_copied(stream, output, suffix):
            self._target = output.add_stream_from_template(stream)
            packets = self._copied()
        else:
            self._target = output.add_stream("aac", rate=_aac_rate(stream.sample_rate))
            self._target.layout = _LAYOUTS.get(channels, "stereo")
            packets = self._encoded()
        self._packets = self._usable(packets)
        self._next: Packet[AudioStream] | None = None
        self._begun = False

    def write_until(self, time: float, *, last: bool = False) -> None:
        """Write every packet that begins before ``time``, in seconds of the video; ``last`` if the video ends there."""
        if not self._begun:
            self._begun = True
            self._seek()
            self._next = next(self._packets, None)
        while (packet := self._next) is not None and _begin(packet) < time:
            if _end(packet) > time + _GAP:
                # MP4 adds the gap that follows to the packet, but the sound must not outlast the video.
                if self._is_mp4 and not last:
                    return
                packet.duration = round((Fraction(time) - _begin(packet)) / packet.time_base)
            try:
                self._output.mux(packet)
            except ValueError as error:  # FFmpeg rejects the packet; errors of the disk are others
                self._packets.close()
                _log.warning("%s: its sound ends early (%s)", self._name, error)
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Close the source; calling it again does nothing."""
        self._packets.close()
        self._demuxer.close()

    def _seek(self) -> None:
        if self._demuxer.is_seekable and self._start > _RUN_UP:
            with suppress(FFmpegError):  # a file without seeking is read from its beginning
                self._demuxer.seek(self._start - _RUN_UP)

    def _usable(self, packets: Iterator[Packet[AudioStream]]) -> Generator[Packet[AudioStream], None, None]:
        """Yield the packets from the start on, in order; if the source cannot be read further, the sound ends.

        In MP4 each lasts until the next one begins, because a fragment continues where the previous one ends.
        """
        last: Packet[AudioStream] | None = None
        try:
            for packet in packets:
                begin = _begin(packet)
                # Of a packet across 0, MP4 plays only the later part, by an edit list. Matroska has no
                # edit list and would delay the video instead.
                if (_end(packet) if self._is_mp4 else begin) < 0 or (last is not None and begin <= _begin(last)):
                    continue
                packet.stream = self._target
                if last is not None:
                    if self._is_mp4:
                        last.duration = round((begin - _begin(last)) / last.time_base)
                    yield last
                last = packet
        except FFmpegError as error:
            _log.warning("%s: its sound ends early (%s)", self._name, reason(error))
        except ValueError as error:
            _log.warning("%s: its sound ends early (%s)", self._name, error)
        if last is not None:
            yield last

    def _copied(self) -> Iterator[Packet[AudioStream]]:
        for packet in self._demuxer.packets():
            if isinstance(packet.stream, AudioStream) and packet.pts is not None:
                packet.pts -= round(self._start / packet.time_base)
                packet.dts = packet.pts
                yield packet

    def _encoded(self) -> Iterator[Packet[AudioStream]]:
        for frame in self._resampled():
            yield from self._target.encode(frame)
        yield from self._target.encode(None)

    def _resampled(self) -> Iterator[AudioFrame]:
        """Yield frames from 0 on without gaps: with silence where the source has no sound, and cut at 0."""
        graph, kind, end = None, None, 0
        for frame in self._decoded():
            if frame.pts is None or frame.time_base is None:
                continue
            now = frame.sample_rate, frame.format.name, frame.layout.name
            if now != kind:
                for part in _drained(graph):
                    end = (part.pts or 0) + part.samples
                    yield part
                graph, kind = self._graph(*now, first=end), now
            assert graph is not None
            frame.pts = round((frame.pts * frame.time_base - self._start) * frame.sample_rate)
            frame.time_base = Fraction(1, frame.sample_rate)
            graph.push(frame)
            for part in _pulled(graph):
                end = (part.pts or 0) + part.samples
                yield part
        yield from _drained(graph)

    def _decoded(self) -> Iterator[AudioFrame]:
        """Decode what can be decoded."""
        stream, damaged = None, 0
        decode: Callable[[Packet[AudioStream] | None], list[AudioFrame]] | None = None
        for packet in self._demuxer.packets():
            if not isinstance(packet.stream, AudioStream):
                continue
            if packet.stream is not stream:
                if decode is not None:
                    yield from decode(None)
                stream = packet.stream
                channels_of(stream)
                decode = stream.decode
            assert decode is not None
            try:
                frames = decode(packet)
            except FFmpegError:
                damaged += 1
                continue
            for frame in frames:
                if has_custom_layout(frame):
                    raise ValueError(f"its channels cannot be decoded: {frame.layout.name}")
                yield frame
        if decode is not None:
            with suppress(FFmpegError):
                yield from decode(None)
        if damaged:
            _log.warning("%s: %d packets of its sound could not be decoded and are silent", self._name, damaged)

    def _graph(self, rate: int, form: str, layout: str, *, first: int) -> Graph:
        """Return a graph that converts to the target, from its sample ``first`` on."""
        graph, target = Graph(), self._target
        first = round(Fraction(first * rate, target.rate))  # FFmpeg counts in samples of the input
        nodes = (
            graph.add_abuffer(sample_rate=rate, format=form, layout=layout, time_base=Fraction(1, rate)),
            graph.add("aresample", f"{target.rate}:async=1:min_hard_comp={_AUDIBLE}:first_pts={first}"),
            graph.add("aformat", f"sample_fmts={target.format.name}:channel_layouts={target.layout.name}"),
            graph.add("abuffersink"),
        )
        graph.link_nodes(*nodes).configure()
        return graph


def _can_be_copied(stream: AudioStream, output: OutputContainer, suffix: str) -> bool:
    codec, rate = stream.codec_context.codec.canonical_name, stream.sample_rate
    if not rate or codec not in output.supported_codecs or codec not in _COPIED.get(suffix, {codec}):
        return False
    if codec == "mp3" and suffix == ".mp4" and rate < _LOWEST_MP3:
        return False
    return codec != "aac" or bool(stream.codec_context.extradata)  # without, each packet has its own header


def _drained(graph: Graph | None) -> Iterator[AudioFrame]:
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph)


def _pulled(graph: Graph) -> Iterator[AudioFrame]:
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):  # no more frames for now, or at all
            return
        assert isinstance(frame, AudioFrame)
        yield frame


def _begin(packet: Packet[AudioStream]) -> Fraction:
    assert packet.pts is not None
    return packet.pts * packet.time_base


def _end(packet: Packet[AudioStream]) -> Fraction:
    return _begin(packet) + (packet.duration or 0) * packet.time_base


def _aac_rate(rate: int) -> int:
    """Return ``rate`` if AAC has it, else the usual one."""
    return rate if rate in (av.Codec("aac", "w").audio_rates or ()) else _USUAL_RATE
