"""``--json`` of every command: a file beside the tables, or one JSON object in place of them."""

import json
from inspect import signature
from pathlib import Path

import cv2
import numpy as np
import pytest

from nasion.engines.tensorrt.photograph import PHOTOGRAPH
from nasion.realtime.sources.synthetic import CameraMotion, write_clip
from nasion.tools.main import main as nasion

from ...support.commands import fake_tracker, functions

__all__ = ["fake_tracker"]  # a fixture

# command -> its arguments, a key of its results, and what its tables say
CASES = {
    "track": ("track pattern:?seconds=0.2", "frames_with_a_face", "identities"),
    "live": ("live pattern:?seconds=0.2", "sources", "ended"),
    "annotate": ("annotate clip.mp4 --out out --force", "inputs", "interpolated"),
    "convert": ("convert out/clip.journal --format csv --force", "files", "clip.csv"),
    "demo": ("demo --force", "frames_with_a_face", "identities"),
    "bench": ("bench pattern:?seconds=0.2 --repeat 1 --threads 1", "results", "ms per frame"),
    "doctor": ("doctor", "findings", "Python"),
    "models": ("models", "models", "landmarks-68"),
    "networks": ("networks pwc-discriminator", "networks", "34,689"),
    "evaluate": ("evaluate negatives --data data", "measured", "faceless images"),
    "evaluate-papers": ("evaluate-papers 300w --data data --model landmarks-68", "measured", "13 of 330"),
    "data check": ("data check data --set 300w --force", "sets", "landmarks"),
    "train": ("train sd-hrnet-slim --data data --start supernet --steps 1 --batch 2", "runs", "1 steps"),
    "blinks": ("blinks faces.jsonl", "blinks", "duration s"),
    "check-recipes": ("check-recipes pwc pwc-direct --data data", "recipes", "better than the mean shape"),
    "calibrate": ("calibrate landmarks-68 --data data --out x.onnx --force", "figures", "AUC of score"),
    "quantize": ("quantize landmarks-68 images --out x.onnx --force", "bytes", "ranges from 16 images"),
    "export": ("export run --out x.onnx --force", "differences", "worst difference from torch"),
    "compile": ("compile points.onnx", "plan", "run it with"),
    "rtx": ("rtx points.onnx", "results", "tiny"),
    "head": ("head --data data --out head.json --force", "spread_mm", "120 faces; spread of the landmarks"),
    "plugins build": ("plugins build", "libraries", "skipped: no nvcc"),
    "plugins where": ("plugins where", "libraries", "reference  libnasion_reference.so"),
    "plugins bench": ("plugins bench", "results", "a table"),
}


@pytest.fixture
def prepared(request, tmp_path, monkeypatch):
    """Write the inputs of the command, and replace parts that take long or need a GPU."""
    monkeypatch.chdir(tmp_path)
    command = request.getfixturevalue("command")
    if command in ("track", "demo"):
        request.getfixturevalue("fake_tracker")
        from nasion.tools.commands import demo

        monkeypatch.setattr(demo, "_render", lambda clip: write_clip(clip, CameraMotion((128, 96), seconds=0.2)))
    elif command in ("annotate", "convert"):
        write_clip(tmp_path / "clip.mp4", CameraMotion((128, 96), seconds=0.2))
        if command == "convert":
            with pytest.raises(SystemExit):
                nasion(["annotate", "clip.mp4", "--out", "out"])
    elif command in ("evaluate", "evaluate-papers", "data check", "train"):
        from ...support.data_sets.labelled import write_data

        write_data(tmp_path / "data")
        if command == "train":
            from ...support.model_files.trained import write_checkpoint

            write_checkpoint(tmp_path / "run", "sd-hrnet-supernet").rename(tmp_path / "supernet")
    elif command == "calibrate":
        from nasion.trainers.evaluation import calibration

        from ...support.data_sets.labelled import write_data

        write_data(tmp_path / "data")
        shares = np.random.default_rng(0).uniform(0.01, 0.99, (2, 200)).astype(np.float32)
        right = shares.sum(axis=0) > 1
        monkeypatch.setattr(calibration, "crops_of", lambda *_: calibration.Crops(*shares, right, ~right))
    elif command == "blinks":
        (tmp_path / "faces.jsonl").write_text('{"format": 2}\n{"frame": 0, "time": 0.0, "faces": []}\n')
    elif command == "check-recipes":
        from nasion.trainers.systems import trials

        from ...support.data_sets.labelled import write_data

        write_data(tmp_path / "data")
        trial = trials.Trial("pwc-direct", 2, 300, 60.0, "nme", 0.1, 0.2, None, {})
        monkeypatch.setattr(trials, "run_trial", lambda *_, **__: trial)
    elif command == "quantize":
        (tmp_path / "images").mkdir()
        image = cv2.imread(str(PHOTOGRAPH))
        for k in range(16):
            cv2.imwrite(str(tmp_path / "images" / f"{k}.png"), cv2.resize(image, None, fx=0.6, fy=0.6))
    elif command == "export":
        from ...support.model_files.trained import write_checkpoint

        write_checkpoint(tmp_path / "run", "pwc")
    elif command == "head":
        pytest.importorskip("torch")
        from nasion.realtime.measures.head import generic_head
        from nasion.trainers import data
        from nasion.trainers.evaluation.measures import head

        faces = data.LandmarkSet("x", (Path("x.png"),) * 120, np.zeros((120, 68, 2), np.float32), np.zeros(120))
        monkeypatch.setattr(data, "read_aflw68", lambda folder: faces)
        monkeypatch.setattr(head, "fit_head", lambda points, yaw: generic_head())
    elif command in ("plugins build", "plugins where"):
        from nasion.engines.operators import library

        libraries, skipped = {"reference": Path("libnasion_reference.so")}, {"kernels": "no nvcc"}
        built = library.Built(tmp_path, libraries, skipped, "g++ 13", "", "", "", library.source_hash())
        monkeypatch.setattr(library, "build", lambda *_, **__: built)
        monkeypatch.setattr(library, "built", lambda: built)
    elif command == "plugins bench":
        from nasion.tools.kernels import bench

        monkeypatch.setattr(bench, "run", lambda: print("a table") or {"results": []})
    elif command in ("compile", "rtx"):
        from nasion.engines.tensorrt import rtx
        from nasion.engines.tensorrt.library import tensorrt

        from ...support.fakes import tensorrt as fake_tensorrt
        from ...support.model_files.onnx_models import landmarks

        landmarks(tmp_path / "points.onnx")
        result = rtx.RtxBuild("tiny", "x", "a" * 64, "fp32", "1 x 32 x 32", {}, 0, 9, 1.5, 2_000_000, "1.7", "")
        monkeypatch.setattr(rtx, "build_apart", lambda path, **_: result)
        if command == "compile":
            request.getfixturevalue("fake_gpu")
            fake_tensorrt.install("10.7.0", monkeypatch)
            yield
            tensorrt.cache_clear()
            return
    yield


