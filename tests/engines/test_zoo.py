from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from nasion.engines import zoo
from nasion.engines.errors import ModelError
from nasion.engines.select import open_runtime

LARGEST = {"face-detector": 1_500_000, "landmarks-68": 4_000_000}


def test_the_two_networks_of_the_tracker_ship() -> None:
    assert set(LARGEST) <= zoo.models().keys()


@pytest.mark.parametrize("name", LARGEST)
def test_a_shipped_network_is_the_one_on_its_card(name: str) -> None:
    card = zoo.models()[name]
    card.check()
    assert card.bytes == card.path.stat().st_size <= LARGEST[name]
    assert card.licence
    assert card.data
    assert card.measured, "no network ships without its measured error"
    with open_runtime(zoo.model_path(name)) as runtime:
        assert runtime.spec.name == name


def test_a_damaged_network_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in zoo.FOLDER.glob("face-detector.*"):
        shutil.copy(file, tmp_path)
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    with (tmp_path / "face-detector.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ModelError, match=r"has SHA-256 .*its card says.*install nasion again"):
        zoo.model_path("face-detector")
    (tmp_path / "face-detector.onnx").unlink()
    with pytest.raises(ModelError, match="is missing; install nasion again"):
        zoo.model_path("face-detector")


def test_an_unknown_name_lists_what_ships() -> None:
    with pytest.raises(ModelError, match="neither a file nor shipped; shipped are: face-detector, landmarks-68"):
        zoo.model_path("landmarks-69")


def test_a_file_of_the_user_is_taken_as_it_is(tmp_path: Path) -> None:
    mine = tmp_path / "mine.onnx"
    mine.touch()
    assert zoo.model_path(mine) == mine
    assert replace(zoo.models()["face-detector"], name="x").name == "x"
