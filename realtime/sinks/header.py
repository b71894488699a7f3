"""The header of a landmark file: what the rest of the file is about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from ..sources.base import SourceInfo

FORMAT = 2
"""Format of landmark files: 1 until nasion 0.1, without a header."""


@dataclass(frozen=True, slots=True)
class Header:
    """Description of a landmark file.

    Attributes:
        source: name of the source, without a password.
        width, height: pixels of its first frame, upright.
        rate: frames per second as a fraction, such as ``30000/1001``; None where unknown.
        scheme: name of the landmark scheme; empty where it is not known.
        landmarks: landmarks of a face.
        models: name of each network, by its part.
        versions: of nasion and the libraries that it uses.
        format: see ``FORMAT``.
    """

    source: str = ""
    width: int = 0
    height: int = 0
    rate: str | None = None
    scheme: str = "ibug-68"
    landmarks: int = 68
    models: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @classmethod
    def of(cls, info: SourceInfo, **values: Any) -> Self:
        """Make the header of a source, with further values by name."""
        rate = None if info.rate is None else str(info.rate)
        return cls(source=info.name, width=info.width, height=info.height, rate=rate, **values)

    def values(self) -> dict[str, Any]:
        """Return plain data, the format first."""
        found = asdict(self)
        return {"format": found.pop("format"), **found}

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(self.values(), separators=(",", ":"), default=dict)

    def __call__(self) -> Header:
        """Return itself: a header that is known from the beginning."""
        return self

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Make a header of what ``values`` returned; entries that this version does not know are left out."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})


class LateHeader:
    """A header that is completed after the outputs have been checked, before the first frame is written.

    Attributes:
        value: the header.
    """

    def __init__(self, info: SourceInfo) -> None:
        """Begin with the header of a source."""
        self.value = Header.of(info)

    def __call__(self) -> Header:
        """Return the header as it is now."""
        return self.value


AnyHeader = Header | LateHeader
