"""Landmark schemes of users: read from TOML files, and stored as plain data in networks and landmark files."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...engines.errors import NasionError, printable
from ...engines.spec import LONGEST_NAME, MOST_LANDMARKS, Spec
from .scheme import LandmarkScheme
from .schemes import PUBLISHED, SCHEMES, add_scheme, scheme_of

_KEYS = ("name", "points", "mirror", "parts", "edges", "normaliser")


def read_scheme(path: Path) -> LandmarkScheme:
    """Read a landmark scheme from a TOML file; docs/data.md describes its entries.

    Raises:
        NasionError: the file is missing, is not TOML, or has an entry that is not allowed.
    """
    try:
        values = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise NasionError(f"--scheme {str(path)!r}: cannot be read ({error.strerror or error})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise NasionError(f"--scheme {str(path)!r}: is not TOML ({error})") from error
    return scheme_of_values(values, origin=str(path))


def scheme_of_values(values: Mapping[str, Any], *, origin: str) -> LandmarkScheme:
    """Build a scheme from plain data with the entries of a TOML file; ``origin`` names its source in errors.

    Raises:
        NasionError: an entry is missing or not allowed.
    """
    return _Builder(values, origin).scheme()


def values_of_scheme(scheme: LandmarkScheme) -> dict[str, Any]:
    """Return a scheme as plain data; ``scheme_of_values`` builds an equal one."""
    parts = {name: list(indices) for name, indices in scheme.parts.items() if indices}
    normaliser: Any = {"box": "box", "corners": list(scheme.outer_corners)}.get(scheme.norm)
    return {
        "name": scheme.name,
        "points": list(scheme.names) or scheme.count,
        "mirror": [[i, other] for i, other in enumerate(scheme.flip) if i < other],
        "parts": parts,
        "edges": [list(run) for run in scheme.lines],
        "normaliser": normaliser or [list(group) for group in scheme.pupils],
    }


def known_scheme(text: str, *, origin: str) -> LandmarkScheme:
    """Return the scheme that JSON in a file describes, and register it under its name if that is free.

    Raises:
        NasionError: the text is not a scheme, or another scheme has this name.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NasionError(f"{origin}: its landmark scheme is not JSON ({error})") from error
    if not isinstance(values, dict):
        raise NasionError(f"{origin}: its landmark scheme is {printable(values, longest=60)}; expected an object")
    scheme = scheme_of_values(values, origin=origin)
    known = SCHEMES.get(scheme.name)
    if known is None:
        add_scheme(scheme)
        return scheme
    if values_of_scheme(known) != values_of_scheme(scheme):
        raise NasionError(
            f"{origin}: another scheme is called {scheme.name!r}; give this one another name in its TOML file"
        )
    return known


def scheme_of_spec(spec: Spec) -> LandmarkScheme | None:
    """Return the scheme of a network: the one in its spec, or the default for its number of landmarks.

    None if the scheme is unknown: the landmarks can still be tracked, and drawn as dots.

    Raises:
        NasionError: the scheme in the spec has another number of landmarks, or is not one.
    """
    if spec.scheme_values:
        found: LandmarkScheme | None = known_scheme(spec.scheme_values, origin=f"model {spec.name!r}")
    else:
        found = SCHEMES.get(spec.scheme) if spec.scheme else scheme_of(spec.landmarks)
    if found is not None and found.count != spec.landmarks:
        raise NasionError(
            f"model {spec.name!r} has {spec.landmarks} landmarks and names the scheme {found.name!r}, which has "
            f"{found.count}; export it again with the scheme that it was trained with"
        )
    return found


def values_beyond_published(name: str) -> dict[str, Any]:
    """Return the scheme of that name as plain data, for files; empty if it is a published or an unknown one."""
    return {} if name in PUBLISHED or name not in SCHEMES else values_of_scheme(SCHEMES[name])


def unnamed_scheme(count: int) -> LandmarkScheme:
    """Return the scheme of ``count`` landmarks of which nothing else is known: no mirror pairs, parts or lines."""
    return scheme_of_values({"name": f"points-{count}", "points": count}, origin="landmarks")


