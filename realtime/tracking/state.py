"""State and decisions of the tracker of one video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self, cast

from ...engines.errors import NasionError
from ..faces.face import Face
from ..faces.frame import Frame
from ..images.pixels import Pixels, pixels_of
from ..measures.measurer import Measurer
from ..values.arrays import FloatArray
from ..values.geometry import Region
from ..values.landmarks import Landmarks
from ..values.schemes import SCHEMES
from ..values.times import Interval
from .detector import Detections, Views
from .observations import Observation, Observer
from .options import TrackerOptions as TrackerOptions
from .requests import Detect, Networks, Steps
from .score import CERTAIN, NEW
from .shots import ShotChangeDetector
from .smoothing import Smoothed, Smoother
from .tracks import Track, TrackManager

# The detector runs in the frame in which a track is lost, and again after this many more frames without the face.
ASK_AFTER = (0, 1, 2, 4, 8)
# Limit of these extra detections, because a face that flickers would cause one in every frame: five at first, and one
# more every five frames.
ASK_CREDIT, ASK_REFILL = 5.0, 5
# Scheduled detections of which one looks for small faces; more often in images from LARGE pixels on, whose decoding
# costs more than the detector.
FAR_EVERY, FAR_EVERY_LARGE, LARGE = 4, 2, 1280
WEAK_TRIES = 3  # weak detections that are tried at a time; their landmarks must be certain
LEARN_EVERY = 8  # frames after which the appearance of a face that is alone is described again


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Result of ``Tracking.search`` for a frame.

    Attributes:
        shot_change: True if the frame is the first of a new shot.
        detections: faces that the detector found, for each input size at which it ran.
    """

    shot_change: bool
    detections: Sequence[Detections] = ()


