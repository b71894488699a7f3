"""``nasion compile``: build the TensorRT plan of a model for the local GPU and check it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ...engines.errors import NasionError, RuntimeUnavailable, printable
from ...engines.output_paths import check_places, write_file

if TYPE_CHECKING:
    from ...engines.tensorrt.build import Progress
    from ...engines.tensorrt.compile import Ready

PLAIN_EVERY = 10.0
"""Seconds between two progress lines if stderr is not a terminal."""


def compile(
    model: str,
    /,
    *,
    fp16: bool = False,
    batch: str | None = None,
    longest: int | None = None,
    workspace: int | None = None,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    force: bool = False,
    device: str = "cuda:0",
    library: Literal["tensorrt", "tensorrt-rtx"] | None = None,
) -> None:
    """Build the TensorRT plan of MODEL, check it and store it in the cache, where --runtime tensorrt finds it.

    A plan is code, and works only with this GPU and this version of TensorRT. Run no plan from an untrusted source.

    Args:
        model: an .onnx file, or the name of a shipped model.
        fp16: compute in fp16 even if the file is fp32.
        batch: batch size as minimum:usual:maximum, for example 1:8:32, or one number (default: by the model's task).
        longest: longest side of an image in pixels, for a network that takes any size (default: twice the network's own
            size; four times for a network that finds landmarks, too).
        workspace: scratch memory on the GPU in MB (default: all of it).
        out: also write the plan to this .plan file.
        force: replace that file.
        device: the GPU, cuda:N.
        library: library that builds the plan (default: TensorRT if it is installed, else TensorRT-RTX).
    """
    from ...engines.gpu.device import Device
    from ...engines.runtime import gpu_number
    from ...engines.tensorrt.build import parse_batch
    from ...engines.tensorrt.compile import BuildOptions, plan_of
    from ...engines.tensorrt.library import tensorrt
    from ...engines.zoo import model_path

    _check(workspace, device)
    check_places({"--out": out}, force=force, suffixes=(".plan",), inputs=[model])
    build_options = BuildOptions(fp16, None if batch is None else parse_batch(batch), longest, workspace=workspace)
    path, with_what = model_path(model), tensorrt(library)
    with Device(gpu_number(device)) as gpu, shown() as progress:
        print(f"{with_what} on {gpu.gpu.name} ({gpu.gpu.capability})", flush=True)
        ready = plan_of(path, with_what, gpu, build_options=build_options, say=_say, progress=progress)
        ready.engine.close()
    if out is not None:
        write_file(out, ready.path.read_bytes())
    _print(ready, out or ready.path)


def _check(workspace: int | None, device: str) -> None:
    from ...engines.runtime import check_device

    check_device(device)
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
    for name, each in about["agreement"].items():
        print(f"  {name}: worst difference from ONNX Runtime {each['worst']:.2g}, {each['within']:.1%} within "
              f"{each['tolerance']:g}")  # fmt: skip
    print(f"run it with: nasion track SOURCE --{_option(plan.spec.task)} {path}")


def _layers(about: Mapping[str, Any]) -> str:
    within = about["engine"].get("layers")
    fused = f"{about['layers']} layers{f' in {within}' if within else ''}"
    return f"{fused}, {about['plugins']} plugins" if about["plugins"] else fused


def _option(task: str) -> str:
    return "detector" if task == "detector" else "model"


@contextmanager
def shown() -> Iterator[Progress]:
    """Yield a callback that shows the progress of a build: bars on a terminal, occasional plain lines elsewhere."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Bars(*columns, console=Console(file=sys.stderr), transient=True) as bars:
        phases: dict[str, TaskID] = {}

        def update(name: str, done: int, steps: int) -> None:
            if name not in phases:
                phases[name] = bars.add_task(name, total=steps)
            bars.update(phases[name], completed=done, total=steps, visible=done < steps)

        yield update


class Lines:
    """Progress as a plain line now and then, for log files and pipes."""

    def __init__(self, *, every: float = PLAIN_EVERY) -> None:
        """Print at most one line per ``every`` seconds."""
        self._every, self._last = every, monotonic()

    def __call__(self, name: str, done: int, steps: int) -> None:
        """Report that ``done`` of ``steps`` steps of phase ``name`` are done."""
        if monotonic() - self._last >= self._every:
            self._last = monotonic()
            print(f"{name}: {done} of {steps}", file=sys.stderr, flush=True)
