"""Cache of TensorRT plans on disk.

A plan is machine code for one GPU and one version of TensorRT. Each file therefore states what it was built for and has
a checksum, so that TensorRT never reads a plan that is damaged or was built for another configuration. Whoever can
write a plan can run any code: only the cache's own folder and files named by the user are read.

File format: magic, SHA-256 of everything after it, length of the header (4 bytes, little endian), header (JSON), plan.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import ModelError, RuntimeUnavailable
from ..output_paths import user_cache
from ..spec import Spec

MAGIC = b"nasion plan 1\n"
_TIMING_MAGIC = b"nasion timing 1\n"
_DIGITS = 20  # hex digits of the key's digest in a file name

FORMAT = "2"
"""Part of every key; incremented whenever the build or the stored figures of plans change."""


@dataclass(frozen=True, slots=True)
class PlanKey:
    """Everything a plan depends on. A plan is used only if every entry matches.

    Attributes:
        model: SHA-256 of the ONNX model, after conversion to float16 if that was requested.
        precision: precision of its convolutions.
        profile: sizes of the input.
        workspace: MB that TensorRT may use for scratch, or ``any``.
        tensorrt: kind and full version of TensorRT.
        gpu: name and memory of the GPU.
        capability: compute capability of the GPU.
        plugins: SHA-256 of the plugin library, or ``none``.
        system: operating system and processor.
        format: format version of nasion's plans.
    """

    model: str
    precision: str
    profile: str
    workspace: str
    tensorrt: str
    gpu: str
    capability: str
    plugins: str
    system: str = f"{platform.system()} {platform.machine()}"
    format: str = FORMAT

    @property
    def digest(self) -> str:
        """SHA-256 of all entries."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def differences(self, wanted: PlanKey) -> list[str]:
        """Return the differences of this plan's key from the wanted one, as text."""
        pairs = ((field.name, getattr(self, field.name), getattr(wanted, field.name)) for field in fields(self))
        return [
            f"{_NAMES[name]} {_short(mine)}, wanted is {_short(other)}" for name, mine, other in pairs if mine != other
        ]


_NAMES = {
    "model": "the model",
    "precision": "precision",
    "profile": "input",
    "workspace": "workspace",
    "tensorrt": "the version",
    "gpu": "the GPU",
    "capability": "compute capability",
    "plugins": "the plugin library",
    "system": "the system",
    "format": "plan format",
}


def _short(value: str) -> str:
    return f"{value[:12]}…" if re.fullmatch(r"[0-9a-f]{64}", value) else value


@dataclass(frozen=True, slots=True)
class Plan:
    """A serialised TensorRT engine with its key.

    Attributes:
        key: configuration it was built for.
        spec: spec of the model.
        batch: minimum, usual and maximum batch size.
        engine: serialised engine.
        about: figures of the build, for information only.
    """

    key: PlanKey
    spec: Spec
    batch: tuple[int, int, int]
    engine: bytes
    about: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """Return the content of a plan file."""
        entries = {"key": asdict(self.key), "spec": self.spec.to_json(), "batch": self.batch, "about": dict(self.about)}
        header = json.dumps(entries, sort_keys=True).encode()
        return _sealed(MAGIC, len(header).to_bytes(4, "little") + header + self.engine)

    @classmethod
    def from_bytes(cls, content: bytes, *, origin: str) -> Plan:
        """Parse the content of a plan file; ``origin`` names it in errors.

        Raises:
            ModelError: the content is not a nasion plan or is damaged.
        """
        body = _opened(MAGIC, content, origin)
        header, rest = _header(body, origin)
        batch = tuple(header["batch"])
        return cls(
            PlanKey(**header["key"]), Spec.from_json(header["spec"], origin=origin), batch, rest, header["about"]
        )


def read_plan(path: Path) -> Plan:
    """Read a plan file.

    Raises:
        ModelError: the file is not a nasion plan or is damaged.
    """
    return Plan.from_bytes(path.read_bytes(), origin=path.name)


def _sealed(magic: bytes, body: bytes) -> bytes:
    return magic + hashlib.sha256(body).digest() + body


def _opened(magic: bytes, content: bytes, origin: str) -> bytes:
    start = len(magic) + 32
    if not content.startswith(magic) or len(content) < start:
        raise ModelError(f"{origin} is not a nasion plan; build one with: nasion compile MODEL.onnx")
    body = content[start:]
    if hashlib.sha256(body).digest() != content[len(magic) : start]:
        raise ModelError(
            f"{origin} is damaged: its checksum does not match; build it again with: nasion compile MODEL.onnx"
        )
    return body


def _header(body: bytes, origin: str) -> tuple[dict[str, Any], bytes]:
    end = 4 + int.from_bytes(body[:4], "little")
    try:
        header: dict[str, Any] = json.loads(body[4:end])
        PlanKey(**header["key"])
        texts, batch, about = [*header["key"].values(), header["spec"]], header["batch"], header["about"]
        numbers = isinstance(batch, list) and [type(each) for each in batch] == [int] * 3
        if not (all(isinstance(text, str) for text in texts) and numbers and isinstance(about, dict)):
            raise TypeError("an entry of its header is of another type")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(f"{origin} is a plan of another version of nasion ({error}); build it again") from error
    return header, body[end:]


