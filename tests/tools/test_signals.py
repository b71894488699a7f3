"""Signals that end a process: clean from the first import on, and never in the middle of a write."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction

import av
import pytest

from nasion.engines import signals
from nasion.engines.output_paths import write_file
from nasion.engines.signals import SIGNALS, Held, Stopped, signal_name
from nasion.realtime.sources.synthetic import CameraMotion, write_clip

from ..conftest import ROOT
from ..support.commands import ENVIRONMENT, run
from ..support.media.sink_samples import frames_in

FAKE = (
    "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
    "from tests.support.commands import FakeTracker, tracker\n"
    "from nasion.tools.main import main as nasion\n"
    "tracker.Tracker = lambda options: FakeTracker()\n"
    "nasion()\n"
)


def start(*arguments, script=FAKE):
    command = [sys.executable, "-c", script, ROOT, *arguments]
    return subprocess.Popen(
        list(map(str, command)), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until(process, happened):
    deadline = time.monotonic() + 60
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- the command


@pytest.mark.skipif(sys.platform == "win32", reason="signals cannot be sent to another process on Windows")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1"])
def test_a_signal_and_a_second_one_end_cleanly_with_readable_files_and_the_table(name, tmp_path):
    out, landmarks = tmp_path / "out.mp4", tmp_path / "faces.parquet"
    number = signal.Signals[name]
    process = start(
        "track", "pattern:live?seconds=60", "--size", "64x48", "--out", out, "--landmarks", landmarks
    )  # fmt: skip
    wait_until(process, lambda: out.exists() and out.stat().st_size > 2000)
    process.send_signal(number)
    process.send_signal(number)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    told = "Ctrl-C" if name == "SIGINT" else name
    assert errors.splitlines()[-1] == f"nasion: stopped by {told}"
    assert "Traceback" not in errors
    rows = frames_in(landmarks)
    assert rows > 0
    assert re.search(rf"frames +{rows}\b", printed)
    assert frames_in(out) == rows


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
@pytest.mark.parametrize(
    ("suffix", "rate", "sound"), [(".mp4", 5, False), (".mp4", 30, True), (".mov", 30, False), (".mkv", 5, True)]
)
def test_a_killed_process_leaves_a_video_from_the_first_second_on(suffix, rate, sound, tmp_path):
    clip = tmp_path / "clip.mp4"
    if sound:
        write_clip(clip, CameraMotion((64, 48), rate=Fraction(rate), seconds=4))
    script = (
        "import os, signal, sys\n"
        "from fractions import Fraction\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from nasion.realtime.faces.frame import Frame\n"
        "from nasion.realtime.sinks import open_sinks\n"
        "from nasion.realtime.sources import SourceInfo\n"
        "from nasion.realtime.sources.base import Media\n"
        "path, rate, count, clip = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])\n"
        "sound = Media(str(clip)) if clip.exists() else None\n"
        "random = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)\n"
        "info = SourceInfo('x', 64, 48, Fraction(rate), sound=sound)\n"
        "sinks = open_sinks(out=path, landmarks=Path(path).with_suffix('.jsonl'), info=info)\n"
        "for i in range(count):\n"
        "    sinks.write(Frame(np.roll(random, i, 1), i / rate, i), [])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for seconds in (1, 2):
        path, count = tmp_path / f"{seconds}{suffix}", seconds * rate + 1
        assert run(path, rate, count, clip, script=script).returncode == -9
        assert frames_in(path) >= count - 1 - 0.8 * rate - 1
        assert frames_in(path.with_suffix(".jsonl")) == count
        with av.open(str(path)) as container:
            assert len(container.streams.audio) == sound


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
@pytest.mark.parametrize(
    "command",
    [
        "bench pattern:",
        "evaluate --data x",
        "export x --out x.onnx",
        "compile x",
        "rtx",
        "data check .",
        "train landmarks-68 --data x",
    ],
)
def test_a_signal_ends_every_command_with_its_status_and_one_line(command, tmp_path):
    (tmp_path / "runs" / "landmarks-68").mkdir(parents=True)
    script = (
        "import signal\n"
        "from nasion.engines import output_paths\n"
        "from nasion.tools.main import main\n"
        "output_paths.check_output_paths = lambda *_, **__: signal.raise_signal(signal.SIGHUP)\n"  # at work
        f"main({command.split()!r})\n"
    )
    done = run(script=script, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (129, "nasion: stopped by SIGHUP\n")


def test_ctrl_c_is_clean_from_the_first_import_on(tmp_path):
    for package in ("cyclopts", "cv2"):
        folder = tmp_path / package
        folder.mkdir()
        (folder / f"{package}.py").write_text("raise KeyboardInterrupt")
        path = os.pathsep.join([str(folder), ENVIRONMENT["PYTHONPATH"]])
        done = run("track", "pattern:", env={**ENVIRONMENT, "PYTHONPATH": path})
        assert (done.returncode, done.stderr) == (130, "nasion: stopped by Ctrl-C\n")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_a_signal_during_an_import_ends_the_command_with_its_status_and_one_line(tmp_path):
    folder = tmp_path / "onnxruntime"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "import signal\nfrom _weakref import ref\n"
        "class Thing: pass\n"
        "thing = Thing()\n"
        "watch = ref(thing, lambda _: signal.raise_signal(signal.SIGHUP))\n"  # as import locks have them
        "del thing\n"
        "raise ImportError('initialization failed')\n"
    )
    path = os.pathsep.join([str(tmp_path), ENVIRONMENT["PYTHONPATH"]])
    done = run("track", "pattern:", "--out", tmp_path / "x.mp4", env={**ENVIRONMENT, "PYTHONPATH": path})
    assert (done.returncode, done.stderr) == (129, "nasion: stopped by SIGHUP\n")
    assert not (tmp_path / "x.mp4").exists()


def test_next_to_nothing_is_loaded_before_signals_are_caught():
    script = (
        "import re, sys\n"  # as in the script that pip makes
        "before = set(sys.modules)\n"
        "from nasion.tools.main import main\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    loaded = run(script=script).stdout.split()
    assert "nasion.tools.main" in loaded
    assert not {"cyclopts", "dataclasses", "inspect", "logging", "pathlib", "typing"} & set(loaded)


# --- signals held back


@pytest.mark.parametrize("number", SIGNALS, ids=signal_name)
def test_a_signal_waits_for_the_end_and_then_goes_to_the_handler_before(number):
    got = []
    before = signal.signal(number, lambda number, _: got.append(number))
    try:
        with Held() as held:
            signal.raise_signal(number)
            signal.raise_signal(number)
            assert held.asked
            assert not got
        assert got == [number]
        with Held():
            pass
        assert got == [number]
    finally:
        signal.signal(number, before)


def test_a_signal_is_raised_where_it_is_let_through_and_only_once():
    done = []
    with Held() as held:
        with pytest.raises(Stopped, match="SIGTERM") as stopped, held.let():  # noqa: PT012
            signal.raise_signal(signal.SIGTERM)
            done.append("never")
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        done.append("closed")
    assert stopped.value.status == 143
    assert done == ["closed"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_signal_that_came_before_is_raised_at_the_next_place():
    with Held() as held:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped, match="SIGTERM"), held.let():
            pytest.fail("it is not entered")
        assert isinstance(held.take(), Stopped)


def test_another_signal_much_later_does_not_wait(monkeypatch):
    monkeypatch.setattr(signals, "PATIENCE", -1.0)
    with Held() as held:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGTERM)
        held.take()


class Dropping:
    """Python drops what is raised as it goes."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        signal.raise_signal(self.number)


