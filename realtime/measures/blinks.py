"""Blinks: events with start and end, from the openings of both eyes over time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from ...engines.errors import NasionError
from ..faces.face import Face
from ..values.scheme import LandmarkScheme
from .openings import EYES, Openings

CLOSED, OPEN = 0.75, 0.85
"""Share of the usual opening of the eyes below which they are closed, and from which on they are open again."""
LONGEST = 0.6
"""Seconds that a blink may take: spontaneous ones take 0.1 to 0.4 s. Slower ones do not count."""
MEMORY = 2.0
"""Seconds whose median is the usual opening of the eyes."""
LEAST = 3  # frames of open eyes before a blink is found
FORGET = 0.5  # seconds without the face after which its usual opening is learnt again


@dataclass(frozen=True, slots=True)
class Blink:
    """One blink of one face.

    Attributes:
        id: track ID of the face.
        start: seconds, time of the last frame in which the eyes were open.
        end: seconds, time of the first frame in which they are open again.
        depth: smallest opening of the eyes over their usual one, 0..1.

    Examples:
        >>> import nasion
        >>> blink = nasion.Blink(id=1, start=2.0, end=2.25, depth=0.1)
        >>> blink.duration
        0.25
    """

    id: int
    start: float
    end: float
    depth: float

    @property
    def duration(self) -> float:
        """Seconds between start and end."""
        return self.end - self.start


class _Timed(Protocol):
    """A frame: a ``Frame``, or one of a landmark file."""

    @property
    def time(self) -> float:
        """Time in seconds."""
        ...


@dataclass(slots=True)
class _Eyes:
    """Eyes of one face over time.

    Attributes:
        usual: times and openings of the open eyes, of the last ``MEMORY`` seconds.
        time: time of the last frame.
        start: time of the last frame before the eyes began to close; None while they are open.
        depth: smallest opening since then, over the usual one.
    """

    usual: deque[tuple[float, float]] = field(default_factory=deque)
    time: float = 0.0
    start: float | None = None
    depth: float = 1.0

    def see(self, time: float, opening: float) -> tuple[float, float] | None:
        """Add a frame, and return start and depth of the blink that ends with it."""
        if not -FORGET <= time - self.time <= FORGET:
            self.usual.clear()
            self.start = None
        before, self.time = self.time, time
        if self.start is not None and time - self.start > LONGEST:  # the eyes stay closed, or look down
            self.usual.clear()
            self.start = None
        share = opening / max(median(each for _, each in self.usual), 1e-6) if len(self.usual) >= LEAST else 1.0
        if share >= OPEN:
            start, depth = self.start, self.depth
            self.start, self.depth = None, 1.0
            self.usual.append((time, opening))
            while self.usual[0][0] < time - MEMORY:
                self.usual.popleft()
            return None if start is None or depth > CLOSED else (start, depth)
        if self.start is None:
            self.start = before
        self.depth = min(self.depth, share)
        return None


class BlinkDetector:
    """Blinks of all faces of one video, frame by frame.

    The mean opening of both eyes is compared with the usual one of that face, the median of the last ``MEMORY``
    seconds with open eyes, so no threshold depends on the shape of the eyes. A blink goes below ``CLOSED`` and back
    above ``OPEN`` within ``LONGEST`` seconds. Openings are taken from ``face.eye_opening`` or, if it was not measured,
    from the landmarks.

    Examples:
        >>> import nasion
        >>> detector = nasion.BlinkDetector()
        >>> for frame, faces in nasion.track("video.mp4"):
        ...     for blink in detector.update(frame.time, faces):
        ...         print(blink.id, blink.start, blink.end)
    """

    def __init__(self) -> None:
        """Start without faces."""
        self._eyes: dict[int, _Eyes] = {}
        self._openings: dict[LandmarkScheme, Openings] = {}

    def update(self, time: float, faces: Sequence[Face]) -> list[Blink]:
        """Add the faces of the next frame, and return the blinks that end in it.

        Args:
            time: time of the frame in seconds.
            faces: its faces.

        Raises:
            NasionError: the eyes of a face were not measured, and its landmark scheme has no lids.
        """
        found = []
        for face in faces:
            opening = self._opening(face)
            if face.id not in self._eyes:
                self._eyes[face.id] = _Eyes(time=time)
            blink = self._eyes[face.id].see(time, opening)
            if blink is not None:
                start, depth = blink
                found.append(Blink(face.id, start, time, depth))
        if len(self._eyes) > len(faces):
            self._eyes = {key: eyes for key, eyes in self._eyes.items() if abs(time - eyes.time) <= FORGET}
        return found

    def _opening(self, face: Face) -> float:
        eyes = face.eye_opening
        if eyes is None:
            scheme = face.landmarks.scheme
            if scheme is None:
                raise NasionError(
                    f"the eyes of face {face.id} were not measured, and the scheme of its landmarks is not known; "
                    "track with measures=('eyes',), or make the scheme known with nasion.add_scheme"
                )
            if scheme not in self._openings:
                self._openings[scheme] = Openings(scheme, EYES)
            left, right = self._openings[scheme](face.landmarks)
        else:
            left, right = eyes
        return (left + right) / 2


def blinks(tracked: Iterable[tuple[_Timed, Sequence[Face]]]) -> Iterator[Blink]:
    """Yield the blinks of tracked faces, each when it ends: ``for blink in nasion.blinks(nasion.track("film.mp4"))``.

    Args:
        tracked: frames and their faces, such as ``nasion.track`` or ``nasion.read`` yields.

    Raises:
        NasionError: see ``BlinkDetector.update``; and what ``tracked`` raises.

    Examples:
        >>> import nasion
        >>> len(list(nasion.blinks(nasion.track("video.mp4", measures=("eyes",)))))
        0
    """
    detector = BlinkDetector()
    for frame, faces in tracked:
        yield from detector.update(frame.time, faces)
