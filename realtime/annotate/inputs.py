"""Inputs of an annotation: videos and sets of images, found in paths, folders and globs."""

from __future__ import annotations

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...engines.errors import SourceError
from ...engines.output_paths import is_folder, reaching
from ..sources import redact
from ..sources.image_files.reading import IMAGE_SUFFIXES, is_image_file
from ..sources.image_files.sources import natural_order

VIDEO_SUFFIXES = (
    ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov",
    ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogg", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
)  # fmt: skip
"""Files that a folder is searched for; a file given by name may have any suffix."""
PATTERN = "pattern:"


@dataclass(frozen=True, slots=True)
class Input:
    """One video, or one set of images: what gets one file for each format.

    Attributes:
        name: name of its outputs, relative to their folder and without suffix, such as ``day1/clip``.
        source: path of a video or of the folder of the images, as it was given; or a ``pattern:``.
        images: images in order; empty for a video.
    """

    name: str
    source: str
    images: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that are read, which no output may replace."""
        if self.source.startswith(PATTERN):
            return ()
        return self.images or (Path(self.source),)

    def content(self) -> Mapping[str, Any]:
        """Return size and SHA-256 of what is read, by which a changed input is recognised.

        Raises:
            SourceError: a file cannot be read.
        """
        if self.source.startswith(PATTERN):
            return {"pattern": self.source}
        if not self.images:
            path = Path(self.source)
            with reaching(path, SourceError):
                return {"bytes": path.stat().st_size, "sha256": _digest(path).hexdigest()}
        whole = hashlib.sha256()
        for path in self.images:
            with reaching(path, SourceError):
                whole.update(path.name.encode(errors="surrogateescape") + b"\0" + _digest(path).digest())
        return {"images": len(self.images), "sha256": whole.hexdigest()}


def find_inputs(paths: Iterable[str | os.PathLike[str]], *, without: Path | None = None) -> list[Input]:
    """Return the inputs that files, folders and globs lead to, in the order given, each once.

    A folder is searched with all folders in it: each video is an input, and so are the images of each folder together.
    Images given by name are one input for each folder that they lie in. Names of outputs that would be the same get the
    suffix of the file, or a number.

    Args:
        paths: files, folders and globs; ``pattern:`` stands for the test pattern.
        without: folder that is not searched, because the outputs go there.

    Raises:
        SourceError: a path does not exist, a glob matches nothing, or there is neither video nor image in a folder.
    """
    found: list[Input] = []
    loose: dict[Path, list[Path]] = {}
    for given in paths:
        text = os.fspath(given)
        if text.startswith(PATTERN):
            found.append(Input("pattern", text))
            continue
        for path in _expanded(text):
            if is_folder(path):
                found += _in_folder(path, without)
            elif is_image_file(path):
                if path.parent not in loose:
                    found.append(Input(path.absolute().parent.name or "images", str(path.parent)))
                loose.setdefault(path.parent, []).append(path)
            else:
                found.append(Input(path.stem, str(path)))
    whole = [
        replace(each, images=tuple(dict.fromkeys(loose.pop(Path(each.source)))))
        if not each.images and Path(each.source) in loose
        else each
        for each in found
    ]
    return _named_apart(list(dict.fromkeys(whole)))


def _expanded(text: str) -> list[Path]:
    """Return the path, or the paths that a glob matches."""
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
    raise SourceError(f"{redact(text)!r} does not exist; give a video, an image, a folder or a glob")


def _in_folder(folder: Path, without: Path | None) -> Iterator[Input]:
    """Yield the inputs in a folder and in all folders in it, in natural order."""
    count = 0
    for place in _folders(folder, without):
        files = sorted(filter(_is_visible_file, place.iterdir()), key=lambda path: natural_order(path.name))
        relative = place.relative_to(folder)
        images = tuple(path for path in files if path.suffix.lower() in IMAGE_SUFFIXES)
        if images:
            name = str(relative) if relative.parts else place.absolute().name or "images"
            count += 1
            yield Input(name, str(place), images)
        for path in files:
            if path.suffix.lower() in VIDEO_SUFFIXES:
                count += 1
                yield Input(str(relative / path.stem), str(path))
    if not count:
        raise SourceError(
            f"{str(folder)!r} has neither video nor image; allowed suffixes: "
            f"{', '.join((*VIDEO_SUFFIXES, *IMAGE_SUFFIXES))}; a file given by name may have any"
        )


def _folders(folder: Path, without: Path | None) -> Iterator[Path]:
    if without is not None and without.exists() and folder.samefile(without):
        return
    yield folder
    inner = [each for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")]
    for each in sorted(inner, key=lambda path: natural_order(path.name)):
        if not each.is_symlink():  # a link to a folder above would never end
            yield from _folders(each, without)


def _is_visible_file(path: Path) -> bool:
    return not path.name.startswith(".") and path.is_file()


def _named_apart(inputs: Sequence[Input]) -> list[Input]:
    """Return the inputs with a different name for each."""
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


def _digest(path: Path) -> Any:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")
