"""Recipes of the pixel-wise classification study (Hsu et al.): table 2 and more.

Each network also has a recipe with a discriminator of shapes (``-disc``). ``docs/papers/pwc.md`` lists the choices made
where the paper is unclear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ....engines.spec import Spec
from ....realtime.geometry import region_of_points, transform
from ...data.augment import Augmentation
from ...data.samples import FaceSamples
from ...learner import Learner
from ...networks.pwc.dan import DAN
from ...networks.pwc.networks import DirectRegression, MapNetwork, PWCConfig
from ...training.recipes import Options, Prepared, Recipe, prepare_faces
from ...training.schedule import Optimiser, Schedule
from .learners import (
    CRITIC,
    FINDER,
    Distribution,
    HeatmapRegression,
    Hybrid,
    HybridAsReleased,
    Maps,
    PixelClassification,
    Regression,
    SoftReading,
    Study,
)

AUGMENTATION = Augmentation(rotation=30.0, scale=(0.6, 1.0))
CROP_MARGIN = 1.3
# Threshold of the mean confidence. At an eighth of the width `pwc` keeps 95 % and `pwc-distribution` 99 % of held-out
# faces, and both keep 1 % of squares without a face.
THRESHOLD = 0.38


@dataclass(frozen=True, slots=True)
class _Model:
    """Column of the paper's table 2.

    ``hurried`` is the learning rate if ``minutes`` is given. At 20 to 30 times the paper's rate all variants still
    learned eight faces by heart, except the cascade with a discriminator, which failed from 3e-2 on. On 300W, heatmap
    regression learned at 1e-3 for 500 steps, then collapsed to background everywhere.
    """

    name: str
    summary: str
    learner: type[Study]
    network: Callable[[PWCConfig], nn.Module]
    size: int = 224
    rate: float = 1e-4
    hurried: float = 1e-3


_MODELS = (
    _Model("pwc-direct", "direct regression of the landmarks", Regression, DirectRegression, 224, 1e-3, 3e-3),
    _Model("pwc-dan", "cascaded regression (DAN), three stages", Regression, DAN, 112, 1e-3, 3e-3),
    _Model("pwc-distribution", "one distribution per landmark", Distribution, partial(MapNetwork, background=False)),
    _Model("pwc-heatmap", "heatmap regression", HeatmapRegression, partial(MapNetwork, background=True), hurried=3e-4),
    _Model("pwc", "pixel-wise classification", PixelClassification, partial(MapNetwork, background=True)),
    _Model("pwc-hybrid", "pixel classes and distances", Hybrid, partial(MapNetwork, background=True)),
)
_AS_RELEASED = replace(
    _MODELS[-1],
    name="pwc-hybrid-as-released",
    summary="hybrid whose points come from arg-max, without a gradient",
    learner=HybridAsReleased,
)


def _build(model: _Model, critic: bool, options: Options) -> Study:
    side = options.size or model.size
    config = PWCConfig(options.landmarks, side, 1.0 if options.width is None else options.width)
    name = model.name + "-disc" * critic
    points = options.landmarks
    spec = Spec("landmarks", name, (side, side), landmarks=points, crop_margin=CROP_MARGIN, threshold=THRESHOLD)
    network = model.network(config)
    if isinstance(network, MapNetwork) and issubclass(model.learner, Maps) and model.learner.background is not None:
        network.expect(model.learner.background, side * side)
    return model.learner(network, spec, critic=critic)


def _prepare(learner: Learner, root: Path, options: Options) -> Prepared:
    """Prepare samples and validation.

    Networks that start from the mean shape are given it. For maps, validation also reports soft-argmax.
    """
    prepared = prepare_faces(AUGMENTATION)(learner, root, options)
    assert isinstance(learner, Study)
    assert isinstance(prepared.samples, FaceSamples)
    if isinstance(learner.network, DirectRegression | DAN):
        learner.network.start_from(mean_shape(prepared.samples))

    def validate(network: nn.Module) -> dict[str, float]:
        figures = prepared.validate(network)
        if isinstance(network, Maps):
            figures["nme_soft"] = prepared.validate(SoftReading(network))["nme"]
        return figures

    return replace(prepared, validate=validate)


def mean_shape(samples: FaceSamples) -> Tensor:
    """Return the mean points (n,2) over all plain crops, in crop pixels, ignoring landmarks without annotation."""
    shapes = []
    for points in samples.data.points:
        region = region_of_points(points[np.isfinite(points).all(axis=1)], margin=samples.spec.crop_margin)
        shapes.append(transform(points, region.to_crop(samples.spec.size[0])))
    return torch.from_numpy(np.nanmean(np.stack(shapes), axis=0).astype(np.float32))


def _schedule(model: _Model, critic: bool, options: Options) -> Schedule:
    """Return the schedule: Adam at a constant rate until ten validations, 1,000 iterations apart, bring no improvement.

    The paper does not give the number of steps. If ``minutes`` is given, the rate is higher and follows a cosine that
    ends with them, and the weights are averaged. An iteration with a discriminator is three steps: one of the
    discriminator and two of the network.
    """
    turns = (CRITIC, FINDER) if critic else ("all",)
    each = 3 if critic else 1
    optimiser = Optimiser("adam", learning_rate=model.rate, decay=0.0, drops=())
    if options.minutes:
        optimiser = replace(optimiser, learning_rate=model.hurried, drops=None)
    return Schedule(
        steps=200_000 * each,
        batch=16,
        optimisers=tuple(replace(optimiser, turn=turn) for turn in turns),
        ema=0.99 if options.minutes else 0.0,
        validate_every=(200 if options.minutes else 1000) * each,
        patience=None if options.minutes else 10,
    )


def _recipe(model: _Model, critic: bool) -> Recipe:
    return Recipe(
        name=model.name + "-disc" * critic,
        summary=f"PWC study: {model.summary}{', against a discriminator' * critic}",
        build=partial(_build, model, critic),
        prepare=_prepare,
        criterion="nme",
        schedule=partial(_schedule, model, critic),
        paper="pwc",
    )


RECIPES = (
    *(_recipe(model, critic) for model in _MODELS for critic in (False, True)),
    _recipe(_AS_RELEASED, False),
)
