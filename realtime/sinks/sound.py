"""The sound of a source, carried over to the clock of the annotated video."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from contextlib import suppress
from fractions import Fraction

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.filter import Graph
from av.packet import Packet
from av.stream import Disposition

from ..sources.base import Media, SourceInfo
from ..sources.container import open_container, reason

_log = logging.getLogger(__name__)

# What players expect in a container; all else is encoded again. Matroska takes whatever FFmpeg can write.
_COPIED = {
    ".mp4": {"aac", "mp3", "ac3", "eac3", "alac", "opus"},
    ".mov": {"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be"},
}
_GAP = Fraction(1, 4)  # seconds without sound, at the beginning or between two packets, that MP4 needs help with
_RUN_UP = 2.0  # seconds read before the start, because a seek lands on a key frame of the video


def open_sound(info: SourceInfo, output: OutputContainer, *, suffix: str, start: float) -> Sound | None:
    """Add a sound stream to ``output``, which must not have been written to yet.

    Args:
        info: of the source, which is opened a second time; its first sound stream is taken.
        output: the video that is written.
        suffix: of the output, as in ``.mp4``.
        start: seconds after the source's first frame that become 0 in the video.

    Returns:
        None where the source has no sound after ``start``, or is live. One that cannot be read costs the sound, never
        the video.
    """
    if info.sound is None or info.live:
        return None
    try:
        zero = _first_frame(info.sound)
        source = open_container(info.sound)
    except FFmpegError as error:
        _log.warning("%s: its sound cannot be read (%s); the video stays silent", info.name, reason(error))
        return None
    usable = [stream for stream in source.streams.audio if stream.codec_context is not None]
    if zero is None or not usable or _ends_before(usable[0], zero + Fraction(start)):
        source.close()
        return None
    return Sound(source, usable[0], output, name=info.name, suffix=suffix, start=zero + Fraction(start))


def _ends_before(stream: AudioStream, moment: Fraction) -> bool:
    """True where the header says that the stream is over by ``moment``, seconds on the source's clock."""
    if stream.start_time is None or stream.duration is None or not stream.time_base:
        return False
    return (stream.start_time + stream.duration) * stream.time_base <= moment


def _first_frame(media: Media) -> Fraction | None:
    """Return the time of the first frame on the source's own clock: the zero of ``Frame.time``."""
    with open_container(media) as container:
        films = [film for film in container.streams.video if not film.disposition & Disposition.attached_pic]
        for packet in container.demux(films[:1]) if films else ():
            with suppress(FFmpegError):  # damaged: the source skips it too
                for frame in films[0].decode(packet):
                    stamp = frame.dts if frame.pts is None else frame.pts
                    return None if stamp is None else stamp * packet.time_base
    return None


