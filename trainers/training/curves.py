"""Training curves of a run: losses and validation figures per step, from its record."""

from __future__ import annotations

import csv
import io
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engines.output_paths import write_file
from ..figures import save_figure
from .record import read_record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

log = logging.getLogger(__name__)

Series = Mapping[str, tuple[list[int], list[float]]]
_NO_CURVE = ("kind", "at", "step", "seconds", "left", "learning_rate")
SCALARS = "scalars.csv"


def series(reports: Sequence[Mapping[str, Any]], kind: str) -> Series:
    """Return the steps and values of each figure in the reports of this ``kind``."""
    found: dict[str, tuple[list[int], list[float]]] = defaultdict(lambda: ([], []))
    for report in reports:
        if report["kind"] == kind:
            for name in report.keys() - set(_NO_CURVE):
                found[name][0].append(report["step"])
                found[name][1].append(report[name])
    return dict(sorted(found.items()))


def write_scalars(folder: Path) -> Path:
    """Write ``scalars.csv`` from the record in ``folder``: kind, step, name and value of each figure; return its path.

    Raises:
        SinkError: it cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("kind", "step", "name", "value"))
    for report in read_record(folder / "record.jsonl"):
        if report["kind"] in ("train", "notes", "validate"):
            apart = ("kind", "at", "step")
            table.writerows(
                (report["kind"], report["step"], name, value) for name, value in report.items() if name not in apart
            )
    write_file(folder / SCALARS, text.getvalue())
    return folder / SCALARS


def draw_curves(folder: Path) -> tuple[Path, ...]:
    """Draw ``curve.svg`` and ``curve.png`` from the record in ``folder`` and return their paths.

    Draws nothing if the record holds no figures. Without matplotlib, logs what to install and draws nothing.
    """
    reports = read_record(folder / "record.jsonl")
    kinds = {"losses": "train", "notes": "notes", "validation": "validate"}
    shown = {title: lines for title, kind in kinds.items() if (lines := series(reports, kind))}
    if not shown:
        return ()
    try:
        from matplotlib.figure import Figure
    except ImportError:
        log.info("no curves drawn: pip install matplotlib")
        return ()
    figure = Figure(figsize=(5.5 * len(shown), 4), layout="constrained")
    for place, (title, lines) in enumerate(shown.items(), start=1):
        _panel(figure.add_subplot(1, len(shown), place), title, lines)
    files = folder / "curve.svg", folder / "curve.png"
    for file in files:
        save_figure(figure, file)
    return files


def _panel(axes: Axes, title: str, lines: Series) -> None:
    for name, (steps, values) in lines.items():
        axes.plot(steps, values, label=name, linewidth=1, marker="." if len(steps) < 20 else None)
    if all(value > 0 for _, values in lines.values() for value in values):
        axes.set_yscale("log")
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
