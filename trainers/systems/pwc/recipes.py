"""Recipes of the pixel-wise classification study (Hsu et al.): table 2 and more.

Each network also has a recipe with a discriminator of shapes (``-disc``). ``docs/papers/pwc.md`` lists the choices made
where the paper is unclear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from ....engines.spec import Spec
from ...data.augment import Augmentation
from ...data.samples import FaceSamples, mean_shape, validate_lips
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
    HeightOneRegression,
    Hybrid,
    HybridAsReleased,
    Maps,
    PixelClassification,
    PrintedHybrid,
    PrintedPixelClassification,
    Regression,
    SoftReading,
    Study,
)

AUGMENTATION = Augmentation(rotation=30.0, scale=(0.6, 1.0))
CROP_MARGIN = 1.3
UNITS = 8  # sides of the crop per unit in which direct regression answers
# Threshold of the mean confidence. At an eighth of the width `pwc` keeps 95 % and `pwc-distribution` 99 % of held-out
# faces, and both keep 1 % of squares without a face.
THRESHOLD = 0.38


@dataclass(frozen=True, slots=True)
class _Model:
    """Column of the paper's table 2, or a variant of one.

    ``brief`` is the learning rate of the schedule for brief runs. ``version`` is that of its recipes.
    """

    name: str
    summary: str
    learner: type[Study]
    network: Callable[[PWCConfig], nn.Module]
    size: int = 224
    learning_rate: float = 1e-4
    brief: float = 1e-3
    version: int = 1
    caveat: str | None = None


_MAPS = partial(MapNetwork, background=True)
_MODELS = (
    _Model("pwc-direct", "direct regression of the landmarks", Regression, DirectRegression, 224, 1e-3, 3e-3, 2),
    _Model("pwc-dan", "cascaded regression (DAN), three stages", Regression, DAN, 112, 1e-3, 3e-3),
    _Model("pwc-distribution", "one distribution per landmark", Distribution, partial(MapNetwork, background=False)),
    _Model(
        "pwc-heatmap",
        "heatmap regression, Gaussians that sum to 1",
        HeatmapRegression,
        _MAPS,
        brief=3e-4,
        caveat="as published: its targets have peaks of 0.02, so it collapses to background everywhere",
    ),
    _Model("pwc-heatmap-height-1", "heatmap regression, Gaussians of height 1", HeightOneRegression, _MAPS),
    _Model("pwc", "pixel-wise classification, loss per landmark", PixelClassification, _MAPS, version=2),
    _Model("pwc-mean", "pixel-wise classification, printed mean over the pixels", PrintedPixelClassification, _MAPS),
    _Model("pwc-hybrid", "pixel classes per landmark and distances", Hybrid, _MAPS, version=2),
    _Model("pwc-hybrid-mean", "pixel classes by the printed mean, and distances", PrintedHybrid, _MAPS),
)
_AS_RELEASED = _Model(
    "pwc-hybrid-as-released",
    "printed hybrid whose points come from arg-max, without a gradient",
    HybridAsReleased,
    _MAPS,
)


def _build(model: _Model, critic: bool, options: Options) -> Study:
    side = options.size or model.size
    unit = 1.0 if options.version == 1 else side / UNITS
    config = PWCConfig(options.landmarks, side, 1.0 if options.width is None else options.width, unit)
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
    prepared = prepare_faces(AUGMENTATION, validate_lips)(learner, root, options)
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


def _schedule(model: _Model, critic: bool, options: Options) -> Schedule:
    """Return the schedule: Adam at a constant rate until ten validations, 1,000 iterations apart, bring no improvement.

    The paper does not give the number of steps. In brief runs the rate is higher and follows a cosine that ends with
    them, and the weights are averaged. An iteration with a discriminator is three steps: one of the
    discriminator and two of the network.
    """
    objectives = (CRITIC, FINDER) if critic else ("all",)
    each = 3 if critic else 1
    optimiser = Optimiser("adam", learning_rate=model.learning_rate, decay=0.0, drops=())
    if options.is_brief:
        optimiser = replace(optimiser, learning_rate=model.brief, drops=None)
    return Schedule(
        steps=200_000 * each,
        batch=16,
        optimisers=tuple(replace(optimiser, objective=objective) for objective in objectives),
        ema=0.99 if options.is_brief else 0.0,
        validate_every=(200 if options.is_brief else 1000) * each,
        patience=None if options.is_brief else 10,
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
        version=2 if critic else model.version,
        caveat=model.caveat,
    )


RECIPES = (
    *(_recipe(model, critic) for model in _MODELS for critic in (False, True)),
    _recipe(_AS_RELEASED, False),
)
