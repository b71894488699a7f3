"""Decoder of one video stream that keeps every frame FFmpeg can decode, and counts the packets it cannot."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import av
from av.codec.context import Flags, ThreadType
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .container import reason

_log = logging.getLogger(__name__)

_FRAME_THREADS = 1 << 12  # FFmpeg's AV_CODEC_CAP_FRAME_THREADS
_REORDERED = 32  # maximum number of frames that a codec holds back to reorder them
_MOST_BYTES = 256 * 2**20  # packets that are kept to be decoded again

# Codecs whose decoders may lose a packet without an error, with the size in bytes up to which a packet has no frame of
# its own (an end code, or a frame that is not coded). Each longer one gives a frame, unless ``is_hidden``.
_SILENT = {
    **{"h264": 16, "hevc": 16, "mpeg1video": 8, "mpeg2video": 8, "mpeg4": 19},
    **{"mjpeg": 0, "vp8": 0, "vp9": 0, "av1": 0},
}
_REFRESHED = ("h264", "hevc")  # codecs that can begin without a key frame; incomplete images are not shown
_FRAGILE = ("av1", "vp9")  # codecs that lose good frames beside a damaged one when they use threads
_PATIENCE = 256  # maximum number of packets between a packet and its frame
_MOST_LOST = 4096  # numbers of lost packets that are kept; older ones are counted


class Decoder:
    """Decodes packets to frames.

    With one thread per frame, a decoder reports an error some packets late. Errors still pending at the end of the
    stream are reported when the decoder is flushed, and PyAV then stops at the first one, so the frames after it are
    lost. The last packets are therefore kept. If fewer frames than packets came out, they are decoded again without
    threads, and the missing frames are added. Some decoders (``_FRAGILE``) drop good frames beside a damaged one while
    they run on several threads. After their first error, decoding continues without threads from an earlier key frame.

    A packet counts as lost if the decoder reports an error. Some decoders report none; with these, a packet also counts
    if no frame has its presentation time.
    """

    def __init__(self, stream: VideoStream, *, by_dts: bool) -> None:
        """Decode ``stream``.

        Args:
            stream: stream of an open container, with its threads set.
            by_dts: order frames by decoding times, because presentation times are not in order.
        """
        self._stream, self._by_dts = stream, by_dts
        codec = stream.codec_context.codec  # PyAV 19 has none once opening the decoder has failed
        self._codec, self._by_frame = codec.canonical_name, bool(codec.capabilities & _FRAME_THREADS)
        self._earlier = 0  # lost packets before the last start
        self._lost: set[int] = set()  # numbers of the lost packets since then
        self.restart()

    @property
    def begun(self) -> bool:
        """True once a frame has come out since the last start."""
        return self._frames > 0

    @property
    def lost(self) -> int:
        """Number of packets that could not be decoded."""
        return self._earlier + len(self._lost)

    def restart(self) -> None:
        """Expect a packet from anywhere, because the reader has moved."""
        self._context: Any = self._stream.codec_context
        self._decode: Callable[[Any], list[VideoFrame]] = self._stream.decode
        self._runs_behind = self._stream.thread_type != ThreadType.SLICE and self._context.thread_count != 1
        self._earlier, self._lost = self.lost, set()
        self._sent = self._frames = self._errors = 0
        self._first_key: int | None = None  # number of the first packet that can be decoded by itself
        self._first_time: int | None = None  # its presentation time; None also if no frame is expected
        self._has_begun = False
        self._awaited: dict[int, int] = {}  # presentation times without a frame so far, and packet numbers
        self._recent: deque[float] = deque(maxlen=2 * _REORDERED)  # times of the decoded frames
        self._kept: deque[Any] = deque()
        self._keys: deque[int] = deque()  # numbers of key frames among the packets that are kept to be decoded again
        self._bytes = 0
        self._context.flags &= ~Flags.output_corrupt

    def decode(self, packet: Any) -> list[VideoFrame]:
        """Decode ``packet`` and return the frames that are ready."""
        self._sent += 1
        if self._first_key is None and packet.is_keyframe:
            self._first_key, self._first_time = self._sent, packet.pts
        self._keep(packet)
        self._await(packet)
        if len(self._lost) > _MOST_LOST and not self._runs_behind:
            self._settle()
        try:
            return self._count(self._decode(packet))
        except (av.FFmpegError, ValueError) as error:  # ValueError from PyAV 19 if the decoder cannot be opened
            if self._runs_behind and self._codec in _FRAGILE and self._kept:
                return self._without_threads()
            self._errors += 1
            self._note(self._sent - self._behind(), error)
            return []

    def flush(self, reopen: Callable[[], InputContainer]) -> Iterator[VideoFrame]:
        """Yield the frames that the decoder still holds.

        Args:
            reopen: opens the container once more, to decode the end of the stream again.
        """
        failed = None
        try:
            yield from self._count(self._decode(None))
        except EOFError:
            pass
        except (av.FFmpegError, ValueError) as error:
            failed = error
        if self._kept and (failed is not None or self._frames + self._errors < self._sent):
            yield from self._end_again(reopen)
        elif failed is not None:
            self._note(self._sent, failed)
        self._lost.update(self._awaited.values())
        self._awaited.clear()

    def _without_threads(self) -> list[VideoFrame]:
        """Switch to a decoder without threads; return the frames that the previous decoder has not returned."""
        threaded, self._runs_behind = self._context, False
        self._context = av.CodecContext.create(threaded.codec, "r")
        self._context.extradata = threaded.extradata
        self._context.thread_type, self._context.thread_count = "SLICE", 1
        self._decode = self._context.decode
        missing = list(self._again(self._context, list(self._kept)))
        self._kept.clear()
        return missing

    def _end_again(self, reopen: Callable[[], InputContainer]) -> Iterator[VideoFrame]:
        """Decode the end of the stream again without threads, and yield the frames that are missing."""
        with reopen() as container:
            stream = container.streams[self._stream.index]
            assert isinstance(stream, VideoStream)
            stream.thread_type, stream.codec_context.thread_count = "SLICE", 1
            yield from self._again(stream.codec_context, [*self._kept, None])

    def _again(self, context: Any, packets: list[Any]) -> Iterator[VideoFrame]:
        """Decode the kept packets in ``context``, and yield the frames that are missing."""
        first, latest = self._keys[0], max(self._recent, default=-math.inf)
        self._lost = {lost for lost in self._lost if lost < first}
        for number, packet in enumerate(packets, first):
            try:
                frames = context.decode(packet)
            except EOFError:
                return
            except (av.FFmpegError, ValueError) as error:
                if packet is not None:
                    self._note(number, error)
                continue
            if frames:
                context.flags |= Flags.output_corrupt
            yield from self._count([frame for frame in frames if self._time(frame) > latest])

    def _keep(self, packet: Any) -> None:
        """Keep the packets from the second-last key frame, or from an earlier one."""
        if not self._runs_behind:
            return
        if packet.is_keyframe or self._sent == 1:
            self._keys.append(self._sent)
        if self._keys:
            self._kept.append(packet)
            self._bytes += packet.size
        enough = self._behind() + _REORDERED
        while len(self._keys) > 2 and self._sent - self._keys[2] >= enough:
            self._drop(self._keys[1] - self._keys.popleft())
        if self._bytes > _MOST_BYTES:
            self._drop(len(self._kept))
            self._keys.clear()

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self._bytes -= self._kept.popleft().size

    def _await(self, packet: Any) -> None:
        """Expect a frame of a packet, if its decoder could lose it without an error.

        Packets shown before the first key frame may depend on packets that the file or a seek leaves out, and an edit
        list may hide others.
        """
        if self._codec == "hevc" and packet.is_keyframe and packet.pts is not None:
            self._first_time = packet.pts  # at the join of two files, frames shown before it are skipped
        while self._awaited and (number := next(iter(self._awaited.values()))) <= self._sent - _PATIENCE:
            self._lost.add(number)
            del self._awaited[next(iter(self._awaited))]
        empty = _SILENT.get(self._codec)
        if empty is None or self._first_time is None or packet.pts is None or packet.pts < self._first_time:
            return
        if packet.size > empty and not (packet.is_discard or is_hidden(self._codec, packet)):
            self._awaited[packet.pts] = self._sent

    def _settle(self) -> None:
        """Count the lost packets that cannot be reported again."""
        settled = {number for number in self._lost if number < self._sent - 2 * _PATIENCE}
        self._earlier += len(settled)
        self._lost -= settled

    def _behind(self) -> int:
        """Number of packets between a packet and the call that returns its frame or its error."""
        return max(self._context.thread_count - 1, 0) if self._runs_behind and self._by_frame else 0

    def _count(self, frames: list[VideoFrame]) -> list[VideoFrame]:
        self._frames += len(frames)
        for frame in frames:
            self._arrived(frame)
        self._recent.extend(map(self._time, frames))
        if frames and not self._context.flags & Flags.output_corrupt:
            # Only from now on; before the first frame it would output frames whose key frame is missing.
            self._context.flags |= Flags.output_corrupt
        return frames

    def _arrived(self, frame: VideoFrame) -> None:
        """Stop expecting the packet of a frame."""
        if frame.pts is None:
            return
        self._awaited.pop(frame.pts, None)
        if self._codec not in _REFRESHED:
            return
        if not self._has_begun:
            self._has_begun = True
            self._awaited = {time: number for time, number in self._awaited.items() if time > frame.pts}
        if frame.interlaced_frame and self._codec == "h264":  # each of the two fields may be a packet
            self._first_time = None
            self._awaited.clear()

    def _time(self, item: Any) -> float:
        """Return a sort key for frames; a frame without a time is the last one, from a flush."""
        time: int | None = item.dts if self._by_dts or item.pts is None else item.pts
        return math.inf if time is None else time

    def _note(self, number: int, error: av.FFmpegError | ValueError) -> None:
        """Count a packet as lost, unless it comes before the first key frame.

        A recording or a seek may begin between two key frames, which is not damage.
        """
        _log.debug("packet %d skipped (%s)", number, reason(error) if isinstance(error, av.FFmpegError) else error)
        if self._first_key is not None and number >= self._first_key:
            self._lost.add(number)


def is_hidden(codec: str, packet: Any) -> bool:
    """Return whether a packet of VP8 or VP9 marks its frame as not shown, a reference for other frames only."""
    if codec not in ("vp8", "vp9"):
        return False
    content = memoryview(packet)
    first = content[0]
    if codec == "vp8":
        return not first & 0x10
    if content[-1] & 0xE0 == 0xC0:  # several frames in one packet, of which the last is shown
        return False
    profile = first >> 5 & 1 | first >> 3 & 2
    shift = 1 if profile == 3 else 0
    shows_existing, shown = first << shift & 0x08, first << shift & 0x02
    return first >> 6 == 2 and not shows_existing and not shown
