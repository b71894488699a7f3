"""Job: one input with everything that decides its results. It can be pickled, so any process can do it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from ...engines.zoo import model_path
from ..sources.base import SourceInfo
from ..tracking.options import OWN, TrackerOptions
from ..tracking.tracker import Tracker
from ..values.source_options import MAX_PIXELS
from ..values.versions import versions
from .inputs import Input
from .journal import SUFFIX, JournalHeader

CHUNK = 512
"""Frames of a chunk, which is tracked on its own."""
_SHIPPED = {"detector": "face-detector", "landmarks": "landmarks-68"}


@dataclass(frozen=True, slots=True)
class Job:
    """Annotation of one input.

    Attributes:
        input: video, or set of images.
        out: folder of the outputs.
        formats: names of the formats to write; see ``exports.FORMATS``.
        options: options of the tracker; ``measures`` has no effect, because all measures are written.
        every: choose each frame whose number is a multiple of it.
        independent: True for images that are no sequence.
        overlay: also write a video, or images, with the faces drawn in.
        obscure: also write a video, or images, with the faces obscured by ``blur``, ``pixelate`` or ``box``; empty for
            none.
        report: also write a report in HTML.
        resume: continue what an earlier run has begun.
        force: replace what an earlier run has written.
        max_pixels: largest image to decode, in width times height.
        chunk: frames of a chunk.
    """

    input: Input
    out: Path
    formats: tuple[str, ...]
    options: TrackerOptions
    every: int = 1
    independent: bool = False
    overlay: bool = False
    obscure: str = ""
    report: bool = False
    resume: bool = False
    force: bool = False
    max_pixels: int = MAX_PIXELS
    chunk: int = field(default_factory=lambda: CHUNK)

    @property
    def kind(self) -> str:
        """Kind of the input: ``video``, ``sequence`` or ``images``."""
        if not self.input.images:
            return "video"
        return "images" if self.independent else "sequence"

    @property
    def journal(self) -> Path:
        """Path of the journal."""
        return self.path(SUFFIX)

    def path(self, suffix: str) -> Path:
        """Return the path of the output with a suffix, such as ``.jsonl``."""
        return self.out / f"{self.input.name}{suffix}"


def header_of(job: Job, tracker: Tracker, info: SourceInfo, content: Mapping[str, Any]) -> JournalHeader:
    """Return the header of the journal of a job.

    Args:
        job: the job.
        tracker: tracker with the networks of the job.
        info: description of the source.
        content: size and digest of the input, ``Content.figures``.
    """
    options = asdict(job.options) | {"model": job.options.model and str(job.options.model)}
    options["detector"] = job.options.detector and str(job.options.detector)
    del options["measures"]
    aligner = tracker.networks.aligner
    return JournalHeader(
        source=job.input.source,
        kind=job.kind,
        content=content,
        width=info.width,
        height=info.height,
        rate=None if info.rate is None else str(info.rate),
        frames=info.frames,
        every=job.every,
        chunk=job.chunk,
        options=options,
        obscure=job.obscure,
        scheme=aligner.scheme,
        landmarks=aligner.landmarks,
        visibility=aligner.visibility,
        models=_models(tracker),
        versions=versions(),
    )


def _models(tracker: Tracker) -> Mapping[str, Mapping[str, str]]:
    """Return name, digest and runtime of each network; they are read once for all inputs of a tracker."""
    if tracker not in _KNOWN:
        _KNOWN[tracker] = _read_models(tracker)
    return _KNOWN[tracker]


_KNOWN: WeakKeyDictionary[Tracker, Mapping[str, Mapping[str, str]]] = WeakKeyDictionary()


def _read_models(tracker: Tracker) -> Mapping[str, Mapping[str, str]]:
    options = tracker.options
    given = {"detector": options.detector, "landmarks": options.model, "faces": options.model}
    found = {}
    for role, network in tracker.runtimes.items():
        named = None if given[role] == OWN else given[role]
        with model_path(named or _SHIPPED[role]).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[role] = {
            "name": network.spec.name,
            "sha256": digest,
            "runtime": f"{network.provider} on {network.device}",
        }
    return found
