"""Types and helpers that all readers share: data sets, layouts and the error."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import NasionError
from ...realtime.values.arrays import FloatArray
from ...realtime.values.scheme import LandmarkScheme
from ...realtime.values.schemes import scheme_of

Part = Literal["train", "test"]


FOREHEAD = 0.285
"""Height that a box by WIDER FACE's rule adds above the 68 landmarks, up to the hair line, over their height."""


class DataError(NasionError):
    """A data set that is not laid out as expected."""


@dataclass(frozen=True, slots=True)
class LandmarkSet:
    """Images of one face each, with its landmarks.

    Attributes:
        name: name of the set, as ``read_set`` accepts it.
        files: path of each image. A path that continues below a file names an image inside it (see ``images``).
        points: (N, n, 2) float32 landmarks in pixels of the image, 0-based; NaN where not annotated. Whatever a label
            says may be here: ``landmark_faults`` finds what cannot be right.
        yaw: (N,) float32 in degrees, NaN where unknown.
        visible: (N, n) float32, 1 visible, 0 occluded, NaN not annotated; None if the set has no such labels.
        boxes: (N, 4) float32 x0, y0, x1, y1, the bounding boxes that come with the set; None if it has none.
        subsets: (N,) bool masks by the name under which papers report that subset.
        numbering: numbering scheme of the landmarks; None for the usual one with that many landmarks.
        groups: name of the group of each face; faces of one group, such as a video, stay together when a set is split.
    """

    name: str
    files: tuple[Path, ...]
    points: FloatArray
    yaw: FloatArray
    visible: FloatArray | None = None
    boxes: FloatArray | None = None
    subsets: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    numbering: LandmarkScheme | None = None
    groups: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.files)

    def checked(self) -> LandmarkSet:
        """Return this set if each landmark has two finite coordinates or none.

        Raises:
            DataError: a landmark has only one coordinate, or an infinite one.
        """
        broken = np.argwhere(broken_points(self.points))
        if len(broken):
            face, point = broken[0].tolist()
            x, y = self.points[face, point].tolist()
            raise DataError(
                f"{self.name}: landmark {point + 1} of {self.files[face]} is ({x:g}, {y:g}); expected two numbers, or "
                "none (NaN) for both where it is not annotated"
            )
        return self

    @property
    def scheme(self) -> LandmarkScheme:
        """Numbering scheme of the landmarks.

        Raises:
            DataError: no scheme has that many landmarks.
        """
        found = self.numbering or scheme_of(self.points.shape[1])
        if found is None:
            raise DataError(f"{self.name}: no scheme has {self.points.shape[1]} points")
        return found

    def pick(self, indices: Sequence[int] | NDArray[np.intp]) -> LandmarkSet:
        """Return the faces at ``indices`` as a set."""
        chosen = np.asarray(indices, np.intp)
        return LandmarkSet(
            self.name,
            tuple(self.files[i] for i in chosen),
            self.points[chosen],
            self.yaw[chosen],
            None if self.visible is None else self.visible[chosen],
            None if self.boxes is None else self.boxes[chosen],
            {name: mask[chosen] for name, mask in self.subsets.items()},
            self.numbering,
            None if self.groups is None else tuple(self.groups[i] for i in chosen),
        )


def broken_points(points: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which points (…, 2) are infinite, or have only one coordinate."""
    broken: NDArray[np.bool_] = np.isinf(points).any(axis=-1) | (np.isnan(points).sum(axis=-1) == 1)
    return broken


@dataclass(frozen=True, slots=True)
class DetectionSet:
    """Images with bounding boxes around their faces.

    Attributes:
        name: name of the set.
        files: path of each image.
        boxes: one (k, 4) float32 per image: x0, y0, x1, y1, the centre of the top-left pixel at 0.
        invalid: one (k,) bool per image: True for boxes that the annotators marked as invalid.
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
        """Return the images at ``indices`` as a set."""
        return DetectionSet(
            self.name,
            tuple(self.files[i] for i in indices),
            tuple(self.boxes[i] for i in indices),
            tuple(self.invalid[i] for i in indices),
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """Published folder layout of a data set.

    Attributes:
        name: name of the set.
        folders: common names of its folder, in lower-case letters and digits (case, spaces and punctuation are
            ignored); the first name that exists is used.
        marks: for each part, paths (or patterns) below the folder; at least one of them exists.
        tree: the expected files and folders, for error messages.
        named: the folder must have one of the names, because its content alone does not identify the set.
    """

    name: str
    folders: tuple[str, ...]
    marks: Mapping[Part, tuple[str, ...]]
    tree: str
    named: bool = False

    def find(self, root: Path, part: Part) -> Path | None:
        """Return the folder of this set that holds ``part``: a folder in ``root``, or ``root``; None if there is none.

        Raises:
            DataError: ``root`` is not a folder.
        """
        kept = [
            folder for folder in existing_folder(root).iterdir() if folder.is_dir() and _plain(folder) in self.folders
        ]
        kept.sort(key=lambda folder: (self.folders.index(_plain(folder)), folder.name))
        if not self.named or _plain(root) in self.folders:
            kept.append(root)
        return next((folder for folder in kept if self.holds(folder, part)), None)

    def holds(self, folder: Path, part: Part) -> bool:
        """Return True if ``folder`` holds one of the marks of ``part``."""
        return any(next(folder.glob(mark), None) is not None for mark in self.marks.get(part, ()))

    def home(self, root: Path, part: Part) -> Path:
        """Return the folder of this set that holds ``part``.

        Raises:
            DataError: there is no such part or folder; the message names what is expected.
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
    """Return the yaw (count,) of images without a yaw label: all NaN."""
    return np.full(count, np.nan, np.float32)


def existing_folder(path: Path, *, expected: str = "give the folder that holds the set, or several sets") -> Path:
    """Return ``path`` after checking that it is a folder.

    Raises:
        DataError: it is not a folder; the message ends with ``expected``.
    """
    if not path.is_dir():
        raise DataError(f"{path}: not a folder; {expected}")
    return path


def read_lines(table: Path) -> list[str]:
    """Return the lines of a list, a text file in UTF-8.

    Raises:
        DataError: the file is not text in UTF-8.
    """
    try:
        return table.read_text(encoding="utf-8-sig").splitlines()  # some programs begin the file with a BOM
    except UnicodeDecodeError as error:
        raise DataError(f"{table}: is not text in UTF-8 ({error}); give the list as it was published") from error


def existing_image(path: Path, *, named_by: str) -> Path:
    """Return ``path`` after checking that it is a file.

    Raises:
        DataError: it is not a file; ``named_by`` is the annotation that refers to it.
    """
    if not path.is_file():
        raise DataError(f"{path}: image is missing; {named_by} refers to it")
    return path


def check_validation(name: str, count: int, *, every: int = 12) -> None:
    """Check that ``split_validation`` of ``count`` items holds out at least one.

    Raises:
        DataError: there are too few.
    """
    if count < every:
        raise DataError(
            f"{name} has {count} labelled images; every {every}th is held out for validation, so at least {every} are "
            "needed"
        )


def split_validation(count: int, *, every: int = 12) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return indices for training and for validation: every ``every``-th item, in the order of names, validates."""
    indices = np.arange(count)
    held = indices % every == every - 1
    return indices[~held], indices[held]
