"""The recipes and the command that trains them, on cartoons."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nasion.engines.errors import ModelError, NasionError
from nasion.tools.commands import train as command
from nasion.tools.commands.training import job, places, watching
from nasion.trainers import checkpoint
from nasion.trainers.data import read_set, training_faces
from nasion.trainers.data.augment import Augmentation
from nasion.trainers.learner import Learner
from nasion.trainers.systems import all_recipes, load_trained, recipe_named
from nasion.trainers.training import curves, recipes
from nasion.trainers.training.loop import Schedule, State
from nasion.trainers.training.recipes import Options, Recipe, prepare_faces
from nasion.trainers.training.record import Record, read_record

from ...support.data_sets.labelled import write_data
from ...support.training.pointers import Pointer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def build(options: Options) -> Learner:
    return Pointer(landmarks=options.landmarks, size=options.size or 32)


POINTER = Recipe(
    "pointer",
    "points somewhere",
    build,
    prepare_faces(Augmentation(rotation=20, flip=0.5)),
    "nme",
    lambda options: Schedule(steps=6, batch=2 if options.width is None else 3, validate_every=3, report_every=2),
    "none",
)


@pytest.fixture(autouse=True)
def _with_pointer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe of a paper that takes no time."""
    known = all_recipes()
    monkeypatch.setattr(recipes, "all_recipes", lambda: known | {"pointer": POINTER})


def test_an_unknown_recipe_lists_those_there_are_with_what_they_are() -> None:
    with pytest.raises(NasionError) as error:
        recipe_named("x")
    first, *lines = str(error.value).splitlines()
    assert first == "recipe 'x' is unknown; allowed:"
    assert "  face-detector" in lines[0]
    assert lines[0].endswith("the shipped face detector")
    assert len(lines) == len(recipes.all_recipes())


def test_every_recipe_has_a_summary_of_one_line_and_a_schedule() -> None:
    for name, recipe in all_recipes().items():
        assert recipe.name == name
        assert recipe.summary
        assert "\n" not in recipe.summary
        schedule = recipe.schedule_for(Options())
        assert schedule.steps > 0
        assert len({each.objective for each in schedule.optimisers}) == len(schedule.optimisers)


