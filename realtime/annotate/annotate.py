"""``nasion.annotate``: every frame of files, in the formats of the field."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Unpack

from ...engines.errors import NasionError
from ..tracking.options import TrackerKeywords
from ..tracking.tracker import Tracker, chosen_options
from ..values.numeric import is_whole
from ..values.source_options import MAX_PIXELS
from .alone import FolderLock, alone_in, remove_parts
from .annotating import Tell, check_outputs
from .exports import chosen_formats
from .inputs import find_inputs
from .job import Job
from .results import Result
from .workers.cluster import ClusterOptions, run_on_cluster
from .workers.processes import run_here, run_in_processes

OBSCURE = ("blur", "pixelate", "box")
"""How faces can be obscured."""


def annotate(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    formats: str | Sequence[str] = ("jsonl",),
    every: int = 1,
    independent: bool = False,
    overlay: bool = False,
    obscure: str | None = None,
    report: bool = False,
    workers: int = 1,
    resume: bool = False,
    force: bool = False,
    max_pixels: int = MAX_PIXELS,
    cluster: str | None = None,
    cpus_per_worker: float = 1.0,
    gpus_per_worker: float = 0.0,
    retries: int = 3,
    progress: Tell | None = None,
    **options: Unpack[TrackerKeywords],
) -> list[Result]:
    """Annotate every frame of videos and images: ``nasion.annotate("film.mp4", "annotations")``.

    A first pass records what the networks see in a journal for each input. Everything else derives from it, with the
    frames before and behind in sight: identities are joined over gaps, gaps are filled, landmarks are smoothed without
    lag, and all measures are added. A run that was stopped or killed goes on with ``resume``, and its outputs are the
    same to the byte.

    Args:
        paths: a video, an image, a folder, a glob, or a list of these. A folder is searched with the folders in it;
            each video is an input, and so are the images of a folder together.
        out: folder of the outputs, ``NAME.journal``, ``NAME.jsonl`` and so on.
        formats: formats to write: ``jsonl``, ``csv``, ``parquet``, ``coco``, ``cvat``, ``pts`` and ``vtt``, the last
            not for independent images.
        every: annotate each frame whose number is a multiple of this.
        independent: images are no sequence: each is annotated on its own.
        overlay: also write a video, or images, with the faces drawn in.
        obscure: also write a video, or images, with every face obscured: ``blur``, ``pixelate`` or ``box``.
        report: also write a report in HTML for each input.
        workers: processes, each of which does one input at a time. They change no result.
        resume: continue what an earlier run with the same inputs and options has begun.
        force: replace what an earlier run has written.
        max_pixels: largest image file to decode, in width times height.
        cluster: address of a Ray cluster that does the work: ``auto``, ``host:6379`` or ``ray://host:10001``, or
            ``local`` for one of this machine; None for ``workers`` processes.
        cpus_per_worker: cores of each worker of the cluster.
        gpus_per_worker: GPUs of each worker of the cluster, such as 0.25.
        retries: number of times that a task of the cluster is repeated whose worker has ended.
        progress: called after frames with the name of the input, the frames done and their estimated total.
        **options: fields of ``TrackerOptions``; ``smooth`` is the strength of the smoothing without lag, and
            ``measures`` has no effect, because all are written.

    Returns:
        A result for each input, in their order: counts, outputs, and the error of an input that failed. One input
        that fails does not stop the others.

    Raises:
        NasionError: an option is unknown or not allowed, or a network cannot be loaded.
        SourceError: no path leads to a video or image.
        SinkError: another run writes into ``out``, or an output exists and neither ``resume`` nor ``force`` is given.
        MissingExtra: a .parquet file needs pyarrow, which is not installed.

    Examples:
        >>> import nasion
        >>> (result,) = nasion.annotate("video.mp4", "annotations", formats=["jsonl", "coco"])
        >>> result.complete, result.identities
        (True, 1)
    """
    with prepared(
        [paths] if isinstance(paths, str | os.PathLike) else paths,
        Path(out),
        formats=formats,
        every=every,
        independent=independent,
        overlay=overlay,
        obscure=obscure,
        report=report,
        workers=workers,
        resume=resume,
        force=force,
        max_pixels=max_pixels,
        cluster=None if cluster is None else ClusterOptions(cluster, cpus_per_worker, gpus_per_worker, retries),
        progress=progress,
        **options,
    ) as ready:
        found = {result.name: result for result in ready.results()}
        return [found[job.input.name] for job in ready.jobs]


class PreparedJobs:
    """Jobs that are checked and ready to be done.

    Attributes:
        jobs: one for each input.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        tracker: Tracker,
        workers: int,
        cluster: ClusterOptions | None,
        tell: Tell,
        lock: FolderLock,
    ) -> None:
        """Keep what ``results`` needs."""
        self.jobs: Sequence[Job] = jobs
        self.tracker: Tracker = tracker
        self._workers, self._cluster, self._tell, self._lock = workers, cluster, tell, lock

    def results(self) -> Iterator[Result]:
        """Run the jobs, and yield each result when it is there."""
        if self._cluster is not None:
            yield from run_on_cluster(self.jobs, self._cluster, self._tell)
        elif self._workers > 1 and len(self.jobs) > 1:
            yield from run_in_processes(self.jobs, self._workers, self._tell, self._lock)
        else:
            yield from run_here(self.jobs, self.tracker, self._tell)


