"""Kernels compiled by NVRTC, CUDA's compiler as a library, which pip installs; no nvcc and no C++ compiler is needed.

Code is compiled for one GPU at its first use and stored in the user's cache.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import importlib.util
import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import NasionError, RuntimeUnavailable
from ..output_paths import user_cache, write_file
from . import packages

_log = logging.getLogger(__name__)

_OPTIONS = ("--std=c++17",)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "nvrtcVersion": (POINTER(c_int), POINTER(c_int)),
    "nvrtcGetNumSupportedArchs": (POINTER(c_int),),
    "nvrtcGetSupportedArchs": (POINTER(c_int),),
    "nvrtcCreateProgram": (POINTER(c_void_p), c_char_p, c_char_p, c_int, POINTER(c_char_p), POINTER(c_char_p)),
    "nvrtcDestroyProgram": (POINTER(c_void_p),),
    "nvrtcAddNameExpression": (c_void_p, c_char_p),
    "nvrtcCompileProgram": (c_void_p, c_int, POINTER(c_char_p)),
    "nvrtcGetLoweredName": (c_void_p, c_char_p, POINTER(c_char_p)),
    "nvrtcGetProgramLogSize": (c_void_p, POINTER(c_size_t)),
    "nvrtcGetProgramLog": (c_void_p, c_char_p),
    "nvrtcGetCUBINSize": (c_void_p, POINTER(c_size_t)),
    "nvrtcGetCUBIN": (c_void_p, c_char_p),
    "nvrtcGetPTXSize": (c_void_p, POINTER(c_size_t)),
    "nvrtcGetPTX": (c_void_p, c_char_p),
}


@dataclass(frozen=True, slots=True)
class Program:
    """CUDA source with all that it includes.

    Attributes:
        name: name of the file, for messages.
        source: its content.
        headers: content of each header by the name in the include directive.
        kernels: kernels to compile, as C++ names, templates with their arguments.
    """

    name: str
    source: str
    headers: Mapping[str, str]
    kernels: Sequence[str]

    def key(self, compiler: str, architecture: str) -> str:
        """Return a SHA-256 of all that the code depends on."""
        parts = [compiler, architecture, *_OPTIONS, self.source, *self.kernels]
        parts += [text for header in sorted(self.headers.items()) for text in header]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Code:
    """Compiled kernels.

    Attributes:
        image: machine code (cubin) of one architecture, or PTX; what ``Driver.load`` takes.
        symbols: name of each kernel within it, by its C++ name.
    """

    image: bytes
    symbols: Mapping[str, str]


class Nvrtc:
    """The library NVRTC. Created by ``nvrtc()``.

    Attributes:
        path: path or name of the library.
        version: its version, such as ``13.5``.
    """

    def __init__(self, path: str) -> None:
        """Load the library.

        Raises:
            OSError: it cannot be loaded.
        """
        self.path, self._library = path, ctypes.CDLL(path)
        for name, arguments in _SIGNATURES.items():
            getattr(self._library, name).argtypes = arguments
        self._library.nvrtcGetErrorString.restype = c_char_p
        major, minor = c_int(), c_int()
        self._call("nvrtcVersion", byref(major), byref(minor))
        self.version = f"{major.value}.{minor.value}"

    def _call(self, name: str, *arguments: Any) -> None:
        status: int = getattr(self._library, name)(*arguments)
        if status:
            text = self._library.nvrtcGetErrorString(status).decode()
            raise NasionError(f"{name} of NVRTC {self.version} failed: {text}")

    def _bytes(self, what: str, program: c_void_p) -> bytes:
        size = c_size_t()
        self._call(f"nvrtcGet{what}Size", program, byref(size))
        content = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", program, content)
        return content.raw

    def architecture(self, capability: str) -> str:
        """Return the target for a GPU of a compute capability: its machine code, else PTX of an older one.

        Raises:
            RuntimeUnavailable: the GPU is older than all that this version compiles for.
        """
        count = c_int()
        self._call("nvrtcGetNumSupportedArchs", byref(count))
        known = (c_int * count.value)()
        self._call("nvrtcGetSupportedArchs", known)
        wanted = int(capability.replace(".", ""))
        if wanted in known:
            return f"sm_{wanted}"
        older = [each for each in known if each < wanted]
        if not older:
            raise RuntimeUnavailable(
                f"NVRTC {self.version} compiles for compute capability {min(known) / 10:.1f} and newer, and this GPU "
                f"has {capability}; {remedy()}"
            )
        return f"compute_{max(older)}"

    def compile(self, program: Program, architecture: str) -> Code:
        """Compile a program, which takes a second or more.

        Raises:
            NasionError: the compiler failed; the message has its output.
        """
        handle, headers = c_void_p(), program.headers
        self._call(
            "nvrtcCreateProgram", byref(handle), program.source.encode(), program.name.encode(), len(headers),
            _texts(headers.values()), _texts(headers),
        )  # fmt: skip
        try:
            for name in program.kernels:
                self._call("nvrtcAddNameExpression", handle, name.encode())
            options = [f"--gpu-architecture={architecture}", *_OPTIONS]
            if self._library.nvrtcCompileProgram(handle, len(options), _texts(options)):
                output = self._bytes("ProgramLog", handle).rstrip(b"\0").decode(errors="replace").strip()
                raise NasionError(
                    f"NVRTC {self.version} cannot compile {program.name} for {architecture}:\n{output}\n"
                    "another version may, or compile the kernels with: nasion plugins build"
                )
            image = self._bytes("CUBIN" if architecture.startswith("sm_") else "PTX", handle)
            return Code(image, {name: self._symbol(handle, name) for name in program.kernels})
        finally:
            self._call("nvrtcDestroyProgram", byref(handle))

    def _symbol(self, program: c_void_p, name: str) -> str:
        symbol = c_char_p()
        self._call("nvrtcGetLoweredName", program, name.encode(), byref(symbol))
        return (symbol.value or b"").decode()


def _texts(texts: Any) -> Any:
    encoded = [text.encode() for text in texts]
    return (c_char_p * len(encoded))(*encoded)


@cache
def nvrtc() -> Nvrtc:
    """Return the installed NVRTC: that of pip, else that of a CUDA toolkit.

    Raises:
        RuntimeUnavailable: there is none that the driver can run code of.
    """
    failed = ""
    for path in _candidates():
        try:
            return Nvrtc(path)
        except OSError as error:
            failed = failed or f" ({error})"
    raise RuntimeUnavailable(f"NVRTC, which compiles CUDA kernels, is not installed{failed}: {remedy()}")


def _candidates() -> Iterator[str]:
    """Yield where NVRTC may be, for the CUDA that the driver runs: the folders of pip, then the system's."""
    cuda = packages.driver_cuda()
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted([*Path(folder).glob("*/lib/libnvrtc.so.*"), *Path(folder).glob("*/bin/**/nvrtc64_*.dll")]):
            major = re.search(r"\.so\.(\d+)$|nvrtc64_(\d\d)\d_0\.dll$", path.name)
            if "alt" not in path.name and major and int(major[1] or major[2]) <= cuda:
                yield str(path)
    yield f"nvrtc64_{cuda}0_0.dll" if sys.platform == "win32" else f"libnvrtc.so.{cuda}"


