"""Track the faces of one video: one frame in, faces out. No threads: ``pipeline.py`` adds them."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

from ...engines.closing import Closing
from ...engines.errors import NasionError
from ...engines.runtime import Runtime
from ...engines.select import open_runtime
from ...engines.zoo import model_path, models
from ..faces import Face, Frame
from ..geometry import Region
from ..images.pixels import Pixels, pixels_of
from ..schemes import SCHEMES
from ..times import StepCheck, time_passed
from ..timing import Timings
from .aligner import Aligner, Alignments
from .detector import Detections, Detector
from .face_finder import MiddleFace
from .options import TrackerOptions as TrackerOptions
from .requests import Align, Detect, Networks, Steps
from .shots import ShotChangeDetector
from .smoothing import Smoother
from .tracks import Observation, TrackManager

SMALLEST = 8.0  # pixels: a smaller region shows no face
# The detector is asked in the very frame in which a face is lost, and after so many more without it.
ASK_AFTER = (0, 1, 2, 4, 8)
# A face that comes and goes would have it asked all the time: five times, and once more each five frames.
ASK_CREDIT, ASK_REFILL = 5.0, 5
_EARLY = 1e-3  # seconds by which the detector may be early: times of frames are rounded


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Result of ``Tracking.search`` for a frame.

    Attributes:
        shot_change: the frame is the first of a new shot.
        detections: faces that the detector sees; None where it was not asked.
    """

    shot_change: bool
    detections: Detections | None


class Tracking:
    """State and decisions of a tracker. It calls no network: it yields what it needs and continues with the answer.

    ``steps`` is ``search`` followed by ``follow`` and smoothing. ``search`` and ``follow`` keep their own state, so
    that one may run ahead of the other, as long as each gets the frames in order.
    """

    def __init__(self, options: TrackerOptions, *, threshold: float, scheme: str = "") -> None:
        """Begin without faces.

        Args:
            options: settings; those of the networks are ignored.
            threshold: presence at or above which a region shows a face.
            scheme: name of the scheme of the landmarks; empty where it is not known.
        """
        self.options, self._threshold = options, threshold
        self._scheme, self._scheme_name = SCHEMES.get(scheme), scheme
        # of search
        self._shots = ShotChangeDetector()
        self._schedule = _Interval()
        # of follow
        self._tracks = TrackManager(keep=options.keep, max_faces=options.max_faces)
        self._since_look = _Interval()
        self._credit = ASK_CREDIT
        self._smoother = Smoother(options.smooth)

    def steps(self, frame: Frame) -> Steps[list[Face]]:
        """Track the next frame; returns its faces, the longest-lived identities first.

        Raises:
            NasionError: the frame is not a ``Frame``.
        """
        found = yield from self.search(frame)
        return (yield from self.follow(frame, found))

    def search(self, frame: Frame) -> Steps[SearchResult]:
        """Tell if the frame begins a new shot, and, on schedule, detect faces.

        Raises:
            NasionError: the frame is not a ``Frame``.
        """
        _check_frame(frame)
        shot_change = self._shots.update(frame.pixels)
        due = self._schedule.passed(frame.time, self.options.detect_interval) or shot_change
        if due:
            self._schedule.begin(frame.time)
        return SearchResult(shot_change, (yield from _detect(pixels_of(frame.pixels))) if due else None)

    def follow(self, frame: Frame, found: SearchResult) -> Steps[list[Face]]:
        """Place the landmarks of every known face, add new faces, and smooth."""
        image = pixels_of(frame.pixels)
        if found.shot_change:
            self._tracks.clear()
        yield from self._follow_known(image, frame.time)
        detections = found.detections
        alone = self._since_look.passed(frame.time, self.options.detect_interval / 3)
        self._credit = min(self._credit + 1 / ASK_REFILL, ASK_CREDIT)
        if detections is None and self._must_ask(alone and not self._tracks.in_sight):
            detections = yield from _detect(image)
        if detections is not None:
            self._since_look.begin(frame.time)
            yield from self._add_new(image, frame.time, detections)
        self._tracks.expire(frame.time)
        faces = [track.face(self._scheme, self._scheme_name) for track in self._tracks.in_sight]
        return self._smoother.smooth(faces, time=frame.time)

    def reset(self) -> None:
        """Begin a new video: forget all faces. Their identities are not given again."""
        self._shots.reset()
        self._tracks.clear()
        self._schedule, self._since_look, self._credit = _Interval(), _Interval(), ASK_CREDIT
        self._smoother.reset()

    def _follow_known(self, image: Pixels, time: float) -> Steps[None]:
        """Observation for each face at its last place, all in one request."""
        expected = self._tracks.next_frame()
        observations = yield from self._observe(image, [track.observation.region for track in expected])
        for track, observation in zip(expected, observations, strict=True):
            if observation is not None:
                track.seen(observation, time)
        self._tracks.separate()

    def _must_ask(self, alone: bool) -> bool:
        """Tell if the detector must be asked although it is not due; ``alone``: no face is seen, and has not been."""
        manager = self._tracks
        lost = any(track.misses - 1 in ASK_AFTER for track in manager.tracks)
        if not (lost or alone) or manager.room <= 0:
            return False
        if alone:
            return True
        if self._credit < 1:
            return False
        self._credit -= 1
        return True

    def _add_new(self, image: Pixels, time: float, detections: Detections) -> Steps[None]:
        """Confirm detections that no known face explains, and give them identities."""
        usable = [region for region in detections.regions if _usable(region, image)]
        unmatched = self._tracks.unmatched(usable)
        while unmatched and (room := self._tracks.room) > 0:
            batch, unmatched = unmatched[:room], unmatched[room:]
            # Twice, because the second crop, around the points and upright, is what following will see.
            rough = yield from self._observe(image, batch, least=self._threshold / 2)
            observations = yield from self._observe(
                image, [observation.region for observation in rough if observation is not None]
            )
            self._tracks.associate([observation for observation in observations if observation is not None], time)

    def _observe(
        self, image: Pixels, regions: list[Region], *, least: float | None = None
    ) -> Steps[list[Observation | None]]:
        """Return the face in each region, None where presence is below ``least`` (default: the network's threshold)."""
        if not regions:
            return []
        least = self._threshold if least is None else least
        found = cast(Alignments, (yield Align(image, regions)))
        seen = zip(found.points, found.confidence, found.presence.tolist(), found.boxes, found.regions, strict=True)
        return [
            Observation(*observation) if observation[2] >= least and _usable(observation[4], image) else None
            for observation in seen
        ]