def test_a_signal_whose_exception_is_dropped_is_raised_again():
    with Held() as held:
        with pytest.raises(Stopped, match="SIGTERM"), held.let():  # noqa: PT012
            thing = Dropping(signal.SIGTERM)
            del thing
            time.sleep(30)  # the second attempt wakes it
            pytest.fail("it is lost")
        held.take()
        with held.let():
            pass


def test_a_signal_that_was_dropped_is_raised_at_the_end_at_the_latest(monkeypatch):
    monkeypatch.setattr(signals, "_PAUSE", 60)
    with Held() as outer:
        with pytest.raises(Stopped, match="SIGTERM") as stopped, outer.let(), Held() as held:  # noqa: PT012
            thing = Dropping(signal.SIGTERM)
            del thing
            assert held.asked
        assert stopped.value.status == 143
        outer.take()
        with pytest.raises(Stopped, match="SIGHUP"), outer.let():  # noqa: PT012
            thing = Dropping(signal.SIGHUP)
            del thing
        outer.take()


def test_a_signal_that_an_outer_one_got_is_known_within():
    with Held() as outer:
        signal.raise_signal(signal.SIGTERM)
        with Held() as held:
            assert held.asked
            assert isinstance(held.take(), Stopped)
        assert not outer.is_waiting
        with Held() as held:
            assert not held.asked


def test_an_import_is_not_interrupted_and_the_signal_comes_right_after_it(tmp_path, monkeypatch):
    (tmp_path / "slow_import.py").write_text(
        "import signal\nsignal.raise_signal(signal.SIGTERM)\nfor _ in range(100_000): pass\nis_whole = True\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with Held() as held:
        with pytest.raises(Stopped, match="SIGTERM"), held.let():  # noqa: PT012
            import slow_import

            time.sleep(30)
            pytest.fail("it is lost")
        held.take()
    assert slow_import.is_whole


def test_the_names_of_signals():
    assert {"SIGINT", "SIGTERM"} <= set(map(signal_name, SIGNALS))
    if sys.platform == "linux":
        found = set(map(signal_name, SIGNALS))
        assert {"SIGPROF", "SIGPWR", "SIGSTKFLT", "SIGTRAP", "SIGSYS", "SIGRTMIN", "SIGRTMIN+1", "SIGRTMAX"} <= found
        assert {"SIGIO", "SIGPOLL"} & found
        kept = {"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGCHLD", "SIGWINCH", "SIGURG", "SIGCONT"}
        assert not found & {*kept, "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGPIPE", "SIGKILL", "SIGSTOP"}
    assert str(Stopped(signal.SIGTERM)) == "SIGTERM"


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Held() as held, held.let():
            signal.raise_signal(signal.SIGTERM)
        assert not held.asked
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_file_is_whole_when_a_signal_comes_as_it_is_written(tmp_path, monkeypatch):
    class Slow(type(tmp_path)):
        def write_bytes(self, data):
            super().write_bytes(data[:3])
            signal.raise_signal(signal.SIGINT)
            return super().write_bytes(data)

    with pytest.raises(KeyboardInterrupt):
        write_file(Slow(tmp_path / "x.json"), json.dumps({"whole": True}))
    assert json.loads((tmp_path / "x.json").read_text()) == {"whole": True}


def test_a_clip_that_is_stopped_ends_early_and_can_be_played(tmp_path):
    class Stopping(CameraMotion):
        def render(self, index):
            if index == 5:
                signal.raise_signal(signal.SIGINT)
            return super().render(index)

    with pytest.raises(KeyboardInterrupt):
        write_clip(tmp_path / "clip.mp4", Stopping((64, 48), seconds=5))
    assert frames_in(tmp_path / "clip.mp4") == 6
