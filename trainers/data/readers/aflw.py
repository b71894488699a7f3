"""AFLW with 19 landmarks, and with the 68 of MERL-RAV on whole images or on crops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ....realtime.values.arrays import FloatArray
from ..base import DataError, LandmarkSet, Layout, Part, existing_folder, existing_image, unknown_yaw
from .ibug import labels_in, read_pts_values
from .matlab import read_mat

AFLW = Layout(
    "aflw",
    ("aflw", "aflw19"),
    {"train": ("AFLWinfo_release.mat",), "test": ("AFLWinfo_release.mat",)},
    "AFLWinfo_release.mat with nameList, data, bbox, mask_new and ra, and the images in flickr/0, 2 and 3",
)
AFLW_TRAINED_ON = 20_000
"""Number of training faces: the first ones in the order of ``ra``. The rest is the test part."""

MERL_RAV = Layout(
    "merl-rav",
    ("merlravorganized", "merlravlabels", "merlrav", "merlravdataset"),
    {part: (f"frontal/{part}set", f"merl_rav_*/frontal/{part}set") for part in ("train", "test")},
    "merl_rav_organized with frontal, left, lefthalf, right and righthalf, each with trainset and testset of NAME.pts "
    "beside NAME.jpg; or merl_rav_labels with the same folders, and beside it aflw/flickr/0, 2 and 3",
)
POSES = ("frontal", "left", "lefthalf", "right", "righthalf")

AFLW68 = Layout(
    "aflw68",
    ("aflw68",),
    {"train": ("train.npz",), "test": ("test.npz",)},
    "folders train and test of NAME.jpg, and train.npz and test.npz with name (n,), yaw (n,) in degrees, "
    "points (n,68,2) and visibility (n,68)",
)
YAW_BANDS = {"yaw-0-20": (0, 20), "yaw-20-45": (20, 45), "yaw-45-75": (45, 75), "yaw-75-90": (75, np.inf)}


def read_aflw(root: Path, *, test: bool = False) -> LandmarkSet:
    """Read AFLW with 19 landmarks: 20,000 faces to train, 4,386 to test, with the subsets ``full`` and ``frontal``.

    All landmarks are annotated; ``visible`` marks the visible ones. Coordinates are used as they are in the file.

    Raises:
        DataError: a file is missing or an array has another shape.
        MissingExtra: scipy is not installed.
    """
    home = AFLW.home(root, "test" if test else "train")
    table = home / "AFLWinfo_release.mat"
    arrays = _aflw_arrays(table)
    order = arrays["ra"].astype(np.intp).ravel() - 1
    chosen = order[AFLW_TRAINED_ON:] if test else order[:AFLW_TRAINED_ON]
    images, names = _flickr(home, table), arrays["nameList"]
    visible = arrays["mask_new"][chosen].astype(np.float32)
    frontal = (visible == 1).all(axis=1)
    return LandmarkSet(
        "aflw",
        tuple(existing_image(images / names[i], named_by=f"{table}, row {i + 1},") for i in chosen),
        np.stack([arrays["data"][chosen, :19], arrays["data"][chosen, 19:]], axis=2).astype(np.float32),
        unknown_yaw(len(chosen)),
        visible=visible,
        boxes=arrays["bbox"][chosen][:, [0, 2, 1, 3]].astype(np.float32),  # left, right, top, bottom in the file
        subsets={"full": np.ones(len(chosen), bool), "frontal": frontal} if test else {"frontal": frontal},
    )


def read_aflw_frontal(root: Path, *, test: bool = False) -> LandmarkSet:
    """Read the faces of AFLW of which all 19 landmarks are visible."""
    data = read_aflw(root, test=test)
    kept = data.pick(np.flatnonzero(data.subsets["frontal"]))
    return replace(kept, name="aflw-frontal", subsets={})


def _aflw_arrays(table: Path) -> dict[str, NDArray[Any]]:
    found = read_mat(table, "nameList", "data", "bbox", "mask_new", "ra")
    count = len(found["data"])
    shapes = {
        "nameList": (count, 1),
        "data": (count, 38),
        "bbox": (count, 4),
        "mask_new": (count, 19),
        "ra": (1, count),
    }
    for name, shape in shapes.items():
        if found[name].shape != shape:
            raise DataError(f"{table}: {name} is {found[name].shape}; expected {shape}")
    if sorted(found["ra"].ravel()) != list(range(1, count + 1)):
        raise DataError(f"{table}: ra is not an order of the {count} faces; expected each of 1 to {count} once")
    names = [cell.item() if cell.size == 1 else "" for cell in found["nameList"].ravel()]
    return found | {"nameList": np.array(names)}


def _flickr(home: Path, asked_by: Path) -> Path:
    """Return the folder of AFLW's images, which holds the folders 0, 2 and 3."""
    for place in ("flickr", "data/flickr", "aflw/data/flickr", "images", "."):
        if any((home / place / name).is_dir() for name in ("0", "2", "3")):
            return home / place
    raise DataError(f"{asked_by}: AFLW's images are missing; expected flickr/0, flickr/2 and flickr/3 in {home}")


