"""``nasion compile``: build the TensorRT plan of a model for the local GPU and check it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ...engines.errors import NasionError, RuntimeUnavailable, printable
from ...engines.output_paths import check_output_paths, write_file
from ..machine import provenance, short
from ..results import Json, json_results

if TYPE_CHECKING:
    from ...engines.tensorrt.compile import Ready


def compile(
    model: str,
    /,
    *,
    fp16: bool = False,
    batch: str | None = None,
    longest: int | None = None,
    workspace: int | None = None,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    json: Json = None,
    force: bool = False,
    quiet: bool = False,
    device: str = "cuda:0",
    library: Literal["tensorrt", "tensorrt-rtx"] | None = None,
) -> None:
    """Build the TensorRT plan of MODEL, check it and store it in the cache, where --runtime tensorrt finds it.

    A plan is code, and works only with this GPU and this version of TensorRT. Run no plan from an untrusted source.

    Args:
        model: an .onnx file, or a name that nasion models lists.
        fp16: compute in fp16 even if the file is fp32.
        batch: batch size as minimum:usual:maximum, for example 1:8:32, or one number (default: by the model's task).
        longest: longest side of an image in pixels, for a network that takes any size (default: twice the network's own
            size; four times for a network that finds landmarks, too).
        workspace: scratch memory on the GPU in MB (default: all of it).
        out: also write the plan to this .plan file (default: only to the cache).
        json: also write figures of the plan, with machine and versions, to this file; - for standard output (default:
            none).
        force: replace files that exist.
        quiet: print warnings and errors only.
        device: the GPU: cuda or cuda:N.
        library: library that builds the plan (default: TensorRT if it is installed, else TensorRT-RTX).
    """
    from ...engines.gpu.device import Device
    from ...engines.runtime import device_name, gpu_number
    from ...engines.tensorrt.build import parse_batch
    from ...engines.tensorrt.compile import BuildOptions, plan_of
    from ...engines.tensorrt.library import tensorrt
    from ...engines.zoo import model_path
    from ..terminal.progress import Progress

    device = device_name(device)
    _check(workspace, device)
    check_output_paths({"--out": out}, force=force, suffixes=(".plan",), inputs=[model])
    with json_results(json, force=force, inputs=[model], others={"--out": out}, silent=quiet) as to_json:
        build_options = BuildOptions(fp16, None if batch is None else parse_batch(batch), longest, workspace=workspace)
        path, with_what = model_path(model), tensorrt(library)
        with Device(gpu_number(device)) as gpu:
            print(f"{with_what} on {gpu.gpu.name} ({gpu.gpu.capability})", flush=True)
            with Progress(silent=quiet) as progress:
                ready = plan_of(path, with_what, gpu, build_options=build_options, say=_say, progress=progress)
            ready.engine.close()
        if out is not None:
            write_file(out, ready.path.read_bytes())
        _print(ready, out or ready.path)
        to_json.write(provenance() | _figures(ready, out or ready.path, gpu.gpu.name))


def _check(workspace: int | None, device: str) -> None:
    if not device.startswith("cuda"):
        raise RuntimeUnavailable(f"--device {device}: plans run on NVIDIA GPUs only; give cuda:N")
    if workspace is not None and workspace < 1:
        raise NasionError(f"--workspace is {workspace}; give at least 1 (MB)")


def _say(text: str) -> None:
    print(printable(text), flush=True)


def _print(ready: Ready, path: Path) -> None:
    plan, about = ready.plan, ready.plan.about
    if not ready.built:
        print(printable(ready.reason))
    print(f"{plan.spec.name}: {plan.key.precision}, input {plan.key.profile} (batch x width x height)")
    print(f"  {len(plan.engine) / 1e6:.2f} MB, {_layers(about)}, built in {about['seconds']} s")
    for name, each in about["parity"].items():
        print(f"  {name}: worst difference from ONNX Runtime {each['worst']:.2g}, {each['within']:.1%} within "
              f"{each['tolerance']:g}")  # fmt: skip
    print(f"run it with: nasion track SOURCE --{_option(plan.spec.task)} {path}")


def _figures(ready: Ready, path: Path, gpu: str) -> dict[str, Any]:
    plan = ready.plan
    return {
        "gpu": gpu,
        "model": plan.spec.name,
        "plan": short(str(path)),
        "built": ready.built,
        "precision": plan.key.precision,
        "profile": str(plan.key.profile),
        "bytes": len(plan.engine),
        "about": plan.about,
    }


def _layers(about: Mapping[str, Any]) -> str:
    within = about["engine"].get("layers")
    fused = f"{about['layers']} layers{f' in {within}' if within else ''}"
    return f"{fused}, {about['plugins']} plugins" if about["plugins"] else fused


def _option(task: str) -> str:
    return "detector" if task == "detector" else "model"
