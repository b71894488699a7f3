from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nasion.engines import signals
from nasion.engines.signals import Stopped
from nasion.trainers import checkpoint
from nasion.trainers.learner import Learner
from nasion.trainers.training import loop
from nasion.trainers.training.loop import Optimiser, Schedule, State, TrainingError, train
from nasion.trainers.training.record import read_record

from ...support.lines import SCHEDULE, TURNS, InTurns, Line, LineLearner, line


def run(folder: Path, schedule: Schedule = SCHEDULE, learner: Learner | None = None, **options: object) -> State:
    return train(learner or line(), Line(), schedule, folder, **options)  # type: ignore[arg-type]


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_a_line_is_learned_and_the_record_tells_of_it(tmp_path: Path) -> None:
    state = run(tmp_path)
    reports = [report for report in read_record(tmp_path / "record.jsonl") if report["kind"] == "train"]
    assert [report["step"] for report in reports] == [10, 20, 30, 40]
    assert reports[-1]["square"] < 0.3 * reports[0]["square"]
    assert state.step == 40


def test_a_report_holds_the_mean_over_its_steps(tmp_path: Path) -> None:
    each: list[float] = []
    run(tmp_path, watch=lambda state, part, losses: each.append(losses["square"]))
    first = next(report for report in read_record(tmp_path / "record.jsonl") if report["kind"] == "train")
    assert first["square"] == pytest.approx(sum(each[:10]) / 10, rel=1e-4)


class Stop(Exception):
    pass


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path, average: float) -> None:
    """With dropout, momentum, an average and a stop in the middle between two reports."""
    schedule = replace(SCHEDULE, average=average)
    unbroken: list[float] = []
    whole = run(tmp_path / "whole", schedule, watch=lambda s, p, losses: unbroken.append(losses["square"]))
    assert len(set(unbroken)) == 40

    def stop_at_20(_: nn.Module) -> dict[str, float]:
        torch.rand(3)  # validation may draw; the training after it must not notice
        calls.append(1)
        if len(calls) == 2:
            raise Stop
        return {"loss": 1.0}

    calls: list[int] = []
    again: list[float] = []
    broken = tmp_path / "broken"
    with pytest.raises(Stop):
        run(broken, schedule, validate=stop_at_20)
    resumed = run(broken, schedule, watch=lambda s, p, losses: again.append(losses["square"]))
    assert again == unbroken[20:]
    assert same(resumed.learner, whole.learner)
    assert same(resumed.average, whole.average)
    told = [
        [r["square"] for r in read_record(folder / "record.jsonl") if r["kind"] == "train"]
        for folder in (tmp_path / "whole", broken)
    ]
    assert told[0] == told[1]


def test_a_signal_between_reports_leaves_a_checkpoint_that_goes_on_exactly(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")

    def interrupt(state: State, part: float, losses: dict[str, float]) -> None:
        if state.step == 17:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", watch=interrupt)
    assert checkpoint.load(tmp_path / "broken" / "latest.pt")["step"] == 17
    assert same(run(tmp_path / "broken").learner, whole.learner)
    means = [
        [r.get("square") for r in read_record(tmp_path / name / "record.jsonl") if r["kind"] == "train"]
        for name in ("whole", "broken")
    ]
    assert means[0] == means[1], "the report in which it was stopped is a mean over all of its steps"


def test_sigterm_stops_with_its_own_status_and_a_checkpoint(tmp_path: Path) -> None:
    def terminate(state: State, part: float, losses: dict[str, float]) -> None:
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped) as stopped:
        run(tmp_path, watch=terminate)
    assert stopped.value.status == 143
    assert (tmp_path / "latest.pt").is_file()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(("patience", "parts"), [(60.0, [1, 2]), (-1.0, [1])])
