"""The crop kernel without nvcc: compiled by the real NVRTC, and launched by the driver's calls.

There is no GPU: the fake driver takes the calls, and runs the kernel of crop.cuh emulated on the CPU.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nasion.engines.errors import NasionError, RuntimeUnavailable
from nasion.engines.gpu import nvrtc
from nasion.engines.gpu.device import Device
from nasion.engines.gpu.nvrtc import Code, Program, compiled
from nasion.engines.operators import compiled_crop, cropper
from nasion.engines.operators.bindings import DeviceImage, KernelError
from nasion.engines.operators.compiled_crop import CompiledCrop, Inputs, kernel_name, program
from nasion.engines.operators.cropper import Cropper

from ...support.fakes.cuda import FakeCuda
from ...support.operators.native import Host, build_emulated
from ...support.operators.operator_suite import CropSuite

pytestmark = pytest.mark.timeout(1500)

SOURCES = ("bgr_bytes", "bgr_words", "nv12")
NAMES = [kernel_name(source, dtype) for source in SOURCES for dtype in ("float", "__half")]
_LAUNCHER = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint), ctypes.POINTER(ctypes.c_uint),
    ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p,
)  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    return tmp_path / "nasion" / "kernels"


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are "compiled" to their own names."""
    code = Code(b"no code", {name: name for name in NAMES})
    monkeypatch.setattr(compiled_crop, "compiled", lambda program, capability: code)


class InContext:
    """A kernel whose GPU is current, as it is for all who use it."""

    def __init__(self, kernels: CompiledCrop, device: Device) -> None:
        self._kernels, self._device = kernels, device

    def crop(self, *arguments: Any, **options: Any) -> None:
        with self._device.current():
            self._kernels.crop(*arguments, **options)


class TestCompiledCrop(CropSuite):
    """Every test of crops, through the driver's calls."""

    @pytest.fixture
    def machine(self, fake_gpu: FakeCuda, without_compiler: None) -> Iterator[Host]:
        emulated = ctypes.CDLL(str(build_emulated()))

        def launch(symbol: bytes, grid: Any, block: Any, arguments: Any, stream: int | None) -> int:
            source, half = divmod(NAMES.index(symbol.decode()), 2)
            output = ctypes.cast(arguments[1], ctypes.POINTER(ctypes.c_void_p))[0]
            inputs = ctypes.c_void_p(arguments[0])
            return int(emulated.nasion_emulated_crop(source, half, grid, block, inputs, ctypes.c_void_p(output)))

        function, driver = _LAUNCHER(launch), fake_gpu.library
        driver.fake_launcher(function)
        with Device() as device:
            kernels = CompiledCrop(device)
            yield Host(InContext(kernels, device))  # type: ignore[arg-type]
            kernels.close()
            kernels.close()
        driver.fake_launcher(None)


def test_the_argument_of_the_kernel_has_the_size_that_the_compiler_gives_it() -> None:
    assert ctypes.CDLL(str(build_emulated())).nasion_emulated_crop_bytes() == ctypes.sizeof(Inputs)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"count": 65536}, "65536 crops at once; allowed: 0 to 65535"),
        ({"height": 0}, "4x0 pixels of an image of 64x48"),
        ({"std": (1, 0, 1)}, "std"),
        ({"mean": (float("nan"), 0, 0)}, "mean"),
        ({"image": DeviceImage((4096,), (100,), 64, 48)}, "too short for 64 pixels"),
        ({"image": DeviceImage((4096, 8192), (64, 64), 63, 48, "nv12", (0,) * 12)}, "its sides must be even"),
        ({"image": DeviceImage((4096,), (200,), 64, 1)}, "64x1"),
    ],
)
def test_what_cannot_be_cropped_is_refused(
    fake_gpu: FakeCuda, without_compiler: None, changes: dict[str, Any], text: str
) -> None:
    given = {"image": DeviceImage((4096,), (192,), 64, 48), "count": 1, "height": 4, "width": 4, **changes}
    with Device() as device:
        kernels = CompiledCrop(device)
        with device.current(), pytest.raises(KernelError, match=text):
            kernels.crop(given.pop("image"), 4096, output=4096, **given)
        kernels.close()
    assert fake_gpu.calls("cuLaunchKernel") == 0


