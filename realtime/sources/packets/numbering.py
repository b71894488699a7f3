"""Numbers of the frames of a video, counted from its first shown frame, wherever the reader starts."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .decoder import is_hidden

_INDEXED = ("mov", "avi")  # containers whose index may list all packets
_WHOLE_FRAMES = ("mov", "matroska")  # containers that store both fields of a frame in one packet
_HELD = 1024  # packets, more than a decoder holds back


class Numbering:
    """Numbers of the frames that come out of a decoder.

    The number of a frame is the rank of its timestamp among those of the packets that have a shown frame, so packets
    that cannot be decoded or are skipped count. A frame whose timestamp is missing or repeats has the number after the
    last one. After a seek, numbers count from there, and ``frames_before`` returns what is missing.

    H.264 with interlaced frames may have a packet for each field. Outside containers that rule this out, its frames are
    counted instead (``by_count``), and the number after skipped packets is unknown.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, *, by_dts: bool) -> None:
        """Number the frames of ``stream`` from its first shown frame.

        Args:
            container: container of the stream, just opened.
            stream: the video stream.
            by_dts: rank frames by decoding times, because presentation times are not in order.
        """
        self._stream, self._by_dts = stream, by_dts
        self._format = container.format.name
        self._codec = stream.codec_context.codec.canonical_name
        self._may_be_fields = self._codec == "h264" and not self._format.startswith(_WHOLE_FRAMES)
        self._by_count = False  # of frames, not of packets
        self._first: int | None = None  # timestamp of the first shown frame
        self._early = 0  # packets before it that are not shown
        self.restart()

    def restart(self) -> None:
        """Expect packets from anywhere, and number their frames from 0, because the reader has moved."""
        self._waiting: list[int] = []  # timestamps of packets without a frame yet
        self._passed = 0  # packets whose frames have come, or should have
        self._skipped = 0  # of these, packets before the first shown frame
        self._landed_dts: int | None = None  # decoding time of the first packet with a shown frame
        self.again()

    def again(self) -> None:
        """Expect frames from any of the packets since the last start, because the decoder was restarted."""
        self._number = -1

    def add(self, packet: Any, *, decoded: bool = True) -> None:
        """Record a packet, which goes into the decoder now or, if not ``decoded``, later or never."""
        if not self._counts(packet):
            return
        if not self._waiting and not self._passed:
            self._landed_dts = packet.dts
        heappush(self._waiting, self._stamp(packet))
        if decoded and len(self._waiting) > _HELD:  # the frames have no timestamps
            self._pass()

    def number(self, frame: VideoFrame) -> int:
        """Return the number of the next frame."""
        stamp = self._stamp(frame)
        self._by_count = self._by_count or (self._may_be_fields and bool(frame.interlaced_frame))
        if stamp is not None:
            while self._waiting and self._waiting[0] < stamp:
                self._pass()
        if self._first is None and self._number < 0 and stamp is not None:
            self._first, self._early = stamp, self._passed
            self._skipped = self._early
        self._number = self._number + 1 if self._by_count else max(self._number + 1, self._passed - self._skipped)
        return self._number

    @property
    def total(self) -> int:
        """Number of frames of all packets so far."""
        if self._by_count:
            return self._number + 1
        # At least those that came: in program streams, packets may have no timestamps.
        return max(self._number + 1, self._passed + len(self._waiting) - self._skipped)

    @property
    def by_count(self) -> bool:
        """True if the frames are counted, because their packets do not tell their number."""
        return self._by_count

    @property
    def is_indexed(self) -> bool:
        """True if the index of the container tells the number of frames before the position of a seek.

        It does if it lists all packets, and all have a shown frame. Its entries have decoding times only. In MP4 these
        do not tell which packets before the first shown frame are not shown.
        """
        hides = self._codec in ("vp8", "vp9")  # only the content of a packet tells whether its frame is shown
        if hides or self._by_count or not self._format.startswith(_INDEXED) or (self._early and not self._by_dts):
            return False
        return len(self._stream.index_entries) == self._stream.frames

    def frames_before(self) -> int | None:
        """Return the number of shown frames before the position of the last seek; None if the index does not tell
        it."""
        if not self.is_indexed:
            return None
        stamps = [entry.timestamp for entry in self._stream.index_entries if entry.size and not entry.is_discard]
        if self._landed_dts not in stamps:
            return None
        return sum(stamp < self._landed_dts for stamp in stamps) - self._early

    def _pass(self) -> None:
        heappop(self._waiting)
        self._passed += 1

    def _counts(self, packet: Any) -> bool:
        """Return True if a packet has a shown frame with a timestamp, not before the first one."""
        stamp = self._stamp(packet)
        if not packet.size or stamp is None or packet.is_discard or is_hidden(self._codec, packet):
            return False
        return self._first is None or stamp >= self._first

    def _stamp(self, item: Any) -> Any:
        return item.dts if self._by_dts else item.pts
