"""Published figures of the papers: sizes of networks, and results on the public test sets."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from ..metrics import Norm
from .paper_files import FOLDER, PARTS, Measure, Size, Table, read_paper, read_parts

PAPERS = {name: read_paper(FOLDER / f"{name}.toml") for name in ("pwc", "chs", "rdfn", "rht", "sd-hrnet")}

FACES = read_parts(PARTS)
"""Number of faces in the published test parts, by set and subset."""

SIZES: dict[str, Size] = {name: size for paper in PAPERS.values() for name, size in paper.sizes.items()}

TABLES: tuple[Table, ...] = tuple(chain.from_iterable(paper.tables for paper in PAPERS.values()))

SYSTEMS: tuple[str, ...] = tuple(dict.fromkeys(row for table in TABLES for row in table.rows))

ROWS = {recipe: rows for paper in PAPERS.values() for recipe, rows in paper.recipes.items()}
"""Rows to compare a recipe with, where they are not the row of its name."""


def printed(figure: str) -> tuple[float, float]:
    """Return the value of a figure such as "24.15 M", and half a unit of its last digit: the tolerance of a match."""
    digits, _, unit = figure.partition(" ")
    scale = {"": 1.0, "M": 1e6, "G": 1e9}[unit]
    decimals = len(digits.partition(".")[2])
    return float(digits.replace(",", "")) * scale, 0.5 * scale / 10**decimals


@dataclass(frozen=True, slots=True)
class Result:
    """Published result.

    Attributes:
        system: row of the table; rows are named like the recipes of the same network.
        set: test set, as named by ``read_set``.
        subset: part of the test set; "full" is all of it.
        measure: figure that was measured; failure rates and areas end with the error limit in percent.
        norm: length that errors were divided by.
        value: value in percent.
        spread: standard deviation over trainings in percent; None if the paper gives none.
        source: paper and table.
    """

    system: str
    set: str
    subset: str
    measure: Measure
    norm: Norm
    value: float
    spread: float | None
    source: str


def in_true_boxes(system: str) -> str:
    """Return the row of a face-detecting network when it is given true boxes; its own row if there is no other."""
    rows = (f"{row}-gt" for row in ROWS.get(system, (system,)))
    return next((row for row in rows if row in SYSTEMS), system)


def published(name: str, of_set: str) -> tuple[Result, ...]:
    """Return the published results of a recipe, or of a row of ``SYSTEMS``, on a set; empty if there are none.

    Sets are named as by ``read_set``. If a recipe has several rows, each measure is taken from the first row that has
    it, so that subsets and the full set are from the same row.
    """
    found: dict[tuple[str, Measure, Norm], Result] = {}
    for row in ROWS.get(name, (name,)):
        taken = {(measure, norm) for _, measure, norm in found}
        for table in TABLES:
            if table.set == of_set and (table.measure, table.norm) not in taken:
                for result in _results(table, row):
                    found.setdefault((result.subset, result.measure, result.norm), result)
    return tuple(found.values())


def _results(table: Table, system: str) -> tuple[Result, ...]:
    values, spread = table.rows.get(system, ()), table.spread.get(system, (None,) * len(table.subsets))
    source = f"{table.paper}, {table.number}" + (f" ({table.note})" if table.note else "")
    return tuple(
        Result(system, table.set, subset, table.measure, table.norm, value, deviation, source)
        for subset, value, deviation in zip(table.subsets, values, spread, strict=False)
    )
