"""Draw the learning curves of the studies into docs/images/curves.png. Usage: python docs/scripts/curves.py"""

from __future__ import annotations

from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from reports import ROOT, better_reading, measured, studies

matplotlib.use("Agg")


def main() -> None:
    figure = Figure(figsize=(15, 9), layout="constrained")
    *errors, losses = figure.subplots(2, 3, squeeze=False).flat
    families = {"pwc": "PWC", "chs": "CHS", "rht": "RHT", "rdfn": "RDFN", "sd-hrnet": "SD-HRNet"}
    for axes, (start, title) in zip(errors, families.items(), strict=True):
        draw_errors(axes, [each for each in measured() if each["study"].startswith(start)])
        axes.set(title=f"{title}: held-out faces")
    draw_losses(losses, studies(of_full_size=True))
    figure.savefig(ROOT / "docs" / "images" / "curves.png", dpi=80, metadata={"Software": None})


def draw_errors(axes: Axes, reports: list[dict[str, Any]]) -> None:
    """Draw the error on held-out faces over the crops seen, by the better decoding of the heat maps."""
    for report in reports:
        batch = report["samples"] / report["steps"]
        lines = report["validation_curve"]
        error = [100 * better_reading(line) for line in lines]
        axes.plot([line["step"] * batch / 1000 for line in lines], error, label=report["study"])
    axes.set(xlabel="thousand crops", ylabel="NME, %", yscale="log")
    ticks = ("3.5", "4", "5", "6", "8", "10", "15", "20", "30")
    axes.set_yticks([float(tick) for tick in ticks], labels=ticks)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def draw_losses(axes: Axes, reports: list[dict[str, Any]]) -> None:
    """Draw the loss of short runs at the papers' size, relative to the first ten steps."""
    for report in reports:
        steps, values = zip(*report["loss_curve"], strict=True)
        axes.plot(steps, [value / values[0] for value in values], label=report["study"].removeprefix("full-"))
    axes.set(title="First steps at the papers' size", xlabel="step", ylabel="loss relative to the first ten steps")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


if __name__ == "__main__":
    main()
