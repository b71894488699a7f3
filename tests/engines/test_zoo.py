from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from nasion.engines import zoo
from nasion.engines.errors import ModelError
from nasion.engines.select import open_runtime
from nasion.realtime.values.scheme_files import scheme_of_spec

from ..conftest import ROOT

LARGEST = {
    "face-detector": 2_000_000,
    "face-detector-int8": 600_000,
    "landmarks-68": 4_000_000,
    "landmarks-68-accurate": 7_000_000,
    "landmarks-68-int8": 1_200_000,
    "rdfn": 2_000_000,
    "chs": 2_000_000,
    "rht": 7_000_000,
    "pwc": 4_500_000,
    "sd-hrnet": 3_000_000,
}
SYSTEMS = ("rdfn", "chs", "rht", "pwc", "sd-hrnet")
ALL = ", ".join(sorted(LARGEST))


def test_these_networks_ship_and_are_small() -> None:
    assert zoo.models().keys() == LARGEST.keys()
    assert sum(zoo.models()[name].bytes for name in SYSTEMS) <= 25_000_000


@pytest.mark.parametrize("name", LARGEST)
def test_a_shipped_network_is_the_one_on_its_card(name: str) -> None:
    card = zoo.models()[name]
    card.check()
    assert card.bytes == card.path.stat().st_size <= LARGEST[name]
    with open_runtime(zoo.model_path(name), device="cpu") as runtime:
        spec, scheme = runtime.spec, scheme_of_spec(runtime.spec)
    assert (card.task, tuple(card.size), card.scheme) == (spec.task, spec.size, scheme.name if scheme else "")


@pytest.mark.parametrize("name", LARGEST)
def test_a_card_says_what_the_network_is_how_well_it_does_and_what_it_costs(name: str) -> None:
    card = zoo.models()[name]
    assert card.about
    assert card.licence
    assert card.data
    assert card.recipe["command"].startswith("nasion train ")
    assert re.fullmatch(r"AP 0\.\d{3}|NME \d\.\d\d %", card.error), "no network ships without its measured error"
    assert {"command", "date", "machine", "versions"} <= card.measured.keys()
    assert card.cost["ms"] > 0
    assert {"command", "date", "machine", "versions"} <= card.cost.keys()


@pytest.mark.parametrize("name", [name for name in LARGEST if f"{name}-int8" in LARGEST])
def test_an_int8_network_is_made_from_the_shipped_one_and_is_nearly_as_good(name: str) -> None:
    network, int8 = (zoo.models()[each] for each in (name, f"{name}-int8"))
    assert int8.recipe["quantized_from"] == network.sha256, f"nasion quantize {name} must run again"
    assert (int8.task, int8.size, int8.scheme) == (network.task, network.size, network.scheme)
    if name == "landmarks-68":
        assert abs(int8.measured["300w"]["nme_percent"] - network.measured["300w"]["nme_percent"]) <= 0.03
    else:
        worse, better = (each.measured["detector"]["own_size"]["average_precision"] for each in (int8, network))
        assert abs(worse - better) <= 0.01


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_network_of_a_paper_names_its_study_and_its_checkpoint(name: str) -> None:
    recipe = zoo.models()[name].recipe
    study = json.loads((ROOT / recipe["study"]).read_text())
    assert recipe["checkpoint"] == study["checkpoint"]["sha256"]
    assert recipe["command"] == study["command"]
    errors = [figures["io"]["helen"]["nme"] for figures in study["measured"].values()]
    assert recipe["study_nme_percent"] in [round(error, 3) for error in errors]
    assert recipe["stored"]["mean_px"] < 0.02


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


def test_an_unknown_name_lists_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=f"neither a file nor the name of a network; shipped networks: {ALL}$"):
        zoo.model_path("landmarks-69")
    monkeypatch.setenv("NASION_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match=r"; in NASION_MODELS: none$"):
        zoo.model_path("landmarks-69")
    (tmp_path / "mine.onnx").touch()
    with pytest.raises(ModelError, match=r"; in NASION_MODELS: mine$"):
        zoo.model_path("landmarks-69")


def test_a_file_of_the_user_is_taken_as_it_is(tmp_path: Path) -> None:
    mine = tmp_path / "mine.onnx"
    mine.touch()
    assert zoo.model_path(mine) == mine
    assert replace(zoo.models()["face-detector"], name="x").name == "x"


def test_models_in_the_folder_of_the_user_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASION_MODELS", str(tmp_path))
    assert zoo.own_models() == {}
    for name in ("mine.onnx", "other.pt2", "mine.json", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.onnx").mkdir()
    assert zoo.own_models() == {"mine": tmp_path / "mine.onnx", "other": tmp_path / "other.pt2"}
    assert zoo.model_path("mine") == tmp_path / "mine.onnx"
    assert zoo.model_path("landmarks-68") == zoo.models()["landmarks-68"].path


def test_no_model_of_the_user_hides_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASION_MODELS", str(tmp_path))
    (tmp_path / "rdfn.onnx").touch()
    for name in ("rdfn", "landmarks-68"):
        with pytest.raises(ModelError, match=r"rdfn\.onnx' has the name of a shipped network; rename it"):
            zoo.model_path(name)
    (tmp_path / "rdfn.onnx").rename(tmp_path / "mine.onnx")
    (tmp_path / "mine.pt2").touch()
    with pytest.raises(ModelError, match=r"mine\.pt2' and 'mine\.onnx' have the same name; rename one"):
        zoo.model_path("landmarks-68")


def test_a_missing_folder_of_models_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASION_MODELS", str(tmp_path / "none"))
    with pytest.raises(
        ModelError, match=r"NASION_MODELS='.*none' is not a folder; set it to the folder of your models"
    ):
        zoo.model_path("landmarks-68")
