"""Catalogue of the labelled data sets, and search for them in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .base import DataError, LandmarkSet, Layout, Part
from .readers.aflw import (
    AFLW,
    AFLW68,
    AFLW_TRAINED_ON,
    MERL_RAV,
    read_aflw,
    read_aflw68,
    read_aflw_frontal,
    read_merl_rav,
)
from .readers.cofw import COFW, COFW68, read_cofw, read_cofw68
from .readers.ibug import (
    MASKED_300W,
    VW300,
    W300,
    W300_PRIVATE,
    YTF68,
    read_300vw,
    read_300w,
    read_300w_private,
    read_masked_300w,
    read_ytf68,
)
from .readers.wflw import WFLW, read_wflw
from .readers.wider import NEGATIVES, WIDER


@dataclass(frozen=True, slots=True)
class Entry:
    """A data set that can be read by name.

    Attributes:
        layout: its published layout.
        read: function that reads a part from the folder.
        landmarks: number of landmarks of a face.
        trained_on: faces in the published training part, as the papers count them; None where they give no count.
    """

    layout: Layout
    read: Callable[[Path, Part], LandmarkSet]
    landmarks: int
    trained_on: int | None = None


def _both(read: Callable[..., LandmarkSet]) -> Callable[[Path, Part], LandmarkSet]:
    return lambda root, part: read(root, test=part == "test")


SETS: dict[str, Entry] = {
    "300w": Entry(W300, _both(read_300w), 68, 3148),
    "300w-private": Entry(W300_PRIVATE, lambda root, _: read_300w_private(root), 68),
    "masked300w": Entry(MASKED_300W, lambda root, _: read_masked_300w(root), 68),
    "300vw": Entry(VW300, _both(read_300vw), 68),
    "ytf68": Entry(YTF68, _both(read_ytf68), 68),
    "aflw": Entry(AFLW, _both(read_aflw), 19, AFLW_TRAINED_ON),
    "aflw-frontal": Entry(AFLW, _both(read_aflw_frontal), 19),
    "aflw68": Entry(AFLW68, _both(read_aflw68), 68),
    "merl-rav": Entry(MERL_RAV, _both(read_merl_rav), 68),
    "cofw": Entry(COFW, _both(read_cofw), 29, 1345),
    "cofw68": Entry(COFW68, lambda root, _: read_cofw68(root), 68),
    "wflw": Entry(WFLW, _both(read_wflw), 98, 7500),
}


LAYOUTS: dict[str, Layout] = {name: entry.layout for name, entry in SETS.items()} | {
    layout.name: layout for layout in (WIDER, NEGATIVES)
}


def layout_of(name: str) -> Layout:
    """Return the layout of a set; the sets for the detector are included.

    Raises:
        DataError: there is no set of that name.
    """
    if name not in LAYOUTS:
        raise DataError(f"no data set is called {name!r}; known: {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def read_set(name: str, root: Path, *, part: Part, checked: bool = True) -> LandmarkSet:
    """Read a part of a set by name, from its own folder or from a folder that holds several sets.

    Args:
        name: name of the set.
        root: folder.
        part: part of the set.
        checked: False if ``landmark_faults`` or ``sound_faces`` follow, which find points that are no numbers.

    Raises:
        DataError: there is no such set or part, or a file is missing or malformed.
        MissingExtra: a package that is needed to read its files is not installed.
    """
    if name not in SETS:
        raise DataError(f"no set of labelled faces is called {name!r}; known: {', '.join(SETS)}")
    SETS[name].layout.home(root, part)  # some readers accept only one part
    found = SETS[name].read(root, part)
    return found.checked() if checked else found


def training_faces(name: str, root: Path) -> int:
    """Return the number of training faces of a set.

    It is the published number, even if ``root`` holds fewer; without a published number, faces in ``root`` are counted.

    Raises:
        DataError: see ``read_set``.
    """
    published = SETS[name].trained_on if name in SETS else None
    return published or len(read_set(name, root, part="train"))


def recognised(root: Path) -> list[tuple[str, Part]]:
    """Return names and parts of the sets in a folder, or of the set that the folder is.

    AFLW is listed as ``aflw`` only, not as ``aflw-frontal`` too.

    Raises:
        DataError: ``root`` is not a folder.
    """
    names = [name for name in LAYOUTS if name != "aflw-frontal"]
    return [(name, part) for name in names for part in LAYOUTS[name].marks if LAYOUTS[name].find(root, part)]
