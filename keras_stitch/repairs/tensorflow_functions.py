"""The functions of TensorFlow that files of Keras 2 call between their layers, as operations of Keras 3.

Each entry of ``FUNCTIONS`` is a function with the arguments that TensorFlow's has (https://www.tensorflow.org/api_docs),
those that it can do: a call with another argument is refused. It adds operations to a graph through ``Calls``, whose
``op`` takes the class of an operation of Keras, the tensors that it is called with, and its own arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Tensor = Any  # a tensor of the graph, or a number, or a list of numbers


class UnsupportedCallError(ValueError):
    """A function that is not in the table, or a call of it that cannot be made of operations of Keras."""


@dataclass(frozen=True)
class Size:
    """What ``tf.shape(x)[axis]`` gives: a size that is known when the model runs. ``axis`` is ``None`` for all."""

    axis: int | None = None


class Plain(list[Any]):
    """A list that is no tensor."""


class Calls(Protocol):
    """A graph to which operations are added; each call gives what the new operation gives out."""

    def op(self, kind: str, *tensors: Tensor, **config: Any) -> Tensor:
        """Adds an operation of Keras."""

    def layer(self, kind: str, tensor: Tensor, **config: Any) -> Tensor:
        """Adds a layer of Keras."""


Function = Callable[..., Tensor]


def call(calls: Calls, name: str, arguments: Sequence[Any], named: dict[str, Any]) -> Tensor:
    """Add what computes a call of a function of TensorFlow.

    Args:
        calls: The graph.
        name: The function below ``tf``: ``"math.reduce_mean"``.
        arguments: Of the call; tensors are what ``calls`` knows as tensors.
        named: The same, by their names.

    Raises:
        UnsupportedCallError: If it cannot be done; what to say of it behind ``tf.name``.
    """
    name = name.removeprefix("compat.v1.")
    function = FUNCTIONS.get(_ALIASES.get(name, name))
    if name in _LOST:
        raise UnsupportedCallError(", of which Keras 2 writes no file with all tensors")
    if function is None:
        raise UnsupportedCallError("")
    try:
        inspect.signature(function).bind(calls, *arguments, **named)
    except TypeError as error:
        raise UnsupportedCallError(f" with {', '.join(named)}") from error
    if function not in _TAKES_SIZES and any(_has_size(value) for value in (*arguments, *named.values())):
        raise UnsupportedCallError(" with a size that is computed")
    return function(calls, *arguments, **named)


def _has_size(value: Any) -> bool:
    return any(map(_has_size, value)) if isinstance(value, list) else isinstance(value, Size)


def _one(kind: str) -> Function:
    """A function of one tensor."""
    return lambda calls, x: calls.op(kind, x)


def _two(kind: str) -> Function:
    """A function of two tensors, of which one may be numbers."""
    return lambda calls, x, y: calls.op(kind, x, y)


def _reduced(kind: str) -> Function:
    """A function over some axes, or over all."""

    def function(calls: Calls, input_tensor: Tensor, axis: Any = None, keepdims: bool | None = False) -> Tensor:
        return calls.op(kind, input_tensor, axis=axis, keepdims=bool(keepdims))

    return function


def _place(kind: str) -> Function:
    """Where along an axis something is."""

    def function(calls: Calls, input: Tensor, axis: int | None = None, output_type: str = "int64") -> Tensor:
        return calls.op("Cast", calls.op(kind, input, axis=axis or 0), dtype=output_type)

    return function


def _pool(kind: str) -> Function:
    def function(
        calls: Calls, input: Tensor, ksize: Any, strides: Any, padding: str, data_format: str = "NHWC"
    ) -> Tensor:
        if data_format != "NHWC":
            raise UnsupportedCallError(f" with data_format={data_format!r}")
        size, steps = ([value] * 2 if isinstance(value, int) else list(value) for value in (ksize, strides))
        size, steps = (value[1:3] if len(value) == 4 else value for value in (size, steps))
        config = {"pool_size": size, "strides": steps, "padding": padding.lower(), "data_format": "channels_last"}
        return calls.op(kind, input, **config)

    return function


def _cumulated(calls: Calls, x: Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    turned = calls.op("Flip", x, axis=axis) if reverse else x
    total = calls.op("Cumsum", turned, axis=axis)
    total = calls.op("Flip", total, axis=axis) if reverse else total
    return calls.op("Subtract", total, x) if exclusive else total


def _getitem(calls: Calls, x: Tensor, slice_spec: Any) -> Tensor:
    spec = slice_spec if isinstance(slice_spec, list) else [slice_spec]
    if isinstance(x, Size):
        if x.axis is None and len(spec) == 1 and isinstance(spec[0], int):
            return Size(spec[0])
        raise UnsupportedCallError(" of a shape")
    key = [_slice(item) if isinstance(item, dict) else item for item in spec]
    return calls.op("GetItem", x, Plain(key))


def _slice(item: dict[str, Any]) -> dict[str, Any]:
    if item.get("class_name") == "__ellipsis__":
        return {"class_name": "__ellipsis__", "config": {}}
    return {"class_name": "__slice__", "config": {key: item[key] for key in ("start", "stop", "step")}}


def _reshape(calls: Calls, tensor: Tensor, shape: Any) -> Tensor:
    if not isinstance(shape, list):
        raise UnsupportedCallError(" to a shape that is computed")
    rest = shape[1:]
    if any(isinstance(size, Size) for size in rest) or not all(isinstance(size, int) for size in rest):
        raise UnsupportedCallError(" to a shape that is computed")
    if shape and shape[0] == Size(0):
        return calls.layer("Reshape", tensor, target_shape=rest)
    if not shape or not isinstance(shape[0], int):
        raise UnsupportedCallError(" to a shape that is computed")
    return calls.op("Reshape", tensor, newshape=shape)


def _split(calls: Calls, value: Tensor, num_or_size_splits: Any, axis: int = 0) -> Tensor:
    if isinstance(num_or_size_splits, list):
        if min(num_or_size_splits[:-1], default=0) < 0:
            raise UnsupportedCallError(" with a size that is computed")
        ends = [sum(num_or_size_splits[:number]) for number in range(1, len(num_or_size_splits))]
        return calls.op("Split", value, indices_or_sections=ends, axis=axis)
    return calls.op("Split", value, indices_or_sections=num_or_size_splits, axis=axis)


def _squeeze(calls: Calls, input: Tensor, axis: Any = None) -> Tensor:
    return calls.op("Squeeze", input, axis=axis)


def _matmul(calls: Calls, a: Tensor, b: Tensor, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
    a, b = (
        calls.op("Swapaxes", value, axis1=-2, axis2=-1) if turned else value
        for value, turned in ((a, transpose_a), (b, transpose_b))
    )
    return calls.op("Matmul", a, b)


def _l2_normalize(calls: Calls, x: Tensor, axis: Any = None, epsilon: float = 1e-12) -> Tensor:
    total = calls.op("Sum", calls.op("Square", x), axis=axis, keepdims=True)
    return calls.op("Multiply", x, calls.op("Rsqrt", calls.op("Maximum", total, epsilon)))


def _norm(
    calls: Calls, tensor: Tensor, ord: Any = "euclidean", axis: Any = None, keepdims: bool | None = False
) -> Tensor:
    if ord not in ("euclidean", 2) or (ord == 2 and isinstance(axis, list)):
        raise UnsupportedCallError(f" with ord={ord!r}")
    return calls.op("Sqrt", calls.op("Sum", calls.op("Square", tensor), axis=axis, keepdims=bool(keepdims)))


def _pad(calls: Calls, tensor: Tensor, paddings: Any, mode: str = "CONSTANT", constant_values: float = 0) -> Tensor:
    arguments = [constant_values] if constant_values else []
    return calls.op("Pad", tensor, *arguments, pad_width=paddings, mode=mode.lower())


def _one_hot(calls: Calls, indices: Tensor, depth: int, axis: int | None = -1, dtype: str | None = None) -> Tensor:
    return calls.op("OneHot", indices, num_classes=depth, axis=-1 if axis is None else axis, dtype=dtype or "float32")


def _resize(
    calls: Calls,
    images: Tensor,
    size: Any,
    method: str = "bilinear",
    preserve_aspect_ratio: bool = False,
    antialias: bool = False,
) -> Tensor:
    if preserve_aspect_ratio:
        raise UnsupportedCallError(" with preserve_aspect_ratio=True")
    if method not in ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5"):
        raise UnsupportedCallError(f" with method={method!r}")
    images = images if method == "nearest" else calls.op("Cast", images, dtype="float32")
    config = {"interpolation": method, "antialias": bool(antialias), "data_format": "channels_last"}
    return calls.op("Resize", images, size=size, **config)


def _silu(calls: Calls, features: Tensor, beta: float = 1.0) -> Tensor:
    if beta == 1.0:
        return calls.op("Silu", features)
    return calls.op("Multiply", features, calls.op("Sigmoid", calls.op("Multiply", features, beta)))


def _squared_difference(calls: Calls, x: Tensor, y: Tensor) -> Tensor:
    return calls.op("Square", calls.op("Subtract", x, y))


def _where(calls: Calls, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return calls.op("Where", condition, x, y)


def _take(calls: Calls, params: Tensor, indices: Tensor, axis: int | None = None, batch_dims: int = 0) -> Tensor:
    if batch_dims:
        raise UnsupportedCallError(f" with batch_dims={batch_dims}")
    return calls.op("Take", params, indices, axis=axis or 0)


def _transpose(calls: Calls, a: Tensor, perm: Any = None, conjugate: bool = False) -> Tensor:
    return calls.op("Transpose", a, axes=perm)


def _shape(calls: Calls, input: Tensor, out_type: str = "int32") -> Size:
    return Size()


# Functions of one tensor: those that Keras calls as TensorFlow does, and the others.
_SAME = (
    *("math.ceil", "math.cos", "math.cosh", "math.erf", "math.exp", "math.expm1", "math.floor", "math.log"),
    *("math.log1p", "math.negative", "math.reciprocal", "math.round", "math.rsqrt", "math.sigmoid", "math.sign"),
    *("math.sin", "math.sinh", "math.softplus", "math.sqrt", "math.square", "math.tan", "math.tanh"),
    *("nn.elu", "nn.relu", "nn.relu6", "nn.selu", "nn.softsign"),
)
_ONE = {name: name.rpartition(".")[2].capitalize() for name in _SAME} | {
    "identity": "Copy",
    "math.abs": "Absolute",
    "math.acos": "Arccos",
    "math.acosh": "Arccosh",
    "math.asin": "Arcsin",
    "math.asinh": "Arcsinh",
    "math.atan": "Arctan",
    "math.atanh": "Arctanh",
    "math.is_finite": "Isfinite",
    "math.is_inf": "Isinf",
    "math.is_nan": "Isnan",
    "math.log_sigmoid": "LogSigmoid",
    "math.logical_not": "LogicalNot",
    "ones_like": "OnesLike",
    "stop_gradient": "StopGradient",
    "zeros_like": "ZerosLike",
}
_TWO = {
    "__operators__.add": "Add",
    "floor_div": "FloorDivide",
    "math.add": "Add",
    "math.divide_no_nan": "DivideNoNan",
    "math.equal": "Equal",
    "math.floormod": "Mod",
    "math.greater": "Greater",
    "math.greater_equal": "GreaterEqual",
    "math.less": "Less",
    "math.less_equal": "LessEqual",
    "math.logical_and": "LogicalAnd",
    "math.logical_or": "LogicalOr",
    "math.maximum": "Maximum",
    "math.minimum": "Minimum",
    "math.multiply": "Multiply",
    "math.not_equal": "NotEqual",
    "math.pow": "Power",
    "math.subtract": "Subtract",
    "math.truediv": "TrueDivide",
}
_REDUCED = {name: name.capitalize() for name in ("all", "any", "logsumexp", "max", "mean", "min", "prod", "std", "sum")}
_REDUCED["variance"] = "Var"
# What TensorFlow has under several names.
_ALIASES = {
    "linalg.l2_normalize": "math.l2_normalize",
    "math.divide": "math.truediv",
    "math.floordiv": "floor_div",
    "math.softsign": "nn.softsign",
    "nn.l2_normalize": "math.l2_normalize",
    "nn.sigmoid": "math.sigmoid",
    "nn.softplus": "math.softplus",
    "nn.tanh": "math.tanh",
}

FUNCTIONS: dict[str, Function] = {
    **{name: _one(kind) for name, kind in _ONE.items()},
    **{name: _two(kind) for name, kind in _TWO.items()},
    **{f"math.reduce_{name}": _reduced(kind) for name, kind in _REDUCED.items()},
    **{f"math.arg{end}": _place(f"Arg{end}") for end in ("max", "min")},
    "__operators__.getitem": _getitem,
    "cast": lambda calls, x, dtype: calls.op("Cast", x, dtype=dtype),
    "clip_by_value": lambda calls, t, clip_value_min, clip_value_max: calls.op(
        "Clip", t, x_min=clip_value_min, x_max=clip_value_max
    ),
    "concat": lambda calls, values, axis: calls.op("Concatenate", values, axis=axis),
    "expand_dims": lambda calls, input, axis: calls.op("ExpandDims", input, axis=axis),
    "gather": _take,
    "image.resize": _resize,
    "linalg.matmul": _matmul,
    "math.atan2": lambda calls, y, x: calls.op("Arctan2", y, x),
    "math.cumsum": _cumulated,
    "math.l2_normalize": _l2_normalize,
    "math.squared_difference": _squared_difference,
    "nn.avg_pool2d": _pool("AveragePool"),
    "nn.bias_add": lambda calls, value, bias: calls.op("Add", value, bias),
    "nn.gelu": lambda calls, features, approximate=False: calls.op("Gelu", features, approximate=bool(approximate)),
    "nn.leaky_relu": lambda calls, features, alpha=0.2: calls.op("LeakyRelu", features, negative_slope=alpha),
    "nn.log_softmax": lambda calls, logits, axis=-1: calls.op("LogSoftmax", logits, axis=-1 if axis is None else axis),
    "nn.max_pool2d": _pool("MaxPool"),
    "nn.silu": _silu,
    "nn.softmax": lambda calls, logits, axis=-1: calls.op("Softmax", logits, axis=-1 if axis is None else axis),
    "norm": _norm,
    "one_hot": _one_hot,
    "pad": _pad,
    "repeat": lambda calls, input, repeats, axis=None: calls.op("Repeat", input, repeats=repeats, axis=axis),
    "reshape": _reshape,
    "reverse": lambda calls, tensor, axis: calls.op("Flip", tensor, axis=axis),
    "shape": _shape,
    "split": _split,
    "squeeze": _squeeze,
    "stack": lambda calls, values, axis=0: calls.op("Stack", values, axis=axis),
    "tensordot": lambda calls, a, b, axes: calls.op("Tensordot", a, b, axes=axes),
    "tile": lambda calls, input, multiples: calls.op("Tile", input, repeats=multiples),
    "transpose": _transpose,
    "unstack": lambda calls, value, num=None, axis=0: calls.op("Unstack", value, num=num, axis=axis),
    "where": _where,
}

_LOST = ("__operators__.eq", "__operators__.ne", "einsum")
_TAKES_SIZES = (_getitem, _reshape)
