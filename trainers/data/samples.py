"""Crops of labelled faces for training and validation of the papers' systems."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import default_collate

from ...engines.spec import Spec
from ...realtime.values.arrays import FloatArray, Image
from ...realtime.values.geometry import Region, region_of_points, to_tensor, transform, warp
from ...realtime.values.published_schemes import IBUG_68
from ..learner import device_of
from ..metrics import failure_rate, inter_ocular, nme, point_errors, usual_lengths
from .augment import Augmentation
from .base import LandmarkSet
from .images import SampleStream


class FaceItem(TypedDict):
    """One crop, or a batch of them.

    ``image`` (3,S,S) float32, normalised by the spec; ``points`` (n,2) landmarks in crop pixels, 0 where not
    annotated; ``known`` (n,) 1 where annotated, else 0; ``visible`` (n,) 1 visible or not labelled, 0 occluded.
    """

    image: Tensor
    points: Tensor
    known: Tensor
    visible: Tensor


class FaceSamples(SampleStream[FaceItem]):
    """Endless, reproducible stream of face crops: item i is always the same for one seed.

    Each epoch of ``len(data)`` items shows every face once, in its own random order.
    """

    def __init__(self, data: LandmarkSet, spec: Spec, augmentation: Augmentation, *, seed: int = 0) -> None:
        """Crop the faces of ``data`` as ``spec`` describes and apply ``augmentation``."""
        super().__init__(seed)
        self.data, self.spec, self.augmentation = data, spec, augmentation
        self._epoch, self._order = -1, np.zeros(0, np.intp)

    def __getitem__(self, index: int) -> FaceItem:
        """Return the crop number ``index`` with its annotation."""
        return self.draw(self.generator(index), self.face(index))

    def face(self, index: int) -> int:
        """Return the number, in the set, of the face that sample ``index`` shows."""
        epoch, place = divmod(index, len(self.data))
        if epoch != self._epoch:
            # the third word of the seed keeps this generator apart from those of the samples
            self._order = np.random.default_rng([self.seed, epoch, 1]).permutation(len(self.data))
            self._epoch = epoch
        return int(self._order[place])

    def draw(self, rng: np.random.Generator, face: int) -> FaceItem:
        """Return an augmented crop of face number ``face`` of the set."""
        points, size = self.data.points[face], self.spec.size[0]
        mirrored, matrix = self.augmentation.place(rng, self.region(points), size)
        image = warp(self.image(self.data.files[face]), matrix, size)
        image = self.augmentation.appearance(rng, image)
        order = list(self.data.scheme.flip) if mirrored else list(range(len(points)))
        return self.item(image, transform(points, matrix)[order], self._visible(face)[order])

    def crop(self, face: int) -> FaceItem:
        """Return the crop of face number ``face`` of the set without augmentation, for validation and tests."""
        image, points = self.cut(face)
        return self.item(image, points, self._visible(face))

    def cut(self, face: int) -> tuple[Image, FloatArray]:
        """Return the plain crop's pixels, BGR (S,S,3), and its landmarks (n,2), NaN where not annotated."""
        points, size = self.data.points[face], self.spec.size[0]
        matrix = self.region(points).to_crop(size)
        return warp(self.image(self.data.files[face]), matrix, size), transform(points, matrix)

    def item(self, image: Image, points: FloatArray, visible: FloatArray) -> FaceItem:
        """Convert a BGR crop (S,S,3), landmarks (n,2), NaN where not annotated, and visibility (n,) to tensors."""
        spec, known = self.spec, marked(points)
        return {
            "image": torch.from_numpy(to_tensor([image], spec.mean, spec.std, rgb=spec.channels == "rgb")[0]),
            "points": torch.from_numpy(np.where(known[:, None], points, 0).astype(np.float32)),
            "known": torch.from_numpy(known.astype(np.float32)),
            "visible": torch.from_numpy(np.nan_to_num(visible, nan=1.0).astype(np.float32)),
        }

    def region(self, points: FloatArray) -> Region:
        """Return the region of the plain crop around the annotated ones of points (n,2)."""
        return region_of_points(points[marked(points)], margin=self.spec.crop_margin)

    def _visible(self, face: int) -> FloatArray:
        if self.data.visible is None:
            return np.ones(self.data.points.shape[1], np.float32)
        visible: FloatArray = self.data.visible[face]
        return visible


