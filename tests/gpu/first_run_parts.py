"""The parts of ``first_run.py``, in their order."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from first_run_packages import environment, missing, pip
from first_run_place import Lacking, Place, Unfit, last_words

SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")
SYSTEMS = ("rdfn", "chs", "rht", "pwc", "sd-hrnet")
SEEN_ELSEWHERE = 0.04  # share of frames, of so few, in which a face may be seen by one runtime only
RUNS = (("onnx", "cpu"), ("onnx", "cuda:0"), ("tensorrt", "cuda:0"))


def doctor(place: Place) -> str:
    """Report what the machine has. A GPU is required."""
    listing = [place.python, "-m", "nasion.tools.main", "doctor", "--json", "-"]
    try:
        text = place.run("doctor", listing, most=60)
    except Unfit:  # what is broken is in the report, too
        text = (place.out / "doctor.log").read_text(errors="replace")
    report = re.search(r"^\{.*^\}", text, re.DOTALL | re.MULTILINE)
    if report is None:
        raise Unfit(f"no report: {last_words(place.out / 'doctor.log')}")
    (place.out / "doctor.json").write_text(report[0])
    findings = json.loads(report[0])["findings"]
    broken = [f"{each['name']}: {each['found']}" for each in findings if each["state"] == "broken"]
    gpus = [each for each in findings if each["topic"] == "GPU"]
    found = "; ".join([*broken, *(f"{each['name']}: {each['found']}" for each in gpus)])
    if not any(each["state"] == "ok" for each in gpus):
        raise Lacking(found)
    if broken:
        raise Unfit(found)
    return "; ".join(f"{each['name']}: {each['found']}" for each in gpus)


def torch(place: Place) -> str:
    """The networks by torch, against the CPU and timed: all that a machine with nothing but torch for CUDA can do."""
    figures = place.out / "torch.json"
    place.run("torch", [place.python, str(Path(__file__).with_name("torch_alone.py")), str(figures)], most=180)
    results = json.loads(figures.read_text())["results"]
    least = [each for each in results if each["network"] == "landmarks-68" and each["batch"] == 1]
    return "; ".join(f"landmarks-68 {each['precision']}: {each['ms']} ms a face" for each in least)


BUILD = """
import os
from nasion.engines.errors import DeviceError
from nasion.engines.gpu.driver import gpu
from nasion.engines.operators.library import build
try:
    chosen = gpu(0).capability.replace('.', '') + '-real'
except DeviceError as error:
    chosen = None
    print(error)
found = build(architectures=chosen, jobs=os.cpu_count() or 1, say=print)
print('built', *found.libraries)
for name, why in found.skipped.items():
    print('skipped', name + ':', why)
"""


def build(place: Place) -> str:
    """Kernels and plugins, for this GPU only where there is one: that is quicker."""
    lines = place.code("build", BUILD, most=240).splitlines()
    told = "; ".join(line for line in lines if line.startswith(("built", "skipped")))
    if "kernels" in told.split("skipped")[0]:
        return told
    raise (Unfit if shutil.which("nvcc") else Lacking)(told)


def sanitizer(place: Place) -> str:
    """NVIDIA's compute-sanitizer over every kernel in every variant."""
    program = str(Path(__file__).with_name("every_kernel.py"))
    place.run("every-kernel", [place.python, program], most=60)
    watcher = find_sanitizer(place)
    wrong = []
    for tool in SANITIZERS:
        command = [watcher, "--tool", tool, "--error-exitcode", "9", place.python, program]
        try:
            log = place.run(f"sanitizer-{tool}", command, most=90)
        except Unfit as error:
            wrong.append(f"{tool}: {error}")
            continue
        # a sanitizer that has seen nothing has nothing to say
        if not re.search(r"SUMMARY: 0 (errors|hazards)", log) or "0 of them wrong" not in log:
            wrong.append(f"{tool}: no clean summary: {last_words(place.out / f'sanitizer-{tool}.log')}")
    if wrong:
        raise Unfit("; ".join(wrong))
    return f"{', '.join(SANITIZERS)} find nothing"


