"""Requests of trackers, and the networks that answer one tracker or a batch.

A tracker never calls a network. It is a generator that yields requests and receives the answers, so its caller decides
how to run the networks: ``Networks.run`` answers a single tracker, ``Networks.run_together`` answers several with one
call of the aligner for all of them. Smoothing is a request, too, because it is cheaper for all faces at once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter, thread_time
from typing import TypeVar

from ...engines.errors import NasionError
from ..images.pixels import Pixels
from ..values.geometry import Region
from .aligner import Aligner, Alignments
from .detector import Detections, Detector
from .smoothing import Smooth, Smoothed, smooth_all

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Detect:
    """Request to find the faces of an image; the answer is ``Detections``, with the weak ones.

    Attributes:
        image: the image.
        size: longer side in pixels of the detector's input; None for its usual one.
        turns: quarter turns, counter-clockwise, by which the image is rotated first.
    """

    image: Pixels
    size: int | None = None
    turns: int = 0


@dataclass(frozen=True, slots=True)
class Align:
    """Request to find the landmarks in regions of an image; the answer is ``Alignments``.

    Attributes:
        image: the image.
        regions: regions of the image.
        appearance: True to describe the appearance of the faces, too.
    """

    image: Pixels
    regions: Sequence[Region]
    appearance: bool = False


Request = Detect | Align | Smooth
Answer = Detections | Alignments | Smoothed
Steps = Generator[Request, Answer, T]
"""Steps of a tracker: a generator that yields requests, receives their answers and returns a result."""
Record = Callable[[str, float, float], None]
"""Receiver of the wall time and CPU time of a stage, such as ``Timings.add``."""


class Networks:
    """Detector and aligner that answer the requests of trackers. Stateless; threads may share it.

    Attributes:
        detector: finds faces in whole images.
        aligner: finds landmarks in regions.
    """

    def __init__(self, detector: Detector, aligner: Aligner) -> None:
        """Use loaded networks. The caller remains responsible for closing them."""
        self.detector: Detector = detector
        self.aligner: Aligner = aligner

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer the requests of any number of trackers, in order.

        All regions go through the aligner in one call, and all images of one size through the detector in one call. The
        landmarks of all faces are smoothed in one go.
        """
        kinds = list(map(type, requests))
        answers: dict[type[Request], Iterator[Answer]] = {}
        if Detect in kinds:
            answers[Detect] = iter(self._detect([each for each in requests if isinstance(each, Detect)]))
        if Align in kinds:
            answers[Align] = iter(self._align([each for each in requests if isinstance(each, Align)]))
        if Smooth in kinds:
            answers[Smooth] = iter(smooth_all([each for each in requests if isinstance(each, Smooth)]))
        return [next(answers[kind]) for kind in kinds]

    def _detect(self, requests: Sequence[Detect]) -> Sequence[Detections]:
        images, sizes = [each.image for each in requests], [each.size for each in requests]
        return self.detector.detect_all(images, sizes, [each.turns for each in requests], weak=True)

    def _align(self, requests: Sequence[Align]) -> Sequence[Alignments]:
        parts = [(each.image, each.regions) for each in requests]
        return self.aligner.align_all(parts, appearance=any(each.appearance for each in requests))

    def run(self, steps: Steps[T], record: Record | None = None, *, cpu_clock: Callable[[], float] = thread_time) -> T:
        """Answer every request of one tracker and return its result.

        Args:
            steps: steps of the tracker.
            record: called at the end with the name, wall time and CPU time in seconds of each stage: ``detect``,
                ``align`` and, for the rest, ``track``.
            cpu_clock: CPU time in seconds.
        """
        watch = None if record is None else _Watch(cpu_clock)
        try:
            request = next(steps)
            while True:
                begin = watch and watch.now()
                (answer,) = self.answer([request])
                if watch and begin and not isinstance(request, Smooth):
                    watch.add("detect" if isinstance(request, Detect) else "align", begin)
                request = steps.send(answer)
        except StopIteration as stop:
            if watch and record:
                watch.report(record)
            result: T = stop.value
            return result

    def run_together(self, trackers: Sequence[Steps[T]]) -> list[T]:
        """Answer the requests of several trackers in rounds, one batch a round, and return their results in order.

        Raises:
            NasionError: a request cannot be answered. The steps of all trackers are closed.
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


class _Watch:
    """Wall and CPU time of one frame by stage."""

    def __init__(self, cpu_clock: Callable[[], float]) -> None:
        self._cpu_clock = cpu_clock
        self._begin = self.now()
        self._spent = {"detect": [0.0, 0.0], "align": [0.0, 0.0]}

    def now(self) -> tuple[float, float]:
        return perf_counter(), self._cpu_clock()

    def add(self, name: str, begin: tuple[float, float]) -> None:
        wall, cpu = self.now()
        spent = self._spent[name]
        spent[0] += wall - begin[0]
        spent[1] += cpu - begin[1]

    def report(self, record: Record) -> None:
        wall, cpu = self.now()
        wall, cpu = wall - self._begin[0], cpu - self._begin[1]
        for name, (within, cpu_within) in self._spent.items():
            record(name, within, cpu_within)
            wall, cpu = wall - within, cpu - cpu_within
        record("track", wall, cpu)


def _advance(
    number: int, steps: Steps[T], answer: Answer | None, waiting: dict[int, Request], results: dict[int, T]
) -> None:
    """Advance a tracker to its next request or its result."""
    try:
        waiting[number] = next(steps) if answer is None else steps.send(answer)
    except StopIteration as stop:
        results[number] = stop.value