@pytest.mark.parametrize(
    ("name", "epochs", "batch"), [("chs", 335, 10), ("rht-r", 150, 8), ("sd-hrnet-slim", 60, None)]
)
def test_epochs_are_over_the_set_that_is_learned_from(name: str, epochs: int, batch: int | None) -> None:
    for of, faces in (("300w", 3148), ("cofw", 1345), ("wflw", 7500), ("aflw", 20_000), ("ytf68", 77)):
        options = Options(set=of, faces=77)
        assert options.training_faces == faces
        schedule = recipe_named(name).schedule_for(options)
        assert batch in (schedule.batch, None)
        assert schedule.steps * schedule.batch == pytest.approx(epochs * faces, rel=0.05)
        halved = recipe_named(name).schedule_for(replace(options, batch=schedule.batch // 2))
        assert halved.batch == schedule.batch // 2
        assert halved.steps == pytest.approx(2 * schedule.steps, rel=0.05)


def test_faces_of_no_publication_are_counted(data: Path, tmp_path: Path) -> None:
    assert training_faces("ytf68", data) == len(read_set("ytf68", data, part="train"))
    assert training_faces("300w", data) == 3148 != len(read_set("300w", data, part="train"))
    with pytest.raises(NasionError, match="set 'ytf68' has no published number of training faces"):
        recipe_named("chs").schedule_for(Options(set="ytf68"))
    command.train("chs-sf", data=data, out=tmp_path, set_="ytf68", size=64, width=1 / 16, minutes=1e-6, device="cpu")
    faces = len(read_set("ytf68", data, part="train"))
    assert checkpoint.load(tmp_path / "latest.pt")["schedule"]["steps"] == 335 * faces // 10


def test_the_command_trains_stops_and_goes_on(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for steps in (2, 2):
        command.train("face-detector", data=data, out=tmp_path, steps=steps, batch=2, threads=1, device="cpu")
    assert "2 steps" in capsys.readouterr().out
    kinds = [report["kind"] for report in read_record(tmp_path / "record.jsonl")]
    assert kinds == ["start", "validate", "start"]
    assert (tmp_path / "best.pt").is_file()
    assert load_trained(tmp_path / "best.pt").recipe.name == "face-detector"
    with pytest.raises(NasionError, match="choose another --out"):
        command.train("face-detector", data=data, out=tmp_path, steps=3, batch=2, device="cpu")
    with pytest.raises(NasionError, match=r"settings: seed was 0, given is 1; give the same"):
        command.train("face-detector", data=data, out=tmp_path, steps=2, batch=2, device="cpu", seed=1)


def test_a_run_leaves_record_curves_and_a_checkpoint_that_knows_its_options(data: Path, tmp_path: Path) -> None:
    command.train("pointer", data=data, out=tmp_path, device="cpu", size=48, set_="300w")
    assert (tmp_path / "curve.svg").read_text().count("<svg") == 1
    assert (tmp_path / "curve.png").stat().st_size > 1000
    trained = load_trained(tmp_path / "best.pt")
    assert trained.spec.size == (48, 48)
    assert (trained.options.set, trained.options.size) == ("300w", 48)
    assert trained.figures.keys() == {"nme", "fr"}
    assert not trained.learner.training
    assert trained.network(torch.zeros(1, 3, 48, 48))["points"].shape == (1, 68, 2)


def test_seeds_train_in_folders_of_their_own_and_spread_is_printed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.train("pointer", data=data, out=tmp_path, device="cpu", seeds=2, steps=2)
    printed = capsys.readouterr().out
    each = [checkpoint.load(tmp_path / f"seed-{k}" / "best.pt")["figures"]["nme"] for k in range(2)]
    assert each[0] != each[1]
    mean, deviation = sum(each) / 2, abs(each[0] - each[1]) / 2**0.5
    assert f"nme: {mean:.5f} ± {deviation:.5f}" in printed
    assert "2 seeds, mean ± standard deviation:" in printed


def test_one_seed_has_no_deviation() -> None:
    assert list(job.spread([{"nme": 0.5}]))[1] == "  nme: 0.50000"


def test_a_schedule_may_follow_the_options(data: Path, tmp_path: Path) -> None:
    command.train("pointer", data=data, out=tmp_path, device="cpu", width=0.5)
    assert checkpoint.load(tmp_path / "latest.pt")["schedule"]["batch"] == 3


def test_a_set_with_other_points_than_the_network_is_named(data: Path) -> None:
    learner = Pointer(landmarks=29)
    with pytest.raises(NasionError, match="300w has 68 landmarks per face, the network 29; choose another --set"):
        POINTER.prepare(learner, data, Options())


def test_an_unknown_set_is_named_before_anything_is_built() -> None:
    with pytest.raises(NasionError, match=r"set 'x' is unknown; allowed: 300w, .*wflw"):
        POINTER.build(Options(set="x"))


def test_devices_are_checked_before_anything_is_read() -> None:
    assert places.device_named("cpu") == torch.device("cpu")
    assert places.device_named("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(NasionError, match="device 'tpu' is unknown; allowed: auto, cpu, cuda, cuda:N"):
        places.device_named("tpu")
    with pytest.raises(NasionError, match=r"device 'cuda:99': torch sees \d+ GPUs here"):
        places.device_named("cuda:99")


def test_options_survive_a_checkpoint_but_for_the_files_whose_weights_it_holds() -> None:
    options = Options(set="wflw", width=0.25, start=Path("a.pt"), teacher=Path("b.pt"), budget=300.0)
    described = options.described()
    assert described["start"] == "a.pt"
    again = Options.of_checkpoint({"options": described, "structure": {"edges": [1]}})
    assert again == Options(set="wflw", width=0.25, budget=300.0, structure={"edges": [1]}, version=1)
    assert again.landmarks == 98


def test_what_is_not_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a file"):
        load_trained(tmp_path / "none.pt")
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ModelError, match=r"broken\.pt: is damaged or cut short; give a checkpoint"):
        load_trained(tmp_path / "broken.pt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="not a checkpoint of nasion train"):
        load_trained(tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; give a checkpoint of nasion train, or a state dict"),
        (b"some text", r"is not a file of torch\.save; give a checkpoint"),
        (b"\x80\x02x", "cannot be read as tensors and plain data, .* could run code"),
    ],
)
def test_what_torch_cannot_load_is_said_plainly(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ModelError, match=rf"a\.pt: {message}"):
        load_trained(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({}, "does not name its recipe; give best.pt or latest.pt"),
        ({"recipe": ["rdfn"]}, "does not name its recipe"),
        ({"recipe": "of-theirs"}, "is of recipe 'of-theirs', which this version of nasion does not have"),
    ],
)
def test_a_checkpoint_without_a_known_recipe_is_named(
    tmp_path: Path, description: dict[str, Any], message: str
) -> None:
    checkpoint.save({"average": {}, "description": description, "step": 1, "figures": {}}, tmp_path / "a.pt")
    with pytest.raises(ModelError, match=rf"a\.pt: {message}"):
        load_trained(tmp_path / "a.pt")


def test_the_first_detectors_load_by_the_names_they_were_saved_with(tmp_path: Path) -> None:
    weights = recipe_named("face-detector").build(Options()).network.state_dict()  # type: ignore[union-attr]
    old = {"average": weights, "description": {"recipe": "face-detector"}, "step": 7, "figures": {}}
    checkpoint.save(old, tmp_path / "old.pt")
    loaded = load_trained(tmp_path / "old.pt").learner.state_dict()
    assert all(torch.equal(loaded[f"network.{name}"], value) for name, value in weights.items())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_bar_shows_the_losses_and_reports_of_training_stay_in_the_file(tmp_path: Path) -> None:
    stream = Terminal()
    with watching.watching("pointer", stream) as watch, Record(tmp_path) as record:
        assert watch is not None
        record.write("train", step=1, square=3.0)
        record.write("validate", step=1, nme=0.25)
        learner = Pointer()
        watch(State(learner, learner, {}, {}, step=1234), 0.5, {"square": 3.0})
    shown = stream.getvalue()
    assert "validate, step 1: nme 0.25" in shown
    assert "{" not in shown
    assert '"kind": "train"' not in shown
    assert "1,234" in shown
    assert "square 3" in shown


def test_elsewhere_every_report_is_a_line(tmp_path: Path) -> None:
    stream = io.StringIO()
    with watching.watching("pointer", stream) as watch, Record(tmp_path) as record:
        assert watch is None
        record.write("train", step=1, square=3.0)
    assert stream.getvalue().count('"kind": "train"') == 1
    assert not logging.getLogger(watching.RECORD_LOG).handlers


def test_a_silent_record_writes_nothing(tmp_path: Path) -> None:
    with Record(tmp_path / "run", silent=True) as record:
        record.write("train", step=1)
    assert not (tmp_path / "run").exists()


def test_curves_need_something_to_draw(tmp_path: Path) -> None:
    with Record(tmp_path) as record:
        record.write("start", step=0)
    assert curves.draw_curves(tmp_path) == ()
    with Record(tmp_path) as record:
        record.write("train", step=10, a=1.0)
        record.write("train", step=20, a=0.5, b=-1.0)
    assert curves.series(read_record(tmp_path / "record.jsonl"), "train") == {
        "a": ([10, 20], [1.0, 0.5]),
        "b": ([20], [-1.0]),
    }
    assert [file.name for file in curves.draw_curves(tmp_path)] == ["curve.svg", "curve.png"]


def test_a_recipe_keeps_its_own_schedule_where_it_has_one() -> None:
    fixed = replace(POINTER, schedule=Schedule(steps=9, batch=1))
    assert fixed.schedule_for(Options()).steps == 9
