"""What the SD-HRNet paper sets for each data set and stage, and the faster schedules where minutes are limited."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..training.recipes import Options
from ..training.schedule import Optimiser, Schedule

EPOCHS = 60

# Where minutes are limited. The paper's factors can travel 2.1 in all; so can these in a run of 1,400 of their steps.
# Until a factor comes near 0, the pressure on it (5e-5) is twenty times the gradient of the maps, and all fall in step.
# At 5e-3 they came there after 230 steps, when a step was still as long as most factors, and the weights that had to
# follow lost half of their accuracy. From a supernet that has been there a small rate is enough to tell them apart.
CUT_PASSES = (4, 12)  # steps of the importance factors, then of the weights
CUT_FACTORS = Optimiser("adam", rate=3e-3, decay=0.0, turn="importance")
CUT_FACTORS_ON = replace(CUT_FACTORS, rate=1.5e-3)


@dataclass(frozen=True, slots=True)
class Setting:
    """What the paper sets for a data set.

    Attributes:
        batch: samples a step.
        sigma: standard deviation of the targets, cells of a 64 x 64 map.
        rate: of the weights.
        importance_rate: of the importance factors.
        threshold: below which a factor is pruned.
        peer, teacher: weights of the two distillation losses.
    """

    batch: int
    sigma: float
    rate: float
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
    """The paper's values for the data set; 300W's for a set that it does not have."""
    return SETTINGS.get(options.set, SETTINGS["300w"])


def batch_of(options: Options) -> int:
    """Samples a step."""
    return options.batch or setting_of(options).batch


def epoch(options: Options) -> int:
    """Steps of one pass over the data."""
    return math.ceil(options.training_faces / batch_of(options))


def _weights(
    options: Options, rate: float, drops: tuple[tuple[float, float], ...], decay: float, turn: str
) -> Optimiser:
    """Adam as in the paper; where minutes are limited, ten times faster and by a cosine that ends with them."""
    if options.minutes:
        return Optimiser("adam", rate=10 * rate, decay=0.0, warmup=100, turn=turn)
    return Optimiser("adam", rate=rate, decay=decay, drops=drops, turn=turn)


def _schedule(options: Options, steps: int, *optimisers: Optimiser) -> Schedule:
    every, average = (200, 0.99) if options.minutes else (epoch(options), 0.0)
    return Schedule(steps, batch_of(options), optimisers, average=average, validate_every=every)


def teacher_schedule(options: Options) -> Schedule:
    """Adam at 1e-4, a tenth after half and again after five sixths of 60 epochs (HRNet's own)."""
    drops = ((30 / EPOCHS, 0.1), (50 / EPOCHS, 0.1))
    return _schedule(options, EPOCHS * epoch(options), _weights(options, 1e-4, drops, 0.0, "all"))


def slim_schedule(options: Options) -> Schedule:
    """60 epochs of Adam, a tenth after 40 and after 50."""
    return _schedule(options, EPOCHS * epoch(options), _paper_weights(options, "all"))


def _paper_weights(options: Options, turn: str) -> Optimiser:
    drops = ((40 / EPOCHS, 0.1), (50 / EPOCHS, 0.1))
    return _weights(options, setting_of(options).rate, drops, 4e-5, turn)


def supernet_schedule(options: Options) -> Schedule:
    """60 epochs of two passes: one steps the importance factors at a constant rate, one the weights."""
    factors = Optimiser("adam", rate=setting_of(options).importance_rate, decay=0.0, drops=(), turn="importance")
    if options.minutes:
        factors = CUT_FACTORS_ON if options.start else CUT_FACTORS
    return _schedule(options, 2 * EPOCHS * epoch(options), factors, _paper_weights(options, "weights"))
