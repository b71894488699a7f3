"""Reference faces for RHT: random, neutral, most and least similar, and reduced in detail."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import default_collate

from ...realtime.values.arrays import FloatArray, Image
from ...realtime.values.geometry import roll
from ..data import DataError, LandmarkSet, SampleStream
from ..data.samples import FaceItem, FaceSamples, accuracy

UPRIGHT = 0.1  # radians; a neutral reference is rotated by less
SIFT_SIDE = 128  # pixels of the crops that are compared

Find = Callable[[Tensor, FaceItem, int], Tensor]
"""Function from crops (B,3,S,S), one reference per crop, and a factor by which to coarsen the references, to points
(B,n,2) in crop pixels."""


class PairedItem(FaceItem):
    """Crop, with the plain crop of another face as its reference."""

    reference: FaceItem


class PairedSamples(SampleStream[PairedItem]):
    """Stream of the crops of ``faces``, each paired with a random face of the same set."""

    def __init__(self, faces: FaceSamples) -> None:
        """Pair the stream ``faces``; sample i stays a function of its seed and i."""
        super().__init__(faces.seed)
        self.faces = faces

    def __getitem__(self, index: int) -> PairedItem:
        """Return crop number ``index`` of the stream and its reference."""
        # a separate word in the seed, so that the draw of the reference is independent of the crop's
        other = int(np.random.default_rng([self.seed, index, 2]).integers(len(self.faces.data)))
        return {**self.faces[index], "reference": self.faces.crop(other)}


def neutral_face(data: LandmarkSet) -> int:
    """Return the index of the face closest to the mean shape of all faces and their mirror images.

    That mean is symmetric and has an average expression, so the nearest face looks into the camera with a neutral
    expression. Shapes are compared up to translation, scale and rotation (full Procrustes; the mean is the first
    eigenvector of the shapes' outer products, Kent 1994). Faces with hidden landmarks or far from upright are chosen
    only if there are no others; faces with missing landmarks never.

    Raises:
        DataError: no face has all its landmarks annotated.
    """
    complete = np.flatnonzero(np.isfinite(data.points).all(axis=(1, 2)))
    if not len(complete):
        raise DataError(f"{data.name}: no face has all its landmarks annotated, so none can be RHT's reference")
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
    """Index of the SIFT descriptors of many faces, to find the most and the least similar to another face."""

    def __init__(self, images: Sequence[Image], *, features: int = 100, ratio: float = 0.8) -> None:
        """Describe grey crops (h,w) uint8 by their ``features`` strongest keypoints each.

        A keypoint matches if its nearest descriptor is closer than ``ratio`` times the next one in the same face
        (Lowe 2004).
        """
        self._sift = cv2.SIFT.create(nfeatures=features)
        self._ratio = ratio
        each = [self._describe(image) for image in images]
        self._starts = np.cumsum([0, *(len(rows) for rows in each[:-1])])
        self._rows = np.concatenate(each)

    def likeness(self, image: Image) -> NDArray[np.float64]:
        """Return the similarity of a grey crop (h,w) to each face: number of matches plus half the mean correlation.

        The correlation term is below 1 and thus only breaks ties.
        """
        correlation = self._describe(image) @ self._rows.T
        first = np.maximum.reduceat(correlation, self._starts, axis=1)
        counts = np.diff([*self._starts, len(self._rows)])
        highest = correlation == np.repeat(first, counts, axis=1)
        correlation[highest] = -1
        second = np.maximum.reduceat(correlation, self._starts, axis=1)
        second = np.where(np.add.reduceat(highest, self._starts, axis=1, dtype=np.int64) > 1, first, second)
        # descriptors have length 1: the squared distance is 2 - 2 x correlation
        matched = 1 - first < self._ratio**2 * (1 - second)
        score: NDArray[np.float64] = matched.sum(axis=0) + 0.5 * first.clip(0, 1).mean(axis=0, dtype=np.float64)
        return score

    def _describe(self, image: Image) -> FloatArray:
        """Return descriptors (k,128) of length 1; for an image without features two rows of 0, which match nothing."""
        _, found = self._sift.detectAndCompute(image, None)
        if found is None or len(found) < 2:
            return np.zeros((2, 128), np.float32)
        rows: FloatArray = found / np.linalg.norm(found, axis=1, keepdims=True).clip(1e-6)
        return rows


class ReferenceStudy:
    """Study of the choice of reference (table VII): NME of a network for each way of choosing references."""

    def __init__(self, held: FaceSamples, pool: FaceSamples, neutral: int, *, random: int = 5) -> None:
        """Measure on ``held`` with references from ``pool``, whose neutral face has the index ``neutral``."""
        self.held, self.pool, self.neutral = held, pool, neutral
        self.random = np.random.default_rng(held.seed).choice(len(pool.data), random)
        self._likeness: NDArray[np.float64] | None = None

    def likeness(self) -> NDArray[np.float64]:
        """Return the SIFT similarity (faces, references); computed once, minutes for thousands of references."""
        if self._likeness is None:
            index = SiftIndex([grey_crop(self.pool, i) for i in range(len(self.pool.data))])
            faces = [grey_crop(self.held, i) for i in range(len(self.held.data))]
            self._likeness = np.stack([index.likeness(face) for face in faces])
        return self._likeness

    def figures(self, find: Find) -> dict[str, float]:
        """Return the NME for each choice of reference.

        The choices are the best match, the best match at half and at a quarter of its detail, the neutral face, random
        faces (mean over them) and the least similar face.
        """
        best, same = self.likeness().argmax(axis=1), np.ones(len(self.held.data), np.intp)
        return {
            "nme_best": self._nme(find, best),
            "nme_best_half": self._nme(find, best, coarse=2),
            "nme_best_quarter": self._nme(find, best, coarse=4),
            "nme_neutral": self._nme(find, same * self.neutral),
            "nme_random": float(np.mean([self._nme(find, same * face) for face in self.random])),
            "nme_least": self._nme(find, self.likeness().argmin(axis=1)),
        }

    def _nme(self, find: Find, chosen: NDArray[np.intp], *, coarse: int = 1, batch: int = 16) -> float:
        found, truth = [], []
        for at in range(0, len(chosen), batch):
            crops = default_collate([self.held.crop(i) for i in range(at, min(at + batch, len(chosen)))])
            others = default_collate([self.pool.crop(int(i)) for i in chosen[at : at + batch]])
            found.append(find(crops["image"], others, coarse).cpu().numpy())
            truth.append(torch.where(crops["known"][..., None] > 0, crops["points"], torch.nan).numpy())
        return accuracy(np.concatenate(found), np.concatenate(truth))["nme"]


def grey_crop(samples: FaceSamples, face: int) -> Image:
    """Return the plain crop of a face as input for SIFT: grey, 128 x 128 pixels."""
    spec, image = samples.spec, samples.crop(face)["image"].numpy()
    shade = (image.transpose(1, 2, 0) * spec.std + spec.mean).mean(axis=2).clip(0, 255).astype(np.uint8)
    grey: Image = cv2.resize(shade, (SIFT_SIDE, SIFT_SIDE), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return grey


def coarser(images: Tensor, factor: int) -> Tensor:
    """Return images (B,3,s,s) with the detail reduced by ``factor``: downscaled and upscaled again, bicubic."""
    side = images.shape[-1]
    small = functional.interpolate(
        images, size=(side // factor, side // factor), mode="bicubic", align_corners=False, antialias=True
    )
    return functional.interpolate(small, size=(side, side), mode="bicubic", align_corners=False)
