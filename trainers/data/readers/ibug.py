"""Sets in iBUG's layout: a ``.pts`` file of 68 landmarks for each image or frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ....realtime.values.arrays import FloatArray
from ..base import DataError, LandmarkSet, Layout, Part, existing_folder, unknown_yaw
from .matlab import read_mat

W300 = Layout(
    "300w",
    ("300w", "data300w", "ibug300w"),
    {"train": ("helen/trainset", "lfpw/trainset", "afw"), "test": ("helen/testset", "lfpw/testset", "ibug")},
    "helen/trainset, lfpw/trainset and afw to train; any of helen/testset, lfpw/testset and ibug to test; "
    "each NAME.pts beside NAME.jpg or NAME.png",
)
W300_PRIVATE = Layout(
    "300w-private",
    ("300wprivate", "300w", "data300w"),
    {"test": ("01_Indoor", "02_Outdoor")},
    "01_Indoor and 02_Outdoor, each NAME.pts beside NAME.png",
)
MASKED_300W = Layout(
    "masked300w",
    ("masked300w",),
    {"test": ("helen", "lfpw", "ibug")},
    "any of helen, lfpw and ibug, each NAME.pts beside NAME.jpg",
    named=True,
)
YTF68 = Layout(
    "ytf68",
    ("ytf68",),
    {"train": ("training",), "test": ("test",)},
    "training and test, each NAME.pts beside NAME.jpg",
    named=True,
)
# The 64 test videos of the 300VW challenge by category: well lit, varied lighting, in the wild.
VW300_CATEGORIES = {
    "category-1": (
        *(114, 124, 125, 126, 150, 158, 401, 402, 505, 506, 507, 508, 509, 510, 511, 514, 515, 518, 519, 520, 521),
        *(522, 524, 525, 537, 538, 540, 541, 546, 547, 548),
    ),
    "category-2": (203, 208, 211, 212, 213, 214, 218, 224, 403, 404, 405, 406, 407, 408, 409, 412, 550, 551, 553),
    "category-3": (410, 411, 516, 517, 526, 528, 529, 530, 531, 533, 557, 558, 559, 562),
}
_VW300_TRAINED_ON = (112, 113, 115, 119, 120, 123, 138, 143, 144, 160, 204, 205, 223, 225)
"""Training videos from number 100 on; all videos below 100 are training videos too."""

VW300 = Layout(
    "300vw",
    ("300vw", "300vwdataset20151214"),
    {
        "train": ("0[0-9][0-9]/annot", *(f"{video}/annot" for video in _VW300_TRAINED_ON)),
        "test": tuple(f"{video}/annot" for videos in VW300_CATEGORIES.values() for video in videos),
    },
    "a folder for each video, 001 to 562, with vid.avi and annot/000001.pts, 000002.pts …",
)

COMMON, CHALLENGING = ("helen", "lfpw"), ("ibug",)


def read_pts(path: Path, *, count: int = 68) -> FloatArray:
    """Read the landmarks (count, 2) of an iBUG ``.pts`` file and make them 0-based; the file is 1-based.

    Raises:
        DataError: the file is missing, malformed or has another number of points.
    """
    return read_pts_values(path, count=count) - 1


def read_pts_values(path: Path, *, count: int = 68) -> FloatArray:
    """Read the numbers (count, 2) of a ``.pts`` file without converting them.

    Raises:
        DataError: the file is missing, malformed or has another number of points.
    """
    layout = f"expected 'version: 1', 'n_points: {count}', '{{', {count} lines 'x y', '}}'"
    if not path.is_file():
        raise DataError(f"{path}: annotation is missing; {layout}")
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
    try:
        first, last = lines.index("{") + 1, lines.index("}")
    except ValueError:
        raise DataError(f"{path}: has no {{ … }} block; {layout}") from None
    rows = [_pair(path, number + 1, lines[number], layout) for number in range(first, last)]
    if len(rows) != count:
        raise DataError(f"{path}: has {len(rows)} points; {layout}")
    return np.array(rows, np.float32)


def _pair(path: Path, number: int, line: str, layout: str) -> tuple[float, float]:
    try:
        x, y = (float(value) for value in line.split())
    except ValueError:
        raise DataError(f"{path}, line {number}: {line!r} is not two numbers; {layout}") from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise DataError(f"{path}, line {number}: {line!r} is not two finite numbers; {layout}")
    return x, y


def read_pts_folders(name: str, folders: Sequence[Path]) -> LandmarkSet:
    """Read all images of ``folders`` that have a ``.pts`` file beside them, by name; mirrored copies are left out.

    Raises:
        DataError: a folder is missing or empty, or a file is malformed.
    """
    files = [file for folder in folders for file in labels_in(folder)]
    points = np.stack([read_pts(file) for file in files])
    return LandmarkSet(name, tuple(image_beside(file) for file in files), points, unknown_yaw(len(files)))


def labels_in(folder: Path) -> list[Path]:
    """Return the ``.pts`` files of a folder, by name, without those of mirrored copies.

    Raises:
        DataError: the folder is missing or holds none.
    """
    expected = "expected NAME.pts beside NAME.jpg or NAME.png"
    files = sorted(existing_folder(folder, expected=expected).glob("*.pts"))
    found = [file for file in files if not file.stem.endswith("_mirror")]
    if not found:
        raise DataError(f"{folder}: holds no .pts file; {expected}")
    return found


def image_beside(pts: Path) -> Path:
    """Return the image that a ``.pts`` file belongs to.

    Raises:
        DataError: there is no such image.
    """
    for suffix in (".jpg", ".png"):
        if pts.with_suffix(suffix).is_file():
            return pts.with_suffix(suffix)
    raise DataError(f"{pts}: no image of that name beside it; expected {pts.stem}.jpg or {pts.stem}.png")


def read_300w(root: Path, *, test: bool = False) -> LandmarkSet:
    """Read 300W: ``helen/trainset``, ``lfpw/trainset`` and ``afw``; for ``test`` the existing ones of 689 test images.

    Subsets of the test part: ``helen``, ``lfpw``, ``ibug`` and, if all their folders exist, ``common``,
    ``challenging`` and ``full``. Boxes are those of iBUG's detector, if its folder ``Bounding Boxes`` exists.
    """
    if test:
        home = W300.home(root, "test")
        places = {"helen": home / "helen/testset", "lfpw": home / "lfpw/testset", "ibug": home / "ibug"}
        data = _by_origin("300w", {name: folder for name, folder in places.items() if folder.is_dir()})
    else:
        home = W300.home(root, "train")
        data = read_pts_folders("300w", [home / part for part in ("helen/trainset", "lfpw/trainset", "afw")])
    return replace(data, boxes=_detector_boxes(home, data.files))


def read_300w_private(root: Path) -> LandmarkSet:
    """Read 300W's private test part, with the subsets ``indoor`` and ``outdoor``."""
    home = W300_PRIVATE.home(root, "test")
    return _joined("300w-private", {"indoor": home / "01_Indoor", "outdoor": home / "02_Outdoor"})


