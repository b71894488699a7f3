"""A decoder of one video stream that keeps every frame FFmpeg can decode, and counts damaged packets."""

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
_REORDERED = 32  # frames, at most, that a codec may hold back to bring them into order
_MOST_BYTES = 256 * 2**20  # packets that are kept


class Decoder:
    """Decodes packets to frames.

    Threads that decode a frame each report an error some packets late. Those still pending at the end of the stream
    come when the decoder is flushed, and there the first one ends everything in PyAV: the frames behind it are lost.
    So the last packets are kept. Where fewer frames than packets came out, they are decoded again without threads,
    and the frames that were missing are added.
    """

    def __init__(self, stream: VideoStream, *, by_dts: bool) -> None:
        """Decode ``stream``.

        Args:
            stream: of an open container, with its threads chosen.
            by_dts: order frames by decoding times, because presentation times are not in order.
        """
        self._stream, self._by_dts = stream, by_dts
        self._runs_behind = stream.thread_type != ThreadType.SLICE
        self._earlier = 0  # damaged packets before the last start
        self._damage: list[int] = []  # numbers of those since
        self.restart()

    @property
    def begun(self) -> bool:
        """True once a frame has come out since the last start."""
        return self._frames > 0

    @property
    def damaged(self) -> int:
        """Packets that could not be decoded, all in all."""
        return self._earlier + len(self._damage)

    @property
    def ends_damaged(self) -> bool:
        """True where a damaged packet was to be shown after the last frame."""
        return self._damaged_end

    def restart(self) -> None:
        """Expect a packet from anywhere: the reader has moved."""
        self._earlier, self._damage = self.damaged, []
        self._sent = self._frames = self._errors = 0
        self._first_key: int | None = None  # number of the first packet that can be decoded by itself
        self._recent: deque[float] = deque(maxlen=2 * _REORDERED)  # times of frames
        self._kept: deque[Any] = deque()
        self._keys: deque[int] = deque()  # numbers of key frames among the packets that are kept
        self._bytes = 0
        self._damaged_end = False
        self._stream.codec_context.flags &= ~Flags.output_corrupt

    def decode(self, packet: Any) -> list[VideoFrame]:
        """Return the frames that come out when ``packet`` goes in."""
        self._sent += 1
        if self._first_key is None and packet.is_keyframe:
            self._first_key = self._sent
        self._keep(packet)
        try:
            return self._count(self._stream.decode(packet))
        except av.FFmpegError as error:
            self._errors += 1
            self._damaged_end = self._note(self._sent - self._behind(), error)
            return []

    def flush(self, reopen: Callable[[], InputContainer]) -> Iterator[VideoFrame]:
        """Yield the frames that are still inside.

        Args:
            reopen: opens the container once more, to decode the end of the stream again.
        """
        failed = None
        try:
            yield from self._count(self._stream.decode(None))
        except EOFError:
            return
        except av.FFmpegError as error:
            failed = error
        if failed is None and self._frames + self._errors >= self._sent:
            return
        if self._kept:
            yield from self._again(reopen)
        elif failed is not None:
            self._damaged_end = self._note(self._sent, failed)

    def _again(self, reopen: Callable[[], InputContainer]) -> Iterator[VideoFrame]:
        """Decode the packets that were kept one after the other, and yield the frames that have not come yet."""
        number = self._keys[0]
        self._damage = [damaged for damaged in self._damage if damaged < number]
        latest = max(self._recent, default=None)
        worst: float | None = None  # the time of the latest damaged packet
        begun = False
        with reopen() as container:
            stream = container.streams[self._stream.index]
            assert isinstance(stream, VideoStream)
            stream.thread_type, stream.codec_context.thread_count = "SLICE", 1
            for packet in (*self._kept, None):
                try:
                    frames = stream.decode(packet)
                except EOFError:
                    break
                except av.FFmpegError as error:
                    if packet is not None and self._note(number, error):
                        worst = max(self._time(packet), -math.inf if worst is None else worst)
                    frames = []
                number += 1
                if frames and not begun:
                    begun = True
                    stream.codec_context.flags |= Flags.output_corrupt
                for frame in frames:
                    if latest is None or self._time(frame) > latest:
                        self._count([frame])
                        yield frame
        shown = max(self._recent, default=None)
        self._damaged_end = worst is not None and (shown is None or worst > shown)

    def _keep(self, packet: Any) -> None:
        """Keep the packets from the last key frame but one, or from an earlier one, on."""
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

    def _behind(self) -> int:
        """Packets between one and the call that says what became of it."""
        context = self._stream.codec_context
        by_frame = self._runs_behind and context.codec.capabilities & _FRAME_THREADS
        return max(context.thread_count - 1, 0) if by_frame else 0

    def _count(self, frames: list[VideoFrame]) -> list[VideoFrame]:
        self._frames += len(frames)
        self._recent.extend(map(self._time, frames))
        if frames and not self._stream.codec_context.flags & Flags.output_corrupt:
            # From now on. Before the first frame it would show what lacks the key frame that it is made from.
            self._stream.codec_context.flags |= Flags.output_corrupt
        self._damaged_end = self._damaged_end and not frames
        return frames

    def _time(self, item: Any) -> float:
        """Return a number that puts frames in order; that without a time is the last one, which a flush brings."""
        time: int | None = item.dts if self._by_dts or item.pts is None else item.pts
        return math.inf if time is None else time

    def _note(self, number: int, error: av.FFmpegError) -> bool:
        """Count a packet as damaged and return True, unless it comes before the first key frame.

        A recording or a seek may begin between two key frames, and that is no damage.
        """
        _log.debug("packet %d skipped (%s)", number, reason(error))
        if self._first_key is None or number < self._first_key:
            return False
        self._damage.append(number)
        return True
