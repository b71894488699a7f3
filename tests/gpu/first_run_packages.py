"""Packages for ``first_run.py``: those that are missing, installed into an environment of its own."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from first_run_place import ROOT, Lacking, Place, Unfit

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
