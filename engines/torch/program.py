"""Checks of a ``.pt2`` file, so that torch never runs code from it.

torch itself does not guarantee this. It unpickles sample inputs, weights and constants if the archive says so, loads
compiled libraries, imports modules named by the layout of the inputs, evaluates sizes as Python expressions, looks up
operators by any path below ``torch``, and compiles the guards of a program as Python source. The archive is therefore
read member by member: these functions select the members that are needed and strip unused parts from the program.
Everything that remains must be on an allow-list in this module. torch then gets an archive with these members only.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from ..errors import ModelError, printable

PROGRAM, SAMPLES, SPEC_FOLDER = "models/model.json", "data/sample_inputs/model.pt", "extra/"
CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_OTHERS = ("archive_format", "archive_version", "byteorder", ".data/version", ".data/serialization_id")
_TENSORS = re.compile(r"data/(weights/weight|constants/tensor)_\d+")

# Operators in the networks that nasion export writes. Some others read or write files, or do not check their arguments.
_OPERATORS = """
    __and__ __or__ _assert_scalar _assert_tensor_metadata _to_copy abs adaptive_avg_pool2d add affine_grid_generator
    alias amax amin arange argmax argmin avg_pool2d batch_norm bitwise_and bitwise_not bitwise_or cat chunk clamp
    clamp_max clamp_min clone contiguous conv2d conv_transpose2d cos cumsum detach detach_ div dropout einsum eq exp
    expand expand_as flatten floor floor_divide full full_like gather ge gelu grid_sampler gt hardsigmoid hardswish
    hardswish_ hardtanh hardtanh_ index_select layer_norm le leaky_relu leaky_relu_ lift_fresh_copy linalg_vector_norm
    linear linspace log logical_and logical_not logical_or lt mT masked_fill matmul max max_pool2d maximum mean
    meshgrid min minimum movedim mul narrow ne neg ones ones_like pad permute pixel_shuffle pixel_unshuffle pow prod
    reciprocal relu relu_ remainder repeat reshape rsqrt rsub scalar_tensor scaled_dot_product_attention scatter select
    sigmoid sign silu silu_ sin slice softmax split split_with_sizes sqrt square squeeze stack sub sum
    sym_numel sym_size t tanh to topk transpose unbind unflatten unsqueeze upsample_bicubic2d upsample_bilinear2d
    upsample_nearest2d view view_as where zeros zeros_like
