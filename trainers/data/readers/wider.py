"""Images for the detector: WIDER FACE, and images without faces."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..base import DataError, DetectionSet, Layout, Part, existing_folder, existing_image, read_lines

WIDER = Layout(
    "wider",
    ("wider", "widerface"),
    {
        "train": ("train_bbx_gt.txt", "wider_face_split/wider_face_train_bbx_gt.txt"),
        "test": ("test_bbx_gt.txt", "wider_face_split/wider_face_val_bbx_gt.txt"),
    },
    "wider_face_split/wider_face_train_bbx_gt.txt and …_val_bbx_gt.txt with WIDER_train/images and WIDER_val/images, "
    "or train_bbx_gt.txt and test_bbx_gt.txt with folders train and test",
)
NEGATIVES = Layout(
    "negatives",
    ("negatives",),
    {"train": ("train",), "test": ("test",)},
    "folders train and test of images without faces, NAME.jpg",
    named=True,
)
_FIELDS = "x y w h blur expression illumination invalid occlusion pose"


def read_wider(root: Path, *, test: bool = False) -> DetectionSet:
    """Read WIDER FACE in its own text format.

    Its validation part serves as the test part, because the published test part has no boxes.

    Raises:
        DataError: an image is missing or a line malformed.
    """
    return _read(*_wider_place(root, test))


def read_wider2(root: Path) -> list[DetectionSet]:
    """Read further images of WIDER FACE from ``wider2``, its parts ``train`` and ``val``; missing parts are left out.

    Raises:
        DataError: an image is missing or a line malformed.
    """
    home = root / "wider2"
    tables = [(home / f"{part}_bbx_gt.txt", home / part) for part in ("train", "val")]
    return [_read(table, folder) for table, folder in tables if table.is_file()]


def read_list(table: Path) -> DetectionSet:
    """Read a list in WIDER's text format whose images are beside it, or in a folder that it is named after.

    Raises:
        DataError: an image is missing or a line malformed.
    """
    folders = (table.parent, table.parent / table.stem.removesuffix("_bbx_gt"), table.parent / "images")
    names = [name for _, name, _ in _wider_entries(table)]
    folder = next((each for each in folders if names and (each / names[0]).is_file()), table.parent)
    return _read(table, folder)


def _read(table: Path, folder: Path) -> DetectionSet:
    files, boxes, invalid = [], [], []
    for line, name, rows in _wider_entries(table):
        values = np.array(rows, np.float32).reshape(-1, 10)
        corners = np.concatenate([values[:, :2], values[:, :2] + values[:, 2:4]], axis=1)
        files.append(existing_image(folder / name, named_by=f"{table}, line {line},"))
        boxes.append(corners - np.float32(0.5))
        invalid.append(values[:, 7] > 0)
    return DetectionSet("wider", tuple(files), tuple(boxes), tuple(invalid))


def _wider_place(root: Path, test: bool) -> tuple[Path, Path]:
    """Return the list and the folder of its images: as published, or ``train`` and ``test`` beside their lists."""
    part: Part = "test" if test else "train"
    home = WIDER.home(root, part)
    published = "val" if test else "train"
    table = home / "wider_face_split" / f"wider_face_{published}_bbx_gt.txt"
    if table.is_file():
        return table, existing_folder(home / f"WIDER_{published}" / "images", expected=f"expected {WIDER.tree}")
    return home / f"{part}_bbx_gt.txt", existing_folder(home / part, expected=f"expected {WIDER.tree}")


def _wider_entries(table: Path) -> Iterator[tuple[int, str, list[list[float]]]]:
    """Yield line number, name and rows of each image. An image without faces has one row of zeros, which is dropped."""
    lines = read_lines(table)
    at = 0
    while at < len(lines):
        name, count = lines[at].strip(), _count(table, at + 2, lines[at + 1 : at + 2])
        rows = [_row(table, at + 3 + i, lines[at + 2 + i : at + 3 + i]) for i in range(max(count, 1))]
        yield at + 1, name, rows[:count]
        at += 2 + len(rows)


def _count(table: Path, number: int, line: list[str]) -> int:
    if not line or not line[0].strip().isdigit():
        found = repr(line[0]) if line else "nothing"
        raise DataError(f"{table}, line {number}: found {found}; expected the number of boxes after an image's name")
    return int(line[0])


def _row(table: Path, number: int, line: list[str]) -> list[float]:
    try:
        values = [float(field) for field in line[0].split()] if line else []
    except ValueError:
        values = []
    if len(values) != 10 or not all(map(math.isfinite, values)):
        found = repr(line[0]) if line else "nothing"
        raise DataError(f"{table}, line {number}: found {found}; expected ten numbers {_FIELDS}")
    return values


def read_negatives(root: Path, *, test: bool = False) -> tuple[Path, ...]:
    """Return the images without faces.

    Raises:
        DataError: there are none.
    """
    part: Part = "test" if test else "train"
    folder = NEGATIVES.home(root, part) / part
    files = tuple(sorted(folder.glob("*.jpg")))
    if not files:
        raise DataError(f"{folder}: holds no .jpg file; expected images without faces")
    return files