def find_sanitizer(place: Place) -> str:
    """The program, from PATH, the toolkit or a wheel; else from a wheel installed now."""
    if found := shutil.which("compute-sanitizer", path=place._environment({})["PATH"]):
        return found
    folder = place.out / "sanitizer"
    places = [Path("/usr/local").glob("cuda*/bin"), Path("/usr/local").glob("cuda*/compute-sanitizer")]
    places += [Path(each).glob("nvidia/*/compute-sanitizer") for each in (*sys.path, str(folder))]
    for candidate in (each / "compute-sanitizer" for some in places for each in some):
        if candidate.is_file():
            return str(candidate)
    if folder.exists():
        raise Lacking(f"{folder} holds no compute-sanitizer")
    words = ("--no-deps", "--target", str(folder), "nvidia-cuda-sanitizer-api")
    try:
        place.run("sanitizer-pip", pip(place.python, "install", *words), most=90)
    except Unfit as error:
        folder.mkdir(exist_ok=True)
        raise Lacking(f"no compute-sanitizer here, and it cannot be installed: {error}") from error
    return find_sanitizer(place)


def kernels(place: Place) -> str:
    """Each kernel beside its roof."""
    figures = place.out / "kernels.json"
    command = [place.python, "-m", "nasion.tools.main", "plugins", "bench", "--json", str(figures), "--force"]
    place.run("kernels", command, most=120)
    report = json.loads(figures.read_text())
    if report["missed"]:
        raise Unfit(f"timed; aims missed: {'; '.join(report['missed'])}")
    least = min(report["results"], key=lambda each: each["share"])
    return f"all aims reached on {report['machine']['gpu']['name']}; least: {least['kernel']}, {least['share']:.0%}"


def tests(place: Place) -> str:
    """The tests that need a GPU; those that lack something here are skipped, and their reasons are in the log."""
    # the plugins of pytest that a setting names must be there
    command = [place.python, "-m", "pytest", "-n", "0", "-ra", "--continue-on-collection-errors", "tests/gpu"]
    log = place.run("tests", command, most=900)
    summary = re.findall(r"^=* ?\d+ (?:passed|skipped).* in .*$", log, re.MULTILINE)
    counts = re.findall(r"\d+ (?:passed|skipped)", summary[-1]) if summary else []
    if not counts:
        raise Unfit(f"no result: {last_words(place.out / 'tests.log')}")
    if not any("passed" in each for each in counts):
        raise Lacking(f"{', '.join(counts)}; the reasons are in tests.log")
    return ", ".join(counts)


def clips(place: Place) -> str:
    """The tracker on a clip of our own, by every runtime that is installed; one on the GPU must work."""
    told, works = [], []
    runs = installed_runs(place)
    for runtime, device in runs:
        try:
            result = _tracked(place, "clip", runtime, device, frames=240)
        except Unfit as error:
            told.append(f"{runtime} on {device}: {error}")
            continue
        works.append(device)
        told.append(f"{runtime} on {device}: {result['fps']:.0f} FPS")
    if len(runs) == 1:
        raise Lacking(f"neither onnxruntime-gpu nor TensorRT is installed; {'; '.join(told)}")
    if "cpu" not in works or "cuda:0" not in works:
        raise Unfit("; ".join(told))
    return "; ".join(told)


def installed_runs(place: Place) -> list[tuple[str, str]]:
    """Return those of ``RUNS`` whose packages are installed; the CPU always."""
    needed = {("onnx", "cuda:0"): ("onnxruntime-gpu",), ("tensorrt", "cuda:0"): ("tensorrt",)}  # -cu12: the same module
    return [run for run in RUNS if not missing(place, needed.get(run, ()))]