def test_a_gpu_without_compiled_kernels_takes_those_of_nvrtc(
    fake_gpu: FakeCuda, without_compiler: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASION_PLUGINS", str(tmp_path))
    with Cropper(0):
        assert fake_gpu.calls("cuModuleLoadData") == 1
    assert fake_gpu.calls("cuModuleUnload") == 1


def test_without_nvrtc_the_error_says_what_to_install(
    fake_gpu: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASION_PLUGINS", str(tmp_path))
    monkeypatch.setattr(nvrtc, "_candidates", lambda: iter([str(tmp_path / "libnvrtc.so.13")]))
    nvrtc.nvrtc.cache_clear()
    try:
        with pytest.raises(RuntimeUnavailable, match=r"pip install 'nvidia-cuda-nvrtc.*nasion plugins build"):
            cropper.Cropper(0)
    finally:
        nvrtc.nvrtc.cache_clear()


# --- the real compiler


@pytest.fixture
def compiler() -> nvrtc.Nvrtc:
    try:
        return nvrtc.nvrtc()
    except RuntimeUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("capability", ["7.5", "8.0", "8.6", "8.9", "9.0", "12.0"])
def test_nvrtc_compiles_the_kernel_for_every_gpu_that_nvcc_compiles_it_for(
    compiler: nvrtc.Nvrtc, capability: str
) -> None:
    architecture = compiler.architecture(capability)
    code = compiler.compile(program(), architecture)
    assert architecture == f"sm_{capability.replace('.', '')}"
    assert code.image.startswith(b"\x7fELF")
    assert sorted(code.symbols) == sorted(NAMES)
    assert all(symbol.encode() in code.image for symbol in code.symbols.values())


def test_a_gpu_newer_than_the_compiler_gets_ptx_and_an_older_one_is_refused(compiler: nvrtc.Nvrtc) -> None:
    architecture = compiler.architecture("99.0")
    assert architecture.startswith("compute_")
    assert b".target sm_" in compiler.compile(program(), architecture).image
    with pytest.raises(RuntimeUnavailable, match=r"and this GPU has 1\.0; pip install"):
        compiler.architecture("1.0")


def test_kernels_are_compiled_once_and_again_if_the_cache_is_damaged(
    compiler: nvrtc.Nvrtc, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilations = []
    compile_ = nvrtc.Nvrtc.compile
    monkeypatch.setattr(
        nvrtc.Nvrtc, "compile", lambda self, *given: compilations.append(given) or compile_(self, *given)
    )
    small = Program(
        "twice.cu",
        '#include "by.h"\n__global__ void twice(float* x) { *x *= BY; }',
        {"by.h": "#define BY 2"},
        ["twice"],
    )
    first = compiled(small, "9.0")
    assert compiled(small, "9.0") == first
    assert len(compilations) == 1
    (file,) = cache.iterdir()
    content = json.loads(file.read_text())
    for damaged in (b"", b"[]", json.dumps({**content, "sha256": "0"}).encode()):
        file.write_bytes(damaged)
        assert compiled(small, "9.0") == first
    assert len(compilations) == 4
    other = Program(small.name, small.source, {"by.h": "#define BY 3"}, small.kernels)
    assert compiled(other, "9.0") != first
    assert len(list(cache.iterdir())) == 2


def test_an_error_in_the_source_comes_with_the_words_of_the_compiler(compiler: nvrtc.Nvrtc) -> None:
    wrong = Program("wrong.cu", "__global__ void wrong() { missing(); }", {}, ["wrong"])
    with pytest.raises(NasionError, match=r'cannot compile wrong.cu for sm_90:\n(.|\n)*"missing" is undefined'):
        compiler.compile(wrong, "sm_90")