def read_masked_300w(root: Path) -> LandmarkSet:
    """Read Masked 300W: 300W's test images with most of the face covered. Subsets are those of 300W."""
    home = MASKED_300W.home(root, "test")
    places = {name: home / name for name in (*COMMON, *CHALLENGING) if (home / name).is_dir()}
    inner = {name: folder / "testset" for name, folder in places.items() if (folder / "testset").is_dir()}
    return _by_origin("masked300w", places | inner)


def read_ytf68(root: Path, *, test: bool = False) -> LandmarkSet:
    """Read YouTube Faces with 68 landmarks: ``training`` or ``test``."""
    home = YTF68.home(root, "test" if test else "train")
    return read_pts_folders("ytf68", [home / ("test" if test else "training")])


def read_300vw(root: Path, *, test: bool = False) -> LandmarkSet:
    """Read 300VW: each annotated frame of the 64 test videos (subsets ``category-1`` to ``-3``) or of all others.

    Frames are decoded from ``vid.avi`` on demand; none is decoded here.
    """
    part: Part = "test" if test else "train"
    home = VW300.home(root, part)
    category = {f"{video:03}": name for name, videos in VW300_CATEGORIES.items() for video in videos}
    kept = [folder.parent for mark in VW300.marks[part] for folder in sorted(home.glob(mark))]
    files = [(folder, file) for folder in kept for file in labels_in(folder / "annot")]
    frames = tuple(_video_of(folder) / str(_frame_number(file)) for folder, file in files)
    points = np.stack([read_pts(file) for _, file in files])
    names = np.array([category.get(folder.name, "") for folder, _ in files])
    subsets = {name: names == name for name in VW300_CATEGORIES} if test else {}
    return LandmarkSet("300vw", frames, points, unknown_yaw(len(files)), subsets=subsets)


