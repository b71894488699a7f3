"""Faults around a training run: nothing done is lost, and the message says what to do."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nasion.engines.signals import Stopped
from nasion.trainers import checkpoint
from nasion.trainers.data import DataError
from nasion.trainers.training import precision, processes
from nasion.trainers.training.folder import LOCK, locked
from nasion.trainers.training.loop import Schedule, State, TrainingError, train
from nasion.trainers.training.record import read_record

from ...conftest import ROOT
from ...support.training.lines import SCHEDULE, Line, LineLearner, line, run


def test_a_second_run_in_a_folder_is_refused_and_the_lock_ends_with_the_process(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from nasion.trainers.training.folder import locked\n"
    code += "with locked(Path(sys.argv[1])): print('here', flush=True); time.sleep(60)"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    try:
        assert other.stdout.readline() == "here\n"
        with pytest.raises(TrainingError, match=rf"process {other.pid} on .* trains in this folder; .* another --out"):
            run(tmp_path)
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    assert run(tmp_path).step == 40
    assert not (tmp_path / LOCK).exists()


def test_a_lock_in_a_file_instead_of_a_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(Exception, match=r"cannot write '.*run\.lock'.*give the name of a folder"),
        locked(tmp_path / "file"),
    ):
        pass


def test_changed_bytes_in_a_checkpoint_are_noticed(tmp_path: Path) -> None:
    run(tmp_path)
    file = tmp_path / "latest.pt"
    content = bytearray(file.read_bytes())
    weight = checkpoint.load(file)["model"]["linear.weight"].numpy().tobytes()
    place = bytes(content).index(weight)
    content[place] ^= 1
    content[place + 1] ^= 1
    file.write_bytes(content)
    with pytest.raises(TrainingError, match=r"latest\.pt: is damaged, its checksum does not match"):
        run(tmp_path)


def test_a_torn_line_of_the_record_is_dropped_with_a_message(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path)
    record = tmp_path / "record.jsonl"
    whole = record.read_bytes()
    record.write_bytes(whole + b'{"kind": "tr')
    assert len(read_record(record)) == whole.count(b"\n")
    with caplog.at_level(logging.WARNING):
        run(tmp_path)
    assert 'its last line was torn by a crash and is dropped: \'{"kind": "tr\'' in caplog.text
    assert record.read_bytes().startswith(whole + b'{"kind": "start"')


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_sighup_leaves_a_checkpoint_as_sigterm_does(tmp_path: Path) -> None:
    def hang_up(state: State, part: float, losses: dict[str, float]) -> None:
        if state.step == 7:
            signal.raise_signal(signal.SIGHUP)

    with pytest.raises(Stopped, match="SIGHUP"):
        run(tmp_path, watch=hang_up)
    assert checkpoint.load(tmp_path / "latest.pt")["step"] == 7


def test_another_number_of_steps_names_that_one_difference_and_may_be_extended(tmp_path: Path) -> None:
    run(tmp_path)
    longer = replace(SCHEDULE, steps=60)
    with pytest.raises(TrainingError) as refused:
        run(tmp_path, longer)
    assert "other settings: steps was 40, given is 60; give --extend" in str(refused.value)
    assert "optimisers" not in str(refused.value)
    with pytest.raises(TrainingError, match=r"steps was 40, given is 20; give the same settings"):
        run(tmp_path, replace(SCHEDULE, steps=20), extend=True)
    assert run(tmp_path, longer, extend=True).step == 60
    with pytest.raises(TrainingError, match=r"optimisers\.0\.learning_rate was 0\.3, given is 0\.1"):
        run(tmp_path, replace(longer, optimisers=(replace(longer.optimisers[0], learning_rate=0.1),)))


def test_another_number_of_processes_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path)
    saved = checkpoint.load(tmp_path / "latest.pt")
    checkpoint.save(saved | {"processes": 2}, tmp_path / "latest.pt")
    with caplog.at_level(logging.WARNING):
        run(tmp_path)
    assert "was trained by 2 processes and is resumed by 1" in caplog.text


class Unreadable(Line):
    """Some samples cannot be read."""

    def __init__(self, *bad: int) -> None:
        self.bad = bad

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index in self.bad:
            raise DataError(f"face{index}.jpg: the image is cut short")
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_stops_the_run_after_a_checkpoint(tmp_path: Path, workers: int) -> None:
    schedule = Schedule(steps=20, batch=4, validate_every=100)
    with pytest.raises(TrainingError, match=r"face42\.jpg: the image is cut short; the checkpoint of step 10 is writ"):
        train(line(), Unreadable(42), schedule, tmp_path, workers=workers)
    assert checkpoint.load(tmp_path / "latest.pt")["step"] == 10
    assert train(line(), Line(), schedule, tmp_path).step == 20, "once the file is corrected"


def test_unreadable_images_are_skipped_up_to_a_number_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    schedule = Schedule(steps=20, batch=4, validate_every=100)
    state = train(line(), Unreadable(42, 50), schedule, tmp_path / "two", skip_bad=2)
    assert state.step == 20
    assert [each for each in caplog.messages if "--skip-bad" in each] == [
        "face42.jpg: the image is cut short; left out, number 1 of the 2 that --skip-bad allows",
        "face50.jpg: the image is cut short; left out, number 2 of the 2 that --skip-bad allows",
    ]
    skipped = [report for report in read_record(tmp_path / "two" / "record.jsonl") if report["kind"] == "skipped"]
    assert [(each["step"], each["error"], each["count"]) for each in skipped] == [
        (10, "face42.jpg: the image is cut short", 1),
        (12, "face50.jpg: the image is cut short", 2),
    ]
    with pytest.raises(TrainingError, match=r"face50\.jpg.*checkpoint of step 12.*--skip-bad 2 or more"):
        train(line(), Unreadable(42, 50), schedule, tmp_path / "one", skip_bad=1)


def test_unreadable_images_of_one_batch_are_reported_together(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    schedule = Schedule(steps=20, batch=4, validate_every=100)
    said = r"^face41\.jpg: the image is cut short, and 1 more; the checkpoint.*--skip-bad 2 or more$"
    with pytest.raises(TrainingError, match=said):
        train(line(), Unreadable(41, 42), schedule, tmp_path)
    assert "skip" not in caplog.text, "nothing was left out"
    assert train(line(), Unreadable(41, 42), schedule, tmp_path, skip_bad=2).step == 20


def test_too_little_memory_for_a_batch_names_the_remedy(tmp_path: Path) -> None:
    class Hungry(LineLearner):
        def losses(self, batch: list[Tensor], objective: str) -> dict[str, Tensor]:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 401408000 bytes.")

    with pytest.raises(TrainingError, match="not enough memory for a step of 4 samples; give a smaller --batch"):
        run(tmp_path, learner=Hungry())


def test_slow_bfloat16_is_said_with_its_ratio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision, "slowdown_of_bf16", lambda: 7.25)
    with caplog.at_level(logging.WARNING):
        run(tmp_path / "slow", precision="bf16")
    assert "bf16 is 7.2 times slower than fp32 on this CPU" in caplog.text
    caplog.clear()
    monkeypatch.setattr(precision, "slowdown_of_bf16", lambda: 0.5)
    run(tmp_path / "fast", precision="bf16")
    assert not caplog.text
    monkeypatch.undo()
    assert precision.slowdown_of_bf16() > 0


_RANKS = """
import sys, time, torch
from pathlib import Path
from torch import distributed
from nasion.trainers.training import processes
with processes.joined(torch.device("cpu"), patience=float(sys.argv[1])):
    (Path(sys.argv[2]) / f"{processes.rank()}-{__import__('os').getpid()}").touch()
    if processes.rank() == 1:
        time.sleep(120)
    distributed.barrier()
