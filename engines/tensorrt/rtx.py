"""Builds with TensorRT-RTX, which need no GPU.

NVIDIA's own parser, plugins and builder run; only the network itself does not. TensorRT-RTX may abort the process if it
does not find its library, and allows one logger per process. Each model is therefore built in its own process,
``python -m nasion.engines.tensorrt.rtx MODEL``, with the library in a folder where TensorRT-RTX looks for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import NasionError, RuntimeUnavailable

INSTALL = "pip install tensorrt-rtx-cu13-libs==1.7.1.116 tensorrt-rtx-cu13-bindings==1.7.1.116 onnx"
_LIBRARY = "libtensorrt_rtx.so"
_FIND = "import importlib.util as u; s = u.find_spec('tensorrt_rtx_libs'); print(s.submodule_search_locations[0])"
# if that interpreter lacks nasion, our folder is appended last, so that the interpreter's own packages take precedence
_RUN = """
import sys
try:
    import nasion
except ImportError:
    sys.path.append({folder!r})
from nasion.engines.tensorrt.rtx import main
main(sys.argv[1:])
"""
_PATIENCE = 1800  # timeout per model in seconds


@dataclass(frozen=True, slots=True)
class RtxBuild:
    """Result of the build of one model.

    Attributes:
        network: name of the model in its spec.
        file: file name of the model.
        sha256: SHA-256 of the file.
        precision: precision of its convolutions.
        profile: sizes of the input: batch x width x height.
        nodes: number of nodes of each custom operator.
        plugins: number of these nodes that became plugins.
        layers: number of layers of the network.
        seconds: time to read and build.
        bytes: size of the engine.
        version: version of TensorRT-RTX.
        plugin_library: SHA-256 of the plugin library; empty if none is needed.
        plugin_sources: hash of the sources of the plugin library; empty if none is needed.
        error: why there is no engine; empty on success.
    """

    network: str
    file: str
    sha256: str
    precision: str
    profile: str
    nodes: dict[str, int]
    plugins: int
    layers: int
    seconds: float
    bytes: int
    version: str
    plugin_library: str
    plugin_sources: str = ""
    error: str = ""


def build_apart(model: Path, *, fp16: bool = False, python: Path | None = None) -> RtxBuild:
    """Build a model in a separate process.

    Args:
        model: an ``.onnx`` file.
        fp16: build in float16 even if the file is float32.
        python: interpreter that has TensorRT-RTX (None: this one).

    Raises:
        RuntimeUnavailable: TensorRT-RTX is not installed in that interpreter.
    """
    interpreter = str(python or sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        for library in _folder_of_libraries(interpreter).glob("*.so*"):
            (Path(folder) / library.name).symlink_to(library)
            if library.name.startswith(_LIBRARY):
                (Path(folder) / _LIBRARY).symlink_to(library)  # the name that the wheel lacks
        paths = [folder, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        nasion = str(Path(sys.modules["nasion"].__path__[0]).parent)
        try:
            done = subprocess.run(
                [interpreter, "-c", _RUN.format(folder=nasion), str(model), *(["--fp16"] if fp16 else [])],
                env={**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(paths)},
                capture_output=True,
                text=True,
                timeout=_PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return failed(model, fp16, f"TensorRT-RTX did not finish within {_PATIENCE} s")
    if done.returncode:
        last_lines = done.stderr.strip().splitlines()[-8:]
        return failed(model, fp16, f"TensorRT-RTX exited with {done.returncode}: {' / '.join(last_lines)}")
    values: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return RtxBuild(**values)


def failed(model: Path, fp16: bool, error: str) -> RtxBuild:
    """Return the result for a model that was not built and whose content may be unknown."""
    return RtxBuild(model.stem, model.name, "", "fp16" if fp16 else "fp32", "", {}, 0, 0, 0.0, 0, "", "", error=error)


def _folder_of_libraries(python: str) -> Path:
    try:
        done = subprocess.run([python, "-c", _FIND], capture_output=True, text=True, check=False)
    except OSError as error:
        raise RuntimeUnavailable(
            f"{python}: not a Python interpreter ({error}); name the interpreter of an environment"
        ) from error
    if done.returncode:
        raise RuntimeUnavailable(
            f"TensorRT-RTX is not installed in {python}; install it in a separate environment: {INSTALL}; then "
            "pass the interpreter of that environment with --python"
        )
    return Path(done.stdout.strip())


def main(arguments: list[str]) -> None:
    """Build the model named in ``arguments`` in this process and print the result as JSON."""
    print(json.dumps(asdict(_build(Path(arguments[0]), fp16="--fp16" in arguments))))


def _build(path: Path, *, fp16: bool) -> RtxBuild:
    from ..operators.library import source_hash
    from .build import Profile, build
    from .fp16 import to_fp16
    from .library import tensorrt
    from .onnx_file import read_onnx

    library = tensorrt("tensorrt-rtx")
    try:
        model = to_fp16(read_onnx(path)) if fp16 else read_onnx(path)
    except NasionError as error:
        return failed(path, fp16, str(error))
    profile = Profile.of(model.spec)
    result = RtxBuild(
        network=model.spec.name,
        file=path.name,
        sha256=model.sha256,
        precision=model.precision,
        profile=str(profile),
        nodes=dict(model.plugins),
        plugins=0,
        layers=0,
        seconds=0.0,
        bytes=0,
        version=library.version,
        plugin_library="",
    )
    figures = asdict(result)
    try:
        built = build(library, model, profile)
        figures |= {"plugins": built.plugins, "layers": built.layers, "seconds": round(built.seconds, 2)}
        figures["bytes"] = len(built.engine)
        if model.plugins:  # the loaded library was built from the installed sources
            figures |= {"plugin_library": library.load_plugins(), "plugin_sources": source_hash()}
    except NasionError as error:
        figures["error"] = str(error)
    return RtxBuild(**figures)
