"""``nasion export``: a checkpoint becomes a file that every runtime of ours can run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def export(
    checkpoint: Path,
    *,
    out: Annotated[Path, Parameter(alias="-o")],
    card: bool = False,
    decoding: Literal["arg_max", "soft_arg_max"] | None = None,
) -> None:
    """Write a trained network as .onnx or .pt2, compare it with torch, print the worst difference.

    Args:
        checkpoint: best.pt or latest.pt of a run of nasion train.
        out: file to write; its suffix chooses the format.
        card: also write the model card (SHA-256, licence, data, recipe) beside it.
        decoding: how maps are read, for recipes that leave the choice (sd-hrnet: soft_arg_max; its paper: arg_max).
    """
    from ..trainers.export import example, load_trained, worst_difference, write_card, write_model
    from ..trainers.systems.heat_maps import read_by

    trained = load_trained(checkpoint)
    if decoding:
        read_by(trained.learner, decoding)
    spec = trained.spec
    write_model(trained.network, spec, out)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB, {spec.task}, input {spec.size[0]}x{spec.size[1]}")
    for name, difference in worst_difference(trained.network, spec, out, example(spec, batch=3, seed=1)).items():
        print(f"  {name}: worst difference from torch {difference:.2g}")
    if card:
        print(f"  card: {write_card(trained, out)}")