def test_a_second_signal_waits_for_the_checkpoint_unless_it_comes_much_later(
    patience: float, parts: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "PATIENCE", patience)
    reached: list[int] = []

    def twice(state: State, part: float, losses: dict[str, float]) -> None:
        signal.raise_signal(signal.SIGINT)
        reached.append(1)
        signal.raise_signal(signal.SIGTERM)
        reached.append(2)

    with pytest.raises(Stopped, match="Ctrl-C"):
        run(tmp_path, watch=twice)
    assert reached == parts
    assert (tmp_path / "latest.pt").exists() == (parts == [1, 2])


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system sends no signals to groups of processes")
def test_a_signal_to_all_processes_leaves_the_checkpoint_to_the_first(tmp_path: Path) -> None:
    def all_of_them(state: State, part: float, losses: dict[str, float]) -> None:
        if state.step == 3:
            for child in multiprocessing.active_children():
                for number in (signal.SIGHUP, signal.SIGTERM):
                    os.kill(child.pid or 0, number)
        if state.step == 5:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped, match="SIGTERM"):
        run(tmp_path, Schedule(steps=1000, batch=4), workers=1, watch=all_of_them)
    assert checkpoint.load(tmp_path / "latest.pt")["step"] == 5


def test_a_checkpoint_is_written_on_time_between_validations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    seen: list[int] = []

    def look(state: State, part: float, losses: dict[str, float]) -> None:
        if state.step > 1:
            seen.append(checkpoint.load(tmp_path / "latest.pt")["step"])

    run(tmp_path, Schedule(steps=4, batch=4, validate_every=100), watch=look)
    assert seen == [1, 2, 3]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_its_parts(tmp_path: Path) -> None:
    class Broken(LineLearner):
        def losses(self, batch: list[Tensor], turn: str) -> dict[str, Tensor]:
            value = self(batch[0])["y"].mean()
            return {"good": value * 0 + 1, "bad": value * float("inf")}

    with pytest.raises(TrainingError, match=r"step 0: the loss is not finite: .*'good': 1\.0.*'bad'"):
        run(tmp_path, learner=Broken())


def test_the_best_checkpoint_is_the_one_with_the_lowest_criterion(tmp_path: Path) -> None:
    figures = iter([0.5, 0.2, 0.4, 0.3])
    run(tmp_path, validate=lambda _: {"loss": next(figures)})
    assert checkpoint.load(tmp_path / "best.pt")["step"] == 20
    assert checkpoint.load(tmp_path / "latest.pt")["best"] == 0.2


def test_a_criterion_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    figures = iter([float("nan"), 0.2, float("nan"), 0.1])
    assert run(tmp_path, validate=lambda _: {"loss": next(figures)}).best == 0.1
    assert checkpoint.load(tmp_path / "best.pt")["step"] == 40


def test_patience_ends_a_run_that_no_longer_improves(tmp_path: Path) -> None:
    figures = iter([0.5, 0.2, 0.4, 0.3, 0.1, 0.1])
    state = run(tmp_path, replace(SCHEDULE, steps=100, patience=2), validate=lambda _: {"loss": next(figures)})
    assert state.step == 40
    again = run(tmp_path, replace(SCHEDULE, steps=100, patience=2), validate=lambda _: {"loss": next(figures)})
    assert again.step == 40, "and does not go on when it is called again"


def test_a_criterion_that_validation_does_not_know_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="validation returned nme, but not the criterion 'loss'"):
        run(tmp_path, validate=lambda _: {"nme": 1.0})


def test_validation_sees_a_learner_that_is_not_training_and_training_one_that_is(tmp_path: Path) -> None:
    modes: list[bool] = []

    def validate(learner: nn.Module) -> dict[str, float]:
        modes.append(learner.training)
        return {"loss": 1.0}

    run(tmp_path, validate=validate, watch=lambda s, p, losses: modes.append(s.learner.training))
    assert modes.count(False) == 4
    assert modes.count(True) == 40


def test_a_budget_of_minutes_ends_the_run_early(tmp_path: Path) -> None:
    state = run(tmp_path, Schedule(steps=10**9, batch=4), minutes=0.01)
    assert 0 < state.step < 10**6
    assert (tmp_path / "latest.pt").is_file()


def test_minutes_of_processor_time_do_not_count_waiting(tmp_path: Path) -> None:
    def wait(state: State, part: float, losses: dict[str, float]) -> None:
        time.sleep(0.05)

    by_wall, by_cpu = (run(tmp_path / clock, minutes=1 / 60, clock=clock, watch=wait) for clock in ("wall", "cpu"))
    assert by_wall.step < SCHEDULE.steps, "forty waits take two seconds"
    assert by_cpu.step == SCHEDULE.steps
    assert 0 < by_cpu.seconds < 1


