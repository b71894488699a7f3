"""Reference faces for RHT: the neutral one, the most and the least alike, and worse copies of one."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..realtime.faces import FloatArray, Image
from ..realtime.geometry import roll
from .datasets import DataError, LandmarkSet

UPRIGHT = 0.1  # radians; a neutral reference is turned by less


def neutral_face(data: LandmarkSet) -> int:
    """The face of a set that comes closest to the mean shape of all faces and their mirror images.

    That mean is symmetric and its expression an average one: the face nearest to it looks into the camera and keeps a
    straight face. Shapes are compared up to shift, size and turn (full Procrustes; the mean is the first eigenvector
    of the shapes' outer products, Kent 1994); faces with points missing, hidden or far from upright only if there are
    no others.

    Raises:
        DataError: no face has all its points.
    """
    complete = np.flatnonzero(np.isfinite(data.points).all(axis=(1, 2)))
    if not len(complete):
        raise DataError(f"{data.name}: no face has all its points annotated, so none can be RHT's reference")
    points = data.points[complete].astype(np.float64)
    faces = points[..., 0] + 1j * points[..., 1]
    shapes = np.concatenate([faces, -faces.conj()[:, list(data.scheme.flip)]])
    shapes -= shapes.mean(axis=1, keepdims=True)
    shapes /= np.linalg.norm(shapes, axis=1, keepdims=True)
    mean = np.linalg.eigh(shapes.T @ shapes.conj())[1][:, -1]
    likeness = np.abs(shapes[: len(faces)] @ mean.conj())
    likeness -= np.abs([roll(face, data.scheme) for face in data.points[complete]]) > UPRIGHT
    if data.visible is not None:
        likeness -= ~(data.visible[complete] == 1).all(axis=1)
    return int(complete[likeness.argmax()])


class SiftIndex:
    """SIFT descriptors of many faces, to find those most and least like another."""

    def __init__(self, pictures: Sequence[Image], *, features: int = 100, ratio: float = 0.8) -> None:
        """Describe grey crops (h,w) uint8 by their ``features`` strongest points each.

        A point matches if its nearest descriptor is closer than ``ratio`` times the next one in the same face
        (Lowe 2004).
        """
        self._sift = cv2.SIFT.create(nfeatures=features)
        self._ratio = ratio
        each = [self._describe(picture) for picture in pictures]
        self._starts = np.cumsum([0, *(len(rows) for rows in each[:-1])])
        self._rows = np.concatenate(each)

    def likeness(self, picture: Image) -> NDArray[np.float64]:
        """How alike a grey crop (h,w) and each face are: the number of matches, and below 1 the mean correlation."""
        correlation = self._describe(picture) @ self._rows.T
        first = np.maximum.reduceat(correlation, self._starts, axis=1)
        counts = np.diff([*self._starts, len(self._rows)])
        correlation[correlation == np.repeat(first, counts, axis=1)] = -1
        second = np.maximum.reduceat(correlation, self._starts, axis=1)
        # descriptors have length 1: the squared distance is 2 - 2 x correlation
        matched = 1 - first < self._ratio**2 * (1 - second)
        score: NDArray[np.float64] = matched.sum(axis=0) + 0.5 * first.clip(0, 1).mean(axis=0, dtype=np.float64)
        return score

    def _describe(self, picture: Image) -> FloatArray:
        """(k,128) of length 1; two rows of 0 for a picture without features, which are like nothing."""
        _, found = self._sift.detectAndCompute(picture, None)
        if found is None or len(found) < 2:
            return np.zeros((2, 128), np.float32)
        rows: FloatArray = found / np.linalg.norm(found, axis=1, keepdims=True).clip(1e-6)
        return rows


def coarser(images: Tensor, factor: int) -> Tensor:
    """The same pictures (B,3,s,s) with the detail of those ``factor`` times as small: reduced and enlarged, bicubic."""
    side = images.shape[-1]
    small = functional.interpolate(
        images, size=(side // factor, side // factor), mode="bicubic", align_corners=False, antialias=True
    )
    return functional.interpolate(small, size=(side, side), mode="bicubic", align_corners=False)
