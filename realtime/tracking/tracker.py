"""Single-threaded tracker for the faces of one video."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self, Unpack, cast

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
from .options import TrackerKeywords
from .options import TrackerOptions as TrackerOptions
from .requests import Align, Detect, Networks, Steps
from .shots import ShotChangeDetector
from .smoothing import Smoother
from .tracks import Observation, TrackManager

SMALLEST = 8.0  # pixels; a smaller region contains no face
# The detector runs in the frame in which a track is lost, and again after this many more frames without the face.
ASK_AFTER = (0, 1, 2, 4, 8)
# Limit of these extra detections, because a face that flickers would cause one in every frame: five at first, and one
# more every five frames.
ASK_CREDIT, ASK_REFILL = 5.0, 5
_EARLY = 1e-3  # seconds by which a detection may be early, because frame times are rounded


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Result of ``Tracking.search`` for a frame.

    Attributes:
        shot_change: True if the frame is the first of a new shot.
        detections: faces that the detector found; None if it did not run.
    """

    shot_change: bool
    detections: Detections | None


class Tracking:
    """State and decisions of a tracker. It calls no network: it yields requests and continues with the answers.

    ``steps`` runs ``search``, ``follow`` and smoothing. ``search`` and ``follow`` keep separate state, so one may run
    ahead of the other as long as each gets the frames in order.
    """

    def __init__(self, options: TrackerOptions, *, threshold: float, scheme: str = "") -> None:
        """Start without tracks.

        Args:
            options: tracker options; those that concern the networks are ignored.
            threshold: presence at or above which a region contains a face.
            scheme: name of the landmark scheme; empty if it is unknown.
        """
        self.options, self._threshold = options, threshold
        self._scheme, self._scheme_name = SCHEMES.get(scheme), scheme
        # state of search
        self._shots = ShotChangeDetector()
        self._schedule = _Interval()
        # state of follow
        self._tracks = TrackManager(keep=options.keep, max_faces=options.max_faces)
        self._since_look = _Interval()
        self._credit = ASK_CREDIT
        self._smoother = Smoother(options.smooth)

    def steps(self, frame: Frame) -> Steps[list[Face]]:
        """Track the next frame and return its faces, oldest track first.

        Raises:
            NasionError: the frame is not a ``Frame``.
        """
        found = yield from self.search(frame)
        return (yield from self.follow(frame, found))

    def search(self, frame: Frame) -> Steps[SearchResult]:
        """Detect shot changes in every frame, and faces on schedule and at a shot change.

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
        """Align the face of every track, add new tracks, and smooth the landmarks."""
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
        """Start a new video and drop all tracks. Their IDs are not reused."""
        self._shots.reset()
        self._tracks.clear()
        self._schedule, self._since_look, self._credit = _Interval(), _Interval(), ASK_CREDIT
        self._smoother.reset()

    def _follow_known(self, image: Pixels, time: float) -> Steps[None]:
        """Look for the face of each track at its last position, all in one request."""
        expected = self._tracks.next_frame()
        observations = yield from self._observe(image, [track.observation.region for track in expected])
        for track, observation in zip(expected, observations, strict=True):
            if observation is not None:
                track.seen(observation, time)
        self._tracks.separate()

    def _must_ask(self, alone: bool) -> bool:
        """Return True if the detector must run although it is not due.

        Args:
            alone: True if no face is in sight and the detector has not run for a third of ``detect_interval``.
        """
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
        """Confirm the detections that match no track in sight, and associate them with lost or new tracks."""
        usable = [region for region in detections.regions if _usable(region, image)]
        unmatched = self._tracks.unmatched(usable)
        while unmatched and (room := self._tracks.room) > 0:
            batch, unmatched = unmatched[:room], unmatched[room:]
            # Align twice: the second crop, upright around the landmarks, is the kind of crop used for tracking.
            rough = yield from self._observe(image, batch, least=self._threshold / 2)
            observations = yield from self._observe(
                image, [observation.region for observation in rough if observation is not None]
            )
            self._tracks.associate([observation for observation in observations if observation is not None], time)

    def _observe(
        self, image: Pixels, regions: list[Region], *, least: float | None = None
    ) -> Steps[list[Observation | None]]:
        """Align the regions; None for one with a presence below ``least`` (default: the network's threshold)."""
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
    """Time and number of frames since the detector last ran."""

    __slots__ = ("_frames", "_time")

    def __init__(self) -> None:
        self._time: float | None = None
        self._frames = 0

    def begin(self, time: float) -> None:
        """Start the interval at ``time``, in seconds."""
        self._time, self._frames = time, 0

    def passed(self, time: float, seconds: float) -> bool:
        """Count a frame at ``time`` and return True if ``seconds`` have passed, or before the first ``begin``."""
        self._frames += 1
        return self._time is None or time_passed(self._time, time, frames=self._frames) >= seconds - _EARLY


def _detect(image: Pixels) -> Steps[Detections]:
    return cast(Detections, (yield Detect(image)))


class Tracker(Closing):
    """Tracker for the faces of one video, with its own networks or shared ones::

        with Tracker() as tracker:
            faces = tracker.update(Frame(image=image, time=seconds, index=number))

    Attributes:
        options: tracker options.
        runtimes: loaded networks by name: ``detector`` and ``landmarks``, or ``faces`` if one network is both.
        networks: detector and aligner that answer the requests of the tracker.
        tracking: state and decisions.
        timings: receives the time of every update; None to measure nothing.
        checks_times: if True, log a warning when the times of frames are unlikely to be in seconds. A pipeline
            disables it, because its source generates the times.
    """

    timings: Timings | None = None
    checks_times = True

    def __init__(self, options: TrackerOptions | None = None, **overrides: Unpack[TrackerKeywords]) -> None:
        """Load the networks.

        Args:
            options: all options; None for the defaults.
            **overrides: fields of ``TrackerOptions``, such as ``max_faces=1``; they replace those of ``options``.

        Raises:
            NasionError: an option is unknown or not allowed, or a network cannot be loaded.
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
        cls,
        detector: Runtime,
        aligner: Runtime,
        options: TrackerOptions | None = None,
        /,
        **overrides: Unpack[TrackerKeywords],
    ) -> Self:
        """Build a tracker from loaded networks. The caller remains responsible for closing them.

        Several trackers, for several videos, may share them. A network of task ``faces`` may serve as detector, as
        aligner, or as both.

        Raises:
            NasionError: an argument is not a network, or an option is unknown or not allowed.
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
        """Track the next frame and return its faces, oldest track first.

        The times of frames should increase. Landmarks are not smoothed in the first frame of a track. If a time
        repeats, or goes back by up to half a second, the last known time step of the track is used instead; until one
        is known, its landmarks are not smoothed. After a step of more than half a second, forward or back, smoothing
        restarts. A warning is logged once if times do not advance or are unlikely to be in seconds.

        Raises:
            NasionError: the frame is not a ``Frame``, or the tracker is closed.
        """
        if self.checks_times and isinstance(frame, Frame):
            self._times(frame.time)
        return self.networks.run(self.steps(frame), None if self.timings is None else self.timings.add)

    def steps(self, frame: Frame) -> Steps[list[Face]]:
        """Start tracking the next frame without calling a network; see ``Networks.run_together``.

        Raises:
            NasionError: the tracker is closed.
        """
        if self._closed:
            raise NasionError("this tracker is closed; make a new one")
        return self.tracking.steps(frame)

    def reset(self) -> None:
        """Start a new video and drop all tracks. Their IDs are not reused."""
        self._times.reset()
        self.tracking.reset()

    def close(self) -> None:
        """Free the networks that this tracker loaded. Calling it again does nothing."""
        self._closed = True
        self._opened.close()


def _check_frame(frame: object) -> None:
    """Check the type of a frame; ``Frame`` itself validates its fields."""
    if not isinstance(frame, Frame):
        raise NasionError(
            f"the tracker was given an object of type {type(frame).__name__}; "
            "give a nasion.Frame(image=image, time=seconds, index=number)"
        )


def _chosen(options: TrackerOptions | None, overrides: TrackerKeywords) -> TrackerOptions:
    """Return ``options`` (None for the defaults) with the overrides applied.

    Raises:
        NasionError: ``options`` has the wrong type, or an option is unknown or not allowed.
    """
    if options is None:
        options = TrackerOptions()
    if isinstance(options, str | Path):
        raise NasionError(
            f"a tracker was given {str(options)!r} in place of its options; name the network: "
            f"Tracker(model={str(options)!r}); to track the faces of a video: nasion.track({str(options)!r})"
        )
    if not isinstance(options, TrackerOptions):
        raise NasionError(
            f"a tracker was given {options!r:.60} ({type(options).__name__}) in place of its options; give a "
            "TrackerOptions, or single options by name, such as Tracker(max_faces=1)"
        )
    return options.but(**overrides)


def _usable(region: Region, picture: Pixels) -> bool:
    """Return True if a face may be there: finite, at least ``SMALLEST``, at most 4 times the image, partly inside."""
    height, width = picture.shape[:2]
    half = region.side / 2
    return (
        math.isfinite(region.x + region.y + region.side + region.angle)
        and SMALLEST <= region.side <= 4 * max(width, height)
        and -half < region.x < width + half
        and -half < region.y < height + half
    )


def _open(model: str | Path | None, shipped: str, options: TrackerOptions) -> Runtime:
    """Load a network. A shipped one is an ONNX file, so a ``torch`` runtime meant for another network is not used."""
    runtime, device, name = options.runtime, options.device, model or shipped
    if runtime == "torch" and str(name) in (known := models()):
        others = {str(each) for each in (options.model, options.detector) if each} - known.keys()
        if others:
            runtime, device = "auto", "cpu" if device == "cpu" else "auto"
    longest = options.detect_size
    return open_runtime(model_path(name), runtime=runtime, threads=options.threads, device=device, longest=longest)
