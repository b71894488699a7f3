"""Measure annotation on a Ray cluster: killed workers and drivers, speed-up and overhead, and what limits a large one.

Usage: PYTHONPATH=src python docs/scripts/cluster_bench.py kills [WORKERS_KILLED] [DRIVERS_KILLED]
       PYTHONPATH=src python docs/scripts/cluster_bench.py speed [SECONDS]
       PYTHONPATH=src python docs/scripts/cluster_bench.py limits [WORKERS] [VIDEOS]

Each command writes docs/bench/cluster-COMMAND.json. ``limits`` needs the figures of ``speed``.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from pathlib import Path
from shutil import rmtree
from time import monotonic, perf_counter, process_time, sleep
from typing import Any

BENCH = Path(__file__).parents[1] / "bench"
RATE = 30
SCRIPT = """
import functools, os
import nasion.realtime.annotate.job as job
from nasion.realtime.annotate import annotate
from nasion.realtime.annotate.workers import cluster
job.CHUNK = int(os.environ["CHUNK"])
cluster.ClusterOptions = functools.partial(cluster.ClusterOptions, chunks=int(os.environ["PIECE"]))
from nasion.tools.main import main
main()
"""
"""The command with other chunks and pieces than usual."""


def write_video(path: Path, seconds: float, *, size: tuple[int, int] = (320, 180)) -> None:
    """Write the test pattern with a key frame every second."""
    import av
    from av.video.frame import VideoFrame

    from nasion.realtime.sources.synthetic import CameraMotion

    motion = CameraMotion(size, seconds=seconds)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"g": str(RATE), "preset": "veryfast"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        for index in range(motion.frames):
            container.mux(video.encode(VideoFrame.from_ndarray(motion.render(index), format="bgr24")))
        container.mux(video.encode(None))


def command(videos: list[Path], out: Path, *options: str, chunk: int, piece: int) -> subprocess.Popen[bytes]:
    """Start ``nasion annotate`` in a process group of its own."""
    environment = {**os.environ, "CHUNK": str(chunk), "PIECE": str(piece), "OMP_NUM_THREADS": "1"}
    words = ["annotate", *map(str, videos), "--out", str(out), "--format", "jsonl,coco", "--quiet", *options]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *words], env=environment, start_new_session=True, stderr=subprocess.DEVNULL
    )


def workers() -> list[int]:
    """Return the processes that do a task now."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if name.startswith((b"ray::track", b"ray::begin", b"ray::write")):
            found.append(int(folder.name))
    return found


