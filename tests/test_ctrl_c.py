"""Ctrl-C: clean from the first import on, and never in the middle of a write."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nasion.realtime import sources
from nasion.tools.shield import Shield

from .commands import ENVIRONMENT, run

# --- the command


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to another process on Windows")
def test_ctrl_c_ends_cleanly_with_readable_files_and_the_table(tmp_path):
    script = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from commands import FakeTracker, Tracking\n"
        "from nasion.tools.main import main as nasion\n"
        "Tracking.tracker = lambda tracking: FakeTracker()\n"
        "nasion()\n"
    )
    out, landmarks = tmp_path / "out.mp4", tmp_path / "faces.jsonl"
    arguments = (
        "track",
        "pattern:live?seconds=60",
        "--size",
        "64x48",
        "--out",
        out,
        "--landmarks",
        landmarks,
    )
    command = [sys.executable, "-c", script, Path(__file__).parent, *arguments]
    process = subprocess.Popen(
        list(map(str, command)), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (landmarks.exists() and landmarks.read_text().count("\n") >= 5):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "nasion: stopped by Ctrl-C"
    assert "Traceback" not in errors
    rows = [json.loads(line) for line in landmarks.read_text().splitlines()]
    assert re.search(rf"frames +{len(rows)}\b", printed)
    with sources.open_source(out) as source:
        assert sum(1 for _ in source) == len(rows)


def test_ctrl_c_is_clean_from_the_first_import_on(tmp_path):
    for package in ("cyclopts", "cv2"):
        folder = tmp_path / package
        folder.mkdir()
        (folder / f"{package}.py").write_text("raise KeyboardInterrupt")
        path = os.pathsep.join([str(folder), ENVIRONMENT["PYTHONPATH"]])
        done = run("track", "pattern:", env={**ENVIRONMENT, "PYTHONPATH": path})
        assert (done.returncode, done.stderr) == (130, "nasion: stopped by Ctrl-C\n")


def test_next_to_nothing_is_loaded_before_ctrl_c_is_caught():
    script = (
        "import re, sys\n"  # as in the script that pip makes
        "before = set(sys.modules)\n"
        "from nasion.tools.main import main\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    loaded = run(script=script).stdout.split()
    assert "nasion.tools.main" in loaded
    assert not {"cyclopts", "dataclasses", "inspect", "logging", "pathlib", "typing"} & set(loaded)


# --- the shield


def test_ctrl_c_waits_for_the_end_of_a_write():
    done = []
    with Shield() as shield:
        with pytest.raises(KeyboardInterrupt), shield.up():  # noqa: PT012
            signal.raise_signal(signal.SIGINT)
            done.append("written")
        assert done == ["written"]
        with shield.up():
            done.append("again")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait():
    done = []
    with Shield() as shield, pytest.raises(KeyboardInterrupt), shield.up():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        done.append("held")
        signal.raise_signal(signal.SIGINT)
        done.append("never")
    assert done == ["held"]


def test_ctrl_c_between_writes_is_raised_at_once():
    with Shield(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
