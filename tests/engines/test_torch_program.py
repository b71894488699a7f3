"""Files from others run no code: crafted ``.pt2`` files and checkpoints are refused before anything happens."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nasion.engines.errors import ModelError, NasionError
from nasion.engines.select import open_runtime
from nasion.engines.torch import program
from nasion.tools.main import main as nasion
from nasion.trainers import checkpoint
from nasion.trainers.networks.backbones.hrnet import W48_STAGE3, HRNetTrunk, load_public_weights
from nasion.trainers.networks.backbones.resnet import load_backbone
from nasion.trainers.systems import all_recipes, load_trained
from nasion.trainers.training.recipes import Options

from ..support.model_files import hostile_programs as hostile
from ..support.model_files.hostile_programs import Evil, Members

IMAGES = np.zeros((2, 3, 112, 112), np.float32)
Change = Callable[[Members, Path], Members]


@pytest.fixture(scope="module")
def members(tiny_models: dict[str, Path]) -> Members:
    return hostile.read(tiny_models["landmarks.pt2"])


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the code in a crafted file makes; a module that makes it when it is imported lies on the path."""
    marker = tmp_path / "marker"
    (tmp_path / f"{hostile.MODULE}.py").write_text(hostile.call(marker))
    monkeypatch.syspath_prepend(tmp_path)
    return marker


# --- exported programs


def test_a_copy_of_a_program_without_changes_loads(members: Members, tmp_path: Path) -> None:
    with open_runtime(hostile.write(tmp_path / "copy.pt2", members), device="cpu") as runtime:
        assert runtime(IMAGES)["points"].shape == (2, 68, 2)


@pytest.mark.parametrize("change", [each for each in hostile.CHANGES if each is not hostile.guard])
def test_a_program_that_could_run_code_is_refused_before_it_does(
    change: Change, members: Members, marker: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = hostile.write(tmp_path / "evil.pt2", change(members, marker))
    with pytest.raises(ModelError, match=r"evil\.pt2: not loaded, because its .* could run code; allowed is only"):
        open_runtime(path, device="cpu")
    assert not marker.exists()
    assert not [str(each.message) for each in recwarn if each.category is UserWarning]


def test_guards_which_are_python_source_are_left_out(members: Members, marker: Path, tmp_path: Path) -> None:
    path = hostile.write(tmp_path / "evil.pt2", hostile.guard(members, marker))
    with open_runtime(path, device="cpu") as runtime:
        runtime(IMAGES)
    assert not marker.exists()


def test_the_format_before_archives_is_refused(members: Members, marker: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"old\.pt2: torch cannot load it"):
        open_runtime(hostile.write_old_format(tmp_path / "old.pt2", members, marker), device="cpu")
    assert not marker.exists()


def test_a_file_that_is_both_formats_is_read_as_the_one_that_was_checked(
    members: Members, marker: Path, tmp_path: Path
) -> None:
    """torch tries the format before archives, whose pickles it runs, where the other one fails."""
    broken = hostile.write(tmp_path / "broken.pt2", members | {hostile.PROGRAM: b"{}"})
    old = hostile.write_old_format(tmp_path / "old.zip", members, marker)
    path = tmp_path / "both.pt2"
    path.write_bytes(broken.read_bytes() + old.read_bytes())
    with pytest.raises(ModelError, match=r"both\.pt2"):
        open_runtime(path, device="cpu")
    assert not marker.exists()


def test_the_command_line_says_so_in_one_line(
    members: Members, marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hostile.write(tmp_path / "evil.pt2", hostile.samples(members, marker))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        nasion(["track", "pattern:", "--end", "0.1", "--model", str(path), "--landmarks", "faces.jsonl"])
    assert str(end.value.code).startswith(f"nasion: {path}: not loaded, because its sample inputs")
    assert "\n" not in str(end.value.code)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ("Mul(Integer(32), Symbol('s30', positive=True, integer=True))", True),
        ("32*s30", True),
        ("FloorDiv(Symbol('s1') - 1, 8) + -2", True),
        ("__import__('os')", False),
        ("eval('1')", False),
        ("Symbol('s1; import os')", False),
        ("s1.__class__", False),
        ("(lambda: 1)()", False),
        ("9**9**9**9", False),
        ("Integer(99999999999999999999)", False),
        ("[s1 for s1 in s2]", False),
        ("s1 +" * 1000 + "s1", False),
        ("(" * 900 + "1" + ")" * 900, False),
        ("", False),
    ],
)
def test_a_size_may_be_arithmetic_and_nothing_else(expression: str, fits: bool, members: Members) -> None:
    text = json.dumps({"graph_module": {}, "range_constraints": {}, "size": {"expr_str": expression}})
    if fits:
        program.checked_program(text, origin="x")
        return
    with pytest.raises(ModelError, match="x: not loaded, because its expression"):
        program.checked_program(text, origin="x")


