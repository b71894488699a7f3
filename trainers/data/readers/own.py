"""Labelled faces of users: ``.pts`` files, COCO key points, CSV tables and landmark files of nasion, in any folder."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ....engines.errors import SourceError
from ....realtime.exchange.reading import Reading
from ....realtime.faces.face import VISIBLE
from ....realtime.sources.image_files.sources import images_in
from ....realtime.values.arrays import FloatArray
from ....realtime.values.scheme_files import unnamed_scheme
from ....realtime.values.schemes import SCHEMES, LandmarkScheme, scheme_of
from ..base import DataError, DetectionSet, LandmarkSet, unknown_yaw
from .wider import read_list

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
LABEL_SUFFIXES = (".pts", ".json", ".csv", ".jsonl", ".parquet")
GROUPS = ("image", "video", "folder")
EXPECTED = (
    "expected .pts files beside their images, a COCO .json with key points, a .csv with the columns image, x0, y0, "
    "x1, y1 …, or .jsonl, .csv or .parquet files of nasion track --landmarks"
)
_FRAMES = re.compile(r"[\s_.-]*(frame)?[\s_.-]*\d+$", re.IGNORECASE)


class _Label(NamedTuple):
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


def is_own(path: Path, *, with_points: bool = False) -> bool:
    """Return True if a file or folder holds labels in one of the formats of this module.

    ``with_points`` asks for labelled landmarks: COCO files count only if they have key points.
    """
    if not with_points:
        return next(_label_files(path), None) is not None
    return any(
        bool(file.suffix.lower() != ".json" or re.search(r'"keypoints"\s*:\s*\[\s*[-\d]', _text(file)))
        for file in _label_files(path)
    )


def has_own_boxes(path: Path) -> bool:
    """Return True if a file or folder holds a list in WIDER's format, or COCO."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return any(
        (file.suffix.lower() == ".txt" and _is_list(file)) or (file.suffix.lower() == ".json" and _is_coco(file))
        for file in files
        if file.is_file()
    )


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8-sig", errors="replace")


def read_own(path: Path, *, scheme: LandmarkScheme | None = None, group: str = "image") -> LandmarkSet:
    """Read the labelled faces in a folder with all folders below, or in one file of labels.

    Args:
        path: folder or file.
        scheme: numbering scheme of the landmarks; None for the one that the files name, for the usual one with that
            many landmarks, or for one without mirror pairs.
        group: what keeps faces together in ``LandmarkSet.groups``: ``image`` (or the video of a frame), ``video`` (the
            same, and images whose names differ in their last number only), ``folder``, or a column of the labels.

    Raises:
        DataError: nothing is found, a file is malformed, or the faces differ in the number of landmarks.
    """
    labels = [label for file in _label_files(path) for label in _labels_of(file)]
    if not labels:
        raise DataError(f"{path}: holds no labelled faces; {EXPECTED}")
    first = labels[0]
    count = scheme.count if scheme else len(first.points)
    for label in labels:
        if len(label.points) != count:
            wanted = f"scheme {scheme.name!r} has {count}" if scheme else f"{first.origin} has {count}"
            raise DataError(
                f"{label.origin} has {len(label.points)} landmarks, {wanted}; all faces need the same number"
            )
    visible = None
    if any(label.visible is not None for label in labels):
        visible = np.stack([_known(label.points) if label.visible is None else label.visible for label in labels])
    return LandmarkSet(
        path.resolve().name or str(path),
        tuple(label.image for label in labels),
        np.stack([label.points for label in labels]),
        unknown_yaw(len(labels)),
        visible=visible,
        numbering=scheme or _scheme_of_labels(labels, count),
        groups=tuple(_group(label, group) for label in labels),
    )


def _known(points: FloatArray) -> FloatArray:
    return np.where(np.isnan(points[:, 0]), np.nan, 1).astype(np.float32)


def _scheme_of_labels(labels: Sequence[_Label], count: int) -> LandmarkScheme:
    named = {label.scheme for label in labels} - {""}
    if len(named) == 1 and (found := SCHEMES.get(named.pop())) and found.count == count:
        return found
    return scheme_of(count) or unnamed_scheme(count)


