"""Training the landmark network: labelled faces of several sets in, named losses out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional

from ..engines.spec import Spec
from ..realtime.faces import IBUG_68, FloatArray, Image
from ..realtime.geometry import Region, region_of_points, roll, to_tensor, transform, warp
from . import augment
from .datasets import (
    LandmarkSet,
    SampleStream,
    TrainingData,
)
from .learner import Learner, device_of
from .losses import laplace_nll, log_l1, masked_mean, spatial_cross_entropy
from .metrics import box_size, inter_ocular, nme, point_errors, roc_auc
from .networks.encoder_decoder import LandmarkExport
from .targets import gaussian_targets

# How often each kind of crop is drawn. 300W defines the points; AFLW brings the large poses; YouTube Faces brings
# video; the rest teaches presence.
SHARES = {"300w": 0.62, "aflw68": 0.21, "ytf68": 0.07, "wider": 0.02, "nobody": 0.08}
# YouTube Faces' labels are whole pixels with a noisy outline: they count less, and through a correction of their own.
SET_WEIGHT = {"300w": 1.0, "aflw68": 1.0, "ytf68": 0.4}
SIGMA = 5.6  # crop pixels, of the Gaussians that the maps are asked to resemble
# The inter-ocular distance of a frontal face is about 0.59 of the longer side of its points' box (median over 300W's
# training part).
INTER_OCULAR = 0.59
HIDDEN_ERROR = 10.0  # crop pixels that a self-occluded point is taken to be wrong by, for the confidence only


class Item(TypedDict):
    """One crop, or a batch of them.

    ``image`` (3,S,S); ``points`` (n,2) in crop pixels; ``known`` (n,) weight of each point's annotation; ``hidden``
    (n,) marks self-occluded points; ``presence`` 0 or 1; ``corrected`` (2,2) maps the set's correction into the crop,
    all zero for sets that need none.
    """

    image: Tensor
    points: Tensor
    known: Tensor
    hidden: Tensor
    presence: Tensor
    corrected: Tensor


@dataclass(frozen=True, slots=True)
class _Crop:
    image: Image
    points: FloatArray | None = None
    set_name: str = ""
    present: bool = False
    corrected: FloatArray | None = None


class AlignmentSamples(SampleStream[Item]):
    """Crop number i of an endless, reproducible stream: always the same for one seed."""

    def __init__(self, data: TrainingData, spec: Spec, *, seed: int = 0) -> None:
        """Draw from ``data`` crops as ``spec`` describes them."""
        super().__init__(seed)
        self.data, self.size, self.margin = data, spec.size[0], spec.crop_margin

    def __getitem__(self, index: int) -> Item:
        """The crop and what is known of it."""
        rng = self.generator(index)
        kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
        if kind == "nobody":
            crop = self._nobody(rng)
        elif kind == "wider":
            crop = self._unlabelled(rng)
        else:
            crop = self._face(rng, next(s for s in self.data.faces if s.name == kind))
        return as_item(crop)

    def _face(self, rng: Generator, chosen: LandmarkSet) -> _Crop:
        i = int(rng.integers(len(chosen)))
        points, angle = chosen.points[i], face_angle(chosen.points[i])
        region = augment.jitter_region(rng, annotated(points), margin=self.margin, angle=angle)
        matrix = region.to_crop(self.size)
        if mirrored := rng.random() < 0.5:
            matrix = np.stack([-matrix[0], matrix[1]])
            matrix[0, 2] += self.size - 1
        image = augment.look(rng, warp(self.picture(chosen.files[i]), matrix, self.size), strength=0.5)
        if rng.random() < 0.1:
            image = augment.occlude(rng, image)
        if rng.random() < 0.05:
            image = augment.cut_off(rng, image)
        moved = transform(points, matrix)
        moved = moved[list(IBUG_68.flip)] if mirrored else moved
        turn = (region.angle - angle) * (1 if mirrored else -1)
        return _Crop(image, moved, chosen.name, True, self._correction(points, region, turn, chosen.name))

    def _correction(self, points: FloatArray, region: Region, turn: float, name: str) -> FloatArray:
        """Upright face of unit size to crop pixels: (2,2)."""
        if name != "ytf68":
            return np.zeros((2, 2), np.float32)
        unit = region_of_points(annotated(points), margin=1.0).side * self.size / region.side
        cos, sin = np.cos(turn) * unit, np.sin(turn) * unit
        return np.array([[cos, -sin], [sin, cos]], np.float32)

    def _unlabelled(self, rng: Generator) -> _Crop:
        """A face of WIDER: it teaches presence only."""
        while True:
            i = int(rng.integers(len(self.data.wider)))
            boxes = self.data.wider.boxes[i]
            boxes = boxes[(boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= 28]
            if len(boxes):
                break
        box = boxes[rng.integers(len(boxes))]
        brows = np.array([box[0], box[1] + 0.2 * (box[3] - box[1])], np.float32)
        region = augment.jitter_region(rng, np.stack([brows, box[2:]]), margin=self.margin, shift=0.05)
        image = augment.look(rng, warp(self.picture(self.data.wider.files[i]), region.to_crop(self.size), self.size))
        return _Crop(image, present=True)

    def _nobody(self, rng: Generator) -> _Crop:
        """Background, or a crop so misplaced that following it would be wrong."""
        draw = rng.random()
        place = self._background if draw < 0.35 else self._between_faces if draw < 0.65 else self._misplaced
        image, region = place(rng) if draw < 0.85 else self._covered(rng)
        return _Crop(augment.look(rng, warp(image, region.to_crop(self.size), self.size)))

    def _covered(self, rng: Generator) -> tuple[Image, Region]:
        """A face behind something that hides it wholly, or all but a rim."""
        chosen = self.data.faces[int(rng.integers(len(self.data.faces)))]
        i = int(rng.integers(len(chosen)))
        region = region_of_points(annotated(chosen.points[i]), margin=self.margin)
        half = 0.5 * region.side * rng.uniform(0.75, 1.1)
        x, y = round(region.x), round(region.y)
        image = self.picture(chosen.files[i]).copy()
        x0, y0, x1, y1 = max(0, x - int(half)), max(0, y - int(half)), x + int(half), y + int(half)
        hole = image[y0:y1, x0:x1]
        cover, place = self._background(rng)
        if rng.random() < 0.3:
            hole[:] = rng.integers(0, 256, 3)
        else:
            size = max(hole.shape[:2])
            hole[:] = warp(cover, place.to_crop(size), size)[: hole.shape[0], : hole.shape[1]]
        return image, region

    def _background(self, rng: Generator) -> tuple[Image, Region]:
        image = self.picture(self.data.negatives[rng.integers(len(self.data.negatives))])
        return image, augment.random_region(rng, image)

    def _between_faces(self, rng: Generator) -> tuple[Image, Region]:
        """A part of a WIDER picture that holds no annotated face: shoulders, hands, things that people stand among."""
        for _ in range(20):
            i = int(rng.integers(len(self.data.wider)))
            image, boxes = self.picture(self.data.wider.files[i]), self.data.wider.boxes[i]
            region = augment.random_region(rng, image)
            half = region.side * 0.5
            corners = np.array([region.x - half, region.y - half, region.x + half, region.y + half])
            overlap = np.minimum(boxes[:, 2:], corners[2:]) - np.maximum(boxes[:, :2], corners[:2])
            if not (overlap > 0).all(axis=1).any():
                return image, region
        return self._background(rng)

    def _misplaced(self, rng: Generator) -> tuple[Image, Region]:
        chosen = self.data.faces[int(rng.integers(len(self.data.faces)))]
        i = int(rng.integers(len(chosen)))
        image = self.picture(chosen.files[i])
        region = region_of_points(annotated(chosen.points[i]), margin=self.margin)
        direction, draw = rng.uniform(0, 2 * np.pi), rng.random()
        if draw < 0.6:  # beside the face
            far = rng.uniform(0.7, 1.1) * region.side
            x, y = region.x + np.cos(direction) * far, region.y + np.sin(direction) * far
            return image, Region(x, y, region.side * float(np.exp(rng.normal(0, 0.2))), region.angle)
        if draw < 0.8:  # a detail of the face
            far = rng.uniform(0, 0.35) * region.side
            x, y = region.x + np.cos(direction) * far, region.y + np.sin(direction) * far
            return image, Region(x, y, region.side * rng.uniform(0.15, 0.33), region.angle)
        return image, Region(region.x, region.y, region.side * rng.uniform(3.2, 5), region.angle)  # far too wide


def annotated(points: FloatArray) -> FloatArray:
    """The points (k,2) that carry an annotation."""
    return points[~np.isnan(points[:, 0])]


def face_angle(points: FloatArray) -> float:
    """Roll of a face in radians; 0 where a part of eyes or mouth is not annotated."""
    needed = [*IBUG_68.left_eye, *IBUG_68.right_eye, *IBUG_68.mouth]
    angle = roll(np.nan_to_num(points), IBUG_68) if np.isfinite(points[needed]).all() else 0.0
    return angle


def as_item(crop: _Crop) -> Item:
    """Arrays to tensors, unknown points to zeros of no weight."""
    count = IBUG_68.count
    points = np.full((count, 2), np.nan, np.float32) if crop.points is None else crop.points
    unknown = np.isnan(points[:, 0])
    weight = SET_WEIGHT.get(crop.set_name, 0.0)
    corrected = np.zeros((2, 2), np.float32) if crop.corrected is None else crop.corrected
    return {
        "image": torch.from_numpy(to_tensor([crop.image], (0, 0, 0), (255, 255, 255), rgb=True)[0]),
        "points": torch.from_numpy(np.nan_to_num(points)),
        "known": torch.from_numpy(np.where(unknown, 0, weight).astype(np.float32)),
        "hidden": torch.from_numpy((unknown & (weight > 0)).astype(np.float32)),
        "presence": torch.tensor(float(crop.present)),
        "corrected": torch.from_numpy(corrected),
    }


def tolerance(spec: Spec) -> float:
    """Crop pixels that are 10 % of the inter-ocular distance of a frontal face in a well-placed crop."""
    return 0.1 * INTER_OCULAR * spec.size[0] / spec.crop_margin


class WithCorrection(Learner):
    """A landmark network in training, with the offset by which YouTube Faces' labels differ from 300W's.

    The offset is one vector per point of an upright face of unit size, mirror-symmetric, learned along and left out of
    the export: so the labels of one set do not bend the points on another.
    """

    def __init__(self, network: nn.Module, spec: Spec) -> None:
        """Train ``network`` on crops as ``spec`` describes them."""
        super().__init__()
        self.network, self.spec = network, spec
        self.offset = nn.Parameter(torch.zeros(IBUG_68.count, 2))

    def correction(self) -> Tensor:
        """(n, 2) offset, the mean of itself and its mirror image."""
        mirrored = self.offset[list(IBUG_68.flip)] * self.offset.new_tensor([-1.0, 1.0])
        return (self.offset + mirrored) / 2

    def losses(self, batch: Item, turn: str) -> dict[str, Tensor]:
        """See ``alignment_losses``."""
        return alignment_losses(self, batch)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Points, confidence and presence."""
        out: dict[str, Tensor] = self.exported()(images)
        return out

    def exported(self) -> LandmarkExport:
        """The network as it is shipped."""
        return LandmarkExport(self.network, tolerance(self.spec))