class _Interval:
    """Time and frames since the detector was last asked."""

    __slots__ = ("_frames", "_time")

    def __init__(self) -> None:
        self._time: float | None = None
        self._frames = 0

    def begin(self, time: float) -> None:
        """Begin at ``time``."""
        self._time, self._frames = time, 0

    def passed(self, time: float, seconds: float) -> bool:
        """Count a frame at ``time``, and tell if ``seconds`` have passed; true before the first ``begin``."""
        self._frames += 1
        return self._time is None or time_passed(self._time, time, frames=self._frames) >= seconds - _EARLY


def _detect(image: Pixels) -> Steps[Detections]:
    return cast(Detections, (yield Detect(image)))


class Tracker(Closing):
    """Track the faces of one video, with networks of its own or shared ones::

        with Tracker() as tracker:
            faces = tracker.update(Frame(image=picture, time=seconds, index=number))

    Attributes:
        options: settings.
        runtimes: the loaded networks: ``detector`` and ``landmarks``, or ``faces`` where one is both.
        networks: answer what the tracker asks.
        tracking: state and decisions.
        timings: receives the time of every update; None for none.
        checks_times: warn where the times of frames are unlikely to be seconds. A pipeline has no need of that: its
            source makes the times.
    """

    timings: Timings | None = None
    checks_times = True

    def __init__(self, options: TrackerOptions | None = None, **overrides: Any) -> None:
        """Load the networks.

        Args:
            options: all settings; None for the defaults.
            **overrides: single settings by name, such as ``max_faces=1``.

        Raises:
            NasionError: a setting is unknown or not allowed, or a network cannot be loaded.
        """
        options = _chosen(options, overrides)
        with ExitStack() as opened:
            aligner = opened.enter_context(_open(options.model, "landmarks-68", options))
            detector = aligner
            if aligner.spec.task != "faces" or options.detector is not None:
                detector = opened.enter_context(_open(options.detector, "face-detector", options))
            self._begin(detector, aligner, options)
            self._opened = opened.pop_all()

    @classmethod
    def from_networks(
        cls, detector: Runtime, aligner: Runtime, options: TrackerOptions | None = None, /, **overrides: Any
    ) -> Self:
        """Make a tracker over networks that are loaded already and stay the caller's to close.

        Several trackers, for several videos, may share them. One of task ``faces`` may be both, or either.

        Raises:
            NasionError: one is no network, or a setting is unknown or not allowed.
        """
        for network in (detector, aligner):
            if not hasattr(network, "spec"):
                raise NasionError(
                    f"from_networks was given {network!r:.60} as a network; give networks that are loaded, or let "
                    "the tracker load them: Tracker(detector='detector.onnx', model='landmarks.onnx')"
                )
        tracker = cls.__new__(cls)
        tracker._opened = ExitStack()
        tracker._begin(detector, aligner, _chosen(options, overrides))
        return tracker

    def _begin(self, detector: Runtime, aligner: Runtime, options: TrackerOptions) -> None:
        self.options = options
        self._closed = False
        self._times = StepCheck()
        self.runtimes = {"faces": aligner} if detector is aligner else {"detector": detector, "landmarks": aligner}
        self.networks = Networks(
            Detector(detector, size=options.detect_size),
            Aligner(MiddleFace(aligner) if aligner.spec.task == "faces" else aligner),
        )
        self.tracking = Tracking(
            options, threshold=self.networks.aligner.threshold, scheme=self.networks.aligner.scheme
        )

    def update(self, frame: Frame) -> list[Face]:
        """Track the next frame; returns its faces, the longest-lived identities first.

        The time of frames should increase. In the first frame of a face its landmarks are not smoothed. A time that
        repeats, or goes back by up to half a second, counts as the last time step known of the face; as long as none
        is, its landmarks are not smoothed. After more than half a second, forward or back, smoothing starts afresh.
        Where times do not advance, or are unlikely to be seconds, a warning is logged, once.

        Raises:
            NasionError: the frame is not a ``Frame``, or the tracker is closed.
        """
        if self.checks_times and isinstance(frame, Frame):
            self._times(frame.time)
        return self.networks.run(self.steps(frame), self.timings)

    def steps(self, frame: Frame) -> Steps[list[Face]]:
        """Begin to track the next frame without calling a network: see ``Networks.run_together``.

        Raises:
            NasionError: the tracker is closed.
        """
        if self._closed:
            raise NasionError("this tracker is closed; make a new one")
        return self.tracking.steps(frame)

    def reset(self) -> None:
        """Begin a new video: forget all faces. Their identities are not given again."""
        self._times.reset()
        self.tracking.reset()

    def close(self) -> None:
        """Free the networks that this tracker has loaded; calling it again does nothing."""
        self._closed = True
        self._opened.close()


