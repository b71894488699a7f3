"""Options of a training: learning rate, warm-up, patience, a file of settings, a dry run and a preview."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from nasion.engines.errors import NasionError
from nasion.tools.main import main
from nasion.trainers.training.loop import Optimiser, Schedule
from nasion.trainers.training.record import read_record
from nasion.trainers.training.settings import adjusted

from ...support.data_sets.labelled import write_data
from ...support.data_sets.own import FIVE, SCHEME_5, write_own_coco, write_own_pts

TWO_OBJECTIVES = Schedule(
    100, 4, (Optimiser(learning_rate=0.1, warmup=300), Optimiser(learning_rate=0.02, objective="b"))
)


def command(*words: str | Path) -> str | None:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code if isinstance(ended.value.code, str) else None


def test_a_warm_up_fits_the_run_and_rates_keep_their_proportion() -> None:
    changed = adjusted(TWO_OBJECTIVES, lr=0.05)
    assert [each.warmup for each in changed.optimisers] == [10, 0]
    assert [each.learning_rate for each in changed.optimisers] == pytest.approx([0.05, 0.01])
    assert adjusted(replace(TWO_OBJECTIVES, steps=2000)).optimisers[0].warmup == 300
    assert [each.warmup for each in adjusted(TWO_OBJECTIVES, warmup=7).optimisers] == [7, 7]
    assert adjusted(TWO_OBJECTIVES, validate_every=5, patience=2, ema=0.5).patience == 2
    for wrong in ({"lr": -1.0}, {"ema": 1.0}, {"warmup": -1}, {"patience": 0}, {"validate_every": 0}):
        with pytest.raises(NasionError, match="give a number"):
            adjusted(TWO_OBJECTIVES, **wrong)  # type: ignore[arg-type]


def test_options_reach_the_run_and_a_file_repeats_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_own_pts(tmp_path / "own", 12, FIVE)
    (tmp_path / "my.toml").write_text(SCHEME_5)
    train = (
        "train",
        "landmarks",
        "--data",
        "own",
        "--scheme",
        "my.toml",
        "--out",
        "run",
        "--batch",
        "4",
        "--steps",
        "6",
    )
    options = ("--lr", "0.0001", "--validate-every", "2", "--patience", "9", "--ema", "0.5", "--warmup", "3")
    assert command(*train, *options) is None
    start, *reports = read_record(tmp_path / "run/record.jsonl")
    assert start["schedule"]["optimisers"][0]["learning_rate"] == 0.0001
    assert start["schedule"]["optimisers"][0]["warmup"] == 3
    assert (start["schedule"]["ema"], start["schedule"]["patience"]) == (0.5, 9)
    assert [each["step"] for each in reports if each["kind"] == "validate"] == [2, 4, 6]
    saved = tomllib.loads((tmp_path / "run/settings.toml").read_text())
    assert saved["lr"] == 0.0001
    assert saved["schedule"]["optimisers"][0]["warmup"] == 3
    assert command("train", "--config", "run/settings.toml", "--out", "again") is None
    again = read_record(tmp_path / "again/record.jsonl")[0]
    assert again["schedule"] == start["schedule"]
    (tmp_path / "bad.toml").write_text("colour = 1\n")
    assert "option 'colour' is unknown; allowed: " in str(command("train", "landmarks", "--config", "bad.toml"))
    assert "cannot be read" in str(command("train", "landmarks", "--config", "none.toml"))


def test_a_dry_run_and_a_preview_train_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_own_pts(tmp_path / "own", 12, FIVE)
    write_own_coco(tmp_path / "boxes", 12)
    data = write_data(tmp_path / "data")
    train = ("train", "landmarks", "--data", "own", "--batch", "4", "--steps", "6")
    assert command(*train, "--dry-run") is None
    told = capsys.readouterr().out
    assert "6 steps of 4 samples" in told
    assert "losses of the first batch: points " in told
    assert command(*train, "--preview", "p.jpg") is None
    assert command("train", "detector", "--data", "boxes", "--preview", "boxes.png") is None
    assert command("train", "pwc", "--data", data, "--minutes", "1", "--preview", "crops.jpg") is None
    for name in ("p.jpg", "boxes.png", "crops.jpg"):
        image = cv2.imread(name)
        assert image is not None
        assert image.std() > 10
    assert not (tmp_path / "runs").exists()
