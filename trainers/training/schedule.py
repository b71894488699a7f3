"""Schedules of training runs: steps, batch, optimisers, learning rates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class Optimiser:
    """Optimiser settings for the parameters of one objective.

    Attributes:
        kind: optimisation method.
        learning_rate: peak learning rate.
        decay: weight decay, applied to parameters with more than one dimension.
        momentum: momentum of SGD; Adam and AdamW use their default betas, 0.9 and 0.999.
        warmup: number of this objective's steps over which the learning rate rises linearly from zero.
        drops: (fraction of the run, factor) in order: the learning rate is multiplied by each factor once that
            fraction of the run is done. None: cosine decay from the rate down to ``floor`` times the rate.
        floor: see ``drops``.
        objective: name of the objective, as returned by ``Learner.objective``.
    """

    kind: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = 2e-3
    decay: float = 0.01
    momentum: float = 0.9
    warmup: int = 0
    drops: tuple[tuple[float, float], ...] | None = None
    floor: float = 0.01
    objective: str = "all"

    def learning_rate_at(self, progress: float, count: int) -> float:
        """Return the learning rate after a fraction ``progress`` (0..1) of the run and ``count`` own steps."""
        warm = min(1.0, (count + 1) / self.warmup) if self.warmup else 1.0
        if self.drops is None:
            return self.learning_rate * warm * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * progress)) / 2)
        return self.learning_rate * warm * math.prod(factor for part, factor in self.drops if progress >= part)

    def over(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Build the torch optimiser over ``parameters``."""
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        if self.kind == "sgd":
            return torch.optim.SGD(groups, lr=self.learning_rate, momentum=self.momentum)
        return (torch.optim.Adam if self.kind == "adam" else torch.optim.AdamW)(groups, lr=self.learning_rate)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Length, batch size and optimisers of a training run.

    Attributes:
        steps: optimiser steps of the whole run, all objectives together; 0 validates and saves the network as built.
        batch: samples per step, over all processes.
        optimisers: one for each objective of the learner.
        ema: decay of the exponential moving average (EMA) of the weights, which is then validated and saved; 0
            uses the weights themselves.
        clip: largest gradient norm of a step; None: no limit.
        validate_every: steps between validations.
        report_every: steps between reports; None: 100, or 10 if the run has at most 1000 steps.
        patience: validations without improvement after which the run ends; None: never.
        seed: seed of the initial weights and the samples.
    """

    steps: int
    batch: int
    optimisers: tuple[Optimiser, ...] = (Optimiser(),)
    ema: float = 0.0
    clip: float | None = None
    validate_every: int = 1000
    report_every: int | None = None
    patience: int | None = None
    seed: int = 0

    @property
    def reporting(self) -> int:
        """Number of steps between reports."""
        return self.report_every or (10 if self.steps <= 1000 else 100)
