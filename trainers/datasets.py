"""Readers for the published layouts: point a reader at what was downloaded.

Every reader checks what it reads and names file, line and expected layout when something is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ..engines.errors import NasionError
from ..realtime.faces import FloatArray, Image

T = TypeVar("T")


class DataError(NasionError):
    """A data set that is not laid out as expected."""


@dataclass(frozen=True, slots=True)
class LandmarkSet:
    """Pictures of one face each, with its points.

    Attributes:
        name: ``300w``, ``aflw68`` or ``ytf68``.
        files: where each picture lies.
        points: (N, n, 2) float32, pixels of the picture, 0-based; NaN where a point is not annotated.
        yaw: (N,) float32 degrees, NaN where unknown.
    """

    name: str
    files: tuple[Path, ...]
    points: FloatArray
    yaw: FloatArray

    def __len__(self) -> int:
        return len(self.files)

    def pick(self, indices: Sequence[int] | NDArray[np.intp]) -> LandmarkSet:
        """The subset at ``indices``."""
        chosen = np.asarray(indices, np.intp)
        return LandmarkSet(self.name, tuple(self.files[i] for i in chosen), self.points[chosen], self.yaw[chosen])


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


def read_pts(path: Path, *, count: int = 68) -> FloatArray:
    """Points (count, 2), 0-based, of an iBUG ``.pts`` file, whose points are 1-based.

    Raises:
        DataError: the file is missing, malformed or has another number of points.
    """
    layout = f"expected 'version: 1', 'n_points: {count}', '{{', {count} lines 'x y', '}}'"
    if not path.is_file():
        raise DataError(f"{path}: annotation is missing; {layout}")
    lines = path.read_text(errors="replace").splitlines()
    try:
        first, last = next(i for i, line in enumerate(lines) if line.strip() == "{"), lines.index("}")
    except (StopIteration, ValueError):
        raise DataError(f"{path}: has no {{ … }} block; {layout}") from None
    rows = [_pair(path, number + 1, lines[number], layout) for number in range(first + 1, last)]
    if len(rows) != count:
        raise DataError(f"{path}: has {len(rows)} points; {layout}")
    return np.array(rows, np.float32) - 1


def _pair(path: Path, number: int, line: str, layout: str) -> tuple[float, float]:
    try:
        x, y = (float(value) for value in line.split())
    except ValueError:
        raise DataError(f"{path}, line {number}: {line.strip()!r} is not two numbers; {layout}") from None
    return x, y


def read_pts_folders(name: str, folders: Sequence[Path]) -> LandmarkSet:
    """All pictures with a ``.pts`` beside them in ``folders`` (the layout of 300W and of the YouTube-Faces set).

    Raises:
        DataError: a folder is missing or empty, or a file is malformed.
    """
    files: list[Path] = []
    for folder in folders:
        found = sorted(_folder(folder).glob("*.pts"))
        if not found:
            raise DataError(f"{folder}: holds no .pts file; expected NAME.pts beside NAME.jpg or NAME.png")
        files += found
    points = np.stack([read_pts(file) for file in files])
    return LandmarkSet(name, tuple(_picture_beside(file) for file in files), points, _unknown_yaw(len(files)))


def _picture_beside(pts: Path) -> Path:
    for suffix in (".jpg", ".png"):
        if pts.with_suffix(suffix).is_file():
            return pts.with_suffix(suffix)
    raise DataError(f"{pts}: no picture of that name beside it; expected {pts.stem}.jpg or {pts.stem}.png")


def _unknown_yaw(count: int) -> FloatArray:
    return np.full(count, np.nan, np.float32)


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise DataError(f"{path}: not a folder; point --data at the folder that holds 300w, aflw68, wider …")
    return path


def read_300w(root: Path, *, test: bool = False) -> LandmarkSet:
    """300W: ``helen/trainset``, ``lfpw/trainset`` and ``afw``, or for ``test`` ``helen/testset``."""
    parts = ["helen/testset"] if test else ["helen/trainset", "lfpw/trainset", "afw"]
    return read_pts_folders("300w", [root / "300w" / part for part in parts])


def read_ytf68(root: Path, *, test: bool = False) -> LandmarkSet:
    """YouTube Faces with 68 points: ``training`` or ``test``."""
    return read_pts_folders("ytf68", [root / "ytf68" / ("test" if test else "training")])


def read_aflw68(root: Path, *, test: bool = False) -> LandmarkSet:
    """AFLW with MERL-RAV points: a folder of pictures and an ``.npz`` of name, yaw and points beside it."""
    part = "test" if test else "train"
    folder, table = root / "aflw68" / part, root / "aflw68" / f"{part}.npz"
    if not table.is_file():
        raise DataError(f"{table}: missing; expected arrays name (n,), yaw (n,), points (n,68,2)")
    with np.load(table) as arrays:
        names, yaw, points = arrays["name"], arrays["yaw"], arrays["points"]
    files = tuple(_folder(folder) / f"{name}.jpg" for name in names)
    return LandmarkSet("aflw68", files, points.astype(np.float32), yaw.astype(np.float32))


def read_wider(root: Path, *, test: bool = False) -> DetectionSet:
    """WIDER FACE in its own text format: name, count, then ``x y w h`` and six attributes a line.

    Raises:
        DataError: a picture is missing or a line malformed.
    """
    part = "test" if test else "train"
    table, folder = root / "wider" / f"{part}_bbx_gt.txt", root / "wider" / part
    if not table.is_file():
        raise DataError(f"{table}: missing; expected WIDER FACE's list of name, count and boxes")
    files, boxes, invalid = [], [], []
    for name, rows in _wider_entries(table):
        values = np.array(rows, np.float32).reshape(-1, 10)
        corners = np.concatenate([values[:, :2], values[:, :2] + values[:, 2:4]], axis=1)
        files.append(folder / name)
        boxes.append(corners - np.float32(0.5))
        invalid.append(values[:, 7] > 0)
    return DetectionSet("wider", tuple(files), tuple(boxes), tuple(invalid))


def _wider_entries(table: Path) -> Iterator[tuple[str, list[list[float]]]]:
    lines = table.read_text().splitlines()
    at = 0
    while at < len(lines):
        name = lines[at].strip()
        try:
            count = int(lines[at + 1])
            rows = [[float(v) for v in lines[at + 2 + i].split()] for i in range(max(count, 1))]
        except (IndexError, ValueError):
            raise DataError(f"{table}, line {at + 1}: {name!r} is not followed by a count and its boxes") from None
        at += 2 + len(rows)
        wrong = next((i for i, row in enumerate(rows) if len(row) != 10), None)
        if wrong is not None:
            raise DataError(f"{table}, line {at - len(rows) + wrong + 1}: expected x y w h and six attributes")
        yield name, rows[:count]


def read_negatives(root: Path, *, test: bool = False) -> tuple[Path, ...]:
    """Pictures without a face."""
    folder = _folder(root / "negatives" / ("test" if test else "train"))
    files = tuple(sorted(folder.glob("*.jpg")))
    if not files:
        raise DataError(f"{folder}: holds no .jpg file; expected pictures without faces")
    return files


def split_validation(count: int, *, every: int = 12) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices for training and validation: every ``every``-th item, in the order of names, validates."""
    indices = np.arange(count)
    held = indices % every == every - 1
    return indices[~held], indices[held]


@dataclass(frozen=True, slots=True)
class TrainingData:
    """All pictures that the shipped networks learn from.

    Attributes:
        faces: the labelled faces of 300W, AFLW and YouTube Faces, in this order.
        wider: crowds with boxes.
        negatives: pictures without a face.
    """

    faces: tuple[LandmarkSet, ...]
    wider: DetectionSet
    negatives: tuple[Path, ...]

    @classmethod
    def read(cls, root: Path) -> tuple[TrainingData, TrainingData]:
        """Training and validation part of the training data in ``root``.

        Raises:
            DataError: a set is missing or malformed.
        """
        faces = (read_300w(root), read_aflw68(root), read_ytf68(root))
        wider, negatives = read_wider(root), read_negatives(root)
        parts = [split_validation(len(data)) for data in (wider, negatives, *faces)]

        def part(k: int) -> TrainingData:
            return cls(
                tuple(data.pick(indices[k]) for data, indices in zip(faces, parts[2:], strict=True)),
                wider.pick(parts[0][k].tolist()),
                tuple(negatives[i] for i in parts[1][k]),
            )

        return part(0), part(1)
