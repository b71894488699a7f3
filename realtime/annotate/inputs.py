"""Inputs of an annotation: videos and sets of images, found in paths, folders and globs."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from ...engines.errors import NasionError, SourceError
from ...engines.output_paths import cause_and_remedy, is_folder, reaching
from ..sources import redact
from ..sources.image_files.reading import IMAGE_SUFFIXES, is_image_file
from ..sources.image_files.sources import natural_order
from ..sources.packets.stored import is_stored, public, stored_path

VIDEO_SUFFIXES = (
    ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov",
    ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogg", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
)  # fmt: skip
"""Files that a folder is searched for; a file given by name may have any suffix."""
PATTERN = "pattern:"
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_LONGEST_NAME = 240  # bytes; with the suffix of an output they are within the 255 of file systems


@dataclass(frozen=True, slots=True)
class Input:
    """One video, or one set of images: what gets one file for each format.

    Attributes:
        name: name of its outputs, relative to their folder and without suffix, such as ``day1/clip``.
        source: path of a video or of the folder of the images, as it was given; its URL in storage; or a ``pattern:``.
        images: images in order, ``upath.UPath`` in storage; empty for a video.
        problem: reason why there is nothing to read; empty if there is.
        url: URL of a video in storage, with user, password and query, which ``source`` is without; empty for others.
    """

    name: str
    source: str
    images: tuple[Path, ...] = ()
    problem: str = ""
    url: str = field(default="", repr=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """Local files that are read, which no output may replace."""
        if self.source.startswith(PATTERN) or self.problem or is_stored(self.source):
            return ()
        return self.images or (Path(self.source),)

    def content(self) -> Content:
        """Return what is read in figures, by which a changed input is recognised.

        Raises:
            SourceError: a file cannot be read.
        """
        if self.source.startswith(PATTERN):
            return Content({"pattern": self.source})
        if not self.images:
            path: Path = stored_path(self.url) if self.url else Path(self.source)
            with reaching(path, SourceError):
                return Content({"bytes": path.stat().st_size, "sha256": _digest(path).hexdigest()})
        whole, digests = hashlib.sha256(), []
        for path in self.images:
            with reaching(path, SourceError):
                digest = _digest(path)
            whole.update(os.fsencode(path.name) + b"\0" + digest.digest())
            digests.append(_beginning(digest))
        return Content({"images": len(self.images), "sha256": whole.hexdigest()}, digests)


@dataclass(frozen=True, slots=True)
class Content:
    """Content of an input in figures.

    Attributes:
        figures: size and SHA-256 of all files together.
        digests: the digest of each image; see ``digest_of``. Empty for a video.
    """

    figures: Mapping[str, Any]
    digests: Sequence[str] = ()


def find_inputs(paths: Iterable[str | os.PathLike[str]], *, without: Path | None = None) -> list[Input]:
    """Return the inputs that files, folders and globs lead to, in the order given, each once.

    A folder is searched with all folders in it: each video is an input, and so are the images of each folder together.
    Images given by name are one input for each folder that they lie in. Names of outputs that would be the same get the
    suffix of the file, or a number. A path that leads nowhere is an input with a problem.

    Args:
        paths: files, folders and globs; ``pattern:`` stands for the test pattern.
        without: folder that is not searched, because the outputs go there.

    Raises:
        SourceError: no path leads to an input, or a folder to search is the one that is not searched.
    """
    found: list[Input] = []
    loose: dict[str, list[Path]] = {}
    for given in paths:
        text = os.fspath(given)
        if text.startswith(PATTERN):
            found.append(Input("pattern", text))
            continue
        if is_stored(text):
            with _noted(text, found):
                found += _in_storage(text)
            continue
        with _noted(text, found):
            for path in _expanded(text):
                with _noted(str(path), found):
                    found += _at(path, loose, without)
    whole = [each if each.images or each.problem else _with_images(each, loose) for each in found]
    problems = [each.problem for each in whole if each.problem]
    if problems and len(problems) == len(whole):
        raise SourceError("; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else ""))
    return _named_apart(_each_once(whole))


@contextmanager
def _noted(text: str, found: list[Input]) -> Iterator[None]:
    """Add an input with a problem if a path leads nowhere."""
    try:
        yield
    except (SourceError, OSError) as error:
        shown = public(text) if is_stored(text) else text
        problem = str(error) if isinstance(error, SourceError) else f"{shown!r}: {cause_and_remedy(error)}"
        found.append(Input(Path(shown).stem or "input", shown, problem=problem))


def _at(path: Path, loose: dict[str, list[Path]], without: Path | None) -> Iterator[Input]:
    """Yield the inputs that a path leads to, and note an image by its folder.

    Raises:
        SourceError: there is none.
    """
    if is_folder(path):
        _check_searched(path, without)
        yield from _in_folder(path, without)
    elif not path.is_file():
        raise SourceError(
            f"{str(path)!r} is a pipe or a device, which cannot be read several times; write it to a file first, or "
            "use nasion track"
        )
    elif is_image_file(path):
        folder = os.path.abspath(path.parent)
        if folder not in loose:
            yield Input(Path(folder).name or "images", str(path.parent))
        loose.setdefault(folder, []).append(path)
    else:
        yield Input(path.stem, str(path))


def _in_storage(url: str) -> Iterator[Input]:
    """Yield the inputs that a URL in storage leads to: a file, a folder with the folders in it, or a glob.

    Raises:
        SourceError: there is none.
    """
    root = stored_path(url)
    if glob.has_magic(url):
        files, top = [root.fs.unstrip_protocol(each) for each in root.fs.glob(root.path)], None
    elif root.is_dir():
        files, top = [root.fs.unstrip_protocol(each) for each in root.fs.find(root.path)], root
    elif root.exists():
        files, top = [url], None
    else:
        raise SourceError(f"{public(url)!r} does not exist; give a video, an image, a folder or a glob")
    images: dict[str, list[Path]] = {}
    count = 0
    for path in map(stored_path, sorted(files, key=natural_order)):
        folder = str(path.parent)
        name = path.stem if top is None else str(path.relative_to(top).with_suffix(""))
        if path.suffix.lower() in IMAGE_SUFFIXES:
            images.setdefault(folder, []).append(path)
        elif path.suffix.lower() in VIDEO_SUFFIXES or files == [url]:
            count += 1
            yield Input(name, public(str(path)), url=str(path))
    for folder, found in images.items():
        yield Input(PurePosixPath(folder).name or "images", public(folder), tuple(found))
    if not count and not images:
        raise SourceError(
            f"{public(url)!r} has neither video nor image; allowed suffixes: "
            f"{', '.join((*VIDEO_SUFFIXES, *IMAGE_SUFFIXES))}"
        )


@contextmanager
def at_hand(path: Path) -> Iterator[Path]:
    """Yield a local path of an image, which is transferred if it is in storage, and removed at the end.

    Raises:
        SourceError: it cannot be transferred, or an error of reading, which then names the original.
    """
    if isinstance(path, Path):
        yield path
        return
    with TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        with reaching(path, SourceError, named=public(str(path))):
            copy.write_bytes(path.read_bytes())
        try:
            yield copy
        except SourceError as error:
            raise SourceError(str(error).replace(str(copy), public(str(path)))) from error


def _check_searched(folder: Path, without: Path | None) -> None:
    if without is not None and without.exists() and folder.samefile(without):
        raise NasionError(
            f"{str(folder)!r} is searched for inputs, so the outputs cannot go there; give another folder, such as "
            f"{str(folder / 'annotations')!r}"
        )


def _with_images(found: Input, loose: dict[str, list[Path]]) -> Input:
    """Return the input of a folder with the images in it that were given by name, each once."""
    images: dict[str, Path] = {}
    for path in loose.pop(os.path.abspath(found.source), []):
        images.setdefault(os.path.abspath(path), path)
    return replace(found, images=tuple(images.values()))


def _each_once(found: Iterable[Input]) -> list[Input]:
    """Return the inputs without those that are there already, however their path was written."""
    known: set[str] = set()
    once = []
    for each in found:
        files = [os.path.abspath(path) for path in each.files] or [str(path) for path in each.images]
        files = files or [each.url or each.source]
        new = [path for path, file in zip(each.images, files, strict=False) if file not in known]
        if known.issuperset(files):
            continue
        once.append(replace(each, images=tuple(new)))
        known.update(files)
    return once


def _expanded(text: str) -> list[Path]:
    """Return the path, or the paths that a glob matches.

    Raises:
        SourceError: there is none.
    """
    path = Path(text)
    with reaching(path, SourceError):
        if path.exists():
            return [path]
    if not text:
        raise SourceError("a path is empty; give a video, an image, a folder or a glob")
    if glob.has_magic(text):
        matches = [Path(each) for each in glob.glob(text, recursive=True)]
        if matches:
            return sorted(matches, key=lambda each: natural_order(str(each)))
        raise SourceError(f"{text!r} matches no file; check the glob")
    if _URL.match(text):
        raise SourceError(
            f"{redact(text)!r} is a URL, and annotations are made of files; download it first, or use nasion track"
        )
    raise SourceError(f"{redact(text)!r} does not exist; give a video, an image, a folder or a glob")


def _in_folder(folder: Path, without: Path | None) -> Iterator[Input]:
    """Yield the inputs in a folder and in all folders in it, in natural order."""
    count = 0
    for place, files, problem in _searched(folder, without):
        relative = place.relative_to(folder)
        images = tuple(path for path in files if path.suffix.lower() in IMAGE_SUFFIXES)
        if images or problem:
            name = str(relative) if relative.parts else Path(os.path.abspath(place)).name or "images"
            count += 1
            yield Input(name, str(place), images, problem)
        for path in files:
            if path.suffix.lower() in VIDEO_SUFFIXES:
                count += 1
                yield Input(str(relative / path.stem), str(path))
    if not count:
        raise SourceError(
            f"{str(folder)!r} has neither video nor image; allowed suffixes: "
            f"{', '.join((*VIDEO_SUFFIXES, *IMAGE_SUFFIXES))}; a file given by name may have any"
        )


def _searched(folder: Path, without: Path | None) -> Iterator[tuple[Path, list[Path], str]]:
    """Yield a folder and all folders in it, each with its files, or with the reason why it cannot be listed."""
    if without is not None and without.exists() and folder.samefile(without):
        return
    try:
        entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
        files = [path for path in entries if path.is_file()]
        # a link to a folder above would never end
        inner = [path for path in entries if path.is_dir() and not path.is_symlink()]
    except OSError as error:
        yield folder, [], f"{str(folder)!r} cannot be listed: {cause_and_remedy(error)}"
        return
    yield folder, _in_natural_order(files), ""
    for each in _in_natural_order(inner):
        yield from _searched(each, without)


def _in_natural_order(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: natural_order(path.name))


def _named_apart(inputs: Sequence[Input]) -> list[Input]:
    """Return the inputs with a different name for each."""
    inputs = [replace(each, name=_shortened(each.name)) for each in inputs]
    counts = Counter(each.name for each in inputs)
    taken = {name for name, count in counts.items() if count == 1}
    apart = []
    for each in inputs:
        name = each.name
        if counts[name] > 1:
            suffix = "" if each.images else Path(each.source).suffix.lower().replace(".", "-")
            choices = (f"{name}{suffix}", *(f"{name}{suffix}-{number}" for number in range(2, len(inputs) + 2)))
            name = next(choice for choice in choices if choice not in taken)
            taken.add(name)
        apart.append(replace(each, name=name))
    return apart


def _shortened(name: str) -> str:
    """Return a name that leaves room for the suffix of an output; what is cut off is replaced by a digest."""
    path = Path(name)
    encoded = os.fsencode(path.name)
    if len(encoded) <= _LONGEST_NAME:
        return name
    start = encoded[: _LONGEST_NAME - 9].decode(errors="ignore")
    return str(path.with_name(f"{start}-{hashlib.sha256(encoded).hexdigest()[:8]}"))


def digest_of(path: Path) -> str:
    """Return the first 16 digits of the SHA-256 of a file.

    Raises:
        SourceError: it cannot be read.
    """
    with reaching(path, SourceError):
        return _beginning(_digest(path))


def _beginning(digest: Any) -> str:
    return str(digest.hexdigest()[:16])


def _digest(path: Path) -> Any:
    if not isinstance(path, Path):  # storage knows a version of each file, so it is not transferred
        return hashlib.sha256(str(path.fs.ukey(path.path)).encode())
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")
