"""``nasion rtx``: parse and build networks with TensorRT-RTX, without a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engines.errors import NasionError
from ..machine import provenance
from ..results import Json, json_results

if TYPE_CHECKING:
    from ...engines.tensorrt.rtx import RtxBuild


def rtx(
    models: list[str] | None = None,
    *,
    fp16: bool = False,
    python: Path | None = None,
    json: Json = None,
    force: bool = False,
    quiet: bool = False,
) -> None:
    """Build networks with TensorRT-RTX on the CPU, to check that NVIDIA's parser accepts them with our plugins.

    Nothing is run. Networks with our own operators need the plugin library: nasion plugins build. Exits with 1 if a
    network cannot be built.

    Args:
        models: .onnx files, or names of shipped models (default: all shipped).
        fp16: also build each fp32 file in fp16.
        python: interpreter of an environment with TensorRT-RTX (default: this one).
        json: also write all results, with machine and versions, to this file; - for standard output (default: none).
        force: replace that file.
        quiet: print warnings and errors only.
    """
    from ...engines.zoo import model_path
    from ...engines.zoo import models as shipped
    from ..terminal.progress import Progress

    paths = [model_path(name) for name in models or shipped()]
    with json_results(json, force=force, inputs=paths, silent=quiet) as to_json:
        results: list[RtxBuild] = []
        with Progress(silent=quiet) as progress:
            for number, path in enumerate(paths, 1):
                progress(path.name, number, len(paths))
                results += _built(path, python, fp16=fp16)
        print(table(results))
        to_json.write(report(results))
    failed = [result for result in results if result.error]
    if failed:
        raise NasionError("\n".join(f"{each.file}, {each.precision}: {each.error}" for each in failed))


def _built(path: Path, python: Path | None, *, fp16: bool) -> list[RtxBuild]:
    from ...engines.tensorrt.rtx import build_apart

    plain = build_apart(path, python=python)
    # our own operators need a file that was exported in fp16
    twice = fp16 and plain.precision == "fp32" and not plain.nodes
    return [plain, build_apart(path, fp16=True, python=python)] if twice else [plain]


def table(results: Sequence[RtxBuild]) -> str:
    """Return the results as a plain-text table."""
    head = ("network", "precision", "input", "plugins", "layers", "seconds", "MB")
    rows = [head, *(_row(each) for each in results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _row(result: RtxBuild) -> tuple[str, ...]:
    if result.error:
        return (result.network, result.precision, result.profile, "cannot be built", "", "", "")
    plugins = f"{result.plugins} of {sum(result.nodes.values())}" if result.nodes else "–"
    size = f"{result.bytes / 1e6:.1f}"
    return (
        result.network, result.precision, result.profile, plugins, str(result.layers), f"{result.seconds:.1f}", size,
    )  # fmt: skip


def report(results: Sequence[RtxBuild]) -> dict[str, Any]:
    """Return all results as JSON data, with command, machine and versions."""
    content = provenance()
    content["versions"] = {**content["versions"], "tensorrt-rtx": results[0].version if results else ""}
    return content | {"results": [asdict(result) for result in results]}
