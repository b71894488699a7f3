"""Landmark scheme: 0-based numbering of the landmarks of a face, with parts, lines and mirror pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ...engines.errors import NasionError


@dataclass(frozen=True, slots=True)
class Opening:
    """Landmarks of an eye or a mouth that tell how far it is open.

    Attributes:
        corners: its two corners.
        pairs: pairs of landmarks on opposite lids or lips.

    Examples:
        >>> import nasion
        >>> nasion.schemes["ibug-68"].openings["left_eye"]
        Opening(corners=(36, 39), pairs=((37, 41), (38, 40)))
    """

    corners: tuple[int, int]
    pairs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, eq=False)  # one object per scheme, compared and hashed by identity
class LandmarkScheme:
    """Numbering of the landmarks of a face. Left and right are as seen in the image; in a pair, left comes first.

    Attributes:
        name: name of the scheme, such as ``ibug-68``.
        count: number of landmarks.
        left_eye, right_eye: landmarks whose mean is the centre of the eye.
        mouth: landmarks whose mean is the centre of the mouth.
        outer_corners: two landmarks that define the inter-ocular distance.
        pupils: two groups of landmarks whose means define the inter-pupil distance.
        flip: (count,) index of the landmark that each one becomes in a mirrored image.
        lines: runs of landmarks connected when drawn; a run whose last landmark repeats its first is closed.
        further: further parts by name, in addition to ``left_eye``, ``right_eye`` and ``mouth``.
        openings: landmarks of the openings ``left_eye``, ``right_eye`` and ``mouth``, for the measures of that name.
        head: landmark of ibug-68 at the same place of the head, by landmark; for the head pose.
        names: (count,) name of each landmark; empty if they have none.
        norm: what divides errors: the distance of the ``outer_corners`` or of the ``pupils``, or the size of the face,
            the square root of the area of the box around its landmarks.

    Eyes and mouth may be empty: the roll of a face is then unknown.

    Examples:
        >>> import nasion
        >>> scheme = nasion.schemes["ibug-68"]
        >>> scheme.count, scheme.outer_corners, scheme.part("left_eye")
        (68, (36, 45), (36, 37, 38, 39, 40, 41))
    """

    name: str
    count: int
    left_eye: tuple[int, ...]
    right_eye: tuple[int, ...]
    mouth: tuple[int, ...]
    outer_corners: tuple[int, int]
    pupils: tuple[tuple[int, ...], tuple[int, ...]]
    flip: tuple[int, ...]
    lines: tuple[tuple[int, ...], ...]
    further: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    openings: Mapping[str, Opening] = field(default_factory=dict)
    head: Mapping[int, int] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    norm: Literal["corners", "pupils", "box"] = "corners"

    @property
    def tells_roll(self) -> bool:
        """True if the landmarks show how a face is rotated in the image: both eyes and the mouth have some."""
        return bool(self.left_eye and self.right_eye and self.mouth)

    @property
    def has_mirror(self) -> bool:
        """True if mirror pairs are known, so that mirrored images can be labelled."""
        return self.flip != tuple(range(self.count))

    @property
    def parts(self) -> dict[str, tuple[int, ...]]:
        """Landmark indices of each part by name."""
        return {"left_eye": self.left_eye, "right_eye": self.right_eye, "mouth": self.mouth, **self.further}

    def part(self, name: str) -> tuple[int, ...]:
        """Return the landmark indices of a part.

        Raises:
            NasionError: the scheme has no such part.
        """
        parts = self.parts
        if name not in parts:
            raise NasionError(f"scheme {self.name} has no part {name!r}; it has {', '.join(parts)}")
        return parts[name]