class Sound:
    """Sound written beside the video: packets are copied if the container accepts them, else encoded as AAC."""

    def __init__(
        self,
        source: InputContainer,
        stream: AudioStream,
        output: OutputContainer,
        *,
        name: str,
        suffix: str,
        start: Fraction,
    ) -> None:
        """Add the stream; ``start`` is the moment, seconds on the source's clock, that becomes 0."""
        self._name = name
        self._source, self._stream, self._output, self._start = source, stream, output, start
        self._is_mp4 = suffix != ".mkv"
        codec = stream.codec_context.codec.canonical_name
        begin = stream.start_time
        # A killed process leaves no MP4 where a track has nothing in the first fragment: silence is put there.
        late = self._is_mp4 and (begin is None or begin * (stream.time_base or 0) - start > _GAP)
        if not late and codec in output.supported_codecs and codec in _COPIED.get(suffix, {codec}):
            self._target = output.add_stream_from_template(stream)
            # AAC of a transport stream has a header in each packet. Matroska takes it off by itself, MP4 in
            # fragments does not.
            packets = self._copied(unframe=codec == "aac" and self._is_mp4)
        else:
            self._target = output.add_stream("aac", rate=_aac_rate(stream.sample_rate))
            self._target.layout = "mono" if stream.channels == 1 else "stereo"
            packets = self._encoded()
        self._packets = self._usable(packets)
        self._next: Packet[AudioStream] | None = None
        self._begun = False

    def write_until(self, time: float, *, last: bool = False) -> None:
        """Write every packet that begins before ``time``, seconds of the video; ``last`` where that is its end."""
        if not self._begun:
            self._begun = True
            self._seek()
            self._next = next(self._packets, None)
        while (packet := self._next) is not None and _begin(packet) < time:
            if _end(packet) > time + _GAP:
                # A gap follows, which MP4 counts to the packet. The file must not last longer than the video for it.
                if self._is_mp4 and not last:
                    return
                packet.duration = round((Fraction(time) - _begin(packet)) / packet.time_base)
            self._output.mux(packet)
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Close the source; calling it again does nothing."""
        self._packets.close()
        self._source.close()

    def _seek(self) -> None:
        if self._start > _RUN_UP:
            with suppress(FFmpegError):  # what cannot be sought is read from its beginning
                self._source.seek(int((self._start - Fraction(_RUN_UP)) * av.time_base))

    def _usable(self, packets: Iterator[Packet[AudioStream]]) -> Generator[Packet[AudioStream], None, None]:
        """Those not before the start and in order; a damaged end of the source ends the sound.

        In MP4 each lasts until the next one begins, for a fragment goes on where the one before it ends.
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
            _log.warning("%s: its sound breaks off (%s)", self._name, reason(error))
        if last is not None:
            yield last

    def _copied(self, *, unframe: bool) -> Iterator[Packet[AudioStream]]:
        bare = BitStreamFilterContext("aac_adtstoasc", self._stream) if unframe else None
        for packet in self._source.demux(self._stream):
            if packet.pts is not None:
                packet.pts -= round(self._start / packet.time_base)
                packet.dts = packet.pts
                yield from bare.filter(packet) if bare else [packet]

    def _encoded(self) -> Iterator[Packet[AudioStream]]:
        for frame in self._resampled():
            yield from self._target.encode(frame)
        yield from self._target.encode(None)

    def _resampled(self) -> Iterator[AudioFrame]:
        """Frames from 0 on without a gap: silence where the source has none, cut where it begins before."""
        graph = None
        for frame in self._source.decode(self._stream):
            if frame.pts is None or frame.time_base is None:
                continue
            graph = graph or self._graph(frame)
            frame.pts = round((frame.pts * frame.time_base - self._start) * frame.sample_rate)
            frame.time_base = Fraction(1, frame.sample_rate)
            graph.push(frame)
            yield from _pulled(graph)
        if graph is not None:
            graph.push(None)
            yield from _pulled(graph)

    def _graph(self, frame: AudioFrame) -> Graph:
        graph, target = Graph(), self._target
        nodes = (
            graph.add_abuffer(
                sample_rate=frame.sample_rate,
                format=frame.format.name,
                layout=frame.layout.name,
                time_base=Fraction(1, frame.sample_rate),
            ),
            graph.add("aresample", f"{target.rate}:async=1:first_pts=0"),
            graph.add("aformat", f"sample_fmts={target.format.name}:channel_layouts={target.layout.name}"),
            graph.add("abuffersink"),
        )
        graph.link_nodes(*nodes).configure()
        return graph


def _pulled(graph: Graph) -> Iterator[AudioFrame]:
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):  # no more for now, or at all
            return
        assert isinstance(frame, AudioFrame)
        yield frame


def _begin(packet: Packet[AudioStream]) -> Fraction:
    assert packet.pts is not None
    return packet.pts * packet.time_base


def _end(packet: Packet[AudioStream]) -> Fraction:
    return _begin(packet) + (packet.duration or 0) * packet.time_base


def _aac_rate(rate: int) -> int:
    """``rate`` where AAC has it, else the usual one."""
    return rate if rate in (av.Codec("aac", "w").audio_rates or ()) else 48_000
