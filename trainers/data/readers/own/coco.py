"""COCO: key points, and bounding boxes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...base import DataError, DetectionSet
from .labels import Finder, Label, coordinates, text_of


def is_coco(file: Path) -> bool:
    """Return True if a JSON file has the lists of COCO; only its beginning and names are looked at."""
    text = text_of(file)
    return '"annotations"' in text and '"images"' in text


@dataclass(frozen=True, slots=True)
class Coco:
    """Checked content of a COCO file."""

    file: Path
    images: Mapping[Any, Mapping[str, Any]]
    annotations: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, file: Path) -> Coco:
        """Read a file.

        Raises:
            DataError: it is not in COCO's format.
        """
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


def coco_labels(file: Path) -> Iterator[Label]:
    """Yield the faces with key points, 0-based; the third number is 0 not annotated, 1 occluded, 2 visible."""
    coco, finder = Coco.read(file), Finder(file)
    for number, annotation in enumerate(coco.annotations, start=1):
        values = annotation.get("keypoints")
        if not values:
            continue
        where = f"{file}: annotation {number}"
        try:
            rows = coordinates(values).reshape(-1, 3)
        except (TypeError, ValueError, OverflowError):
            raise DataError(f"{where} has keypoints {values!r:.60}; expected x, y, visibility for each") from None
        told = rows[:, 2] > 0
        points = np.where(told[:, None], rows[:, :2], np.nan).astype(np.float32)
        visible = np.where(told, rows[:, 2] > 1, np.nan).astype(np.float32)
        image = coco.image_of(number, annotation)
        about = {str(name): str(value) for name, value in image.items() if name not in ("file_name", "width", "height")}
        yield Label(finder.find(image["file_name"], where), points, visible, about, "", where)


def coco_boxes(file: Path) -> DetectionSet:
    """Return the boxes of a COCO file, in whose pixels the corner of the image is 0; images without faces count too."""
    coco, finder = Coco.read(file), Finder(file)
    found: dict[Any, list[list[float]]] = {name: [] for name in coco.images}
    crowd: dict[Any, list[bool]] = {name: [] for name in coco.images}
    for number, annotation in enumerate(coco.annotations, start=1):
        coco.image_of(number, annotation)
        try:
            x, y, width, height = (float(value) for value in annotation["bbox"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise DataError(f"{file}: annotation {number} has no bbox of four numbers x, y, width, height") from None
        found[annotation["image_id"]].append([x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5])
        crowd[annotation["image_id"]].append(bool(annotation.get("iscrowd", 0)))
    return DetectionSet(
        "coco",
        tuple(finder.find(image["file_name"], str(file)) for image in coco.images.values()),
        tuple(coordinates(each).reshape(-1, 4) for each in found.values()),
        tuple(np.array(each, bool) for each in crowd.values()),
    )
