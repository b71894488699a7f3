"""Output paths: checks before the work, and one way to write files."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import combinations
from pathlib import Path
from stat import S_ISDIR
from typing import IO

from .errors import NasionError, SinkError, lacks_memory
from .signals import Held

_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space, or give another path"),
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or give another path",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "change its permissions or those of its folder, or give another path"),
    errno.EROFS: "give a path that can be written",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOMEM: "free memory, or raise the limit on it (ulimit -v)",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit on open files (ulimit -n)"),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR), "check the name"),
    errno.EIO: "check the device",
    errno.EEXIST: "give the name of a folder, or one that does not exist yet",
}


def cause_and_remedy(error: OSError, *, otherwise: str = "") -> str:
    """Return the cause of ``error`` and what to do about it; ``otherwise`` where nothing better is known."""
    cause = error.strerror or str(error) or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0, otherwise)
    return f"{cause}; {remedy}" if remedy else cause


@contextmanager
def reaching(path: Path, kind: type[NasionError], *, named: str | None = None) -> Iterator[None]:
    """Convert operating-system errors about ``path`` to ``kind``; ``named`` names the path in the message."""
    try:
        yield
    except OSError as error:
        raise kind(f"{named or repr(str(path))} cannot be reached: {cause_and_remedy(error)}") from error


@contextmanager
def writing(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """Convert operating-system errors about ``path``, and ``errors``, to ``SinkError``."""
    kinds: tuple[type[Exception], ...] = (OSError, *errors)
    try:
        yield
    except kinds as error:
        if not isinstance(error, OSError):  # an error of FFmpeg may still have the system's number
            number = errno.ENOMEM if lacks_memory(error) else getattr(error, "errno", None) or 0
            error = OSError(number, getattr(error, "strerror", None) or str(error))
        known = _dangling(path) or cause_and_remedy(error, otherwise="check the space and the memory that are left")
        raise SinkError(f"cannot write {str(path)!r}: {known}") from error


def is_there(path: Path) -> bool:
    """Return whether ``path`` exists, or may exist because the system cannot tell."""
    try:
        return path.exists()
    except OSError:
        return True


def remove_if_empty(path: Path) -> None:
    """Remove an empty file of this run, because the next run would need ``--force``."""
    with suppress(OSError):
        if path.is_file() and path.stat().st_size == 0:
            path.unlink()


def make_folder(path: Path) -> None:
    """Create the folder of a file that is about to be written.

    Raises:
        OSError: it cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)


def write_file(path: Path, content: bytes | str) -> None:
    """Write a whole file and create its folder; signals are held back meanwhile.

    If the disk is full, the file is removed.

    Raises:
        SinkError: it cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    with Held(), writing(path):
        make_folder(path)
        try:
            path.write_bytes(data)
        except OSError:
            if path.is_file():
                with suppress(OSError):  # report the first error
                    path.unlink()
            raise


def check_output_paths(
    paths: Mapping[str, Path | None],
    *,
    force: bool,
    suffixes: Sequence[str] = (),
    inputs: Iterable[str | Path | None] = (),
    remedy: str = "give another name, or replace it with --force",
) -> None:
    """Check that the files of a command can be written, before any work. Missing folders are created with the files.

    Args:
        paths: paths by option as the user gave it, e.g. ``--json``; None where no file is wanted.
        force: files that exist may be replaced.
        suffixes: those allowed (default: any).
        inputs: input files of the command, which no output may replace, even with ``force``; other values are ignored.
        remedy: what to do about a file that exists.

    Raises:
        SinkError: a file cannot be written, already exists and may not be replaced, is an input, or is given twice.
    """
    wanted = {option: path for option, path in paths.items() if path is not None}
    read = [Path(each) for each in inputs if each is not None]
    for option, path in wanted.items():
        named = f"{option} {str(path)!r}"
        with reaching(path, SinkError, named=named):
            _check_output_path(named, path, force=force, suffixes=suffixes, inputs=read, remedy=remedy)
    for (one, path), (other, again) in combinations(wanted.items(), 2):
        if same_file(path, again):
            raise SinkError(f"{one} and {other} are both {str(path)!r}; give them different names")


def _check_output_path(
    named: str, path: Path, *, force: bool, suffixes: Sequence[str], inputs: Sequence[Path], remedy: str
) -> None:
    if suffixes and path.suffix not in suffixes:
        raise SinkError(f"{named}: suffix {path.suffix!r}; allowed: {', '.join(suffixes)}")
    folder = next(each for each in path.absolute().parents if os.path.lexists(each))  # missing ones will be created
    if not is_folder(folder):
        raise SinkError(f"{named}: {str(folder)!r} is not a folder; give a name in another folder")
    if is_folder(path):
        raise SinkError(f"{named} is a folder; give the name of a file")
    if dangling := _dangling(path):
        raise SinkError(f"{named} is {dangling}")
    if path.exists() and any(same_file(path, each) for each in inputs):
        raise SinkError(f"{named} is an input of this command; give another name")
    if path.exists() and not force:
        raise SinkError(f"{named} already exists; {remedy}")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise SinkError(f"{named} is not writable for this user; change its permissions, or give another name")


def _dangling(path: Path) -> str | None:
    """Return a description of a symbolic link without a target, with what to do; None if ``path`` is none."""
    if not path.is_symlink() or is_there(path):
        return None
    return f"a link to {os.readlink(path)!r}, which does not exist; give another name, or remove the link"


def user_cache(name: str, variable: str = "") -> Path:
    """Return the folder that the environment variable names, else the folder ``name`` of nasion in the user's cache."""
    if variable and (given := os.environ.get(variable)):
        return Path(given)
    home: str | Path
    if os.name == "nt":
        home = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / "Caches"
    else:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "nasion" / name


def take_lock(file: IO[str]) -> bool:
    """Take the lock of an open file; return False if another process has it. The system releases it at its end.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_folder(path: Path) -> bool:
    """Return whether ``path`` is a folder.

    Raises:
        OSError: the system cannot tell; what ``Path.is_dir`` does then depends on the version of Python.
    """
    try:
        return S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def same_file(one: Path, other: Path) -> bool:
    """Return whether two paths are the same file."""
    with suppress(OSError, ValueError):
        if one.exists() and other.exists():
            return one.samefile(other)
        return one.resolve() == other.resolve()
    return False
