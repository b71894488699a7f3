"""The benchmark of the kernels: on a driver without a GPU, with the kernels that an emulator runs on the CPU."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nasion.engines.gpu import driver
from nasion.engines.gpu.device import Device
from nasion.engines.gpu.driver import Library
from nasion.engines.operators import reference
from nasion.engines.operators.bindings import Kernels
from nasion.realtime.values.geometry import Region, invert
from nasion.tools.kernels import bench as kernel_bench
from nasion.tools.kernels.bench import Timed, bench, microseconds, missed, on_device, table
from nasion.tools.kernels.cases import Case, cases, crop, points, regions
from nasion.tools.kernels.roofline import Roofs, Work
from nasion.tools.main import main as nasion

from ...gpu import every_kernel
from ...support.fakes import cuda as fake_cuda
from ...support.operators.native import build_emulated

pytestmark = pytest.mark.timeout(600)
TIMED = Timed("points", "float32", "2 x 3 maps", Work(10**6, 10**5, 1e6, 1e9, 0.0), 2.0, 1.5, "memory", 0.75)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    library = fake_cuda.build(tmp_path)
    fake_cuda.FakeCuda(library).reset()
    monkeypatch.setattr(driver, "LIBRARY", str(library))
    with Device(0) as opened:
        yield opened


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    return Kernels(build_emulated())


def ran(case: Case, device: Device, kernels: Kernels) -> np.ndarray:
    """The first output of a case."""
    found: list[np.ndarray] = []

    def call(kernels: Kernels, given: list[int], out: list[int], stream: int) -> None:
        case.call(kernels, given, out, 0)
        shape, dtype = case.outputs[0]
        memory = np.ctypeslib.as_array((np.ctypeslib.ctypes.c_uint8 * (np.dtype(dtype).itemsize * np.prod(shape)))
                                       .from_address(out[0]))  # fmt: skip
        found.append(memory.view(dtype).reshape(shape).copy())

    with (
        device.current(),
        device.stream() as stream,
        on_device(replace(case, call=call), device, stream, kernels) as go,
    ):
        go()
    return found[0]


def test_every_kernel_is_timed_in_every_variant_and_64_crops_besides() -> None:
    found = [(each.kernel, each.variant) for each in cases(images=1, maps=1, crops=100, side=8)]
    assert found.count(("regions", "float16, channels last")) == 1
    assert found.count(("points", "float32")) == 1
    assert found.count(("crops", "nv12 to float16")) == 2
    assert len(found) == 4 + 2 + 8
    assert {each.size for each in cases(images=1, maps=1, crops=100, side=8) if each.kernel == "crops"} == {
        "100 of 8 x 8",
        "64 of 8 x 8",
    }


def test_a_crop_that_is_timed_is_one_of_a_face_in_the_frame(device: Device, kernels: Kernels) -> None:
    case = crop(2, 12, kind="bgr", half=False, frame=(90, 120))
    frame, transforms = case.inputs()
    assert all(reference.halvings(matrix, (90, 120), (12, 12)) == 0 for matrix in transforms)
    found = ran(case, device, kernels)
    np.testing.assert_allclose(found, reference.crop(frame, transforms, height=12, width=12), atol=1e-2)
    assert found.std() > 10


def test_the_transforms_are_those_that_the_tracker_crops_by() -> None:
    case = crop(1, 128, kind="bgr", half=False)
    ((cos, minus_sin, x), (sin, _, y)) = case.inputs()[1][0]
    shown, angle, middle = np.hypot(cos, sin), np.arctan2(sin, cos), 63.5
    centre = (cos * middle + minus_sin * middle + x, sin * middle + cos * middle + y)
    ours = invert(Region(*centre, shown * 128, angle).to_crop(128))
    np.testing.assert_allclose(case.inputs()[1][0], ours, atol=1e-3)


def test_the_scores_that_are_timed_reach_the_threshold_here_and_there() -> None:
    (maps,) = points((1, 4, 60, 60), half=True).inputs()
    assert 0 < (maps >= 0.5).mean() < 0.005


def test_the_regions_that_are_timed_lie_within_their_images() -> None:
    case = regions(2, 3, half=False, channels_last=True)
    *maps, rois = case.inputs()
    assert len(maps) == 9
    assert rois[:, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert (rois[:, 1:3] >= 0).all()
    assert (rois[:, 3] <= 320).all()
    assert (rois[:, 4] <= 256).all()
    assert case.outputs[0][0][1] == sum(each.shape[1] for each in maps)


def test_the_benchmark_says_how_near_a_kernel_comes_to_its_roof(device: Device, kernels: Kernels) -> None:
    chosen = [points((2, 3, 24, 24), half=False), crop(2, 8, kind="nv12", half=True, frame=(32, 48))]
    limits, results = bench(device, kernels, chosen)
    assert limits.memory > 0
    assert [each.kernel for each in results] == ["points", "crops"]
    for each in results:
        assert each.microseconds > 0
        assert each.share == pytest.approx(each.least / each.microseconds)
        assert each.least == pytest.approx(limits.binding(each.work)[1] * 1e6)


def test_a_call_is_timed_from_a_graph_of_many(device: Device) -> None:
    made: list[int] = []
    with device.current(), device.stream() as stream:
        assert microseconds(stream, lambda: made.append(1), calls=7) > 0
    assert len(made) == 1 + 7  # once to warm up, the rest recorded


def test_an_aim_that_is_missed_is_named() -> None:
    low = replace(TIMED, share=0.5, roof="L1")
    quick = replace(TIMED, kernel="crops", size="64 of 128 x 128", share=0.1, microseconds=9.9)
    slow = replace(quick, microseconds=10.1)
    assert missed([TIMED, quick], "9.0") == []
    assert missed([low, slow], "9.0") == [
        "points, float32, 2 x 3 maps: 50% of the roof (L1), not 60%",
        "crops, float32, 64 of 128 x 128: 10.1 us, not 10",
    ]
    assert missed([slow], "8.9") == []  # the figure is one for Hopper


def test_the_table_has_a_line_for_each_call() -> None:
    first, second = table([TIMED]).splitlines()
    assert first.split()[:3] == ["kernel", "variant", "size"]
    assert re.search(r"points +float32 +2 x 3 maps +1\.1 +0\.0010 +1\.00 +1\.5 +memory +2\.0 +75%", second)


def test_the_command_keeps_all_figures(
    device: Device,
    kernels: Kernels,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    del device
    monkeypatch.setattr(kernel_bench, "Kernels", lambda: kernels)
    monkeypatch.setattr(kernel_bench, "cases", lambda: [points((1, 2, 16, 16), half=False)])
    out = tmp_path / "kernels.json"
    with pytest.raises(SystemExit) as end:
        nasion(["plugins", "bench", "--json", str(out)])
    assert not end.value.code
    told = json.loads(out.read_text())
    assert told["machine"]["gpu"]["name"] == "Fake GPU"
    assert told["results"][0]["work"]["read"] == 2 * 16 * 16 * 4
    assert set(told["roofs"]) == set(Roofs.__slots__)
    assert f"{out} holds all figures" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="already exists"):
        nasion(["plugins", "bench", "--json", str(out)])


def test_without_a_gpu_the_command_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "LIBRARY", "libnowhere.so")
    with pytest.raises(SystemExit, match="no NVIDIA driver"):
        nasion(["plugins", "bench"])


def test_the_program_for_the_sanitizer_calls_every_kernel_in_every_variant(device: Device, kernels: Kernels) -> None:
    every = list(every_kernel.calls())
    assert len({each.name for each in every}) == len(every)
    assert [sum(each.name.startswith(name) for each in every) for name in ("regions", "points", "crops")] == [
        32,
        12,
        12,
    ]
    on_host = [replace(each, call=unrecorded(each)) for each in every]
    with device.current(), device.stream() as stream:
        assert [said for each in on_host if (said := every_kernel.check(each, device, stream, kernels))] == []


def test_the_program_for_the_sanitizer_ends_with_1_where_a_result_is_wrong(
    device: Device, kernels: Kernels, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del device
    right = every_kernel.points(half=False, width=16, threshold=0.5)
    wrong = replace(right, name="spoilt", expected=[each + 1 for each in right.expected])
    monkeypatch.setattr(every_kernel, "Kernels", lambda: kernels)
    monkeypatch.setattr(
        every_kernel, "calls", lambda: [replace(each, call=unrecorded(each)) for each in (right, wrong)]
    )
    with pytest.raises(SystemExit) as end:
        every_kernel.main()
    assert end.value.code == 1
    assert re.search(r"spoilt: .* off the reference\n2 calls, 1 of them wrong", capsys.readouterr().out)


def unrecorded(each: every_kernel.Call) -> Callable[..., None]:
    """The emulated kernels know no streams: what was put into one before is waited for."""

    def call(kernels: Kernels, inputs: list[int], outputs: list[int], stream: int) -> None:
        Library()("cuStreamSynchronize", stream)
        each.call(kernels, inputs, outputs, 0)

    return call
