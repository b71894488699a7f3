"""Samples that cannot be read: their errors travel with the batch, so that training can be saved before it stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch.utils.data import Dataset

from .base import DataError

_FAR = 1 << 36
"""Distance from a sample to the one that replaces it: further than any run goes, so that no sample is drawn twice."""
_TRIES = 20


class Drawn(NamedTuple):
    """A sample or a batch, and the errors met on the way.

    Attributes:
        batch: the sample or batch; None if a sample could not be replaced.
        errors: message of each file that could not be read.
    """

    batch: Any
    errors: tuple[str, ...] = ()


class Tolerant(Dataset[Drawn]):
    """Data set whose samples never raise ``DataError``."""

    def __init__(self, samples: Dataset[Any], *, replace: bool) -> None:
        """Draw from ``samples``; with ``replace`` another sample takes the place of one that cannot be read."""
        self.samples, self.replace = samples, replace

    def __len__(self) -> int:
        return len(self.samples)  # type: ignore[arg-type]  # Dataset declares no length

    def __getitem__(self, index: int) -> Drawn:
        """Return sample ``index``, or the one that replaces it, which is the same in every run."""
        errors: list[str] = []
        for k in range(_TRIES if self.replace else 1):
            try:
                return Drawn(self.samples[index + k * _FAR], tuple(errors))
            except DataError as error:
                errors.append(str(error))
        return Drawn(None, tuple(errors))


def gathered(collate: Callable[[list[Any]], Any], drawn: list[Drawn]) -> Drawn:
    """Return a batch with the errors of its samples; without the batch if one of them is missing."""
    errors = tuple(message for each in drawn for message in each.errors)
    if any(each.batch is None for each in drawn):
        return Drawn(None, errors)
    return Drawn(collate([each.batch for each in drawn]), errors)
