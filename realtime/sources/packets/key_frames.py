"""Key frames of a video, found without decoding: places from which it can be read quickly."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import av

from ....engines.errors import SourceError
from ..base import Media
from .container import choose_video, exact, open_container, reason
from .decoder import is_hidden


@dataclass(frozen=True, slots=True)
class KeyFrames:
    """Key frames of a video, as its packets tell them. The numbers are estimates: a packet may have no frame.

    Attributes:
        count: number of frames of the video.
        numbers: numbers of the key frames, in order.
        times: time of each in seconds since the first frame.
    """

    count: int
    numbers: tuple[int, ...]
    times: tuple[float, ...]

    def before(self, number: int) -> tuple[int, float]:
        """Return number and time of the last key frame at or before a frame; (0, 0.0) if there is none."""
        place = bisect_right(self.numbers, number)
        return (self.numbers[place - 1], self.times[place - 1]) if place else (0, 0.0)


def find_key_frames(location: str, name: str) -> KeyFrames:
    """Find the key frames of a video file, from its index if that lists all packets, else from the packets.

    Args:
        location: absolute path, or URL of a stored file.
        name: name of the file for messages.

    Raises:
        SourceError: it cannot be opened or has no video.
    """
    try:
        with open_container(Media(location)) as container:
            stream = choose_video(container, None, name)
            base = float(exact(stream.time_base) or 1)
            index = stream.index_entries
            if container.format.name.startswith("mov") and len(index) == stream.frames:
                known = [(entry.timestamp, entry.is_keyframe) for entry in index if not entry.is_discard]
            else:
                known = list(_read(container, stream))
    except av.FFmpegError as error:
        raise SourceError(f"{name}: {reason(error)}; give a whole video") from error
    known.sort()
    numbers = tuple(number for number, (_, is_key) in enumerate(known) if is_key)
    return KeyFrames(len(known), numbers, tuple((known[number][0] - known[0][0]) * base for number in numbers))


def _read(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[tuple[int, bool]]:
    """Yield the timestamp of each packet with a frame, and True for a key frame, up to damage."""
    codec = stream.codec_context.codec.canonical_name
    try:
        for packet in container.demux(stream):
            stamp = packet.dts if packet.pts is None else packet.pts
            if packet.size and stamp is not None and not packet.is_discard and not is_hidden(codec, packet):
                yield stamp, packet.is_keyframe
    except av.FFmpegError:
        return  # reading the frames will report it