def mean_shape(samples: FaceSamples) -> Tensor:
    """Return the mean points (n,2) over all plain crops, in crop pixels, ignoring landmarks without annotation."""
    size = samples.spec.size[0]
    shapes = [transform(points, samples.region(points).to_crop(size)) for points in samples.data.points]
    return torch.from_numpy(np.nanmean(np.stack(shapes), axis=0).astype(np.float32))


def marked(points: FloatArray) -> NDArray[np.bool_]:
    """Return a mask (n,) of the landmarks (n,2) that are annotated."""
    finite: NDArray[np.bool_] = np.isfinite(points[:, 0])
    return finite


@torch.no_grad()
def predict_points(learner: nn.Module, samples: FaceSamples, *, batch: int = 32) -> tuple[FloatArray, FloatArray]:
    """Return predicted and annotated landmarks of the plain crops, both (N,n,2) in crop pixels.

    In the latter, landmarks without an annotation are NaN.
    """
    device, found, truth = device_of(learner), [], []
    for at in range(0, len(samples.data), batch):
        crops = default_collate([samples.crop(i) for i in range(at, min(at + batch, len(samples.data)))])
        found.append(learner(crops["image"].to(device))["points"].float().cpu().numpy())
        known = crops["known"][:, :, None] > 0
        truth.append(torch.where(known, crops["points"], torch.nan).numpy())
    return np.concatenate(found), np.concatenate(truth)


def validate_points(learner: nn.Module, held: LandmarkSet, spec: Spec) -> dict[str, float]:
    """Return ``accuracy`` of ``learner`` on the plain crops of ``held``."""
    return accuracy(*predict_points(learner, FaceSamples(held, spec, Augmentation())))


def accuracy(found: FloatArray, truth: FloatArray) -> dict[str, float]:
    """Return ``nme`` and the failure rate ``fr`` at 0.1 of landmarks (N,n,2); ``truth`` is NaN where not annotated.

    Errors are fractions of ``metrics.usual_lengths``: the distance of the outer eye corners, or the size of the
    landmarks' bounding box.

    Raises:
        MetricError: all landmarks of a face coincide.
    """
    errors = nme(point_errors(found, truth, usual_lengths(truth)))
    return {"nme": round(float(errors.mean()), 5), "fr": round(failure_rate(errors), 4)}


UPPER_LIP, LOWER_LIP = (61, 62, 63), (67, 66, 65)  # opposite landmarks of 68, inner lips
CLOSED = 0.02  # largest mean distance of them in a closed mouth, relative to the outer eye corners


def lips_accuracy(found: FloatArray, truth: FloatArray) -> dict[str, float]:
    """Return the mean error of the upper inner lip, relative to the outer eye corners, of landmarks (N,n,2).

    ``nme_lips_closed`` is that of closed mouths, where the lips coincide, and ``nme_lips_open`` that of the others.
    Empty for faces without the 68 landmarks; a figure without a face is left out.
    """
    if truth.shape[1] != IBUG_68.count:
        return {}
    eyes = inter_ocular(truth)
    gap = np.linalg.norm(truth[:, list(UPPER_LIP)] - truth[:, list(LOWER_LIP)], axis=2).mean(axis=1) / eyes
    errors = np.linalg.norm(found[:, list(UPPER_LIP)] - truth[:, list(UPPER_LIP)], axis=2).mean(axis=1) / eyes
    parts = {"nme_lips_closed": errors[gap < CLOSED], "nme_lips_open": errors[gap >= CLOSED]}
    return {name: round(float(part.mean()), 5) for name, part in parts.items() if len(part)}


def validate_lips(learner: nn.Module, held: LandmarkSet, spec: Spec) -> dict[str, float]:
    """Return the figures of ``validate_points`` and of ``lips_accuracy``."""
    found, truth = predict_points(learner, FaceSamples(held, spec, Augmentation()))
    return accuracy(found, truth) | lips_accuracy(found, truth)