def test_no_steps_validate_and_keep_the_network_as_it_was_built(tmp_path: Path) -> None:
    run(tmp_path, Schedule(steps=0, batch=1), validate=lambda _: {"loss": 0.5})
    saved = checkpoint.load(tmp_path / "best.pt")
    assert (saved["step"], saved["figures"]) == (0, {"loss": 0.5})
    assert torch.equal(saved["average"]["linear.weight"], line().linear.weight)


def test_another_schedule_or_recipe_never_overwrites_a_run(tmp_path: Path) -> None:
    run(tmp_path, description={"recipe": "a"})
    with pytest.raises(TrainingError, match="choose another --out"):
        run(tmp_path, replace(SCHEDULE, steps=41), description={"recipe": "a"})
    with pytest.raises(TrainingError, match=r"'recipe': 'a'.*'recipe': 'b'.*choose another --out"):
        run(tmp_path, description={"recipe": "b"})


def test_only_the_parameters_of_the_turn_are_stepped(tmp_path: Path) -> None:
    moved: list[str] = []
    last = {}

    def watch(state: State, part: float, losses: dict[str, float]) -> None:
        now = {name: value.clone() for name, value in state.learner.named_parameters()}
        moved.append("".join(sorted(name[7] for name in now if not torch.equal(now[name], last[name]))))
        last.update(now)

    learner = InTurns()
    last.update({name: value.clone() for name, value in learner.named_parameters()})
    state = run(tmp_path, TURNS, learner, watch=watch)
    assert moved == ["b", "w", "w"] * 4
    assert state.turns == {"slope": 8, "offset": 4}
    assert learner.done == list(range(1, 13))


def test_turns_go_on_exactly_too(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", TURNS, InTurns())

    def interrupt(state: State, part: float, losses: dict[str, float]) -> None:
        if state.step == 7:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", TURNS, InTurns(), watch=interrupt)
    resumed = run(tmp_path / "broken", TURNS, InTurns())
    assert same(resumed.learner, whole.learner)
    assert resumed.turns == whole.turns
    assert int(resumed.learner.get_buffer("seen")) == 12


def test_a_turn_without_an_optimiser_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no optimiser for turn 'offset', only for all"):
        run(tmp_path, Schedule(steps=3, batch=1), InTurns())


def test_steps_that_never_come_to_a_turn_are_refused_before_any_training(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="1 steps never reach the turn 'slope'; give at least 2 steps"):
        run(tmp_path, replace(TURNS, steps=1), InTurns())
    assert not (tmp_path / "record.jsonl").exists()
    assert run(tmp_path / "least", replace(TURNS, steps=2), InTurns()).turns == {"slope": 1, "offset": 1}
    assert run(tmp_path / "none", replace(TURNS, steps=0), InTurns()).step == 0


def test_minutes_may_be_added_to_a_run(tmp_path: Path) -> None:
    short, long = ({"recipe": "a", "options": {"set": "x", "minutes": value}} for value in (0.001, None))
    schedule = replace(SCHEDULE, steps=300)
    first = run(tmp_path, schedule, minutes=0.001, description=short)
    assert first.step < 300
    assert run(tmp_path, schedule, description=long).step == 300
    with pytest.raises(TrainingError, match="'set': 'y'"):
        run(tmp_path, schedule, description={"recipe": "a", "options": {"set": "y", "minutes": None}})


class WithTeacher(LineLearner):
    """Its teacher comes from elsewhere."""

    borrowed = ("teacher",)

    def __init__(self) -> None:
        super().__init__()
        self.teacher = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)).requires_grad_(False)

    def structure(self) -> dict[str, object]:
        return {"edges": [1, 2]}


def test_borrowed_weights_stay_out_of_checkpoints_and_as_they_are(tmp_path: Path) -> None:
    learner = WithTeacher()
    before = {name: value.clone() for name, value in learner.teacher.state_dict().items()}
    run(tmp_path, learner=learner)
    assert not learner.teacher.training
    assert all(torch.equal(value, before[name]) for name, value in learner.teacher.state_dict().items())
    saved = checkpoint.load(tmp_path / "best.pt")
    assert set(saved["average"]) == {"linear.weight", "linear.bias"}
    assert saved["description"]["structure"] == {"edges": [1, 2]}
    other = WithTeacher()
    checkpoint.fill(other, saved["average"])
    assert torch.equal(other.linear.weight, saved["average"]["linear.weight"])


