"""What the training loop knows of a network: its losses, its turns, its answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ..engines.spec import Spec


class Learner(nn.Module):
    """A network with all that its training needs.

    A step of the loop is one batch and one optimiser step. A learner that trains its parts in turn (a generator and a
    discriminator, weights and importance factors) says in ``turn`` whose step it is; the loop keeps one optimiser a
    turn, steps only the parameters that ``trained`` names, and drops the gradients of all others.

    Attributes:
        spec: what the exported file will say about itself, and how crops are made for it.
        borrowed: names of submodules whose weights come from another file and never change, such as a teacher. They
            are left out of checkpoints; whoever builds the learner loads them, or builds without them where the file
            is not given (as ``load_trained`` does).
    """

    spec: Spec
    borrowed: ClassVar[tuple[str, ...]] = ()

    def train(self, mode: bool = True) -> Self:
        """Training mode for all but what is borrowed, whose statistics stay as they are."""
        super().train(mode)
        for name in self.borrowed:
            if (module := getattr(self, name)) is not None:
                module.eval()
        return self

    def turn(self, step: int) -> str:
        """Name of the optimiser whose step this is."""
        return "all"

    def trained(self, turn: str) -> list[nn.Parameter]:
        """Parameters that ``turn`` steps."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def losses(self, batch: Any, turn: str) -> dict[str, Tensor]:
        """Named losses of a batch, weights included: the loop adds them up."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Normalised images (B,3,S,S) to points (B,n,2) in crop pixels and confidence (B,n) in 0..1, decoding inside.

        A detector returns boxes and scores, as its spec's task says.
        """
        raise NotImplementedError

    def on_step(self, step: int) -> None:
        """Called after each step with the number of steps done; state that it changes belongs into buffers."""

    def exported(self) -> nn.Module:
        """The module that is written to a file, called like ``forward``."""
        return self

    def structure(self) -> dict[str, Any]:
        """What a checkpoint must say, beside the recipe's options, for the network to be built again.

        Plain numbers, strings, lists and dicts; ``build`` finds it in ``Options.structure``. Empty unless training
        changes the network's form, as pruning does.
        """
        return {}


def without(weights: dict[str, Tensor], prefixes: Iterable[str]) -> dict[str, Tensor]:
    """``weights`` less those of the submodules named in ``prefixes``."""
    heads = tuple(f"{prefix}." for prefix in prefixes)
    return {name: value for name, value in weights.items() if not name.startswith(heads)}


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters live."""
    return next(module.parameters()).device
