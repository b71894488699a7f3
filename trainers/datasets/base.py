"""What every reader of a data set shares: the sets, the error, pictures and the endless stream of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ...engines.errors import NasionError
from ...realtime.faces import FloatArray, Image, LandmarkScheme, scheme_of

T = TypeVar("T")


class DataError(NasionError):
    """A data set that is not laid out as expected."""


@dataclass(frozen=True, slots=True)
class LandmarkSet:
    """Pictures of one face each, with its points.

    Attributes:
        name: name of the set, as ``read_set`` knows it.
        files: where each picture lies.
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

    def pick(self, indices: Sequence[int]) -> DetectionSet:
        """The subset at ``indices``."""
        return DetectionSet(
            self.name,
            tuple(self.files[i] for i in indices),
            tuple(self.boxes[i] for i in indices),
            tuple(self.invalid[i] for i in indices),
        )


def read_image(path: Path) -> Image:
    """Read a picture as BGR uint8.

    Raises:
        DataError: the file is missing or no picture.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if image is None:
        raise DataError(f"{path}: {'not a picture that can be decoded' if path.is_file() else 'picture is missing'}")
    return image.astype(np.uint8, copy=False)


class SampleStream(Dataset[T]):
    """An endless stream of samples: sample i is always the same for one seed, whoever draws it and when."""

    def __init__(self, seed: int) -> None:
        """Begin the stream of ``seed``."""
        self.seed = seed
        self._decoded: dict[Path, Image] = {}

    def __len__(self) -> int:
        return 1 << 40

    def generator(self, index: int) -> np.random.Generator:
        """The source of all chance in sample ``index``."""
        return np.random.default_rng([self.seed, index])

    def picture(self, path: Path) -> Image:
        """A decoded picture, kept for the next time; not to be changed."""
        if path not in self._decoded:
            self._decoded[path] = read_image(path)
        return self._decoded[path]


def unknown_yaw(count: int) -> FloatArray:
    """Yaw (count,) of pictures whose yaw nobody wrote down."""
    return np.full(count, np.nan, np.float32)


def existing_folder(path: Path) -> Path:
    """``path``, if it is a folder."""
    if not path.is_dir():
        raise DataError(f"{path}: not a folder; point --data at the folder that holds 300w, aflw68, wider …")
    return path


def split_validation(count: int, *, every: int = 12) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices for training and validation: every ``every``-th item, in the order of names, validates."""
    indices = np.arange(count)
    held = indices % every == every - 1
    return indices[~held], indices[held]
