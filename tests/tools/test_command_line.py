"""The command line: version, help, errors in one line, and what to install where something is missing."""

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import fields

import pytest

from nasion.realtime.tracking import tracker
from nasion.realtime.tracking.options import TrackerOptions
from nasion.tools.dependencies import DEPENDENCIES, unsupported
from nasion.tools.error_messages import import_remedy
from nasion.tools.main import main as nasion
from nasion.tools.options import descriptions

from ..conftest import ROOT
from ..support.commands import ENVIRONMENT, FakeTracker, run

COMMANDS = (
    "track", "live", "demo", "bench", "doctor", "train", "evaluate", "evaluate-papers", "networks", "models",
    "calibrate", "quantize", "export", "compile", "rtx",
)  # fmt: skip
GROUPS = {"data": ("check",), "plugins": ("bench", "build")}  # commands of theirs that have options
WIDE = {**ENVIRONMENT, "COLUMNS": "2000"}  # no option of a help is wrapped
HEAVY = ("cv2", "av", "torch", "onnxruntime", "onnx")


# --- version and help


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
    for command in (*COMMANDS, *GROUPS):
        assert re.search(rf"^\W*{command} +[A-Z]", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    "command", [*COMMANDS, *(f"{group} {each}" for group, parts in GROUPS.items() for each in parts)]
)
def test_the_help_of_a_command_explains_every_option_and_loads_nothing_heavy(command):
    script = (
        "import sys\n"
        "from nasion.tools.main import main\n"
        f"try: main([*{command.split()!r}, '--help'])\n"
        "except SystemExit: pass\n"
        f"print('loaded', [name for name in {HEAVY} if name in sys.modules])\n"
    )
    done = run(script=script, env=WIDE)
    assert "loaded []" in done.stdout, done.stderr
    options = options_of(done.stdout)
    assert "--json" in options or command == "plugins build"
    for name, text in options.items():
        assert len(text.split()) > 1, (name, text)
        assert re.search("[Dd]efault|required", text), (name, text)


@pytest.mark.parametrize("command", ["track", "bench"])
def test_the_help_has_every_option_of_the_tracker_with_its_description_and_default(command):
    options, described = options_of(run(command, "--help", env=WIDE).stdout), descriptions(TrackerOptions)
    for field in fields(TrackerOptions):
        text = options[f"--{field.name.replace('_', '-')}"]
        assert described[field.name] in text
        shown = "none" if field.default == () else field.default
        assert shown is None or f"[default: {shown}]" in text


def options_of(printed):
    """The text of each option in a help that is wide enough for one line each, whatever surrounds it."""
    lines = re.findall(r"^[^\w-]*(?:[A-Z][\w-]* )?(--[a-z][\w-]*)(.*)$", printed, re.MULTILINE)
    return {name: text.strip(" │") for name, text in lines if name not in ("--help", "--version")}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_a_shell_knows_commands_and_options(shell, tmp_path):
    done = run("--install-completion", "--shell", shell, env={**ENVIRONMENT, "HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    texts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert any("evaluate-papers" in text and "detect-interval" in text for text in texts)


def test_options_of_the_command_line_reach_the_tracker(monkeypatch):
    made = []
    monkeypatch.setattr(tracker, "Tracker", lambda options: made.append(options) or FakeTracker())
    values = {"model": "m.onnx", "detector": "d.onnx", "runtime": "onnx", "device": "cpu", "detect_interval": 0.5}
    values |= {"detect_size": 320, "max_faces": 2, "smooth": "strong", "threads": 2, "keep": 3.0, "min_score": 0.3}
    values |= {"measures": ("pose", "mouth"), "focal_length": 700.0}
    assert values.keys() == {field.name for field in fields(TrackerOptions)}
    texts = {name: ",".join(value) if isinstance(value, tuple) else str(value) for name, value in values.items()}
    words = [word for name, text in texts.items() for word in (f"--{name.replace('_', '-')}", text)]
    for given in ([], words):
        with pytest.raises(SystemExit):
            nasion(["track", "pattern:?seconds=0.1", "--size", "64x48", *given])
    assert made == [TrackerOptions(), TrackerOptions(**values)]


# --- errors


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["track", "nowhere.mp4"], "'nowhere.mp4' does not exist"),
        (["track", "pattern:", "--out", f"{__file__}/x.mp4"], "is not a folder"),
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


def test_an_error_the_user_can_fix_is_one_message_without_a_traceback():
    done = run("track", "nowhere.mp4")
    assert done.returncode == 1
    assert done.stderr.startswith("nasion: 'nowhere.mp4' does not exist; give a video file")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["trak"], "Unknown command"),
        (["track", "x", "--start", "soon"], "'soon' is not a time"),
        (["track", "x", "--size", "big"], "'big' is not a size"),
        (["track", "x", "--smooth", "much"], "strong"),
        (["track"], "source"),
    ],
)
def test_a_wrong_command_line_is_explained(arguments, text, capsys):
    with pytest.raises(SystemExit) as end:
        nasion(arguments)
    assert end.value.code not in (0, 130)
    assert text.lower() in capsys.readouterr().err.lower()