def content(folder: Path) -> dict[str, bytes]:
    """Return the outputs in a folder by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def kills(of_workers: str = "20", of_drivers: str = "5") -> dict[str, Any]:
    """Kill random workers, then the driver, at random moments; compare every byte with a run of one process."""
    chooser, wanted = random.Random(0), int(of_workers)
    shape = {"chunk": 32, "piece": 1}
    killed = runs = resumed = 0
    differing: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = [folder / "long.mp4", folder / "short.mp4"]
        write_video(videos[0], 15)
        write_video(videos[1], 1)
        if command(videos, folder / "one", **shape).wait():
            raise RuntimeError("the run of one process failed")
        expected = content(folder / "one")
        on_cluster = ("--cluster", "local", "--retries", "20")

        def check(status: int, what: str) -> None:
            found = content(folder / "many")
            different = [each for each in expected.keys() | found.keys() if expected.get(each) != found.get(each)]
            differing.extend(f"{what}: {each}" for each in different)
            if status:
                differing.append(f"{what}: status {status}")

        while killed < wanted:
            rmtree(folder / "many", ignore_errors=True)
            process, here = command(videos, folder / "many", *on_cluster, **shape), 0
            while process.poll() is None:
                sleep(chooser.uniform(0.2, 4.0))
                if killed < wanted and here < 5 and (busy := workers()):
                    os.kill(chooser.choice(busy), signal.SIGKILL)
                    killed, here = killed + 1, here + 1
            runs += 1
            check(process.returncode, f"run {runs}")
            print(f"{killed} workers killed in {runs} runs, {len(differing)} differences", flush=True)
        for number in range(int(of_drivers)):
            rmtree(folder / "many", ignore_errors=True)
            process = command(videos, folder / "many", *on_cluster, **shape)
            begin = monotonic()
            while process.poll() is None and not (folder / "many" / "long.journal").exists():
                sleep(0.05)
            sleep(chooser.uniform(0.0, 8.0))
            process.kill()
            process.wait()
            print(f"driver {number + 1} killed after {monotonic() - begin:.1f} s", flush=True)
            resumed += 1
            status = command(videos, folder / "many", *on_cluster, "--resume", **shape).wait()
            check(status, f"driver {number + 1}")
    return {
        "workers_killed": killed,
        "runs": runs,
        "drivers_killed_and_resumed": resumed,
        "files_compared": (runs + resumed) * len(expected),
        "differing": differing,
    }


def speed(seconds: str = "120") -> dict[str, Any]:
    """Return seconds with one and with two workers, and the overhead of a piece."""
    import ray

    from nasion.realtime.annotate.annotate import prepared
    from nasion.realtime.annotate.job import header_of
    from nasion.realtime.annotate.journal import Whole
    from nasion.realtime.annotate.workers.cluster import ClusterOptions
    from nasion.realtime.annotate.workers.pieces import pieces_of, see

    measured: dict[str, Any] = {
        "video_seconds": float(seconds),
        "size": [640, 360],
        "chunk": 512,
        "chunks_of_a_piece": 1,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = folder / "video.mp4"
        write_video(video, float(seconds), size=(640, 360))
        with prepared([video], folder / "here") as ready:
            (job,) = ready.jobs
            begin = perf_counter()
            pieces = list(pieces_of(job, Whole(), chunks_each=1))
            measured["pieces"] = len(pieces)
            measured["find_key_frames_ms"] = 1000 * (perf_counter() - begin)
            seen, lines = see(job, pieces[1], ready.tracker)
            measured["run_up_ms"] = 1000 * seen.run_up
            measured["piece_seconds"] = seen.seconds
            measured["frames_per_second"] = seen.frames / (seen.seconds - seen.run_up)
            measured["journal_bytes_of_a_frame"] = len(lines) / seen.frames
            measured["header_bytes"] = len(header_of(job, ready.tracker, job_info(job), {}).to_bytes())
            begin = perf_counter()
            list(ready.results())
            measured["one_process_seconds"] = perf_counter() - begin
        for count in (1, 2):
            ray.init(num_cpus=count, include_dashboard=False, log_to_driver=False)
            options = ClusterOptions("auto", chunks=1)
            for _ in range(2):  # the first run loads the networks
                rmtree(folder / "there", ignore_errors=True)
                with prepared([video], folder / "there", cluster=options) as ready:
                    begin = perf_counter()
                    list(ready.results())
                    measured[f"workers_{count}_seconds"] = perf_counter() - begin
            if count == 2:
                measured["ray_task_ms"] = _ray_task_ms(ray)
            ray.shutdown()
    measured["speed_up"] = measured["workers_1_seconds"] / measured["workers_2_seconds"]
    measured["overhead_of_a_piece_percent"] = 100 * (
        (measured["run_up_ms"] + measured["ray_task_ms"]) / 1000 / measured["piece_seconds"]
    )
    return measured


def job_info(job: Any) -> Any:
    """Return the description of the source of a job."""
    from nasion.realtime.annotate.first_pass import open_video

    with open_video(job) as source:
        return source.info


def _ray_task_ms(ray: Any) -> float:
    """Return the milliseconds of a task without work, of many."""
    nothing = ray.remote(_nothing).options(num_returns=2, max_retries=3)
    for count in (100, 1000):
        begin = perf_counter()
        ray.get([nothing.remote(number)[0] for number in range(count)])
    return 1000 * (perf_counter() - begin) / count


def _nothing(value: int) -> tuple[int, int]:
    return value, value


class SimulatedRay:
    """Ray with workers that take simulated time, to measure what the driver does for each task."""

    class exceptions:
        """No task fails."""

        RayError = RuntimeError

    def __init__(self, count: int, duration: Callable[[str, Any], tuple[float, Any]]) -> None:
        """Simulate ``count`` workers; ``duration`` returns the seconds of a task and what it returns."""
        self.count, self._duration = count, duration
        self.now, self.busy = 0.0, 0.0
        self._free = [0.0] * count
        self._done: list[tuple[float, int]] = []
        self._values: dict[int, Any] = {}
        self._number = 0

    def remote(self, function: Any) -> Any:
        """Return a task."""
        ray = self

        class Task:
            def options(self, **_: Any) -> Any:
                return self

            def remote(self, *values: Any) -> Any:
                return ray._begin(function.__name__, values)

        return Task()

    def _begin(self, name: str, values: Any) -> Any:
        seconds, value = self._duration(name, values)
        start = max(heappop(self._free), self.now)
        self.busy += seconds
        heappush(self._free, start + seconds)
        self._number += 1
        heappush(self._done, (start + seconds, self._number))
        self._values[self._number] = value
        return self._number if name == "finish" else (self._number, -self._number)

    def wait(self, references: list[int], **_: Any) -> tuple[list[int], list[int]]:
        """Return the next task that is done."""
        self.now, number = heappop(self._done)
        return [number], []

    def get(self, reference: Any) -> Any:
        """Return what a task returned."""
        return self._values.pop(reference) if reference > 0 else self._lines

    def put(self, value: Any) -> Any:
        """Return the value itself as its reference."""
        return value

    def cluster_resources(self) -> dict[str, float]:
        """Return the cores."""
        return {"CPU": float(self.count)}

    _lines = b""


def limits(count: str = "1000", videos: str = "1000000") -> dict[str, Any]:
    """Return what limits a large cluster, from the driver's work for each task and from the figures of ``speed``.

    The driver is the real one, with simulated workers: of a sample of the videos, half have one piece and the others
    ten minutes of video. The rest is proportional.
    """
    measured = json.loads((BENCH / "cluster-speed.json").read_text())["measured"]
    fps, piece = measured["frames_per_second"], 4 * 512
    found: dict[str, Any] = {"workers": int(count), "videos": int(videos), "frames_per_second_of_a_worker": fps}
    sample = 4000
    long_pieces = 10 * 60 * RATE // piece + 1
    with tempfile.TemporaryDirectory() as name:
        tracemalloc.start()
        jobs = list(_jobs(sample, Path(name)))
        found["bytes_of_a_waiting_input"] = tracemalloc.get_traced_memory()[0] / sample
        tracemalloc.stop()
        ray, seconds, tasks = _simulated(jobs, int(count), long_pieces, piece, fps)
    found["driver_ms_of_a_task"] = 1000 * seconds / tasks
    found["ray_task_ms"] = measured["ray_task_ms"]
    found["append_ms_of_a_piece"] = _append_ms(int(piece * measured["journal_bytes_of_a_frame"]))
    found["tasks_of_a_video"] = tasks / sample
    found["workers_busy_percent"] = 100 * ray.busy / (ray.now * int(count))
    appended = found["append_ms_of_a_piece"] * (sample // 2) * long_pieces / tasks
    per_task = found["driver_ms_of_a_task"] + found["ray_task_ms"] + appended
    found["driver_ms_of_a_task_in_all"] = per_task
    work = ray.busy / tasks  # seconds of a worker for a task
    found["seconds_of_a_task"] = work
    found["tasks_per_second_needed"] = int(count) / work
    found["tasks_per_second_of_the_driver"] = 1000 / per_task
    found["workers_that_the_driver_feeds"] = work * 1000 / per_task
    found["journal_mb_per_second_through_the_driver"] = int(count) * fps * measured["journal_bytes_of_a_frame"] / 1e6
    found["video_mb_per_second_from_storage"] = int(count) * fps / RATE * 0.25  # of 2 Mbit/s
    found["driver_gb_for_the_inputs"] = int(videos) * found["bytes_of_a_waiting_input"] / 1e9
    found["days_of_the_work"] = int(videos) * ray.busy / sample / int(count) / 86400
    return found


def _append_ms(size: int) -> float:
    """Return the milliseconds in which lines are appended to a journal and synchronised to the disk."""
    from nasion.realtime.annotate.journal import Journal

    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "a.journal") as journal:
        begin = perf_counter()
        for _ in range(20):
            journal.extend(bytes(size))
        return 1000 * (perf_counter() - begin) / 20


def _jobs(count: int, out: Path) -> Iterator[Any]:
    from nasion.realtime.annotate.inputs import Input
    from nasion.realtime.annotate.job import Job
    from nasion.realtime.tracking.options import TrackerOptions

    options = TrackerOptions()
    for number in range(count):
        name = f"folder{number // 100}/video{number}"
        yield Job(Input(name, f"/storage/{name}.mp4"), out, ("jsonl",), options)


def _simulated(jobs: list[Any], count: int, pieces: int, frames: int, fps: float) -> tuple[SimulatedRay, float, int]:
    """Run the driver over simulated workers; return these, the driver's CPU seconds and the number of tasks."""
    from nasion.realtime.annotate.journal import JournalHeader
    from nasion.realtime.annotate.results import Result
    from nasion.realtime.annotate.workers.assembly import Survey
    from nasion.realtime.annotate.workers.cluster import ClusterOptions, _Run
    from nasion.realtime.annotate.workers.pieces import Piece, Place, SeenPiece

    header = JournalHeader("a", "video", {}, 640, 360, "30", None, 1, 512, {}, "", "ibug-68", 68, False, {})
    begun = 0

    def duration(name: str, values: Any) -> tuple[float, Any]:
        nonlocal begun
        result = Result("", "", frames=1)
        if name == "begin":
            begun += 1
            if begun % 2:
                return frames / fps, result
            ends = [Place(4 * 512 * number, number) for number in range(pieces)]
            cut = [
                Piece(4 * number, 4 if number < pieces - 1 else None, ends[number].index, number)
                for number in range(pieces)
            ]
            return 1.0, Survey(header, tuple(cut), last=ends[0])
        if name == "track_piece":
            number = values[1].first // 4
            before, last = Place(4 * 512 * number, number), Place(4 * 512 * (number + 1), number + 1)
            return frames / fps, SeenPiece(4, frames, before, last, number == pieces - 1, "", 1.0, 0.1)
        return pieces * frames / fps / 10, result

    ray = SimulatedRay(count, duration)
    begin = process_time()
    results = sum(1 for _ in _Run(ray, jobs, ClusterOptions("auto"), lambda *_: None).results())
    seconds = process_time() - begin
    if results != len(jobs):
        raise RuntimeError(f"{results} results of {len(jobs)}")
    return ray, seconds, ray._number


def main() -> None:
    from nasion.tools.machine import provenance

    functions = {"kills": kills, "speed": speed, "limits": limits}
    name, *given = sys.argv[1:] or [""]
    if name not in functions:
        sys.exit(__doc__)
    measured = functions[name](*given)  # type: ignore[operator]
    path = BENCH / f"cluster-{name}.json"
    words = " ".join(["python docs/scripts/cluster_bench.py", name, *given])
    path.write_text(json.dumps({**provenance(), "command": words, "measured": measured}, indent=1) + "\n")
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
