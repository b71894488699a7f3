"""Learner and recipes of CHS: the paper's network and its ablations.

Paper: "Heatmap-Guided Selective Feature Attention for Robust Cascaded Face Alignment" (So and Han 2023).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ...engines.spec import Spec
from .. import checkpoint
from ..data import LandmarkSet
from ..data.augment import CHS_LOOKS, Augmentation
from ..data.samples import FaceItem, FaceSamples, accuracy, predict_points
from ..learner import Learner
from ..losses import AdaptiveWeights, adaptive_wing, awing_weight, log_wing, masked_mean
from ..networks.chs import CHS, Cascade, CHSConfig
from ..targets import BOUNDARIES, boundary_maps, gaussian_maps
from ..training.loop import Optimiser, Schedule
from ..training.recipes import FORM, Options, Recipe, prepare_faces

Weighting = Literal["both", "adaptive", "fixed", "none"]

SIGMA = 1.75  # cells; AWing's reference code uses a quarter of its window, although it calls it 1
WINDOW = 7  # cells
UNIT = 256  # side of the paper's crop in pixels, to which the regression loss is scaled for crops of any size
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

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``points`` (B,n,2) in crop pixels after the last stage and ``confidence`` (B,n), the maps' peaks."""
        cascade: Cascade = self.network(images)
        return {"points": in_pixels(cascade, images)[-1], "confidence": cascade.peak.clamp(0, 1)}

    def losses(self, batch: FaceItem, turn: str) -> dict[str, Tensor]:
        """Return the weighted losses ``maps``, ``stage1``, ``stage2``, …"""
        cascade: Cascade = self.network(batch["image"])
        side = cascade.maps[-1].shape[-1]
        cells = (batch["points"] + 0.5) * side / batch["image"].shape[-1] - 0.5
        # no stage can see landmarks outside the crop; their maps are empty
        inside = ((cells > -0.5) & (cells < side - 0.5)).all(dim=2)
        parts = {"maps": maps_loss(cascade.maps, cells, batch["known"])}
        for number, found in enumerate(cascade.cells[1:], 1):
            error = log_wing((found.float() - cells) * UNIT / side).mean(dim=2)
            parts[f"stage{number}"] = masked_mean(error, batch["known"] * inside)
        if self.adaptive is not None:
            weighted: dict[str, Tensor] = self.adaptive(parts)
            return weighted
        return {name: self.fixed[name] * value for name, value in parts.items()}


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
    points = gaussian_maps(cells, height, width, sigma=SIGMA, window=WINDOW, known=known)
    outline = boundary_maps(cells, height, width, curves=BOUNDARIES[cells.shape[1]], merged=True)
    targets = torch.cat([points, outline], dim=1)
    counted = torch.cat([known, known.amin(dim=1, keepdim=True)], dim=1)
    weight = awing_weight(targets)
    losses = [(adaptive_wing(each.float(), targets) * weight).mean(dim=(2, 3)) for each in maps]
    return torch.stack([masked_mean(loss, counted) for loss in losses]).sum()


AUGMENTATION = Augmentation(
    rotation=50.0,
    scale=(0.85, 1.15),
    shift=25 / 256,
    flip=0.5,
    occlusion_share=1.0,
    occlusion_area=(0.0, 0.25),  # a patch of up to half the crop's side
    looks=CHS_LOOKS,
)

# Threshold of the mean confidence. At an eighth of the width all held-out faces passed, and 1 % of squares without one.
THRESHOLD = 0.65

EPOCHS = 335  # the last drop is at 330; the paper does not give the number of epochs
DROPS = (120, 200, *range(240, 331, 5))
BATCH = 10
SGD = Optimiser("sgd", learning_rate=1e-2, decay=5e-4, momentum=0.9, drops=tuple((e / EPOCHS, 0.75) for e in DROPS))
# The paper's SGD is meant for 335 epochs. With BRIEF the error at an eighth of the width fell from 37 to 17 % in 600
# steps.
BRIEF = Optimiser("adam", learning_rate=1e-3, decay=0.0, warmup=100)


