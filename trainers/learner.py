"""Interface between a network and the training loop: losses, objectives, outputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ..engines.spec import Spec


class Learner(nn.Module):
    """A network with everything that its training needs.

    A step of the loop is one batch and one optimiser step. A learner with alternating objectives (a
    generator and a discriminator, weights and importance factors) returns that of a step from ``objective``. The loop
    keeps one optimiser per objective, updates only the parameters that ``trained`` returns, and drops the gradients of
    all others.

    Attributes:
        spec: metadata of the exported file; also defines how crops are made for the network.
        borrowed: names of submodules whose weights come from another file and never change, such as a teacher. They
            are left out of checkpoints. The code that builds the learner loads them, or builds without them if the
            file is not given (as ``load_trained`` does).
    """

    spec: Spec
    borrowed: ClassVar[tuple[str, ...]] = ()

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; borrowed submodules stay in evaluation mode, so their statistics do not change."""
        super().train(mode)
        for name in self.borrowed:
            if (module := getattr(self, name)) is not None:
                module.eval()
        return self

    def objective(self, step: int) -> str:
        """Return the name of the objective that a step minimises, and so of its optimiser."""
        return "all"

    def trains_network(self, objective: str) -> bool:
        """Return True if ``objective`` trains the weights of the network that is exported."""
        return True

    def trained(self, objective: str) -> list[nn.Parameter]:
        """Return the parameters that ``objective`` updates."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def losses(self, batch: Any, objective: str) -> dict[str, Tensor]:
        """Return the named, weighted losses of a batch; the loop adds them up."""
        raise NotImplementedError

    def notes(self) -> dict[str, Tensor]:
        """Return further scalars of the last step for the record; they are not part of the loss."""
        return {}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map normalised images (B,3,S,S) to points (B,n,2) in crop pixels and confidence (B,n) in 0..1.

        Decoding is included. A detector returns boxes and scores, by the task of its spec.
        """
        raise NotImplementedError

    def on_step(self, step: int) -> None:
        """Update state after a step; ``step`` is the number of steps done. State that changes must live in buffers."""

    def exported(self) -> nn.Module:
        """Return the module to export; it is called like ``forward``."""
        return self

    def structure(self) -> dict[str, Any]:
        """Return what a checkpoint needs, besides the recipe's options, to build the network again.

        Numbers, strings, lists and dicts only; ``build`` receives it as ``Options.structure``. Empty unless training
        changes the structure of the network, as pruning does.
        """
        return {}


def without(weights: dict[str, Tensor], prefixes: Iterable[str]) -> dict[str, Tensor]:
    """Return ``weights`` without those of the submodules named in ``prefixes``."""
    heads = tuple(f"{prefix}." for prefix in prefixes)
    return {name: value for name, value in weights.items() if not name.startswith(heads)}


def device_of(module: nn.Module) -> torch.device:
    """Return the device of a module's parameters."""
    return next(module.parameters()).device
