"""One frame in, faces out. No threads: ``pipeline.py`` runs the three stages in several."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..engines.closing import Closing
from ..engines.errors import NasionError
from ..engines.runtime import Runtime, open_runtime
from ..engines.zoo import model_path, models
from .aligner import Aligner
from .cuts import CutDetector
from .detector import Detections, Detector
from .face_finder import MiddleFace
from .faces import Face, Frame, Image
from .geometry import Region
from .identity import Identities, Look
from .options import TrackerOptions as TrackerOptions
from .pixels import Pixels
from .smoother import Smoother
from .times import StepCheck

SMALLEST = 8.0  # pixels: a smaller region shows no face
# The detector is asked in the very frame in which a face is lost, and after so many more without it.
ASK_AFTER = (0, 1, 2, 4, 8)
# A face that comes and goes would have it asked all the time: five times, and once more each five frames.
ASK_CREDIT, ASK_REFILL = 5.0, 5


@dataclass(frozen=True, slots=True)
class Sighting:
    """What ``Tracker.search`` has to say of a frame.

    Attributes:
        cut: the frame is the first of a new shot.
        detections: what the detector sees; None where it did not look.
    """

    cut: bool
    detections: Detections | None


class Tracker(Closing):
    """Follows the faces of one video::

        with Tracker() as tracker:
            faces = tracker.update(Frame(image=picture, time=seconds, index=number))

    ``update`` is ``smooth`` of ``follow`` of ``search``. Each of the three keeps its own state and may run in
    a thread of its own, as long as each gets the frames in order.
    """

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
        """A tracker over networks that are loaded already and stay the caller's to close.

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
        self._steps = StepCheck()
        self.networks = {"detector": detector, "landmarks": aligner}
        if detector is aligner:
            self.networks = {"faces": aligner}
        self._detector = Detector(detector, size=options.detect_size)
        self._aligner = Aligner(MiddleFace(aligner) if aligner.spec.task == "faces" else aligner)
        # of search
        self._cuts = CutDetector()
        self._until_search = 0
        # of follow
        self._identities = Identities(keep=options.keep, max_faces=options.max_faces)
        self._since_look = 0
        self._credit = ASK_CREDIT
        # of smooth
        self._smoother = Smoother(options.smooth)

    def update(self, frame: Frame) -> list[Face]:
        """The faces of the next frame, by age of identity.

        The time of frames should increase. In the first frame of a face its landmarks are not smoothed. A time that
        repeats, or goes back by up to half a second, counts as the last time step known of the face; as long as none
        is, its landmarks are not smoothed. After more than half a second, forward or back, smoothing starts afresh.
        Where times do not advance, or are unlikely to be seconds, a warning is logged, once.

        Raises:
            NasionError: that is no frame, or the tracker is closed.
        """
        _check_frame(frame)
        self._steps(frame.time)
        return self.smooth(frame, self.follow(frame, self.search(frame)))

    def search(self, frame: Frame) -> Sighting:
        """First stage: is this a new shot, and, on schedule, which faces does the detector see.

        Raises:
            NasionError: that is no frame, or the tracker is closed.
        """
        if self._closed:
            raise NasionError("this tracker is closed; make a new one")
        _check_frame(frame)
        cut = self._cuts.update(frame.pixels)
        if cut or self._until_search == 0:
            self._until_search = self.options.detect_every
        due = self._until_search == self.options.detect_every
        self._until_search -= 1
        return Sighting(cut, self._detector.detect(frame.pixels) if due else None)

    def follow(self, frame: Frame, sighting: Sighting) -> list[Face]:
        """Second stage: the faces followed and found, with raw points."""
        if sighting.cut:
            self._identities.clear()
        self._follow_known(frame)
        detections = sighting.detections
        self._since_look += 1
        self._credit = min(self._credit + 1 / ASK_REFILL, ASK_CREDIT)
        if detections is None and self._must_ask():
            detections = self._detector.detect(frame.pixels)
        if detections is not None:
            self._since_look = 0
            self._meet(frame, detections)
        self._identities.forget(frame.time)
        return [person.face for person in self._identities.in_sight]

    def smooth(self, frame: Frame, faces: list[Face]) -> list[Face]:
        """Third stage: the same faces, calmed."""
        return self._smoother.smooth(faces, time=frame.time)

    def reset(self) -> None:
        """Begin a new video: forget all faces. Their identities are not given again."""
        self._steps.reset()
        self._cuts.reset()
        self._until_search = 0
        self._identities.clear()
        self._since_look, self._credit = 0, ASK_CREDIT
        self._smoother.reset()

    def close(self) -> None:
        """Free the networks that this tracker has loaded; calling it again does nothing."""
        self._closed = True
        self._opened.close()

    def _follow_known(self, frame: Frame) -> None:
        """Look for each face at its last place, all in one batch."""
        expected = self._identities.next_frame()
        looks = self._look(frame.pixels, [person.look.region for person in expected])
        for person, look in zip(expected, looks, strict=True):
            if look is not None:
                person.seen(look, frame.time)
        self._identities.part()

    def _must_ask(self) -> bool:
        """Whether the detector is to be asked although the schedule brought nothing."""
        identities = self._identities
        lost = any(person.misses - 1 in ASK_AFTER for person in identities.people)
        alone = self._since_look >= max(1, self.options.detect_every // 3) and not identities.in_sight
        if not (lost or alone) or identities.room <= 0:
            return False
        if alone:
            return True
        if self._credit < 1:
            return False
        self._credit -= 1
        return True

    def _meet(self, frame: Frame, detections: Detections) -> None:
        """Confirm what the detector sees beyond the faces in sight, and give it identities."""
        picture = frame.pixels
        regions = self._detector.regions(detections)
        strangers = self._identities.strangers([region for region in regions if _usable(region, picture)])
        while strangers and (room := self._identities.room) > 0:
            batch, strangers = strangers[:room], strangers[room:]
            # Twice, because the second crop, around the points and upright, is what following will see.
            rough = self._look(picture, batch, least=self._aligner.threshold / 2)
            looks = self._look(picture, [look.region for look in rough if look is not None])
            self._identities.meet([look for look in looks if look is not None], frame.time)

    def _look(self, picture: Image | Pixels, regions: list[Region], *, least: float | None = None) -> list[Look | None]:
        """The face in each region, or None where presence is below ``least`` (None for the network's own)."""
        if not regions:
            return []
        least = self._aligner.threshold if least is None else least
        found = self._aligner.align(picture, regions)
        boxes, places = self._aligner.places_of(found.points)
        seen = zip(found.points, found.confidence, found.presence.tolist(), boxes, places, strict=True)
        return [Look(*look) if look[2] >= least and _usable(look[4], picture) else None for look in seen]


def _check_frame(frame: object) -> None:
    """Check that a frame is one; ``Frame`` itself has checked what it holds."""
    if not isinstance(frame, Frame):
        raise NasionError(
            f"the tracker was given a {type(frame).__name__}; "
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
            f"a tracker was given a {type(options).__name__} in place of its options; give a TrackerOptions, "
            "or single options by name, such as Tracker(max_faces=1)"
        )
    return options.but(**overrides)


def _usable(region: Region, picture: Image | Pixels) -> bool:
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
