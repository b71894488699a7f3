"""Annotation on a real Ray cluster of this machine, whose workers are killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import copy
from threading import Event, Thread
from time import sleep
from typing import Any

import pytest

import nasion
from nasion.engines.errors import NasionError
from nasion.realtime.annotate import annotate
from nasion.realtime.annotate.inputs import find_inputs
from nasion.realtime.annotate.job import Job
from nasion.realtime.annotate.workers import tasks
from nasion.realtime.annotate.workers.cluster import ClusterOptions, run_on_cluster, warn_of_size
from nasion.realtime.tracking.options import TrackerOptions

from ...support.commands import ENVIRONMENT, run
from .test_annotate import outputs
from .test_pieces import keyed

__all__ = ["keyed"]
ROOT = Path(__file__).parents[3]

ray: Any = pytest.importorskip("ray", reason="Ray is not installed: pip install 'nasion[cluster]'")
pytestmark = [pytest.mark.timeout(280), pytest.mark.xdist_group("ray")]


def poison() -> None:
    """Make this worker end as soon as it opens a video of a certain name, as after a crash of a decoder."""
    from nasion.realtime.annotate import first_pass

    open_source = first_pass.open_source

    def opened(source: str, **options: Any) -> Any:
        if Path(source).name == "poison.mp4":
            os.kill(os.getpid(), signal.SIGKILL)
        return open_source(source, **options)

    first_pass.open_source = opened  # type: ignore[assignment]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two workers, in which a poisoned file ends the process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=200 << 20,
        runtime_env={
            "worker_process_setup_hook": poison,
            "env_vars": {"PYTHONPATH": f"{ROOT}:{ENVIRONMENT['PYTHONPATH']}"},
        },
    )
    for number, handler in handlers.items():
        signal.signal(number, handler)
    yield
    ray.shutdown()


def workers() -> list[int]:
    """Processes that track a piece now."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if name.startswith(b"ray::track"):
            found.append(int(folder.name))
    return found


def job_of(path: Path, out: Path) -> Job:
    (found,) = find_inputs([path])
    return Job(found, out, ("jsonl", "coco"), TrackerOptions(), report=True)


def test_a_cluster_gives_the_bytes_of_one_process_although_a_worker_is_killed(
    cluster: None, keyed: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"formats": ["jsonl", "coco"], "report": True}
    nasion.annotate([keyed, images], tmp_path / "one", **options)
    monkeypatch.setattr(annotate, "ClusterOptions", partial(ClusterOptions, chunks=1))
    killed: list[int] = []
    over = Event()

    def kill() -> None:
        while not killed and not over.is_set():
            for number in workers()[:1]:
                os.kill(number, signal.SIGKILL)
                killed.append(number)
            sleep(0.01)

    killer = Thread(target=kill)
    killer.start()
    told: list[tuple[str, int, int | None]] = []
    results = nasion.annotate(
        [keyed, images], tmp_path / "many", cluster="auto", progress=lambda *told_of: told.append(told_of), **options
    )
    over.set()
    killer.join()
    assert killed
    assert [result.name for result in results] == ["clip", images.name]
    assert results[0].complete
    assert results[1].unread == 1
    assert outputs(tmp_path / "many") == outputs(tmp_path / "one")
    assert [done for name, done, _ in told if name == "clip"][-1] == 45


def test_a_poisoned_file_is_reported_after_its_retries_and_the_others_finish(
    cluster: None, clip: Path, tmp_path: Path
) -> None:
    copy(clip, tmp_path / "poison.mp4")
    copy(clip, tmp_path / "good.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    good, bad, poisoned = nasion.annotate(
        [tmp_path / "good.mp4", tmp_path / "bad.mp4", tmp_path / "poison.mp4"],
        tmp_path / "out",
        cluster="auto",
        retries=1,
    )
    assert good.complete
    assert "bad.mp4" in bad.error
    assert "its worker ended 2 times (WorkerCrashedError)" in poisoned.error
    assert not list((tmp_path / "out").glob("poison*"))


def test_folders_that_a_worker_does_not_see_are_named(
    cluster: None, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (result,) = run_on_cluster([job_of(clip, tmp_path)], ClusterOptions("auto"), lambda *told: None)
    assert "is not there on" in result.error  # it is not locked
    monkeypatch.setattr(os, "getcwd", lambda: "/nowhere")
    (result,) = run_on_cluster([job_of(clip, tmp_path)], ClusterOptions("auto"), lambda *told: None)
    assert "'/nowhere' cannot be reached on" in result.error


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere"])
def test_a_cluster_that_does_not_answer_is_named(clip: Path, tmp_path: Path, address: str) -> None:
    done = run("annotate", clip, "--out", tmp_path / "out", "--cluster", address)
    assert done.returncode == 1
    assert f"there is no Ray cluster at '{address}'" in done.stderr
    assert "start one with: ray start --head, or give --cluster local" in done.stderr


def test_a_worker_larger_than_any_machine_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    class Nodes:
        def nodes(self) -> list[dict[str, Any]]:
            return [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"CPU": 64.0}}]

    warn_of_size(Nodes(), ClusterOptions("auto", cpus_per_worker=4, gpus_per_worker=0.5))
    assert "no machine of the cluster has 4 CPU for a worker now, the largest has 2; waiting for one" in caplog.text
    assert "has 0.5 GPU for a worker now, the largest has 0" in caplog.text


def test_a_worker_with_other_libraries_is_refused(keyed: Path, tmp_path: Path) -> None:
    nasion.annotate(keyed, tmp_path)
    (tmp_path / ".nasion-lock").touch()
    (tmp_path / "clip.jsonl").unlink()
    (tmp_path / "clip.journal").unlink()
    task = tasks.Task(job_of(keyed, tmp_path), os.getcwd(), 1)
    survey, digests = tasks.begin(task)
    assert isinstance(survey, tasks.Survey)
    header = replace(survey.header, versions={**survey.header.versions, "onnxruntime": "1.0"})
    with pytest.raises(NasionError, match=r"differs from the machine that began the journal: versions onnxruntime was"):
        tasks.track_piece(task, survey.pieces[0], header, digests)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": ""}, "the address of the cluster is empty"),
        ({"address": "auto", "cpus_per_worker": 0}, "cpus_per_worker=0 is not allowed; give a number from 0.01"),
        ({"address": "auto", "retries": -1}, "retries=-1 is not allowed; give a number from 0"),
    ],
)
def test_options_that_are_not_allowed_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NasionError, match=message):
        ClusterOptions(**options)