class _Builder:
    """Checks of the entries of one scheme."""

    def __init__(self, values: Mapping[str, Any], origin: str) -> None:
        self.values, self.origin = values, origin
        if unknown := [name for name in values if name not in _KEYS]:
            raise self._error(f"entry {unknown[0]!r} is unknown; allowed: {', '.join(_KEYS)}")
        points = values.get("points")
        self.names: tuple[str, ...] = ()
        if isinstance(points, list) and points and all(isinstance(each, str) for each in points):
            self.names = tuple(points)
            if repeated := [name for name in points if points.count(name) > 1]:
                raise self._error(f"points names {repeated[0]!r} twice")
        elif type(points) is not int:
            raise self._error(f"points is {points!r:.60}; give a number, or a list of names")
        self.count = points if isinstance(points, int) else len(self.names)
        if not 1 <= self.count <= MOST_LANDMARKS:
            raise self._error(f"points is {self.count}; allowed: 1 to {MOST_LANDMARKS}")

    def _error(self, problem: str) -> NasionError:
        return NasionError(f"{self.origin}: {printable(problem)}")

    def scheme(self) -> LandmarkScheme:
        name = self.values.get("name")
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
            raise self._error(f"name is {name!r:.60}; give 1 to {LONGEST_NAME} printable characters")
        parts = self._parts()
        norm, corners, groups = self._normaliser()
        return LandmarkScheme(
            name=name,
            count=self.count,
            left_eye=parts.pop("left_eye", ()),
            right_eye=parts.pop("right_eye", ()),
            mouth=parts.pop("mouth", ()),
            outer_corners=corners,
            pupils=groups,
            flip=self._flip(),
            lines=tuple(self._run(run, "edges") for run in self._list(self.values.get("edges", []), "edges")),
            further=parts,
            names=self.names,
            norm=norm,
        )

    def _parts(self) -> dict[str, tuple[int, ...]]:
        parts = self.values.get("parts", {})
        if not isinstance(parts, dict):
            raise self._error(f"parts is {parts!r:.60}; give a table of lists, such as left_eye = [0, 1]")
        return {str(name): self._run(group, f"parts.{name}") for name, group in parts.items()}

    def _flip(self) -> tuple[int, ...]:
        order = list(range(self.count))
        for pair in self._list(self.values.get("mirror", []), "mirror"):
            indices = self._run(pair, "mirror")
            if len(indices) != 2 or indices[0] == indices[1]:
                raise self._error(f"mirror has {pair!r:.60}; give pairs of two different points")
            for a, b in (indices, indices[::-1]):
                if order[a] != a:
                    raise self._error(f"mirror has point {self._named(a)} in two pairs")
                order[a] = b
        return tuple(order)

    def _normaliser(self) -> tuple[Any, tuple[int, int], tuple[tuple[int, ...], tuple[int, ...]]]:
        given = self.values.get("normaliser", "box")
        if given == "box":
            return "box", (0, 0), ((), ())
        if not isinstance(given, list) or len(given) != 2:
            raise self._error(f'normaliser is {given!r:.60}; give two points, two lists of points, or "box"')
        if all(isinstance(each, list) for each in given):
            a, b = (self._run(group, "normaliser") for group in given)
            if not a or not b:
                raise self._error("normaliser has an empty list; give at least one point in each")
            return "pupils", (a[0], b[0]), (a, b)
        first, second = self._run(given, "normaliser")
        if first == second:
            raise self._error(f"normaliser has point {self._named(first)} twice; give two different points")
        return "corners", (first, second), ((first,), (second,))

    def _list(self, value: object, entry: str) -> Sequence[Any]:
        if not isinstance(value, list):
            raise self._error(f"{entry} is {value!r:.60}; give a list of lists of points")
        return value

    def _run(self, points: object, entry: str) -> tuple[int, ...]:
        """Return the indices of points given by number or by name."""
        given: Iterable[Any] = points if isinstance(points, list) else [None]
        return tuple(self._index(point, entry) for point in given)

    def _index(self, point: Any, entry: str) -> int:
        if isinstance(point, str) and point in self.names:
            return self.names.index(point)
        if type(point) is int and 0 <= point < self.count:
            return point
        by_name = f", or one of the names {', '.join(self.names[:5])} …" if self.names else ""
        raise self._error(
            f"{entry} has point {point!r:.40}; allowed are 0 to {self.count - 1}, because there are {self.count} "
            f"points{by_name}"
        )

    def _named(self, index: int) -> str:
        return repr(self.names[index]) if self.names else str(index)
