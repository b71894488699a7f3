"""Recording of live sources in files that survive a crash, rotated by time and removed at a size limit."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic

from ...engines.errors import NasionError, SinkError
from ...engines.output_paths import reaching
from ..faces.drawing import Draw, draw
from ..sinks.video import VideoSink
from ..sources import SourceInfo
from ..threads.channels import Channel
from ..values.numeric import finite
from .results import LiveResult
from .status import RecordingStatus

_log = logging.getLogger(__name__)

_OURS = re.compile(r".+_\d{8}T\d{6}\.\d{3}Z\.mp4")
_WAITING = 8  # frames that wait for the encoder
_RETRY = 10.0  # seconds after an error
_CLEAN = 5.0  # seconds between two looks at the size of the folder
_SHARE = 8  # a file ends at this part of the size limit, so that there is always an older one to remove
_TOGETHER = 2  # all files being written, which are never removed, are this part of the size limit at most
_PRESET, _CRF = "superfast", 23


@dataclass(frozen=True)
class Recording:
    """Place and manner of recordings: ``folder/NAME/NAME_20261130T202311.123Z.mp4``.

    An MP4 is written in fragments of half a second, so a killed process or a full disk leaves a readable file.

    Attributes:
        folder: folder of all sources.
        rotate: length of a file in seconds.
        keep_bytes: size of all recordings in the folder above which the oldest are removed; None to keep all.
        draw: draws the faces; ``drawing(())`` leaves the images as they came.
    """

    folder: Path
    rotate: float = 600.0
    keep_bytes: int | None = None
    draw: Draw = draw
    _writing: set[Path] = field(default_factory=set, init=False, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the options, and create the folder.

        Raises:
            NasionError: an option is not allowed, or the folder cannot be created.
        """
        if (seconds := finite(self.rotate)) is None or seconds < 1:
            raise NasionError(f"rotate={self.rotate!r:.60} is not allowed; give seconds from 1")
        if self.keep_bytes is not None and self.keep_bytes < 1_000_000:
            raise NasionError(f"keep_bytes={self.keep_bytes!r:.60} is not allowed; give bytes from 1 million (1M)")
        with reaching(self.folder, SinkError):
            self.folder.mkdir(parents=True, exist_ok=True)

    def begin(self, name: str, captured: float) -> Path:
        """Return the path of a new file of a source, which ``clean`` spares until ``finish``."""
        stamp = datetime.fromtimestamp(captured, UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
        path = self.folder / name / f"{name}_{stamp}Z.mp4"
        with self._lock:
            self._writing.add(path)
        return path

    def finish(self, path: Path) -> None:
        """Note that a file is complete, and remove the oldest ones above the size limit."""
        with self._lock:
            self._writing.discard(path)
        self.clean()

    def is_large(self, size: int) -> bool:
        """Return True if a file of ``size`` bytes is to end because of the size limit."""
        return self.keep_bytes is not None and size * max(_SHARE, _TOGETHER * len(self._writing)) > self.keep_bytes

    def clean(self) -> None:
        """Remove the oldest recordings, save those being written, while all together are above the size limit."""
        if self.keep_bytes is None:
            return
        with self._lock:
            sizes = {path: size for path in self.files() if (size := _size(path)) is not None}
            total = sum(sizes.values())
            for path in sorted(sizes, key=lambda each: each.name.rpartition("_")[2]):
                if total <= self.keep_bytes:
                    return
                if path not in self._writing:
                    with suppress(OSError):  # another program may have removed it
                        path.unlink()
                    total -= sizes[path]

    def files(self, name: str = "*") -> list[Path]:
        """Return the recordings in the folder, of one source or of all."""
        return [path for path in self.folder.glob(f"{name}/*.mp4") if _OURS.fullmatch(path.name)]


class Recorder:
    """Recorder of one source, with a thread of its own. The tracker never waits for it.

    A full disk or another error suspends the recording, is logged once, and is tried again every 10 s.
    """

    def __init__(self, recording: Recording, name: str) -> None:
        """Start the thread; a file is opened at the first frame."""
        self._recording, self._name = recording, name
        self._results: Channel[LiveResult] = Channel(_WAITING, when_full="drop_oldest")
        self._sink: VideoSink | None = None
        self._path: Path | None = None
        self._first: LiveResult | None = None  # of the file
        self._error, self._again, self._cleaned = "", 0.0, 0.0
        self._bytes = 0
        self._thread = threading.Thread(target=self._run, name=f"nasion-record-{name}", daemon=True)
        self._thread.start()

    def put(self, result: LiveResult) -> None:
        """Queue a frame; if the encoder is slower than the source, the oldest one is dropped."""
        self._results.put(result)

    def status(self) -> RecordingStatus:
        """Return the status."""
        path = self._path
        return RecordingStatus(
            str(path.relative_to(self._recording.folder)) if path is not None else "", self._bytes, self._error
        )

    def end(self) -> None:
        """Write what is queued and finish the file. Does not wait."""
        self._results.close()

    def join(self, timeout: float) -> None:
        """Wait until the file is finished, ``timeout`` seconds at most."""
        self._thread.join(timeout)

    # What follows runs in the thread of the recorder.

    def _run(self) -> None:
        for result in self._results:
            if monotonic() >= self._again:
                self._guarded(partial(self._write, result))
        self._guarded(self._finish)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
            if self._error and self._sink is not None:
                _log.warning("%s: recording again", self._name)
                self._error = ""
        except NasionError as error:
            if not self._error:
                _log.warning("%s: recording is suspended: %s", self._name, error)
            self._error, self._again = str(error), monotonic() + _RETRY
            with suppress(NasionError):
                self._finish()

    def _write(self, result: LiveResult) -> None:
        if self._first is not None and self._is_full(self._first, result):
            self._finish()
        if self._sink is None:
            self._begin(result)
        assert self._sink is not None
        self._sink.write(result.frame, result.faces)
        if monotonic() - self._cleaned > _CLEAN:
            self._cleaned = monotonic()
            self._recording.clean()
            self._measure()

    def _is_full(self, first: LiveResult, result: LiveResult) -> bool:
        """Return True if the next frame belongs in another file."""
        return (
            result.captured - first.captured >= self._recording.rotate
            or result.connection != first.connection
            or (result.frame.width, result.frame.height) != (first.frame.width, first.frame.height)
            or self._recording.is_large(_size(self._path) or 0)
        )

    def _begin(self, result: LiveResult) -> None:
        frame = result.frame
        path = self._recording.begin(self._name, result.captured)
        info = SourceInfo(self._name, frame.width, frame.height, live=True)
        self._path, self._first = path, result
        self._sink = VideoSink(path, info, crf=_CRF, preset=_PRESET, draw=self._recording.draw)

    def _finish(self) -> None:
        sink, path = self._sink, self._path
        self._sink = self._path = self._first = None
        try:
            if sink is not None:
                sink.close()
        finally:
            if path is not None:
                self._recording.finish(path)
                self._measure()

    def _measure(self) -> None:
        self._bytes = sum(_size(path) or 0 for path in self._recording.files(self._name))


def _size(path: Path | None) -> int | None:
    """Return the size of a file in bytes; None if there is none."""
    if path is not None:
        with suppress(OSError):
            return path.stat().st_size
    return None