def _group(label: _Label, group: str) -> str:
    """Return the name of the group of a face."""
    video = label.image.parent if not label.image.is_file() and label.image.parent.is_file() else None
    if group == "folder":
        return str((video or label.image).parent)
    if group in ("image", "video"):
        if video is not None:
            return str(video)
        stem = _FRAMES.sub("", label.image.stem) if group == "video" else label.image.stem
        return str(label.image.parent / stem)
    if group in label.about:
        return label.about[group]
    columns = f", {', '.join(label.about)}" if label.about else ""
    raise DataError(f"{label.origin}: has no column {group!r} for --group; allowed: {', '.join(GROUPS)}{columns}")


def _label_files(path: Path) -> Iterator[Path]:
    """Yield the files of labels in a folder, by name, or the file itself."""
    if path.is_file():
        if path.suffix.lower() not in LABEL_SUFFIXES:
            raise DataError(f"{path}: suffix {path.suffix!r}; {EXPECTED}")
        yield path
        return
    if not path.is_dir():
        raise DataError(f"{path}: is neither a folder nor a file; {EXPECTED}")
    for file in sorted(path.rglob("*")):
        suffix = file.suffix.lower()
        if suffix not in LABEL_SUFFIXES or file.name.startswith(".") or not file.is_file():
            continue
        if suffix == ".json" and not _is_coco(file):
            continue
        yield file


def _labels_of(file: Path) -> Iterator[_Label]:
    suffix = file.suffix.lower()
    if suffix == ".pts":
        if not file.stem.endswith("_mirror"):
            yield _Label(_beside(file), read_any_pts(file), None, {}, "", str(file))
    elif suffix == ".json":
        yield from _coco_labels(file)
    elif suffix == ".csv" and not _is_of_nasion(file):
        yield from _csv_labels(file)
    else:
        yield from _nasion_labels(file)


# --- images


def _beside(label: Path) -> Path:
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
class _Finder:
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


# --- .pts


def read_any_pts(path: Path) -> FloatArray:
    """Read the landmarks (n, 2) of a ``.pts`` file of any number of points; 1-based in the file, 0-based here.

    Points at "nan nan" are not annotated.

    Raises:
        DataError: the file is malformed.
    """
    layout = "expected 'version: 1', 'n_points: N', '{', N lines 'x y', '}'"
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines()]
    try:
        first, last = lines.index("{") + 1, lines.index("}")
    except ValueError:
        raise DataError(f"{path}: has no {{ … }} block; {layout}") from None
    rows = []
    for number in range(first, last):
        try:
            x, y = (float(value) for value in lines[number].split())
        except ValueError:
            raise DataError(f"{path}, line {number + 1}: {lines[number]!r} is not two numbers; {layout}") from None
        rows.append((x, y))
    told = next((line.partition(":")[2].strip() for line in lines[:first] if line.startswith("n_points")), "")
    if not rows or (told and told != str(len(rows))):
        raise DataError(f"{path}: has {len(rows)} points, n_points is {told or 'missing'}; {layout}")
    return np.array(rows, np.float32) - 1


# --- COCO


def _is_coco(file: Path) -> bool:
    """Return True if a JSON file has the lists of COCO; only its beginning and names are looked at."""
    text = _text(file)
    return '"annotations"' in text and '"images"' in text


