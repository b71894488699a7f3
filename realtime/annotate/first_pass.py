"""First pass: decodes the chosen frames once and records what the networks see, forward and back, chunk by chunk.

A chunk is tracked on its own: it depends on its frames and on the frame before them, not on the chunks before. So a
resumed run goes on at any chunk with the same results, and chunks could be tracked anywhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from ...engines.closing import Closing
from ...engines.errors import SourceError
from ..faces.frame import Frame
from ..images.pixels import pixels_of
from ..sources import Source, open_source
from ..sources.base import SourceInfo
from ..sources.image_files.reading import read_image
from ..sources.image_files.sources import FOLDER_RATE
from ..sources.media import open_stored_video
from ..tracking.appearance import similarity
from ..tracking.observations import Observation
from ..tracking.options import TrackerOptions
from ..tracking.requests import Networks, Steps
from ..tracking.shots import ShotChangeDetector
from ..tracking.state import Tracking
from ..tracking.tracks import BACK, SAME, Track
from ..values.arrays import FloatArray
from ..values.geometry import containment
from .inputs import at_hand
from .job import Job
from .journal import Chunk, JournalFace, JournalFrame, Whole, checksum

_IMAGES_AT_A_TIME = 16  # independent images that go through the networks together
_LOOK_BACK = 2.0  # seconds for which a new face is looked for in the frames before
_MOST_BYTES = 256 << 20  # of the frames that are kept for looking back
_BRIEF = 3  # frames after a shot change in which the shot before it may go on
_ROUNDING = 1e-3  # seconds before a frame at which a video is opened


@dataclass(frozen=True, slots=True)
class Unread:
    """Image that cannot be read: its number and the reason."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Opened(Closing):
    """Chosen frames of a job that are ready to be read. Closing it closes the source.

    Attributes:
        info: description of the source.
        frames: the chosen frames, in order, and in their places the images that cannot be read.
        before: frame before them, if there is one.
        source: open source of a video; None for images.
    """

    info: SourceInfo
    frames: Iterator[Frame | Unread]
    before: Frame | None = None
    source: Source | None = None

    def with_frames(self, frames: Iterator[Frame | Unread]) -> Opened:
        """Return the same with frames that pass through another iterator."""
        return replace(self, frames=frames)

    def close(self) -> None:
        """Close the source."""
        if self.source is not None:
            self.source.close()


def open_frames(job: Job, done: Whole) -> Opened:
    """Open the input of a job behind the part that is done.

    A video is opened at the last frame of that part. If the frame there is another one, as in a file whose timestamps
    are damaged, it is decoded from the beginning.

    Raises:
        SourceError: the input cannot be read, or no longer has the frames that are done.
    """
    last = done.last
    if job.input.images:
        return _open_images(job, None if last is None else last.index)
    if last is None:
        return open_after(job, None, None)
    for start in (last.time, None):
        try:
            opened = open_after(job, last.index, start)
        except SourceError:
            if start is None:
                raise
            continue
        before = opened.before
        if before is not None and before.index == last.index and checksum(before) == done.pixels:
            return opened if start is None else replace(opened, info=_whole_info(job))
        opened.close()
    raise SourceError(
        f"{job.input.source}: frame {last.index} is not the one of the journal; annotate it from the beginning with "
        "--force"
    )


def open_after(job: Job, index: int | None, time: float | None) -> Opened:
    """Open the input of a job behind a frame.

    Args:
        job: the job.
        index: number of that frame, which is ``before`` of the result; None to begin with the first frame.
        time: time in seconds, not after that frame, from which a video is read; None for its beginning.

    Raises:
        SourceError: the input cannot be read.
    """
    if job.input.images:
        return _open_images(job, index)
    source = open_video(job, time)
    frames = _chosen(source, job.every)
    if index is None:
        return Opened(source.info, frames, source=source)
    try:
        before = next((frame for frame in frames if frame.index >= index), None)
    except BaseException:
        source.close()
        raise
    return Opened(source.info, frames, before, source)


def _whole_info(job: Job) -> SourceInfo:
    """Return the description of a video as it is when it is read from the beginning."""
    with open_video(job) as source:
        return source.info


def open_video(job: Job, time: float | None = None) -> Source:
    """Open the video of a job at the frame with a time in seconds, which may be rounded; None for the first frame.

    Raises:
        SourceError: it cannot be read.
    """
    start = None if time is None else max(time - _ROUNDING, 0.0)
    if job.input.url:
        return open_stored_video(job.input.url, start=start)
    return open_source(job.input.source, start=start, max_pixels=job.max_pixels)


def _chosen(source: Iterable[Frame], every: int) -> Iterator[Frame]:
    return (frame for frame in source if frame.index % every == 0)


