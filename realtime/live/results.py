"""Result of one tracked frame of a live source."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import cv2

from ..faces.face import Face
from ..faces.frame import Frame


@dataclass(frozen=True, slots=True, eq=False)
class LiveResult:
    """One frame of a source, with its faces.

    Attributes:
        source: name of the source in the hub.
        frame: the frame; its ``time`` is the stream time in seconds.
        faces: its faces, in pixels of the whole frame.
        captured: wall-clock time at which the frame was captured, in seconds since 1970.
        latency: seconds from the capture to the landmarks.
        connection: number of the connection, from 1. With a new one, all identities are new.

    Examples:
        >>> import nasion
        >>> with nasion.live("video.mp4") as hub:
        ...     result: nasion.LiveResult = next(hub)
        >>> result.jpeg(160)[:2], sorted(result.to_dict())[:3]
        (b'\\xff\\xd8', ['captured', 'connection', 'faces'])
    """

    source: str
    frame: Frame
    faces: list[Face]
    captured: float
    latency: float
    connection: int = 1
    _encoded: dict[tuple[int, int], bytes] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain numbers and lists, ready for ``json.dumps``, without the image.

        ``captured`` is in ISO 8601 in UTC, ``latency_ms`` in milliseconds; the faces are those of ``Face.to_dict``.
        """
        frame = self.frame
        return {
            "source": self.source,
            "frame": frame.index,
            "time": round(frame.time, 6),
            "captured": iso(self.captured),
            "latency_ms": round(1000 * self.latency, 2),
            "connection": self.connection,
            "width": frame.width,
            "height": frame.height,
            "faces": [face.to_dict() for face in self.faces],
        }

    def jpeg(self, width: int | None = None, *, quality: int = 75) -> bytes:
        """Return the image as JPEG, scaled down to ``width`` pixels but never up. Encoded once per width and quality.

        Raises:
            ValueError: ``width`` is below 1, or ``quality`` is not within 1..100.
        """
        if not 1 <= quality <= 100 or (width is not None and width < 1):
            raise ValueError(f"width={width}, quality={quality}; give a width from 1 and a quality from 1 to 100")
        width = min(width or self.frame.width, self.frame.width)
        key = (width, quality)
        if key not in self._encoded:
            height = max(round(self.frame.height * width / self.frame.width), 1)
            small = cv2.resize(self.frame.image, (width, height), interpolation=cv2.INTER_AREA)
            _, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
            self._encoded[key] = encoded.tobytes()
        return self._encoded[key]


def iso(seconds: float) -> str:
    """Return a wall-clock time as ISO 8601 in UTC with microseconds, such as ``2026-11-30T20:23:11.123456Z``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