@dataclass(frozen=True, slots=True)
class _Coco:
    """Checked content of a COCO file."""

    file: Path
    images: Mapping[Any, Mapping[str, Any]]
    annotations: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, file: Path) -> _Coco:
        try:
            values = json.loads(file.read_text(encoding="utf-8-sig"))
            images = {image["id"]: image for image in values["images"]}
            for image in images.values():
                image["file_name"] = str(image["file_name"])
            annotations = list(values["annotations"])
            if not all(isinstance(each, dict) for each in annotations):
                raise TypeError("an annotation is not an object")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{file}: is not in COCO's format ({type(error).__name__}: {error}); expected lists images, with id "
                "and file_name, and annotations, with image_id and keypoints or bbox"
            ) from error
        return cls(file, images, annotations)

    def image_of(self, number: int, annotation: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the entry of the image of an annotation."""
        found = self.images.get(annotation.get("image_id"))
        if found is None:
            raise DataError(
                f"{self.file}: annotation {number} names image {annotation.get('image_id')!r}, which is missing"
            )
        return found


def _coco_labels(file: Path) -> Iterator[_Label]:
    """Yield the faces with key points, 0-based; the third number is 0 not annotated, 1 occluded, 2 visible."""
    coco, finder = _Coco.read(file), _Finder(file)
    for number, annotation in enumerate(coco.annotations, start=1):
        values = annotation.get("keypoints")
        if not values:
            continue
        where = f"{file}: annotation {number}"
        try:
            rows = np.array(values, np.float32).reshape(-1, 3)
        except (TypeError, ValueError):
            raise DataError(f"{where} has keypoints {values!r:.60}; expected x, y, visibility for each") from None
        told = rows[:, 2] > 0
        points = np.where(told[:, None], rows[:, :2], np.nan).astype(np.float32)
        visible = np.where(told, rows[:, 2] > 1, np.nan).astype(np.float32)
        image = coco.image_of(number, annotation)
        about = {str(name): str(value) for name, value in image.items() if name not in ("file_name", "width", "height")}
        yield _Label(finder.find(image["file_name"], where), points, visible, about, "", where)


# --- CSV


def _csv_labels(file: Path) -> Iterator[_Label]:
    """Yield the faces of a table: image, x0, y0, x1, y1 …, optionally visible0 … (1 or 0), and further columns."""
    layout = "expected the columns image, x0, y0, x1, y1 …"
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        names = rows.fieldnames or []
        count = sum(bool(re.fullmatch(r"x\d+", name)) for name in names)
        wanted = ["image", *(f"{axis}{i}" for i in range(count) for axis in "xy")]
        if not count or (missing := [name for name in wanted if name not in names]):
            lacks = "image" if not count and "image" not in names else missing[0] if count else "x0"
            raise DataError(f"{file}: has no column {lacks!r}; {layout}")
        finder = _Finder(file)
        seen = [f"visible{i}" for i in range(count)]
        further = [name for name in names if name not in (*wanted, *seen)]
        for row in rows:
            where = f"{file}, line {rows.line_num}"
            points = np.array([[_number(row[f"{axis}{i}"], where) for axis in "xy"] for i in range(count)], np.float32)
            visible = None
            if seen[0] in names:
                visible = np.array([_number(row.get(name), where) for name in seen], np.float32)
                visible = np.where(np.isnan(points[:, 0]), np.nan, visible > 0).astype(np.float32)
            about = {name: row[name] or "" for name in further}
            yield _Label(finder.find(row["image"] or "", where), points, visible, about, "", where)


def _number(text: str | None, where: str) -> float:
    """Return a number of a table; NaN where it is empty."""
    if text is None or not text.strip():
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{where}: {text!r} is not a number; leave a point that is not annotated empty") from None


# --- files of nasion


def _is_of_nasion(file: Path) -> bool:
    """Return True if a CSV file was written by ``nasion track``."""
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        start = stream.readline()
    return start.startswith("#") or {"frame", "time", "id"} <= set(start.strip().split(","))


def _nasion_labels(file: Path) -> Iterator[_Label]:
    """Yield the faces of a landmark file, each with its frame of the source that the header names."""
    try:
        with Reading(file) as frames:
            header = frames.header
            place = _place_of(file, header.source)
            for frame, faces in frames:
                for face in faces:
                    visible = None
                    if face.visibility is not None:
                        visible = (face.visibility == VISIBLE).astype(np.float32)
                    about = {"id": str(face.id), "source": header.source}
                    where = f"{file}, frame {frame.index}"
                    points = np.asarray(face.landmarks, np.float32)
                    yield _Label(
                        place.image(frame.index, where, frame.file), points, visible, about, face.scheme, where
                    )
    except SourceError as error:
        raise DataError(str(error)) from error


@dataclass(frozen=True, slots=True)
class _Place:
    """Source of a landmark file: an image, a folder of images, or a video."""

    path: Path
    kind: Literal["image", "folder", "video"]
    images: tuple[Path, ...] = ()

    def image(self, index: int, where: str, name: str) -> Path:
        """Return the path of frame ``index``, whose image file has ``name``; empty where the file does not tell it."""
        if self.kind == "folder" and name and (self.path / Path(name).name).is_file():
            return self.path / Path(name).name
        if self.kind == "video":
            return self.path / str(index + 1)
        if index >= len(self.images):
            raise DataError(f"{where} is not in {self.path}, which has {len(self.images)} images")
        return self.images[index]


def _place_of(file: Path, source: str) -> _Place:
    """Return the source that a header names: as it was given, or beside the file."""
    named = Path(source.removeprefix("file://")) if source else Path(file.stem)
    for path in (named, file.parent / named, file.parent / named.name):
        if path.is_dir() and (images := images_in(path)):
            return _Place(path, "folder", tuple(images))
        if path.is_file():
            kind: Literal["image", "video"] = "image" if path.suffix.lower() in IMAGE_SUFFIXES else "video"
            return _Place(path, kind, (path,))
    raise DataError(
        f"{file}: its source {source!r} is neither there nor beside the file; put the video or the images beside it"
    )


# --- boxes


def read_own_boxes(path: Path, *, forehead: float) -> DetectionSet:
    """Read images with bounding boxes of their faces: lists in WIDER's format, COCO, or boxes from landmark files.

    Args:
        path: folder, searched with all folders below, or file: a list ``.txt`` or a file of labels.
        forehead: height that is added above the landmarks, up to the hair line, over their height.

    Raises:
        DataError: nothing is found, or a file is malformed.
    """
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    boxes: dict[Path, list[FloatArray]] = {}
    invalid: dict[Path, list[bool]] = {}
    for file in files:
        suffix = file.suffix.lower()
        if suffix == ".txt" and _is_list(file):
            found = read_list(file)
        elif suffix == ".json" and _is_coco(file):
            found = _coco_boxes(file)
        else:
            continue
        for image, of_image, wrong in zip(found.files, found.boxes, found.invalid, strict=True):
            boxes.setdefault(image, []).extend(of_image)
            invalid.setdefault(image, []).extend(wrong.tolist())
    if not boxes and (path.is_file() or is_own(path)):
        faces = read_own(path)
        for image, points in zip(faces.files, faces.points, strict=True):
            low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
            low[1] -= forehead * (high[1] - low[1])
            boxes.setdefault(image, []).append(np.concatenate([low, high]).astype(np.float32))
            invalid.setdefault(image, []).append(False)
    if not boxes:
        raise DataError(
            f"{path}: holds no bounding boxes; expected a list in WIDER's format (.txt), COCO, or landmarks"
        )
    return DetectionSet(
        path.resolve().name,
        tuple(boxes),
        tuple(np.array(each, np.float32).reshape(-1, 4) for each in boxes.values()),
        tuple(np.array(each, bool) for each in invalid.values()),
    )


def _is_list(file: Path) -> bool:
    """Return True if a text file begins like a list in WIDER's format: the name of an image, then a number."""
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        name, count = stream.readline().strip(), stream.readline().strip()
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and count.isdigit()


def _coco_boxes(file: Path) -> DetectionSet:
    """Return the boxes of a COCO file, in whose pixels the corner of the image is 0; images without faces count too."""
    coco, finder = _Coco.read(file), _Finder(file)
    found: dict[Any, list[list[float]]] = {name: [] for name in coco.images}
    crowd: dict[Any, list[bool]] = {name: [] for name in coco.images}
    for number, annotation in enumerate(coco.annotations, start=1):
        coco.image_of(number, annotation)
        try:
            x, y, width, height = (float(value) for value in annotation["bbox"])
        except (KeyError, TypeError, ValueError):
            raise DataError(f"{file}: annotation {number} has no bbox of four numbers x, y, width, height") from None
        found[annotation["image_id"]].append([x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5])
        crowd[annotation["image_id"]].append(bool(annotation.get("iscrowd", 0)))
    return DetectionSet(
        "coco",
        tuple(finder.find(image["file_name"], str(file)) for image in coco.images.values()),
        tuple(np.array(each, np.float32).reshape(-1, 4) for each in found.values()),
        tuple(np.array(each, bool) for each in crowd.values()),
    )
