"""Single-threaded tracker for the faces of one video."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Self, Unpack

from ...engines.closing import Closing
from ...engines.errors import NasionError
from ...engines.runtime import Runtime
from ...engines.select import open_runtime
from ...engines.zoo import model_path, models
from ..faces.face import Face
from ..faces.frame import Frame
from ..threads.timing import Timings
from ..values.times import StepCheck
from .aligner import Aligner
from .detector import Detector
from .face_finder import MiddleFace
from .options import OWN, TrackerKeywords
from .options import TrackerOptions as TrackerOptions
from .requests import Networks, Steps
from .state import Tracking


class Tracker(Closing):
    """Tracker for the faces of one video, with its own networks or shared ones.

    A tracker belongs to one video and to the process that created it. Its frames may come from any thread, one at a
    time. Trackers of several videos may run in several threads and share networks (``from_networks``).

    Attributes:
        options: tracker options.
        runtimes: loaded networks by name: ``detector`` and ``landmarks``, or ``faces`` if one network is both.
        networks: detector and aligner that answer the requests of the tracker.
        tracking: state and decisions.
        timings: receives the time of every update; None to measure nothing.
        checks_times: if True, log a warning when the times of frames are unlikely to be in seconds. A pipeline
            disables it, because its source generates the times.

    Examples:
        >>> import nasion
        >>> with nasion.open_source("video.mp4") as video, nasion.Tracker(smooth="strong") as tracker:
        ...     faces = [tracker.update(frame) for frame in video]
        >>> faces[-1][0].id
        1
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
        options = chosen_options(options, overrides)
        with ExitStack() as opened:
            aligner = opened.enter_context(_open(options.model, "landmarks-68", options))
            detector = aligner
            if options.detector != OWN:
                detector = opened.enter_context(_open(options.detector, "face-detector", options))
            elif aligner.spec.task != "faces":
                raise NasionError(
                    f"model {aligner.spec.name!r} does not find faces itself, so detector {OWN!r} is not allowed; "
                    "leave it out for the shipped detector"
                )
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
        tracker._begin(detector, aligner, chosen_options(options, overrides))
        return tracker

    def _begin(self, detector: Runtime, aligner: Runtime, options: TrackerOptions) -> None:
        self.options: TrackerOptions = options
        self._closed = False
        self._process, self._busy = os.getpid(), threading.Lock()
        self._times = StepCheck()
        self.runtimes: dict[str, Runtime] = (
            {"faces": aligner} if detector is aligner else {"detector": detector, "landmarks": aligner}
        )
        self.networks: Networks = Networks(
            Detector(detector, size=options.detect_size),
            Aligner(MiddleFace(aligner) if aligner.spec.task == "faces" else aligner),
        )
        self.tracking: Tracking = Tracking.over(self.networks, options)

    def update(self, frame: Frame) -> list[Face]:
        """Track the next frame and return its faces, oldest track first.

        The times of frames should increase. Landmarks are not smoothed in the first frame of a track. If a time
        repeats, or goes back by up to half a second, the last known time step of the track is used instead; until one
        is known, its landmarks are not smoothed. After a step of more than half a second, forward or back, smoothing
        restarts. A warning is logged once if times do not advance or are unlikely to be in seconds.

        Raises:
            NasionError: the frame is not a ``Frame``, the tracker is closed or was created in another process, or
                another thread is updating it.
        """
        if not self._busy.acquire(blocking=False):
            raise NasionError(
                "this tracker is tracking a frame in another thread; give it the frames of its video one after the "
                "other, and use another tracker for another video"
            )
        try:
            if self.checks_times and isinstance(frame, Frame):
                self._times(frame.time)
            return self.networks.run(self.steps(frame), None if self.timings is None else self.timings.add)
        finally:
            self._busy.release()

    def steps(self, frame: Frame) -> Steps[list[Face]]:
        """Start tracking the next frame without calling a network; see ``Networks.run_together``.

        Raises:
            NasionError: the tracker is closed, or was created in another process.
        """
        if self._closed:
            raise NasionError("this tracker is closed; make a new one")
        if self._process != os.getpid():
            raise NasionError("this tracker was created in another process; create one in the process that uses it")
        return self.tracking.steps(frame)

    def reset(self) -> None:
        """Start a new video and drop all tracks. Their IDs are not reused."""
        self._times.reset()
        self.tracking.reset()

    def close(self) -> None:
        """Free the networks that this tracker loaded. Calling it again does nothing."""
        self._closed = True
        self._opened.close()


def chosen_options(options: TrackerOptions | None, overrides: TrackerKeywords) -> TrackerOptions:
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


def _open(model: str | Path | None, shipped: str, options: TrackerOptions) -> Runtime:
    """Load a network; None for the shipped one, in int8 on a CPU with VNNI.

    A shipped network is an ONNX file, so a ``torch`` runtime meant for another network is not used for it.
    """
    runtime, device, name = options.runtime, options.device, model or shipped
    int8 = None if model else model_path(f"{shipped}-int8")
    if runtime == "torch" and str(name) in (known := models()):
        others = {str(each) for each in (options.model, options.detector) if each} - known.keys() - {OWN}
        if others:
            runtime, device = "auto", "cpu" if device == "cpu" else "auto"
    longest = options.detect_size
    return open_runtime(
        model_path(name), runtime=runtime, threads=options.threads, device=device, longest=longest, int8=int8
    )
