"""Batch: one set of networks for the frames of all sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from ...faces.face import Face
from ...faces.frame import Frame
from ...tracking.requests import Align, Answer, Detect, Networks, Request, Steps
from ...tracking.state import Tracking

SHARE = 8
"""One in so many sources may detect faces in the same round; the others do so in one of their next frames."""


class Permits:
    """Permits for the detector, shared among the sources, so that no round is much longer than another."""

    def __init__(self) -> None:
        """Start without permits."""
        self._left = 0

    def begin(self, sources: int) -> None:
        """Begin a round in which ``sources`` are tracked."""
        self._left = -(-sources // SHARE)

    def take(self) -> bool:
        """Take a permit, and return False if none is left in this round."""
        self._left -= 1
        return self._left >= 0


@dataclass(slots=True)
class Calls:
    """Calls of the networks.

    Attributes:
        aligner, detector: number of calls.
        aligned, detected: number of crops and of images in them.
        batches: number of aligner calls by the number of crops.
    """

    aligner: int = 0
    detector: int = 0
    aligned: int = 0
    detected: int = 0
    batches: Counter[int] = field(default_factory=Counter)


Outcome = list[Face] | Exception
"""Faces of a frame, or the error that kept it from being tracked."""


class Batch:
    """Networks that track one frame of each of several sources at once. Belongs to one thread.

    A round answers the requests of all trackers: first those for the detector, in one call for images of one size, then
    those for the aligner, in one call for all faces. An error of one source concerns no other.

    Attributes:
        calls: calls of the networks so far.
        permits: permits for the detector.
    """

    def __init__(self, networks: Networks) -> None:
        """Use loaded networks."""
        self._networks = networks
        self.calls: Calls = Calls()
        self.permits: Permits = Permits()

    def track(self, frames: Sequence[tuple[Tracking, Frame]]) -> list[Outcome]:
        """Track one frame of each source and return the faces of each, in the same order.

        A tracker whose frame could not be tracked has lost its tracks.
        """
        self.permits.begin(len(frames))
        # Whoever was refused the detector comes first.
        order = sorted(range(len(frames)), key=lambda i: not frames[i][0].is_detection_put_off)
        steps = {i: frames[i][0].steps(frames[i][1]) for i in order}
        outcomes: dict[int, Outcome] = {}
        waiting: dict[int, Request] = {}
        for i in order:
            _advance(i, steps[i], None, waiting, outcomes)
        while waiting:
            detects = any(isinstance(each, Detect) for each in waiting.values())
            asked = {i: each for i, each in waiting.items() if isinstance(each, Detect) or not detects}
            waiting = {i: each for i, each in waiting.items() if i not in asked}
            for i, answer in zip(asked, self._answer(list(asked.values())), strict=True):
                _advance(i, steps[i], answer, waiting, outcomes)
        for i, outcome in outcomes.items():
            if isinstance(outcome, Exception):
                frames[i][0].reset()
        return [outcomes[i] for i in range(len(frames))]

    def _answer(self, requests: list[Request]) -> Sequence[Answer | Exception]:
        """Answer requests in one call, or one by one if that fails."""
        self._count(requests)
        try:
            return self._networks.answer(requests)
        except Exception as error:  # noqa: BLE001 - reported as the state of the source that caused it
            if len(requests) == 1:
                return [error]
        return [self._answer([request])[0] for request in requests]

    def _count(self, requests: list[Request]) -> None:
        images = [each for each in requests if isinstance(each, Detect)]
        crops = sum(len(each.regions) for each in requests if isinstance(each, Align))
        self.calls.detected += len(images)
        self.calls.detector += len({self._networks.detector.input_size(each.image, each.size) for each in images})
        if crops:
            self.calls.aligned += crops
            self.calls.aligner += 1
            self.calls.batches[crops] += 1


def _advance(
    number: int,
    steps: Steps[list[Face]],
    answer: Answer | Exception | None,
    waiting: dict[int, Request],
    outcomes: dict[int, Outcome],
) -> None:
    """Advance a tracker to its next request, its faces or its error."""
    try:
        if isinstance(answer, Exception):
            waiting[number] = steps.throw(answer)
        else:
            waiting[number] = next(steps) if answer is None else steps.send(answer)
    except StopIteration as stop:
        outcomes[number] = cast(list[Face], stop.value)
    except Exception as error:  # noqa: BLE001 - reported as the state of the source that caused it
        outcomes[number] = error
