"""Spec of a model file: its input, its outputs and its landmark scheme.

The spec is stored as JSON in the metadata of the file, so a runtime needs one file only. Files are untrusted:
``Spec.from_json`` checks every entry against ``_SCHEMA``, ``Spec.check_graph`` compares the spec with the inputs and
outputs of the network, and ``Spec.check_outputs`` compares it with the arrays that a run returns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError, printable

METADATA_KEY = "nasion.spec"
Task = Literal["detector", "landmarks", "faces"]
Outputs = dict[str, NDArray[np.float32]]
"""Outputs of a network by name."""

LONGEST_NAME, LONGEST_SIDE, MOST_LANDMARKS, MOST_STRIDE = 100, 4096, 1000, 1024
LONGEST_SCHEME = 100_000
_AGAIN = "export the model again with: nasion export CHECKPOINT"


def joined(parts: Sequence[Outputs]) -> Outputs:
    """Return the outputs of consecutive batches as those of one batch."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a network.

    Attributes:
        name: name of the tensor.
        dtype: element type, by its numpy name.
        shape: size of each axis; None for a dynamic one.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        """Return name, dtype and shape, safe to print."""
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{printable(self.name)!r} {self.dtype} ({sizes})"


@dataclass(frozen=True, slots=True)
class Spec:
    """Description of one network file.

    Attributes:
        task: ``detector`` (image in; ``boxes`` (B,N,4) in input pixels and ``scores`` (B,N) out),
            ``landmarks`` (crop in; ``points`` (B,n,2) in crop pixels, ``confidence`` (B,n) in 0..1 and, where the
            network has them, ``presence`` (B,) in 0..1 and ``visibility`` (B,n,3), the probabilities of self-occluded,
            occluded and visible, out) or ``faces`` (image in, faces out: ``boxes`` (B,K,4),
            ``scores`` (B,K), ``points`` (B,K,n,2), ``confidence`` (B,K,n) and ``valid`` (B,K), 0 in empty slots).
        name: short name of the model, for tables and logs.
        size: (width, height) of the input in pixels. For a detector this is the default; any multiple of ``stride``
            works. For ``faces`` the shorter side should have this length; the longer one is any multiple of ``stride``.
        channels: colour order of the three input planes.
        mean: subtracted from each plane, in the 0..255 range.
        std: each plane is divided by it after ``mean`` is subtracted.
        stride: input sides must be multiples of this (1 for a fixed size).
        landmarks: number of landmarks of the scheme (0 for a detector).
        scheme: name of the landmark scheme, such as ``ibug-68``; empty for the default scheme with that many landmarks.
        crop_margin: side of the crop divided by the longer side of the bounding box of the landmarks (task
            ``landmarks`` only).
        threshold: score, or presence if ``score`` is None, at or above which a face counts as found.
        score: offset, and weights of the logits of mean confidence and presence, of the logistic regression that gives
            the probability that the landmarks are right (task ``landmarks`` only); None if it is not calibrated.
        visibility: True if the network has the output ``visibility`` (task ``landmarks`` only).
        scheme_values: the landmark scheme as JSON, if it is one of the user's own; empty for a known one.
    """

    task: Task
    name: str
    size: tuple[int, int]
    channels: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    stride: int = 1
    landmarks: int = 0
    scheme: str = ""
    crop_margin: float = 1.0
    threshold: float = 0.5
    score: tuple[float, float, float] | None = None
    visibility: bool = False
    scheme_values: str = ""

    def to_json(self) -> str:
        """Serialise the spec for the metadata of a model file."""
        values = asdict(self)
        if not self.scheme_values:
            del values["scheme_values"]
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, *, origin: str = "the model") -> Spec:
        """Read a spec; ``origin`` names the file in errors.

        Raises:
            ModelError: the text is not a spec, is a spec of another version, or has an entry that is not allowed.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{origin}: its {METADATA_KEY} entry is not JSON ({error}); {_AGAIN}") from error
        if not isinstance(values, dict):
            raise ModelError(
                f"{origin}: its {METADATA_KEY} entry is {_shown(values)}; allowed is an object with "
                f"{', '.join(_SCHEMA)}; {_AGAIN}"
            )
        required = {field.name for field in fields(cls) if field.default is MISSING}
        unknown, missing = values.keys() - _SCHEMA.keys(), required - values.keys()
        if unknown or missing:
            strange = printable(sorted(unknown), longest=200)
            raise ModelError(
                f"{origin}: its spec has unknown entries {strange} and lacks {sorted(missing)}; "
                "it was exported by another version of nasion: export it again with this one"
            )
        for name, value in values.items():
            allowed, fits = _SCHEMA[name]
            if not fits(value):
                raise ModelError(f"{origin}: {name} of its spec is {_shown(value)}; allowed: {allowed}; {_AGAIN}")
        entries: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        spec = cls(**entries)
        if any(side % spec.stride for side in spec.size):
            raise ModelError(
                f"{origin}: size of its spec is {list(spec.size)}; allowed: multiples of its stride {spec.stride}; "
                f"{_AGAIN}"
            )
        if (spec.task == "detector") != (spec.landmarks == 0):
            allowed = "0" if spec.task == "detector" else f"1..{MOST_LANDMARKS}"
            raise ModelError(
                f"{origin}: landmarks of its spec is {spec.landmarks}; allowed for task {spec.task!r}: {allowed}; "
                f"{_AGAIN}"
            )
        return spec

    def check_graph(self, inputs: Iterable[Tensor], outputs: Iterable[Tensor], *, origin: str) -> None:
        """Compare the spec with the declared inputs and outputs of the network; sizes may be dynamic.

        Raises:
            ModelError: the network does not accept such images or lacks the outputs of its task.
        """
        inputs, by_name = list(inputs), {tensor.name: tensor for tensor in outputs}
        if len(inputs) != 1:
            raise ModelError(f"{origin}: has {len(inputs)} inputs; allowed is one, the images; {_AGAIN}")
        width, height = self.size
        fixed = self.stride == 1
        wanted: _Shape = ("batch", 3, height if fixed else "height", width if fixed else "width")
        _check("input", inputs[0], wanted, self.task, origin)
        for name, shape in self._outputs().items():
            if name in by_name:
                _check("output", by_name[name], shape, self.task, origin)
            elif name not in _OPTIONAL:
                given = ", ".join(printable(each) for each in by_name) or "none"
                raise ModelError(
                    f"{origin}: has no output {name!r}, which task {self.task!r} needs; it has {given}; {_AGAIN}"
                )
        if self.task != "detector" and inputs[0].shape[0] is not None:
            raise ModelError(
                f"{origin}: takes exactly {inputs[0].shape[0]} images; allowed is any number of them (an open first "
                f"size) for task {self.task!r}; {_AGAIN}"
            )
        if not fixed and inputs[0].shape[2:] != (None, None):
            raise ModelError(
                f"{origin}: takes images of fixed size, but the stride of its spec is {self.stride}; allowed: stride "
                f"1, or open height and width; {_AGAIN}"
            )

    def check_outputs(self, outputs: Outputs, batch: int) -> Outputs:
        """Check types and shapes of the outputs of a run of ``batch`` images and return them.

        Raises:
            ModelError: an output is missing, or its type or shape does not match the task.
        """
        scores = outputs.get("scores")
        faces = scores.shape[1] if scores is not None and scores.ndim == 2 else None
        for name, shape in self._outputs().items():
            if (values := outputs.get(name)) is None:
                if name in _OPTIONAL:
                    continue
                raise ModelError(f"model {self.name!r} returns no {name!r}, which task {self.task!r} needs; {_AGAIN}")
            expected = tuple([batch if size == "batch" else faces if size == "faces" else size for size in shape])
            if values.shape != expected or values.dtype != np.float32:
                raise ModelError(
                    f"model {self.name!r} returns {name!r} as {values.dtype} {values.shape} for {batch} images; "
                    f"allowed for task {self.task!r}: float32 {expected}; {_AGAIN}"
                )
        return outputs

    def _outputs(self) -> Mapping[str, _Shape]:
        """Return the shapes of the outputs of the task."""
        n = self.landmarks
        if self.task == "landmarks":
            wanted: dict[str, _Shape] = {"points": ("batch", n, 2), "confidence": ("batch", n), "presence": ("batch",)}
            return wanted | ({"visibility": ("batch", n, 3)} if self.visibility else {})
        found: dict[str, _Shape] = {"boxes": ("batch", "faces", 4), "scores": ("batch", "faces")}
        if self.task == "detector":
            return found
        several: _Shape = ("batch", "faces")
        return {**found, "points": (*several, n, 2), "confidence": (*several, n), "valid": several}


_Shape = tuple[int | str, ...]  # a size, or the name of one that varies
_OPTIONAL = ("presence",)


def _check(kind: str, tensor: Tensor, wanted: _Shape, task: str, origin: str) -> None:
    """Check that a declared tensor can have the expected shape."""
    pairs = zip(tensor.shape, wanted, strict=False)
    fits = all(size is None or size == want or isinstance(want, str) for size, want in pairs)
    if tensor.dtype != "float32" or len(tensor.shape) != len(wanted) or not fits:
        allowed = ", ".join(map(str, wanted))
        raise ModelError(
            f"{origin}: its {kind} is {tensor}; its spec, of task {task!r}, allows float32 ({allowed}); {_AGAIN}"
        )


def _shown(value: object) -> str:
    """Return a value of a file for use in a message: as JSON, short and safe to print."""
    return printable(json.dumps(value), longest=60)


def _whole(least: int, most: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _number(least: float, most: float) -> Callable[[object], bool]:
    """Return a predicate for numbers within a range; it is False for NaN."""
    return lambda value: type(value) in (int, float) and least <= value <= most  # type: ignore[operator]


def _each(count: int, fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and len(value) == count and all(map(fits, value))


def _or_none(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or fits(value)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and value.isprintable()


def _is_scheme(value: object) -> bool:
    return value == "" or _is_name(value)


def _one_of(allowed: Iterable[str]) -> tuple[str, Callable[[object], bool]]:
    names = tuple(allowed)
    return ", ".join(names), lambda value: isinstance(value, str) and value in names


# entry -> description of the allowed values for messages, and the predicate that checks them
_SCHEMA: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "task": _one_of(get_args(Task)),
    "name": (f"1 to {LONGEST_NAME} printable characters", _is_name),
    "size": (f"width and height, whole numbers of 1..{LONGEST_SIDE}", _each(2, _whole(1, LONGEST_SIDE))),
    "channels": _one_of(("rgb", "bgr")),
    "mean": ("three numbers of -1000..1000", _each(3, _number(-1000, 1000))),
    "std": ("three numbers of 0.001..100000", _each(3, _number(0.001, 100_000))),
    "stride": (f"a whole number of 1..{MOST_STRIDE}", _whole(1, MOST_STRIDE)),
    "landmarks": (f"a whole number of 0..{MOST_LANDMARKS}", _whole(0, MOST_LANDMARKS)),
    "scheme": (f"a name of at most {LONGEST_NAME} printable characters, or empty", _is_scheme),
    "crop_margin": ("a number of 0.1..10", _number(0.1, 10)),
    "threshold": ("a number of 0..1", _number(0, 1)),
    "score": ("null, or three numbers of -1000..1000", _or_none(_each(3, _number(-1000, 1000)))),
    "visibility": ("true or false", lambda value: isinstance(value, bool)),
    "scheme_values": (
        f"at most {LONGEST_SCHEME} characters of JSON",
        lambda value: isinstance(value, str) and len(value) <= LONGEST_SCHEME,
    ),
}