def cache_folder() -> Path:
    """Return the folder of plans: ``$NASION_PLANS``, else a folder in the user's cache."""
    return user_cache("plans", "NASION_PLANS")


class PlanCache:
    """Plan files in one folder, named by model and key. Safe for use by several processes at once."""

    def __init__(self, folder: Path | None = None) -> None:
        """Use ``folder``, by default ``cache_folder()``; it is created when the first plan is stored.

        Raises:
            RuntimeUnavailable: other users can write to the folder, and could store code there.
        """
        self.folder = folder or cache_folder()
        if not _is_ours(self.folder):
            raise RuntimeUnavailable(
                f"other users can write to the plan cache {self.folder}, and plans are code; remove their write "
                f"permission (chmod go-w {self.folder}), or set NASION_PLANS to a folder of your own"
            )

    def open(self) -> None:
        """Check that plans can be stored, before one is built.

        Raises:
            RuntimeUnavailable: the folder cannot be written to.
        """
        try:
            self._make()
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise self._cannot_keep(error) from error

    def _cannot_keep(self, error: OSError) -> RuntimeUnavailable:
        return RuntimeUnavailable(
            f"plans cannot be kept in {self.folder} ({error.strerror or error}); set NASION_PLANS to a folder that can "
            "be written"
        )

    def path_of(self, name: str, key: PlanKey) -> Path:
        """Return the path for the plan of the model ``name`` with this key; the file need not exist."""
        return self.folder / f"{_safe(name)}-{key.digest[:_DIGITS]}.plan"

    def find(self, name: str, key: PlanKey) -> tuple[Plan | None, str]:
        """Return the plan for exactly this key, or None, with the reason as text."""
        path = self.path_of(name, key)
        if not path.is_file():
            return None, self._why_not(name, key)
        try:
            plan = read_plan(path)
        except (ModelError, OSError) as error:
            return None, str(error)
        if plan.key != key:
            return None, f"{path.name} was built for another configuration: {'; '.join(plan.key.differences(key))}"
        return plan, f"{path.name} from the cache"

    def store(self, name: str, plan: Plan) -> Path:
        """Store a plan atomically: a reader sees all of it or nothing.

        Raises:
            RuntimeUnavailable: the file cannot be written.
        """
        path = self.path_of(name, plan.key)
        self._write(path, plan.to_bytes())
        return path

    def refusal(self, name: str, key: PlanKey) -> str | None:
        """Return why a plan for this key was refused after it was built, or None."""
        path = self._refusal_path(name, key)
        try:
            digest, _, reason = path.read_text().partition("\n")
        except (OSError, ValueError):
            return None
        return f"{reason.strip()}; it is not built again unless {path} is removed" if digest == key.digest else None

    def refuse(self, name: str, key: PlanKey, reason: str) -> None:
        """Store why a plan was refused, so that it is not built again; raises the same errors as ``store``."""
        self._write(self._refusal_path(name, key), f"{key.digest}\n{reason}\n".encode())

    def _refusal_path(self, name: str, key: PlanKey) -> Path:
        return self.path_of(name, key).with_suffix(".refused")

    def timing(self, library: str, gpu: str) -> bytes:
        """Return the timing cache of earlier builds by this TensorRT for this GPU, which may be empty."""
        path = self._timing_path(library, gpu)
        try:
            return _opened(_TIMING_MAGIC, path.read_bytes(), path.name)
        except (ModelError, OSError):
            return b""  # the next build is slower, nothing else

    def store_timing(self, library: str, gpu: str, measured: bytes) -> None:
        """Store a timing cache; raises the same errors as ``store``."""
        self._write(self._timing_path(library, gpu), _sealed(_TIMING_MAGIC, measured))

    def _timing_path(self, library: str, gpu: str) -> Path:
        return self.folder / f"{_safe(f'{library}-{gpu}')}.timing"

    def _why_not(self, name: str, key: PlanKey) -> str:
        """Return the differences of the most similar plan as text."""
        others = []
        for path in sorted(self.folder.glob(f"{_safe(name)}-{'[0-9a-f]' * _DIGITS}.plan")):
            try:
                others.append((read_plan(path).key.differences(key), path.name))
            except (ModelError, OSError) as error:
                others.append(([str(error)] * len(fields(key)), path.name))
        if not others:
            return f"there is no plan of {name} yet"
        differences, file = min(others, key=lambda each: len(each[0]))
        return f"the plan there is ({file}) differs: {'; '.join(dict.fromkeys(differences))}"

    def _make(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _write(self, path: Path, content: bytes) -> None:
        try:
            self._make()
            handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=path.stem, suffix=".part")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                Path(temporary).replace(path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise self._cannot_keep(error) from error


def _is_ours(folder: Path) -> bool:
    """Return True if only this user, or root, can write to a folder."""
    if os.name != "posix" or not folder.exists():
        return True
    about = folder.stat()
    return about.st_uid in (0, os.getuid()) and not about.st_mode & 0o022


def _safe(name: str) -> str:
    """Return a name that is valid on every file system."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.") or "model"
