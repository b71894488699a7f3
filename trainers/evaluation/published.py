"""Published figures of the papers: sizes of networks, and results on the public test sets."""

from __future__ import annotations

from dataclasses import dataclass

from ..counting import Convention
from ..metrics import Norm
from .tables import TABLES, Measure, Paper, Table

PAPERS: dict[Paper, str] = {
    "pwc": "Hsu et al., A detailed look at CNN-based approaches in facial landmark detection",
    "chs": "So and Han, Heatmap-guided selective feature attention for robust cascaded face alignment, 2023",
    "rdfn": "Lin and Liang, Region-aware deep feature-fused network for robust facial landmark localization, 2023",
    "rht": "Wan et al., Precise facial landmark detection by reference heatmap transformer, 2023",
    "sd-hrnet": "Lin et al., SD-HRNet: slimming and distilling high-resolution network for efficient face alignment",
}

# --- sizes


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

    paper: Paper
    parameters: str | None
    flops: str | None = None
    convention: Convention = "mac"
    left_out: tuple[str, ...] = ()
    source: str = "text"


SIZES: dict[str, Size] = {
    "pwc": Size("pwc", "82,947,658"),
    "pwc-heatmap": Size("pwc", "82,947,658"),
    "pwc-distribution": Size("pwc", "82,871,880"),
    "pwc-direct": Size("pwc", "178,682,440"),
    "pwc-dan": Size("pwc", "35,053,144"),
    "pwc-dan-stage": Size("pwc", "11,146,312"),
    "pwc-discriminator": Size("pwc", "34,689"),
    "chs-awing": Size("chs", "24.15 M", "26.79 G", "thop", source="table 9"),
    "chs-0ccr": Size("chs", "24.15 M", "26.80 G", "thop", source="table 9"),
    "chs-1ccr": Size("chs", "56.62 M", "30.52 G", "thop", source="table 9"),
    "chs-2ccr": Size("chs", "89.09 M", "34.25 G", "thop", source="table 9"),
    "chs": Size("chs", "154.04 M", "41.69 G", "thop", source="table 9"),
    "rdfn": Size("rdfn", "10.66 M", "4.38 G", "thop", source="table 4"),
    "rdfn-fused": Size("rdfn", "10.66 M", "4.38 G", "thop", source="table 4"),
    "sd-hrnet-teacher": Size("sd-hrnet", "9.3 M", "4.3 G", "no_head", ("head",), "table 1"),
    "sd-hrnet-supernet": Size("sd-hrnet", "3.27 M", "1.25 G", "mac", ("head", "stem", "importance"), "table 1"),
    "sd-hrnet-300w": Size("sd-hrnet", "0.98 M", "0.59 G", "no_head", ("head", "importance"), "table 1"),
    "sd-hrnet-cofw": Size("sd-hrnet", "1.05 M", "0.60 G", "no_head", ("head", "importance"), "table 1"),
    "sd-hrnet-wflw": Size("sd-hrnet", "1.32 M", "0.60 G", "no_head", ("head", "importance"), "table 1"),
    "rht-r": Size("rht", None),
    "rht-h": Size("rht", None),
}


def printed(figure: str) -> tuple[float, float]:
    """Return the value of a figure such as "24.15 M", and half a unit of its last digit: the tolerance of a match."""
    digits, _, unit = figure.partition(" ")
    scale = {"": 1.0, "M": 1e6, "G": 1e9}[unit]
    decimals = len(digits.partition(".")[2])
    return float(digits.replace(",", "")) * scale, 0.5 * scale / 10**decimals


# --- results


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


FACES: dict[str, dict[str, int]] = {
    "300w": {"full": 689, "common": 554, "challenging": 135, "helen": 330, "lfpw": 224, "ibug": 135},
    "300w-private": {"full": 600, "indoor": 300, "outdoor": 300},
    "masked300w": {"full": 689, "common": 554, "challenging": 135},
    "cofw": {"full": 507},
    "cofw68": {"full": 507},
    "aflw": {"full": 4386},
    "aflw-frontal": {"full": 1314},
    "wflw": {
        "full": 2500,
        "pose": 326,
        "expression": 314,
        "illumination": 698,
        "make-up": 206,
        "occlusion": 736,
        "blur": 773,
    },
}
"""Number of faces in the published test parts, by set and subset."""

SYSTEMS: tuple[str, ...] = tuple(dict.fromkeys(row for table in TABLES for row in table.rows))

# Recipes whose row has another name in the papers, or that are compared with further rows if their own has no number.
ROWS: dict[str, tuple[str, ...]] = {
    "chs": ("chs", "chs-gt"),
    "chs-awing": ("chs-awing", "awing"),
    "pwc-hybrid-as-released": ("pwc-hybrid",),
    "rdfn-head": ("rdfn-gt",),
    "rdfn-landmarks": ("rdfn",),
    "rht-r": ("rht-r-neutral", "rht-r"),  # exported with the neutral face; for other sets only the best is printed
    "rht-h": ("rht-h-neutral", "rht-h"),
    "sd-hrnet-300w": ("sd-hrnet-slim",),
    "sd-hrnet-cofw": ("sd-hrnet-slim",),
    "sd-hrnet-wflw": ("sd-hrnet-slim",),
    "sd-hrnet-table6-none": ("sd-hrnet-slim",),
}


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
