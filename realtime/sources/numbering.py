"""Numbers of the frames of a video, counted from its first shown frame, wherever the reader starts."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from heapq import heappop, heappush
from typing import Any

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .container import exact
from .decoder import is_hidden
from .timestamps import JUMP

_INDEXED = ("mov", "avi")  # containers whose index may list all packets
_WHOLE_FRAMES = ("mov", "matroska")  # containers that store both fields of a frame in one packet
_HELD = 1024  # packets, more than a decoder holds back
_LANDED = 1024  # packets by which the place of a seek is recognised


class Numbering:
    """Numbers of the frames that come out of a decoder.

    The number of a frame is the rank of its timestamp among those of the packets that have a shown frame, so packets
    that cannot be decoded count. A frame whose timestamp is missing or repeats has the number after the last one. After
    a seek, numbers count from there, and ``frames_before`` returns what is missing.

    H.264 with interlaced frames may have a packet for each field. Outside containers that rule this out, its frames are
    counted instead, and the number after a seek is unknown.
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
        self._jump = round(Fraction(JUMP, 1000) / (exact(stream.time_base) or 1))
        self._may_be_fields = self._codec == "h264" and not self._format.startswith(_WHOLE_FRAMES)
        self._by_count = False
        self._first: int | None = None  # timestamp of the first shown frame
        self._early = 0  # packets before it that are not shown
        self.restart()
        self._opening = self._landed

    def restart(self) -> None:
        """Expect packets from anywhere, and number their frames from 0: the reader has moved."""
        self._waiting: list[tuple[int, int]] = []  # clock and timestamp of packets without a frame yet
        self._passed = 0  # packets whose frames have come, or should have
        self._skipped = 0  # of these, packets before the first shown frame
        self._number = -1
        self._clock = self._frame_clock = 0  # a timestamp that goes back far starts another one
        self._latest: int | None = None  # decoding time of the last packet
        self._last: int | None = None  # timestamp of the last frame
        self._landed: dict[tuple[Any, ...], int] = {}  # first packets from here, and how many come before each
        self._landed_dts: int | None = None  # decoding time of the first of these

    def add(self, packet: Any) -> None:
        """Take note of a packet that goes into the decoder."""
        if packet.dts is not None:
            if self._latest is not None and packet.dts < self._latest - self._jump:
                self._clock += 1
            self._latest = packet.dts
        if not self._counts(packet):
            return
        if len(self._landed) < _LANDED:
            if not self._landed:
                self._landed_dts = packet.dts
            self._landed.setdefault(self._key(packet), self._passed + len(self._waiting))
        heappush(self._waiting, (self._clock, self._stamp(packet)))
        if len(self._waiting) > _HELD:  # the frames have no timestamps
            self._pass()

    def number(self, frame: VideoFrame) -> int:
        """Return the number of the next frame."""
        stamp = self._stamp(frame)
        self._by_count = self._by_count or (self._may_be_fields and bool(frame.interlaced_frame))
        if stamp is not None:
            if self._last is not None and stamp < self._last - self._jump:
                self._frame_clock = min(self._frame_clock + 1, self._clock)
            self._last = stamp
            while self._waiting and self._waiting[0] < (self._frame_clock, stamp):
                self._pass()
        if self._first is None and self._number < 0 and stamp is not None:
            self._first, self._early = stamp, self._passed
            self._skipped = self._early
        self._number = self._number + 1 if self._by_count else max(self._number + 1, self._passed - self._skipped)
        return self._number

    def frames_before(self, reopen: Callable[[], InputContainer] | None) -> int | None:
        """Return the number of shown frames before the place of the last seek; None if it cannot be found.

        It comes from the index of the container, if that lists all packets, otherwise from reading them without
        decoding.

        Args:
            reopen: opens the container once more, to read its packets; None if that takes too long.
        """
        if self._by_count:
            return None
        for key, since in self._landed.items():
            if key in self._opening:
                return self._opening[key] - since - self._early
        before = self._from_index()
        if before is not None or reopen is None:
            return before
        with reopen() as container:
            return self._by_reading(container)

    def _from_index(self) -> int | None:
        """Look up the place of the last seek. Entries have decoding times only.

        In MP4 these do not tell which packets before the first shown frame are not shown.
        """
        entries = self._stream.index_entries
        hides = self._codec in ("vp8", "vp9")  # only the content of a packet tells whether its frame is shown
        if hides or not self._format.startswith(_INDEXED) or (self._early and not self._by_dts):
            return None
        if len(entries) != self._stream.frames:  # a part of it, as of fragments
            return None
        stamps = [entry.timestamp for entry in entries if entry.size and not entry.is_discard]
        if self._landed_dts not in stamps:
            return None
        return sum(stamp < self._landed_dts for stamp in stamps) - self._early

    def _by_reading(self, container: InputContainer) -> int | None:
        before = 0
        for packet in container.demux(container.streams[self._stream.index]):
            if self._counts(packet):
                since = self._landed.get(self._key(packet))
                if since is not None:
                    return before - since
                before += 1
        return None

    def _pass(self) -> None:
        heappop(self._waiting)
        self._passed += 1

    def _counts(self, packet: Any) -> bool:
        """Return True if a packet has a shown frame with a timestamp, not before the first one."""
        stamp = self._stamp(packet)
        if not packet.size or stamp is None or packet.is_discard or is_hidden(self._codec, packet):
            return False
        return self._first is None or stamp >= self._first

    def _key(self, packet: Any) -> tuple[Any, ...]:
        return packet.pos, self._stamp(packet)

    def _stamp(self, item: Any) -> Any:
        return item.dts if self._by_dts else item.pts
