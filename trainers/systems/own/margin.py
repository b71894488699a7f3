"""Size of the crops for a scheme: they show as much of a face as those of the shipped networks."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from ....engines.select import open_runtime
from ....engines.zoo import model_path
from ....realtime.tracking.detector import Detector
from ....realtime.values.arrays import FloatArray
from ....realtime.values.geometry import Region
from ...data import LandmarkSet, read_images, readable, sheet

log = logging.getLogger(__name__)

_FACES = 60  # faces that are looked at
_ENOUGH = 3  # faces that must be found
# The regions of the detector's boxes are made for crops of margin 1.25; those of training have 1.2.
_OF_REGION = 1.2 / 1.25
_LEAST, _MOST = 1.2, 6.0


def estimated_margin(faces: LandmarkSet, *, skip: int = 0) -> float:
    """Return the side of the crop over the extent of the landmarks, such that crops show whole faces.

    The faces are found by the shipped detector, whose boxes place the first crop in tracking. Where it finds too few,
    as in drawings or very tight crops, the shorter side of the images limits the crop.

    Raises:
        DataError: more than ``skip`` of the images that are looked at cannot be read.
    """
    chosen = faces.pick(sheet.spread(len(faces), _FACES))
    chosen = chosen.pick(readable(chosen.files, skip=skip))
    found, fallback = [], []
    with open_runtime(model_path("face-detector")) as runtime:
        detector = Detector(runtime)
        for points, image in zip(chosen.points, read_images(chosen.files), strict=True):
            known = points[~np.isnan(points[:, 0])]
            extent = max(float((known.max(axis=0) - known.min(axis=0)).max()), 1.0)
            fallback.append(min(image.shape[:2]) / extent)
            side = _side_of(known, detector.detect(image).regions)
            if side is not None:
                found.append(side * _OF_REGION / extent)
    if len(found) >= min(_ENOUGH, len(chosen)):
        margin = float(np.median(found))
    else:
        margin = min(float(np.median(fallback)), 1.5)
        log.warning(
            "the detector finds %d of %d faces, so the crops are placed by the images' size", len(found), len(chosen)
        )
    return round(float(np.clip(margin, _LEAST, _MOST)), 3)


def _side_of(points: FloatArray, regions: Sequence[Region]) -> float | None:
    """Return the side of the smallest region that holds the landmarks (n,2) of a face; None if there is none."""
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    near = [
        region.side
        for region in regions
        if abs(middle - (region.x, region.y)).max() < 0.35 * region.side
        and (abs(points - (region.x, region.y)).max(axis=1) < 0.75 * region.side).mean() > 0.9
    ]
    return min(near, default=None)