def systems(place: Place) -> str:
    """The shipped networks of the papers likewise; on the GPU a face is seen where it is on the CPU."""
    told, runs = [], installed_runs(place)
    if len(runs) == 1:
        raise Lacking("neither onnxruntime-gpu nor TensorRT is installed")
    for name in SYSTEMS:
        results = {}
        for runtime, device in runs:
            try:
                results[runtime, device] = _tracked(place, name, runtime, device, "--model", name, frames=60)
            except Unfit as error:
                told.append(f"{name}, {runtime} on {device}: {error}")
        slow, *quick = (results.get(run) for run in RUNS)
        if slow is None or not any(quick):
            raise Unfit("; ".join(told))
        for each in filter(None, quick):
            if abs(each["found"] - slow["found"]) > SEEN_ELSEWHERE:
                raise Unfit(f"{name}: a face in {each['found']:.0%} of frames, on the CPU in {slow['found']:.0%}")
        told.append(f"{name}: {slow['fps']:.0f} FPS, on the GPU {max(each['fps'] for each in quick if each):.0f}")
    return "; ".join(told)


def _tracked(place: Place, name: str, runtime: str, device: str, *words: str, frames: int) -> dict[str, Any]:
    """Return the results of ``nasion bench`` for the clip of ``nasion demo``."""
    folder = place.out / "demo"
    if not (folder / "clip.mp4").is_file():
        place.nasion("demo", "demo", "--out", str(folder), most=90)
    name = f"{name}-{runtime}-{device.partition(':')[0]}"
    figures = place.out / f"{name}.json"
    command = ["bench", str(folder / "clip.mp4"), *words, "--frames", str(frames), "--repeat", "1", "--threads", "1"]
    command += ["--runtime", runtime, "--device", device, "--json", str(figures), "--force"]
    place.nasion(name, *command, most=300)  # a plan may have to be built
    result: dict[str, Any] = json.loads(figures.read_text())["results"][0]
    return result


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the run.

    Attributes:
        run: does it, and returns what was seen; raises ``Unfit`` or ``Lacking``.
        minutes: after which it is ended, so that it never takes the time of the others.
        packages: packages without which it is skipped.
        gpu: it is skipped without a GPU.
        kernels: it is skipped if the kernels are not built.
    """

    run: Callable[[Place], str]
    minutes: float
    packages: tuple[str, ...] = ()
    gpu: bool = True
    kernels: bool = False

    def __call__(self, place: Place) -> str:
        """Run the part within its time.

        Raises:
            Lacking: the machine lacks something that it needs.
            Unfit: it failed.
        """
        if self.packages and (gone := missing(place, self.packages)):
            raise Lacking(f"not installed: {', '.join(gone)}")
        code = "from nasion.engines.gpu.driver import gpus; print(*gpus())"
        if self.gpu and (why := _refused(place, code)):
            raise Lacking(why)
        code = "from nasion.engines.operators.library import locate; print(locate('kernels'))"
        if self.kernels and (why := _refused(place, code)):
            raise Lacking(why)
        return self.run(place)


def _refused(place: Place, code: str) -> str:
    """Return why a line of Python fails; empty if it does not."""
    try:
        place.code("check", code, most=60)
    except Unfit as error:
        return str(error).rpartition(" | ")[2]
    return ""


TRACKING = ("numpy", "cyclopts", "rich", "cv2", "av", "PIL", "onnxruntime")
PARTS = {  # what tells most in the least time comes first
    "environment": Part(environment, 6, gpu=False),
    "doctor": Part(doctor, 1, ("numpy", "cyclopts", "rich"), gpu=False),
    "torch": Part(torch, 3, ("numpy", "torch")),
    "build": Part(build, 4, ("numpy",), gpu=False),
    "kernels": Part(kernels, 2, ("numpy", "cyclopts", "rich"), kernels=True),
    "clips": Part(clips, 6, TRACKING),
    "tests": Part(tests, 10, (*TRACKING, "pytest", "pytest_timeout", "xdist")),
    "sanitizer": Part(sanitizer, 7, ("numpy",), kernels=True),
    "systems": Part(systems, 10, TRACKING),
}