class Tracking:
    """State and decisions of a tracker. It calls no network: it yields requests and continues with the answers.

    ``steps`` runs ``search``, ``follow`` and smoothing. ``search`` and ``follow`` keep separate state, so one may run
    ahead of the other as long as each gets the frames in order.

    Attributes:
        options: tracker options.
        observer: looks for faces in regions, without a change of the tracks.
    """

    def __init__(
        self,
        options: TrackerOptions,
        *,
        threshold: float,
        sure: float = 0.0,
        views: Callable[[tuple[int, ...]], Views],
        scheme: str = "",
        permit: Callable[[], bool] = lambda: True,
    ) -> None:
        """Start without tracks.

        Args:
            options: tracker options; those that concern the networks are ignored.
            threshold: score at or above which a region contains a face.
            sure: score of the detector below which a detection is weak.
            views: further views of the detector of images of a shape; ``Detector.views``.
            scheme: name of the landmark scheme; empty if it is unknown.
            permit: called before the detector runs on a frame; False puts it off to a later frame.

        Raises:
            NasionError: a measure is not possible with the landmark scheme.
        """
        self.options: TrackerOptions = options
        self._permit = permit
        self._threshold, self._sure, self._views = threshold, sure, views
        self._scheme, self._scheme_name = SCHEMES.get(scheme), scheme
        self._measurer = Measurer(options.measures, self._scheme, focal_length=options.focal_length)
        self._shots = ShotChangeDetector()
        self.observer: Observer = Observer(threshold)
        least_new = NEW if options.min_score is None else 0.0
        self._tracks = TrackManager(keep=options.keep, max_faces=options.max_faces, least_new=least_new)
        self._smoother = Smoother(options.smooth)
        self._begin()

    def _begin(self) -> None:
        # state of search
        self._schedule = Interval()
        self._scheduled = 0
        self._put_off = self._look_put_off = False
        # state of follow
        self._shape: tuple[int, ...] = ()
        self._frames = self._alone = 0
        self._since_request = Interval()
        self._credit = ASK_CREDIT

    @property
    def is_detection_put_off(self) -> bool:
        """True if the detector was due in the last frame, but was not permitted."""
        return self._put_off

    @classmethod
    def over(cls, networks: Networks, options: TrackerOptions, *, permit: Callable[[], bool] = lambda: True) -> Self:
        """Start without tracks, with the thresholds, views and landmark scheme of networks.

        Raises:
            NasionError: a measure is not possible with the landmark scheme.
        """
        aligner = networks.aligner
        return cls(
            options,
            threshold=aligner.threshold if options.min_score is None else options.min_score,
            sure=networks.detector.threshold,
            views=networks.detector.views,
            scheme=aligner.scheme,
            permit=permit,
        )

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
        image = pixels_of(frame.pixels)
        begins = self._schedule.never
        shot_change = self._shots.update(image)
        is_due = self._schedule.passed(frame.time, self.options.detect_interval)
        if not (is_due or shot_change or self._put_off):
            return SearchResult(shot_change)
        looks_closely = begins or shot_change or self._look_put_off
        self._put_off = not self._permit()
        self._look_put_off = self._put_off and looks_closely
        if self._put_off:
            return SearchResult(shot_change)
        self._schedule.begin(frame.time)
        views = self._views(image.shape)
        if looks_closely:
            return SearchResult(shot_change, (yield from self._look_closely(image, views)))
        self._scheduled += 1
        every = FAR_EVERY if max(image.shape[:2]) < LARGE else FAR_EVERY_LARGE
        far = views.far if self._scheduled % every == 0 else None
        return SearchResult(shot_change, [(yield from _detect(image, far))])

    def _look_closely(self, image: Pixels, views: Views) -> Steps[list[Detections]]:
        """Detect faces of all sizes in the first frame of a shot, and rotated ones if none is upright."""
        found: list[Detections] = []
        for size in views.sizes:
            found += [(yield from _detect(image, size))]
        for turns in views.turns:
            if not any((each.scores >= self._sure).any() for each in found):
                found += [(yield from _detect(image, turns=turns))]
        return found

    def follow(self, frame: Frame, found: SearchResult) -> Steps[list[Face]]:
        """Align the face of every track, add new tracks, and smooth the landmarks."""
        image = pixels_of(frame.pixels)
        self._frames += 1
        self._resize(image.shape)
        if found.shot_change:
            self._tracks.end_shot()
        yield from self._follow_known(image, frame.time)
        alone = self._since_request.passed(frame.time, self.options.detect_interval / 3)
        self._credit = min(self._credit + 1 / ASK_REFILL, ASK_CREDIT)
        detections = found.detections
        if not detections and self._must_ask(alone and not self._tracks.in_sight):
            detections = [(yield from _detect(image, *self._next_view(image)))]
        if detections:
            self._since_request.begin(frame.time)
        for each in detections:
            yield from self._add_new(image, frame.time, each)
        self._tracks.expire(frame.time)
        size = image.shape[1], image.shape[0]
        tracks = self._tracks.in_sight
        points, boxes = yield from self._smoothed(tracks, frame.time)
        faces = [
            self._face(track, size, frame.time, each, box)
            for track, each, box in zip(tracks, points, boxes, strict=True)
        ]
        return self._measurer.add_openings(faces)

    def _smoothed(self, tracks: Sequence[Track], time: float) -> Steps[tuple[Iterable[FloatArray], ...]]:
        """Smooth the landmarks of the faces in sight; return them with their bounding boxes."""
        seen = [track.observation for track in tracks]
        points, boxes = [each.points for each in seen], [each.box for each in seen]
        request = self._smoother.request([track.id for track in tracks], points, boxes, time=time)
        if request is None:
            return points, boxes
        answer = cast(Smoothed, (yield request))
        self._smoother.finish(request, answer)
        return answer.points.copy(), answer.boxes  # the caller may modify them

    def _face(self, track: Track, size: tuple[int, int], time: float, points: FloatArray, box: FloatArray) -> Face:
        """Return the face of a track in a frame of this width and height, with its pose if that is measured."""
        seen = track.observation
        pose = self._measurer.pose(seen.points, seen.confidence, size)
        return Face(
            track.id,
            box,
            seen.score,
            Landmarks(points, self._scheme),
            seen.confidence,
            seen.visibility,
            self._smoother.pose(track.id, pose, time),
            scheme=self._scheme_name,
        )

    def _resize(self, shape: tuple[int, ...]) -> None:
        """Adapt the tracks to a frame of another size than the last one."""
        if self._shape and shape[:2] != self._shape[:2]:
            self._tracks.scale(shape[1] / self._shape[1], shape[0] / self._shape[0])
            self._smoother.reset()
        self._shape = shape

    def _next_view(self, image: Pixels) -> tuple[int | None, int]:
        """Return input size and quarter turns for an extra detection: all in turn while no face is in sight."""
        if self._tracks.in_sight:
            return None, 0
        self._alone += 1
        views = self._views(image.shape)
        upright = [None, *views.near, *([views.far] if views.far else [])]  # small faces last: they are rarer
        all_views = [*((size, 0) for size in upright), *((None, turns) for turns in views.turns)]
        return all_views[self._alone % len(all_views)]

    def reset(self) -> None:
        """Start a new video and drop all tracks. Their IDs are not reused."""
        self._shots.reset()
        self._tracks.clear()
        self._smoother.reset()
        self._begin()

    def _follow_known(self, image: Pixels, time: float) -> Steps[None]:
        """Look for the face of each track where it is expected, and again where a face has moved much."""
        expected = [track for track in self._tracks.next_frame() if track.is_looked_for(time)]
        owners, places = [], []
        for track in expected:
            regions = track.places(time)
            owners += [track] * len(regions)
            places += regions
        # A face that is alone needs no comparison; its appearance is described now and then.
        alone = len(expected) == 1 and expected[0].misses == 1
        appearance = not alone or self._frames % LEARN_EVERY == 0
        observations = yield from self.observer.observe(image, places, appearance=appearance)
        best: dict[Track, tuple[Region, Observation]] = {}
        for track, place, observation in zip(owners, places, observations, strict=True):
            if observation is not None and (track not in best or observation.certainty > best[track][1].certainty):
                best[track] = place, observation
        yield from self.observer.observe_again(image, best, appearance=appearance)
        for track, (_, observation) in best.items():
            self._tracks.update(track, observation, time)
        self._tracks.separate()

    @property
    def in_sight(self) -> list[Track]:
        """Tracks seen in the current frame, in order of creation."""
        return self._tracks.in_sight

    def follow_on(self, frame: Frame) -> None:
        """Take a frame as the one before the first, so that a shot change in the first is detected."""
        self._shots.update(pixels_of(frame.pixels))

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
            return self._permit()
        if self._credit < 1 or not self._permit():
            return False
        self._credit -= 1
        return True

    def _add_new(self, image: Pixels, time: float, detections: Detections) -> Steps[None]:
        """Confirm the detections that match no track in sight, and associate them with lost or new tracks.

        Weak ones, and those of a rotated image, come second, because they must be faces for certain.
        """
        height, width = image.shape[:2]
        sure: list[Region] = []
        weak: list[Region] = []
        for region, score in zip(detections.regions, detections.scores.tolist(), strict=True):
            if region.may_hold_face(width, height):
                (sure if score >= self._sure and not detections.turns else weak).append(region)
        yield from self._confirm(image, time, self._tracks.unmatched(sure), least=self._threshold)
        if weak:
            # A face that is coming back is half covered at first, and would get a new ID.
            new = [region for region in self._tracks.unmatched(weak) if not self._tracks.awaits(region, time)]
            yield from self._confirm(image, time, new[:WEAK_TRIES], least=max(self._threshold, CERTAIN))

    def _confirm(self, image: Pixels, time: float, regions: list[Region], *, least: float) -> Steps[None]:
        """Align the faces in regions, and associate those with a score of ``least`` with lost or new tracks."""
        while regions and (room := self._tracks.room) > 0:
            batch, regions = regions[:room], regions[room:]
            # Align twice: the second crop, upright around the landmarks, is the kind of crop used for tracking.
            rough = yield from self.observer.observe_turned(image, batch)
            closer = [observation.region for observation in rough]
            observations = yield from self.observer.observe(image, closer, least=least, appearance=True)
            self._tracks.associate([observation for observation in observations if observation is not None], time)


def _detect(image: Pixels, size: int | None = None, turns: int = 0) -> Steps[Detections]:
    return cast(Detections, (yield Detect(image, size, turns)))


def _check_frame(frame: object) -> None:
    """Check the type of a frame; ``Frame`` itself validates its fields."""
    if not isinstance(frame, Frame):
        raise NasionError(
            f"the tracker was given an object of type {type(frame).__name__}; "
            "give a nasion.Frame(image=image, time=seconds, index=number)"
        )
