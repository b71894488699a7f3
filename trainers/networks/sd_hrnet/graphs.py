"""Graphs of SD-HRNet: the supernets, and the slimmed graphs that the authors released."""

from __future__ import annotations

# One dict per stage, from stage 2 on: branch -> the branches of the previous stage that feed it.
Graph = tuple[dict[int, tuple[int, ...]], ...]

ALL: tuple[int, ...] = (0, 1, 2, 3)
SUPERNET: Graph = (dict.fromkeys(ALL, (0,)), *(dict.fromkeys(ALL, ALL) for _ in range(8)))
# HRNet's layout as a supernet (figure 6): its modules of 2, 3, 3, 3, 3, 4, 4 and 4 branches, and the last exchange.
HRNET: Graph = tuple(
    {branch: tuple(range(before)) for branch in range(after)}
    for before, after in ((1, 2), (2, 3), (3, 3), (3, 3), (3, 3), (3, 4), (4, 4), (4, 4), (4, 4))
)

# The released graphs. Those of COFW and WFLW match the published counts. That of 300W has 0.869 million parameters, the
# paper says 0.98; it is probably from another pruning run.
W300_GRAPH: Graph = (
    {0: (0,), 1: (0,), 3: (0,)},
    {0: (0, 3), 1: (0, 1, 3), 3: (1, 3)},
    {0: (0, 1), 1: (0, 1, 3)},
    {0: (0,), 1: (1,)},
    {0: (0, 1), 1: (1,)},
    {0: (0, 1), 1: (0, 1), 2: (1,)},
    {0: (0, 1, 2), 1: (0, 1, 2), 2: (2,)},
    {0: (0, 1, 2), 1: (0, 1, 2), 2: (0, 1, 2)},
    {0: (0, 1, 2), 1: (0, 1, 2), 2: (0, 2), 3: (2,)},
)
COFW_GRAPH: Graph = (
    {0: (0,), 1: (0,), 2: (0,)},
    {0: (0,), 2: (1,), 3: (1, 2)},
    {0: (0,), 1: (0, 3), 2: (2,)},
    {0: (0, 1), 1: (2,), 3: (1,)},
    {0: (0,), 1: (0, 3), 2: (1, 3)},
    {0: (0, 1, 2), 1: (2,), 3: (1,)},
    {0: (3,), 1: (0, 1, 3), 2: (3,)},
    {0: (0, 1, 2), 1: (0, 1, 2), 2: (2,)},
    {0: (0,), 1: (0, 1, 2), 2: (2,)},
)
WFLW_GRAPH: Graph = (
    {0: (0,), 1: (0,), 2: (0,)},
    {1: (0, 1), 2: (1,), 3: (0, 1, 2)},
    {0: (1, 3), 1: (2, 3), 3: (3,)},
    {1: (0, 1), 2: (0, 3)},
    {0: (2,), 3: (1, 2)},
    {2: (0, 3)},
    {0: (2,), 2: (2,), 3: (2,)},
    {0: (0, 2), 1: (0, 3), 2: (3,)},
    {0: (0, 1, 2), 1: (0, 1, 2), 2: (0, 1, 2)},
)
