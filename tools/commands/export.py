"""``nasion export``: convert a checkpoint to a file for the runtimes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from ...engines.output_paths import check_output_paths
from ..machine import provenance, short
from ..results import Json, json_results

if TYPE_CHECKING:
    from ...engines.tensorrt.parity import Difference


def export(
    network: str,
    *,
    out: Annotated[Path, Parameter(alias="-o")],
    json: Json = None,
    force: bool = False,
    quiet: bool = False,
    fp16: bool = False,
    store: Literal["fp32", "fp16"] = "fp32",
    head: bool = False,
    card: bool = False,
    decoding: Literal["arg_max", "soft_arg_max"] | None = None,
    set_: Annotated[str, Parameter(name="--set")] = "300w",
    size: int | None = None,
    width: float | None = None,
    data: Path | None = None,
) -> None:
    """Write a network as .onnx or .pt2, compare it with torch and print the worst difference.

    Args:
        network: folder of a run of nasion train, for its best.pt; a checkpoint, best.pt or latest.pt; or the name of a
            recipe, for its untrained network.
        out: file to write; its suffix selects the format.
        json: also write the differences, with machine and versions, to this file; - for standard output (default:
            none).
        force: replace files that exist.
        quiet: print warnings and errors only.
        fp16: weights and activations in fp16; inputs, outputs, coordinates and sums stay fp32.
        store: number format of the weights in an .onnx file that computes in fp32; fp16 halves the file.
        head: export only the landmark head of rdfn, for crops of faces found by another detector.
        card: also write the model card (SHA-256, licence, data, recipe) beside it.
        decoding: decoding of heat maps, for recipes with a choice (default: the recipe's).
        set_: for a recipe: data set whose landmarks it finds.
        size: for a recipe: side of the crop in pixels (default: the recipe's).
        width: for a recipe: number of channels relative to the paper (default: the recipe's).
        data: folder of data sets; compare on faces of the network's own set (default: on the shipped photograph).
    """
    from ...trainers.export.files import check_card, compare, example, photographs, source, write_card, write_model
    from ...trainers.systems.heat_maps import read_by
    from ...trainers.training.recipes import Options

    check_output_paths(
        {"--out": out}, force=force, suffixes=(".onnx", ".pt2"), inputs=[network, Path(network) / "best.pt"]
    )
    others = {"--out": out, "--card": out.with_suffix(".json") if card else None}
    with json_results(json, force=force, inputs=[network], others=others, silent=quiet) as to_json:
        _hush()
        trained = source(str(network), Options(set=set_, size=size, width=width), head=head)
        if decoding:
            read_by(trained.learner, decoding)
        spec, whole = trained.spec, trained.network
        if card:
            check_card(trained)
        seen = photographs(spec, data=data, name=trained.options.set)
        write_model(whole, spec, out, fp16=fp16, store=store)
        precision: Literal["fp32", "fp16"] = "fp16" if fp16 else "fp32"
        written, input_size = out.stat().st_size, "x".join(map(str, spec.size))
        print(f"{out}: {written / 1e6:.2f} MB, {precision}, {spec.task}, input {input_size}")
        differences = {
            "random images": compare(whole, spec, out, example(spec, batch=3, seed=1), precision),
            "photographs": compare(whole, spec, out, seen, precision),
        }
        for title, found in differences.items():
            print("\n".join(difference_lines(title, found)))
        if not trained.step:
            print("  the network is untrained, so rounding dominates these differences: export a checkpoint instead")
        if card:
            print(f"  card: {write_card(trained, out)}")
        to_json.write(
            provenance()
            | {"file": short(str(out)), "bytes": written, "precision": precision, "task": spec.task}
            | {"differences": {title: _plain(found) for title, found in differences.items()}}
        )


def _plain(found: Mapping[str, Difference]) -> dict[str, dict[str, float]]:
    return {name: asdict(each) for name, each in found.items()}


def _hush() -> None:
    """Silence messages of torch's ONNX exporter that do not concern the user."""
    # It warns that torchvision is missing.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "`isinstance\\(treespec", FutureWarning)


def difference_lines(title: str, found: Mapping[str, Difference]) -> Iterator[str]:
    """Yield a line for each output with its largest difference from torch."""
    for name, each in found.items():
        beyond = "" if each.within == 1 else f" ({1 - each.within:.2%} beyond {each.tolerance:g})"
        yield f"  {name}, {title}: worst difference from torch {each.worst:.2g}{beyond}"
