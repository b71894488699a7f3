"""Records of a journal: its header, frames with their faces, chunks and end, each one line or more of JSON."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...faces.frame import Frame
from ...tracking.observations import Observation
from ...values.arrays import FloatArray

FORMAT = 1
SUFFIX = ".journal"
APPEARANCE = 1000
"""Components of a descriptor are stored as integers of 1/1000."""
_OPTIONAL = ("file", "digest", "shot", "resumes", "detections", "damage")


@dataclass(frozen=True, slots=True)
class JournalHeader:
    """Header of a journal: everything that its content depends on.

    Attributes:
        source: path of the video or of the folder of the images, as it was given; or a ``pattern:``.
        kind: ``video``; ``sequence`` of images; ``images`` that are independent of each other.
        content: size and SHA-256 of what was read.
        width, height: size of the first frame in pixels, upright.
        rate: frames per second as a fraction, such as ``30000/1001``; None if unknown.
        frames: estimated number of frames of the source; None if unknown.
        every: each frame whose number is a multiple of it was chosen.
        chunk: frames of a chunk.
        options: options of the tracker.
        obscure: how faces are obscured in a video: ``blur``, ``pixelate`` or ``box``; empty if they are not.
        scheme: name of the landmark scheme; empty if it is unknown.
        landmarks: number of landmarks of a face.
        visibility: True if each landmark has its visibility.
        models: name and SHA-256 of each network, by its role.
        versions: versions of nasion and of the libraries that the results depend on.
        journal: format version; see ``FORMAT``.
    """

    source: str
    kind: str
    content: Mapping[str, Any]
    width: int
    height: int
    rate: str | None
    frames: int | None
    every: int
    chunk: int
    options: Mapping[str, Any]
    obscure: str
    scheme: str
    landmarks: int
    visibility: bool
    models: Mapping[str, Mapping[str, str]]
    versions: Mapping[str, str] = field(default_factory=dict)
    journal: int = FORMAT

    def to_bytes(self) -> bytes:
        """Return the header as one line of JSON."""
        values = asdict(self)
        return sealed({"journal": values.pop("journal"), **values})

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Build a header from parsed JSON; entries unknown to this version are ignored."""
        return cls(**{each.name: values[each.name] for each in fields(cls) if each.name in values})

    def differences(self, other: JournalHeader) -> list[str]:
        """Return how another header differs, in words; the name of the source does not count."""
        ours, theirs = (_flat({**asdict(each), "source": "", "journal": 0}) for each in (self, other))
        return [
            f"{name} was {theirs.get(name)!r:.80} and is {ours.get(name)!r:.80}"
            for name in {**theirs, **ours}
            if ours.get(name) != theirs.get(name)
        ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name} ") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


