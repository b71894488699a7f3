"""Header of a landmark file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from ..sources.base import SourceInfo
from ..values.scheme_files import known_scheme, values_beyond_published
from ..values.versions import versions

FORMAT = 2
"""Format version of landmark files. Version 1, until nasion 0.1, has no header."""
_SCHEME = "scheme_values"  # entry with a scheme that is not a published one
_OPTIONAL = ("runtimes", "visibility", "measures", "focal_length", "interpolated", "files")


@dataclass(frozen=True, slots=True)
class Header:
    """Header of a landmark file.

    Attributes:
        source: name of the source, ``SourceInfo.name``: a path is written as it was given.
        width, height: size in pixels of its first frame, upright.
        rate: frames per second as a fraction, such as ``30000/1001``; None if unknown.
        scheme: name of the landmark scheme; empty if it is unknown.
        landmarks: number of landmarks of a face.
        models: name of each network, by its role.
        runtimes: what ran each network that ran on a GPU, such as ``tensorrt 11.4 on cuda:0``, by its role.
        versions: versions of nasion and the libraries that it uses.
        format: format version; see ``FORMAT``.
        visibility: True if each landmark has its visibility.
        measures: measures of each face: ``pose``, ``eyes``, ``mouth``.
        focal_length: focal length in pixels given for the pose; None for the longer side of the image.
        interpolated: True if faces may be interpolated; see ``Face.interpolated``.
        files: True if each frame has the name of its image file.
    """

    source: str = ""
    width: int = 0
    height: int = 0
    rate: str | None = None
    scheme: str = "ibug-68"
    landmarks: int = 68
    models: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    runtimes: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT
    visibility: bool = False
    measures: tuple[str, ...] = ()
    focal_length: float | None = None
    interpolated: bool = False
    files: bool = False

    @classmethod
    def of(cls, info: SourceInfo, **values: Any) -> Self:
        """Build the header of a source written by this process, with further fields by name."""
        rate = None if info.rate is None else str(info.rate)
        values = {"versions": versions()} | values
        return cls(source=info.name, width=info.width, height=info.height, rate=rate, **values)

    def values(self) -> dict[str, Any]:
        """Return the fields as a dict, ``format`` first; those about optional columns only where a file has them."""
        found = asdict(self)
        found = {name: value for name, value in found.items() if value or name not in _OPTIONAL}
        if own := values_beyond_published(self.scheme):
            found[_SCHEME] = own
        return {"format": found.pop("format"), **found}

    def to_json(self) -> str:
        """Return the header as one line of JSON."""
        return json.dumps(self.values(), separators=(",", ":"), default=dict)

    def __call__(self) -> Header:
        """Return the header itself, for the same interface as ``LateHeader``."""
        return self

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Build a header from the result of ``values``; entries unknown to this version are ignored.

        A scheme of the user's own is registered under its name.

        Raises:
            NasionError: its scheme is not one, or another scheme has its name.
        """
        if _SCHEME in values:
            known_scheme(json.dumps(values[_SCHEME]), origin="the header")
        known = {each.name for each in fields(cls)}
        read = {name: value for name, value in values.items() if name in known}
        return cls(**read | {"measures": tuple(read.get("measures", ()))})


class LateHeader:
    """Header that is completed after the outputs are checked and before the first frame is written.

    Attributes:
        value: the header.
    """

    def __init__(self, info: SourceInfo) -> None:
        """Start with the header of a source."""
        self.value: Header = Header.of(info)

    def __call__(self) -> Header:
        """Return the current header."""
        return self.value


AnyHeader = Header | LateHeader
