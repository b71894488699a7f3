"""One-line explanations of errors of the system and of libraries."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ..engines.errors import extra_remedy, lacks_memory
from ..engines.output_paths import cause_and_remedy
from .dependencies import EXTRAS

# system library -> Debian package
_LIBRARIES = {
    "libGL": "libgl1", "libglib": "libglib2.0-0", "libgthread": "libglib2.0-0", "libEGL": "libegl1",
    "libxcb": "libxcb1", "libX11": "libx11-6", "libXext": "libxext6", "libSM": "libsm6", "libXrender": "libxrender1",
}  # fmt: skip


_MISSING = re.compile(
    r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object|Error loading shared library (lib[\w.+-]+\.so[\w.]*)"
)


def explained(error: Exception) -> str | None:
    """Return what is wrong and what to do, or None for an error that is a defect of ours."""
    for cause in _causes(error):
        if lacks_memory(cause):
            said = f" ({str(cause).strip().splitlines()[0]})" if str(cause).strip() else ""
            return f"there is not enough memory{said}; close other programs, or raise the limit on it (ulimit -v)"
    if isinstance(error, OSError):
        names = [each for each in (error.filename, error.filename2) if each is not None]
        return ": ".join([*(_name(each) for each in names[:1]), cause_and_remedy(error)])
    return None


def _name(file: object) -> str:
    return repr(os.fsdecode(file) if isinstance(file, str | bytes | os.PathLike) else str(file))


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def import_remedy(error: ImportError) -> str | None:
    """Return what to install after a failed import, or None if the defect is ours."""
    for cause in _import_causes(error):
        package = (cause.name or "").split(".")[0]
        if library := _MISSING.search(str(cause)):  # wording of glibc, then of musl
            file = library[1] or library[2]
            return _library_remedy(file, package or "cv2")
        if package in ("", "nasion"):
            continue
        if isinstance(cause, ModuleNotFoundError):
            if package in EXTRAS:
                return f"the package {package} is not installed; {extra_remedy(EXTRAS[package])}"
            return f"the package {package} is not installed; 'nasion doctor' says what to install"
        said = str(cause).strip().splitlines()[0]
        return (
            f"the package {package} cannot be loaded ({said}); pip install --force-reinstall {_distribution(package)}"
        )
    return None


def _library_remedy(file: str, package: str) -> str:
    name = "OpenCV" if package == "cv2" else f"the package {package}"
    if re.search(r"-[0-9a-f]{8}\.", file) or "-r0-" in file:  # naming of the libraries in wheels
        return f"{name} lacks its own library {file}; pip install --force-reinstall {_distribution(package)}"
    debian = next((debian for start, debian in _LIBRARIES.items() if file.startswith(start)), None)
    install = f"apt-get install {debian}" if debian else f"install the system package that holds {file}"
    without = "; or, without a display, pip uninstall -y opencv-python && pip install opencv-python-headless"
    return f"{name} needs the system library {file}, which is not installed: {install}{without * (package == 'cv2')}"


def _distribution(package: str) -> str:
    """Return what pip calls the package of an import name."""
    from importlib.metadata import packages_distributions

    return next(iter(packages_distributions().get(package, [package])))


def _import_causes(error: ImportError) -> Iterator[ImportError]:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ImportError):
            yield cause
        cause = cause.__cause__ or cause.__context__
