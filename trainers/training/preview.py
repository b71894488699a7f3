"""Sheet of augmented training samples with their labels, to look at before a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ...engines.errors import NasionError
from ...engines.spec import Spec
from ...realtime.values.arrays import Image
from ..data import sheet

SAMPLES = 40
_LANDMARK, _BOX = (80, 230, 80), (255, 180, 60)  # BGR


def preview(samples: Dataset[Any], spec: Spec) -> Image:
    """Return a sheet of the first samples of a training, with landmarks in green and bounding boxes in blue.

    Raises:
        NasionError: the samples are neither crops with landmarks nor images with boxes.
    """
    cells = [_cell(samples[i], spec) for i in range(SAMPLES)]
    return sheet.block(f"{SAMPLES} training samples", cells)


def _cell(sample: Any, spec: Spec) -> Image:
    if isinstance(sample, Mapping) and "image" in sample and "points" in sample:
        image = _pixels(sample["image"], spec)
        known = sample["known"].numpy() > 0
        return _drawn(image, points=sample["points"].numpy()[known])
    if isinstance(sample, tuple) and isinstance(sample[0], Tensor) and isinstance(sample[1], Tensor):
        return _drawn(_pixels(sample[0], spec), boxes=sample[1].numpy())
    raise NasionError("the samples of this recipe cannot be drawn; leave --preview out")


def _pixels(image: Tensor, spec: Spec) -> Image:
    """Return an image as BGR uint8: one of RGB bytes (H,W,3), or a normalised one (3,H,W)."""
    if image.dtype == torch.uint8:
        return np.ascontiguousarray(image.numpy()[:, :, ::-1])
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (spec.mean, spec.std))
    planes = np.clip(image.numpy() * std + mean, 0, 255).astype(np.uint8)
    return np.ascontiguousarray((planes[::-1] if spec.channels == "rgb" else planes).transpose(1, 2, 0))


def _drawn(image: Image, *, points: NDArray[Any] | None = None, boxes: NDArray[Any] | None = None) -> Image:
    scale = sheet.CELL / image.shape[0]
    cell = cv2.resize(image, (sheet.CELL, sheet.CELL), interpolation=cv2.INTER_LINEAR)
    for x, y in [] if points is None else points.tolist():
        at = round(((x + 0.5) * scale - 0.5) * 16), round(((y + 0.5) * scale - 0.5) * 16)
        cv2.circle(cell, at, 24, _LANDMARK, cv2.FILLED, cv2.LINE_AA, 4)
    for box in [] if boxes is None else boxes.tolist():
        x0, y0, x1, y1 = (round((value + 0.5) * scale - 0.5) for value in box)
        cv2.rectangle(cell, (x0, y0), (x1, y1), _BOX, 1)
    return cell.astype(np.uint8, copy=False)
