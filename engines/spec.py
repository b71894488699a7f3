"""What a model file says about itself: its input, its outputs, its landmark scheme.

The spec travels as JSON in the file's metadata, so that one file is all a runtime needs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError

METADATA_KEY = "nasion.spec"
Task = Literal["detector", "landmarks", "faces"]
Outputs = dict[str, NDArray[np.float32]]
"""What a network gives, by name."""


@dataclass(frozen=True, slots=True)
class Spec:
    """Description of one network file.

    Attributes:
        task: ``detector`` (image in; ``boxes`` (B,N,4) in input pixels and ``scores`` (B,N) out),
            ``landmarks`` (crop in; ``points`` (B,n,2) in crop pixels, ``confidence`` (B,n) in 0..1 and, where the
            network has it, ``presence`` (B,) in 0..1 out) or ``faces`` (image in, faces out: ``boxes`` (B,K,4),
            ``scores`` (B,K), ``points`` (B,K,n,2), ``confidence`` (B,K,n) and ``valid`` (B,K), 0 in empty slots).
        name: short name of the model, for tables and logs.
        size: (width, height) of the input in pixels; for a detector the default, any multiple of ``stride`` works;
            for ``faces`` the shorter side should be as long as here, the longer one any multiple of ``stride``.
        channels: colour order of the three input planes.
        mean: subtracted from each plane, in the 0..255 range.
        std: divides each plane after ``mean``.
        stride: input sides must be multiples of this (1 for a fixed size).
        landmarks: number of points of the scheme (0 for a detector).
        crop_margin: side of the crop over the longer side of the box of the points (task ``landmarks`` only).
        threshold: score or presence at or above which a face counts as found.
    """

    task: Task
    name: str
    size: tuple[int, int]
    channels: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    stride: int = 1
    landmarks: int = 0
    crop_margin: float = 1.0
    threshold: float = 0.5

    def to_json(self) -> str:
        """Serialise for the metadata of a model file."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str, *, origin: str = "the model") -> Spec:
        """Read a spec; ``origin`` names the file in errors.

        Raises:
            ModelError: the text is not a spec, or one of another version.
        """
        try:
            values: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise ModelError(f"{origin}: its {METADATA_KEY} entry is not JSON ({error}); export it again") from error
        known = {field.name for field in fields(cls)}
        unknown, missing = set(values) - known, {"task", "name", "size"} - set(values)
        if unknown or missing:
            raise ModelError(
                f"{origin}: its spec has unknown entries {sorted(unknown)} and lacks {sorted(missing)}; "
                "it was exported by another version of nasion: export it again with this one"
            )
        for name in ("size", "mean", "std"):
            if name in values:
                values[name] = tuple(values[name])
        return cls(**values)
