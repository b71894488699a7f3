from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nasion.engines.errors import NasionError, SinkError
from nasion.engines.select import open_runtime
from nasion.engines.spec import METADATA_KEY
from nasion.tools.commands.export import export
from nasion.trainers import checkpoint as files
from nasion.trainers.data.augment import Augmentation
from nasion.trainers.export.files import absorb_std, example, photographs, worst_difference, write_model
from nasion.trainers.networks.backbones import resnet
from nasion.trainers.networks.operators import as_nodes, location_reweight
from nasion.trainers.systems import all_recipes
from nasion.trainers.training import recipes
from nasion.trainers.training.loop import Schedule
from nasion.trainers.training.recipes import Options, Recipe, prepare_faces

from ...conftest import ROOT
from ...support.data_sets.labelled import write_data
from ...support.training.pointers import Pointer

POINTER = Recipe(
    "pointer",
    "points somewhere",
    lambda options: Pointer(landmarks=options.landmarks, size=options.size or 32),
    prepare_faces(Augmentation()),
    "nme",
    Schedule(steps=1, batch=1),
    "none",
)


def written(path: Path, recipe: Recipe, options: Options) -> Path:
    """A checkpoint of a recipe that learned nothing, as nasion train leaves it."""
    torch.manual_seed(1)
    learner = recipe.build(options)
    description = recipe.described(options) | {"structure": learner.structure()}
    saved = {"average": files.kept(learner), "description": description, "step": 7, "figures": {"nme": 0.5}}
    files.save(saved, path)
    return path


def differences(printed: str) -> list[float]:
    return [
        float(line.partition("from torch ")[2].split()[0])
        for line in printed.splitlines()
        if "worst difference" in line
    ]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("run") / "best.pt", all_recipes()["landmarks-68"], Options())


