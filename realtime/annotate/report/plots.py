"""Plots of a report as SVG, which a small script links by a common cursor."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 1000.0
"""Width of a plot in its own units; the page stretches it."""
Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Line:
    """Series of a plot.

    Attributes:
        name: name in the legend.
        colour: CSS colour.
        values: a value for each bin; None where there is a gap.
        filled: True to fill the area under it.
    """

    name: str
    colour: str
    values: Values
    filled: bool = False


def plot(
    title: str,
    lines: Sequence[Line],
    *,
    low: float,
    high: float,
    height: int = 120,
    unit: str = "",
    marks: Iterable[float] = (),
    note: str = "",
) -> str:
    """Return a plot of lines over time as a HTML figure.

    Args:
        title: title.
        lines: the lines.
        low, high: range of the values; values outside of it are cut off.
        height: height in pixels.
        unit: unit of the values, for the cursor.
        marks: positions of vertical lines, in 0..1 of the width.
        note: note beside the title.
    """
    drawn = "".join(_line(line, low, high, height) for line in lines)
    cuts = "".join(f'<path class="cut" d="M{WIDTH * at:.1f} 0V{height}"/>' for at in marks)
    zero = ""
    if low < 0 < high:
        y = height * (1 - (0 - low) / (high - low))
        zero = f'<path class="zero" d="M0 {y:.1f}H{WIDTH:.0f}"/>'
    legend = "".join(
        f'<span><i style="background:{line.colour}"></i>{escape(line.name)}<b data-value="{i}"></b></span>'
        for i, line in enumerate(lines)
    )
    data = json.dumps([[None if value is None else round(value, 3) for value in line.values] for line in lines])
    return (
        f'<figure class="plot" data-unit="{escape(unit)}"><figcaption><h3>{escape(title)}</h3>'
        f'<small>{escape(note)}</small><div class="legend">{legend}</div></figcaption>'
        f'<div class="area" style="height:{height}px"><div class="scale"><span>{_short(high)}</span>'
        f"<span>{_short(low)}</span></div>"
        f'<svg viewBox="0 0 {WIDTH:.0f} {height}" preserveAspectRatio="none">{zero}{cuts}{drawn}</svg>'
        f'<div class="cursor"></div></div><script type="application/json">{data}</script></figure>'
    )


def _line(line: Line, low: float, high: float, height: int) -> str:
    count = max(len(line.values) - 1, 1)
    runs: list[list[str]] = [[]]
    places: list[list[float]] = [[]]
    for i, value in enumerate(line.values):
        if value is None:
            if runs[-1]:
                runs.append([])
                places.append([])
            continue
        y = height * (1 - (min(max(value, low), high) - low) / (high - low))
        runs[-1].append(f"{WIDTH * i / count:.1f} {y:.1f}")
        places[-1].append(WIDTH * i / count)
    shapes = ""
    for points, xs in zip(runs, places, strict=True):
        if not points:
            continue
        path = "M" + "L".join(points if len(points) > 1 else points * 2)
        if line.filled:
            area = f"{path}L{xs[-1]:.1f} {height}L{xs[0]:.1f} {height}Z"
            shapes += f'<path class="fill" style="fill:{line.colour}" d="{area}"/>'
        shapes += f'<path class="line" style="stroke:{line.colour}" d="{path}"/>'
    return shapes


def bars(spans: Sequence[tuple[float, float, str]], colour: str) -> str:
    """Return a row of a timeline: spans from and to positions in 0..1, each of a CSS class."""
    drawn = "".join(
        f'<rect class="{kind}" style="fill:{colour}" x="{WIDTH * begin:.1f}" '
        f'width="{max(WIDTH * (end - begin), 1.5):.1f}" y="3" height="14" rx="2"/>'
        for begin, end, kind in spans
    )
    return f'<svg viewBox="0 0 {WIDTH:.0f} 20" preserveAspectRatio="none">{drawn}</svg>'


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) < 10 else f"{value:.0f}"
