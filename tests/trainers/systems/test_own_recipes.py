"""From own images to a tracked clip: every step of the tutorial, at a small size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import nasion
from nasion.engines.errors import NasionError
from nasion.engines.select import open_runtime
from nasion.engines.zoo import model_path
from nasion.realtime.sources.synthetic import CameraMotion, write_clip
from nasion.tools.main import main
from nasion.trainers.networks.encoder_decoder import EncoderDecoder, LandmarkExport
from nasion.trainers.networks.face_detector import DetectorExport, FaceDetector
from nasion.trainers.systems import Options, load_trained
from nasion.trainers.systems.own.weights import config_of, fill_network, read_weights, restore_statistics
from nasion.trainers.systems.shipped.alignment import tolerance
from nasion.trainers.systems.shipped.recipes import DETECTOR_SHIFTS

from ...support.data_sets.own import FIVE, SCHEME_5, SCHEME_20, TWENTY, write_own_coco, write_own_pts


def command(*words: str | Path) -> str | None:
    """Run a command and return the error that it ends with, if any."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code if isinstance(ended.value.code, str) else None


@pytest.mark.parametrize("name", ["landmarks-68", "landmarks-68-accurate"])
def test_the_weights_of_a_shipped_network_are_rebuilt_exactly(name: str) -> None:
    path = model_path(name)
    weights, spec = read_weights(path)
    network = EncoderDecoder(config_of(weights, spec, landmarks=68))
    assert not fill_network(network, weights, spec), "no weight is left as it was"
    torch.manual_seed(0)
    images = torch.rand(4, 3, *spec.size)
    with open_runtime(path, device="cpu") as runtime:
        expected = runtime(255 * images.numpy())
    for _ in range(2):
        with torch.no_grad():
            found = LandmarkExport(network, tolerance(spec)).eval()(images)
        for output, values in expected.items():
            np.testing.assert_allclose(found[output].numpy(), values, atol=2e-3 if output == "points" else 1e-3)
        restore_statistics(network, torch.rand(16, 3, *spec.size))  # then once more: nothing may change
    norm = network.stem[1]
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert norm.running_var is not None
    assert not torch.equal(norm.running_var, torch.ones_like(norm.running_var))


def test_the_weights_of_the_shipped_detector_are_rebuilt_exactly() -> None:
    path = model_path("face-detector")
    weights, spec = read_weights(path)
    detector = FaceDetector()
    rolls = [f"heads.{stride}.roll.{kind}" for stride in range(3) for kind in ("weight", "bias")]
    assert fill_network(detector, weights, spec) == rolls, "the roll is not exported"
    images = torch.rand(1, 3, 96, 128)
    with open_runtime(path, device="cpu") as runtime, torch.no_grad():
        expected = runtime(255 * images.numpy())
        found = DetectorExport(detector.eval(), DETECTOR_SHIFTS)(images)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name].numpy(), values, atol=2e-3)