def test_weights_of_another_network_are_refused_by_name() -> None:
    with pytest.raises(TrainingError, match=r"missing linear\.bias, linear\.weight, unknown conv\.weight"):
        checkpoint.fill(line(), {"conv.weight": torch.zeros(1)})
    with pytest.raises(TrainingError, match=r"(?s)do not fit LineLearner.*size mismatch"):
        checkpoint.fill(line(), {"linear.weight": torch.zeros(3, 3), "linear.bias": torch.zeros(1)})


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"average": Path("x"), "description": {}}, tmp_path / "evil.pt")
    with pytest.raises(TrainingError, match=r"evil\.pt: cannot be read"):
        checkpoint.load(tmp_path / "evil.pt")


def test_rates_follow_a_cosine_or_drop_in_steps() -> None:
    cosine = Optimiser(rate=1.0, warmup=10, floor=0.1)
    assert cosine.rate_at(0.0, 0) == pytest.approx(0.1)
    assert cosine.rate_at(0.0, 9) == pytest.approx(1.0)
    assert cosine.rate_at(0.5, 99) == pytest.approx(0.55)
    assert cosine.rate_at(1.0, 99) == pytest.approx(0.1)
    drops = Optimiser(rate=1.0, drops=((0.5, 0.1), (0.75, 0.5)))
    assert [drops.rate_at(part, 0) for part in (0, 0.49, 0.5, 0.75, 1)] == pytest.approx([1, 1, 0.1, 0.05, 0.05])
    assert Optimiser(rate=0.3, drops=()).rate_at(0.9, 0) == 0.3


@pytest.mark.parametrize(
    ("kind", "expected"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_each_kind_of_optimiser_decays_weights_and_not_offsets(kind: str, expected: type) -> None:
    learner = line()
    optimiser = Optimiser(kind, decay=0.5).over(learner.trained("all"))  # type: ignore[arg-type]
    assert type(optimiser) is expected
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert decays[id(learner.linear.weight)] == 0.5
    assert decays[id(learner.linear.bias)] == 0.0


def test_bf16_computes_in_bfloat16_and_keeps_its_weights_in_float32(tmp_path: Path) -> None:
    class Peek(LineLearner):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            out = super().forward(images)
            kinds.add(out["y"].dtype)
            return out

    kinds: set[torch.dtype] = set()
    state = run(tmp_path, learner=Peek(), precision="bf16")
    assert kinds == {torch.bfloat16}
    assert state.learner.get_parameter("linear.weight").dtype == torch.float32
    last = read_record(tmp_path / "record.jsonl")[-1]
    assert last["square"] < 0.3


def test_pictures_and_kernels_have_their_channels_last(tmp_path: Path) -> None:
    class Picture(LineLearner):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def losses(self, batch: Tensor, turn: str) -> dict[str, Tensor]:
            seen.append(batch.is_contiguous(memory_format=torch.channels_last))
            seen.append(self.conv.weight.is_contiguous(memory_format=torch.channels_last))
            return {"mean": self.conv(batch).mean()}

    class Pictures(Line):
        def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
            return torch.rand(3, 8, 8)

    seen: list[bool] = []
    train(Picture(), Pictures(), Schedule(steps=1, batch=2), tmp_path)
    assert seen == [True, True]


def test_workers_draw_the_same_samples(tmp_path: Path) -> None:
    assert same(run(tmp_path / "none").learner, run(tmp_path / "two", workers=2).learner)


def test_a_stop_with_workers_goes_on_exactly_too(tmp_path: Path) -> None:
    """Workers have drawn samples of steps that never were: a resumed run draws them again."""
    whole = run(tmp_path / "whole")

    def interrupt(state: State, part: float, losses: dict[str, float]) -> None:
        if state.step == 7:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", workers=2, watch=interrupt)
    assert checkpoint.load(tmp_path / "broken" / "latest.pt")["step"] == 7
    resumed = run(tmp_path / "broken", workers=2)
    assert same(resumed.learner, whole.learner)
    assert same(resumed.average, whole.average)
