"""Names of the measures, without the libraries that measuring needs."""

from __future__ import annotations

from typing import Literal, get_args

from ...engines.errors import NasionError

Measure = Literal["pose", "eyes", "mouth"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


def chosen(measures: object) -> tuple[Measure, ...]:
    """Return the measures asked for, each once, in the order of ``MEASURES``.

    Raises:
        NasionError: a measure does not exist, or ``measures`` is not a collection of names.
    """
    named = [measures] if isinstance(measures, str) else measures
    if not isinstance(named, list | tuple | set | frozenset) or not all(isinstance(each, str) for each in named):
        raise NasionError(f"measures={measures!r:.60} is not allowed; give names, such as measures=('pose', 'eyes')")
    if unknown := [name for name in named if name not in MEASURES]:
        raise NasionError(f"measures={unknown[0]!r:.60} is not allowed; choose from {', '.join(MEASURES)}")
    return tuple(name for name in MEASURES if name in named)