@pytest.mark.parametrize(("points", "scheme"), [(TWENTY, SCHEME_20), (FIVE, SCHEME_5)], ids=["20", "5"])
def test_from_own_images_to_a_tracked_clip(
    points: tuple[int, ...],
    scheme: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The commands of the tutorial in docs/training.md."""
    monkeypatch.chdir(tmp_path)
    write_own_pts(tmp_path / "own", 16, points)
    write_own_pts(tmp_path / "own-test", 4, points, seed=9)
    (tmp_path / "my.toml").write_text(scheme)
    assert command("data", "check", "own", "--scheme", "my.toml") is None
    train = ("train", "landmarks", "--data", "own", "--scheme", "my.toml", "--out", "run", "--batch", "8")
    assert command(*train, "--steps", "4", "--threads", "1") is None
    for name in ("best.pt", "faces.csv", "points.csv", "worst.jpg", "error-curve.svg", "card.json", "scalars.csv"):
        assert (tmp_path / "run" / name).is_file(), name
    assert 'start = "landmarks-68"' in (tmp_path / "run/settings.toml").read_text()
    card = json.loads((tmp_path / "run/card.json").read_text())
    assert card["data"]["faces"] == 14
    assert len(card["measured"]["by_landmark"]) == len(points)
    trained = load_trained(tmp_path / "run/best.pt")
    assert trained.spec.landmarks == len(points)
    assert command("evaluate", "--model", "run", "--data", "own-test", "--report", "report", "--json", "e.json") is None
    measured = json.loads((tmp_path / "e.json").read_text())["measured"]["own"]
    assert measured["faces"] == 4
    assert measured["in_crops"]["nme_percent"] > 0
    assert (tmp_path / "report/worst.jpg").is_file()
    assert command("export", "run", "-o", "own.onnx", "--card") is None
    exported = json.loads((tmp_path / "own.json").read_text())
    assert exported["data"] == "data of the user; weights of landmarks-68 to start from"
    assert "300W" in exported["licence"]
    with open_runtime(tmp_path / "own.onnx", device="cpu") as runtime:
        assert json.loads(runtime.spec.scheme_values)["name"] == trained.spec.scheme
    write_clip(tmp_path / "clip.mp4", CameraMotion(seconds=0.3))
    tracked = (
        "track",
        "clip.mp4",
        "--model",
        "own.onnx",
        "--min-score",
        "0",
        "--landmarks",
        "faces.jsonl",
        "--out",
        "t.mp4",
    )
    assert command(*tracked) is None
    header = json.loads((tmp_path / "faces.jsonl").read_text().splitlines()[0])
    assert header["scheme_values"]["name"] == trained.spec.scheme
    frames = [faces for _, faces in nasion.read("faces.jsonl")]
    assert all(face.landmarks.shape == (len(points), 2) for faces in frames for face in faces)
    # and once more from what was trained: neither scheme nor size need be given
    assert (
        command(
            "train", "landmarks", "--data", "own", "--start", "run", "--out", "again", "--steps", "1", "--batch", "4"
        )
        is None
    )
    again = load_trained(tmp_path / "again/best.pt")
    assert again.spec.scheme == trained.spec.scheme
    assert again.spec.crop_margin == trained.spec.crop_margin
    assert (
        command(
            "train",
            "landmarks",
            "--data",
            "own",
            "--start",
            "own.onnx",
            "--out",
            "third",
            "--steps",
            "1",
            "--batch",
            "4",
        )
        is None
    )


def test_a_run_goes_on_and_other_starts_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_own_pts(tmp_path / "own", 12, FIVE)
    train = ("train", "landmarks", "--data", "own", "--out", "run", "--batch", "4", "--start", "none")
    assert command(*train, "--steps", "2") is None
    assert command(*train, "--steps", "3", "--extend") is None
    assert load_trained(tmp_path / "run/best.pt").spec.scheme == "points-5"
    assert "trained from random weights" in json.loads((tmp_path / "run/card.json").read_text())["about"]
    assert command("export", "run", "-o", "own.onnx", "--card") is None
    card = json.loads((tmp_path / "own.json").read_text())
    assert card["data"] == "data of the user; random weights to start from"
    assert card["recipe"]["command"] == "nasion train landmarks --data DATA --start none"
    assert "300W" not in card["licence"], "no weights of the shipped networks are in it"
    error = command("train", "landmarks", "--data", "own", "--out", "x", "--start", "nothing")
    assert "neither a file nor a folder of a run; allowed too: landmarks-68, accurate, none" in str(error)
    error = command("train", "landmarks", "--data", "own", "--out", "x", "--start", str(model_path("rdfn")))
    assert "is not a landmark network that can be fine-tuned" in str(error)
    error = command("train", "landmarks-68", "--data", "own", "--out", "x", "--group", "video")
    assert "recipe landmarks-68 does not take --group" in str(error)
    with pytest.raises(NasionError, match=r"val_share is .* give a number below 1"):
        Options(val_share=1.5)


def test_random_weights_may_have_the_size_of_either_shipped_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_own_pts(tmp_path / "own", 12, FIVE)
    train = ("train", "landmarks", "--data", "own", "--dry-run", "--batch", "2")
    assert command(*train, "--start", "none", "--network", "accurate") is None
    assert "input 160x160" in capsys.readouterr().out
    assert command(*train, "--start", "none") is None
    assert "input 112x112" in capsys.readouterr().out
    assert "--network is for random weights, with --start none" in str(command(*train, "--network", "accurate"))
    error = command(*train, "--start", "none", "--network", "huge")
    assert "--network 'huge' is unknown; allowed: landmarks-68, accurate" in str(error)


def test_fine_tuning_keeps_the_statistics_of_the_normalisations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_own_pts(tmp_path / "own", 12, FIVE)
    train = ("train", "landmarks", "--data", "own", "--batch", "4")
    for start, keeps in (("landmarks-68", True), ("none", False)):
        means = []
        for steps in ("0", "2"):
            assert command(*train, "--start", start, "--steps", steps, "--ema", "0", "--out", start + steps) is None
            network = load_trained(tmp_path / f"{start}{steps}/best.pt").learner
            means.append(network.get_buffer("network.stem.1.running_mean"))
        assert torch.equal(*means) == keeps, start


def test_the_detector_trains_with_own_boxes_alone_and_with_negatives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_own_coco(tmp_path / "own", 12)
    write_own_pts(tmp_path / "faceless", 1)
    train = ("train", "detector", "--data", "own", "--batch", "2", "--steps", "1")
    assert command(*train, "--out", "run") is None
    figures = load_trained(tmp_path / "run/best.pt").figures
    assert 0 <= figures["average_precision"] <= 1
    assert "false_alarms" not in figures
    assert command(*train, "--out", "second", "--negatives", "faceless", "--start", "run") is None
    assert command("export", "run", "-o", "detector.onnx") is None
    error = command(*train, "--out", "third", "--negatives", "nowhere")
    assert "--negatives 'nowhere': " in str(error)
