"""Labels of faces as all formats give them, and the images that belong to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .....realtime.values.arrays import FloatArray
from ...base import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


class Label(NamedTuple):
    """One labelled face.

    Attributes:
        image: its image; a path that continues below a video with a number is a frame of it.
        points: (n, 2) landmarks, NaN where not annotated.
        visible: (n,) 1 visible, 0 occluded, NaN not annotated; None if unknown.
        about: further columns of the label, by name, by which faces may be grouped.
        scheme: name of the landmark scheme, if the file tells it.
        origin: file, and line or entry, for errors.
    """

    image: Path
    points: FloatArray
    visible: FloatArray | None
    about: Mapping[str, str]
    scheme: str
    origin: str


def coordinates(values: Sequence[Any]) -> FloatArray:
    """Return numbers as float32; those beyond its range become infinite."""
    with np.errstate(over="ignore"):
        return np.array(values, np.float64).astype(np.float32)


def text_of(file: Path) -> str:
    """Return the content of a text file, whatever its bytes."""
    return file.read_text(encoding="utf-8-sig", errors="replace")


def beside(label: Path) -> Path:
    """Return the image of the same name beside a file of labels; suffixes in any case."""
    named = {
        file.suffix.lower(): file
        for file in label.parent.iterdir()
        if file.stem == label.stem and file.suffix.lower() in IMAGE_SUFFIXES
    }
    for suffix in IMAGE_SUFFIXES:
        if suffix in named:
            return named[suffix]
    raise DataError(f"{label}: no image of that name beside it; expected {label.stem} with {', '.join(IMAGE_SUFFIXES)}")


@dataclass(slots=True)
class Finder:
    """Search for the images that a file of labels names: beside it, in folders near it, or anywhere below it."""

    labels: Path
    _by_name: dict[str, Path] | None = field(default=None)

    def find(self, name: str, where: str) -> Path:
        """Return the path of an image.

        Raises:
            DataError: it is not found.
        """
        home, given = self.labels.parent, Path(name)
        near = [home / given, home / "images" / given, home.parent / given, home.parent / "images" / given, given]
        for path in near:
            if path.is_file():
                return path
        if self._by_name is None:
            self._by_name = {
                file.name: file for file in sorted(home.rglob("*")) if file.suffix.lower() in IMAGE_SUFFIXES
            }
        if given.name in self._by_name:
            return self._by_name[given.name]
        raise DataError(f"{where} names the image {name!r}, which is neither in {home} nor below or beside it")
