"""Checkpoints of a run: ``latest.pt`` to resume from, ``best.pt`` to use."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from ..engines.errors import NasionError
from ..engines.output_paths import write_file, writing
from .learner import Learner, without


class TrainingError(NasionError):
    """Error in starting, resuming or continuing a run."""


def kept(learner: Learner) -> dict[str, Tensor]:
    """Return the weights of ``learner`` that a checkpoint stores."""
    return without(learner.state_dict(), learner.borrowed)


def fill(learner: Learner, weights: dict[str, Tensor]) -> None:
    """Load weights that ``kept`` returned; borrowed submodules keep theirs.

    Raises:
        TrainingError: the weights are those of another network.
    """
    expected = kept(learner).keys()
    missing, unknown = sorted(expected - weights.keys()), sorted(weights.keys() - expected)
    if missing or unknown:
        raise TrainingError(
            f"the weights do not fit {type(learner).__name__}: missing {_some(missing)}, unknown {_some(unknown)}; "
            "they come from another recipe, or from other options of it"
        )
    try:
        learner.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # sizes that differ
        raise TrainingError(f"the weights do not fit {type(learner).__name__}: {error}") from error


def _some(names: list[str]) -> str:
    return "none" if not names else ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def save(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint to a temporary file and rename it, so that an interruption never leaves a partial one.

    Raises:
        SinkError: it cannot be written; the previous checkpoint is kept.
    """
    data = io.BytesIO()  # torch hides the system's error
    torch.save(content, data)
    beside = path.with_suffix(".part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(beside, data.getvalue())
        beside.replace(path)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; plain data only, no code is run.

    Raises:
        TrainingError: the file is missing or not a checkpoint.
    """
    if not path.is_file():
        raise TrainingError(f"checkpoint {str(path)!r} is not a file; nasion train writes RUN/best.pt")
    content = plain(path)
    if not isinstance(content, dict) or {"average", "description", "step", "figures"} - content.keys():
        raise TrainingError(f"{path}: not a checkpoint of nasion train")
    weights, description, step, figures = (content[name] for name in ("average", "description", "step", "figures"))
    fits = isinstance(description, dict) and isinstance(figures, dict) and isinstance(step, int)
    if not fits or not is_state_dict(weights):
        raise TrainingError(f"{path}: is a damaged checkpoint; give another, for example best.pt of the same run")
    return content


def plain(path: Path) -> Any:
    """Read a file of ``torch.save`` onto the CPU: tensors and plain data only, so that no code of the file runs.

    Raises:
        TrainingError: it cannot be read, or holds something else.
    """
    try:
        _check_sums(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except TrainingError:
        raise
    except Exception as error:  # the unpickler's own types are private
        raise TrainingError(
            f"{path}: {_unreadable(path, error)}; give a checkpoint of nasion train, or a state dict"
        ) from error


def _check_sums(path: Path) -> None:
    """Compare all entries of a file of ``torch.save`` with their checksums, which torch writes but does not check.

    Raises:
        TrainingError: an entry has changed.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        try:
            broken = archive.testzip()
        except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
            broken = str(error)
    if broken is not None:
        raise TrainingError(
            f"{path}: is damaged, its checksum does not match ({broken}); give another checkpoint, for example best.pt "
            "of the same run, or start again in another --out"
        )


def _unreadable(path: Path, error: Exception) -> str:
    """Return the reason why torch does not load a file."""
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror or error})"
    with path.open("rb") as file:
        start = file.read(2)
    if not start:
        return "is empty"
    if start == b"PK" and not zipfile.is_zipfile(path):
        return "is damaged or cut short"
    if start != b"PK" and not start.startswith(b"\x80"):  # the formats of torch.save: an archive, and pickles
        return "is not a file of torch.save"
    return (
        "cannot be read as tensors and plain data, and nothing else is loaded, because it could run code "
        f"({type(error).__name__})"
    )


def is_state_dict(value: object) -> TypeGuard[dict[str, Tensor]]:
    """Return whether a value maps names to tensors."""
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(weight, Tensor) for name, weight in value.items()
    )
