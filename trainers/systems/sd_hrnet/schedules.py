"""Schedules of SD-HRNet: the paper's for each data set and stage, and faster ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ...training.recipes import Options
from ...training.schedule import Optimiser, Schedule

EPOCHS = 60

# For runs limited by ``minutes``. The paper's factors can move by 2.1 in all; so can these in 1,400 of their steps.
# Until a factor is near 0, the pressure on it (5e-5) is twenty times the gradient of the maps, and all factors shrink
# at the same rate. At 5e-3 they were near 0 after 230 steps, when a step was still as large as most factors, and the
# weights, which had to adapt, lost half of their accuracy. From a supernet trained that far a small rate is enough to
# separate the factors.
CUT_PASSES = (4, 12)  # steps of the importance factors, then of the weights
CUT_FACTORS = Optimiser("adam", learning_rate=3e-3, decay=0.0, objective="importance")
CUT_FACTORS_ON = replace(CUT_FACTORS, learning_rate=1.5e-3)


@dataclass(frozen=True, slots=True)
class Setting:
    """Settings of the paper for a data set.

    Attributes:
        batch: samples per step.
        sigma: standard deviation of the targets, in cells of a 64 x 64 map.
        learning_rate: learning rate of the weights.
        importance_rate: learning rate of the importance factors.
        threshold: value below which a factor is pruned.
        peer, teacher: weights of the two distillation losses.
    """

    batch: int
    sigma: float
    learning_rate: float
    importance_rate: float
    threshold: float
    peer: float
    teacher: float


SETTINGS = {
    "300w": Setting(16, 1.0, 1e-4, 1.8e-4, 0.0017, 4.0, 1.0),
    "cofw": Setting(16, 1.5, 1e-4, 3.5e-4, 0.0042, 3.0, 0.1),
    "wflw": Setting(32, 1.5, 2e-4, 1.8e-4, 0.002, 0.3, 0.1),
}


def setting_of(options: Options) -> Setting:
    """Return the paper's settings for the data set, or those for 300W if the paper does not use the set."""
    return SETTINGS.get(options.set, SETTINGS["300w"])


def batch_of(options: Options) -> int:
    """Return the number of samples per step."""
    return options.batch or setting_of(options).batch


def epoch(options: Options) -> int:
    """Return the number of steps of one pass over the data."""
    return math.ceil(options.training_faces / batch_of(options))


def _weights(
    options: Options, learning_rate: float, drops: tuple[tuple[float, float], ...], decay: float, objective: str
) -> Optimiser:
    """Return Adam as in the paper, or ten times faster with a cosine that ends with ``minutes`` if these are given."""
    if options.is_brief:
        return Optimiser("adam", learning_rate=10 * learning_rate, decay=0.0, warmup=100, objective=objective)
    return Optimiser("adam", learning_rate=learning_rate, decay=decay, drops=drops, objective=objective)


def _schedule(options: Options, steps: int, *optimisers: Optimiser) -> Schedule:
    every, ema = (200, 0.99) if options.is_brief else (epoch(options), 0.0)
    return Schedule(steps, batch_of(options), optimisers, ema=ema, validate_every=every)


def teacher_schedule(options: Options) -> Schedule:
    """Return HRNet's own schedule: Adam at 1e-4 for 60 epochs, divided by 10 after 30 and after 50 epochs."""
    drops = ((30 / EPOCHS, 0.1), (50 / EPOCHS, 0.1))
    return _schedule(options, EPOCHS * epoch(options), _weights(options, 1e-4, drops, 0.0, "all"))


def slim_schedule(options: Options) -> Schedule:
    """Return 60 epochs of Adam, the rate divided by 10 after 40 and after 50 epochs."""
    return _schedule(options, EPOCHS * epoch(options), _paper_weights(options, "all"))


def _paper_weights(options: Options, objective: str) -> Optimiser:
    drops = ((40 / EPOCHS, 0.1), (50 / EPOCHS, 0.1))
    return _weights(options, setting_of(options).learning_rate, drops, 4e-5, objective)


def supernet_schedule(options: Options) -> Schedule:
    """Return 60 epochs of two passes each: one trains the importance factors at a constant rate, one the weights."""
    factors = Optimiser(
        "adam", learning_rate=setting_of(options).importance_rate, decay=0.0, drops=(), objective="importance"
    )
    if options.is_brief:
        factors = CUT_FACTORS_ON if options.start else CUT_FACTORS
    return _schedule(options, 2 * EPOCHS * epoch(options), factors, _paper_weights(options, "weights"))