def _video_of(folder: Path) -> Path:
    video = folder / "vid.avi"
    if not video.is_file():
        raise DataError(f"{video}: missing; expected {VW300.tree}")
    return video


def _frame_number(annotation: Path) -> int:
    if not annotation.stem.isdigit():
        raise DataError(f"{annotation}: its name is not the number of a frame; expected {VW300.tree}")
    return int(annotation.stem)


def _detector_boxes(home: Path, files: Sequence[Path]) -> FloatArray | None:
    """Return the box of iBUG's detector for each image, from one file of boxes per folder; None if there are none."""
    tables = next((home / name for name in ("Bounding Boxes", "Bounding_Boxes") if (home / name).is_dir()), None)
    if tables is None:
        return None
    folders = dict.fromkeys(file.parent for file in files)
    known = {key: box for folder in folders for key, box in _boxes_of(tables, folder, home)}
    lacking = next((file for file in files if _box_key(file) not in known), None)
    if lacking is not None:
        raise DataError(f"{tables}: has no box for {lacking}; expected bb_detector for each image")
    return np.stack([known[_box_key(file)] for file in files])


def _boxes_of(tables: Path, folder: Path, home: Path) -> Iterator[tuple[Path, FloatArray]]:
    """Yield the images of a folder with their boxes made 0-based; the file is 1-based."""
    table = tables / f"bounding_boxes_{'_'.join(folder.relative_to(home).parts)}.mat"
    found = read_mat(table, "bounding_boxes", plain=True)["bounding_boxes"]
    for entry in found if isinstance(found, list | np.ndarray) else [found]:
        try:
            yield _box_key(folder / entry["imgName"]), np.asarray(entry["bb_detector"], np.float32).reshape(4) - 1
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DataError(f"{table}: {error}; expected structs of imgName and bb_detector, x0 y0 x1 y1") from error


def _box_key(image: Path) -> Path:
    """Return the key of an image's box: its path without spaces, which differ between image names and the list."""
    return image.parent / image.stem.replace(" ", "")


def _joined(name: str, folders: Mapping[str, Path]) -> LandmarkSet:
    """Read all faces of ``folders``; each folder is a subset of its name."""
    parts = [read_pts_folders(name, [folder]) for folder in folders.values()]
    origin = np.repeat(np.array(list(folders)), [len(part) for part in parts])
    points = np.concatenate([part.points for part in parts])
    files = tuple(file for part in parts for file in part.files)
    subsets = {label: origin == label for label in folders}
    return LandmarkSet(name, files, points, unknown_yaw(len(files)), subsets=subsets)


def _by_origin(name: str, folders: Mapping[str, Path]) -> LandmarkSet:
    """Read ``folders`` like ``_joined`` and add the subsets of 300W whose folders all exist."""
    data = _joined(name, folders)
    groups = {"common": COMMON, "challenging": CHALLENGING, "full": COMMON + CHALLENGING}
    complete = {label: parts for label, parts in groups.items() if set(parts) <= set(folders)}
    joined = {label: np.any([data.subsets[part] for part in parts], axis=0) for label, parts in complete.items()}
    return replace(data, subsets={**data.subsets, **joined})