"""
_OTHER_OPERATORS = re.compile(
    r"_operator\.(add|sub|mul|floordiv|truediv|mod|neg|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
    r"|torch\.sym_(int|float|not|max|min)|math\.(ceil|floor|trunc)"
    r"|torch\.ops\.nasion\.[a-z]\w*\.\w+|torch\.ops\.higher_order\.wrap_with_set_grad_enabled"
)

_FUNCTIONS = (
    *("Symbol", "Integer", "Add", "Mul", "Mod", "Max", "Min", "FloorDiv", "CeilDiv", "CleanDiv", "PythonMod", "And"),
    *("Or", "Not", "Equality", "Unequality", "GreaterThan", "LessThan", "StrictGreaterThan", "StrictLessThan"),
)
_SYMBOL = re.compile(r"[suz]\d+")
_LONGEST_EXPRESSION, _LARGEST = 2000, 2**31

# names and dotted paths, but no dunder attributes such as __class__
_PLAIN = re.compile(r"(?!__)[\w+-]*(\.(?!__)[\w+-]*)*", re.ASCII)
_WORDS = re.compile(r"[\w ,.>-]{0,100}", re.ASCII)  # string arguments of operators, for example of einsum
_TREES = (None, "builtins.tuple", "builtins.list", "builtins.dict")


def check_members(names: Iterable[str], *, origin: str) -> None:
    """Check that an archive has the members of a program and no others.

    Args:
        names: of all members of the archive.
        origin: names the file in errors.

    Raises:
        ModelError: there are other members, which torch would unpickle or load as a library, or one is missing.
    """
    found = list(names)
    for name in found:
        known = name in (PROGRAM, SAMPLES, *CONFIGS, *_OTHERS) or _TENSORS.fullmatch(name)
        if not known and not name.startswith(SPEC_FOLDER):
            refuse(origin, f"its member {printable(name, longest=60)!r}")
    if len(found) != len(set(found)):
        refuse(origin, "a member that it holds twice")
    for name in (PROGRAM, *CONFIGS):
        if name not in found:
            raise ModelError(f"{origin}: has no member {name!r}; export it again with this version of nasion")


def check_config(text: str, folder: str, *, origin: str) -> list[str]:
    """Return the names of the members listed in a configuration of weights or constants.

    Args:
        text: the configuration, as JSON.
        folder: folder of these members in the archive.
        origin: names the file in errors.

    Raises:
        ModelError: a member is pickled or is not a tensor.
    """
    entries = _object(json.loads(text), origin).get("config")
    members: dict[str, None] = {}
    for entry in _object(entries, origin).values():
        name = f"{folder}/{_object(entry, origin).get('path_name')}"
        if entry.get("use_pickle") is not False or not _TENSORS.fullmatch(name):
            refuse(origin, f"its member {printable(name, longest=60)!r}, which is pickled,")
        members[name] = None
    return list(members)


def checked_program(text: str, *, origin: str) -> str:
    """Return a program, as JSON, without its metadata and without its guards, which are Python source.

    Raises:
        ModelError: the program has an element that nasion export does not write.
    """
    program = _object(json.loads(text), origin)
    program["guards_code"] = []
    graph = _object(program.get("graph_module"), origin)
    graph["metadata"], graph["treespec_namedtuple_fields"] = {}, {}
    calls = graph.get("module_call_graph")
    graph["module_call_graph"] = [call for call in calls if call.get("fqn") == ""] if isinstance(calls, list) else []
    for expression in _object(program.get("range_constraints"), origin):
        _check_expression(expression, origin)
    _check({**program, "range_constraints": list(program["range_constraints"].values())}, "", origin)
    return json.dumps(program)


def refuse(origin: str, what: str) -> NoReturn:
    """Raise the error for a file that could run code."""
    raise refusal(origin, what)


def refusal(origin: str, what: str) -> ModelError:
    """Return the error for a file that could run code; ``what`` names the offending part."""
    return ModelError(
        f"{origin}: not loaded, because {what} could run code; allowed is only what nasion export writes. If you do "
        "not know who made this file, delete it; else export it again from its checkpoint"
    )


def _object(value: Any, origin: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ModelError(f"{origin}: is damaged; export it again with this version of nasion")
    return value


def _check(value: Any, key: str, origin: str) -> None:
    """Check an entry recursively and drop the metadata of nodes."""
    if isinstance(value, dict):
        if "target" in value and "metadata" in value:
            value["metadata"] = {}
        if value.get("custom_obj_values") or "as_custom_obj" in value:
            refuse(origin, "an object of a custom class")
        for name, each in value.items():
            _check_text(name, "", origin)
            _check(each, name, origin)
    elif isinstance(value, list):
        for each in value:
            _check(each, key, origin)
    elif isinstance(value, str):
        _check_text(value, key, origin)


def _check_text(text: str, key: str, origin: str) -> None:
    """Check a string by the rules for the entry ``key`` that holds it."""
    if key in ("target", "as_operator"):
        ours = re.fullmatch(r"torch\.ops\.aten\.(\w+)\.[A-Za-z]\w*", text, re.ASCII)
        if not (ours and ours[1] in _OPERATORS.split()) and not _OTHER_OPERATORS.fullmatch(text):
            refuse(origin, f"its operator {printable(text, longest=60)!r}")
    elif key == "expr_str":
        _check_expression(text, origin)
    elif key in ("in_spec", "out_spec"):
        _check_tree(json.loads(text), text, origin)
    elif not (_WORDS if key in ("as_string", "as_strings") else _PLAIN).fullmatch(text):
        refuse(origin, f"its entry {printable(text, longest=60)!r}")


def _check_expression(text: str, origin: str) -> None:
    """Check that a size is integer arithmetic on numbers and symbols, because torch evaluates it as Python."""
    try:
        fits = len(text) <= _LONGEST_EXPRESSION and _is_arithmetic(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        fits = False
    if not fits:
        refuse(origin, f"its expression {printable(text, longest=60)!r}")


def _is_arithmetic(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=bool()):
            return True
        case ast.Constant(value=int(number)):
            return number < _LARGEST
        case ast.Constant(value=str(name)) | ast.Name(id=name):
            return bool(_SYMBOL.fullmatch(name))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _is_arithmetic(operand)
        case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.FloorDiv() | ast.Mod(), left=left, right=right):
            return _is_arithmetic(left) and _is_arithmetic(right)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=options):
            named = [option.value for option in options]
            return name in _FUNCTIONS and all(map(_is_arithmetic, [*arguments, *named]))
    return False


def _check_tree(layout: Any, text: str, origin: str) -> None:
    """Check that the layout of inputs or outputs has tuples, lists and dicts only; torch imports the types it names."""
    if not (isinstance(layout, list) and len(layout) == 2 and layout[0] == 1 and _is_tree(layout[1])):
        refuse(origin, f"its layout {printable(text, longest=60)!r}")


def _is_tree(tree: Any) -> bool:
    if not isinstance(tree, dict) or tree.keys() != {"type", "context", "children_spec"} or tree["type"] not in _TREES:
        return False
    context = None if tree["context"] is None else json.loads(tree["context"])
    names = [] if context is None else context
    return (
        isinstance(names, list)
        and all(isinstance(name, str) and _PLAIN.fullmatch(name) for name in names)
        and isinstance(tree["children_spec"], list)
        and all(map(_is_tree, tree["children_spec"]))
    )
