"""The parts of ``first_run.py``, in their order. Standard library only: nothing need be installed to start them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
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
RETRIES = ("--retries", "1", "--timeout", "15")  # without a network, pip would otherwise try for minutes
OFFLINE = re.compile("NewConnectionError|ConnectTimeoutError|NameResolutionError|ProxyError")
SYSTEMS = ("rdfn", "chs", "rht", "pwc", "sd-hrnet")
SEEN_ELSEWHERE = 0.04  # share of frames, of so few, in which a face may be seen by one runtime only
RUNS = (("onnx", "cpu"), ("onnx", "cuda:0"), ("tensorrt", "cuda:0"))


class Unfit(Exception):
    """Reason why a part has failed."""


class Lacking(Unfit):
    """Lack of something on the machine that a part needs; the part is skipped."""


@dataclass(slots=True)
class Place:
    """Folder and interpreter of a run.

    Attributes:
        out: folder of the report.
        python: interpreter that all parts use.
        end: when the current part is to be over, by ``monotonic``.
        path: folders of programs that come before the usual ones.
    """

    out: Path
    python: str
    end: float
    path: list[str] = field(default_factory=list)

    def run(self, log: str, command: Sequence[str], *, most: float, **variables: str) -> str:
        """Run a command, its output in a log of the report; returns that.

        Raises:
            Lacking: no time is left.
            Unfit: it failed, or took more than ``most`` seconds or all that were left; says its last words.
        """
        seconds = min(most, self.end - monotonic())
        if seconds <= 0:
            raise Lacking("no time was left; give more --minutes, or fewer --parts")
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
    gone, told = missing(place), []
    wanted = wanted_on_a_gpu(place) if shutil.which("nvidia-smi") else []
    if not gone and not wanted:
        return f"{place.python} has all that is needed"
    own = own_environment(place)
    try:  # without the time that the other parts need, a large download would leave them none
        if gone:
            place.run("environment-pip", pip(own, "install", "-e", f"{ROOT}[dev]", "cmake"), most=240)
    except Unfit as error:
        if missing(place, ("numpy",)):
            raise Lacking(f"{', '.join(gone)} are missing, and cannot be installed: {error}") from error
        if offline(place.out / "environment-pip.log"):
            return f"no network: goes on without {', '.join([*gone, *wanted])}"
        told.append(f"no {', '.join(gone)} ({error})")
    place.python, place.path = str(own), [str(own.parent)]
    return "; ".join([*told, f"installed into {own.parents[1]}", *for_the_gpu(place, wanted or wanted_on_a_gpu(place))])


def own_environment(place: Place) -> Path:
    """Return the interpreter of a new environment, which also sees the packages of the one that runs this script.

    ``--system-site-packages`` would show those of the base Python instead if this one is itself in an environment.
    """
    folder = place.out / "venv"
    place.run("environment-venv", [place.python, "-m", "venv", "--without-pip", str(folder)], most=60)
    own = folder / "bin" / "python"
    ask = "import site, sysconfig; print(sysconfig.get_path('purelib'))"
    purelib = Path(place.run("environment-venv", [str(own), "-I", "-c", ask], most=60).strip())
    theirs = [each for each in sys.path if Path(each).name in ("site-packages", "dist-packages")]
    lines = [f"import site; site.addsitedir({each!r})" for each in theirs]
    (purelib / "first_run.pth").write_text("\n".join(lines) + "\n")
    return own


def pip(python: Path | str, verb: str, *words: str) -> list[str]:
    """Return a command of pip for an interpreter."""
    found = [str(python), "-m", "pip", "--no-input", "--disable-pip-version-check", verb]
    return [*found, *(RETRIES if verb == "install" else ()), *words]


def offline(log: Path) -> bool:
    """Return True if a log of pip says that there is no network."""
    return log.is_file() and bool(OFFLINE.search(log.read_text(errors="replace")))


def wanted_on_a_gpu(place: Place) -> list[str]:
    """Return requirements of packages that run on a GPU only and that the interpreter lacks."""
    code = "from nasion.engines.gpu.packages import missing; print(*missing(), sep=chr(10))"
    try:
        return place.code("environment-gpu", code, most=60).split()
    except Unfit:  # no NumPy yet
        return []


def for_the_gpu(place: Place, packages: Sequence[str]) -> list[str]:
    """Install packages that only run on a GPU; those that cannot be installed are reported and left out."""
    told: list[str] = []
    for package in packages:
        name = re.split(r"[\[<>=]", package)[0]
        log = place.out / f"environment-{name}.log"
        try:
            place.run(log.stem, pip(place.python, "install", package), most=180)
            told.append(package)
        except Unfit as error:
            told.append(f"no {package} ({error})")
            if offline(log):
                return [*told, "no network"]
            continue
        if name == "onnxruntime-gpu":  # both have the same files: the last one installed counts
            again = pip(place.python, "install", "--no-deps", "--force-reinstall", package)
            place.run("environment-again", again, most=180)
    return told


def missing(place: Place, packages: Sequence[str] = NEEDED) -> list[str]:
    """Packages that the interpreter lacks."""
    code = f"""
from importlib.metadata import distributions
from importlib.util import find_spec
there = {{str(each.metadata["Name"]).lower() for each in distributions()}}
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