def alignment_losses(model: WithCorrection, batch: Item) -> dict[str, Tensor]:
    """Coordinates, heatmaps, confidence and presence."""
    out = model.network(batch["image"])
    size = batch["image"].shape[-1]
    # labels of a corrected set are moved to where 300W would have put them
    offset = model.correction() @ batch["corrected"].transpose(1, 2)
    error = out["points"] + offset - batch["points"]
    known, cell = batch["known"], size / out["maps"].shape[-1]
    inside = ((batch["points"] > 0) & (batch["points"] < size - 1)).all(dim=2)
    cells = (batch["points"] - offset.detach() + 0.5) / cell - 0.5
    target = gaussian_targets(cells, out["maps"].shape[2], out["maps"].shape[3], sigma=SIGMA / cell)
    distance = error.detach().norm(dim=2)
    distance = torch.where(batch["hidden"] > 0, HIDDEN_ERROR, distance)
    return {
        "points": masked_mean(2.5 * log_l1(error, scale=4.0).sum(dim=2), known),
        "maps": 0.1 * masked_mean(spatial_cross_entropy(out["maps"], *target), known * inside),
        "confidence": 0.1 * masked_mean(laplace_nll(distance, out["log_scale"]), known + 0.3 * batch["hidden"]),
        "presence": 0.3 * functional.binary_cross_entropy_with_logits(out["presence"], batch["presence"]),
    }