def _open_images(job: Job, last: int | None) -> Opened:
    """Open the images behind number ``last``; the size of the first that can be read is that of the input."""
    paths = job.input.images
    numbers = range(0, len(paths), job.every)
    first = next((read for i in numbers if isinstance(read := read_image_of(job, i), Frame)), None)
    if first is None:
        raise SourceError(f"{job.input.source}: none of its {len(paths)} images can be read; give images")
    info = SourceInfo(
        job.input.source, first.width, first.height, FOLDER_RATE, len(paths), float(len(paths) / FOLDER_RATE)
    )
    begin = 0 if last is None else last + job.every
    earlier = (read_image_of(job, i) for i in range(begin - job.every, -1, -job.every))
    before = next((read for read in earlier if isinstance(read, Frame)), None)
    return Opened(info, (read_image_of(job, i) for i in range(begin, len(paths), job.every)), before)


def read_image_of(job: Job, index: int) -> Frame | Unread:
    """Read the image with a number as a frame, or return the reason why it cannot be read."""
    try:
        with at_hand(job.input.images[index]) as path:
            image = read_image(path, job.max_pixels)
        return Frame(image, float(index / FOLDER_RATE), index, job.input.source)
    except SourceError as error:
        return Unread(index, str(error))


def chunks(
    job: Job, opened: Opened, networks: Networks, *, size: int, first: int = 0, digests: Sequence[str] = ()
) -> Iterator[Chunk]:
    """Yield the chunks of a job of ``size`` frames, from number ``first`` on.

    Args:
        job: the job.
        opened: its frames.
        networks: detector and aligner.
        size: number of frames of a chunk.
        first: number of the first chunk.
        digests: digests of its images; see ``Input.content``.

    Raises:
        SourceError: reading failed; every frame before it has been yielded.
    """
    before, number = opened.before, first
    frames = _until_error(opened.frames)
    while True:
        run = _Run(islice(frames, size), job.input.images, digests)
        make = independent_images if job.independent else track_chunk
        chunk = make(run, before, networks, job.options, number)
        if chunk.frames:
            yield chunk
        if run.error is not None:
            raise run.error
        if run.count < size:
            return
        before, number = run.last or before, number + 1


def _until_error(frames: Iterator[Frame | Unread]) -> Iterator[Frame | Unread | SourceError]:
    """Yield the frames, and an error of reading in place of the frame at which it happened."""
    try:
        yield from frames
    except SourceError as error:
        yield error


class _Run:
    """Frames of one chunk that are read as they are needed.

    Attributes:
        count: number of frames read.
        last: last frame that could be read.
        unread: frames without an image.
        error: error of reading that ended the run.
    """

    def __init__(
        self, frames: Iterator[Frame | Unread | SourceError], images: Sequence[Path], digests: Sequence[str]
    ) -> None:
        self._frames, self._images, self._digests = frames, images, digests
        self.count = 0
        self.last: Frame | None = None
        self.unread: list[JournalFrame] = []
        self.error: SourceError | None = None

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames:
            if isinstance(frame, SourceError):
                self.error = frame
                return
            self.count += 1
            if isinstance(frame, Unread):
                time = float(frame.index / FOLDER_RATE)
                self.unread.append(
                    JournalFrame(frame.index, time, (0, 0), file=self.name(frame.index), damage=frame.reason)
                )
                continue
            self.last = frame
            yield frame

    def name(self, index: int) -> str:
        """Return the name of the image file of a frame; empty for a video."""
        return self._images[index].name if self._images else ""

    def record(self, frame: Frame) -> JournalFrame:
        """Return an empty record of a frame."""
        size = frame.width, frame.height
        digest = self._digests[frame.index] if self._images else ""
        return JournalFrame(frame.index, round(frame.time, 6), size, file=self.name(frame.index), digest=digest)

    def chunk(self, number: int, frames: list[JournalFrame], appearance: dict[int, FloatArray]) -> Chunk:
        """Return the chunk of the tracked frames, with those that could not be read in their places."""
        ordered = sorted([*frames, *self.unread], key=lambda frame: frame.index)
        return Chunk(number, ordered, appearance, 0 if self.last is None else checksum(self.last))


def independent_images(
    run: _Run, before: Frame | None, networks: Networks, options: TrackerOptions, number: int
) -> Chunk:
    """Return the chunk of images that are no sequence: each is tracked as the first frame of a video."""
    records: list[JournalFrame] = []
    images = iter(run)
    while frames := list(islice(images, _IMAGES_AT_A_TIME)):
        trackers = [Tracking.over(networks, _unsmoothed(options)) for _ in frames]
        networks.run_together([tracking.steps(frame) for tracking, frame in zip(trackers, frames, strict=True)])
        for frame, tracking in zip(frames, trackers, strict=True):
            record = run.record(frame)
            record.faces = [JournalFace.of(track.id, track.observation) for track in tracking.in_sight]
            records.append(record)
    return run.chunk(number, records, {})


