"""Draw the calibration curve of the shipped landmark network into docs/images/calibration.png.

Usage: python docs/scripts/calibration.py
"""

from __future__ import annotations

import math

import matplotlib
from matplotlib.figure import Figure
from reports import ROOT, read

matplotlib.use("Agg")


def main() -> None:
    """Draw the share of right landmarks over the score, with intervals of two standard errors, from the model card."""
    curve = read(ROOT / "engines" / "zoo" / "landmarks-68.json")["recipe"]["calibration"]["figures"]["curve"]
    scores, shares, crops = ([each[name] for each in curve] for name in ("score", "right", "crops"))
    errors = [2 * math.sqrt(max(p * (1 - p), 1 / n) / n) for p, n in zip(shares, crops, strict=True)]
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1, label="perfect calibration")
    axes.errorbar(scores, shares, yerr=errors, marker="o", capsize=3, label="landmarks-68, ± 2 standard errors")
    for score, share, count in zip(scores, shares, crops, strict=True):
        axes.annotate(f"{count:,}", (score, share), xytext=(7, -11), textcoords="offset points", fontsize=8)
    axes.set(xlabel="mean score of the crops", ylabel="share with right landmarks", xlim=(0, 1.05), ylim=(-0.06, 1.05))
    axes.set_title("Held-out crops in ten ranges of the score, with their numbers", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    figure.savefig(ROOT / "docs" / "images" / "calibration.png", dpi=80, metadata={"Software": None})


if __name__ == "__main__":
    main()
