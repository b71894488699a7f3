"""``nasion plugins bench``: time of each kernel on a GPU, compared with its roofline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np

from ...engines.gpu.device import Device, Memory, Stream
from ...engines.gpu.driver import Library
from ...engines.operators.bindings import Kernels
from ..machine import provenance
from ..terminal.progress import Progress
from .cases import Case, cases
from .roofline import Roof, Roofs, Work, roofs

LEAST_SHARE = 0.6
"""Target: share of the binding roof that each kernel reaches at a size that fills the GPU."""
MOST_MICROSECONDS = 10.0
"""Target: time of 64 crops of 128 x 128 on a GPU of compute capability 9.0."""
_RUNS = 6
_ENOUGH = 0.02  # seconds of work in a graph, so that its single launch is negligible


@dataclass(frozen=True, slots=True)
class Timed:
    """Timing of one call of a kernel.

    Attributes:
        kernel, variant, size: name of the call.
        work: counted work of the call.
        microseconds: time of one call among many in a CUDA graph; the best of the runs.
        least: least time by the binding roof, in microseconds.
        roof: name of the binding roof.
        share: share of the roof that is reached.
    """

    kernel: str
    variant: str
    size: str
    work: Work
    microseconds: float
    least: float
    roof: Roof
    share: float


def bench(device: Device, kernels: Kernels, chosen: Iterable[Case] | None = None) -> tuple[Roofs, list[Timed]]:
    """Time the cases (default: all) on a GPU, and measure its memory bandwidth."""
    every = tuple(cases() if chosen is None else chosen)
    with device.current(), device.stream() as stream, Progress("kernels", len(every)) as progress:
        limits = roofs(device.gpu, _memory(device, stream))
        results = []
        for case in every:
            progress.advance(case.name)
            results.append(_timed(case, limits, device, stream, kernels))
    return limits, results


def _memory(device: Device, stream: Stream) -> float:
    """Return the memory bandwidth in bytes per second, read and written, of a copy much larger than any cache."""
    size = min(1 << 30, device.gpu.memory // 8)
    with device.memory((size,), np.uint8) as source, device.memory((size,), np.uint8) as target:

        def copy() -> None:
            with device.current() as driver:
                driver.library("cuMemcpyDtoDAsync_v2", target.address, source.address, size, stream.handle)

        return 2 * size / (microseconds(stream, copy, calls=4) * 1e-6)


def _timed(case: Case, limits: Roofs, device: Device, stream: Stream, kernels: Kernels) -> Timed:
    with on_device(case, device, stream, kernels) as call:
        took = microseconds(stream, call)
    roof, least = limits.binding(case.work)
    share = least * 1e6 / took
    return Timed(case.kernel, case.variant, case.size, case.work, took, least * 1e6, roof, share)


@contextmanager
def on_device(case: Case, device: Device, stream: Stream, kernels: Kernels) -> Iterator[Callable[[], None]]:
    """Allocate inputs and outputs of a case on the GPU, and yield its call."""
    with ExitStack() as stack:
        given = [stack.enter_context(_uploaded(array, device, stream)) for array in case.inputs()]
        room = [stack.enter_context(device.memory(shape, dtype)) for shape, dtype in case.outputs]
        addresses = [each.address for each in given], [each.address for each in room]
        yield lambda: case.call(kernels, *addresses, stream.handle)
        stream.wait()


def _uploaded(array: np.ndarray[Any, Any], device: Device, stream: Stream) -> Memory:
    memory = device.memory(array.shape, array.dtype)
    with device.pinned(array.shape, array.dtype) as pinned:
        pinned.array[...] = array
        stream.upload(pinned.array, memory)
        stream.wait()
    return memory


def microseconds(stream: Stream, call: Callable[[], None], *, calls: int | None = None) -> float:
    """Return the time of one call in a graph of many, the best of several runs; launches from Python are not timed.

    Args:
        stream: stream that the call adds work to.
        call: function that adds the work.
        calls: number of calls in the graph (default: as many as take about 20 ms, at least 10 and at most 500).
    """
    call()
    stream.wait()
    if calls is None:
        begin = perf_counter()
        call()
        stream.wait()
        calls = int(min(max(_ENOUGH / (perf_counter() - begin), 10), 500))
    with stream.recording() as graph:
        for _ in range(calls):
            call()
    best = float("inf")
    for _ in range(_RUNS):
        begin = perf_counter()
        graph.launch()
        stream.wait()
        best = min(best, (perf_counter() - begin) / calls)
    graph.close()
    return best * 1e6


def missed(results: Sequence[Timed], capability: str) -> list[str]:
    """Return a message for each target that was missed."""
    few = [each for each in results if _is_64(each)]
    low = [each for each in results if each not in few and each.share < LEAST_SHARE]
    slow = [each for each in few if each.microseconds > MOST_MICROSECONDS and capability == "9.0"]
    return [
        *(f"{_name(each)}: {each.share:.0%} of the roof ({each.roof}), not {LEAST_SHARE:.0%}" for each in low),
        *(f"{_name(each)}: {each.microseconds:.1f} us, not {MOST_MICROSECONDS:.0f}" for each in slow),
    ]


def _is_64(each: Timed) -> bool:
    return each.kernel == "crops" and each.size.startswith("64 of ")


def _name(each: Timed) -> str:
    return f"{each.kernel}, {each.variant}, {each.size}"


def table(results: Sequence[Timed]) -> str:
    """Return the results as a plain-text table."""
    head = ("kernel", "variant", "size", "MB", "G passes", "G instructions", "least us", "by", "took us", "share")
    rows = [head]
    for each in results:
        work = each.work
        counts = f"{work.bytes / 1e6:.1f}", f"{work.passes / 1e9:.4f}", f"{work.instructions / 1e9:.2f}"
        times = f"{each.least:.1f}", each.roof, f"{each.microseconds:.1f}", f"{each.share:.0%}"
        rows.append((each.kernel, each.variant, each.size, *counts, *times))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def report(device: Device, limits: Roofs, results: Sequence[Timed]) -> dict[str, Any]:
    """Return all results as JSON data, with command, machine and versions."""
    content, driver = provenance(), Library().number("cuDriverGetVersion")
    return content | {
        "machine": {**content["machine"], "gpu": asdict(device.gpu), "cuda driver": driver},
        "roofs": asdict(limits),
        "results": [asdict(each) for each in results],
        "missed": missed(results, device.gpu.capability),
    }


def run() -> dict[str, Any]:
    """Time all kernels on the first GPU, print the table, and return the report.

    Raises:
        DeviceError: there is no GPU.
        RuntimeUnavailable: the kernels are not built.
    """
    with Device(0) as device:
        limits, results = bench(device, Kernels())
        content = report(device, limits, results)
    print(table(results))
    print(f"\n{device.gpu.name}: {limits.memory / 1e9:.0f} GB/s in a copy; all other roofs are for its highest clock")
    print("\n".join(f"target missed: {each}" for each in content["missed"]) or "all targets are reached")
    return content
