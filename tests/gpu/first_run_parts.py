"""The parts of ``first_run.py``, in their order. Standard library only: nothing need be installed to start them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")
NEEDED = (
    "numpy",
    "cyclopts",
    "rich",
    "cv2",
    "av",
    "PIL",
    "onnxruntime",
    "pytest",
    "pytest_timeout",
    "xdist",
    "torch",
    "onnx",
    "onnxscript",
)
ON_GPU = ("tensorrt", "pycuda", "onnxruntime-gpu")
SYSTEMS = ("rdfn", "chs", "rht", "pwc", "sd-hrnet")
SEEN_ELSEWHERE = 0.04  # share of frames, of so few, in which a face may be seen by one runtime only
RUNS = (("onnx", "cpu"), ("onnx", "cuda:0"), ("tensorrt", "cuda:0"))


class Unfit(Exception):
    """Reason why a part has not passed."""


@dataclass(slots=True)
class Place:
    """Folder and interpreter of a run.

    Attributes:
        out: folder of the report.
        python: interpreter that all parts use.
        end: when everything is to be over, by ``monotonic``.
        path: folders of programs that come before the usual ones.
    """

    out: Path
    python: str
    end: float
    path: list[str] = field(default_factory=list)

    def run(self, log: str, command: Sequence[str], *, most: float, **variables: str) -> str:
        """Run a command, its output in a log of the report; returns that.

        Raises:
            Unfit: it failed, or took more than ``most`` seconds or all that were left; says its last words.
        """
        seconds = min(most, self.end - monotonic())
        if seconds <= 0:
            raise Unfit("no time was left; give more --minutes, or fewer --parts")
        file = self.out / f"{log}.log"
        with file.open("w") as stream:
            try:
                process = subprocess.Popen(
                    command, stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT,
                    env=self._environment(variables), start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise Unfit(f"{command[0]} cannot be started: {error}") from error
            try:
                status = process.wait(seconds)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise Unfit(f"ended after {seconds:.0f} s, see {file.name}: {last_words(file)}") from None
                raise
        if status:
            raise Unfit(f"exit status {status}, see {file.name}: {last_words(file)}")
        return file.read_text(errors="replace")

    def nasion(self, log: str, *words: str, most: float) -> str:
        """Run the command ``nasion``."""
        return self.run(log, [self.python, "-m", "nasion.tools.main", *words], most=most)

    def code(self, log: str, text: str, *, most: float) -> str:
        """Run a line of Python."""
        return self.run(log, [self.python, "-c", text], most=most)

    def _environment(self, variables: dict[str, str]) -> dict[str, str]:
        sources = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sources),
            "PATH": os.pathsep.join([*self.path, os.environ.get("PATH", "")]),
            "PYTHONUNBUFFERED": "1",
            "NASION_PLUGINS": str(self.out / "native"),
            "NASION_PLANS": str(self.out / "plans"),
            **variables,
        }


def last_words(file: Path) -> str:
    """The end of a log, on one line."""
    lines = [line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip(" ^~=")]
    return " | ".join(lines[-2:])[-500:] or "it said nothing"


def environment(place: Place) -> str:
    """Packages: those of this interpreter if they suffice, else an environment of our own on top of them."""
    gone = missing(place)
    wanted = missing(place, ON_GPU) if shutil.which("nvidia-smi") else []
    if not gone and not wanted:
        return f"{place.python} has all that is needed"
    folder = place.out / "venv"
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--no-input", "--disable-pip-version-check"]
    try:
        venv = [place.python, "-m", "venv", "--system-site-packages", str(folder)]
        place.run("environment-venv", venv, most=60)
        if gone:  # without the time that the other parts need, a large download would leave them none
            place.run("environment-pip", [*pip, "install", "-e", f"{ROOT}[dev]", "cmake"], most=240)
    except Unfit as error:
        if gone:
            raise Unfit(f"{', '.join(gone)} are missing, and cannot be installed: {error}") from error
        return f"{place.python} has all that is needed; no {', '.join(wanted)} ({error})"
    place.python, place.path = str(folder / "bin" / "python"), [str(folder / "bin")]
    if gone := missing(place):
        raise Unfit(f"{', '.join(gone)} are missing even in {folder}")
    return f"installed into {folder}; {for_the_gpu(place, pip, wanted)}"


def for_the_gpu(place: Place, pip: Sequence[str], packages: Sequence[str]) -> str:
    """Install the packages that only run on a GPU; those that cannot be installed are reported and left out."""
    told = []
    for package in packages:
        try:
            place.run(f"environment-{package}", [*pip, "install", package], most=180)
            told.append(package)
        except Unfit as error:
            told.append(f"no {package} ({error})")
    if "onnxruntime-gpu" in told:  # both have the same files: the last one installed counts
        place.run("environment-again", [*pip, "uninstall", "--yes", "onnxruntime", "onnxruntime-gpu"], most=60)
        place.run("environment-again", [*pip, "install", "--no-deps", "--force-reinstall", "onnxruntime-gpu"], most=180)
    return ", ".join(told)


def missing(place: Place, packages: Sequence[str] = NEEDED) -> list[str]:
    """Packages that the interpreter lacks."""
    code = f"""
