"""Jobs in this process, or in several others; a process that crashes loses its job only."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from threading import Thread
from time import monotonic

from ....engines.errors import NasionError
from ...tracking.tracker import Tracker
from ..alone import FolderLock
from ..annotating import Tell, annotate_input
from ..job import Job
from ..results import Result

_log = logging.getLogger(__name__)
_TELL_EVERY = 0.2  # seconds between two messages about the progress


def run_here(jobs: Sequence[Job], tracker: Tracker, tell: Tell) -> Iterator[Result]:
    """Run jobs one after the other and yield their results. A job that fails has its error in the result."""
    for job in jobs:
        yield result_of(job, tracker, tell)


def result_of(job: Job, tracker: Tracker, tell: Tell) -> Result:
    """Return the result of a job; one that fails has its error in it."""
    try:
        return annotate_input(job, tracker, tell)
    except NasionError as error:
        return Result(job.input.name, job.input.source, error=str(error))
    except Exception as error:  # noqa: BLE001 - one input that shows a defect must not lose the others
        _log.exception("%s", job.input.source)
        return Result(job.input.name, job.input.source, error=f"{type(error).__name__}: {error}")


def run_in_processes(jobs: Sequence[Job], count: int, tell: Tell, lock: FolderLock) -> Iterator[Result]:
    """Run jobs in ``count`` processes and yield their results in the order in which they finish.

    The processes end with this iterator, also after an error or a signal, and with this process, even if it is killed.
    They hold the lock of the folder that they write to.
    """
    waiting, workers = deque(jobs), [_Worker(lock) for _ in range(min(count, len(jobs)))]
    try:
        for worker in workers:
            worker.begin(waiting.popleft())
        while busy := {worker.connection: worker for worker in workers if worker.job is not None}:
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]  # one of the keys
                result = worker.receive(tell)
                if result is None:
                    continue
                yield result
                if not worker.is_alive:
                    workers.remove(worker)
                    if not waiting:
                        continue
                    workers.append(worker := _Worker(lock))
                if waiting:
                    worker.begin(waiting.popleft())
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """Process that does one job at a time.

    Attributes:
        connection: pipe to the process.
        job: the job that it does; None if it waits for one.
        is_alive: False once the process has ended.
    """

    def __init__(self, lock: FolderLock) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks of loaded libraries
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, lock), daemon=True)
        self._process.start()
        theirs.close()
        self.job: Job | None = None
        self.is_alive = True

    def begin(self, job: Job) -> None:
        """Give the process a job."""
        self.job = job
        with suppress(BrokenPipeError):  # ``receive`` finds that the process has ended
            self.connection.send(job)

    def receive(self, tell: Tell) -> Result | None:
        """Receive a message; return the result of the job if it is one, or if the process has ended."""
        assert self.job is not None
        try:
            message: Result | tuple[str, int, int | None] = self.connection.recv()
        except (EOFError, ConnectionError):
            self.is_alive = False
            self._process.join()
            status, job = self._process.exitcode, self.job
            self.job = None
            return Result(
                job.input.name,
                job.input.source,
                error=f"its process ended with status {status}; continue with --resume, or leave this input out",
            )
        if isinstance(message, Result):
            self.job = None
            return message
        tell(*message)
        return None

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()
        self.connection.close()


def _serve(connection: Connection, lock: FolderLock) -> None:
    """Run the jobs that come through a pipe, until it is closed; hold the lock until then."""
    import cv2

    Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends this process
    trackers: dict[object, Tracker] = {}
    last = 0.0

    def tell(name: str, done: int, total: int | None) -> None:
        nonlocal last
        if monotonic() - last >= _TELL_EVERY:
            last = monotonic()
            try:
                connection.send((name, done, total))
            except ConnectionError:  # the parent was killed
                os._exit(1)

    with suppress(EOFError, ConnectionError):
        while True:
            job: Job = connection.recv()
            cv2.setNumThreads(job.options.threads or 1)
            if job.options not in trackers:
                trackers[job.options] = Tracker(job.options)
            connection.send(result_of(job, trackers[job.options], tell))


def _end_with_parent() -> None:
    """End this process as soon as its parent has ended, so that it writes nothing into the run that follows."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
