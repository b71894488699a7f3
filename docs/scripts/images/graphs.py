"""Draw the graphs of SD-HRNet, as figures 2 and 7 of the paper do, into docs/images/sd-hrnet-graphs.png.

Usage: python docs/scripts/images/graphs.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nasion.trainers.networks.sd_hrnet.graphs import COFW_GRAPH, SUPERNET, W300_GRAPH, WFLW_GRAPH, Graph

matplotlib.use("Agg")
IMAGES = Path(__file__).resolve().parents[2] / "images"
TITLES = {
    "supernet": SUPERNET,
    "slimmed for 300W (figure 2)": W300_GRAPH,
    "slimmed for COFW (figure 7a)": COFW_GRAPH,
    "slimmed for WFLW (figure 7b)": WFLW_GRAPH,
}


def main() -> None:
    """Draw the supernet and the three released graphs."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    for axes, (title, graph) in zip(figure.subplots(2, 2).flat, TITLES.items(), strict=True):
        draw(axes, graph)
        axes.set_title(f"{title}: {operators(graph)} operators", fontsize=10)
    figure.savefig(IMAGES / "sd-hrnet-graphs.png", dpi=90, metadata={"Software": None})


def operators(graph: Graph) -> int:
    """Return the number of operators from branch to branch."""
    return sum(len(sources) for stage in graph for sources in stage.values())


def draw(axes: Axes, graph: Graph) -> None:
    """Draw a graph: stages from left to right, branches from the finest at the top to the coarsest."""
    kept: set[tuple[int, int]] = {(1, 0)}
    for stage, feeds in enumerate(graph, 2):
        for branch, sources in feeds.items():
            kept.add((stage, branch))
            for source in sources:
                axes.plot([stage - 1, stage], [source, branch], color="tab:blue", linewidth=1, zorder=1)
    every = [(1, 0), *((stage, branch) for stage in range(2, len(graph) + 2) for branch in SUPERNET[0])]
    for stage, branch in every:
        colour = "tab:blue" if (stage, branch) in kept else "lightgrey"
        axes.scatter(stage, branch, s=60, color=colour, zorder=2)
    axes.set(xticks=range(1, len(graph) + 2), xlabel="stage", ylim=(3.5, -0.5))
    axes.set_yticks(range(4), [f"1/{4 << branch}" for branch in range(4)])
    axes.set_ylabel("resolution")


if __name__ == "__main__":
    main()
