"""A Keras model as an ONNX file: converted by Keras, then named, checked and run by ONNX's own libraries.

onnx, tf2onnx and onnxruntime come with the extra ``onnx`` and are imported only where they are needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_stitch
from keras_stitch.errors import SaveError, reason
from keras_stitch.files.onnx_contents import LARGEST
from keras_stitch.keras_private import layers_within
from keras_stitch.verify.fresh_process import Arrays

PACKAGES = ("onnx", "tf2onnx", "onnxruntime")
_NO_MESSAGES = 4
_OTHERWISE = "Export it as a SavedModel, which holds all that TensorFlow has: --format saved_model."


def check_possible(model: keras.Model) -> None:
    """Raise where the weights are too large for one ONNX file, before anything is written."""
    size = sum(math.prod(weight.shape) * np.dtype(weight.dtype).itemsize for weight in model.weights)
    if size > LARGEST:
        raise SaveError(
            f"The weights of '{model.name}' do not fit into one ONNX file.",
            expected=f"at most {LARGEST:,} bytes",
            received=f"{size:,} bytes",
            fix=_OTHERWISE,
        )


def write(model: keras.Model, path: Path, about: Mapping[str, str]) -> None:
    """Write a model whose inputs and outputs in the file have its own names, in its own order.

    Rows are an open dimension called ``rows``; other open dimensions are called after their tensor and axis. Tensors
    that layers hold become arrays. ``about`` has the text ``doc``, and what goes into the file's metadata.

    Raises:
        SaveError: If the model has an operation that ONNX has no word for.
    """
    import onnx

    _hold_arrays(model)
    # The converter wants some names for itself, and none for an input and an output.
    given = {name: f"given_{number}" for number, name in enumerate(model.input)}
    inside = {name: f"made_{number}" for number, name in enumerate(model.output)}
    takes = {given[name]: tensor for name, tensor in model.input.items()}
    gives = {inside[name]: tensor for name, tensor in model.output.items()}
    renamed = keras.Model(takes, gives, name=model.name)
    specs = {name: keras.InputSpec(shape=it.shape, dtype=it.dtype, name=name) for name, it in takes.items()}
    renamed.export(str(path), format="onnx", verbose=False, input_signature=[specs])
    made = onnx.load(str(path))
    _rewrite(made)
    _check_operations(made)
    _name(made, model, given, inside)
    made.producer_name, made.producer_version = "keras_stitch", keras_stitch.__version__
    made.doc_string = about.get("doc", "")
    onnx.helper.set_model_props(made, {key: text for key, text in about.items() if key != "doc"})
    try:
        onnx.checker.check_model(made, full_check=True)
    except Exception as error:  # of the checker, or of its shape inference
        raise SaveError("The converter made no valid ONNX file.", received=reason(error), fix=_OTHERWISE) from error
    onnx.save(made, str(path))


def run(path: Path, inputs: Arrays) -> Arrays:
    """What ONNX Runtime predicts with a file, in a session of its own."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _NO_MESSAGES  # what is wrong is raised, too
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def _hold_arrays(model: keras.Model) -> None:
    """Replace the tensors that layers hold, as Normalization does, by arrays: tf2onnx makes inputs of tensors."""
    for layer in layers_within(model):
        for name, value in list(vars(layer).items()):
            if keras.ops.is_tensor(value) and not isinstance(value, keras.Variable):
                setattr(layer, name, keras.ops.convert_to_numpy(value))


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and those of its loops and branches."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                if inner.node:
                    yield from _graphs(inner)


def _rewrite(made: Any) -> None:
    """Rewrite what tf2onnx leaves in ONNX's operations: erfc, which gelu needs, expm1 and Discretization."""
    for graph in _graphs(made.graph):
        nodes = [new for node in graph.node for new in _in_other_words(node)]
        del graph.node[:]
        graph.node.extend(nodes)


