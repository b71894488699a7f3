"""Figures of the papers, read from the TOML files in ``papers``; each file is checked when it is read."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, get_args

from ...engines.errors import NasionError
from ..counting import Convention
from ..metrics import NORMS, Norm

Measure = Literal["nme", "fr_10", "auc_7", "auc_10"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
FOLDER = Path(__file__).parent / "papers"
PARTS = Path(__file__).parent / "test-parts.toml"

Choice = TypeVar("Choice", bound=str)


class PaperFileError(NasionError):
    """Error in a file of published figures."""


@dataclass(frozen=True, slots=True)
class Size:
    """Size of a network as printed in its paper, and the way of counting that reproduces it.

    Attributes:
        paper: paper that prints it.
        parameters: printed figure such as "24.15 M" or "82,947,658"; None if nothing is printed.
        flops: printed figure such as "26.79 G", in multiply-accumulates; None if nothing is printed.
        convention: convention by which the paper counts multiply-accumulates.
        left_out: parts of names of the parameters that the paper does not count.
        source: place in the paper where the figures are printed.
    """

    paper: str
    parameters: str | None
    flops: str | None = None
    convention: Convention = "mac"
    left_out: tuple[str, ...] = ()
    source: str = "text"


@dataclass(frozen=True, slots=True)
class Table:
    """Table of results, or the part of one with a single measure.

    Errors, failure rates and areas are in percent, also where a paper prints fractions. Where a printed label cannot be
    right, the label here is the one that fits the numbers, and the note says so.

    Attributes:
        paper: paper that prints it.
        number: number of the table, such as "table 2".
        set: test set, as named by ``read_set``.
        measure: figure that was measured; failure rates and areas end with the error limit in percent.
        norm: length that errors were divided by.
        subsets: parts of the test set.
        rows: one value per subset, by system.
        spread: standard deviations over trainings, where the paper prints them.
        note: note on the reading of the table.
    """

    paper: str
    number: str
    set: str
    measure: Measure
    norm: Norm
    subsets: tuple[str, ...]
    rows: Mapping[str, tuple[float, ...]]
    spread: Mapping[str, tuple[float, ...]]
    note: str


@dataclass(frozen=True, slots=True)
class Paper:
    """Figures of a paper.

    Attributes:
        title: authors, title and year.
        recipes: rows of the tables to compare a recipe with, where they are not the row of its name.
        sizes: sizes of networks, by name of the preset.
        tables: results.
    """

    title: str
    recipes: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, Size]
    tables: tuple[Table, ...]


def read_paper(file: Path) -> Paper:
    """Return the figures in the TOML file of a paper, which is named like the paper.

    Raises:
        PaperFileError: a key is unknown or missing, or a value is not allowed; the message names file and place.
    """
    top, name = _Entry(str(file), _parsed(file)), file.stem
    recipes = top.entry("recipes")
    paper = Paper(
        top.text("title"),
        {recipe: recipes.texts(recipe) for recipe in recipes},
        {each: _size(name, entry) for each, entry in top.entry("sizes").entries()},
        tuple(_table(name, entry) for entry in top.array("tables")),
    )
    top.check_unknown()
    return paper


def read_parts(file: Path) -> dict[str, dict[str, int]]:
    """Return the number of faces in the published test parts, by set and subset.

    Raises:
        PaperFileError: a value is not a whole number; the message names file and place.
    """
    return {
        name: {part: entry.count(part) for part in entry} for name, entry in _Entry(str(file), _parsed(file)).entries()
    }


def _parsed(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PaperFileError(f"{file}: {error}") from error


def _size(paper: str, entry: _Entry) -> Size:
    size = Size(
        paper,
        entry.optional("parameters"),
        entry.optional("flops"),
        entry.choice("convention", CONVENTIONS, "mac"),
        entry.texts("left_out", ()),
        entry.text("source", "text"),
    )
    entry.check_unknown()
    return size


def _table(paper: str, entry: _Entry) -> Table:
    subsets = entry.texts("subsets")
    rows, spread = entry.entry("rows"), entry.entry("spread")
    table = Table(
        paper,
        entry.text("number"),
        entry.text("set"),
        entry.choice("measure", MEASURES),
        entry.choice("norm", NORMS),
        subsets,
        {system: rows.numbers(system, len(subsets)) for system in rows},
        {system: spread.numbers(system, len(subsets)) for system in spread},
        entry.text("note", ""),
    )
    entry.check_unknown()
    spread.check_unknown(tuple(rows))
    return table


class _Entry:
    """Table of a TOML file. Its methods return the value of a key and raise ``PaperFileError`` if it is not allowed."""

    def __init__(self, place: str, values: Any) -> None:
        if not isinstance(values, dict):
            raise PaperFileError(f"{place} is {values!r}; give a table")
        self.place, self._values, self._known = place, values, set[str]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def text(self, key: str, default: str | None = None) -> str:
        value = self._get(key, default)
        return value if isinstance(value, str) else self._refuse(key, value, "a text")

    def optional(self, key: str) -> str | None:
        return self.text(key) if self._knows(key) else None

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        value = self._get(key, default)
        if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
            return tuple(value)
        return self._refuse(key, value, "a list of texts")

    def choice(self, key: str, allowed: tuple[Choice, ...], default: Choice | None = None) -> Choice:
        value = self._get(key, default)
        for each in allowed:
            if each == value:
                return each
        return self._refuse(key, value, f"one of {', '.join(allowed)}")

    def count(self, key: str) -> int:
        value = self._get(key, None)
        return value if type(value) is int and value > 0 else self._refuse(key, value, "a whole number from 1")

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        value = self._get(key, None)
        if isinstance(value, list) and len(value) == count and all(type(each) in (int, float) for each in value):
            return tuple(map(float, value))
        return self._refuse(key, value, f"a list of {count} numbers, one for each subset")

    def entry(self, key: str) -> _Entry:
        """Return the table ``key``, empty where it is missing."""
        return _Entry(f"{self.place}: {key}", self._get(key, {}))

    def entries(self) -> Iterator[tuple[str, _Entry]]:
        """Yield every key with its table."""
        return ((key, self.entry(key)) for key in self)

    def array(self, key: str) -> Iterator[_Entry]:
        """Yield the tables of the array ``key``."""
        value = self._get(key, [])
        if not isinstance(value, list):
            self._refuse(key, value, "an array of tables")
        return (_Entry(f"{self.place}: {key} {number}", each) for number, each in enumerate(value, 1))

    def check_unknown(self, allowed: tuple[str, ...] | None = None) -> None:
        """Refuse keys that are not ``allowed`` (default: those whose values were read)."""
        known = sorted(self._known) if allowed is None else allowed
        for key in self:
            if key not in known:
                raise PaperFileError(f"{self.place}: unknown key {key!r}; allowed: {', '.join(known)}")

    def _knows(self, key: str) -> bool:
        self._known.add(key)
        return key in self._values

    def _get(self, key: str, default: Any) -> Any:
        if not self._knows(key) and default is None:
            raise PaperFileError(f"{self.place}: {key} is missing")
        return self._values.get(key, default)

    def _refuse(self, key: str, value: Any, wanted: str) -> NoReturn:
        raise PaperFileError(f"{self.place}: {key} is {value!r}; give {wanted}")