@pytest.mark.parametrize("name", ["pwc-heatmap-disc", "pwc-dan-disc", "rdfn", "rht-r"])
def test_what_nasion_export_writes_is_allowed(name: str, tmp_path: Path) -> None:
    """With these four, all operators and layouts that networks of the recipes have."""
    from nasion.trainers.export.files import write_model

    learner = all_recipes()[name].build(Options(size=64, width=1 / 32)).eval()
    path = tmp_path / "network.pt2"
    write_model(learner.exported().eval(), learner.spec, path)
    with open_runtime(path, device="cpu") as runtime:
        assert runtime.spec == learner.spec or runtime.spec.std == (1.0, 1.0, 1.0)


# --- checkpoints


def saved(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


@pytest.mark.parametrize(
    "load",
    [
        load_trained,
        checkpoint.load,
        lambda path: load_public_weights(HRNetTrunk(W48_STAGE3), path),
        lambda path: load_backbone(nn.Linear(1, 1), path),
    ],
    ids=["load_trained", "checkpoint", "hrnet", "resnet"],
)
@pytest.mark.parametrize("content", ["pickle", "dict", "list", "text"])
def test_a_checkpoint_that_is_none_is_refused_and_runs_no_code(
    load: Callable[[Path], object], content: str, marker: Path, tmp_path: Path
) -> None:
    contents = {
        "pickle": {"average": Evil(marker), "description": {}, "step": 1, "figures": {}},
        "dict": {"average": [1], "description": [], "step": "x", "figures": 3, "state_dict": 5},
        "list": [1, 2],
        "text": "no checkpoint",
    }
    path = saved(tmp_path / "evil.pt", contents[content])
    with pytest.raises(NasionError, match=r"evil\.pt: .*"):
        load(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "description",
    [{}, {"recipe": 5}, {"recipe": "rdfn", "options": [1]}, {"recipe": "rdfn", "options": {"size": "big"}}],
)
def test_a_checkpoint_whose_description_builds_no_network_is_refused(
    description: dict[str, object], tmp_path: Path
) -> None:
    content = {"average": {}, "description": description, "step": 1, "figures": {}}
    with pytest.raises(NasionError):
        load_trained(saved(tmp_path / "odd.pt", content))


@pytest.mark.parametrize(
    "arguments",
    [
        ["export", "evil.pt", "-o", "x.onnx"],
        ["train", "rdfn-head", "--start", "evil.pt", "--data", "data"],
        ["train", "rdfn", "--backbone-weights", "evil.pt", "--data", "data"],
        ["train", "sd-hrnet-distil", "--start", "evil.pt", "--teacher", "evil.pt", "--data", "data"],
        ["track", "pattern:", "--end", "0.1", "--model", "evil.pt", "--landmarks", "x.jsonl"],
    ],
)
def test_every_command_that_takes_a_checkpoint_refuses_a_crafted_one(
    arguments: list[str], marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    saved(tmp_path / "evil.pt", {"average": Evil(marker), "description": {"recipe": "rdfn"}})
    with pytest.raises(SystemExit) as end:
        nasion(arguments)
    assert str(end.value.code).startswith("nasion: ")
    assert "evil.pt" in str(end.value.code)
    assert not marker.exists()


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"average": {}, "description": {}, "step": 1, "figures": {}}, buffer)
    content, path = buffer.getvalue(), tmp_path / "damaged.pt"
    for size in range(0, len(content), 64):
        path.write_bytes(content[:size])
        with pytest.raises(NasionError, match=r"damaged\.pt"):
            checkpoint.load(path)
