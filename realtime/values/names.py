"""Checks of the names of options given as keyword arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from ...engines.errors import NasionError


def check_names(given: Iterable[str], allowed: Iterable[str] | Mapping[str, Iterable[str]]) -> None:
    """Check that all options exist.

    Args:
        given: names of the options.
        allowed: names of those that exist; as a mapping, by what they are for.

    Raises:
        NasionError: one does not exist; the message names the most similar one and all that are allowed.
    """
    groups = allowed if isinstance(allowed, Mapping) else {"": allowed}
    known = [name for names in groups.values() for name in names]
    for name in given:
        if name in known:
            continue
        if name == "detect_every":
            raise NasionError(renamed())
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        listed = "; ".join(f"{kind and f'for {kind}'}: {', '.join(names)}" for kind, names in groups.items())
        raise NasionError(f"option {name!r} is unknown; {hint}allowed{' ' * (len(groups) > 1)}{listed}")


def renamed(before: str = "detect_every", after: str = "detect_interval") -> str:
    """Return the message for the option ``detect_every``, by its names in Python or on the command line."""
    return (
        f"option {before!r} (frames) is {after} (seconds) since nasion 0.2; at 30 frames a second {before}=45 is "
        f"{after}=1.5"
    )
