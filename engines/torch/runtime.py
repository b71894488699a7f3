"""A ``torch.export`` file (``.pt2``) run by torch: the reference the other runtimes are compared with."""

from __future__ import annotations

import io
import logging
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..closing import Closing
from ..errors import DeviceError, MissingExtra, ModelError, RuntimeUnavailable, foreign, lacks_memory
from ..gpu.device import Memory
from ..gpu.graphs import Fill, Shape
from ..gpu.inputs import MOST, GpuInput
from ..runtime import gpu_number
from ..spec import METADATA_KEY, Outputs, Spec, Tensor
from . import program as safe

try:
    import torch
    from torch.export.passes import move_to_device_pass
    from torch.export.pt2_archive import PT2ArchiveReader, PT2ArchiveWriter
except ImportError as missing:
    raise MissingExtra("torch", "train", "the torch runtime") from missing


class TorchRuntime(Closing):
    """A ``.pt2`` program in torch; implements ``engines.runtime.Runtime``, and on a GPU ``GpuRuntime``.

    ``threads`` applies to the whole process, because torch has one thread pool. On a GPU it computes without TF32.
    """

    def __init__(self, path: Path, *, threads: int = 1, device: str = "auto", longest: int | None = None) -> None:
        """Load ``path``, on ``auto`` to the first GPU that torch can use; ``longest`` is ignored.

        Raises:
            ModelError: the file is not an exported program, could run code when it is loaded, or has no spec.
            RuntimeUnavailable: a GPU was requested by name and torch cannot use it.
        """
        self.device, self.reason = _device(device), "asked for: torch"
        try:
            archive, spec = _checked(path)
            with _quiet():
                program = torch.export.load(archive)
            inputs, outputs = _signature(program)
            if self.device != "cpu":
                torch.backends.cudnn.allow_tf32 = False  # its 10 bits of mantissa would shift the landmarks
                program = move_to_device_pass(program, self.device)
            self._module: Any = program.module()
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"{path}: torch cannot load it ({foreign(error)}); export it again. Where a program has operators of "
                "its own, import what registers them first (ours: nasion.trainers.networks.operators)"
            ) from error
        if spec is None:
            raise ModelError(f"{path}: has no {METADATA_KEY} entry; write it with: nasion export CHECKPOINT")
        self.spec = Spec.from_json(spec, origin=str(path))
        self.spec.check_graph(inputs, outputs, origin=str(path))
        self.provider = "torch CPU" if self.device == "cpu" else "torch CUDA"
        self.threads = threads
        self.most_on_gpu: int = 0 if self.device == "cpu" else MOST
        self._on_device = GpuInput(gpu_number(self.device))
        if threads:
            torch.set_num_threads(threads)

    def __call__(self, images: NDArray[np.float32]) -> Outputs:
        """Run normalised images (B,3,H,W) and return each output by name.

        Raises:
            DeviceError: the GPU failed.
            ModelError: the network fails, or its outputs do not match its task.
        """
        return self._checked(torch.from_numpy(images), images.shape)

    def run(self, shape: Shape, fill: Fill) -> Outputs:
        """Run images (B,3,H,W) that are produced on the GPU; see ``engines.runtime.GpuRuntime``.

        Raises:
            DeviceError: the GPU failed.
            ModelError: there are too many images, the network fails, or its outputs do not match its task.
        """
        with self._on_device.filled(shape, fill) as memory:
            return self._checked(_shared(memory, self.device)[: shape[0]], shape)

    def _checked(self, images: torch.Tensor, shape: Shape) -> Outputs:
        """Run the program and check the outputs for images of a shape."""
        if self._module is None:
            raise ModelError("this runtime is closed; open it again")
        try:
            with torch.inference_mode():
                outputs: dict[str, torch.Tensor] = self._module(images.to(self.device))
                arrays = {name: value.cpu().numpy() for name, value in outputs.items()}
        except Exception as error:  # its errors have no common type
            if self.device != "cpu" and lacks_memory(error):
                raise DeviceError.out_of_memory(self.device, error) from error
            if self.device != "cpu":
                raise DeviceError(f"torch failed on {self.device}: {foreign(error)}; or run on --device cpu") from error
            raise ModelError(
                f"torch cannot run model {self.spec.name!r} on images of shape {shape} ({foreign(error)}); "
                "give other images, or export the model again"
            ) from error
        return self.spec.check_outputs(arrays, shape[0])

    def close(self) -> None:
        """Free the program and its memory on the GPU."""
        self._module = None
        self._on_device.close()


