"""Further labelled face crops for the shipped networks, each set with an ``.npz`` table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ....realtime.values.arrays import FloatArray
from ..base import DataError, LandmarkSet, existing_folder, existing_image, unknown_yaw
from .ibug import read_pts_folders

HELD_OUT_WFLW = Path(__file__).parent / "held-out-wflw.txt"
"""File with the names of the WFLW faces that no shipped network is trained on; they demonstrate fine-tuning."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Set of crops described by one table.

    Attributes:
        name: name of the set.
        folder: folder of the images, below the data folder.
        table: the ``.npz`` file with ``name`` (N,) and ``points`` (N,68,2), and optionally ``yaw`` and ``visibility``.
        boxed: True if the table's ``box`` (N,4), x y width height from forehead to chin, locates the face, because too
            few landmarks are annotated to do so.
    """

    name: str
    folder: str
    table: str
    boxed: bool = False


POOLS = (
    Pool("aflw68-context", "aflw68/context", "aflw68/context.npz"),
    Pool("cfp-profile", "cfp_profile/images", "cfp_profile/labels.npz", boxed=True),
    Pool("wflw98", "wflw98/images", "wflw98/labels.npz"),
    Pool("wflw98-more", "wflw98_more/images", "wflw98_more/labels.npz"),
)


def read_pools(root: Path) -> list[LandmarkSet]:
    """Return the pools found in ``root``, without the held-out WFLW faces, and the infants.

    Raises:
        DataError: a table or an image is missing or malformed.
    """
    found = [_read(root, pool) for pool in POOLS if (root / pool.table).is_file()]
    if (root / "infants" / "train").is_dir():
        found.append(read_pts_folders("infants", [root / "infants" / "train"]))
    return found


def held_out_wflw() -> frozenset[str]:
    """Return the names of the WFLW faces that are held out from training."""
    return frozenset(HELD_OUT_WFLW.read_text(encoding="utf-8").split())


def _read(root: Path, pool: Pool) -> LandmarkSet:
    table, folder = root / pool.table, existing_folder(root / pool.folder)
    arrays = _arrays(table)
    names = [str(name) for name in arrays["name"]]
    held = held_out_wflw()
    kept = np.array([i for i, name in enumerate(names) if name not in held], np.intp)
    images = {path.stem: path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".png", ".webp")}
    files = tuple(existing_image(images.get(names[i], folder / f"{names[i]}.jpg"), named_by=str(table)) for i in kept)
    seen = arrays.get("visibility")
    return LandmarkSet(
        pool.name,
        files,
        arrays["points"][kept].astype(np.float32),
        arrays["yaw"][kept].astype(np.float32) if "yaw" in arrays else unknown_yaw(len(kept)),
        visible=None if seen is None else np.where(seen == 0, np.nan, seen == 2)[kept].astype(np.float32),
        boxes=_corners(arrays["box"][kept]) if pool.boxed else None,
    )


def _corners(boxes: NDArray[Any]) -> FloatArray:
    """Convert boxes (N,4) from x y width height to x0 y0 x1 y1."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1).astype(np.float32)


def _arrays(table: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(table) as arrays:
            found = {name: arrays[name] for name in ("name", "points", "yaw", "visibility", "box") if name in arrays}
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise DataError(f"{table}: cannot be read ({error}); expected an .npz of name and points") from error
    if "name" not in found or found.get("points", np.zeros(0)).shape != (len(found["name"]), 68, 2):
        raise DataError(f"{table}: expected name (N,) and points (N,68,2)")
    return found
