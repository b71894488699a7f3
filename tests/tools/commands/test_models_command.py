"""``nasion models``, and networks of the user by name in the other commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import nasion
from nasion.engines import zoo
from nasion.engines.errors import NasionError
from nasion.tools.commands.models import models
from nasion.tools.main import main

from ...support.model_files.onnx_models import landmarks


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a user with a landmark network ``mine`` and a file that is not a network."""
    folder = tmp_path / "models"
    folder.mkdir()
    landmarks(folder / "mine.onnx")
    (folder / "broken.onnx").write_bytes(b"no model")
    monkeypatch.setenv("NASION_MODELS", str(folder))
    return folder


def test_the_table_has_a_row_for_every_shipped_network(capsys: pytest.CaptureFixture[str]) -> None:
    models()
    printed = capsys.readouterr().out
    rows = {line.split()[0]: line for line in printed.splitlines() if line}
    for name, card in zoo.models().items():
        for text in (card.task, "x".join(map(str, card.size)), card.scheme, card.error, f"{card.cost['ms']:.1f} ms"):
            assert text in rows[name]
        assert card.licence in printed


def test_models_of_the_user_come_with_their_place(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models()
    lines = capsys.readouterr().out.splitlines()
    (at,) = (i for i, line in enumerate(lines) if line.startswith("mine "))
    assert "landmarks" in lines[at]
    assert lines[at + 1].strip() == str(own / "mine.onnx")
    (at,) = (i for i, line in enumerate(lines) if line.startswith("broken "))
    assert "not readable" in lines[at]
    assert "ONNX Runtime cannot load it" in lines[at + 1]


def test_the_list_as_json_has_the_whole_cards(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["models", "--json", "-"])
    printed = json.loads(capsys.readouterr().out)
    models(json=tmp_path / "models.json")
    assert json.loads((tmp_path / "models.json").read_text())["models"] == printed["models"]
    found = {each["name"]: each for each in printed["models"]}
    assert found.keys() == {*zoo.models(), "mine", "broken"}
    for name, card in zoo.models().items():
        assert found[name]["sha256"] == card.sha256
        assert found[name]["measured"] == card.measured
    assert found["mine"]["place"] == str(own / "mine.onnx")
    assert found["broken"]["problem"]
    with pytest.raises(NasionError, match="already exists"):
        models(json=tmp_path / "models.json")


def test_a_model_of_the_user_is_named_wherever_a_network_is(own: Path, tmp_path: Path) -> None:
    with nasion.Tracker(model="mine", device="cpu") as tracker:
        image = np.zeros((64, 64, 3), np.uint8)
        assert tracker.update(nasion.Frame(image=image, time=0.0, index=0)) == []
    with pytest.raises(SystemExit) as end:
        main(
            [
                "track",
                "pattern:",
                "--end",
                "0.1",
                "--model",
                "mine",
                "--device",
                "cpu",
                "--landmarks",
                f"{tmp_path}/x.csv",
            ]
        )
    assert not end.value.code
    (own / "finder.onnx").write_bytes(zoo.models()["face-detector"].path.read_bytes())
    with nasion.Tracker(detector="finder", device="cpu"):
        pass


@pytest.mark.parametrize("option", ["--model", "--detector"])
def test_an_unknown_name_is_one_line_with_the_names_there_are(own: Path, option: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(["track", "pattern:", option, "nothing", "--landmarks", "x.csv"])
    assert str(end.value.code).startswith(
        "nasion: model 'nothing' is neither a file nor the name of a network; shipped networks: chs, "
    )
    assert str(end.value.code).endswith("in NASION_MODELS: broken, mine")


def test_a_file_that_is_not_a_model_is_one_line(own: Path) -> None:
    with pytest.raises(SystemExit) as end:
        main(["track", "pattern:", "--model", "broken", "--device", "cpu", "--landmarks", "x.csv"])
    assert "broken.onnx: ONNX Runtime cannot load it" in str(end.value.code)
    assert "\n" not in str(end.value.code)
