"""COFW: occluded faces with 29 landmarks, and with 68 for the test images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....realtime.values.arrays import FloatArray
from ..base import DataError, LandmarkSet, Layout, Part, unknown_yaw
from .matlab import open_hdf5, read_mat

# The grayscale release has the same content; its file names lack "_color".
_FILES = {"train": ("COFW_train_color.mat", "COFW_train.mat"), "test": ("COFW_test_color.mat", "COFW_test.mat")}
_NAMES = {"train": ("IsTr", "phisTr", "bboxesTr"), "test": ("IsT", "phisT", "bboxesT")}
COFW = Layout(
    "cofw",
    ("cofw", "cofwcolor"),
    {"train": _FILES["train"], "test": _FILES["test"]},
    "COFW_train_color.mat with IsTr, phisTr, bboxesTr and COFW_test_color.mat with IsT, phisT, bboxesT",
)
COFW68 = Layout(
    "cofw68",
    ("cofw68", "cofw68data", "cofw68benchmark"),
    {"test": ("test_annotations/1_points.mat", "COFW68_Data/test_annotations/1_points.mat")},
    "test_annotations/1_points.mat … with Points and Occ, cofw68_test_bboxes.mat, and COFW_test_color.mat there, "
    "one folder up or in a folder 'cofw'",
)


def read_cofw(root: Path, *, test: bool = False) -> LandmarkSet:
    """Read COFW, with occlusion labels and its own bounding boxes.

    Raises:
        DataError: a file is missing or lacks an array.
        MissingExtra: h5py is not installed.
    """
    part: Part = "test" if test else "train"
    home = COFW.home(root, part)
    path = next(home / name for name in _FILES[part] if (home / name).is_file())
    images, phis, boxes = _NAMES[part]
    with open_hdf5(path, images, phis, boxes) as file:
        count = file[images].size
        values, sides = _table(path, file, phis, count, 87), _table(path, file, boxes, count, 4)
    return LandmarkSet(
        "cofw",
        tuple(path / images / str(i + 1) for i in range(count)),
        np.stack([values[:, :29], values[:, 29:58]], axis=2) - 1,
        unknown_yaw(count),
        visible=1 - values[:, 58:],
        boxes=corners(sides),
    )


def _table(path: Path, file: dict[str, NDArray[np.float64]], name: str, count: int, width: int) -> FloatArray:
    """Return an array (count, width), whose axes are reversed in the file."""
    values = np.array(file[name], np.float32).T
    if values.shape != (count, width):
        raise DataError(f"{path}: {name} is {values.shape}; expected ({count}, {width}), a row for each image")
    return values


def corners(boxes: FloatArray) -> FloatArray:
    """Convert MATLAB's boxes (N, 4) x, y, width, height, 1-based, to x0, y0, x1, y1, 0-based."""
    return np.concatenate([boxes[:, :2] - 1, boxes[:, :2] + boxes[:, 2:] - 1], axis=1)


def read_cofw68(root: Path) -> LandmarkSet:
    """Read COFW-68: 68 landmarks, occlusion and boxes for COFW's test images, which stay in COFW's own file.

    Raises:
        DataError: a file is missing or lacks an array.
        MissingExtra: scipy or h5py is not installed.
    """
    home = COFW68.home(root, "test")
    home = home / "COFW68_Data" if (home / "COFW68_Data").is_dir() else home
    images, count = _test_images(root, home)
    found = [_points(home / "test_annotations" / f"{i + 1}_points.mat") for i in range(count)]
    table = home / "cofw68_test_bboxes.mat"
    boxes = np.asarray(read_mat(table, "bboxes")["bboxes"], np.float32)
    if boxes.shape != (count, 4):
        raise DataError(f"{table}: bboxes is {boxes.shape}; expected ({count}, 4), a row for each image of {images}")
    return LandmarkSet(
        "cofw68",
        tuple(images / "IsT" / str(i + 1) for i in range(count)),
        np.stack([points for points, _ in found]),
        unknown_yaw(count),
        visible=np.stack([visible for _, visible in found]),
        boxes=corners(boxes),
    )


def _test_images(root: Path, home: Path) -> tuple[Path, int]:
    """Return COFW's file of test images and the number of images in it."""
    places = [home, home.parent, COFW.find(root, "test")]
    names = [place / name for place in places if place is not None for name in _FILES["test"]]
    path = next((name for name in names if name.is_file()), None)
    if path is None:
        raise DataError(f"{home}: COFW's test images are missing; expected {COFW68.tree}")
    with open_hdf5(path, "IsT") as file:
        return path, int(file["IsT"].size)


def _points(path: Path) -> tuple[FloatArray, FloatArray]:
    found = read_mat(path, "Points", "Occ")
    points, occluded = np.asarray(found["Points"], np.float32), np.asarray(found["Occ"], np.float32).ravel()
    if points.shape != (68, 2) or occluded.shape != (68,):
        raise DataError(f"{path}: Points is {points.shape}, Occ has {occluded.size}; expected (68, 2) and 68")
    return points - 1, 1 - occluded
