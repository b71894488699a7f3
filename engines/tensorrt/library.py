"""The installed TensorRT: full TensorRT (10.7 or newer) or TensorRT-RTX.

Both have the same Python interface, except for names. TensorRT requires one logger per process that lives as long as
the process, and plugin libraries must be loaded before it reads a model or a plan. So there is one ``TensorRt`` of
each kind.
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

from ..errors import RuntimeUnavailable
from ..gpu.packages import tensorrt_remedy
from ..operators import library as plugins

_log = logging.getLogger(__name__)

Kind = Literal["tensorrt", "tensorrt-rtx"]
_MODULES: dict[Kind, tuple[str, ...]] = {
    "tensorrt": ("tensorrt", "tensorrt_bindings"),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
OLDEST = (10, 7)
# source locations, and TensorRT-RTX's report of a missing GPU
_NOISE = re.compile(r"^ModelImporter\.cpp|^Node name:|^\[\d+\] |cudaError 35\b")


class TensorRt:
    """TensorRT's Python module with its logger and plugins, which exist once per process. Created by ``tensorrt()``.

    Attributes:
        kind: full TensorRT or TensorRT-RTX.
        version: version reported by the module.
        api: the module.
        logger: passes TensorRT's messages on to ``logging`` and keeps the last errors.
        strong_flag: flag for ``create_network`` that makes the network strongly typed, with the types of the file. From
            version 11 on, and in TensorRT-RTX, all networks are strongly typed and the flag has no effect.
    """

    def __init__(self, kind: Kind, api: Any) -> None:
        """Wrap the module ``api``.

        Raises:
            RuntimeUnavailable: this version is too old.
        """
        self.kind, self.api, self.version = kind, api, str(api.__version__)
        numbers = tuple(int(part) for part in self.version.split(".")[:2])
        if kind == "tensorrt" and numbers < OLDEST:
            raise RuntimeUnavailable(f"TensorRT {self.version} is too old, 10.7 is the oldest: {_remedy(kind)}")
        self.strong_flag = 1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self.logger = _logger(api)
        self._loaded: dict[Path, str] = {}

    def __str__(self) -> str:
        """Return kind and version."""
        return f"{self.kind} {self.version}"

    def load_plugins(self) -> str:
        """Load the plugin library, once, and return its SHA-256.

        Raises:
            RuntimeUnavailable: the library was not built, or TensorRT rejects it.
        """
        path = plugins.locate("plugins")
        if path not in self._loaded:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if self.kind == "tensorrt-rtx":
                _find_rtx()
            if self.api.get_plugin_registry().load_library(str(path)) is None:
                raise RuntimeUnavailable(
                    f"{self} does not accept {path}{self.complaints()}; build it again with: nasion plugins build"
                )
            self._loaded[path] = digest
        return self._loaded[path]

    def made(self, name: Literal["Builder", "Runtime"]) -> Any:
        """Create a builder or runtime with the logger.

        Raises:
            RuntimeUnavailable: TensorRT cannot create it, mostly because of an incompatible driver.
        """
        try:
            return getattr(self.api, name)(self.logger)
        except TypeError as error:  # raised by the bindings for a null pointer
            raise RuntimeUnavailable(
                f"{self} cannot start{self.complaints() or f' ({error})'}; see nvidia-smi for the driver, which must "
                "be new enough for it"
            ) from error

    def complaints(self) -> str:
        """Return and clear TensorRT's errors since the last call, as a suffix for an error message."""
        errors, self.logger.errors[:] = list(self.logger.errors), []
        messages = dict.fromkeys(filter(None, map(readable, errors)))
        return f" ({'; '.join(list(messages)[-5:])})" if messages else ""


def readable(message: str) -> str:
    """Return a message of TensorRT in one line, without details that do not help the user."""
    return " ".join(line.strip() for line in message.splitlines() if not _NOISE.search(line))


def _logger(api: Any) -> Any:
    """Return a TensorRT logger that passes messages to ``logging`` and keeps errors for the messages to the user."""
    severity = api.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.INFO,  # most of its warnings are not actionable for users
        severity.INFO: logging.DEBUG,
        severity.VERBOSE: logging.NOTSET,
    }

    class Logger(api.ILogger):  # type: ignore[misc]
        """Implementation of TensorRT's logger interface."""

        def __init__(self) -> None:
            api.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            """Handle a message."""
            level = levels[severity]
            if level == logging.ERROR:
                self.errors.append(message)
                _log.debug("%s", message)
            elif level:
                _log.log(level, "%s", message)

    return Logger()


def _find_rtx() -> None:
    """Check that the loader finds TensorRT-RTX, which otherwise aborts the process.

    TensorRT-RTX looks for its own library by a name that its wheel lacks.
    """
    if sys.platform == "win32":
        return
    try:
        ctypes.CDLL("libtensorrt_rtx.so")
    except OSError as error:
        raise RuntimeUnavailable(
            "TensorRT-RTX finds no libtensorrt_rtx.so, which it needs for plugins; beside libtensorrt_rtx.so.1, run: "
            "ln -s libtensorrt_rtx.so.1 libtensorrt_rtx.so; and name that folder in LD_LIBRARY_PATH before the start"
        ) from error


def _remedy(kind: Kind) -> str:
    if kind == "tensorrt":
        return tensorrt_remedy()
    return "pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings onnx"


def installed() -> tuple[Kind, ...]:
    """Return the installed kinds, full TensorRT first, without importing them."""
    kinds: tuple[Kind, ...] = get_args(Kind)
    return tuple(kind for kind in kinds if any(map(importlib.util.find_spec, _MODULES[kind])))


@cache
def tensorrt(kind: Kind | None = None) -> TensorRt:
    """Return the TensorRT of a kind, by default the first that is installed.

    Raises:
        RuntimeUnavailable: TensorRT is not installed or cannot be loaded.
    """
    first: Kind = next(iter(installed()), "tensorrt")
    chosen = kind or first
    remedy = _remedy(chosen)
    for name in _MODULES[chosen]:
        try:
            return TensorRt(chosen, importlib.import_module(name))
        except ModuleNotFoundError:
            continue
        except (ImportError, OSError, FileNotFoundError) as error:
            raise RuntimeUnavailable(f"{chosen} is installed but cannot be loaded ({error}): {remedy}") from error
    raise RuntimeUnavailable(f"{chosen} is not installed: {remedy}")
