"""Operations of TensorFlow's graphs between layers, the ``TensorFlowOpLayer`` of Keras 2.4, as calls of functions.

Such a layer holds a ``NodeDef``, whose inputs are tensors and constants in their order, and whose attributes are those
of the operation (https://www.tensorflow.org/api_docs/python/tf/raw_ops). What is made of the function that computes the
same is in ``tensorflow_functions``.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_stitch.repairs.architecture import Layer, references
from keras_stitch.repairs.structure import keras_tensor
from keras_stitch.repairs.tensorflow_functions import UnsupportedCallError

_DTYPES = {
    "DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16", "DT_BFLOAT16": "bfloat16", "DT_BOOL": "bool",
    "DT_INT8": "int8", "DT_INT16": "int16", "DT_INT32": "int32", "DT_INT64": "int64", "DT_UINT8": "uint8",
}  # fmt: skip


class Attributes:
    """The attributes of an operation, as JSON has them: numbers as texts, texts in base 64, and no zeros."""

    def __init__(self, said: Mapping[str, Any]):
        self._said = said

    def number(self, name: str, default: int = 0) -> int:
        """A whole number."""
        return int(self._said.get(name, {}).get("i", default))

    def numbers(self, name: str) -> list[int]:
        """A list of whole numbers."""
        return [int(item) for item in self._said.get(name, {}).get("list", {}).get("i", ())]

    def fraction(self, name: str, default: float = 0.0) -> float:
        """A number of any kind."""
        return float(self._said.get(name, {}).get("f", default))

    def flag(self, name: str) -> bool:
        """Whether something is so."""
        return bool(self._said.get(name, {}).get("b", False))

    def text(self, name: str) -> str:
        """A text."""
        return base64.b64decode(self._said.get(name, {}).get("s", "")).decode()

    def dtype(self, name: str) -> str:
        """The name of a dtype."""
        found = _DTYPES.get(str(self._said.get(name, {}).get("type")))
        if found is None:
            raise UnsupportedCallError(f" with {name}={self._said.get(name)}")
        return found


# A function of TensorFlow, and its arguments by place or by name.
_Call = tuple[str, Sequence[Any] | dict[str, Any]]
_Rule = Callable[[Sequence[Any], Attributes], _Call]


def _same(function: str) -> _Rule:
    """A function whose arguments are the inputs, in their order."""
    return lambda inputs, _: (function, inputs)


def _reduced(function: str) -> _Rule:
    def rule(inputs: Sequence[Any], attributes: Attributes) -> _Call:
        x, axis = inputs
        return function, {"input_tensor": x, "axis": axis, "keepdims": attributes.flag("keep_dims")}

    return rule


def _place(function: str) -> _Rule:
    def rule(inputs: Sequence[Any], attributes: Attributes) -> _Call:
        return function, {"input": inputs[0], "axis": inputs[1], "output_type": attributes.dtype("output_type")}

    return rule


def _pool(function: str) -> _Rule:
    def rule(inputs: Sequence[Any], attributes: Attributes) -> _Call:
        layout = {"padding": attributes.text("padding"), "data_format": attributes.text("data_format") or "NHWC"}
        sizes = {"ksize": attributes.numbers("ksize"), "strides": attributes.numbers("strides")}
        return function, {"input": inputs[0], **sizes, **layout}

    return rule


def _matmul(one: str, other: str) -> _Rule:
    def rule(inputs: Sequence[Any], attributes: Attributes) -> _Call:
        turned = {"transpose_a": attributes.flag(one), "transpose_b": attributes.flag(other)}
        return "linalg.matmul", {"a": inputs[0], "b": inputs[1], **turned}

    return rule


def _resized(method: str) -> _Rule:
    def rule(inputs: Sequence[Any], attributes: Attributes) -> _Call:
        if not attributes.flag("half_pixel_centers") or attributes.flag("align_corners"):
            raise UnsupportedCallError(" without half_pixel_centers, as TensorFlow 1 resized")
        return "image.resize", {"images": inputs[0], "size": inputs[1], "method": method}

    return rule


def _sliced(inputs: Sequence[Any], attributes: Attributes) -> _Call:
    x, begin, end, strides = inputs
    if not all(isinstance(item, list) for item in (begin, end, strides)):
        raise UnsupportedCallError(" with a place that is computed")
    masks = {
        name: attributes.number(f"{name}_mask") for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    spec: list[Any] = []
    for axis, (start, stop, step) in enumerate(zip(begin, end, strides, strict=True)):
        given = {name for name, mask in masks.items() if mask & 1 << axis}
        if "ellipsis" in given:
            spec.append({"class_name": "__ellipsis__"})
        elif "new_axis" in given:
            spec.append(None)
        elif "shrink_axis" in given:
            spec.append(start)
        else:
            ends = {"start": None if "begin" in given else start, "stop": None if "end" in given else stop}
            spec.append({**ends, "step": step})
    return "__operators__.getitem", {"x": x, "slice_spec": spec}


def _split(inputs: Sequence[Any], attributes: Attributes) -> _Call:
    axis, value = inputs
    return "split", {"value": value, "num_or_size_splits": attributes.number("num_split"), "axis": axis}


_TWO = {
    "Add": "math.add", "AddV2": "math.add", "Atan2": "math.atan2", "DivNoNan": "math.divide_no_nan",
    "FloorDiv": "floor_div", "FloorMod": "math.floormod", "Greater": "math.greater",
    "GreaterEqual": "math.greater_equal", "Less": "math.less", "LessEqual": "math.less_equal",
    "LogicalAnd": "math.logical_and", "LogicalOr": "math.logical_or", "Maximum": "math.maximum",
    "Minimum": "math.minimum", "Mul": "math.multiply", "Pow": "math.pow", "RealDiv": "math.truediv",
    "SquaredDifference": "math.squared_difference", "Sub": "math.subtract",
}  # fmt: skip
_ONE = {
    **{name: f"math.{name.lower()}" for name in (
        "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Erf", "Exp", "Expm1", "Floor",
        "Log", "Log1p", "Reciprocal", "Round", "Rsqrt", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Sqrt", "Square",
        "Tan", "Tanh")},
    **{name: f"nn.{name.lower()}" for name in ("Elu", "Relu", "Relu6", "Selu", "Softmax", "Softsign")},
    "Identity": "identity", "IsFinite": "math.is_finite", "IsInf": "math.is_inf", "IsNan": "math.is_nan",
    "LogSoftmax": "nn.log_softmax", "LogicalNot": "math.logical_not", "Neg": "math.negative", "OnesLike": "ones_like",
    "StopGradient": "stop_gradient", "ZerosLike": "zeros_like",
}  # fmt: skip
OPERATIONS: dict[str, _Rule] = {
    **{name: _same(function) for name, function in _ONE.items()},
    **{name: _same(function) for name, function in _TWO.items()},
    **{name: _reduced(f"math.reduce_{name.lower()}") for name in ("All", "Any", "Max", "Mean", "Min", "Prod", "Sum")},
    "ArgMax": _place("math.argmax"),
    "ArgMin": _place("math.argmin"),
    "AvgPool": _pool("nn.avg_pool2d"),
    "BatchMatMulV2": _matmul("adj_x", "adj_y"),
    "BiasAdd": _same("nn.bias_add"),
    "Cast": lambda inputs, attributes: ("cast", {"x": inputs[0], "dtype": attributes.dtype("DstT")}),
    "ConcatV2": lambda inputs, _: ("concat", {"values": list(inputs[:-1]), "axis": inputs[-1]}),
    "ExpandDims": _same("expand_dims"),
    "GatherV2": _same("gather"),
    "LeakyRelu": lambda inputs, attributes: (
        "nn.leaky_relu",
        {"features": inputs[0], "alpha": attributes.fraction("alpha", 0.2)},
    ),
    "MatMul": _matmul("transpose_a", "transpose_b"),
    "MaxPool": _pool("nn.max_pool2d"),
    "MirrorPad": lambda inputs, attributes: (
        "pad",
        {"tensor": inputs[0], "paddings": inputs[1], "mode": attributes.text("mode")},
    ),
    "Pack": lambda inputs, attributes: ("stack", {"values": list(inputs), "axis": attributes.number("axis")}),
    "Pad": _same("pad"),
    "PadV2": lambda inputs, _: (
        "pad",
        {"tensor": inputs[0], "paddings": inputs[1], "constant_values": inputs[2]},
    ),
    "Reshape": _same("reshape"),
    "ResizeBilinear": _resized("bilinear"),
    "ResizeNearestNeighbor": _resized("nearest"),
    "ReverseV2": _same("reverse"),
    "SelectV2": _same("where"),
    "Split": _split,
    "SplitV": _same("split"),
    "Squeeze": lambda inputs, attributes: (
        "squeeze",
        {"input": inputs[0], "axis": attributes.numbers("squeeze_dims") or None},
    ),
    "StridedSlice": _sliced,
    "Tile": _same("tile"),
    "Transpose": _same("transpose"),
    "Unpack": lambda inputs, attributes: (
        "unstack",
        {"value": inputs[0], "num": attributes.number("num"), "axis": attributes.number("axis")},
    ),
}


def as_call(layer: Layer) -> None:
    """Make an operation between layers a call of a function of TensorFlow, in place.

    Raises:
        UnsupportedCallError: If nothing here knows it.
    """
    definition, nodes = layer["config"].get("node_def"), layer["inbound_nodes"]
    if not isinstance(definition, dict):
        raise UnsupportedCallError(" of TensorFlow 2.1 or older")
    kind = str(definition.get("op"))
    if kind not in OPERATIONS or len(nodes) != 1:
        raise UnsupportedCallError(f" {kind}")
    constants = {int(number): _plain(value) for number, value in layer["config"]["constants"].items()}
    tensors = iter([keras_tensor(item) for item in references(nodes[0])])
    count = len(constants) + len(list(references(nodes[0])))
    inputs = [constants[number] if number in constants else next(tensors) for number in range(count)]
    try:
        function, arguments = OPERATIONS[kind](inputs, Attributes(definition.get("attr", {})))
    except UnsupportedCallError as error:
        raise UnsupportedCallError(f" {kind}{error}") from error
    by_name = isinstance(arguments, dict)
    layer["class_name"] = "TFOpLambda"
    layer["config"] = {"name": layer["name"], "function": function}
    layer["inbound_nodes"] = [{"args": [] if by_name else list(arguments), "kwargs": arguments if by_name else {}}]


def _plain(value: Any) -> Any:
    """A constant as numbers and lists of them, whatever wrote it."""
    return value["config"]["value"] if isinstance(value, dict) and value.get("class_name") == "__numpy__" else value
