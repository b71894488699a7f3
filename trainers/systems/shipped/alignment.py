"""Training of the shipped landmark network: learner, losses and validation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional

from ....engines.spec import Spec
from ....realtime.faces.face import VISIBLE
from ....realtime.values.arrays import FloatArray, Image
from ....realtime.values.geometry import Region, region_of_points, to_tensor, transform, warp
from ....realtime.values.published_schemes import IBUG_68
from ...data import LandmarkSet, TrainingData
from ...learner import Learner, device_of
from ...losses import laplace_nll, log_l1, masked_mean, spatial_cross_entropy
from ...metrics import box_size, inter_ocular, nme, point_errors, roc_auc
from ...networks.encoder_decoder import LandmarkExport
from ...targets import gaussian_targets
from .alignment_samples import (
    CORRECTED,
    TELLS_VISIBILITY,
    UNKNOWN,
    AlignmentSamples,
    Item,
    Labels,
    extent,
    face_angle,
)

SIGMA = 0.05  # standard deviation of the target Gaussians of the maps, relative to the crop's side
# The inter-ocular distance of a frontal face is about 0.59 of the longer side of the box around its landmarks (median
# over 300W's training part).
INTER_OCULAR = 0.59
HIDDEN_ERROR = 0.09  # error assumed for a self-occluded landmark in the confidence loss, relative to the crop's side
LOSS_SIZE = 112  # side in pixels of the crop to which errors are scaled in the loss of coordinates


def tolerance(spec: Spec) -> float:
    """Return 10 % of the inter-ocular distance of a frontal face in a well-placed crop, in crop pixels."""
    return 0.1 * INTER_OCULAR * spec.size[0] / spec.crop_margin


class WithCorrection(Learner):
    """Landmark network in training, with offsets for the sets whose labels differ from 300W's.

    Each set in ``CORRECTED`` has one mirror-symmetric vector per landmark of an upright face of unit size. The offsets
    are learned with the network and left out of the export, so that the labels of one set do not bias the landmarks on
    another.
    """

    def __init__(self, network: nn.Module, spec: Spec) -> None:
        """Train ``network`` on crops in the format of ``spec``."""
        super().__init__()
        self.network, self.spec = network, spec
        self.offset = nn.Parameter(torch.zeros(len(CORRECTED), IBUG_68.count, 2))

    def correction(self) -> Tensor:
        """Return the offsets (sets, n, 2), each the mean of itself and its mirror image."""
        mirrored = self.offset[:, list(IBUG_68.flip)] * self.offset.new_tensor([-1.0, 1.0])
        return (self.offset + mirrored) / 2

    def losses(self, batch: Item, objective: str) -> dict[str, Tensor]:
        """Return the losses of a batch; see ``alignment_losses``."""
        return alignment_losses(self, batch)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return points, confidence, presence and, if the network predicts it, visibility."""
        out: dict[str, Tensor] = self.exported()(images)
        return out

    def exported(self) -> LandmarkExport:
        """Return the network as it is shipped."""
        return LandmarkExport(self.network, tolerance(self.spec))


def alignment_losses(model: WithCorrection, batch: Item) -> dict[str, Tensor]:
    """Return the losses of coordinates, heatmaps, confidence, presence and, where predicted, visibility.

    Labels of a corrected set are moved to the positions of 300W's convention.
    """
    return landmark_losses(model.network, batch, model.correction()[batch["set"]] @ batch["corrected"].transpose(1, 2))


def landmark_losses(network: nn.Module, batch: Labels, offset: Tensor | None = None) -> dict[str, Tensor]:
    """Return the losses of a landmark network; ``offset`` (B,n,2) is the difference of the labels from its points."""
    out = network(batch["image"])
    size = batch["image"].shape[-1]
    offset = torch.zeros_like(batch["points"]) if offset is None else offset
    error = out["points"] + offset - batch["points"]
    known, cell = batch["known"], size / out["maps"].shape[-1]
    inside = ((batch["points"] > 0) & (batch["points"] < size - 1)).all(dim=2)
    cells = (batch["points"] - offset.detach() + 0.5) / cell - 0.5
    target = gaussian_targets(cells, out["maps"].shape[2], out["maps"].shape[3], sigma=SIGMA * size / cell)
    distance = error.detach().norm(dim=2)
    distance = torch.where(batch["hidden"] > 0, HIDDEN_ERROR * size, distance)
    losses = {
        "points": masked_mean(2.5 * log_l1(error * (LOSS_SIZE / size), scale=4.0).sum(dim=2), known),
        "maps": 0.1 * masked_mean(spatial_cross_entropy(out["maps"], *target), known * inside),
        "confidence": 0.1 * masked_mean(laplace_nll(distance, out["log_scale"]), known + 0.3 * batch["hidden"]),
        "presence": 0.3 * functional.binary_cross_entropy_with_logits(out["presence"], batch["presence"]),
    }
    if "visibility" in out:
        told = batch["visibility"] != UNKNOWN
        each = functional.cross_entropy(
            out["visibility"].transpose(1, 2), batch["visibility"].clamp_min(0), reduction="none"
        )
        losses["visibility"] = 0.2 * masked_mean(each, told.float())
    return losses


