"""Samples and validation of networks that detect faces themselves, on whole images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from ...engines.spec import Spec
from ...realtime.values.arrays import FloatArray, Image
from ...realtime.values.geometry import Region, box_of, iou, region_of_points, to_tensor, transform, warp
from ..data import LandmarkSet, SampleStream
from ..data.augment import mirror, vary
from ..data.samples import lips_accuracy
from ..learner import device_of
from ..metrics import Found, average_precision, failure_rate, nme, point_errors, recall_at, usual_lengths

LOST = 0.3
"""Upper limit of a face's error in the figure to minimise; also the error of a missed face."""


@dataclass(frozen=True, slots=True)
class Framing:
    """Settings by which training images are made from labelled faces; defaults are RDFN's where its paper states them.

    Attributes:
        fill: smallest and largest ratio of the face's longer side to the image's side, drawn uniformly. The paper
            scales whole images by 0.5, 1 and 2; most of these faces would lie beyond its own anchors.
        scales: factors on the size of the face in the source image, one of which is drawn, instead of ``fill``.
        angles: rotations in degrees, one of which is drawn for each image.
        spread: standard deviation around that rotation in degrees; 0 in the paper.
        flip: fraction of mirrored images; 0 in the paper.
        faceless: fraction of images without a face.
        variation: factor on how often appearance is changed, see ``augment.vary``; 0 in the paper.
        rois: number of boxes for the landmark head in each image.
        shift, scale: jitter of these boxes: shift of the centre relative to the side, and change of the side's
            logarithm, each uniform in both directions.
    """

    fill: tuple[float, float] = (0.6, 1.0)
    scales: tuple[float, ...] = ()
    angles: tuple[float, ...] = (-30.0, 0.0, 30.0)
    spread: float = 4.0
    flip: float = 0.5
    faceless: float = 0.15
    variation: float = 0.5
    rois: int = 1
    shift: float = 0.08
    scale: float = 0.12


PAPER = Framing(scales=(0.5, 1.0, 2.0), spread=0.0, flip=0.0, faceless=0.0, variation=0.0)
"""The augmentation of RDFN's paper. A scaled image is cut or extended to one size, so that a batch has one shape."""


class ImageItem(TypedDict):
    """Image with one face or none, or a batch of them; coordinates in pixels.

    ``image`` (3,S,S) float32, normalised; ``present`` () 1 with a face, else 0; ``box`` (4,) tight around the
    landmarks; ``rois`` (R,4) boxes for the landmark head, anywhere if there is no face; ``points`` (n,2), 0 where not
    annotated; ``known`` (n,) 1 where annotated.
    """

    image: Tensor
    present: Tensor
    box: Tensor
    rois: Tensor
    points: Tensor
    known: Tensor


