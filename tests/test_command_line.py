import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nasion.engines.errors import SinkError, SourceError
from nasion.realtime import sources
from nasion.realtime.faces import Face
from nasion.realtime.sinks import JsonLinesSink
from nasion.realtime.sources import SourceInfo
from nasion.tools import report
from nasion.tools.main import import_remedy
from nasion.tools.main import main as nasion
from nasion.tools.shield import Shield
from nasion.tools.track import Tracking, parse_size, parse_time

COMMANDS = (
    "track",
    "demo",
    "bench",
    "doctor",
    "data",
    "train",
    "evaluate",
    "networks",
    "export",
    "compile",
    "rtx",
    "plugins",
)
HEAVY = ("cv2", "av", "torch", "onnxruntime", "onnx")
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "COLUMNS": "200"}


def run(*arguments, script="from nasion.tools.main import main; main()", **options):
    """The command in a process of its own."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    options = {"capture_output": True, "text": True, "timeout": 120, "env": ENVIRONMENT, **options}
    return subprocess.run(command, check=False, **options)


class FakeTracker:
    """A face in the middle of every frame."""

    def search(self, frame):
        return None

    def follow(self, frame, sighting):
        import numpy as np

        points = np.full((68, 2), 20, np.float32) + np.arange(68, dtype=np.float32)[:, None] / 2
        box = np.array([20, 20, 54, 54], np.float32)
        return [Face(1, box, 0.9, points, np.ones(68, np.float32))]

    def smooth(self, frame, faces):
        return faces

    def close(self):
        pass


@pytest.fixture
def fake_tracker(monkeypatch):
    monkeypatch.setattr(Tracking, "tracker", lambda tracking, **_: FakeTracker())


def test_the_version_is_printed():
    done = run("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"nasion \d+\.\d+\.\d+\n", done.stdout)


def test_the_help_names_every_command_and_loads_nothing_heavy():
    script = (
        "import sys\n"
        "from nasion.tools.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: code = end.code\n"
        f"print('loaded', [name for name in {HEAVY} if name in sys.modules], code)\n"
    )
    done = run(script=script)
    assert "loaded [] 0" in done.stdout
    for command in COMMANDS:
        assert re.search(rf"^│ {command} +[A-Z]", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("command", ["track", "demo", "bench", "doctor"])
def test_the_help_of_a_command_explains_every_option_and_loads_nothing_heavy(command):
    script = (
        "import sys\n"
        "from nasion.tools.main import main\n"
        f"try: main([{command!r}, '--help'])\n"
        "except SystemExit: pass\n"
        f"print('loaded', [name for name in {HEAVY} if name in sys.modules])\n"
    )
    done = run(script=script)
    assert "loaded []" in done.stdout, done.stderr
    options = re.findall(r"^│ \*? *(?:--\S+|[A-Z]+)(?: [A-Z]+)?(.*)│$", done.stdout, re.MULTILINE)
    assert options
    assert all(re.match(r" {2,}[a-z0-9.:]", text) for text in options), done.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["track", "nowhere.mp4"], "'nowhere.mp4' does not exist"),
        (["track", "pattern:", "--out", "nowhere/x.mp4"], "there is no folder 'nowhere'"),
        (["track", "pattern:", "--landmarks", "x.txt"], "allowed: .jsonl, .csv, .parquet"),
        (["track", "http:///video"], "names no host"),
        (["bench", "nowhere.mp4"], "'nowhere.mp4' does not exist"),
    ],
)
def test_what_is_wrong_is_named_before_any_work_starts(arguments, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        nasion(arguments)
    assert text in str(end.value.code)
    assert list(tmp_path.iterdir()) == []


def test_an_error_the_user_can_mend_is_one_message_without_a_traceback():
    done = run("track", "nowhere.mp4")
    assert done.returncode == 1
    assert done.stderr.startswith("nasion: 'nowhere.mp4' does not exist; give a video file")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["trak"], "Unknown command"),
        (["track", "x", "--start", "soon"], "'soon' is no time"),
        (["track", "x", "--size", "big"], "'big' is no size"),
        (["track", "x", "--smooth", "much"], "strong"),
        (["track"], "source"),
    ],
)
def test_a_wrong_command_line_is_explained(arguments, text, capsys):
    with pytest.raises(SystemExit) as end:
        nasion(arguments)
    assert end.value.code not in (0, 130)
    assert text.lower() in capsys.readouterr().err.lower()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("0.5", 0.5), (".5", 0.5), ("5.", 5), ("1:30", 90), ("01:02:03.25", 3723.25), ("90:00", 5400)],
)
def test_a_time_is_seconds_or_a_clock(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-3", "1:2:3:4", "1:", "nan", "1e3", ".", "1:."])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="give seconds, MM:SS or HH:MM:SS"):
        parse_time(text)


def test_a_size_is_width_by_height():
    assert parse_size("1280x720") == (1280, 720)
    for text in ("", "1280", "0x720", "1280x720x3", "-1x5"):
        with pytest.raises(ValueError, match="for example 1280x720"):
            parse_size(text)


def test_tracking_writes_its_outputs_and_prints_a_table(fake_tracker, tmp_path, capsys):
    out, landmarks = tmp_path / "out.mp4", tmp_path / "faces.jsonl"
    with pytest.raises(SystemExit) as end:
        nasion(
            [
                "track",
                "pattern:?seconds=0.4",
                "--size",
                "128x96",
                "--out",
                str(out),
                "--landmarks",
                str(landmarks),
            ]
        )
    assert end.value.code == 0
    rows = [json.loads(line) for line in landmarks.read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(12))
    with sources.open_source(out) as source:
        assert sum(1 for _ in source) == 12
    printed = capsys.readouterr().out
    for text in (
        r"frames +12\n",
        r"faces +12 in 12 frames",
        r"identities +1\n",
        r"dropped +0\n",
        r"FPS +[\d.]+\n",
    ):
        assert re.search(text, re.sub(" +\n", "\n", printed))
    for stage in ("decode", "search", "follow", "smooth", "write"):
        assert re.search(rf"^{stage}( +\d+\.\d\d){{6}}", printed, re.MULTILINE)


def test_without_an_output_the_table_is_still_printed(fake_tracker, capsys):
    with pytest.raises(SystemExit):
        nasion(["track", "pattern:?seconds=0.2", "--size", "64x48"])
    assert re.search(r"frames +6", capsys.readouterr().out)


def test_nothing_is_overwritten_without_force(fake_tracker, tmp_path):
    landmarks = tmp_path / "faces.csv"
    landmarks.write_text("mine")
    arguments = ["track", "pattern:?seconds=0.1", "--size", "64x48", "--landmarks", str(landmarks)]
    with pytest.raises(SystemExit, match="replace it with --force"):
        nasion(arguments)
    assert landmarks.read_text() == "mine"
    with pytest.raises(SystemExit):
        nasion([*arguments, "--force"])
    assert landmarks.read_text().startswith("frame,time,id")


def test_a_source_that_breaks_off_leaves_what_was_written_and_the_table(fake_tracker, tmp_path, capsys, monkeypatch):
    class Broken:
        info = SourceInfo("broken.mp4", 64, 48)

        def __iter__(self):
            with open_source("pattern:?seconds=0.1", size=(64, 48)) as good:
                yield from good
            raise SourceError("broken.mp4: damaged after 0.1 s")

        def close(self):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    open_source = sources.open_source
    monkeypatch.setattr(sources, "open_source", lambda *_, **__: Broken())
    landmarks = tmp_path / "faces.jsonl"
    with pytest.raises(SystemExit, match=r"broken\.mp4: damaged after 0\.1 s"):
        nasion(["track", "broken.mp4", "--landmarks", str(landmarks)])
    assert len(landmarks.read_text().splitlines()) == 3
    assert re.search(r"frames +3", capsys.readouterr().out)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to another process on Windows")
def test_ctrl_c_ends_cleanly_with_readable_files_and_the_table(tmp_path):
    script = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from test_command_line import FakeTracker, Tracking, nasion\n"
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


def test_an_error_of_closing_a_file_comes_after_the_table(fake_tracker, tmp_path, capsys, monkeypatch):
    def fail(sink):
        raise SinkError("the disk is full")

    monkeypatch.setattr(JsonLinesSink, "close", fail)
    with pytest.raises(SystemExit, match="the disk is full"):
        nasion(["track", "pattern:?seconds=0.1", "--size", "64x48", "--landmarks", str(tmp_path / "faces.jsonl")])
    assert re.search(r"frames +3", capsys.readouterr().out)


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


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("libGL.so.1: cannot open shared object file: No such file or directory", "apt-get install libgl1"),
        ("libgthread-2.0.so.0: cannot open shared object file: No such file", "apt-get install libglib2.0-0"),
        ("libstrange.so.7: cannot open shared object file", "the system package that holds libstrange.so.7"),
    ],
)
def test_a_missing_system_library_is_named_with_its_remedy(message, remedy):
    text = import_remedy(ImportError(message))
    assert remedy in text
    assert "pip install opencv-python-headless" in text


def test_a_defect_of_ours_keeps_its_traceback():
    assert import_remedy(ImportError("cannot import name 'x' from 'nasion.y'", name="nasion.y")) is None
    assert import_remedy(ModuleNotFoundError("No module named 'nasion.z'", name="nasion.z")) is None


def test_a_missing_package_is_named():
    error = ModuleNotFoundError("No module named 'av.video'", name="av.video")
    assert "the package av is not installed" in import_remedy(error)


def test_an_opencv_without_its_libraries_is_explained_by_the_command(tmp_path):
    (tmp_path / "cv2.py").write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
    )
    path = os.pathsep.join([str(tmp_path), ENVIRONMENT["PYTHONPATH"]])
    done = run("track", "pattern:", env={**ENVIRONMENT, "PYTHONPATH": path})
    assert done.returncode == 1
    assert done.stderr.startswith("nasion: OpenCV needs the system library libGL.so.1")
    assert "apt-get install libgl1" in done.stderr


def test_the_demo_starts_no_work_over_files_that_exist(fake_tracker, tmp_path):
    (tmp_path / "faces.jsonl").write_text("mine")
    with pytest.raises(SystemExit, match=r"faces\.jsonl already exists; .* replace it with --force"):
        nasion(["demo", "--out", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["faces.jsonl"]


def test_the_demo_makes_a_clip_tracks_it_and_prints_the_table(tmp_path):
    done = run("demo", "--out", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == [
        "clip.mp4",
        "faces.jsonl",
        "tracked.mp4",
    ]
    assert re.search(r"identities +1\n", re.sub(" +\n", "\n", done.stdout))
    rows = [json.loads(line) for line in (tmp_path / "demo" / "faces.jsonl").read_text().splitlines()]
    assert len(rows) == 300
    assert len(rows[0]["faces"]) == 1
    again = run("demo", "--out", tmp_path / "demo")
    assert again.returncode == 1
    assert "replace it with --force" in again.stderr


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_shows_rate_and_time_left():
    stream = Terminal()
    with report.progress(SourceInfo("clip.mp4", 64, 48, frames=10), stream) as bar:
        for _ in range(10):
            bar.advance()
    assert "clip.mp4" in stream.getvalue()
    assert "10/10" in stream.getvalue()
    assert "FPS" in stream.getvalue()


def test_progress_on_a_pipe_is_a_line_now_and_then(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(report, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    with report.progress(SourceInfo("clip.mp4", 64, 48, frames=50), stream) as lines:
        for _ in range(25):
            lines.advance()
    assert stream.getvalue() == (
        "clip.mp4: 10 of 50 frames, 1.0 FPS, 40 s left\nclip.mp4: 20 of 50 frames, 1.0 FPS, 30 s left\n"
    )


def test_progress_without_a_known_length_leaves_the_time_out(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(report, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    with report.progress(SourceInfo("camera 0", 64, 48, live=True), stream) as lines:
        for _ in range(10):
            lines.advance()
    assert stream.getvalue() == "camera 0: 10 frames, 1.0 FPS\n"
