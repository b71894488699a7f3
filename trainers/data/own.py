"""Data of users for training: parts for training and validation, kept apart by groups, and checks of their scheme."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...realtime.values.arrays import FloatArray
from ...realtime.values.scheme import LandmarkScheme
from .base import DataError, DetectionSet, LandmarkSet
from .catalogue import SETS, layout_of, read_set, recognised
from .faults import sound_boxes, sound_faces
from .readers.own.boxes import read_own_boxes
from .readers.own.faces import read_own
from .readers.wider import read_wider
from .shipped import WRONG_BOXES

log = logging.getLogger(__name__)

VALIDATION_SHARE = 0.1
SMALLEST = 12  # faces or images to hold some out from; the networks of the papers need as many
_APART = 0.25  # distance of a point from its mirror image that is suspicious, relative to the size of the mean face


def own_faces(
    path: Path,
    val: Path | None = None,
    *,
    scheme: LandmarkScheme | None = None,
    share: float = VALIDATION_SHARE,
    group: str = "image",
    skip: int = 0,
) -> tuple[LandmarkSet, LandmarkSet]:
    """Read labelled faces of a user, for training and for validation.

    Args:
        path: folder or file of labels, see ``read_own``; or a published set, of which the training part is read.
        val: the same for validation; None to hold out a part of ``path``.
        scheme: numbering scheme of the landmarks, see ``read_own``.
        share: share of the groups that is held out.
        group: what keeps faces together, see ``read_own``.
        skip: number of labels that cannot be right that are left out.

    Raises:
        DataError: see ``read_own``; labels cannot be right; or there are too few faces or groups to hold some out.
    """
    data = sound_faces(_published(path) or read_own(path, scheme=scheme, group=group), skip=skip)
    for problem in mirror_faults(data):
        log.warning("%s: %s", data.name, problem)
    if val is None:
        return split_groups(data, share)
    held = sound_faces(read_own(val, scheme=scheme or data.numbering, group=group), skip=skip)
    if shared := {file.resolve() for file in data.files} & {file.resolve() for file in held.files}:
        raise DataError(f"{min(shared)} is both in the data and in --val; validation needs other images")
    return data, held


def _check_count(name: str, count: int, what: str) -> None:
    if count < SMALLEST:
        raise DataError(
            f"{name} has {count} {what}; at least {SMALLEST} are needed, some of them for validation; label more, or "
            "give others for validation with --val"
        )


def _published(path: Path) -> LandmarkSet | None:
    """Return the training part of a published set that ``path`` is or holds; None if there is none.

    Raises:
        DataError: it holds several.
    """
    names = [name for name, part in recognised(path) if part == "train" and name in SETS] if path.is_dir() else []
    if len(names) > 1:
        raise DataError(f"{path}: holds several published sets ({', '.join(names)}); give the folder of one of them")
    return read_set(names[0], path, part="train", checked=False) if names else None


def split_groups(data: LandmarkSet, share: float) -> tuple[LandmarkSet, LandmarkSet]:
    """Hold out a share of the groups of a set, evenly spread in the order of their names, at least one.

    Raises:
        DataError: there are fewer than two groups, or too few faces.
    """
    groups = sorted(set(data.groups or map(str, data.files)))
    if len(groups) < 2:
        raise DataError(
            f"{data.name}: all {len(data)} faces are of one group ({groups[0]}), so none can be held out for "
            "validation; give other faces with --val, or another --group"
        )
    _check_count(data.name, len(data), "labelled faces")
    count = min(max(1, round(share * len(groups))), len(groups) - 1)
    chosen = {groups[int(i)] for i in (np.arange(count) + 0.5) * len(groups) / count}
    of_face = data.groups or tuple(map(str, data.files))
    held = np.array([group in chosen for group in of_face])
    return data.pick(np.flatnonzero(~held)), data.pick(np.flatnonzero(held))


def own_boxes(
    path: Path, val: Path | None, *, forehead: float, share: float = VALIDATION_SHARE, skip: int = 0
) -> tuple[DetectionSet, DetectionSet]:
    """Read images with bounding boxes of a user, for training and for validation; see ``own_faces``.

    Raises:
        DataError: see ``read_own_boxes``; boxes cannot be right; or there are too few images to hold some out.
    """
    if path.is_dir() and layout_of("wider").find(path, "train") is not None:
        data = sound_boxes(read_wider(path), skip=skip, share=WRONG_BOXES)
    else:
        data = sound_boxes(read_own_boxes(path, forehead=forehead), skip=skip)
    if val is not None:
        return data, sound_boxes(read_own_boxes(val, forehead=forehead), skip=skip)
    _check_count(data.name, len(data), "images with boxes")
    count = min(max(1, round(share * len(data))), len(data) - 1)
    held = {int(i) for i in (np.arange(count) + 0.5) * len(data) / count}
    return data.pick([i for i in range(len(data)) if i not in held]), data.pick(sorted(held))


def mirror_faults(data: LandmarkSet) -> list[str]:
    """Return the mirror pairs of a scheme that do not match the data: points that lie elsewhere in the mean face."""
    scheme = data.scheme
    if not scheme.has_mirror or not len(data):
        return []
    return list(_mirror_faults(_mean_face(data.points, list(scheme.flip)), scheme))


def _mean_face(points: FloatArray, partner: list[int]) -> FloatArray:
    """Return the mean (n, 2) of faces that are moved to 0 and scaled to a mean distance of 1 from it.

    Only the half that is most like its mirror image counts, so that few faces that look to one side do not matter.
    """
    moved = points - np.nanmean(points, axis=1, keepdims=True)
    moved = moved / np.nanmean(np.linalg.norm(moved, axis=2), axis=1)[:, None, None]
    unlike = np.nanmean(np.linalg.norm(moved * [-1, 1] - moved[:, partner], axis=2), axis=1)
    mean: FloatArray = np.nanmean(moved[~(unlike > np.nanmedian(unlike))], axis=0)
    return mean


def _mirror_faults(mean: FloatArray, scheme: LandmarkScheme) -> Iterator[str]:
    partner = np.array(scheme.flip)
    centre = float(np.nanmedian((mean[:, 0] + mean[partner, 0]) / 2))
    mirrored = np.stack([2 * centre - mean[:, 0], mean[:, 1]], axis=1)
    names = scheme.names or tuple(map(str, range(scheme.count)))
    for i, other in enumerate(scheme.flip):
        if i > other or not np.isfinite(mean[[i, other]]).all():
            continue
        distances = np.linalg.norm(mean - mirrored[i], axis=1)
        nearest = int(np.nanargmin(distances))
        if distances[other] > _APART and distances[nearest] < distances[other] / 2:
            pair = f"the mirror pair [{names[i]}, {names[other]}]" if i != other else f"point {names[i]} without a pair"
            yield f"{pair} does not match the data: opposite of {names[i]} lies {names[nearest]}; correct 'mirror'"
