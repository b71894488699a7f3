"""Description of the machine, stored with every measurement together with package versions."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..engines.cpu import cpu_model, has_vnni
from ..engines.errors import DeviceError, printable
from ..engines.gpu.driver import gpus
from ..realtime.values.versions import versions


def provenance(command: str | None = None) -> dict[str, Any]:
    """Return command (default: that of this process), date, machine and versions, which every report holds.

    Passwords in addresses are left out, and absolute paths are shortened.
    """
    return {
        "command": command or " ".join(["nasion", *map(_shown, sys.argv[1:])]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
    }


def short(name: str | None) -> str:
    """Return a name or path for reports; an absolute path is shortened to its folder and file, to hide local paths."""
    path = Path(name or "")
    return printable("/".join(path.parts[1:][-2:]) if path.is_absolute() else path)


def _shown(argument: str) -> str:
    """Return an argument of the command line for reports."""
    from ..realtime.sources import redact

    if "://" in argument:
        return redact(argument)
    option, sign, value = argument.rpartition("=")
    return f"{option}{sign}{short(value)}" if Path(value).is_absolute() else argument


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> Mapping[str, Any]:
    """Return the processor, whether it has VNNI, the number of cores, the system and, if there are any, the GPUs."""
    found = {"cpu": cpu_model(), "vnni": has_vnni(), "cores": cores(), "system": platform.platform()}
    try:
        return {**found, "gpus": [each.make for each in gpus()]}
    except DeviceError:
        return found
