"""Videos and images with the faces drawn in, or with the faces obscured, from the journal and the source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePath

import cv2
import numpy as np

from ....engines.errors import SourceError
from ....engines.output_paths import writing
from ...faces.drawing import draw
from ...faces.face import Face
from ...faces.frame import Frame
from ...sinks.base import Sink
from ...sinks.video import VideoSink
from ...sources.base import SourceInfo
from ...values.arrays import Image
from ..exports.base import Annotations
from ..exports.whole import aside
from ..first_pass import open_frames
from ..inputs import digest_of
from ..job import Job
from ..journal import Whole
from ..look_ahead.annotation import Annotated
from .obscuring import Area, areas, obscured

OVERLAY, OBSCURED = "overlay", "obscured"


def rendered_paths(job: Job) -> dict[str, Path]:
    """Return the paths of the rendered outputs of a job: videos, or folders for independent images."""
    wanted = {OVERLAY: job.overlay, OBSCURED: bool(job.obscure)}
    suffix = "" if job.kind == "images" else ".mp4"
    return {name: job.path(f".{name}{suffix}") for name, is_wanted in wanted.items() if is_wanted}


def render(job: Job, annotations: Annotations, outputs: Mapping[str, Path]) -> None:
    """Write the rendered outputs, each complete or not at all.

    Raises:
        SourceError: the source cannot be read, or has other frames than the journal.
        SinkError: an output cannot be written.
    """
    with ExitStack() as finished, open_frames(job, Whole()) as opened, ExitStack() as sinks:
        opened_sinks: dict[str, Sink] = {
            name: sinks.enter_context(_sink(job, finished.enter_context(aside(path)), opened.info))
            for name, path in outputs.items()
        }
        frames = (frame for frame in opened.frames if isinstance(frame, Frame))
        for frame, annotated, where in _together(frames, annotations, job):
            image = frame.image
            if job.obscure:
                image = obscured(image, where, job.obscure)
            if OBSCURED in opened_sinks:
                opened_sinks[OBSCURED].write(_named(frame, image, annotated), [])
            if OVERLAY in opened_sinks:
                opened_sinks[OVERLAY].write(_named(frame, image, annotated), annotated.faces)


def _together(
    frames: Iterator[Frame], annotations: Annotations, job: Job
) -> Iterator[tuple[Frame, Annotated, list[Area]]]:
    """Yield each frame with its annotation and the areas to obscure.

    Raises:
        SourceError: the source has fewer or other frames than the journal, or an image has changed.
    """
    planned = areas(annotations) if job.obscure else ((annotated, []) for annotated in annotations)
    for annotated, where in planned:
        try:
            frame = next(frames, None)
        except SourceError:  # the journal ends where the damage begins, and so do the outputs
            frame = None
        if frame is None or frame.index != annotated.frame.index:
            raise SourceError(
                f"{job.input.source}: frame {annotated.frame.index} of the journal is not where it was; annotate the "
                "input from the beginning with --force"
            )
        images = job.input.images
        if images and digest_of(images[frame.index]) != annotated.frame.digest:
            raise SourceError(f"{images[frame.index]} has changed since it was annotated; annotate the images again")
        yield frame, annotated, where


def _named(frame: Frame, image: Image, annotated: Annotated) -> Frame:
    return replace(frame, image=image, source=annotated.frame.file or frame.source)


def _sink(job: Job, path: Path, info: SourceInfo) -> Sink:
    return _ImageFolder(path) if job.kind == "images" else VideoSink(path, info)


class _ImageFolder(Sink):
    """Folder of images with the names of the originals."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with writing(path):
            path.mkdir(parents=True)

    def write(self, frame: Frame, faces: Sequence[Face]) -> None:
        """Write an image: JPEG if the original is one, otherwise PNG."""
        name = PurePath(frame.source or "")
        suffix = name.suffix if name.suffix.lower() in (".jpg", ".jpeg", ".png") else f"{name.suffix}.png"
        _, encoded = cv2.imencode(suffix.lower(), draw(frame.image, faces) if faces else np.asarray(frame.image))
        with writing(self._path):
            (self._path / f"{name.stem}{suffix}").write_bytes(encoded.tobytes())

    def close(self) -> None:
        """Return at once, because nothing is open."""