from importlib.metadata import distributions
from importlib.util import find_spec
there = {{each.metadata["Name"].lower() for each in distributions()}}
print(*[name for name in {packages!r} if name not in there and find_spec(name.replace("-", "_")) is None])
"""
    return place.code("environment", code, most=60).split()


def doctor(place: Place) -> str:
    """Report what the machine has. A GPU is required."""
    listing = [place.python, "-m", "nasion.tools.main", "doctor", "--json", "-"]
    try:
        text = place.run("doctor", listing, most=60)
    except Unfit:  # what is broken is in the report, too
        text = (place.out / "doctor.log").read_text(errors="replace")
    found = re.search(r"^\{.*^\}", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise Unfit(f"no report: {last_words(place.out / 'doctor.log')}")
    (place.out / "doctor.json").write_text(found[0])
    findings = json.loads(found[0])["findings"]
    broken = [f"{each['name']}: {each['found']}" for each in findings if each["state"] == "broken"]
    gpus = [each for each in findings if each["topic"] == "GPU"]
    if broken or not any(each["state"] == "ok" for each in gpus):
        raise Unfit("; ".join([*broken, *(f"{each['name']}: {each['found']}" for each in gpus)]))
    return "; ".join(f"{each['name']}: {each['found']}" for each in gpus)


def build(place: Place) -> str:
    """Kernels and plugins, for this GPU only where there is one: that is quicker."""
    code = """
import os
from nasion.engines import driver, errors, plugins
try:
    chosen = driver.gpu(0).capability.replace('.', '') + '-real'
except errors.DeviceError as error:
    chosen = None
    print(error)
found = plugins.build(architectures=chosen, jobs=os.cpu_count() or 1, say=print)
print('built', *found.libraries)
for name, why in found.skipped.items():
    print('skipped', name + ':', why)
"""
    lines = place.code("build", code, most=240).splitlines()
    told = "; ".join(line for line in lines if line.startswith(("built", "skipped")))
    if "kernels" not in told.split("skipped")[0]:
        raise Unfit(told)
    return told


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
        raise Unfit(f"{folder} holds no compute-sanitizer")
    words = ["-m", "pip", "install", "--no-input", "--no-deps", "--target", str(folder), "nvidia-cuda-sanitizer-api"]
    try:
        place.run("sanitizer-pip", [place.python, *words], most=90)
    except Unfit as error:
        folder.mkdir(exist_ok=True)
        raise Unfit(f"no compute-sanitizer here, and it cannot be installed: {error}") from error
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
    """The tests that need a GPU; none may be skipped for the lack of one."""
    # the plugins of pytest that a setting names must be there
    command = [place.python, "-m", "pytest", "-n", "0", "--continue-on-collection-errors", "tests/gpu"]
    log = place.run("tests", command, most=900, NASION_REQUIRE_GPU="1")
    summary = re.findall(r"^=* ?\d+ passed.* in .*$", log, re.MULTILINE)
    counts = re.findall(r"\d+ (?:passed|skipped)", summary[-1]) if summary else []
    if not counts:
        raise Unfit(f"no result: {last_words(place.out / 'tests.log')}")
    return ", ".join(counts)


def clips(place: Place) -> str:
    """The tracker on a clip of our own, by every runtime; one on the GPU must work."""
    told, works = [], []
    for runtime, device in RUNS:
        try:
            result = _tracked(place, "clip", runtime, device, frames=240)
        except Unfit as error:
            told.append(f"{runtime} on {device}: {error}")
            continue
        works.append(device)
        told.append(f"{runtime} on {device}: {result['fps']:.0f} FPS")
    if "cpu" not in works or "cuda:0" not in works:
        raise Unfit("; ".join(told))
    return "; ".join(told)


def systems(place: Place) -> str:
    """The shipped networks of the papers likewise; on the GPU a face is seen where it is on the CPU."""
    told = []
    for name in SYSTEMS:
        results = {}
        for runtime, device in RUNS:
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


PARTS = {
    each.__name__: each for each in (environment, doctor, build, sanitizer, kernels, tests, clips, systems)
}  # what matters most comes first