def test_a_checkpoint_becomes_a_file_that_agrees_with_torch(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "landmarks.onnx"
    export(checkpoint, out=out, card=True)
    found = differences(capsys.readouterr().out)
    assert len(found) == 2 * 3, "three outputs, on random and on real crops"
    assert max(found) < 1e-3
    spec = recipes.load_trained(checkpoint).spec
    with open_runtime(out) as runtime:
        assert runtime.spec == replace(spec, std=(1.0, 1.0, 1.0))
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert card["bytes"] == out.stat().st_size <= 4_000_000
    assert "research" in card["licence"]
    assert card["recipe"]["parameters"] > 100_000
    assert (card["name"], card["task"], card["size"], card["scheme"]) == (
        "landmarks",
        "landmarks",
        [112, 112],
        "ibug-68",
    )
    assert card["about"].startswith("landmarks-68: ")
    assert (card["measured"], card["cost"]) == ({}, {}), "these are other commands' to measure"
    figures = {"measured": {"300w": {"nme_percent": 3.0}}, "cost": {"ms": 1.0}, "about": "the default network"}
    out.with_suffix(".json").write_text(json.dumps(card | figures))
    export(checkpoint, out=out, card=True, force=True)
    again = json.loads(out.with_suffix(".json").read_text())
    assert {name: again[name] for name in figures} == figures, "the same file keeps its figures"


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_any_learner_is_exported_with_its_own_outputs_and_options(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = all_recipes()
    monkeypatch.setattr(recipes, "all_recipes", lambda: known | {"pointer": POINTER})
    out = tmp_path / f"pointer{suffix}"
    export(written(tmp_path / "best.pt", POINTER, Options(set="wflw", size=48)), out=out, card=True)
    found = differences(capsys.readouterr().out)
    assert len(found) == 2 * 2, "points and confidence, no presence; on random and on real crops"
    assert max(found) < 1e-3
    with open_runtime(out) as runtime:
        assert (runtime.spec.landmarks, runtime.spec.size) == (98, (48, 48))
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["recipe"]["command"] == "nasion train pointer --data DATA --set wflw --size 48"
    assert card["data"].startswith("wflw, its training part")
    assert card["recipe"]["validation"] == {"nme": 0.5}


def test_normalisation_with_a_mean_stays_in_the_file(tmp_path: Path) -> None:
    learner = Pointer().eval()
    learner.spec = replace(learner.spec, mean=(100.0, 110.0, 120.0), std=(50.0, 60.0, 70.0))
    write_model(learner, learner.spec, tmp_path / "x.onnx")
    with open_runtime(tmp_path / "x.onnx") as runtime:
        assert runtime.spec == learner.spec
    found = worst_difference(learner, learner.spec, tmp_path / "x.onnx", example(learner.spec, batch=3))
    assert max(found.values()) < 1e-3


def test_the_division_by_255_moves_into_the_first_convolution_only_where_that_is_the_only_way_in() -> None:
    class Twice(Pointer):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            out = super().forward(images)
            return out | {"points": out["points"] + images.mean()}

    plain, twice = Pointer().eval(), Twice().eval()
    assert absorb_std(plain, plain.spec)[1].std == (1.0, 1.0, 1.0)
    network, spec = absorb_std(twice, twice.spec)
    assert network is twice
    assert spec == twice.spec


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bottleneck a group of ResNet-50 instead of 3, 4 and 6: quicker to export."""
    monkeypatch.setattr(resnet, "BLOCKS", (1, 1, 1, 1))


@pytest.mark.usefixtures("shallow")
def test_the_head_of_an_untrained_network_is_exported_by_the_name_of_its_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "head.pt2"
    export("rdfn", out=out, head=True, size=64, width=1 / 16, set_="wflw")
    printed = capsys.readouterr().out
    assert "fp32, landmarks, input 64x64" in printed
    assert max(differences(printed)) < 1e-6, "torch runs what torch traced"
    with open_runtime(out) as runtime:
        spec = runtime.spec
        assert (spec.task, spec.name, spec.landmarks, spec.stride) == ("landmarks", "rdfn-head", 98, 1)
        assert runtime(example(spec, batch=1).numpy())["points"].shape == (1, 98, 2)
    program = torch.export.load(out)
    assert not [node for node in program.graph.nodes if "nasion" in str(node.target)], "it needs no operator of ours"
    assert not [name for name in program.state_dict if "detector" in name]


def test_only_whole_networks_have_a_head_and_only_recipes_take_options(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(NasionError, match="landmarks-68 has no landmark head of its own; only the whole RDFN has"):
        export(str(checkpoint), out=tmp_path / "x.onnx", head=True)
    with pytest.raises(NasionError, match="a checkpoint stores its own set, size and width"):
        export(str(checkpoint), out=tmp_path / "x.onnx", size=64)
    with pytest.raises(NasionError, match=r"recipe 'best' is unknown; allowed:\n"):
        export("best", out=tmp_path / "x.onnx")


def test_an_untrained_network_gets_no_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "all_recipes", lambda: {"pointer": POINTER})
    with pytest.raises(NasionError, match="pointer: an untrained network gets no card; export a checkpoint"):
        export("pointer", out=tmp_path / "x.pt2", card=True)
    assert not (tmp_path / "x.pt2").exists()


def test_what_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recipes, "all_recipes", lambda: {"pointer": POINTER})
    (tmp_path / "folder.pt2").mkdir()
    (tmp_path / "file").touch()
    for out, text in (("file/x.pt2", "is not a folder"), ("folder.pt2", "is a folder; give the name of a file")):
        with pytest.raises(SinkError, match=text):
            export("pointer", out=tmp_path / out)
    with pytest.raises(NasionError, match="nowhere"):
        export("pointer", out=tmp_path / "x.pt2", data=tmp_path / "nowhere")
    assert not (tmp_path / "x.pt2").exists()
    export("pointer", out=tmp_path / "x.pt2")
    assert "the network is untrained" in capsys.readouterr().out
    with pytest.raises(SinkError, match="already exists; give another name, or replace it with --force"):
        export("pointer", out=tmp_path / "x.pt2")
    export("pointer", out=tmp_path / "x.pt2", force=True)


def test_faces_of_a_data_set_stand_in_for_the_photograph(tmp_path: Path) -> None:
    data = write_data(tmp_path)
    spec = replace(Pointer().spec, size=(64, 64))
    shipped, own = photographs(spec, count=2), photographs(spec, data=data, count=2)
    assert shipped.shape == own.shape == (2, 3, 64, 64)
    assert not torch.equal(shipped, own)
    assert 0 <= float(shipped.min()) < float(shipped.max()) <= 1
    whole = photographs(replace(spec, task="faces", stride=16))
    assert float((shipped[0] - whole[0]).abs().mean()) > 0.01, "a face that fills less of the image"


def test_operators_that_torch_does_not_know_are_explained(tmp_path: Path) -> None:
    class Asks(nn.Module):
        def forward(self, maps: Tensor) -> dict[str, Tensor]:
            return {"points": location_reweight(maps)[0]}

    with as_nodes():
        program = torch.export.export(Asks(), (torch.rand(1, 2, 8, 8),), strict=False)
    path = tmp_path / "asks.pt2"
    torch.export.save(program, path, extra_files={METADATA_KEY: Pointer().spec.to_json()})
    code = "import sys; from nasion.engines.select import open_runtime; open_runtime(sys.argv[1])"
    source = ROOT / "src"
    failed = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, env={"PYTHONPATH": str(source)}
    )
    assert "import what registers them first (ours: nasion.trainers.networks.operators)" in failed.stderr


def test_a_format_that_we_do_not_write_is_named(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"suffix '\.tflite'; allowed: \.onnx, \.pt2"):
        export(checkpoint, out=tmp_path / "x.tflite")
