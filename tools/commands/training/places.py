"""Folder and device of a training: checks before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ....engines.errors import NasionError, SinkError
from ....engines.output_paths import check_output_paths, is_folder, reaching

if TYPE_CHECKING:
    import torch


def check_folder(folder: Path, *, force: bool, inputs: Sequence[Path | None] = ()) -> None:
    """Check that a run in ``folder`` replaces only files of the run that it resumes.

    Raises:
        SinkError: it would replace other files and ``force`` is not given; or files are inputs or cannot be written.
    """
    with reaching(folder, SinkError, named=f"--out {str(folder)!r}"):
        if not is_folder(folder):
            return
        goes_on = (folder / "latest.pt").exists()
        begun = goes_on or (folder / "record.jsonl").exists()
    own = {"latest.pt": True, "record.jsonl": True, "best.pt": goes_on, "curve.svg": begun, "curve.png": begun}
    remedy = "give another folder, or replace it with --force"
    for name, is_own in own.items():
        check_output_paths({"--out": folder / name}, force=force or is_own, inputs=inputs, remedy=remedy)


def device_named(name: str) -> torch.device:
    """Return the torch device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        NasionError: the name is unknown, or there is no such GPU.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise NasionError(f"device {name!r} is unknown; allowed: auto, cpu, cuda, cuda:N")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise NasionError(f"device {name!r}: torch sees {torch.cuda.device_count()} GPUs here; allowed: auto, cpu")
    return torch.device(name)
