"""Types as users see them: pyright in strict mode on a program that uses the public names."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

import nasion

from ..conftest import ROOT

SAMPLE = ROOT / "tests" / "typing" / "sample.py"
NEED_SUPERVISION = {"to_detections", "to_key_points"}  # without it their types are unknown


def _pyright() -> str:
    """The command that checks types: basedpyright, which brings Node.js, or pyright, whose strict mode is the same."""
    folder = sysconfig.get_path("scripts")
    found = shutil.which("basedpyright", path=folder) or shutil.which("pyright", path=folder)
    if found is None:
        pytest.skip("neither basedpyright nor pyright is installed: pip install -e '.[dev]'")
    return found


def _report(*arguments: str) -> dict[str, Any]:
    """Run pyright, which finds nasion as an installed package."""
    done = subprocess.run(
        [_pyright(), "--outputjson", "--pythonpath", sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _errors(program: Path, folder: Path) -> list[str]:
    """Return the errors of a program in strict mode."""
    config = folder / "pyrightconfig.json"
    config.write_text(json.dumps({"typeCheckingMode": "strict", "include": [str(program)]}))
    report = _report("--project", str(config))
    assert report["summary"]["filesAnalyzed"] == 1
    return [
        f"{each['range']['start']['line'] + 1}: {each['message']}"
        for each in report["generalDiagnostics"]
        if each["severity"] == "error"
    ]


def test_a_program_of_a_user_has_no_errors(tmp_path: Path) -> None:
    shutil.copy(SAMPLE, tmp_path)
    assert _errors(tmp_path / "sample.py", tmp_path) == []


def test_conversions_to_supervision_have_no_errors(tmp_path: Path) -> None:
    pytest.importorskip("supervision")
    program = tmp_path / "converting.py"
    program.write_text(
        "import nasion\n"
        'faces = nasion.detect("face.png")\n'
        "print(nasion.to_detections(faces).xyxy.shape, nasion.to_key_points(faces).xy.shape)\n"
    )
    assert _errors(program, tmp_path) == []


def test_the_types_of_all_public_names_are_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a configuration of the checkout would count
    symbols = _report("--verifytypes", "nasion", "--ignoreexternal")["typeCompleteness"]["symbols"]
    public = {symbol["name"].removeprefix("nasion."): symbol for symbol in symbols}
    assert set(nasion.__all__) <= set(public)
    incomplete = {name for name in nasion.__all__ if public[name]["isTypeAmbiguous"] or not public[name]["isTypeKnown"]}
    assert incomplete <= NEED_SUPERVISION


def test_wrong_uses_are_errors(tmp_path: Path) -> None:
    program = tmp_path / "wrong.py"
    program.write_text(
        "import nasion\n"
        'nasion.detect("face.png", channels="grey")\n'
        'nasion.detect("face.png", smooth="light")\n'
        'nasion.track("film.mp4", smooth="none").frames\n'
        'x: int = nasion.detect("face.png")[0].score\n'
    )
    assert {error.split(":")[0] for error in _errors(program, tmp_path)} == {"2", "3", "4", "5"}


def test_the_program_uses_every_public_name() -> None:
    used = set(re.findall(r"nasion\.(\w+)", SAMPLE.read_text(encoding="utf-8")))
    assert set(nasion.__all__) - used == NEED_SUPERVISION
