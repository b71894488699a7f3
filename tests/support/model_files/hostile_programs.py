"""Copies of a ``.pt2`` file, each changed so that torch would run code while it loads or runs it.

The code makes a file, ``marker``; a copy is harmless where that file is missing afterwards.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.export.pt2_archive import PT2ArchiveReader, PT2ArchiveWriter

Members = dict[str, bytes]
PROGRAM, SAMPLES = "models/model.json", "data/sample_inputs/model.pt"
WEIGHTS, CONSTANTS = "data/weights/model_weights_config.json", "data/constants/model_constants_config.json"
MODULE = "module_that_makes_the_marker"


class Evil:
    """An object that makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._marker,)


def read(path: Path) -> Members:
    """The members of an archive, less those that the writer makes."""
    reader = PT2ArchiveReader(str(path))
    own = (".data/version", ".data/serialization_id", "byteorder")
    return {name: reader.read_bytes(name) for name in reader.get_file_names() if name not in own}


def write(path: Path, members: Members) -> Path:
    with PT2ArchiveWriter(str(path)) as writer:
        for name, content in members.items():
            writer.write_bytes(name, content)
    return path


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def call(marker: Path) -> str:
    """A Python expression that makes the marker."""
    return f"open({str(marker)!r}, 'w').close()"


def _program(members: Members, change: Callable[[dict[str, Any]], None]) -> Members:
    program = json.loads(members[PROGRAM])
    change(program)
    return members | {PROGRAM: json.dumps(program).encode()}


def _config(members: Members, config: str, **changes: object) -> Members:
    entries = json.loads(members[config])
    first = next(iter(entries["config"].values()))
    first.update(changes)
    return members | {config: json.dumps(entries).encode()}


def samples(members: Members, marker: Path) -> Members:
    return members | {SAMPLES: saved(((Evil(marker),), {}))}


def samples_of_plain_pickle(members: Members, marker: Path) -> Members:
    return members | {SAMPLES: pickle.dumps(Evil(marker))}


def weight(members: Members, marker: Path) -> Members:
    name = "weight_0"
    return _config(members, WEIGHTS, use_pickle=True) | {f"data/weights/{name}": saved(Evil(marker))}


def constant(members: Members, marker: Path) -> Members:
    return _config(members, CONSTANTS, use_pickle=True) | {"data/constants/tensor_0": saved(Evil(marker))}


def opaque_constant(members: Members, marker: Path) -> Members:
    changed = _config(members, CONSTANTS, use_pickle=True, path_name="opaque_obj_0")
    return changed | {"data/constants/opaque_obj_0": pickle.dumps(Evil(marker))}


def custom_constant(members: Members, marker: Path) -> Members:
    changed = _config(members, CONSTANTS, use_pickle=True, path_name="custom_obj_0")
    return changed | {"data/constants/custom_obj_0": saved(Evil(marker))}


def weights_of_old(members: Members, marker: Path) -> Members:
    return members | {"data/weights/model.pt": saved({"x": Evil(marker)})}


def constants_of_old(members: Members, marker: Path) -> Members:
    return members | {"data/constants/model.pt": saved({"x": Evil(marker)})}


def library(members: Members, marker: Path) -> Members:
    return members | {"data/aotinductor/model/model.so": b"\x7fELF"}


def guard(members: Members, marker: Path) -> Members:
    return _program(members, lambda program: program.update(guards_code=[f"{call(marker)} or True"]))


def guard_of_an_input(members: Members, marker: Path) -> Members:
    """The name of an input, which torch writes into the guards that it makes."""

    def change(program: dict[str, Any]) -> None:
        call_graph = program["graph_module"]["module_call_graph"][0]["signature"]
        call_graph["forward_arg_names"] = [f"images={call(marker)}"]

    return _program(members, change)


def _strings(value: Any, key: str) -> list[dict[str, Any]]:
    """Every object below ``value`` that has an entry ``key``."""
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [value] if isinstance(value, dict) and isinstance(value.get(key), str) else []
    return found + [each for part in below for each in _strings(part, key)]


def size(members: Members, marker: Path) -> Members:
    def change(program: dict[str, Any]) -> None:
        for entry in _strings(program, "expr_str"):
            entry["expr_str"] = call(marker)

    return _program(members, change)


def range_of_a_size(members: Members, marker: Path) -> Members:
    ranges = {call(marker): {"min_val": 1, "max_val": 9}}
    return _program(members, lambda program: program["range_constraints"].update(ranges))


def operator(members: Members, marker: Path) -> Members:
    """A call of a function that torch finds below its own name."""

    def change(program: dict[str, Any]) -> None:
        node = program["graph_module"]["graph"]["nodes"][0]
        node["target"] = "torch.os.system"
        node["inputs"] = [{"name": "", "arg": {"as_string": f"touch {marker}"}, "kind": 1}]

    return _program(members, change)


def operator_that_writes(members: Members, marker: Path) -> Members:
    def change(program: dict[str, Any]) -> None:
        node = program["graph_module"]["graph"]["nodes"][0]
        node["target"] = "torch.ops.aten.from_file.default"
        values = {"filename": {"as_string": str(marker)}, "shared": {"as_bool": True}, "size": {"as_int": 9}}
        node["inputs"] = [{"name": name, "arg": arg, "kind": 1} for name, arg in values.items()]

    return _program(members, change)


def layout(members: Members, marker: Path) -> Members:
    """A dictionary whose default comes from a module, which is imported."""
    context = {"default_factory_module": MODULE, "default_factory_name": "x", "dict_context": []}
    tree = {"type": "collections.defaultdict", "context": context, "children_spec": []}

    def change(program: dict[str, Any]) -> None:
        program["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = json.dumps([1, tree])

    return _program(members, change)


def layout_of_an_enumeration(members: Members, marker: Path) -> Members:
    context = json.dumps([{"__enum__": True, "fqn": f"{MODULE}:x", "name": "y"}])
    tree = {"type": "builtins.dict", "context": context, "children_spec": []}

    def change(program: dict[str, Any]) -> None:
        program["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = json.dumps([1, tree])

    return _program(members, change)


CHANGES = (
    *(samples, samples_of_plain_pickle, weight, constant, opaque_constant, custom_constant, weights_of_old),
    *(constants_of_old, library, guard, guard_of_an_input, size, range_of_a_size, operator, operator_that_writes),
    *(layout, layout_of_an_enumeration),
)


def write_old_format(path: Path, members: Members, marker: Path) -> Path:
    """The format before archives: pickles in a plain zip file."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("version", "8.0")
        file.writestr("serialized_exported_program.json", members[PROGRAM])
        for name in ("serialized_state_dict.pt", "serialized_constants.pt", "serialized_example_inputs.pt"):
            file.writestr(name, saved({"x": Evil(marker)}))
    return path