@contextmanager
def prepared(
    paths: Sequence[str | os.PathLike[str]],
    out: Path,
    *,
    formats: str | Sequence[str] = ("jsonl",),
    every: int = 1,
    independent: bool = False,
    overlay: bool = False,
    obscure: str | None = None,
    report: bool = False,
    workers: int = 1,
    resume: bool = False,
    force: bool = False,
    max_pixels: int = MAX_PIXELS,
    cluster: ClusterOptions | None = None,
    progress: Callable[[str, int, int | None], None] | None = None,
    **options: Unpack[TrackerKeywords],
) -> Iterator[PreparedJobs]:
    """Find the inputs, check options and outputs, and load the networks; see ``annotate``."""
    for name, value in (("every", every), ("workers", workers)):
        if not is_whole(value) or value < 1:
            raise NasionError(f"{name}={value!r:.60} is not allowed; give a whole number from 1")
    if obscure is not None and obscure not in OBSCURE:
        raise NasionError(f"obscure={obscure!r:.60} is not allowed; choose from {', '.join(OBSCURE)}")
    if obscure and every > 1:
        raise NasionError(f"every={every} leaves frames out, which cannot be obscured then; leave every or obscure out")
    if cluster is not None and workers > 1:
        raise NasionError(
            f"workers={workers} is for this machine alone, and a cluster has its own; leave one of them out"
        )
    if resume and force:
        raise NasionError("resume continues what is there and force replaces it; give one of them")
    if obscure:  # a face is obscured only where it is found
        options.setdefault("detect_interval", OBSCURE_INTERVAL)
    chosen = chosen_options(None, options)
    found = find_inputs(paths, without=out)
    names = chosen_formats(formats, independent=independent and any(each.images for each in found))
    jobs = [
        Job(
            each,
            out,
            names,
            chosen,
            every=int(every),
            independent=independent,
            overlay=overlay,
            obscure=obscure or "",
            report=report,
            resume=resume,
            force=force,
            max_pixels=max_pixels,
        )
        for each in found
    ]
    with alone_in(out, wait=resume) as lock:
        for job in jobs:
            if not job.input.problem:
                check_outputs(job)
        remove_parts(job.journal.parent for job in jobs)
        with Tracker(chosen) as tracker:
            yield PreparedJobs(jobs, tracker, int(workers), cluster, progress or _silent, lock)


OBSCURE_INTERVAL = 0.1
"""Seconds between two detections if faces are obscured and the user does not set them."""


def _silent(name: str, done: int, total: int | None) -> None:
    """Show nothing."""