def _shared(memory: Memory, device: str) -> torch.Tensor:
    """Return an array on the GPU as a tensor without a copy, by the CUDA Array Interface."""
    return torch.as_tensor(memory, device=device)


def _checked(path: Path) -> tuple[io.BytesIO, str | None]:
    """Return an archive of those members of a file that torch needs and that run no code, and the file's spec.

    torch's own reader looks at a copy in memory, so that what is checked is what is loaded.

    Raises:
        ModelError: the file is not an archive, or holds something that could run code.
    """
    content, origin = path.read_bytes(), str(path)
    if not zipfile.is_zipfile(io.BytesIO(content)):
        what = "is damaged or cut short" if content.startswith(b"PK") else "is not a .pt2 file"
        raise ModelError(
            f"{origin}: {what if content else 'is empty'}; write it with: nasion export CHECKPOINT -o {path.name}"
        )
    reader, copy = PT2ArchiveReader(io.BytesIO(content)), io.BytesIO()
    names = reader.get_file_names()
    safe.check_members(names, origin=origin)
    if any(reader.archive_file.get_record_size(name) > len(content) for name in names):
        raise ModelError(f"{origin}: is compressed, which torch.export does not do; export it again")
    members = {}
    for config in safe.CONFIGS:
        members[config] = reader.read_bytes(config)
        for name in safe.check_config(members[config].decode(), config.rpartition("/")[0], origin=origin):
            members[name] = reader.read_bytes(name)
    members[safe.PROGRAM] = safe.checked_program(reader.read_string(safe.PROGRAM), origin=origin).encode()
    if safe.SAMPLES in names:
        _check_samples(reader.read_bytes(safe.SAMPLES), origin)
    members[safe.SAMPLES] = b""  # they are not needed, and torch would unpickle them
    with PT2ArchiveWriter(copy) as writer:
        for name, member in members.items():
            writer.write_bytes(name, member)
    copy.seek(0)
    spec = f"{safe.SPEC_FOLDER}{METADATA_KEY}"
    return copy, reader.read_string(spec) if spec in names else None


def _check_samples(content: bytes, origin: str) -> None:
    """Check that sample inputs are tensors. They are not used, but a file with others was made to do harm."""
    try:
        with warnings.catch_warnings():  # torch asks for an issue about such a file before it refuses it
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler's own types are private
        raise safe.refusal(origin, "its sample inputs, which are not plain tensors,") from error


def _signature(program: torch.export.ExportedProgram) -> tuple[list[Tensor], list[Tensor]]:
    """Return the inputs and outputs of a program."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    keys = program.call_spec.out_spec.context if program.call_spec.out_spec.type is dict else ()
    inputs = [_tensor(str(name), values.get(str(name))) for name in program.graph_signature.user_inputs]
    results = program.graph_signature.user_outputs
    return inputs, [_tensor(key, values.get(str(name))) for key, name in zip(keys, results, strict=False)]


def _tensor(name: str, value: Any) -> Tensor:
    if not isinstance(value, torch.Tensor):
        return Tensor(name, type(value).__name__, ())
    sizes = tuple(size if type(size) is int else None for size in value.shape)
    return Tensor(name, str(value.dtype).removeprefix("torch."), sizes)


def _device(device: str) -> str:
    """Return the device to use for a requested one."""
    gpus = torch.cuda.device_count()
    if device == "auto":
        return "cuda:0" if gpus else "cpu"
    if device != "cpu" and gpu_number(device) >= gpus:
        raise RuntimeUnavailable(
            f"torch {torch.__version__} sees {gpus} GPUs and cannot use {device}; use --device cpu, or install a torch "
            "with CUDA: https://pytorch.org/get-started/locally"
        )
    return device


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's log of an error that is raised anyway, which has the length of a traceback."""
    exporter_log = logging.getLogger("torch.export")
    before = exporter_log.level
    exporter_log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        exporter_log.setLevel(before)


def describe() -> str:
    """Return the version and the GPUs, for ``nasion doctor``."""
    gpus = torch.cuda.device_count()
    return f"works: torch {torch.__version__} (.pt2 files, CPU{f' and {gpus} GPUs' if gpus else ''})"
