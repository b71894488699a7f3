"""Landmark schemes by name: the published ones, and those that users add."""

from __future__ import annotations

import copyreg
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from ...engines.errors import NasionError
from .published_schemes import AFLW_19, AFLW_21, COFW_29, IBUG_68, JD_106, WFLW_98
from .scheme import LandmarkScheme

SCHEMES: dict[str, LandmarkScheme] = {
    scheme.name: scheme for scheme in (AFLW_19, AFLW_21, COFW_29, IBUG_68, WFLW_98, JD_106)
}
"""Known schemes by name; ``add_scheme`` adds one."""

schemes: Mapping[str, LandmarkScheme] = MappingProxyType(SCHEMES)
"""Known landmark schemes by name; read-only.

Examples:
    >>> import nasion
    >>> nasion.schemes["wflw-98"].count
    98
"""

PUBLISHED = frozenset(SCHEMES)
"""Names of the schemes of published data sets, which every version of nasion knows."""

USUAL: dict[int, LandmarkScheme] = {scheme.count: scheme for scheme in SCHEMES.values()}
"""Default scheme by number of landmarks, for data and networks that do not name one."""


def add_scheme(scheme: LandmarkScheme) -> None:
    """Register a scheme by name, so that models and files that name it have parts, lines and mirror pairs.

    Raises:
        NasionError: another scheme has this name, an index is out of range, or ``flip`` repeats an index.

    Examples:
        >>> import nasion
        >>> mine = nasion.LandmarkScheme(
        ...     name="mine-5", count=5, left_eye=(0,), right_eye=(1,), mouth=(3, 4), outer_corners=(0, 1),
        ...     pupils=((0,), (1,)), flip=(1, 0, 2, 4, 3), lines=((3, 4),), further={"nose": (2,)},
        ... )
        >>> nasion.add_scheme(mine)
        >>> nasion.schemes["mine-5"] is mine
        True
    """
    if SCHEMES.get(scheme.name, scheme) is not scheme:
        raise NasionError(f"a scheme {scheme.name!r} exists already; choose another name")
    openings = [(*each.corners, *(i for pair in each.pairs for i in pair)) for each in scheme.openings.values()]
    groups = (*scheme.parts.values(), *scheme.lines, *scheme.pupils, *openings, scheme.head)
    indices = [i for group in groups for i in group]
    beyond = [i for i in (*indices, *scheme.outer_corners, *scheme.flip) if not 0 <= i < scheme.count]
    if beyond or sorted(scheme.flip) != list(range(scheme.count)):
        what = f"index {beyond[0]} lies beyond its {scheme.count} landmarks" if beyond else "flip repeats an index"
        raise NasionError(f"scheme {scheme.name!r}: {what}; allowed are indices from 0 to {scheme.count - 1}")
    SCHEMES[scheme.name] = scheme


def scheme_of(count: int) -> LandmarkScheme | None:
    """Return the default scheme of ``count`` landmarks; None if there is none."""
    return USUAL.get(count)


def _registered(*values: Any) -> LandmarkScheme:
    """Return the registered scheme with these values of its fields, or build one."""
    scheme = LandmarkScheme(*values)
    known = SCHEMES.get(scheme.name, scheme)
    return known if _values(known) == _values(scheme) else scheme


def _values(scheme: LandmarkScheme) -> tuple[Any, ...]:
    return tuple(getattr(scheme, each.name) for each in fields(scheme))


# A scheme that is unpickled is the registered one of the same name and contents: schemes are compared by identity.
copyreg.pickle(LandmarkScheme, lambda scheme: (_registered, _values(scheme)))
