"""Errors that the user can fix come as one line: those of the system, of streams and terminals, and of names."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from nasion.engines.errors import ModelError, SourceError
from nasion.engines.select import open_runtime
from nasion.engines.zoo import model_path
from nasion.realtime import sources
from nasion.realtime.sources import cameras, open_source
from nasion.tools.error_messages import import_remedy
from nasion.tools.main import explanation
from nasion.tools.main import main as nasion

from ..support.commands import ENVIRONMENT, run

LONG = "a" * 300
POSIX = pytest.mark.skipif(os.name != "posix", reason="shells and permissions of POSIX")


def shell(command, **variables):
    """A command line in which {nasion} is the command; status and what it printed on stderr and stdout."""
    words = f'"{sys.executable}" -m nasion.tools.main'
    done = subprocess.run(
        ["bash", "-c", command.replace("{nasion}", words)],
        capture_output=True, timeout=120, env={**ENVIRONMENT, **variables}, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr.decode(), done.stdout


def one_line(command):
    with pytest.raises(SystemExit) as end:
        nasion(command)
    text = str(end.value.code)
    assert text.startswith("nasion: "), text
    assert "\n" not in text
    return text


# --- names and rights


@POSIX
@pytest.mark.parametrize(
    "command",
    [
        f"track {LONG}.mp4", f"track pattern: --model {LONG}", f"track pattern: --out {LONG}.mp4", f"demo --out {LONG}",
        f"bench {LONG}", f"bench pattern: --json {LONG}", f"export {LONG} --out x.onnx",
        f"export {LONG}.pt --out x.onnx",
        f"export landmarks-68 --out {LONG}.onnx", f"evaluate --data {LONG}", f"evaluate --data x --json {LONG}",
        f"train landmarks-68 --data {LONG}", f"train landmarks-68 --data x --out {LONG}", f"data check {LONG}",
        f"compile {LONG}", f"rtx {LONG}", f"plugins build --out {LONG}",
    ],
)  # fmt: skip
def test_a_name_that_is_too_long_is_said_to_be(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "File name too long; give a shorter name" in one_line(command.split())
    assert list(tmp_path.iterdir()) == []


def _without_root():
    """Return the prefix of a command that makes access rights count for root, too; None if there is none."""
    if os.geteuid() != 0:
        return []
    found = shutil.which("setpriv")
    return found and [found, "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]


@POSIX
@pytest.mark.parametrize(
    "command",
    [
        "track locked/x.mp4", "track pattern: --out locked/x.mp4", "demo --out locked", "bench locked/x.mp4",
        "track pattern: --model locked/x.onnx", "export locked/x.pt --out x.onnx", "evaluate --data locked",
        "train landmarks-68 --data x --out locked/run", "data check locked --out x.jpg",
        "annotate pattern: --out locked/out", "annotate locked/x.mp4 --out out",
    ],
)  # fmt: skip
def test_a_folder_that_may_not_be_searched_is_named(command, tmp_path):
    before = _without_root()
    if before is None:
        pytest.skip("root may search every folder, and there is no setpriv to give that up")
    (tmp_path / "locked").mkdir(mode=0)
    words = [*before, sys.executable, "-m", "nasion.tools.main", *command.split()]
    done = subprocess.run(words, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    (tmp_path / "locked").chmod(0o700)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "locked" in done.stderr
    assert "Permission denied; change its permissions" in done.stderr


@POSIX
@pytest.mark.parametrize("command", ["annotate pattern: --out locked", "annotate pattern: --out locked/deeper"])
def test_a_folder_that_may_not_be_written_is_named(command, tmp_path):
    before = _without_root()
    if before is None:
        pytest.skip("root may write into every folder, and there is no setpriv to give that up")
    (tmp_path / "locked").mkdir(mode=0o555)
    words = [*before, sys.executable, "-m", "nasion.tools.main", *command.split()]
    done = subprocess.run(words, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    folder = command.split()[-1]
    assert done.stderr.startswith(f"nasion: cannot write {folder!r}: Permission denied; change its permissions")
    assert list((tmp_path / "locked").iterdir()) == []


@POSIX
def test_python_gets_the_same_as_errors_of_ours():
    with pytest.raises(SourceError, match="File name too long"):
        open_source(LONG)
    for opened in (open_runtime, model_path):
        with pytest.raises(ModelError, match="File name too long"):
            opened(LONG)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x"), "'x': No space left on device; free some space"),
        (PermissionError(errno.EACCES, "Permission denied", b"x"), "'x': Permission denied; change its permissions"),
        (MemoryError(), "there is not enough memory; close other programs"),
        (RuntimeError("can't start new thread"), "there is not enough memory (can't start new thread)"),
        (ImportError("libx.so: failed to map segment from shared object"), "there is not enough memory (libx.so"),
        (RuntimeError("std::bad_alloc"), "ulimit -v"),
        (ValueError("something else"), None),
    ],
)
def test_errors_of_the_system_are_explained(error, text):
    found = explanation(error)
    assert found is None if text is None else text in found


# --- room and memory


@POSIX
@pytest.mark.parametrize("command", ["demo --out {}", "export landmarks-68 --out {}/x.onnx"])
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(command, tmp_path):
    status, errors, _ = shell(f"ulimit -f 20; {{nasion}} {command.replace('{}', str(tmp_path))}")
    assert status == 1
    assert f"nasion: cannot write '{tmp_path}" in errors.splitlines()[-1]
    assert "File too large; raise the limit" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


@POSIX
@pytest.mark.parametrize("output", ["--out x.mp4", "--out x.mkv", "--landmarks x.jsonl", "--landmarks x.csv"])
def test_a_full_disk_leaves_no_empty_file_behind_unless_it_was_there_before(output, tmp_path):
    command = f"cd '{tmp_path}'; ulimit -f 0; {{nasion}} track pattern:?seconds=0.2 --size 64x48 {output}"
    status, errors, _ = shell(command)
    assert status == 1, errors
    assert "File too large" in errors
    assert list(tmp_path.iterdir()) == []
    path = tmp_path / output.split()[1]
    path.touch()
    status, errors, _ = shell(f"{command} --force")
    assert status == 1, errors
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on the address space, which other systems do not keep")
@pytest.mark.parametrize("size", [300_000, 500_000, 600_000, 700_000])
def test_a_low_limit_on_memory_is_one_line_about_memory(size):
    status, errors, _ = shell(f"ulimit -v {size}; {{nasion}} track pattern:?seconds=0.1")
    if status:
        assert status == 1, errors
        assert errors.splitlines()[-1].startswith("nasion: there is not enough memory")
        assert "ulimit -v" in errors
        assert "download it again" not in errors


def test_a_model_is_not_blamed_for_a_lack_of_memory(monkeypatch):
    from nasion.engines import onnx_runtime

    def full(*_, **__):
        raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : Load model failed:std::bad_alloc")

    monkeypatch.setattr(onnx_runtime._ort, "InferenceSession", full)
    assert "there is not enough memory (ONNX Runtime: " in one_line(["track", "pattern:"])


def test_a_training_without_room_is_one_line_and_keeps_its_last_checkpoint(tmp_path, monkeypatch):
    from nasion.engines.errors import SinkError
    from nasion.trainers import checkpoint

    path = tmp_path / "latest.pt"
    checkpoint.save({"average": {}, "description": {}, "step": 1, "figures": {}}, path)

    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "write_bytes", full)
    with pytest.raises(SinkError, match="No space left on device; free some space"):
        checkpoint.save({"average": {}, "description": {}, "step": 2, "figures": {}}, path)
    assert checkpoint.load(path)["step"] == 1
    assert [each.name for each in tmp_path.iterdir()] == ["latest.pt"]


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v counts on Linux")
def test_too_little_memory_is_said_to_be_that(tmp_path):
    status, errors, _ = shell("ulimit -v 400000; {nasion} track pattern:?seconds=0.1")
    assert status == 1
    assert "Traceback" not in errors
    assert "nasion: there is not enough memory" in errors.splitlines()[-1]
    assert "raise the limit on it (ulimit -v)" in errors.splitlines()[-1]


# --- streams


@POSIX
@pytest.mark.parametrize("command", ["networks", "doctor", "doctor --json -", "--help", "track --help"])
def test_a_reader_that_has_gone_ends_a_command_in_silence(command):
    reading, writing = os.pipe()
    os.close(reading)  # before the command starts: `| true` may end later than a quick command
    try:
        done = subprocess.run(
            [sys.executable, "-m", "nasion.tools.main", *command.split()],
            stdout=writing, stderr=subprocess.PIPE, timeout=120, env=ENVIRONMENT, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@POSIX
@pytest.mark.parametrize("command", ["doctor", "networks", "doctor --json -"])
def test_a_full_output_is_one_line(command):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system to play the full disk")
    status, errors, _ = shell(f"{{nasion}} {command} > /dev/full")
    assert status == 1
    assert (
        errors
        == "nasion: the output cannot be written: No space left on device; free some space, or give another path\n"
    )


@POSIX
@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_a_closed_stream_leads_nowhere_and_never_into_a_file(closed, tmp_path):
    faces = tmp_path / "faces.jsonl"
    status, _, _ = shell(f"{{nasion}} track pattern:?seconds=0.2 --landmarks {faces} {closed}")
    assert status == 0
    assert [json.loads(line)["frame"] for line in faces.read_text().splitlines()[1:]] == list(range(6))
    assert shell("{nasion} track nowhere.mp4 2>&-")[0] == 1


@POSIX
@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_the_doctor_speaks_every_encoding(encoding):
    status, errors, printed = shell("{nasion} doctor", PYTHONIOENCODING=encoding)
    assert (status, errors) == (0, "")
    assert "-> for" in printed.decode(encoding)


def test_a_name_that_the_output_cannot_hold_is_written_as_far_as_it_can(tmp_path):
    done = run("track", tmp_path / "é→.mp4", env={**ENVIRONMENT, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 1
    assert "?->.mp4' does not exist" in done.stderr


@POSIX
def test_brackets_in_a_name_are_shown_on_a_terminal(tmp_path):
    import pty

    name = "b[bold]c[::1].png"
    cv2.imwrite(str(tmp_path / name), np.zeros((32, 32, 3), np.uint8))
    primary, secondary = pty.openpty()
    command = [sys.executable, "-m", "nasion.tools.main", "track", name]
    process = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=secondary)
    os.close(secondary)
    seen = b""
    while True:
        try:
            part = os.read(primary, 4096)
        except OSError:  # as Linux says that the other side is closed
            break
        if not part:
            break
        seen += part
    os.close(primary)
    assert process.wait(60) == 0
    assert name.encode() in seen


def test_brackets_in_what_the_doctor_finds_are_shown(capsys):
    from nasion.tools.commands import doctor

    doctor._print_table([doctor.Finding("x", "[a]", "ok", "C:\\[bold]\\", "see [/b]")])
    printed = capsys.readouterr().out
    for text in ("[a]", "C:\\[bold]\\", "see [/b]"):
        assert text in printed


# --- cameras and numbers


def test_a_camera_that_cannot_be_is_refused():
    for number in ("99999999999999999999", "9" * 3000, "1048576"):
        with pytest.raises(SourceError, match=f"camera {number} does not exist; cameras count from 0 to 1048575"):
            open_source(number)
    with pytest.raises(SourceError, match="does not exist"):
        open_source("1" + "0" * 5000)


@pytest.fixture
def camera(monkeypatch):
    """The number of the camera that was opened last."""
    opened = []
    monkeypatch.setattr(sources, "open_camera", lambda number, *_, **__: opened.append(number))
    return opened


def test_a_camera_is_known_by_its_device(camera, tmp_path, monkeypatch):
    for source in ("0", 0, "/dev/video0", Path("/dev/video0")):
        open_source(source)
    open_source("/dev/video12")
    assert camera == [0, 0, 0, 0, 12]
    monkeypatch.setattr(cameras.os.path, "realpath", lambda path: "/dev/video3")
    open_source("/dev/v4l/by-id/usb-cam")
    assert camera[-1] == 3


def test_a_file_whose_name_is_a_number_is_pointed_at(camera, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    open_source("2024")
    assert caplog.text == ""
    (tmp_path / "2024").touch()
    open_source("2024")
    assert "for the file of that name give ./2024" in caplog.text
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=r"camera 2024 cannot be opened; .*; for the file of that name give \./2024"):
        open_source("2024")
    with pytest.raises(SourceError, match="2024: the file is empty"):
        open_source("./2024")


@pytest.mark.parametrize(
    "command",
    [
        "track pattern: --threads 99999999999999999999", "track pattern: --max-faces 99999999999999999999",
        "train landmarks-68 --data x --seed -1", "train landmarks-68 --data x --seed 99999999999999999999",
        "train landmarks-68 --data x --workers 99999", "train landmarks-68 --data x --threads 99999999999999999999",
    ],
)  # fmt: skip
def test_a_number_that_no_machine_can_count_to_is_refused(command):
    assert "give a whole number from" in one_line(command.split())


# --- packages that do not load


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ImportError("libxcb.so.1: cannot open shared object file", name="cv2"), "OpenCV .*apt-get install libxcb1"),
        (ImportError("libavcodec-c4204469.so.62.28: cannot open shared object file", name="cv2"),
         "OpenCV lacks its own library libavcodec-c4204469.so.62.28; pip install --force-reinstall opencv-python"),
        (ImportError("libcudart.so.12: cannot open shared object file", name="torch"), "the package torch needs"),
        (ImportError("Error loading shared library libGL.so.1: No such file", name="cv2"), "apt-get install libgl1"),
        (ImportError("DLL load failed while importing cv2: not found", name="cv2"),
         "the package cv2 cannot be loaded .DLL load failed.*pip install --force-reinstall opencv-python"),
    ],
)  # fmt: skip
def test_a_package_that_cannot_be_loaded_is_named_with_its_remedy(error, text):
    import re

    assert re.search(text, import_remedy(error) or "")
