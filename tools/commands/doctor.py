"""``nasion doctor``: report of what is installed, what works, and how to fix the rest."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Literal

from ...engines.errors import DeviceError, NasionError, extra_remedy, printable
from ...engines.gpu import packages
from ...engines.gpu.driver import gpus
from ..dependencies import DEPENDENCIES, EXTRAS, unsupported
from ..results import Json, json_results

State = Literal["ok", "absent", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        topic: kind of the thing that was checked.
        name: name of the thing.
        state: ``ok``, ``absent`` (tracking works without it) or ``broken``.
        found: version, size or whatever the check found.
        remedy: what to do, or what an absent part is for; empty if there is nothing to do.
    """

    topic: str
    name: str
    state: State
    found: str
    remedy: str = ""


def doctor(*, json: Json = None, force: bool = False) -> None:
    """Report what is installed, what works here and how to fix the rest.

    Exits with 1 if something that tracking needs is broken, else with 0.

    Args:
        json: also write the report to this file; - for standard output (default: none).
        force: replace that file.
    """
    with json_results(json, force=force) as to_json:
        findings = examine()
        _print_table(findings)
        to_json.write({"findings": [asdict(finding) for finding in findings]})
    if any(finding.state == "broken" for finding in findings):
        sys.exit(1)


def examine() -> list[Finding]:
    """Run all checks; a check that fails becomes a finding and never hides the others."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python, _packages, _runtimes, _chosen, _models, _gpu, _kernels, _display, _cameras, _codecs,
    ]  # fmt: skip
    findings = []
    for check in checks:
        topic = check.__name__.strip("_")
        try:
            findings += list(check())
        except (NasionError, ImportError, OSError) as error:
            findings.append(Finding(topic, topic, "broken", str(error), "fix the packages named above first"))
        except Exception as error:
            if not unsupported():  # with an unsupported package anything may fail; a finding above reports it
                raise
            findings.append(Finding(topic, topic, "broken", repr(error), "fix the packages named above first"))
    return findings


def _print_table(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    marks = {"ok": "[green]ok[/]", "absent": "[yellow]no[/]", "broken": "[red]broken[/]"}
    topic = ""
    for finding in findings:
        head = finding.topic if finding.topic != topic else ""
        topic = finding.topic
        table.add_row(head, Text(printable(finding.name)), marks[finding.state], Text(printable(finding.found)))
        if finding.remedy:
            table.add_row("", "", "", Text(printable(f"→ {finding.remedy}")))
    Console().print(table)


def _python() -> Iterator[Finding]:
    wanted = (3, 11)
    state: State = "ok" if sys.version_info >= wanted else "broken"
    remedy = "" if state == "ok" else "install Python 3.11 or newer"
    yield Finding("system", "Python", state, f"{platform.python_version()} ({sys.executable})", remedy)
    yield Finding("system", "machine", "ok", f"{platform.platform()}, {os.cpu_count()} cores")


_PURPOSES = {
    "parquet": "Parquet output",
    "heif": "HEIC images",
    "web": "the page of nasion live",
    "cluster": "annotation on a Ray cluster and of files in storage",
    "train": "training and the torch runtime",
    "pycuda": "CUDA code of your own on the arrays of nasion (docs/engines.md)",
}


def _packages() -> Iterator[Finding]:
    from ... import __version__

    yield Finding("package", "nasion", "ok", __version__)
    for dependency in DEPENDENCIES:
        problem = dependency.problem()
        if problem:
            yield Finding("package", dependency.distributions[0], "broken", *problem)
        else:
            yield _needed(dependency.module, dependency.distributions[0])
    for distribution, extra in EXTRAS.items():
        yield _optional(distribution, extra)
    yield from _for_a_gpu()
    yield from _twice("cv2", "OpenCV", "opencv-python")
    yield from _twice("onnxruntime", "ONNX Runtime", packages.ONNX_RUNTIME[packages.driver_cuda()])


def _needed(module: str, distribution: str) -> Finding:
    """Import a needed package: an installed package may still lack a system library."""
    from ..error_messages import import_remedy

    try:
        version = getattr(importlib.import_module(module), "__version__", "")
    except ModuleNotFoundError:
        return Finding("package", distribution, "broken", "not installed", f"pip install {distribution}")
    except ImportError as error:
        remedy = import_remedy(error) or f"pip install --force-reinstall {distribution}"
        return Finding("package", distribution, "broken", str(error), remedy)
    return Finding("package", distribution, "ok", version)


def _optional(distribution: str, extra: str) -> Finding:
    try:
        return Finding("package", distribution, "ok", metadata.version(distribution))
    except metadata.PackageNotFoundError:
        remedy = f"for {_PURPOSES[extra]} {extra_remedy(extra)}"
        return Finding("package", distribution, "absent", "not installed", remedy)


def _for_a_gpu() -> Iterator[Finding]:
    """Report TensorRT and ONNX Runtime with CUDA, in the versions that the installed driver can run."""
    for title, names, purpose, remedy in (
        ("TensorRT", packages.TENSORRT_NAMES, "the fastest runtime on an NVIDIA GPU", packages.tensorrt_remedy()),
        ("ONNX Runtime with CUDA", ("onnxruntime-gpu",), "NVIDIA GPUs", packages.onnx_runtime_remedy()),
    ):
        found = [f"{name} {version}" for name in names if (version := packages.version(name))]
        if not found:
            yield Finding("package", title, "absent", "not installed", f"for {purpose}: {remedy}")
        elif title != "TensorRT" and (why := packages.misfit()):
            yield Finding("package", title, "absent", why, remedy)
        else:
            yield Finding("package", title, "ok", ", ".join(found))


def _twice(module: str, title: str, best: str) -> Iterator[Finding]:
    """Report wheels that install the same files: the last one wins, and removing either breaks both."""
    installed = sorted(set(metadata.packages_distributions().get(module, [])))
    if len(installed) > 1:
        remedy = f"pip uninstall -y {' '.join(installed)} && pip install '{best}'"
        yield Finding("package", f"{title} twice", "absent", ", ".join(installed), remedy)


def _runtimes() -> Iterator[Finding]:
    from ...engines.select import working_runtimes

    for name, report in working_runtimes():
        works = report.startswith("works")
        missing: State = "broken" if name == "onnx" else "absent"
        yield Finding("runtime", name, "ok" if works else missing, report)
    yield _plans()
    yield from _choices()


def _plans() -> Finding:
    """Report the plans that TensorRT has built so far."""
    from ...engines.tensorrt.plan_cache import PlanCache

    try:
        cache = PlanCache()
    except NasionError as error:
        return Finding("runtime", "plan cache", "absent", str(error))
    sizes = [plan.stat().st_size for plan in cache.folder.glob("*.plan")]
    found = f"{len(sizes)} plans of {sum(sizes) / 1e6:.0f} MB" if sizes else "no plans yet"
    return Finding("runtime", "plan cache", "ok", f"{found} in {cache.folder}")


def _choices() -> Iterator[Finding]:
    """Report what ``auto`` has measured: the networks for which it takes a GPU or the CPU."""
    from ...engines.gpu import choice

    for found in choice.stored():
        taken = "GPU" if found.prefers_gpu else "CPU"
        remedy = f"remove its file in {choice.folder()} to measure again"
        yield Finding("runtime", f"auto for {found.network}", "ok", f"takes the {taken}: {found}", remedy)


def _chosen() -> Iterator[Finding]:
    """Report the runtime that ``auto`` selects. No plan is built for this check: that takes too long."""
    from ...engines.select import open_runtime, working_runtimes
    from ...engines.zoo import model_path

    if dict(working_runtimes())["tensorrt"].startswith("works"):
        yield Finding("runtime", "auto", "ok", "uses TensorRT on cuda:0: a network's plan is built at its first run")
        return
    with open_runtime(model_path("landmarks-68")) as runtime:
        yield Finding("runtime", "auto", "ok", f"takes {runtime.provider} on {runtime.device}: {runtime.reason}")


def _models() -> Iterator[Finding]:
    from ...engines.zoo import models

    cards = models()
    if not cards:
        yield Finding("model", "any", "broken", "none shipped", "install nasion again")
    for name, card in cards.items():
        try:
            card.check()
            yield Finding("model", name, "ok", f"SHA-256 {card.sha256[:12]}… holds")
        except NasionError as error:
            remedy = "pip install --force-reinstall --no-deps nasion"
            yield Finding("model", name, "broken", str(error), remedy)


def _gpu() -> Iterator[Finding]:
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        answer = ""
    brings = "tracking runs on the CPU without one; nasion train would be faster with one"
    try:
        gpus()
    except DeviceError as error:
        yield Finding("GPU", "CUDA driver", "absent", str(error))
    if answer:
        for line in answer.splitlines():
            yield Finding(
                "GPU",
                "NVIDIA",
                "ok",
                line,
                "used by nasion train, and by tracking where a runtime can (see auto above)",
            )
    else:
        yield Finding("GPU", "NVIDIA", "absent", "none found by nvidia-smi", brings)


def _kernels() -> Iterator[Finding]:
    """Report NVRTC, the tools that ``nasion plugins build`` would find, and the libraries it has built."""
    from ...engines.gpu.nvrtc import nvrtc
    from ...engines.operators import library as plugins

    try:
        yield Finding("kernels", "NVRTC", "ok", f"{nvrtc().version} in {nvrtc().path}")
    except NasionError as error:
        yield Finding("kernels", "NVRTC", "absent", str(error), "only --decode cuda needs it, where nvcc is missing")

    for program, without, remedy in (
        ("cmake", "nothing is compiled", "pip install cmake, or apt-get install cmake"),
        ("c++", "nothing is compiled", "apt-get install g++"),
        ("nvcc", "no CUDA kernels, no plugins", "install the CUDA toolkit 12 or 13 and put nvcc on the PATH"),
    ):
        path = shutil.which(program)
        remedy = "" if path else f"{without} without it: {remedy}"
        yield Finding("kernels", program, "ok" if path else "absent", path or "not found", remedy)
    headers = plugins.tensorrt_headers()
    remedy = f"no plugins without them: unpack TensorRT's tar or deb and set {plugins.TENSORRT_VARIABLE} to its folder"
    if headers is None:
        yield Finding("kernels", "TensorRT headers", "absent", "not found", remedy)
    else:
        yield Finding("kernels", "TensorRT headers", "ok", f"{headers[1]} in {headers[0]}")
    for kind in plugins.KINDS:
        try:
            yield Finding("kernels", kind, "ok", str(plugins.locate(kind)))
        except NasionError as error:
            use = "only tests need it" if kind == "reference" else "only TensorRT and frames on a GPU need it"
            yield Finding("kernels", kind, "absent", str(error), use)


def _display() -> Iterator[Finding]:
    import cv2

    gui = re.search(r"GUI:\s*(\S+)", cv2.getBuildInformation())
    toolkit = gui[1] if gui else "NONE"
    if toolkit == "NONE":
        remedy = "for --show: pip uninstall -y opencv-python-headless && pip install opencv-python"
        yield Finding("display", "OpenCV window", "absent", "this OpenCV is built without windows", remedy)
    elif _has_screen():
        yield Finding("display", "OpenCV window", "ok", toolkit)
    else:
        remedy = "for --show: log in with a desktop, or ssh -X; else write a video with --out"
        yield Finding("display", "screen", "absent", "neither DISPLAY nor WAYLAND_DISPLAY is set", remedy)


def _has_screen() -> bool:
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _cameras() -> Iterator[Finding]:
    from ...realtime.sources import list_cameras

    cameras = list_cameras()
    for camera in cameras:
        yield Finding("camera", str(camera.number), "ok", f"{camera.width}x{camera.height}")
    if not cameras:
        yield Finding("camera", "any", "absent", "none found", "plug one in; or try: nasion track pattern:")


def _codecs() -> Iterator[Finding]:
    import av

    for name, purpose in (("h264", "annotated video"), ("aac", "its sound")):
        try:
            encoder = av.Codec(name, "w").name
            yield Finding("codec", name, "ok", f"encoder {encoder}")
        except ValueError:  # base class of the error that PyAV raises for an unknown codec
            remedy = f"for {purpose}: pip install --force-reinstall av (its wheels contain FFmpeg)"
            yield Finding("codec", name, "absent", "this FFmpeg has no encoder", remedy)
