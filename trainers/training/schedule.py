"""How long and how fast a network learns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class Optimiser:
    """How the parameters of one turn are stepped.

    Attributes:
        kind: the method.
        rate: peak learning rate.
        decay: weight decay of the weights with more than one dimension.
        momentum: of SGD; Adam and AdamW keep their usual 0.9 and 0.999.
        warmup: of this turn's steps, over which the rate rises from nothing.
        drops: (part of the run, factor) in order: the rate is multiplied by each factor once that part of the run is
            over. None: a cosine from the rate down to ``floor`` times the rate.
        floor: see ``drops``.
        turn: whose steps these are, as ``Learner.turn`` names them.
    """

    kind: Literal["adamw", "adam", "sgd"] = "adamw"
    rate: float = 2e-3
    decay: float = 0.01
    momentum: float = 0.9
    warmup: int = 0
    drops: tuple[tuple[float, float], ...] | None = None
    floor: float = 0.01
    turn: str = "all"

    def rate_at(self, progress: float, count: int) -> float:
        """Learning rate after the part ``progress`` (0..1) of the run and ``count`` steps of this turn."""
        warm = min(1.0, (count + 1) / self.warmup) if self.warmup else 1.0
        if self.drops is None:
            return self.rate * warm * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * progress)) / 2)
        return self.rate * warm * math.prod(factor for part, factor in self.drops if progress >= part)

    def over(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser itself."""
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        if self.kind == "sgd":
            return torch.optim.SGD(groups, lr=self.rate, momentum=self.momentum)
        return (torch.optim.Adam if self.kind == "adam" else torch.optim.AdamW)(groups, lr=self.rate)


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast a network learns.

    Attributes:
        steps: optimiser steps of the whole run, those of all turns together; 0 validates and keeps what was built.
        batch: samples a step, over all processes.
        optimisers: one for each turn of the learner.
        average: decay of the exponential moving average of the weights, which is then what is validated and kept; 0
            keeps the weights themselves.
        clip: largest norm of the gradient of one step; None: no limit.
        validate_every: in steps.
        report_every: in steps; None: 100, or 10 where the run has at most 1000.
        patience: validations without improvement after which the run ends; None: never.
        seed: of the initial weights and the samples.
    """

    steps: int
    batch: int
    optimisers: tuple[Optimiser, ...] = (Optimiser(),)
    average: float = 0.0
    clip: float | None = None
    validate_every: int = 1000
    report_every: int | None = None
    patience: int | None = None
    seed: int = 0

    @property
    def reporting(self) -> int:
        """Steps from report to report."""
        return self.report_every or (10 if self.steps <= 1000 else 100)
