"""Tables of the builds with TensorRT-RTX and of the work of the CUDA kernels."""

from __future__ import annotations

from itertools import chain
from typing import Any

from reports import BENCH, read, table


def rtx() -> str:
    """Return the table of the builds of ``nasion rtx``: the shipped networks, then those of the papers."""
    reports = [read(BENCH / f"{name}.json") for name in ("rtx-shipped", "rtx")]
    rows = []
    for each in chain(*(report["results"] for report in reports)):
        nodes = sum(each["nodes"].values())
        row = [f"`{each['file'].removesuffix('.onnx')}`", each["precision"], each["profile"]]
        row += [f"{each['plugins']} of {nodes}" if nodes else "–", f"{each['layers']:,}", f"{each['seconds']:.1f}"]
        rows.append([*row, each["error"] or f"{each['bytes'] / 1e6:.1f}"])
    head = ["network", "precision", "batch x width x height", "plugins", "layers", "seconds", "MB"]
    return table(head, rows) + "".join(map(_built_where, reports))


def _built_where(report: dict[str, Any]) -> str:
    from nasion.engines.operators.library import source_hash

    machine, versions = report["machine"], report["versions"]
    built_of = {each["plugin_sources"] for each in report["results"]} - {""}
    plugins = "; with the current plugins" if built_of == {source_hash()} else "; with the plugins of that date"
    return (
        f"\n{machine['cpu']}, {machine['cores']} cores, no GPU; TensorRT-RTX {versions['tensorrt-rtx']}, onnx "
        f"{versions['onnx']}{plugins if built_of else ''}; {report['date'][:10]}; `{report['command']}`.\n"
    )


def kernels() -> str:
    """Return the table of the least work of each call timed by ``nasion plugins bench``: counted, not measured."""
    from nasion.tools.kernels.cases import cases

    rows = []
    for case in cases():
        work = case.work
        counts = [f"{work.read / 1e6:.1f}", f"{work.written / 1e6:.1f}", f"{work.passes / 1e6:.2f}"]
        counts += [f"{work.instructions / 1e9:.2f}", f"{work.arithmetic / 1e9:.2f}"]
        rows.append([case.kernel, case.variant, case.size, *counts])
    counted = ["MB read", "MB written", "million passes", "10⁹ instructions", "10⁹ arithmetic"]
    return table(["kernel", "variant", "size", *counted], rows)


def host_cost() -> str:
    """Return the table of the host's cost with a stand-in GPU."""
    report = read(BENCH / "host-cost.json")
    rows = []
    for name, case in report["cases"].items():
        goal = f"{report['bars_ms'][name]:.2f}"
        rows.append([name, goal, f"{case['median_ms']:.2f}", f"{case['mean_ms']:.2f}", f"{case['loop_ms']:.1f}"])
    head = ["CPU time of the host", "goal, ms", "median, ms", "mean, ms", "loop, ms"]
    machine = report["machine"]
    return table(head, rows) + (
        f"\n{machine['cpu']}, {machine['cores']} cores, shared; no GPU; {report['date'][:10]}; `{report['command']}`.\n"
    )


TABLES = {
    "host": host_cost,
    "rtx": rtx,
    "kernels": kernels,
}
