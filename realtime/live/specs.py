"""Sources as users name them: ``[NAME=]SOURCE`` on the command line, or a table in a TOML file."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from ...engines.errors import NasionError, SourceError, printable
from ...engines.output_paths import reaching
from ..sources import check_address, redact, with_known_scheme
from ..sources.cameras import camera_number
from ..values.numeric import finite, is_whole

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_RULE = "1 to 64 letters, digits, dots, hyphens and underscores, the first a letter or digit"

Roi = tuple[int, int, int, int]
"""Part of the image to track: x, y, width, height in pixels."""


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Source of a hub, with its options.

    Attributes:
        source: address, path or camera number, as for ``open_source``. Not in ``repr``: it may contain a password.
        name: name in the hub: 1 to 64 letters, digits, dots, hyphens and underscores; empty to derive one.
        max_fps: maximum number of frames tracked per second; None for all.
        roi: part of the image in which faces are tracked; None for the whole.
        loop: start a file again when it has ended.

    Examples:
        >>> import nasion
        >>> door = nasion.SourceSpec("rtsp://admin:secret@camera.local/stream", "door", max_fps=10)
        >>> door.address
        'rtsp://***@camera.local/stream'
    """

    source: str | int = field(repr=False)
    name: str = ""
    max_fps: float | None = None
    roi: Roi | None = None
    loop: bool = False

    def __post_init__(self) -> None:
        """Validate all fields, without opening the source.

        Raises:
            NasionError: a value is not allowed, a file does not exist, or FFmpeg lacks the protocol.
        """
        if is_whole(self.source):
            object.__setattr__(self, "source", int(self.source))
        elif isinstance(self.source, os.PathLike):
            object.__setattr__(self, "source", os.fspath(self.source))
        elif isinstance(self.source, str):
            object.__setattr__(self, "source", with_known_scheme(self.source))
        check_address(self.source)
        if self.name and not _NAME.fullmatch(self.name):
            raise NasionError(f"the name {redact(repr(self.name)):.80} of a source is not allowed; give {NAME_RULE}")
        if self.max_fps is not None:
            rate = finite(self.max_fps)
            if rate is None or rate <= 0:
                raise NasionError(
                    f"max_fps={redact(repr(self.max_fps)):.60} is not allowed; give frames per second above 0"
                )
        if self.roi is not None:
            object.__setattr__(self, "roi", _roi(self.roi))

    @property
    def address(self) -> str:
        """Place of the source, without user, password and query."""
        number = camera_number(str(self.source))
        return redact(str(self.source)) if number is None else f"camera {number}"

    @property
    def is_local(self) -> bool:
        """True for a file, a folder, standard input or a pattern: what is not there is not waited for."""
        text = str(self.source).strip()
        return camera_number(text) is None and "://" not in text

    @property
    def is_hls(self) -> bool:
        """True for a playlist of HLS, whose frames come in segments of some seconds."""
        return ".m3u8" in str(self.source).lower()

    @classmethod
    def parse(cls, text: str, **options: Any) -> Self:
        """Read ``[NAME=]SOURCE``. A file whose own name contains ``=`` is found if it exists.

        Raises:
            NasionError: the name, the source or an option is not allowed.
        """
        name, separator, source = text.partition("=")
        if not separator or any(each in name for each in "/\\:?") or _exists(text):
            return cls(text, **options)
        if not _NAME.fullmatch(name):
            raise NasionError(f"the name before the = of {redact(text)!r:.80} is not allowed; give {NAME_RULE}")
        return cls(source, name, **options)

    def named(self, taken: Collection[str]) -> str:
        """Return the name, or one derived from the address that is not among ``taken``.

        Raises:
            NasionError: the name is taken.
        """
        if self.name:
            if self.name in taken:
                raise NasionError(f"a source {self.name!r} exists already; give another name, or remove it first")
            return self.name
        base = _derived(self.address)
        names = (base if n == 1 else f"{base}-{n}" for n in range(1, len(taken) + 2))
        return next(name for name in names if name not in taken)


SourceLike = str | int | Path | SourceSpec
"""Source as users give it."""


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long, or with a null character
        return False


def _derived(address: str) -> str:
    """Return a name for an address: the host and path of a URL, the stem of a file, ``camera-0``."""
    scheme, separator, rest = address.partition("://")
    if separator:
        text = rest.removeprefix("***@").partition("?")[0]
    else:
        text = scheme if scheme.startswith(("camera ", "pattern:")) else Path(scheme).stem
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:56] or "source"


def _roi(value: object) -> Roi:
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    if len(numbers) == 4 and all(map(is_whole, numbers)) and min(numbers[:2]) >= 0 and min(numbers[2:]) >= 1:
        x, y, width, height = map(int, numbers)
        return x, y, width, height
    raise NasionError(f"roi={redact(repr(value)):.60} is not allowed; give x, y, width and height in whole pixels")


def read_specs(path: Path, **defaults: Any) -> list[SourceSpec]:
    """Read a TOML file of sources: a table for each, ``[NAME]`` with ``source`` and, optionally, other fields.

    Args:
        path: the file.
        **defaults: options of sources that do not set them.

    Raises:
        NasionError: the file cannot be read, or an entry is not allowed.
    """
    with reaching(path, SourceError):
        content = path.read_text(encoding="utf-8")
    named = printable(path)
    try:
        tables = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise NasionError(f"{named} is not TOML: {error}") from None
    return [_spec(named, name, table, defaults) for name, table in tables.items()]


def _spec(file: str, name: str, table: object, defaults: Mapping[str, Any]) -> SourceSpec:
    allowed = [each.name for each in fields(SourceSpec) if each.name != "name"]
    values = table if isinstance(table, Mapping) else {"source": table}
    unknown = [key for key in values if key not in allowed]
    if unknown or "source" not in values:
        problem = f"unknown entry {redact(repr(unknown[0]))}" if unknown else "no entry 'source'"
        raise NasionError(f"{file}: [{redact(name)}] has {problem}; allowed: {', '.join(allowed)}")
    try:
        return SourceSpec(name=name, **{**defaults, **values})
    except NasionError as error:
        raise NasionError(f"{file}: [{redact(name)}]: {error}") from error
