"""The TensorRT that is installed here: full TensorRT from 10.7 on, or TensorRT-RTX.

Both have one Python interface, but for names. TensorRT wants one logger in a process, which lives as long as it does,
and every plugin library loaded before it reads a model or a plan; so there is one ``TensorRt`` of each kind.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.util
import logging
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import RuntimeUnavailable, extra_remedy
from ..operators import library as plugins

_log = logging.getLogger(__name__)

Kind = Literal["tensorrt", "tensorrt-rtx"]
_MODULES: dict[Kind, tuple[str, ...]] = {
    "tensorrt": ("tensorrt", "tensorrt_bindings"),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
_INSTALL: dict[Kind, str] = {
    "tensorrt": extra_remedy("tensorrt"),
    "tensorrt-rtx": "pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings onnx",
}
OLDEST = (10, 7)
# where in the source it was noticed, and, of TensorRT-RTX without a GPU, that there is none
_NOISE = re.compile(r"^ModelImporter\.cpp|^Node name:|^\[\d+\] |cudaError 35\b")


class TensorRt:
    """TensorRT's Python module and what must exist once beside it. Get one from ``tensorrt()``.

    Attributes:
        kind: full TensorRT or TensorRT-RTX.
        version: as it says itself.
        api: the module.
        logger: passes its messages on to ``logging``, and keeps the last errors.
        strong_flag: what ``create_network`` takes for a network whose types are those of the file. From version 11 on,
            and for TensorRT-RTX, there is no other kind, and the flag changes nothing.
    """

    def __init__(self, kind: Kind, api: Any) -> None:
        """Wrap the module ``api``.

        Raises:
            RuntimeUnavailable: it is too old.
        """
        self.kind, self.api, self.version = kind, api, str(api.__version__)
        numbers = tuple(int(part) for part in self.version.split(".")[:2])
        if kind == "tensorrt" and numbers < OLDEST:
            raise RuntimeUnavailable(f"TensorRT {self.version} is too old, 10.7 is the oldest: {_INSTALL[kind]}")
        self.strong_flag = 1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self.logger = _logger(api)
        self._loaded: dict[Path, str] = {}

    def __str__(self) -> str:
        """Kind and version."""
        return f"{self.kind} {self.version}"

    def load_plugins(self) -> str:
        """Load the library of our plugins, once; returns its SHA-256.

        Raises:
            RuntimeUnavailable: it was not built, or TensorRT does not take it.
        """
        path = plugins.locate("plugins")
        if path not in self._loaded:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if self.kind == "tensorrt-rtx":
                _find_rtx()
            if self.api.get_plugin_registry().load_library(str(path)) is None:
                raise RuntimeUnavailable(
                    f"{self} does not take {path}{self.complaints()}; build it again with: nasion plugins build"
                )
            self._loaded[path] = digest
        return self._loaded[path]

    def made(self, name: Literal["Builder", "Runtime"]) -> Any:
        """One of the module's own objects, with the logger.

        Raises:
            RuntimeUnavailable: TensorRT cannot make it, mostly because the driver does not fit.
        """
        try:
            return getattr(self.api, name)(self.logger)
        except TypeError as error:  # what its bindings raise where they got nothing
            raise RuntimeUnavailable(
                f"{self} cannot start{self.complaints() or f' ({error})'}; see nvidia-smi for the driver, which must "
                "be new enough for it"
            ) from error

    def complaints(self) -> str:
        """What TensorRT said was wrong since this was last asked, to be put behind an error of ours."""
        errors, self.logger.errors[:] = list(self.logger.errors), []
        told = dict.fromkeys(filter(None, map(readable, errors)))
        return f" ({'; '.join(list(told)[-5:])})" if told else ""


def readable(message: str) -> str:
    """A message of TensorRT's in one line, without what says nothing to a user."""
    return " ".join(line.strip() for line in message.splitlines() if not _NOISE.search(line))


def _logger(api: Any) -> Any:
    """A logger of TensorRT that passes messages on; errors are also kept for the message that a user sees."""
    severity = api.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.INFO,  # it warns of much that no user can change
        severity.INFO: logging.DEBUG,
        severity.VERBOSE: logging.NOTSET,
    }

    class Logger(api.ILogger):  # type: ignore[misc]
        """Named so in TensorRT's interface."""

        def __init__(self) -> None:
            api.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            """Take a message."""
            level = levels[severity]
            if level == logging.ERROR:
                self.errors.append(message)
                _log.debug("%s", message)
            elif level:
                _log.log(level, "%s", message)

    return Logger()


def _find_rtx() -> None:
    """TensorRT-RTX looks for itself by a name that its wheel lacks, and aborts the process where it finds nothing."""
    if sys.platform == "win32":
        return
    try:
        ctypes.CDLL("libtensorrt_rtx.so")
    except OSError as error:
        raise RuntimeUnavailable(
            "TensorRT-RTX finds no libtensorrt_rtx.so, which it needs for plugins; beside libtensorrt_rtx.so.1, run: "
            "ln -s libtensorrt_rtx.so.1 libtensorrt_rtx.so; and name that folder in LD_LIBRARY_PATH before the start"
        ) from error


def installed() -> tuple[Kind, ...]:
    """The kinds that are installed, full TensorRT first; nothing is imported."""
    kinds: tuple[Kind, ...] = get_args(Kind)
    return tuple(kind for kind in kinds if any(map(importlib.util.find_spec, _MODULES[kind])))


@cache
def tensorrt(kind: Kind | None = None) -> TensorRt:
    """The TensorRT of a kind, by default the first that is installed.

    Raises:
        RuntimeUnavailable: it is not installed, or cannot be loaded.
    """
    first: Kind = next(iter(installed()), "tensorrt")
    chosen = kind or first
    remedy = _INSTALL[chosen]
    for name in _MODULES[chosen]:
        try:
            return TensorRt(chosen, importlib.import_module(name))
        except ModuleNotFoundError:
            continue
        except (ImportError, OSError, FileNotFoundError) as error:
            raise RuntimeUnavailable(f"{chosen} is installed but cannot be loaded ({error}): {remedy}") from error
    raise RuntimeUnavailable(f"{chosen} is not installed: {remedy}")
