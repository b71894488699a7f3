"""Jobs on a Ray cluster: inputs are split into pieces, tracked anywhere, and put together in order."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import current_thread, main_thread
from typing import Any

from ....engines.errors import MissingExtra, NasionError
from ..annotating import Tell
from ..job import Job
from ..results import Result
from . import tasks
from .assembly import Assembly, Survey
from .pieces import PIECE, Piece

_log = logging.getLogger(__name__)
LOCAL = "local"
"""Address of a cluster that is started on this machine and ends with the run."""
_AHEAD = 8  # pieces for each worker that may wait for one before them; Ray keeps them, on disk if need be
_PATIENCE = 10.0  # seconds in which a head must answer
_COUNT_EVERY = 100  # tasks between two looks at the size of the cluster, which may grow


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Options of a run on a cluster.

    Attributes:
        address: address of the cluster, as ``ray.init`` takes it: ``auto``, ``host:6379`` or ``ray://host:10001``; or
            ``local`` for one of this machine.
        cpus_per_worker: cores of a worker.
        gpus_per_worker: GPUs of a worker, such as 0.25 for four workers on each.
        retries: number of times that a task is repeated whose worker has ended, before its input counts as failed.
        chunks: least number of chunks in a piece.
    """

    address: str
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0
    retries: int = 3
    chunks: int = PIECE

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            NasionError: one is not allowed.
        """
        if not self.address:
            raise NasionError("the address of the cluster is empty; give local, auto, HOST:PORT or ray://HOST:PORT")
        for name, least in (("cpus_per_worker", 0.01), ("gpus_per_worker", 0), ("retries", 0), ("chunks", 1)):
            value = getattr(self, name)
            if not least <= value < 1e6:
                raise NasionError(f"{name}={value!r:.60} is not allowed; give a number from {least:g}")


def run_on_cluster(jobs: Sequence[Job], options: ClusterOptions, tell: Tell) -> Iterator[Result]:
    """Run jobs on a Ray cluster and yield their results in the order in which they finish.

    This process begins the tasks, and appends what they return to the journals. A task whose worker was killed is
    repeated, and no chunk is appended twice, because only this process appends.

    Raises:
        MissingExtra: Ray is not installed.
        NasionError: the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("Ray", "cluster", "--cluster") from error
    is_ours = not ray.is_initialized()
    if is_ours:
        _connect(ray, options)
    try:
        warn_of_size(ray, options)
        yield from _Run(ray, jobs, options, tell).results()
    finally:
        if is_ours:
            ray.shutdown()


