"""What a tracker asks of the networks, and the networks that answer one tracker or many in one batch.

A tracker never calls a network. It is a generator that yields requests and receives the answers, so that whoever runs
it decides how: ``Networks.run`` answers one tracker at once, ``Networks.run_together`` answers many with one call of
the aligner for all of them.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from time import perf_counter, thread_time
from typing import TypeVar

from ...engines.closing import Closing
from ...engines.errors import NasionError
from ..geometry import Region
from ..images.pixels import Pixels
from ..timing import Timings
from .aligner import Aligner, Alignments
from .detector import Detections, Detector

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Detect:
    """Find the faces of an image; the answer is ``Detections``."""

    image: Pixels


@dataclass(frozen=True, slots=True)
class Align:
    """Find the landmarks of regions of an image; the answer is ``Alignments``."""

    image: Pixels
    regions: Sequence[Region]


Request = Detect | Align
Answer = Detections | Alignments
Steps = Generator[Request, Answer, T]
"""Steps of a tracker: yields requests, receives their answers, returns a result."""


class Networks(Closing):
    """A detector and an aligner that answer what trackers ask. Keeps no state; threads may share it.

    Attributes:
        detector: finds faces in whole images.
        aligner: finds landmarks in regions.
    """

    def __init__(self, detector: Detector, aligner: Aligner) -> None:
        """Use networks that stay the caller's to close."""
        self.detector, self.aligner = detector, aligner

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer requests of any number of trackers.

        All regions go through the aligner together, and so do all images of one size through the detector.
        """
        answers: dict[int, Answer] = {}
        whole = [i for i, request in enumerate(requests) if isinstance(request, Detect)]
        crops = [(i, request) for i, request in enumerate(requests) if isinstance(request, Align)]
        if whole:
            answers |= zip(whole, self.detector.detect_all([requests[i].image for i in whole]), strict=True)
        if crops:
            parts = [(request.image, request.regions) for _, request in crops]
            answers |= zip([i for i, _ in crops], self.aligner.align_all(parts), strict=True)
        return [answers[i] for i in range(len(requests))]

    def run(self, steps: Steps[T], timings: Timings | None = None) -> T:
        """Answer every request of one tracker, and return its result.

        Args:
            steps: of the tracker.
            timings: receives the time of a frame: ``detect``, ``align`` and, for the rest, ``track``.
        """
        watch = None if timings is None else _Watch()
        try:
            request = next(steps)
            while True:
                begin = watch and watch.now()
                if isinstance(request, Detect):
                    answer: Answer = self.detector.detect_all([request.image])[0]
                else:
                    answer = self.aligner.align_all([(request.image, request.regions)])[0]
                if watch and begin:
                    watch.add("detect" if isinstance(request, Detect) else "align", begin)
                request = steps.send(answer)
        except StopIteration as stop:
            if watch and timings:
                watch.report(timings)
            result: T = stop.value
            return result

    def run_together(self, trackers: Sequence[Steps[T]]) -> list[T]:
        """Answer the requests of several trackers in rounds, each in one batch, and return their results in order.

        Raises:
            NasionError: a request cannot be answered. The other trackers' steps are closed.
        """
        results: dict[int, T] = {}
        waiting: dict[int, Request] = {}
        try:
            for i, steps in enumerate(trackers):
                _advance(i, steps, None, waiting, results)
            while waiting:
                asked = dict(waiting)
                waiting.clear()
                answers = self.answer(list(asked.values()))
                for i, answer in zip(asked, answers, strict=True):
                    _advance(i, trackers[i], answer, waiting, results)
        except NasionError:
            for steps in trackers:
                steps.close()
            raise
        return [results[i] for i in range(len(trackers))]

    def close(self) -> None:
        """Do nothing: whoever loaded the networks closes them."""


class _Watch:
    """Wall and CPU time of one frame, by what it was spent on."""

    def __init__(self) -> None:
        self._begin = self.now()
        self._spent = {"detect": [0.0, 0.0], "align": [0.0, 0.0]}

    def now(self) -> tuple[float, float]:
        return perf_counter(), thread_time()

    def add(self, name: str, begin: tuple[float, float]) -> None:
        wall, cpu = self.now()
        spent = self._spent[name]
        spent[0] += wall - begin[0]
        spent[1] += cpu - begin[1]

    def report(self, timings: Timings) -> None:
        wall, cpu = self.now()
        wall, cpu = wall - self._begin[0], cpu - self._begin[1]
        for name, (within, cpu_within) in self._spent.items():
            timings.add(name, within, cpu_within)
            wall, cpu = wall - within, cpu - cpu_within
        timings.add("track", wall, cpu)


def _advance(
    number: int, steps: Steps[T], answer: Answer | None, waiting: dict[int, Request], results: dict[int, T]
) -> None:
    """Run a tracker to its next request or to its result."""
    try:
        waiting[number] = next(steps) if answer is None else steps.send(answer)
    except StopIteration as stop:
        results[number] = stop.value
