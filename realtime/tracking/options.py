"""What a tracker can be told."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

from ...engines.errors import NasionError
from ...engines.runtime import RuntimeName, check_device
from ..numeric import finite, is_whole
from .smoothing import Strength


@dataclass(frozen=True, slots=True)
class TrackerOptions:
    """The settings of a tracker.

    Attributes:
        model: landmark network: the name of a shipped one or a file; it decides how many points a face has.
            None for ``landmarks-68``. One that finds faces itself is its own detector.
        detector: face detector: the name of a shipped one or a file. None for ``face-detector``, or for the model
            itself where that finds faces.
        runtime: what runs the networks; ``auto`` takes the fastest that works. ``torch`` runs the networks that were
            named; a shipped one beside them runs as with ``auto``.
        device: ``cpu``, ``cuda:N``, or ``auto`` for a GPU where the runtime can use one. A device asked for by name
            that does not work is an error.
        detect_interval: seconds from one detection of new faces to the next; 0 for every frame. Less finds a newcomer
            sooner and costs more time; faces already found are followed in every frame all the same, and one that is
            lost is looked for at once.
        detect_size: longer side, in pixels, of the picture that the detector sees. More finds smaller faces
            and costs time with its square. None for what the detector was made for.
        max_faces: most faces followed at a time: those that are already, then the largest. None for no
            limit.
        smooth: how much the points are calmed. ``none`` leaves them as the network gives them; ``light``
            halves the jitter and lags by a fraction of a frame; ``strong`` leaves a quarter and lags more.
        threads: threads that a network may use; 0 leaves it to the runtime. More answer sooner and cost more
            CPU time.
        keep: seconds for which a face out of sight keeps its identity. More bridges longer occlusions, and
            takes a newcomer at the same place for the one who left.
    """

    model: str | Path | None = None
    detector: str | Path | None = None
    runtime: RuntimeName = "auto"
    device: str = "auto"
    detect_interval: float = 1.5
    detect_size: int | None = None
    max_faces: int | None = None
    smooth: Strength = "light"
    threads: int = 1
    keep: float = 1.5

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            NasionError: one is not allowed.
        """
        check_device(self.device)
        _one_of("runtime", self.runtime, get_args(RuntimeName))
        _one_of("smooth", self.smooth, get_args(Strength))
        for name, least, most in _WHOLE:
            value = getattr(self, name)
            if value is not None or name not in _OPTIONAL:
                object.__setattr__(self, name, _whole(name, value, least, most))
        for name in ("keep", "detect_interval"):
            value = getattr(self, name)
            seconds = finite(value)
            if seconds is None or seconds < 0:
                raise NasionError(f"{name}={value!r:.60} is not allowed; give seconds from 0")
            object.__setattr__(self, name, seconds)
        for name, model in (("model", self.model), ("detector", self.detector)):
            if model is not None and (not isinstance(model, str | Path) or not str(model)):
                raise NasionError(f"{name}={model!r} is not allowed; give a model's name or the path of a file")

    def where_to_decode(self, asked: str) -> str:
        """Where a source is decoded best: ``auto`` is the CPU wherever the networks cannot run on ``cuda:0``."""
        elsewhere = self.runtime in ("onnx", "torch") or self.device not in ("auto", "cuda:0")
        return "cpu" if asked == "auto" and elsewhere else asked

    def but(self, **changes: Any) -> TrackerOptions:
        """The same with some values changed.

        Raises:
            NasionError: there is no such option, or its value is not allowed.
        """
        allowed = [field.name for field in fields(self)]
        for name in changes:
            if name not in allowed:
                if name == "detect_every":
                    raise NasionError(RENAMED)
                raise NasionError(f"option {name!r} is unknown; allowed: {', '.join(allowed)}")
        return replace(self, **changes)


RENAMED = (
    "option 'detect_every' (frames) is detect_interval (seconds) since nasion 0.2; at 30 frames a second "
    "detect_every=45 is detect_interval=1.5"
)

# name, least and most of each whole number. More threads than these keep a runtime busy with nothing but them.
_MOST = 2**31 - 1
_WHOLE = (("threads", 0, 1024), ("detect_size", 32, _MOST), ("max_faces", 1, _MOST))
_OPTIONAL = ("detect_size", "max_faces")


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise NasionError(f"{name}={value!r:.60} is not allowed; choose from {', '.join(allowed)}")


def _whole(name: str, value: object, least: int, most: int) -> int:
    if not is_whole(value) or not least <= value <= most:
        raise NasionError(f"{name}={value!r:.60} is not allowed; give a whole number from {least} to {most}")
    return int(value)