class HeldOut:
    """Crops of held-out faces, slightly jittered, and crops without a face, made once for all validations of a run.

    Attributes:
        sets: each set of faces with its landmarks (N,n,2) in the crops.
        crops: the crops of all sets in their order, then those without a face.
    """

    def __init__(self, data: TrainingData, spec: Spec) -> None:
        """Crop the faces of ``data`` for networks with ``spec``.

        Raises:
            DataError: an image cannot be read.
        """
        rng, samples = np.random.default_rng(1), AlignmentSamples(data, spec)
        self.sets: list[tuple[LandmarkSet, FloatArray]] = []
        self.crops: list[Image] = []
        for chosen in data.faces:
            crops, truth = zip(*(_plain_crop(rng, samples, chosen, i) for i in range(len(chosen))), strict=True)
            self.sets.append((chosen, np.stack(truth)))
            self.crops += crops
        self.crops += [samples.faceless(rng).image for _ in range(_FACELESS)]


@torch.no_grad()
def validate_alignment(learner: nn.Module, held: HeldOut) -> dict[str, float]:
    """Return the NME on the held-out part of each training set, and the AUC of confidence and presence."""
    assert isinstance(learner, WithCorrection)
    out = _predict(learner.network, held.crops)
    figures, errors, scales, begin = {}, [], [], 0
    for chosen, points in held.sets:
        of_set = slice(begin, begin + len(points))
        begin = of_set.stop
        norm = box_size(points) if chosen.name in _BY_BOX else inter_ocular(points)
        each = point_errors(out["points"][of_set], points, norm)
        figures[f"nme_{chosen.name}"] = round(float(nme(each).mean()), 5)
        if chosen.name not in CORRECTED:
            errors.append(each)
            scales.append(out["log_scale"][of_set])
        if chosen.name in TELLS_VISIBILITY and "visibility" in out:
            figures[f"auc_visibility_{chosen.name}"] = _visibility_auc(out["visibility"][of_set], chosen)
    known = ~np.isnan(np.concatenate(errors))
    wrong = np.concatenate(errors)[known] > 0.1
    figures["auc_confidence"] = round(roc_auc(np.concatenate(scales)[known], wrong), 4)
    figures["auc_presence"] = round(roc_auc(out["presence"], np.arange(len(held.crops)) < begin), 5)
    figures["criterion"] = figures["nme_300w"] + 0.2 * figures["nme_aflw68"]
    return figures


_FACELESS = 400  # crops without a face in a validation
_BY_BOX = ("aflw68", "aflw68-context", "cfp-profile")  # sets of faces whose two eyes cannot always be seen


def _visibility_auc(logits: FloatArray, data: LandmarkSet) -> float:
    """Return how well the predicted probability of ``VISIBLE`` (logits (N,n,3)) tells visible landmarks from others."""
    shifted = logits - logits.max(axis=2, keepdims=True)
    visible = np.exp(shifted[..., VISIBLE]) / np.exp(shifted).sum(axis=2)
    assert data.visible is not None
    truth = np.greater(data.visible, 0)  # false where not annotated
    return round(roc_auc(visible.ravel(), truth.ravel()), 4)


def _plain_crop(rng: Generator, samples: AlignmentSamples, chosen: LandmarkSet, i: int) -> tuple[Image, FloatArray]:
    points, angle = chosen.points[i], face_angle(chosen.points[i])
    region = region_of_points(extent(chosen, i), margin=samples.margin, angle=angle + rng.normal(0, 0.05))
    dx, dy = rng.normal(0, 0.03, 2) * region.side
    region = Region(region.x + dx, region.y + dy, region.side * float(np.exp(rng.normal(0, 0.04))), region.angle)
    matrix = region.to_crop(samples.size)
    return warp(samples.image(chosen.files[i]), matrix, samples.size), transform(points, matrix)


def _predict(model: nn.Module, crops: list[Image]) -> dict[str, FloatArray]:
    outputs, device = [], device_of(model)
    for at in range(0, len(crops), 64):
        images = torch.from_numpy(to_tensor(crops[at : at + 64], (0, 0, 0), (255, 255, 255), rgb=True))
        out = model(images.to(device))
        wanted = ("points", "log_scale", "presence", "visibility")
        outputs.append({name: out[name].cpu().numpy() for name in wanted if name in out})
    return {name: np.concatenate([out[name] for out in outputs]) for name in outputs[0]}