# --- what is not installed


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


@pytest.mark.parametrize("version", ["16.1.0", "17.0.1", "20.0.0rc1", "123"])
@pytest.mark.parametrize("command", [*(name for name in COMMANDS if name != "doctor"), *GROUPS])
def test_a_dependency_that_is_too_old_or_too_new_is_named_by_every_command(command, version, tmp_path, monkeypatch):
    install(tmp_path, "av", version, monkeypatch)
    with pytest.raises(SystemExit) as end:
        nasion([command])
    allowed = "av>=17.1,<20"
    assert end.value.code == f"nasion: av {version} is installed; supported: {allowed}; pip install '{allowed}'"


@pytest.mark.parametrize("version", ["17.1", "17.1.0", "18.1.0", "19.0.2", "19.9.9.dev3"])
def test_a_supported_version_is_let_pass(version, tmp_path, monkeypatch):
    install(tmp_path, "av", version, monkeypatch)
    assert unsupported("av") is None


def install(folder, name, version, monkeypatch):
    """Pretend that this version of a package is installed."""
    (folder / f"{name}-{version}.dist-info").mkdir()
    (folder / f"{name}-{version}.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(folder))


def test_the_supported_versions_are_those_that_pip_installs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == [f"{each.distributions[0]}>={each.least},<{each.below}" for each in DEPENDENCIES]


def test_python_m_nasion_is_the_command():
    command = [sys.executable, "-m", "nasion", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert re.fullmatch(r"nasion \d+\.\d+\.\d+\n", done.stdout)


def test_a_missing_package_is_named():
    error = ModuleNotFoundError("No module named 'av.video'", name="av.video")
    assert "the package av is not installed" in import_remedy(error)


@pytest.mark.parametrize(("package", "extra"), [("torch", "train"), ("h5py", "train"), ("pyarrow", "parquet")])
def test_a_missing_package_of_an_extra_is_named_with_the_extra(package, extra):
    error = ModuleNotFoundError(f"No module named '{package}'", name=package)
    remedy = f"install the extra {extra}: pip install 'nasion[{extra}]', or in a checkout pip install '.[{extra}]'"
    assert import_remedy(error) == f"the package {package} is not installed; {remedy}"


def test_an_opencv_without_its_libraries_is_explained_by_the_command(tmp_path):
    (tmp_path / "cv2.py").write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
    )
    path = os.pathsep.join([str(tmp_path), ENVIRONMENT["PYTHONPATH"]])
    done = run("track", "pattern:", env={**ENVIRONMENT, "PYTHONPATH": path})
    assert done.returncode == 1
    assert done.stderr.startswith("nasion: OpenCV needs the system library libGL.so.1")
    assert "apt-get install libgl1" in done.stderr