def run(arguments, capsys):
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        nasion(arguments)
    assert not end.value.code, end.value.code
    return capsys.readouterr().out


# commands that print results and nothing else
ONLY_RESULTS = {"doctor", "models", "networks", "blinks", "plugins build", "plugins where", "plugins bench"}


def test_every_command_with_long_work_can_be_quiet():
    quiet = {name for name, function in functions() if "quiet" in signature(function).parameters}
    assert quiet == set(CASES) - ONLY_RESULTS


def test_every_command_with_the_option_has_a_case():
    assert {name for name, function in functions() if "json" in signature(function).parameters} == set(CASES)


@pytest.mark.parametrize("command", CASES)
def test_results_go_to_a_file_beside_the_tables_or_alone_to_standard_output(command, prepared, tmp_path, capsys):
    arguments, key, shown = CASES[command]
    alone = json.loads(run([*arguments.split(), "--json", "-"], capsys))
    assert isinstance(alone, dict)
    assert key in alone
    if command not in ("doctor", "plugins bench"):  # its findings say it; a stand-in
        assert alone.keys() >= {"command", "date", "machine", "versions"}
    file = tmp_path / "results.json"
    printed = run([*arguments.split(), "--json", str(file)], capsys)
    assert shown in printed
    assert f"{file} holds all figures" in printed
    assert json.loads(file.read_text()).keys() == alone.keys()
    if command not in ONLY_RESULTS:
        assert run([*arguments.split(), "--quiet"], capsys) == ""


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("doctor --json", "--json needs a value: give the name of a file, or - for standard output"),
        ("doctor --json --force", "--json '--force' is not a file; give the name of a file, or - for standard output"),
        ("doctor --json .", "is a folder"),
        ("evaluate --data x --plot y", "nasion evaluate has no option --plot; it is one of nasion evaluate-papers"),
        ("evaluate --data x --paper=pwc", "nasion evaluate has no option --paper"),
        ("track x.mp4 --detect-every 5", "'--detect-every' (frames) is --detect-interval (seconds) since nasion 0.2"),
        ("bench x.mp4 --detect-every=5", "--detect-every=45 is --detect-interval=1.5"),
    ],
)
def test_what_cannot_be_says_what_to_give(arguments, text, capsys):
    with pytest.raises(SystemExit) as end:
        nasion(arguments.split())
    assert text in str(end.value.code)


def test_the_demo_writes_its_results_over_none_of_its_other_files(fake_tracker, tmp_path):
    with pytest.raises(SystemExit, match=r"landmarks and --json are both .*faces\.jsonl"):
        nasion(["demo", "--out", str(tmp_path), "--json", str(tmp_path / "faces.jsonl")])
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_standard_output_empty(fake_tracker, capsys):
    with pytest.raises(SystemExit, match="does not exist"):
        nasion(["track", "nowhere.mp4", "--json", "-"])
    assert capsys.readouterr().out == ""


def test_no_image_of_a_folder_that_is_tracked_is_replaced(fake_tracker, tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((32, 32, 3), np.uint8))
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(SystemExit, match="is an input of this command"):
        nasion(["track", str(tmp_path), "--json", str(tmp_path / "a.png"), "--force"])
    assert (tmp_path / "a.png").read_bytes() == before
