"""``nasion networks``: size and cost of all networks, next to the published figures."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...engines.errors import NasionError
from ..machine import provenance
from ..results import Json, json_results

if TYPE_CHECKING:
    from ...trainers.evaluation.presets import Count, Figure

HEADINGS = (
    "network",
    "landmarks",
    "parameters",
    "published",
    "gap",
    "GMAC",
    "published",
    "gap",
    "all GMAC",
    "counted as",
)
CONVENTIONS = {
    "mac": "multiply-accumulates of convolutions and matrix products",
    "thop": "the same, plus bias additions and two per normalised element",
    "no_head": "multiply-accumulates without the head",
}


def networks(names: list[str] | None = None, *, json: Json = None, force: bool = False) -> None:
    """Count parameters and multiply-accumulates (MACs) of networks, and compare them with their papers.

    Args:
        names: names of networks (default: all); an unknown name lists all known ones.
        json: also write everything to this file; - for standard output (default: none).
        force: replace that file.
    """
    from ...trainers.evaluation.presets import PRESETS, count

    unknown = [name for name in names or () if name not in PRESETS]
    if unknown:
        raise NasionError(f"no network is called {unknown[0]!r}; known: {', '.join(PRESETS)}")
    with json_results(json, force=force) as to_json:
        counts = [count(name) for name in names or PRESETS]
        print(table(counts))
        to_json.write(provenance() | {"networks": [_plain(each) for each in counts]})


def table(counts: list[Count]) -> str:
    """Return the counts as a plain-text table, with notes on the conventions used in it."""
    rows = [HEADINGS, *(_row(each) for each in counts)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [
        "  ".join(
            f"{cell:{'<' if i in (0, 9) else '>'}{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    used = dict.fromkeys(each.convention for each in counts)
    notes = [f"{name}: {CONVENTIONS[name]}" for name in used]
    left_out = dict.fromkeys(each.left_out for each in counts if each.left_out)
    notes += [f"-{'-'.join(parts)}: parameters without {', '.join(parts)}" for parts in left_out]
    return "\n".join(line.rstrip() for line in [*aligned, "", *notes])


def _row(each: Count) -> tuple[str, ...]:
    left_out = f" -{'-'.join(each.left_out)}" if each.left_out else ""
    return (
        each.name,
        str(each.landmarks),
        f"{each.size.counted:,}",
        *_beside(each.size),
        f"{each.flops.counted / 1e9:.3f}",
        *_beside(each.flops),
        f"{each.macs / 1e9:.3f}",
        f"{each.convention}{left_out}",
    )


def _beside(figure: Figure) -> tuple[str, str]:
    """Return the published figure and the gap to it, as text."""
    if figure.printed is None:
        return "-", ""
    return figure.printed, "exact" if not figure.gap else f"{100 * figure.gap:+.3g} %"


def _plain(each: Count) -> dict[str, Any]:
    gaps = {"parameters": each.size.gap, "macs": each.flops.gap}
    return asdict(each) | {
        "gap_percent": {name: gap if gap is None else round(100 * gap, 3) for name, gap in gaps.items()}
    }
