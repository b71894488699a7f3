"""Packets that lead to the start of a part of a video, if it cannot be reached by seeking."""

from __future__ import annotations

from collections import deque
from typing import Any

from av.video.frame import VideoFrame

_MOST_BYTES = 256 * 2**20  # packets that are kept


class RunUp:
    """The packets from the second-last key frame on.

    The last one alone is not enough: images that are shown before it may refer to the one before.
    """

    def __init__(self, start: float) -> None:
        """Prepare to collect the packets before ``start``, in seconds."""
        self.start = start
        self.packets: deque[Any] = deque()
        self.dropped = 0
        """Number of packets that were dropped."""
        self.decoded = 0
        """Number of packets that were decoded to get the first frame."""
        self.frames: list[VideoFrame] = []
        """Frames that came with the first one."""
        self._keys: deque[int] = deque()  # numbers of key frames among the packets
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """True if more packets would take too much memory."""
        return self._bytes > _MOST_BYTES

    def add(self, packet: Any) -> None:
        """Add the next packet."""
        if packet.is_keyframe:
            self._keys.append(self.dropped + len(self.packets))
        self.packets.append(packet)
        self._bytes += packet.size

    def drop(self) -> None:
        """Drop the packets that are not needed to decode those to come."""
        while len(self._keys) > 2:
            self._keys.popleft()
            while self.dropped < self._keys[0]:
                self._bytes -= self.packets.popleft().size
                self.dropped += 1