def read_merl_rav(root: Path, *, test: bool = False) -> LandmarkSet:
    """Read MERL-RAV: 68 landmarks on AFLW's images, with a subset per pose, ``half-profile`` and ``profile``.

    A landmark written as (-x, -y) lies at (x, y) and is occluded by an object. (-1, -1) is occluded by the face itself
    and not annotated: NaN here. As in other ``.pts`` files, coordinates are taken to be 1-based.

    Raises:
        DataError: a file is missing or malformed.
    """
    home, part = _merl_rav_home(root, test), "testset" if test else "trainset"
    files = [(pose, file) for pose in POSES for file in _labels(home / pose / part)]
    values = np.stack([_signed_points(file) for _, file in files])
    hidden = (values == -1).all(axis=2)
    points = np.where(hidden[..., None], np.nan, np.abs(values) - 1).astype(np.float32)
    visible = np.where(hidden, np.nan, (values >= 0).all(axis=2)).astype(np.float32)
    poses = np.array([pose for pose, _ in files])
    groups = {pose: (pose,) for pose in POSES} | {
        "half-profile": ("lefthalf", "righthalf"),
        "profile": ("left", "right"),
    }
    subsets = {name: np.isin(poses, group) for name, group in groups.items()}
    images = tuple(_merl_rav_images(home, [file for _, file in files]))
    return LandmarkSet("merl-rav", images, points, unknown_yaw(len(files)), visible=visible, subsets=subsets)


def _merl_rav_home(root: Path, test: bool) -> Path:
    home = MERL_RAV.home(root, "test" if test else "train")
    inner = [home / name for name in ("merl_rav_organized", "merl_rav_labels") if (home / name).is_dir()]
    return inner[0] if inner else home


def _labels(folder: Path) -> list[Path]:
    return labels_in(folder / "labels" if (folder / "labels").is_dir() else folder)


def _signed_points(path: Path) -> FloatArray:
    """Return the numbers (68, 2) of a file after checking that both of a landmark have the same sign."""
    values = read_pts_values(path)
    mixed = np.flatnonzero((values[:, 0] < 0) != (values[:, 1] < 0))
    if len(mixed):
        x, y = values[mixed[0]].tolist()
        raise DataError(
            f"{path}: landmark {mixed[0] + 1} is ({x:g}, {y:g}); expected (x, y) where it is visible, (-x, -y) where "
            "an object occludes it, (-1, -1) where the face itself does"
        )
    return values


def _merl_rav_images(home: Path, files: list[Path]) -> Iterator[Path]:
    """Yield the image of each label: the one beside it, or AFLW's; suffixes ``_1``, ``_2`` … number its faces."""
    if files[0].with_suffix(".jpg").is_file():
        for file in files:
            yield existing_image(file.with_suffix(".jpg"), named_by=str(file))
        return
    folder = next((place for place in (home.parent / "aflw", home / "aflw") if place.is_dir()), None)
    if folder is None:
        raise DataError(f"{home}: no images beside the labels; expected {MERL_RAV.tree}")
    known = {image.stem: image for image in _flickr(folder, home).glob("*/*.jpg")}
    for file in files:
        stem = file.stem.split("_")[0]
        if stem not in known:
            raise DataError(f"{folder}: {stem}.jpg is missing; {file} refers to it")
        yield known[stem]


def read_aflw68(root: Path, *, test: bool = False) -> LandmarkSet:
    """Read AFLW with MERL-RAV landmarks on crops: images beside an ``.npz`` of name, yaw, points and visibility.

    Raises:
        DataError: a file is missing or lacks an array.
    """
    part: Part = "test" if test else "train"
    home = AFLW68.home(root, part)
    table, folder = home / f"{part}.npz", existing_folder(home / part, expected=f"expected {AFLW68.tree}")
    names, yaw, points, seen = _aflw68_arrays(table)
    files = tuple(existing_image(folder / f"{name}.jpg", named_by=str(table)) for name in names)
    return LandmarkSet(
        "aflw68",
        files,
        points.astype(np.float32),
        yaw.astype(np.float32),
        visible=np.where(seen == 0, np.nan, seen == 2).astype(np.float32),
        subsets={name: (np.abs(yaw) >= low) & (np.abs(yaw) < high) for name, (low, high) in YAW_BANDS.items()},
    )


def _aflw68_arrays(table: Path) -> list[NDArray[Any]]:
    """Return name, yaw, points and visibility of each face."""
    wanted = {"name": (), "yaw": (), "points": (68, 2), "visibility": (68,)}
    try:
        with np.load(table) as arrays:
            found = {name: arrays[name] for name in wanted if name in arrays}
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise DataError(f"{table}: cannot be read ({error}); expected {AFLW68.tree}") from error
    lacking = [name for name in wanted if name not in found]
    if lacking:
        raise DataError(f"{table}: lacks {', '.join(lacking)}; expected {AFLW68.tree}")
    for name, shape in wanted.items():
        if found[name].shape != (len(found["name"]), *shape):
            raise DataError(f"{table}: {name} is {found[name].shape}; expected {AFLW68.tree}")
    return [found[name] for name in wanted]