class ImageSamples(SampleStream[ImageItem]):
    """Endless, reproducible stream of images: image number i is always the same for one seed."""

    def __init__(
        self, data: LandmarkSet, faceless: Sequence[Path], spec: Spec, framing: Framing | None = None, *, seed: int = 0
    ) -> None:
        """Draw faces of ``data`` and images without a face (``faceless``), preprocessed as ``spec`` requires."""
        super().__init__(seed)
        self.data, self.faceless, self.spec, self.size = data, faceless, spec, spec.size[0]
        self.framing = framing or Framing()

    def __getitem__(self, index: int) -> ImageItem:
        """Return image number ``index`` with its labels."""
        rng = self.generator(index)
        empty = np.full(self.data.points.shape[1:], np.nan, np.float32)
        if self.faceless and rng.random() < self.framing.faceless:
            return self._item(rng, self._background(rng), empty)
        return self._item(rng, *self._portrait(rng))

    def plain(self, face: int) -> tuple[Image, FloatArray]:
        """Return face number ``face`` for validation, BGR (S,S,3), and its points.

        The face is upright, takes 0.8 of the image and is off centre.
        """
        points, rng = self.data.points[face], np.random.default_rng([face])
        region = _placed(rng, points, fill=0.8, angle=0.0)
        matrix = region.to_crop(self.size)
        return warp(self.image(self.data.files[face]), matrix, self.size), transform(points, matrix)

    def background(self, number: int) -> Image:
        """Return image ``number`` without a face for validation, BGR (S,S,3)."""
        return self._window(np.random.default_rng([number]), self.faceless[number])

    def tensor(self, image: Image) -> Tensor:
        """Convert a BGR image (S,S,3) to a tensor (3,S,S), normalised as the spec requires."""
        spec = self.spec
        return torch.from_numpy(to_tensor([image], spec.mean, spec.std, rgb=spec.channels == "rgb")[0])

    def _portrait(self, rng: Generator) -> tuple[Image, FloatArray]:
        """Return an augmented face; outside its source image it is black or filled from an image without a face."""
        framing, size = self.framing, self.size
        face = int(rng.integers(len(self.data)))
        angle = float(np.radians(rng.choice(framing.angles) + rng.normal(0, framing.spread)))
        points, source = self.data.points[face], self.image(self.data.files[face])
        fill = float(rng.uniform(*framing.fill))
        if framing.scales:
            extent = np.ptp(points[np.isfinite(points).all(axis=1)], axis=0).max()
            fill = float(rng.choice(framing.scales) * extent / min(source.shape[:2]))
        matrix = _placed(rng, points, fill=fill, angle=angle).to_crop(size)
        mirrored = rng.random() < framing.flip
        matrix = mirror(matrix, size) if mirrored else matrix
        image = warp(source, matrix, size)
        if self.faceless and rng.random() < 0.5:
            inside = np.greater(warp(np.full(source.shape, 255, np.uint8), matrix, size), 127)
            image = np.where(inside, image, self._background(rng))
        order = list(self.data.scheme.flip) if mirrored else slice(None)
        return image, transform(points, matrix)[order]

    def _background(self, rng: Generator) -> Image:
        return self._window(rng, self.faceless[int(rng.integers(len(self.faceless)))])

    def _window(self, rng: Generator, file: Path) -> Image:
        """Return a random square of an image, at least half as large as its shorter side."""
        source = self.image(file)
        height, width = source.shape[:2]
        side = float(rng.uniform(0.5, 1.0)) * min(height, width)
        x, y = (float(rng.uniform(side / 2, full - side / 2)) for full in (width, height))
        return warp(source, Region(x, y, side).to_crop(self.size), self.size)

    def _item(self, rng: Generator, image: Image, points: FloatArray) -> ImageItem:
        framing = self.framing
        known: NDArray[np.bool_] = np.isfinite(points[:, 0])
        present = bool(known.any())
        box = box_of(points[known]) if present else np.zeros(4, np.float32)
        around = box if present else _somewhere(rng, self.size)
        rois = np.stack([_jittered(rng, around, framing) for _ in range(framing.rois)])
        return {
            "image": self.tensor(vary(rng, image, strength=framing.variation)),
            "present": torch.tensor(float(present)),
            "box": torch.from_numpy(box),
            "rois": torch.from_numpy(rois),
            "points": torch.from_numpy(np.where(known[:, None], points, 0).astype(np.float32)),
            "known": torch.from_numpy(known.astype(np.float32)),
        }


def _placed(rng: Generator, points: FloatArray, *, fill: float, angle: float) -> Region:
    """Return a square rotated by ``angle`` of which the face takes ``fill``; at most a twentieth is cut off."""
    region = region_of_points(points[np.isfinite(points).all(axis=1)], margin=1 / fill, angle=angle)
    room = (max(0.0, (1 - fill) / 2) + 0.05) * region.side
    dx, dy = rng.uniform(-room, room, 2).tolist()
    return Region(region.x + dx, region.y + dy, region.side, angle)


def _somewhere(rng: Generator, size: int) -> FloatArray:
    """Return a random square box (4,), half to all of the image's side."""
    side = float(rng.uniform(0.5, 1.0)) * size
    corner = rng.uniform(0, size - side, 2)
    return np.concatenate([corner, corner + side]).astype(np.float32)


def _jittered(rng: Generator, box: FloatArray, framing: Framing) -> FloatArray:
    """Return a box (4,) randomly moved and resized within the limits of ``framing``."""
    extent = box[2:] - box[:2]
    centre = (box[:2] + box[2:]) / 2 + rng.uniform(-framing.shift, framing.shift, 2) * extent
    half = extent / 2 * np.exp(rng.uniform(-framing.scale, framing.scale, 2))
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Seen:
    """Outputs of a network for plain images with and without a face, and the true points (N,n,2)."""

    faces: dict[str, FloatArray]
    faceless: dict[str, FloatArray]
    truth: FloatArray


def _see(network: nn.Module, samples: ImageSamples) -> _Seen:
    whole = [samples.plain(i) for i in range(len(samples.data))]
    faceless = [samples.background(i) for i in range(len(samples.faceless))]
    truth = np.stack([points for _, points in whole])
    return _Seen(
        _answers(network, samples, [image for image, _ in whole]),
        _answers(network, samples, faceless) if faceless else {},
        truth,
    )


