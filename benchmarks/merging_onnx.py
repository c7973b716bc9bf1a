"""Exported models joined by ``onnx.compose.merge_models``, as one has to without keras_stitch.

It joins two models at a time, by names of tensors, so whatever lies between them is a small model too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx


def seed(parts: Mapping[str, onnx.ModelProto]) -> onnx.ModelProto:
    """The graph of Kipoi's document: model1 and input1 to model2, model2 and model3 to model4."""
    like = parts["model1"]
    m1, m2, m3, m4 = (parts[f"model{number}"] for number in (1, 2, 3, 4))
    front = _joined(_copies("input1", ["one", "other"], like), m1, {"one": _in(m1)})
    front = _joined(front, _together("Concat", ["a", "b"], "ab", like, axis=1), {_out(m1): "a", "other": "b"})
    front = _joined(front, m2, {"ab": _in(m2)})
    last = _joined(_together("Concat", ["c", "d"], "cd", like, axis=1), m4, {"cd": _in(m4)})
    third = _joined(_copies("input2", ["third"], like), m3, {"third": _in(m3)})
    return _joined(third, _joined(front, last, {_out(m2): "c"}), {_out(m3): "d"})


def trednet(parts: Mapping[str, onnx.ModelProto]) -> onnx.ModelProto:
    """One trunk, and heads on what it gives, with one more axis."""
    from onnx import helper

    trunk, *heads = parts.values()
    front = _joined(_copies("sequence", ["first"], trunk, 3), trunk, {"first": _in(trunk)})
    names = [f"deep{number}" for number in range(len(heads))]
    axes = helper.make_node("Constant", [], ["axes"], value_ints=[2])
    nodes = [helper.make_node("Unsqueeze", ["flat", "axes"], [name]) for name in names]
    between = _model([axes, *nodes], {"flat": 2}, dict.fromkeys(names, 3), trunk)
    front = _joined(front, between, {_out(trunk): "flat"})
    return _merged(front, names, heads, "concatenate")


def on_one_input(parts: Mapping[str, onnx.ModelProto], merge: str) -> onnx.ModelProto:
    """Models on the input ``x``, their outputs merged."""
    models = list(parts.values())
    names = [f"x{number}" for number in range(len(models))]
    front = _copies("x", names, models[0], _axes(models[0].graph.input[0]))
    return _merged(front, names, models, merge)


def _merged(front: Any, names: Sequence[str], models: Sequence[Any], merge: str) -> Any:
    pairs = zip(names, models, strict=True)
    front = reduce(lambda so_far, pair: _joined(so_far, pair[1], {pair[0]: _in(pair[1])}), pairs, front)
    given = [f"y{number}" for number in range(len(models))]
    how = {"average": ("Mean", {}), "concatenate": ("Concat", {"axis": -1})}[merge]
    last = _together(how[0], given, "y", models[0], _axes(models[0].graph.output[0]), **how[1])
    return _joined(front, last, dict(zip(map(_out, models), given, strict=True)))


def _joined(first: Any, second: Any, connections: Mapping[str, str]) -> Any:
    from onnx import compose

    return compose.merge_models(first, second, io_map=list(connections.items()))


def _axes(value: Any) -> int:
    return len(value.type.tensor_type.shape.dim)


def _in(model: Any) -> str:
    return str(model.graph.input[0].name)


def _out(model: Any) -> str:
    return str(model.graph.output[0].name)


def _copies(name: str, copies: Sequence[str], like: Any, axes: int = 2) -> Any:
    from onnx import helper

    nodes = [helper.make_node("Identity", [name], [copy]) for copy in copies]
    return _model(nodes, {name: axes}, dict.fromkeys(copies, axes), like)


def _together(operation: str, names: Sequence[str], output: str, like: Any, axes: int = 2, **attributes: Any) -> Any:
    from onnx import helper

    nodes = [helper.make_node(operation, list(names), [output], **attributes)]
    return _model(nodes, dict.fromkeys(names, axes), {output: axes}, like)


def _model(nodes: Sequence[Any], inputs: Mapping[str, int], outputs: Mapping[str, int], like: Any) -> Any:
    """A model of some nodes, with tensors of so many axes, like another model in all else."""
    from onnx import TensorProto, helper

    def tensors(axes: Mapping[str, int]) -> list[Any]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * axes[name]) for name in axes]

    graph = helper.make_graph(list(nodes), "between", tensors(inputs), tensors(outputs))
    return helper.make_model(graph, ir_version=like.ir_version, opset_imports=like.opset_import)