def _connect(ray: Any, options: ClusterOptions) -> None:
    given: dict[str, Any] = {"address": options.address, "log_to_driver": False, "logging_level": logging.ERROR}
    if options.address == LOCAL:
        # out of memory is a failure like others, and not repeated for ever
        given |= {"include_dashboard": False, "_system_config": {"task_oom_retries": options.retries}}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # of pieces that are no longer needed
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _check_reachable(options.address)
        ray.init(**given)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise NasionError(
            f"there is no Ray cluster at {options.address!r} ({str(error).splitlines()[0]:.200}); start one with: ray "
            "start --head, or give --cluster local"
        ) from error
    finally:
        if current_thread() is main_thread():  # Ray replaces the handlers, which end a run cleanly
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _check_reachable(address: str) -> None:
    """Connect to the head once, because Ray waits for minutes for one that is not there.

    Raises:
        OSError: it does not answer.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()


def warn_of_size(ray: Any, options: ClusterOptions) -> None:
    """Warn if no machine can run a worker now. A cluster that grows by itself may start one."""
    largest = {
        name: max((node["Resources"].get(name, 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)
        for name in ("CPU", "GPU")
    }
    wanted = {"CPU": options.cpus_per_worker, "GPU": options.gpus_per_worker}
    for name, count in wanted.items():
        if count > largest[name]:
            _log.warning(
                "no machine of the cluster has %g %s for a worker now, the largest has %g; waiting for one",
                count,
                name,
                largest[name],
            )


@dataclass(slots=True)
class _Task:
    """Task under way: its job, how to take what it returns, and how to call it in messages."""

    job: Job
    take: Callable[[Any], Iterator[Result]]
    assembly: Assembly | None = None


class _Run:
    """Run of jobs on a cluster that is connected."""

    def __init__(self, ray: Any, jobs: Sequence[Job], options: ClusterOptions, tell: Tell) -> None:
        self._ray, self._options, self._tell = ray, options, tell
        self._waiting = deque(jobs)
        self._under_way: dict[Any, _Task] = {}
        self._assemblies: dict[Assembly, tuple[Any, Any, Any]] = {}  # with task, header and digests, which Ray keeps
        self._folder = os.getcwd()
        self._begun = 0
        self._resources = {
            "num_cpus": options.cpus_per_worker,
            "num_gpus": options.gpus_per_worker,
            "max_retries": options.retries,
            "retry_exceptions": [OSError, MemoryError],
        }
        self._begin, self._track, self._finish = map(ray.remote, (tasks.begin, tasks.track_piece, tasks.finish))

    def results(self) -> Iterator[Result]:
        """Begin tasks while there is room for them, and yield the results of the jobs."""
        try:
            while self._fill():
                (done,), _ = self._ray.wait(list(self._under_way), num_returns=1, fetch_local=False)
                task = self._under_way.pop(done)
                try:
                    yield from task.take(done)
                except NasionError as error:
                    yield self._failed(task, str(error))
                except self._ray.exceptions.RayError as error:
                    yield self._failed(task, self._reason(error))
        finally:
            for reference in self._under_way:
                self._ray.cancel(reference, force=True)
            for assembly in self._assemblies:
                assembly.close()

    def _fill(self) -> bool:
        """Begin tasks up to twice the number of workers; return True if any is under way."""
        workers = self._workers()
        while len(self._under_way) < 2 * workers and self._begin_next(workers):
            self._begun += 1
        return bool(self._under_way)

    def _workers(self) -> int:
        """Return the number of workers for which the cluster has room, at least 1."""
        if self._begun % _COUNT_EVERY == 0:
            have = self._ray.cluster_resources()
            counts = [have.get("CPU", 0.0) / self._options.cpus_per_worker]
            if self._options.gpus_per_worker:
                counts.append(have.get("GPU", 0.0) / self._options.gpus_per_worker)
            self._room = max(int(min(counts)), 1)
        return self._room

    def _begin_next(self, workers: int) -> bool:
        """Begin the next piece of an input under way, else the next input; return False if there is neither."""
        for assembly in self._assemblies:
            if assembly.waiting < _AHEAD * workers and (piece := assembly.next_piece()) is not None:
                self._begin_piece(assembly, piece)
                return True
        if not self._waiting:
            return False
        job = self._waiting.popleft()
        task = self._ray.put(tasks.Task(job, self._folder, self._options.chunks))
        first, digests = self._call(self._begin, f"begin {job.input.name}", task, returns=2)
        self._under_way[first] = _Task(job, lambda done: self._take_begun(job, task, done, digests))
        return True

    def _call(self, function: Any, name: str, *values: Any, returns: int = 1) -> Any:
        """Begin a task and return the references of what it returns; ``name`` is what Ray's dashboard shows."""
        return function.options(name=name, num_returns=returns, **self._resources).remote(*values)

    def _begin_piece(self, assembly: Assembly, piece: Piece) -> None:
        task, header, digests = self._assemblies[assembly]
        name = f"track {assembly.job.input.name} from chunk {piece.first}"
        first, lines = self._call(self._track, name, task, piece, header, digests, returns=2)

        def take(done: Any) -> Iterator[Result]:
            assembly.add(piece, self._ray.get(done), lambda: self._ray.get(lines))
            self._tell(assembly.job.input.name, assembly.frames, None)
            if assembly.end is not None:
                self._begin_finish(assembly)
            yield from ()

        self._under_way[first] = _Task(assembly.job, take, assembly)

    def _take_begun(self, job: Job, task: Any, done: Any, digests: Any) -> Iterator[Result]:
        begun: Result | Survey = self._ray.get(done)
        if isinstance(begun, Result):
            yield begun
            return
        self._assemblies[Assembly(job, begun)] = task, self._ray.put(begun.header), digests

    def _begin_finish(self, assembly: Assembly) -> None:
        task, _, _ = self._assemblies.pop(assembly)
        assembly.close()
        reference = self._call(self._finish, f"write {assembly.job.input.name}", task, assembly.end)

        def take(done: Any) -> Iterator[Result]:
            yield self._ray.get(done)

        self._under_way[reference] = _Task(assembly.job, take)

    def _failed(self, task: _Task, reason: str) -> Result:
        """End a job that failed, and return its result. The journal keeps what was appended."""
        if task.assembly in self._assemblies:
            del self._assemblies[task.assembly]
            task.assembly.close()
        for reference in [each for each, other in self._under_way.items() if other.job is task.job]:
            del self._under_way[reference]
            self._ray.cancel(reference, force=True)
        return Result(task.job.input.name, task.job.input.source, error=reason)

    def _reason(self, error: Exception) -> str:
        """Return why a task failed, for the user."""
        exceptions = self._ray.exceptions
        cause = getattr(error, "cause", None)
        if isinstance(error, exceptions.RayTaskError) and cause is not None:
            return str(cause) if isinstance(cause, NasionError) else f"{type(cause).__name__}: {cause}"
        if isinstance(error, exceptions.WorkerCrashedError | exceptions.OutOfMemoryError | exceptions.NodeDiedError):
            times = self._options.retries + 1
            return (
                f"its worker ended {times} times ({type(error).__name__}); continue with --resume, or leave this input "
                "out"
            )
        return f"{type(error).__name__}: {str(error).splitlines()[0]:.300}"