@torch.no_grad()
def validate_alignment(learner: nn.Module, spec: Spec, data: TrainingData) -> dict[str, float]:
    """NME on the held-out part of each training set, and AUC of confidence and presence, crops lightly jittered."""
    assert isinstance(learner, WithCorrection)
    network = learner.network
    rng, samples = np.random.default_rng(1), AlignmentSamples(data, spec)
    figures, errors, scales, present = {}, [], [], []
    for chosen in data.faces:
        crops, truth = zip(*(_plain_crop(rng, samples, chosen, i) for i in range(len(chosen))), strict=True)
        out = _predict(network, crops)
        points = np.stack(truth)
        norm = box_size(points) if chosen.name == "aflw68" else inter_ocular(points)
        each = point_errors(out["points"], points, norm)
        figures[f"nme_{chosen.name}"] = round(float(nme(each).mean()), 5)
        present.append(out["presence"])
        if chosen.name != "ytf68":
            errors.append(each)
            scales.append(out["log_scale"])
    nobody = _predict(network, [samples._nobody(rng).image for _ in range(400)])["presence"]
    known = ~np.isnan(np.concatenate(errors))
    wrong = np.concatenate(errors)[known] > 0.1
    found = np.concatenate(present)
    figures["auc_confidence"] = round(roc_auc(np.concatenate(scales)[known], wrong), 4)
    labels = np.r_[np.ones(len(found), bool), np.zeros(len(nobody), bool)]
    figures["auc_presence"] = round(roc_auc(np.r_[found, nobody], labels), 5)
    figures["criterion"] = figures["nme_300w"] + 0.2 * figures["nme_aflw68"]
    return figures


def _plain_crop(rng: Generator, samples: AlignmentSamples, chosen: LandmarkSet, i: int) -> tuple[Image, FloatArray]:
    points, angle = chosen.points[i], face_angle(chosen.points[i])
    region = region_of_points(annotated(points), margin=samples.margin, angle=angle + rng.normal(0, 0.05))
    dx, dy = rng.normal(0, 0.03, 2) * region.side
    region = Region(region.x + dx, region.y + dy, region.side * float(np.exp(rng.normal(0, 0.04))), region.angle)
    matrix = region.to_crop(samples.size)
    return warp(samples.picture(chosen.files[i]), matrix, samples.size), transform(points, matrix)


def _predict(model: nn.Module, crops: tuple[Image, ...] | list[Image]) -> dict[str, FloatArray]:
    outputs, device = [], device_of(model)
    for at in range(0, len(crops), 64):
        images = torch.from_numpy(to_tensor(crops[at : at + 64], (0, 0, 0), (255, 255, 255), rgb=True))
        out = model(images.to(device))
        outputs.append({name: out[name].cpu().numpy() for name in ("points", "log_scale", "presence")})
    return {name: np.concatenate([out[name] for out in outputs]) for name in outputs[0]}