def _check_frame(frame: object) -> None:
    """Check that a frame is one; ``Frame`` itself has checked what it holds."""
    if not isinstance(frame, Frame):
        raise NasionError(
            f"the tracker was given an object of type {type(frame).__name__}; "
            "give a nasion.Frame(image=picture, time=seconds, index=number)"
        )


def _chosen(options: TrackerOptions | None, overrides: dict[str, Any]) -> TrackerOptions:
    """Return ``options``, None for the defaults, with the overrides.

    Raises:
        NasionError: the options are of another type, or one is unknown or not allowed.
    """
    if options is None:
        options = TrackerOptions()
    if isinstance(options, str | Path):
        raise NasionError(
            f"a tracker was given {str(options)!r} in place of its options; name the network: "
            f"Tracker(model={str(options)!r}); to follow the faces of a video: nasion.track({str(options)!r})"
        )
    if not isinstance(options, TrackerOptions):
        raise NasionError(
            f"a tracker was given {options!r:.60} ({type(options).__name__}) in place of its options; give a "
            "TrackerOptions, or single options by name, such as Tracker(max_faces=1)"
        )
    return options.but(**overrides)


def _usable(region: Region, picture: Pixels) -> bool:
    """Whether a face may be there: finite, not tiny, not many times the picture, not wholly outside."""
    height, width = picture.shape[:2]
    half = region.side / 2
    return (
        math.isfinite(region.x + region.y + region.side + region.angle)
        and SMALLEST <= region.side <= 4 * max(width, height)
        and -half < region.x < width + half
        and -half < region.y < height + half
    )


def _open(model: str | Path | None, shipped: str, options: TrackerOptions) -> Runtime:
    """Load a network. The shipped ones are ONNX files: torch, asked for another network, is not asked of them."""
    runtime, device, name = options.runtime, options.device, model or shipped
    if runtime == "torch" and str(name) in (known := models()):
        others = {str(each) for each in (options.model, options.detector) if each} - known.keys()
        if others:
            runtime, device = "auto", "cpu" if device == "cpu" else "auto"
    longest = options.detect_size
    return open_runtime(model_path(name), runtime=runtime, threads=options.threads, device=device, longest=longest)