def _answers(network: nn.Module, samples: ImageSamples, images: Sequence[Image]) -> dict[str, FloatArray]:
    """Return the stacked outputs of a network that is run on the images one by one."""
    device = device_of(network)
    outputs = [network(samples.tensor(image)[None].to(device)) for image in images]
    return {name: torch.cat([each[name] for each in outputs]).float().cpu().numpy() for name in outputs[0]}


def _tight(points: FloatArray) -> FloatArray:
    """Return the box (4,) around points (n,2), which are NaN where not annotated."""
    return box_of(points[np.isfinite(points).all(axis=1)])


@torch.no_grad()
def validate_boxes(network: nn.Module, samples: ImageSamples) -> dict[str, float]:
    """Return detection figures of a network's ``boxes`` and ``scores`` on the data of ``samples``.

    ``ap`` and ``recall`` (IoU 0.5) are over plain images with and without a face; ``false_alarms`` is the fraction of
    the latter with a box above the threshold; ``missed_precision``, 1 minus ``ap``, is the figure to minimise.
    """
    return _box_figures(_see(network, samples), samples.spec.threshold)


def _box_figures(seen: _Seen, threshold: float) -> dict[str, float]:
    some, none = np.zeros(1, bool), np.zeros(0, bool)
    faces = zip(seen.faces["boxes"], seen.faces["scores"], seen.truth, strict=True)
    results = [Found(boxes, scores, _tight(points)[None], some) for boxes, scores, points in faces]
    figures = {"recall": round(recall_at(results, threshold), 4)}
    if seen.faceless:
        empty, scores = np.zeros((0, 4), np.float32), seen.faceless["scores"]
        results += [Found(b, s, empty, none) for b, s in zip(seen.faceless["boxes"], scores, strict=True)]
        figures["false_alarms"] = round(float((scores.max(axis=1) >= threshold).mean()), 4)
    precision = average_precision(results)
    return {"ap": round(precision, 4), "missed_precision": round(1 - precision, 4), **figures}


@torch.no_grad()
def validate_faces(network: nn.Module, alone: nn.Module, samples: ImageSamples) -> dict[str, float]:
    """Return the figures of ``validate_boxes``, and the landmark errors of the whole network.

    ``nme`` is the mean over the faces found (IoU 0.5). ``fr`` is the fraction of faces that are missed or have an error
    above 0.1. ``nme_lost``, the mean over all faces with each error limited to ``LOST``, is the figure to minimise.
    ``nme_gt`` is the error in true boxes, by ``alone``, which takes images and boxes; ``nme_lips_closed`` and
    ``nme_lips_open`` are those of ``lips_accuracy`` in true boxes. All errors are divided by ``metrics.usual_lengths``.
    """
    seen = _see(network, samples)
    errors = _errors(_points_found(seen), seen.truth)
    missed = np.isnan(errors)
    given = _points_given(alone, samples)
    return _box_figures(seen, samples.spec.threshold) | {
        "nme": round(float(errors[~missed].mean()), 5) if not missed.all() else LOST,
        "fr": round(failure_rate(errors), 4),
        "nme_lost": round(float(np.fmin(errors, LOST).mean()), 5),
        "nme_gt": round(float(_errors(given, seen.truth).mean()), 5),
        **lips_accuracy(given, seen.truth),
    }


def _points_found(seen: _Seen) -> FloatArray:
    """Return the points (N,n,2) of the valid face with the highest IoU with the true box; NaN if it is below 0.5."""
    points = np.full_like(seen.truth, np.nan)
    for i, truth in enumerate(seen.truth):
        overlap = iou(seen.faces["boxes"][i], _tight(truth)[None])[:, 0] * seen.faces["valid"][i]
        best = int(overlap.argmax())
        if overlap[best] >= 0.5:
            points[i] = seen.faces["points"][i, best]
    return points


def _points_given(alone: nn.Module, samples: ImageSamples) -> FloatArray:
    """Return the points (N,n,2) found in the true boxes of the plain images."""
    device, points = device_of(alone), []
    for i in range(len(samples.data)):
        image, truth = samples.plain(i)
        box = torch.from_numpy(_tight(truth))[None, None].to(device)
        points.append(alone(samples.tensor(image)[None].to(device), box)["points"][0, 0].float().cpu().numpy())
    return np.stack(points)


def _errors(points: FloatArray, truth: FloatArray) -> FloatArray:
    """Return the normalised error (N,) of points (N,n,2); NaN for a missed face."""
    norm, lost = usual_lengths(truth), np.isnan(points).all(axis=(1, 2))
    errors = np.full(len(truth), np.nan, np.float32)
    errors[~lost] = nme(point_errors(points[~lost], truth[~lost], norm[~lost]))
    return errors
