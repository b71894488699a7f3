"""Reading of MATLAB files: up to version 7 with scipy, version 7.3 with h5py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ....engines.errors import MissingExtra
from ..base import DataError


def read_mat(path: Path, *names: str, plain: bool = False) -> dict[str, Any]:
    """Read the variables ``names`` of a MATLAB file up to version 7.

    With ``plain``, cells and structs become lists and dicts.

    Raises:
        DataError: the file is missing or damaged, or lacks one of them.
        MissingExtra: scipy is not installed.
    """
    try:
        from scipy.io import loadmat
    except ImportError:
        raise MissingExtra("scipy", "train", f"reading {path.name}") from None
    expected = f"expected a MATLAB file with {', '.join(names)}"
    if not path.is_file():
        raise DataError(f"{path}: missing; {expected}")
    try:
        found: dict[str, Any] = loadmat(str(path), variable_names=names, simplify_cells=plain)
    except Exception as error:  # a damaged file makes scipy raise errors without a common base class
        raise DataError(f"{path}: cannot be read ({error}); {expected}") from error
    lacking = [name for name in names if name not in found]
    if lacking:
        raise DataError(f"{path}: lacks {', '.join(lacking)}; {expected}")
    return found


@contextmanager
def open_hdf5(path: Path, *names: str) -> Iterator[Any]:
    """Open a MATLAB file of version 7.3, which is an HDF5 file, and check that it has the variables ``names``.

    Raises:
        DataError: the file is missing, of another kind, or lacks one of them.
        MissingExtra: h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise MissingExtra("h5py", "train", f"reading {path.name}") from None
    expected = f"expected a MATLAB file of version 7.3 with {', '.join(names)}"
    if not path.is_file():
        raise DataError(f"{path}: missing; {expected}")
    if not h5py.is_hdf5(path):
        raise DataError(f"{path}: not a file of that version; {expected}")
    with h5py.File(path) as file:
        lacking = [name for name in names if name not in file]
        if lacking:
            raise DataError(f"{path}: lacks {', '.join(lacking)}; {expected}")
        yield file