def _schedule(options: Options) -> Schedule:
    """Return the paper's epochs over the set, with a faster optimiser and averaged weights if ``minutes`` is given."""
    batch = options.batch or BATCH
    steps = EPOCHS * options.training_faces // batch
    if options.minutes:
        return Schedule(steps, batch, (BRIEF,), ema=0.99, validate_every=200)
    return Schedule(steps, batch, (SGD,))


def _learner(options: Options, name: str, weighting: Weighting, changes: dict[str, Any]) -> CHSLearner:
    config = CHSConfig(
        landmarks=options.landmarks,
        size=options.size or 256,
        width=1.0 if options.width is None else options.width,
        **changes,
    )
    spec = Spec(
        task="landmarks",
        name=name,
        size=(config.size, config.size),
        landmarks=config.landmarks,
        crop_margin=1.25,  # the paper crops by the boxes of the data sets; here boxes follow the landmarks
        threshold=THRESHOLD,
    )
    learner = CHSLearner(CHS(config), spec, weighting)
    if options.start is not None:
        begin_from(learner, options.start)
    return learner


def begin_from(learner: CHSLearner, path: Path) -> None:
    """Load the network's weights from a checkpoint of the same structure; additional stages are discarded.

    Raises:
        TrainingError: the file cannot be read, or has another structure.
    """
    stages = learner.network.config.stages

    def belongs(name: str) -> bool:
        part, *rest = name.split(".")
        return part == "network" and (rest[0] != "stages" or int(rest[1]) < stages)

    theirs = {name: value for name, value in checkpoint.load(path)["average"].items() if belongs(name)}
    own = {name: value for name, value in learner.state_dict().items() if not name.startswith("network.")}
    checkpoint.fill(learner, theirs | own)


def _recipe(name: str, summary: str, weighting: Weighting = "both", **changes: Any) -> Recipe:
    return Recipe(
        name,
        summary,
        lambda options: _learner(options, name, weighting, changes),
        prepare_faces(AUGMENTATION, validate_stages),
        "nme",
        _schedule,
        "chs",
        FORM | {"start"},
    )


_CUT = "; with --start and --steps 0 cut from a longer cascade (table 9)"

RECIPES: tuple[Recipe, ...] = (
    _recipe("chs", "selective features and four stages of regression"),
    _recipe("chs-awing", "AWing's four hourglasses alone (tables 6, 9)", attention="none", stages=0),
    _recipe("chs-sf", "hourglasses with selective features (tables 6, 9)", stages=0),
    _recipe("chs-6ccr", "six stages of regression (table 6)", stages=6),
    _recipe("chs-2ccr", f"two stages (table 6){_CUT}", stages=2),
    _recipe("chs-1ccr", f"one stage{_CUT}", stages=1),
    _recipe("chs-0ccr", f"no stage{_CUT}", stages=0),
    _recipe("chs-fixed", "task weights fixed, not learned (table 6)", "fixed"),
    _recipe("chs-adaptive", "task weights learned, not fixed (table 6)", "adaptive"),
    _recipe("chs-plain", "regression without selective features (tables 6, 7)", attention="none"),
    _recipe("chs-plain-fixed", "the same, task weights fixed (table 6)", "fixed", attention="none"),
    _recipe("chs-plain-adaptive", "the same, task weights learned (table 6)", "adaptive", attention="none"),
    _recipe("chs-plain-unweighted", "the same, tasks weighted alike (table 6)", "none", attention="none"),
    _recipe("chs-cbam", "CBAM on the deepest level in the stages (table 7)", attention="cbam", guided=False),
    _recipe("chs-sk", "selective kernel on the deepest level in the stages (table 7)", attention="sk", guided=False),
    _recipe("chs-sdfl", "SDFL's attention on every level in the stages (table 7)", attention="sdfl", guided=False),
    _recipe("chs-unguided", "selective features without the maps (table 7)", guided=False),
    _recipe("chs-sdfl-guided", "SDFL's attention guided by the maps (table 7)", attention="sdfl"),
    _recipe("chs-task", "no gradient from task to task (table 8)", routing="task"),
    _recipe("chs-full", "gradient from every task to the one before (table 8)", routing="full"),
)
