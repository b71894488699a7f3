"""What every reader of a data set shares: the sets, where they lie, and the error."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import NasionError
from ...realtime.faces import FloatArray, LandmarkScheme, scheme_of

Part = Literal["train", "test"]


FOREHEAD = 0.285
"""Part of the height of the 68 points that a box by WIDER FACE's rule adds above them, up to the hair line."""


class DataError(NasionError):
    """A data set that is not laid out as expected."""


@dataclass(frozen=True, slots=True)
class LandmarkSet:
    """Pictures of one face each, with its points.

    Attributes:
        name: name of the set, as ``read_set`` knows it.
        files: where each picture lies; a path that goes on below a file names a picture within it (``pictures.py``).
        points: (N, n, 2) float32, pixels of the picture, 0-based; NaN where a point is not annotated.
        yaw: (N,) float32 degrees, NaN where unknown.
        visible: (N, n) float32, 1 visible, 0 occluded, NaN not annotated; None where the set does not say.
        boxes: (N, 4) float32 x0, y0, x1, y1, the boxes that come with the set; None where it has none.
        subsets: (N,) bool by the name under which papers report that part.
    """

    name: str
    files: tuple[Path, ...]
    points: FloatArray
    yaw: FloatArray
    visible: FloatArray | None = None
    boxes: FloatArray | None = None
    subsets: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """See that every point has two coordinates or none.

        Raises:
            DataError: one does not.
        """
        broken = np.argwhere(np.isinf(self.points).any(axis=2) | (np.diff(np.isnan(self.points), axis=2)[..., 0]))
        if len(broken):
            face, point = broken[0].tolist()
            x, y = self.points[face, point].tolist()
            raise DataError(
                f"{self.name}: point {point + 1} of {self.files[face]} is ({x:g}, {y:g}); expected two numbers, or "
                "none (NaN) for both where it is not annotated"
            )

    def __len__(self) -> int:
        return len(self.files)

    @property
    def scheme(self) -> LandmarkScheme:
        """How the points are numbered.

        Raises:
            DataError: there is no scheme with that many points.
        """
        found = scheme_of(self.points.shape[1])
        if found is None:
            raise DataError(f"{self.name}: no scheme has {self.points.shape[1]} points")
        return found

    def pick(self, indices: Sequence[int] | NDArray[np.intp]) -> LandmarkSet:
        """The subset at ``indices``."""
        chosen = np.asarray(indices, np.intp)
        return LandmarkSet(
            self.name,
            tuple(self.files[i] for i in chosen),
            self.points[chosen],
            self.yaw[chosen],
            None if self.visible is None else self.visible[chosen],
            None if self.boxes is None else self.boxes[chosen],
            {name: mask[chosen] for name, mask in self.subsets.items()},
        )


@dataclass(frozen=True, slots=True)
class DetectionSet:
    """Pictures with boxes around their faces.

    Attributes:
        name: name of the set.
        files: where each picture lies.
        boxes: one (k, 4) float32 per picture: x0, y0, x1, y1, the top-left pixel's centre at 0.
        invalid: one (k,) bool per picture: marked invalid by the annotators.
    """

    name: str
    files: tuple[Path, ...]
    boxes: tuple[FloatArray, ...]
    invalid: tuple[NDArray[np.bool_], ...]

    def __len__(self) -> int:
        return len(self.files)

    def joined(self, other: DetectionSet) -> DetectionSet:
        """Return this set followed by ``other``."""
        return DetectionSet(self.name, self.files + other.files, self.boxes + other.boxes, self.invalid + other.invalid)

    def pick(self, indices: Sequence[int]) -> DetectionSet:
        """The subset at ``indices``."""
        return DetectionSet(
            self.name,
            tuple(self.files[i] for i in indices),
            tuple(self.boxes[i] for i in indices),
            tuple(self.invalid[i] for i in indices),
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a set lies, as it was published.

    Attributes:
        name: name of the set.
        folders: names under which people keep it, the first that is there counts; in small letters and digits, for
            capitals, spaces and marks between words don't matter.
        marks: for each part, paths (or patterns) within the folder of which at least one is there.
        tree: what is expected where, for a message.
        named: the folder must bear one of the names, for its content alone does not tell it from others.
    """

    name: str
    folders: tuple[str, ...]
    marks: Mapping[Part, tuple[str, ...]]
    tree: str
    named: bool = False

    def find(self, root: Path, part: Part) -> Path | None:
        """The folder of this set with that part: within ``root`` or ``root`` itself; None where it is not there.

        Raises:
            DataError: ``root`` is no folder.
        """
        kept = [
            folder for folder in existing_folder(root).iterdir() if folder.is_dir() and _plain(folder) in self.folders
        ]
        kept.sort(key=lambda folder: (self.folders.index(_plain(folder)), folder.name))
        if not self.named or _plain(root) in self.folders:
            kept.append(root)
        return next((folder for folder in kept if self.holds(folder, part)), None)

    def holds(self, folder: Path, part: Part) -> bool:
        """Whether one of the marks of that part is in ``folder``."""
        return any(next(folder.glob(mark), None) is not None for mark in self.marks.get(part, ()))

    def home(self, root: Path, part: Part) -> Path:
        """The folder of this set with that part.

        Raises:
            DataError: it is not there; the message says what was expected.
        """
        if part not in self.marks:
            raise DataError(f"{self.name} has no part {part!r}; it has {', '.join(self.marks)}")
        found = self.find(root, part)
        if found is None:
            raise DataError(
                f"{root}: holds no {part} part of {self.name}; expected there or in a folder {self.name!r}: {self.tree}"
            )
        return found


def _plain(folder: Path) -> str:
    return re.sub(r"[\W_]", "", folder.resolve().name.lower())


def unknown_yaw(count: int) -> FloatArray:
    """Yaw (count,) of pictures whose yaw nobody wrote down."""
    return np.full(count, np.nan, np.float32)


def existing_folder(path: Path, *, expected: str = "give the folder that holds the set, or several sets") -> Path:
    """``path``, if it is a folder.

    Raises:
        DataError: it is none; the message ends with what is ``expected``.
    """
    if not path.is_dir():
        raise DataError(f"{path}: not a folder; {expected}")
    return path


def read_lines(table: Path) -> list[str]:
    """The lines of a list, which is text in UTF-8.

    Raises:
        DataError: it is not.
    """
    try:
        return table.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{table}: is not text in UTF-8 ({error}); give the list as it was published") from error


def existing_picture(path: Path, *, named_by: str) -> Path:
    """``path``, if it is a file.

    Raises:
        DataError: it is none; ``named_by`` says which annotation asks for it.
    """
    if not path.is_file():
        raise DataError(f"{path}: picture is missing; {named_by} asks for it")
    return path


def split_validation(count: int, *, every: int = 12) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices for training and validation: every ``every``-th item, in the order of names, validates."""
    indices = np.arange(count)
    held = indices % every == every - 1
    return indices[~held], indices[held]
