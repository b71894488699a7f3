"""Install the wheel in a fresh environment of each newer Python of this machine, without torch, and try it there.

The command is ``python .ci/pythons.py [--full]``: the demo and a sample of the tests, or all tests. ``--full`` also
tries the oldest supported dependencies, and writes what it found to docs/bench/ci-full.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "bench" / "ci-full.json"
SAMPLE = ("container", "media", "video_sink", "tracker", "command_line", "doctor", "zoo")
TESTS_NEED = ("pytest", "pytest-timeout", "pytest-xdist", "hypothesis")
# What more tests need: packages of the extras that come without torch.
OF_WEB = ("starlette", "uvicorn", "websockets", "prometheus-client", "httpx2")
ALL_TESTS_NEED = ("onnx", "scipy", "h5py", "pyarrow", "OneEuroFilter", "scikit-build-core", *OF_WEB)
NEWEST_TRIED = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="all tests, and the oldest supported dependencies")
    full = parser.parse_args().full
    pythons = newer_pythons()
    if not pythons:
        print("no newer Python is installed here: the wheel is tried in none")
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        for python, oldest in [(python, False) for python in pythons] + [(Path(sys.executable), True)] * full:
            results.append(tried(wheel, python, Path(folder), full=full, oldest=oldest))
            if full:
                keep(results)
    failed = [result["python"] for result in results if not result["passed"]]
    if failed:
        sys.exit(f"the wheel fails with Python {', '.join(failed)}")


def keep(results: list[dict[str, Any]]) -> None:
    """Write the results so far; a run that is stopped leaves those it has."""
    report = {"date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}", "system": platform.platform()}
    RESULT.write_text(json.dumps({**report, "pythons": results}, indent=1) + "\n")


def newer_pythons() -> list[Path]:
    """Return one interpreter of each minor version newer than this one, from the PATH and from pyenv."""
    found = []
    for minor in range(sys.version_info.minor + 1, NEWEST_TRIED):
        name = f"python3.{minor}"
        on_path = [Path(path)] if (path := shutil.which(name)) else []
        pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
        # On the PATH there may be a shim of pyenv, which does not run.
        candidates = [*on_path, *sorted(pyenv.glob(f"3.{minor}.*/bin/{name}"), key=numbers, reverse=True)]
        found += next(([python] for python in candidates if runs(python)), [])
    return found


def numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]


def runs(python: Path) -> bool:
    return subprocess.run([python, "-c", "import venv, ssl"], capture_output=True, check=False).returncode == 0


def build(folder: Path) -> Path:
    pip(Path(sys.executable), "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def tried(wheel: Path, python: Path, folder: Path, *, full: bool, oldest: bool) -> dict[str, Any]:
    """Return what became of the demo and of the tests in an environment of their own."""
    place = folder / f"{python.name}{'-oldest' if oldest else ''}"
    subprocess.run([python, "-m", "venv", place], check=True)
    python = place / "bin" / "python"
    packages = [str(wheel), *TESTS_NEED, *(ALL_TESTS_NEED if full else ())]
    pip(python, "install", *packages, *(lowest() if oldest else ()))
    versions = installed(python)
    print(f"Python {versions['python']}, PyAV {versions['av']}, NumPy {versions['numpy']}", flush=True)
    demo = subprocess.run([place / "bin" / "nasion", "demo"], cwd=place, capture_output=True, text=True, check=False)
    if demo.returncode:
        print(demo.stdout + demo.stderr)
    report = place / "tests.xml"
    tests = ["tests"] if full else [str(file) for name in SAMPLE for file in Path("tests").rglob(f"test_{name}.py")]
    # -P and an empty pythonpath: the wheel is tested, not the checkout.
    command = [python, "-P", "-m", "pytest", "-q", "-o", "pythonpath=", "-p", "no:cacheprovider", *tests]
    code = subprocess.run([*command, f"--junit-xml={report}"], cwd=ROOT, check=False).returncode
    return {
        "python": versions.pop("python") + (" with the oldest dependencies" if oldest else ""),
        "passed": code == demo.returncode == 0,
        "demo": "passed" if demo.returncode == 0 else "failed",
        "tests": counted(report),
        "versions": versions,
    }


def lowest() -> list[str]:
    """Return the requirement on the oldest supported version of each dependency."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return [re.sub(r">=([\d.]+),.*", r"~=\1.0", requirement) for requirement in wanted]


def installed(python: Path) -> dict[str, str]:
    code = "import json; from nasion.tools.machine import versions; print(json.dumps(dict(versions())))"
    done = subprocess.run([python, "-P", "-c", code], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def counted(report: Path) -> dict[str, int]:
    """Return how many tests ran, failed and were skipped."""
    if not report.exists():
        return {}
    suites = ElementTree.parse(report).getroot().iter("testsuite")
    names = ("tests", "failures", "errors", "skipped")
    total = dict.fromkeys(names, 0)
    for suite in suites:
        for name in names:
            total[name] += int(suite.get(name, 0))
    return total


def pip(python: Path, *words: str | Path) -> None:
    subprocess.run([python, "-m", "pip", "--quiet", "--disable-pip-version-check", *words], check=True)


if __name__ == "__main__":
    main()
