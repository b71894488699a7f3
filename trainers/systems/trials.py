"""Brief trainings of the recipes of a system, compared with the mean shape, which needs no network."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ...realtime.values.arrays import FloatArray
from ...realtime.values.geometry import box_of
from ..data import read_set, split_validation
from ..data.augment import Augmentation
from ..data.samples import FaceSamples, accuracy, mean_shape
from ..learner import Learner
from ..metrics import Found, average_precision
from ..training.loop import Watch, train
from ..training.recipes import Options, Recipe
from .whole_images import Framing, ImageSamples

READINGS = ("nme", "nme_soft", "nme_hard")
"""Errors by different decodings; a recipe is judged by the lowest."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Result of a brief training.

    Attributes:
        recipe, version: name and version of the recipe.
        steps: optimiser steps in all; those of the network are as many in every trial.
        seconds: CPU time.
        measure: figure that is compared: an error, which is lower for a better network.
        value: this figure of the network on held-out faces.
        blind: the same figure of the mean shape, or for a detector of the mean box.
        caveat: reason why the recipe is not expected to learn; None for all others.
        figures: all figures of the validation.
    """

    recipe: str
    version: int
    steps: int
    seconds: float
    measure: str
    value: float
    blind: float
    caveat: str | None
    figures: dict[str, float]

    @property
    def learned(self) -> bool:
        """True if the network is better than the mean shape."""
        return self.value < self.blind


def in_order(recipes: Iterable[Recipe]) -> Iterator[Recipe]:
    """Yield recipes such that each comes after those whose checkpoints it needs."""
    waiting = {recipe.name: recipe for recipe in recipes}
    while waiting:
        ready = [recipe for recipe in waiting.values() if not {recipe.after, recipe.taught_by} & waiting.keys()]
        for recipe in ready:
            yield waiting.pop(recipe.name)


def run_trial(
    recipe: Recipe, options: Options, root: Path, folder: Path, *, steps: int, watch: Watch | None = None
) -> Trial:
    """Train ``recipe`` for ``steps`` steps of the network by its brief schedule, or resume such a run, and measure it.

    Args:
        recipe: recipe to train.
        options: options of all recipes; each gets those that it takes.
        root: folder of data sets.
        folder: folder of the trials; each has its own in it, where later stages find its checkpoint.
        steps: steps of the network. A recipe that trains other parts in alternation has more in all.
        watch: called after each step.

    Raises:
        NasionError: the recipe cannot be trained with these options.
    """
    started = time.process_time()
    options = _of(recipe, options, folder)
    torch.manual_seed(options.seed)
    learner = recipe.build(options)
    prepared = recipe.prepare(learner, root, options)
    own = recipe.schedule_for(options)
    total = _with_other_objectives(learner, steps)
    batch = options.batch or own.batch
    state = train(
        learner,
        prepared.samples,
        replace(own, steps=total, batch=batch, validate_every=total, patience=None, seed=options.seed),
        folder / recipe.name,
        collate=prepared.collate,
        validate=prepared.validate,
        criterion=recipe.criterion,
        description=recipe.described(options),
        watch=watch,
    )
    measure, value = _measured(state.figures)
    blind = _blind(learner, root, options)
    seconds = round(time.process_time() - started, 1)
    figures = dict(state.figures)
    return Trial(recipe.name, recipe.version, total, seconds, measure, value, blind, recipe.caveat, figures)


def _of(recipe: Recipe, options: Options, folder: Path) -> Options:
    """Return the options that the recipe takes, with the checkpoints of the trials that it needs."""
    untouched = Options()
    left_out = {name: getattr(untouched, name) for name in ("size", "width", "stacks") if name not in recipe.takes}
    start, teacher = (None if name is None else folder / name / "best.pt" for name in (recipe.after, recipe.taught_by))
    return replace(options, brief=True, start=start, teacher=teacher, **left_out)


def _with_other_objectives(learner: Learner, steps: int) -> int:
    """Return the number of steps of which ``steps`` train the network."""
    total = 0
    while steps:
        steps -= learner.trains_network(learner.objective(total))
        total += 1
    return total


def _measured(figures: dict[str, float]) -> tuple[str, float]:
    if "missed_precision" in figures and "nme_gt" not in figures:
        return "missed_precision", figures["missed_precision"]
    names = ("nme_gt",) if "nme_gt" in figures else tuple(name for name in READINGS if name in figures)
    name = min(names, key=lambda each: figures[each])
    return name, figures[name]


# --- answers without a network


def _blind(learner: Learner, root: Path, options: Options) -> float:
    """Return the figure of the mean shape of the training faces, or of their mean box, on the held-out faces."""
    data = read_set(options.set, root, part="train")
    training, held = (data.pick(indices) for indices in split_validation(len(data)))
    if learner.spec.task == "landmarks":
        samples = [FaceSamples(part, learner.spec, Augmentation()) for part in (training, held)]
        truth = np.stack([samples[1].cut(i)[1] for i in range(len(held))])
        return accuracy(np.broadcast_to(mean_shape(samples[0]).numpy(), truth.shape), truth)["nme"]
    framed = [ImageSamples(part, [], learner.spec, Framing()) for part in (training, held)]
    if learner.spec.task == "detector":
        return _blind_boxes(*framed)
    mean = np.nanmean(np.stack([_relative(points) for points in training.points]), axis=0)
    truth = np.stack([framed[1].plain(i)[1] for i in range(len(held))])
    return accuracy(np.stack([_placed(mean, box) for box in _boxes(truth)]), truth)["nme"]


def _blind_boxes(training: ImageSamples, held: ImageSamples) -> float:
    some = np.zeros(1, bool)
    boxes = [_boxes(np.stack([each.plain(i)[1] for i in range(len(each.data))])) for each in (training, held)]
    mean = boxes[0].mean(axis=0, keepdims=True)
    return 1 - average_precision([Found(mean, np.ones(1, np.float32), box[None], some) for box in boxes[1]])


def _boxes(points: FloatArray) -> FloatArray:
    """Return the tight boxes (N,4) of faces (N,n,2), NaN where not annotated."""
    return np.stack([box_of(face[np.isfinite(face[:, 0])]) for face in points])


def _relative(points: FloatArray) -> FloatArray:
    """Return points (n,2) relative to their tight box: 0 to 1."""
    (box,) = _boxes(points[None])
    relative: FloatArray = (points - box[:2]) / (box[2:] - box[:2])
    return relative


def _placed(points: FloatArray, box: FloatArray) -> FloatArray:
    """Return points (n,2), relative to a box (4,), in its pixels."""
    placed: FloatArray = box[:2] + points * (box[2:] - box[:2])
    return placed