@dataclass(frozen=True, slots=True, eq=False)
class JournalFace:
    """Face in one frame, as the first pass saw it: not smoothed.

    Attributes:
        track: number of its track within the chunk, from 1.
        points: (n, 2) float32, landmarks in pixels of the frame.
        confidence: (n,) float32 in 0..1.
        score: score of the face; see ``Face.score``.
        visibility: (n,) uint8; see ``Face.visibility``; None if the network does not predict it.
        back: True if it was found while looking back from a later frame.
    """

    track: int
    points: FloatArray
    confidence: FloatArray
    score: float
    visibility: NDArray[np.uint8] | None = None
    back: bool = False

    @classmethod
    def of(cls, track: int, seen: Observation, *, back: bool = False) -> Self:
        """Build the observation of a track from an observation."""
        return cls(track, seen.points, seen.confidence, seen.score, seen.visibility, back)

    def values(self) -> dict[str, Any]:
        """Return the observation as plain values: pixels rounded to 0.01, all else to 0.0001."""
        values: dict[str, Any] = {
            "track": self.track,
            "score": round(float(self.score), 4),
            "points": np.asarray(self.points, np.float64).ravel().round(2).tolist(),
            "confidence": np.asarray(self.confidence, np.float64).round(4).tolist(),
        }
        if self.visibility is not None:
            values["visibility"] = "".join(map(str, self.visibility.tolist()))
        if self.back:
            values["back"] = True
        return values

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Build an observation from the result of ``values``."""
        seen = values.get("visibility")
        return cls(
            values["track"],
            np.array(values["points"], np.float32).reshape(-1, 2),
            np.array(values["confidence"], np.float32),
            values["score"],
            None if seen is None else np.array(list(map(int, seen)), np.uint8),
            values.get("back", False),
        )


@dataclass(slots=True, eq=False)
class JournalFrame:
    """Frame as the first pass saw it.

    Attributes:
        index: number of the frame in its source.
        time: time in seconds of the source.
        faces: observations.
        size: width and height in pixels.
        file: name of the image file; empty for a frame of a video.
        digest: beginning of the SHA-256 of the image file, by which a changed image is recognised; see ``digest_of``.
        shot: True if the frame is the first of a new shot.
        resumes: number of an earlier first frame of a shot, if this frame goes on with the shot before that one.
        detections: boxes x0, y0, x1, y1 of the detector in pixels, if it ran.
        damage: reason why the image could not be read; empty if it could.
    """

    index: int
    time: float
    size: tuple[int, int]
    faces: list[JournalFace] = field(default_factory=list)
    file: str = ""
    digest: str = ""
    shot: bool = False
    resumes: int | None = None
    detections: list[list[float]] | None = None
    damage: str = ""

    def to_json(self) -> str:
        """Return the frame as one line of JSON; what it does not have is left out."""
        values: dict[str, Any] = {"frame": self.index, "time": round(self.time, 6), "size": self.size}
        optional = {name: getattr(self, name) for name in _OPTIONAL}
        values |= {name: value for name, value in optional.items() if value not in ("", False, None)}
        return _line({**values, "faces": [each.values() for each in self.faces]})

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Build a frame from parsed JSON."""
        known = {name: values[name] for name in _OPTIONAL if name in values}
        faces = [JournalFace.from_values(each) for each in values["faces"]]
        return cls(values["frame"], values["time"], tuple(values["size"]), faces, **known)


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Run of frames that was tracked on its own.

    Attributes:
        number: number of the chunk, from 0.
        frames: chosen frames, in order.
        appearance: descriptor (192,) of the face of each track, where it is known.
        pixels: checksum of the pixels of the last frame, by which a place in the source is recognised.
    """

    number: int
    frames: Sequence[JournalFrame]
    appearance: Mapping[int, FloatArray]
    pixels: int = 0

    def to_bytes(self) -> bytes:
        """Return the lines of the chunk."""
        frames = "".join(frame.to_json() for frame in self.frames).encode()
        tracks = {str(track): _integers(values) for track, values in sorted(self.appearance.items())}
        closing = {
            "chunk": self.number,
            "frames": len(self.frames),
            "pixels": self.pixels,
            "appearance": tracks,
        }
        return frames + sealed(closing, zlib.crc32(frames))


def checksum(frame: Frame) -> int:
    """Return a checksum of the pixels of a frame; see ``Chunk.pixels``."""
    return zlib.crc32(np.ascontiguousarray(frame.image).data)


def _integers(values: FloatArray) -> list[int]:
    return [round(value * APPEARANCE) for value in values.tolist()]


def _line(values: Mapping[str, Any]) -> str:
    return json.dumps(values, separators=(",", ":"), allow_nan=False) + "\n"  # ASCII: file names may be no Unicode


def sealed(values: Mapping[str, Any], before: int = 0) -> bytes:
    """Return a line of JSON that ends with its checksum, which continues that of what comes before."""
    text = _line(values)[:-2]
    return f'{text},"checksum":{zlib.crc32(text.encode(), before)}}}\n'.encode()


def unsealed(line: bytes, before: int = 0) -> dict[str, Any]:
    """Return the values of a line of ``sealed``.

    Raises:
        ValueError: it is damaged, or what comes before is.
    """
    values: dict[str, Any] = json.loads(line)
    text, found, _ = line.rpartition(b',"checksum":')
    if not found or values["checksum"] != zlib.crc32(text, before):
        raise ValueError("its checksum is another one")
    return values


@dataclass(frozen=True, slots=True)
class End:
    """End of a journal.

    Attributes:
        frames: number of frames in it.
        damage: reason why the source ended early; empty if it did not.
    """

    frames: int
    damage: str = ""