"""


def _launch(folder: Path, patience: float) -> subprocess.Popen[str]:
    (folder / "ranks.py").write_text(_RANKS)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [*launch, str(folder / "ranks.py"), str(patience), str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _ids(folder: Path, count: int = 2) -> list[int]:
    for _ in range(600):
        if len(found := sorted(folder.glob("[01]-*"))) == count:
            return [int(path.name.partition("-")[2]) for path in found]
        time.sleep(0.2)
    raise AssertionError("the processes did not start")


def test_a_process_that_hangs_ends_the_others_after_the_patience(tmp_path: Path) -> None:
    launched = _launch(tmp_path, 0.05)
    output, _ = launched.communicate(timeout=110)
    assert launched.returncode != 0
    assert "imed out" in output or "timeout" in output.lower()


def test_processes_end_when_torchrun_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launched = _launch(tmp_path, 5)
    ids = _ids(tmp_path)
    launched.kill()
    launched.communicate(timeout=100)
    for _ in range(300):
        if not any(_is_running(each) for each in ids):
            return
        time.sleep(0.2)
    raise AssertionError(f"{ids} still run")


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/status")
    return "State:\tZ" not in status.read_text() if status.exists() else True


def test_patience_is_half_an_hour_unless_told_otherwise() -> None:
    assert processes.PATIENCE == 30
    assert torch.distributed.is_available()
