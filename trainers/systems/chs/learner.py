"""Learner of CHS: losses of maps and stages, and their weights.

Paper: "Heatmap-Guided Selective Feature Attention for Robust Cascaded Face Alignment" (So and Han 2023).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ....engines.spec import Spec
from ...data import LandmarkSet
from ...data.augment import Augmentation
from ...data.samples import FaceItem, FaceSamples, accuracy, predict_points
from ...learner import Learner
from ...losses import AdaptiveWeights, adaptive_wing, awing_weight, log_wing, masked_mean
from ...networks.chs.network import CHS, Cascade
from ...targets import BOUNDARIES, boundary_maps, gaussian_maps

Weighting = Literal["both", "adaptive", "fixed", "none"]

SIDE = 64  # cells along a side of the paper's maps, to which targets and regression errors are scaled
SIGMA = 1.75  # cells of these maps; AWing's reference code uses a quarter of its window of 7, although it calls it 1
NARROWEST = 1.0  # cells; the least sigma in a smaller map
LAST_STAGE = 3.0  # fixed weight of the last regression stage; all others are 1


class CHSLearner(Learner):
    """CHS with its losses: adaptive Wing on the maps of every stack, log-only Wing on the points of every stage."""

    def __init__(self, network: CHS, spec: Spec, weighting: Weighting = "both") -> None:
        """Train ``network``.

        The ``weighting`` of its tasks is learned (``adaptive``), ``fixed``, the product of ``both``, or equal
        (``none``).
        """
        super().__init__()
        self.network, self.spec = network, spec
        stages = network.config.stages
        names = ("maps", *(f"stage{number}" for number in range(1, stages + 1)))
        self.fixed = dict.fromkeys(names, 1.0)
        if stages and weighting in ("both", "fixed"):
            self.fixed[names[-1]] = LAST_STAGE
        learned = stages > 0 and weighting in ("both", "adaptive")
        self.adaptive = AdaptiveWeights(names, alpha=self.fixed) if learned else None
        self._raw: dict[str, Tensor] = {}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``points`` (B,n,2) in crop pixels after the last stage and ``confidence`` (B,n), the maps' peaks."""
        cascade: Cascade = self.network(images)
        return {"points": in_pixels(cascade, images)[-1], "confidence": cascade.peak.clamp(0, 1)}

    def losses(self, batch: FaceItem, objective: str) -> dict[str, Tensor]:
        """Return the weighted losses ``maps``, ``stage1``, ``stage2``, …"""
        cascade: Cascade = self.network(batch["image"])
        side = cascade.maps[-1].shape[-1]
        cells = (batch["points"] + 0.5) * side / batch["image"].shape[-1] - 0.5
        # no stage can see landmarks outside the crop; their maps are empty
        inside = ((cells > -0.5) & (cells < side - 0.5)).all(dim=2)
        parts = {"maps": maps_loss(cascade.maps, cells, batch["known"])}
        for number, found in enumerate(cascade.cells[1:], 1):
            error = log_wing((found.float() - cells) * SIDE / side).mean(dim=2)
            parts[f"stage{number}"] = masked_mean(error, batch["known"] * inside)
        self._raw = {f"raw_{name}": value.detach() for name, value in parts.items()}
        if self.adaptive is not None:
            weighted: dict[str, Tensor] = self.adaptive(parts)
            return weighted
        return {name: self.fixed[name] * value for name, value in parts.items()}

    def notes(self) -> dict[str, Tensor]:
        """Return the losses before weighting (``raw_…``) and the learned ``log_sigma_…`` of each task (figures 6, 7).

        Empty if no weight is learned.
        """
        if self.adaptive is None:
            return {}
        weights = zip(self.adaptive.names, self.adaptive.log_sigma.detach().unbind(), strict=True)
        return self._raw | {f"log_sigma_{name}": value for name, value in weights}


def in_pixels(cascade: Cascade, images: Tensor) -> list[Tensor]:
    """Return the points (B,n,2), in crop pixels, from the maps and after each stage."""
    cell = images.shape[-1] / cascade.maps[-1].shape[-1]
    return [(cells + 0.5) * cell - 0.5 for cells in cascade.cells]


class EveryStage(nn.Module):
    """Module that returns the points of all stages, concatenated, from one pass through the network."""

    def __init__(self, learner: CHSLearner) -> None:
        """Wrap ``learner``."""
        super().__init__()
        self.learner = learner

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``points`` (B, (stages + 1) n, 2) in crop pixels."""
        return {"points": torch.cat(in_pixels(self.learner.network(images), images), dim=1)}


def validate_stages(learner: nn.Module, held: LandmarkSet, spec: Spec) -> dict[str, float]:
    """Return ``nme`` and ``fr`` on plain crops, and the NME after each stage: ``nme_maps``, ``nme_stage1``, …"""
    assert isinstance(learner, CHSLearner)
    found, truth = predict_points(EveryStage(learner), FaceSamples(held, spec, Augmentation()))
    figures = [accuracy(each, truth) for each in np.split(found, len(learner.fixed), axis=1)]
    return figures[-1] | {f"nme_{name}": each["nme"] for name, each in zip(learner.fixed, figures, strict=True)}


def maps_loss(maps: list[Tensor], cells: Tensor, known: Tensor) -> Tensor:
    """Return the adaptive Wing loss with its weight map, averaged over cells, summed over the stacks.

    Args:
        maps: maps (B, n + 1, h, w) of each stack, the outline last.
        cells: (B, n, 2) true points in cells.
        known: (B, n) 1 where annotated. The outline counts only if every landmark is annotated.
    """
    height, width = maps[-1].shape[2:]
    sigma, ridge = max(SIGMA * width / SIDE, NARROWEST), max(width / SIDE, NARROWEST)
    points = gaussian_maps(cells, height, width, sigma=sigma, window=2 * int(2 * sigma) + 1, known=known)
    outline = boundary_maps(cells, height, width, curves=BOUNDARIES[cells.shape[1]], sigma=ridge, merged=True)
    targets = torch.cat([points, outline], dim=1)
    counted = torch.cat([known, known.amin(dim=1, keepdim=True)], dim=1)
    weight = awing_weight(targets)
    losses = [(adaptive_wing(each.float(), targets) * weight).mean(dim=(2, 3)) for each in maps]
    return torch.stack([masked_mean(loss, counted) for loss in losses]).sum()