def remedy() -> str:
    """Return how to install NVRTC for the installed driver."""
    return f"pip install '{packages.NVRTC[packages.driver_cuda()]}'"


def compiled(program: Program, capability: str) -> Code:
    """Return the kernels of a program for a GPU of a compute capability, from the cache or compiled and stored.

    Raises:
        RuntimeUnavailable: NVRTC is not installed, or does not know this GPU.
        NasionError: the compiler failed.
    """
    compiler = nvrtc()
    architecture = compiler.architecture(capability)
    file = user_cache("kernels") / f"{program.key(compiler.version, architecture)}.json"
    if (found := _read(file)) is not None:
        return found
    _log.info("compiling %s for %s, once", program.name, architecture)
    code = compiler.compile(program, architecture)
    content = {
        "sha256": hashlib.sha256(code.image).hexdigest(),
        "image": base64.b64encode(code.image).decode(),
        "symbols": dict(code.symbols),
    }
    try:
        write_file(file, json.dumps(content))
    except (NasionError, OSError) as error:
        _log.warning("the compiled kernels cannot be stored and are compiled again at the next start: %s", error)
    return code


def _read(file: Path) -> Code | None:
    """Return the code in a file of the cache; None if there is none, or if it is damaged."""
    try:
        content = json.loads(file.read_bytes())
        image = base64.b64decode(content["image"], validate=True)
        if hashlib.sha256(image).hexdigest() != content["sha256"]:
            return None
        return Code(image, {str(name): str(symbol) for name, symbol in content["symbols"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
