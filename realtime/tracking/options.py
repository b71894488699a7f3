"""Tracker options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack, get_args

from ...engines.errors import NasionError
from ...engines.runtime import RuntimeName, device_name
from ..measures.names import Measure, chosen
from ..values.names import check_names
from ..values.numeric import finite, is_whole

Strength = Literal["none", "light", "strong"]
OWN = "own"
"""Detector of a network that finds faces itself."""


class ImageKeywords(TypedDict, total=False):
    """Fields of ``TrackerOptions`` that also apply to single images, as keyword arguments."""

    model: str | Path | None
    detector: str | Path | None
    runtime: RuntimeName
    device: str
    detect_size: int | None
    max_faces: int | None
    threads: int
    min_score: float | None
    measures: Sequence[Measure]
    focal_length: float | None


class TrackerKeywords(ImageKeywords, total=False):
    """Fields of ``TrackerOptions``, which describes them, as keyword arguments for editors and type checkers."""

    detect_interval: float
    smooth: Strength
    keep: float


@dataclass(frozen=True, slots=True)
class TrackerOptions:
    """Options of a tracker: keyword arguments of ``nasion.track`` and ``Tracker``, and options of the command line.

    Attributes:
        model: landmark network: a name that ``nasion models`` lists or a file; by default ``landmarks-68``. It
            determines the number of landmarks of a face. A ``.plan`` file is code: run only plans that you built.
        detector: face detector: a name that ``nasion models`` lists or a file; by default ``face-detector``. ``own``
            is the model itself, if it finds faces: it then sees the whole image.
        runtime: runtime of the networks; ``auto`` picks the fastest that works. ``torch`` runs the networks given by
            name; a shipped one beside them runs as with ``auto``.
        device: ``cpu``; ``cuda`` or ``cuda:N`` for an NVIDIA GPU; or ``auto`` for a GPU if the runtime can use one. A
            device given by name that does not work is an error.
        detect_interval: seconds between two detections of new faces; 0 for every frame. A shorter interval finds new
            faces sooner and costs more time. Faces already found are tracked in every frame regardless, and the
            detector runs at once when a track is lost.
        detect_size: longer side, in pixels, of the image that the detector sees; by default the size that it was made
            for and, now and then, sizes for smaller and larger faces. With a larger one it finds smaller faces; the
            time grows with its square.
        max_faces: maximum number of faces tracked at a time: existing tracks first, then the largest new faces; by
            default no limit.
        smooth: strength of the smoothing of the landmarks. ``none`` keeps the output of the network; ``light`` halves
            the jitter and lags by a fraction of a frame; ``strong`` leaves a quarter of the jitter and lags more.
        threads: threads that a network may use; 0 leaves the choice to the runtime. More threads reduce the latency
            and cost more CPU time. Commands set it for OpenCV, too.
        keep: seconds for which a face out of sight keeps its track ID. A longer time bridges longer occlusions, but a
            new face at the same place is more likely to take the ID of the one that left.
        min_score: score from 0 to 1 below which a face is neither found nor reported. By default the network decides:
            a calibrated one asks for the score that 99.5 % of right landmarks reach, and for 0.15 of a new face.
        measures: what else to measure of each face: ``pose`` of the head, openings of the ``eyes`` and of the
            ``mouth``; by default nothing.
        focal_length: focal length of the camera in pixels, for the head pose; by default the longer side of the image,
            a field of view of 53 degrees along it.

    Examples:
        >>> import nasion
        >>> options = nasion.TrackerOptions(max_faces=1, smooth="strong")
        >>> options.but(smooth="none").smooth
        'none'
    """

    model: str | Path | None = None
    detector: str | Path | None = None
    runtime: RuntimeName = "auto"
    device: str = "auto"
    detect_interval: float = 0.5
    detect_size: int | None = None
    max_faces: int | None = None
    smooth: Strength = "light"
    threads: int = 1
    keep: float = 1.5
    min_score: float | None = None
    measures: Sequence[Measure] = ()
    focal_length: float | None = None

    if not TYPE_CHECKING:  # type checkers take the signature from the fields

        def __new__(cls, *values: Any, **named: Any) -> Self:
            """Refuse options that do not exist, also from ``dataclasses.replace``."""
            check_names(named, [each.name for each in fields(cls)])
            return object.__new__(cls)

    def __post_init__(self) -> None:
        """Validate all options.

        Raises:
            NasionError: a value is not allowed.
        """
        object.__setattr__(self, "device", device_name(self.device))
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
        if self.min_score is not None:
            score = finite(self.min_score)
            if score is None or not 0 <= score <= 1:
                raise NasionError(f"min_score={self.min_score!r:.60} is not allowed; give a number from 0 to 1")
            object.__setattr__(self, "min_score", score)
        object.__setattr__(self, "measures", chosen(self.measures))
        if self.focal_length is not None:
            pixels = finite(self.focal_length)
            if pixels is None or pixels <= 0:
                raise NasionError(f"focal_length={self.focal_length!r:.60} is not allowed; give pixels above 0")
            object.__setattr__(self, "focal_length", pixels)
        for name, model in (("model", self.model), ("detector", self.detector)):
            if model is not None and (not isinstance(model, str | Path) or not str(model)):
                raise NasionError(f"{name}={model!r} is not allowed; give a model's name or the path of a file")

    def where_to_decode(self, asked: str) -> str:
        """Return the device to decode on: ``auto`` becomes ``cpu`` if the networks cannot run on ``cuda:0``."""
        elsewhere = self.runtime in ("onnx", "torch") or self.device not in ("auto", "cuda:0")
        return "cpu" if asked == "auto" and elsewhere else asked

    def but(self, **changes: Unpack[TrackerKeywords]) -> TrackerOptions:
        """Return a copy with some options changed.

        Raises:
            NasionError: there is no such option, or its value is not allowed.
        """
        return replace(self, **changes)


# Name, minimum and maximum of each integer option. With more threads a runtime only manages its threads.
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