def _in_other_words(node: Any) -> list[Any]:
    """The nodes that take the place of one, the last of which makes what it made."""
    from onnx import TensorProto, helper, numpy_helper

    made: list[Any] = []

    def constant(array: np.ndarray[Any, Any]) -> str:
        return step("Constant", value=numpy_helper.from_array(array))

    def step(kind: str, *given: str, last: bool = False, **options: Any) -> str:
        result = node.output[0] if last else f"{node.output[0]}/{len(made)}"
        made.append(helper.make_node(kind, given, [result], name=f"{node.name}/{kind}_{len(made)}", **options))
        return result

    if node.op_type == "Erfc":
        one = step("CastLike", constant(np.array(1, "float32")), node.input[0])
        step("Sub", one, step("Erf", node.input[0]), last=True)
    elif node.op_type == "Expm1":
        one = step("CastLike", constant(np.array(1, "float32")), node.input[0])
        step("Sub", step("Exp", node.input[0]), one, last=True)
    elif node.op_type == "Bucketize":
        (boundaries,) = (attribute.floats for attribute in node.attribute if attribute.name == "boundaries")
        wide = step("Unsqueeze", step("Cast", node.input[0], to=TensorProto.DOUBLE), constant(np.array([-1])))
        below = step("Less", wide, constant(np.array(boundaries, "float64")))
        # NaN is below nothing, so that it is in the last bin, as for TensorFlow.
        passed = step("Cast", step("Not", below), to=TensorProto.INT32)
        step("ReduceSum", passed, constant(np.array([-1])), keepdims=0, last=True)
    return made or [node]


def _check_operations(made: Any) -> None:
    from onnx import defs

    versions = {item.domain: item.version for item in made.opset_import}
    unknown = {
        node.op_type: node.name
        for graph in _graphs(made.graph)
        for node in graph.node
        if not defs.has(node.op_type, versions.get(node.domain, 1), node.domain)
    }
    if unknown:
        listed = ", ".join(f"{kind} ('{name}')" for kind, name in list(unknown.items())[:5])
        raise SaveError(
            f"ONNX has no word for what the model does, or its converter does not know it: {listed}.",
            expected="operations of ONNX",
            fix=_OTHERWISE,
        )


def _name(made: Any, model: keras.Model, given: Mapping[str, str], inside: Mapping[str, str]) -> None:
    """Inputs and outputs in the model's order, under its names, with the shapes that it knows."""
    graph = made.graph
    graph.name = model.name
    types = {item.name: item.type.tensor_type.elem_type for item in graph.input}
    if types.keys() != set(given.values()):
        raise SaveError(
            "The converter made an ONNX file with other inputs than the model has.",
            expected=f"{len(given)} inputs",
            received=f"{len(types)}: {', '.join(types)}",
            fix=_OTHERWISE,
        )
    made_as = {item.name: item.type.tensor_type for item in graph.output}
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.extend(_described(name, it.shape, types[given[name]]) for name, it in model.input.items())
    for name, tensor in model.output.items():
        made_of = made_as[inside[name]]
        # The converter sees what is computed, Keras what a layer says of it; where one knows no size, the other may.
        sizes = [dimension.dim_value or None for dimension in made_of.shape.dim] or tensor.shape
        shape = [size or said for size, said in zip(sizes, tensor.shape, strict=True)]
        graph.output.append(_described(name, shape, made_of.elem_type))
        if name in given:
            _pass_on(graph, name, given[name], inside[name])
    names = {it: name for found in (given, inside) for name, it in found.items()}
    for part in _graphs(graph):
        for node in part.node:
            for tensors in (node.input, node.output):
                tensors[:] = [names.get(it, it) for it in tensors]


def _described(name: str, shape: Sequence[int | None], dtype: int) -> Any:
    from onnx import helper

    sizes = [f"{name}_{axis}" if size is None else size for axis, size in enumerate(shape)]
    return helper.make_tensor_value_info(name, dtype, ["rows", *sizes[1:]])


def _pass_on(graph: Any, name: str, given: str, inside: str) -> None:
    """An output of an input's name is that input: in ONNX, no node makes it."""
    maker = next(node for node in graph.node if inside in node.output)
    if maker.op_type != "Identity" or list(maker.input) != [given]:
        raise SaveError(
            f"An ONNX file cannot have an input and an output that are both called '{name}'.",
            fix=f"Name the output otherwise: graph.add_output(...). {_OTHERWISE}",
        )
    graph.node.remove(maker)