def track_chunk(run: _Run, before: Frame | None, networks: Networks, options: TrackerOptions, number: int) -> Chunk:
    """Return the chunk of a run of frames, tracked forward, and back from where a face appeared."""
    look = _Look(networks, options)
    if before is not None:
        look.begin_after(before)
    records = []
    for frame in run:
        record = run.record(frame)
        look(frame, record)
        records.append(record)
    return run.chunk(number, records, look.appearance)


def _unsmoothed(options: TrackerOptions) -> TrackerOptions:
    return replace(options, smooth="none", measures=())


class _Look:
    """Tracker of one chunk that looks back wherever a face appears.

    Attributes:
        appearance: latest descriptor of the face of each track.
    """

    def __init__(self, networks: Networks, options: TrackerOptions) -> None:
        self._networks = networks
        self._tracking = Tracking.over(networks, _unsmoothed(options))
        self.appearance: dict[int, FloatArray] = {}
        self._recent: deque[tuple[Frame, JournalFrame]] = deque()
        self._bytes = 0
        self._shots = ShotChangeDetector()  # knows the last frame of the shot before a change
        self._last: Frame | None = None
        self._changed: tuple[ShotChangeDetector, int, int] | None = None

    def begin_after(self, frame: Frame) -> None:
        """Take a frame as the one before the chunk."""
        self._tracking.follow_on(frame)
        self._last = frame

    def __call__(self, frame: Frame, record: JournalFrame) -> None:
        """Track the next frame and fill in its record."""
        run, tracking = self._networks.run, self._tracking
        found = run(tracking.search(frame))
        run(tracking.follow(frame, found))
        record.shot = found.shot_change
        if found.detections:
            boxes = np.concatenate([each.boxes for each in found.detections])
            record.detections = np.asarray(boxes, np.float64).round(1).tolist()
        self._look_across(frame, record)
        before = self._recent[-1][1] if self._recent else None
        present = {face.track for face in before.faces} if before else set()
        tracks = tracking.in_sight
        record.faces = [JournalFace.of(track.id, track.observation) for track in tracks]
        for track in tracks:
            if track.appearance is not None:
                self.appearance[track.id] = track.appearance
            if track.id not in present and not found.shot_change:
                run(self._look_back(track))
        self._remember(frame, record)

    def _look_across(self, frame: Frame, record: JournalFrame) -> None:
        """Record whether the shot before a recent shot change goes on in this frame, as after a flash."""
        if self._changed is not None:
            shots, changed, count = self._changed
            if not copy(shots).update(pixels_of(frame.pixels)):
                record.resumes, self._changed = changed, None
            else:
                self._changed = (shots, changed, count + 1) if count + 1 < _BRIEF else None
        elif record.shot and self._last is not None:
            shots = ShotChangeDetector()
            shots.update(pixels_of(self._last.pixels))
            self._changed = shots, record.index, 0
        self._last = frame

    def _look_back(self, track: Track) -> Steps[None]:
        """Look for the face of a track in the frames before it appeared, newest first, until it is not found."""
        region, way = track.observation.region, (0.0, 0.0)
        for frame, record in reversed(self._recent):
            if any(face.track == track.id for face in record.faces):
                return
            place = replace(region, x=region.x + way[0], y=region.y + way[1])
            (seen,) = yield from self._tracking.observer.find(pixels_of(frame.pixels), [place])
            if seen is None or not _is_free(seen, record):
                return
            alike = similarity(track.appearance, seen.appearance)
            if alike is not None and alike < BACK:
                return
            record.faces.append(JournalFace.of(track.id, seen, back=True))
            way = seen.region.x - region.x, seen.region.y - region.y
            region = seen.region
            if record.shot:
                return

    def _remember(self, frame: Frame, record: JournalFrame) -> None:
        """Keep the frame for looking back, and forget those that are too old or too many."""
        recent, size = self._recent, frame.width * frame.height * 3
        recent.append((frame, record))
        self._bytes += size
        while len(recent) > 1 and (self._bytes > _MOST_BYTES or frame.time - recent[0][0].time > _LOOK_BACK):
            old, _ = recent.popleft()
            self._bytes -= old.width * old.height * 3


def _is_free(seen: Observation, record: JournalFrame) -> bool:
    """Return True if no face that is known in a frame is where another one was found."""
    if not record.faces:
        return True
    boxes = np.stack([np.concatenate([face.points.min(axis=0), face.points.max(axis=0)]) for face in record.faces])
    return bool(containment(seen.box[None], boxes).max() <= SAME)
