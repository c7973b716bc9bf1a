"""Operations between the layers of an old file as layers of Keras that do the same, which an .h5 file can hold, too.

An operation stops masks and a layer may pass one on, so models in which masks begin keep their operations. What no
layer does stays an operation, and so do operations on whole numbers, of which a layer would make floats.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_stitch import keras_private
from keras_stitch.graphs.names import Names
from keras_stitch.graphs.shapes import kind_of
from keras_stitch.graphs.slices import Span
from keras_stitch.models import broadcast_sums
from keras_stitch.models.clone import made_anew
from keras_stitch.models.mask_passage import makes_masks
from keras_stitch.models.merge_layers import float_policy, take_part

Shape = tuple[int | None, ...]
# Makes what a call gives, by layers, of which the last has the name of the operation; ``None`` where it cannot.
_Made = Callable[["_Call"], Any]

_SUMS = (keras.layers.Add, keras.layers.Average)
_MERGES = ("Add", "Subtract", "Multiply", "Maximum", "Minimum")
_ACTIVATIONS = {
    "Elu": "elu", "Exp": "exponential", "Selu": "selu", "Sigmoid": "sigmoid", "Silu": "silu", "Softplus": "softplus",
    "Softsign": "softsign", "Tanh": "tanh",
}  # fmt: skip
_POOLS = {"Mean": "GlobalAveragePooling", "Max": "GlobalMaxPooling"}
_MOST_AXES = 4  # that cropping knows, beside that of the batch


def with_layers(model: keras.Model) -> keras.Model:
    """The same model with layers in place of operations, where they do the same; it is not to be used any more itself.

    Sums that Keras may add along the wrong axis get another order, or are differences (``broadcast_sums``).
    """
    operations = _operations(model)
    held = keras_private.layers_within(model)
    names = Names(one.name for one in itertools.chain(held, operations))
    keeps = makes_masks(model)
    summed: set[str] = set()

    def call(operation: keras.Operation, *arguments: Any, **options: Any) -> Any:
        if isinstance(operation, _SUMS) and len(arguments) == 1 and isinstance(arguments[0], list):
            tensors = broadcast_sums.in_order(arguments[0])
            if tensors is None:
                return _layer_sum(operation, arguments[0], names, summed)
            arguments = (tensors,)
        elif not isinstance(operation, keras.Layer):
            made = None if keeps or options else _layers(operation, arguments, names)
            if made is not None:
                return made
            if type(operation).__name__ == "Add" and len(arguments) == 2:
                tensors = broadcast_sums.in_order(arguments)
                if tensors is None:
                    return broadcast_sums.by_operations(*arguments, names, operation.name)
                arguments = tuple(tensors)
        return operation(*arguments, **options)

    has_work = any(isinstance(one, _SUMS) or not isinstance(one, keras.Layer) for one in operations)
    return made_anew(model, call=call) if has_work else model


def _operations(model: keras.Layer) -> list[keras.Operation]:
    """All layers and operations that a model, and those within it, call."""
    models = [layer for layer in keras_private.layers_within(model) if isinstance(layer, keras.Model)]
    return [call.operation for one in models for call in keras_private.calls(one)]


def _layer_sum(layer: keras.Layer, tensors: Sequence[Any], names: Names, done: set[str]) -> Any:
    """What a layer gives that adds or averages, under its name in its first call."""
    last = layer.name if layer.name not in done else names.new(layer.name)
    done.add(layer.name)
    mean = isinstance(layer, keras.layers.Average)
    return broadcast_sums.by_layers(tensors, names, layer.name, layer.dtype_policy, mean=mean, last=last)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)


class _Call:
    """One call of an operation.

    Attributes:
        kind: The class of the operation.
        operation: The operation, with its arguments as attributes.
        arguments: What it is called on: tensors, numbers, and lists of them.
        given: The shape of what it gives.
    """

    def __init__(self, operation: keras.Operation, arguments: Sequence[Any], names: Names):
        self.kind, self.operation, self.arguments = type(operation).__name__, operation, arguments
        self.names = names
        self.given: Shape = tuple(operation.compute_output_spec(*arguments).shape)

    @property
    def tensor(self) -> Any:
        """What it is called on first."""
        return self.arguments[0]

    @property
    def shape(self) -> Shape:
        """The shape of that."""
        return tuple(self.tensor.shape)

    def layer(self, kind: str, *arguments: Any, on: Any = None, **options: Any) -> Any:
        """The output of the layer that takes the place of the operation."""
        on = self.tensor if on is None else on
        dtype = float_policy(str(keras.tree.flatten(on)[0].dtype))
        return getattr(keras.layers, kind)(*arguments, name=self.operation.name, dtype=dtype, **options)(on)


def _layers(operation: keras.Operation, arguments: Sequence[Any], names: Names) -> Any:
    """The output of layers that do what an operation does; ``None`` where there are none."""
    kind = type(operation).__name__
    tensors = [item for item in keras.tree.flatten(list(arguments)) if _is_tensor(item)]
    if kind not in _TABLE or not tensors or any(not tensor.shape or tensor.shape[0] is not None for tensor in tensors):
        return None
    floats = all(kind_of(str(tensor.dtype)) == "float" for tensor in tensors)
    if (kind not in _ANY_DTYPE and not floats) or len({str(tensor.dtype) for tensor in tensors}) > 1:
        return None
    call = _Call(operation, arguments, names)
    if not call.given or call.given[0] is not None:
        return None
    return _TABLE[kind](call)


def _arithmetic(call: _Call) -> Any:
    one, other = call.arguments
    if _is_tensor(one) and _is_tensor(other):
        if len(one.shape) != len(other.shape) or call.kind not in _MERGES or one.shape == (None,):
            return None
        both = broadcast_sums.in_order([one, other]) if call.kind == "Add" else [one, other]
        if both is None:
            policy = float_policy(str(one.dtype))
            return broadcast_sums.by_layers(
                [one, other], call.names, call.operation.name, policy, last=call.operation.name
            )
        return call.layer(call.kind, on=both)
    tensor, number = (one, other) if _is_tensor(one) else (other, one)
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        return None
    scale, offset = _scale(call.kind, number, first=tensor is one)
    return None if scale is None else call.layer("Rescaling", scale, offset, on=tensor)


def _scale(kind: str, number: float, *, first: bool) -> tuple[float | None, float]:
    """What a tensor is multiplied by, and what is added to that."""
    if kind == "Add":
        return 1.0, float(number)
    if kind == "Subtract":
        return (1.0, -float(number)) if first else (-1.0, float(number))
    if kind == "Multiply":
        return float(number), 0.0
    divides = kind in ("TrueDivide", "Divide") and first and number
    return (1.0 / number if divides else None), 0.0


def _power(call: _Call) -> Any:
    squares = call.kind == "Square" or call.arguments[1:] == (2,)
    return call.layer("Multiply", on=[call.tensor, call.tensor]) if squares else None


def _reshaped(call: _Call) -> Any:
    """The rows stay what they are: each has as many numbers as before."""
    before, after = call.shape[1:], call.given[1:]
    if before.count(None) > 1 or after.count(None) != before.count(None) or not after:
        return None
    known = [math.prod(size for size in shape if size is not None) for shape in (before, after)]
    if known[0] != known[1]:
        return None
    return call.layer("Reshape", [-1 if size is None else size for size in after])


def _transposed(call: _Call) -> Any:
    axes = list(range(len(call.shape)))
    if call.kind == "Swapaxes":
        one, other = call.operation.axis1, call.operation.axis2
        axes[one], axes[other] = axes[other], axes[one]
    else:
        axes = call.operation.axes
    keeps = axes is not None and axes[0] == 0 and len(axes) > 2
    return call.layer("Permute", tuple(axes[1:])) if keeps else None


def _concatenated(call: _Call) -> Any:
    tensors = call.tensor
    axis = call.operation.axis % len(call.given)
    same = isinstance(tensors, list | tuple) and all(map(_is_tensor, tensors)) and len(tensors) > 1
    return call.layer("Concatenate", axis, on=list(tensors)) if same and axis else None


def _stacked(call: _Call) -> Any:
    axis, tensors = call.operation.axis % len(call.given), call.tensor
    before = list(tensors[0].shape[1:])
    if not axis or before.count(None) > 1 or not all(map(_is_tensor, tensors)):
        return None
    shape = [-1 if size is None else size for size in [*before[: axis - 1], 1, *before[axis - 1 :]]]
    dtype = float_policy(str(tensors[0].dtype))
    names = [call.names.new(f"{call.operation.name}_part") for _ in tensors]
    parts = [keras.layers.Reshape(shape, name=name, dtype=dtype)(one) for name, one in zip(names, tensors, strict=True)]
    return call.layer("Concatenate", axis, on=parts)


def _pooled(call: _Call) -> Any:
    rank, axis = len(call.shape), call.operation.axis
    axes = sorted(one % rank for one in ([axis] if isinstance(axis, int) else axis or ()))
    if rank not in (3, 4, 5) or axes != list(range(1, rank - 1)):
        return None
    options = {"data_format": "channels_last", "keepdims": bool(call.operation.keepdims)}
    return call.layer(f"{_POOLS[call.kind]}{rank - 2}D", **options)


def _padded(call: _Call) -> Any:
    width = [tuple(pair) for pair in call.operation.pad_width]
    inner = width[1:-1]
    zeros = call.operation.mode == "constant" and len(call.arguments) == 1
    if not zeros or len(width) not in (3, 4, 5) or width[0] != (0, 0) or width[-1] != (0, 0):
        return None
    if len(inner) == 1:
        return call.layer("ZeroPadding1D", inner[0])
    return call.layer(f"ZeroPadding{len(inner)}D", tuple(inner), data_format="channels_last")


def _taken(call: _Call) -> Any:
    """Slices, single elements and new axes, where all sizes are known: cropped, and reshaped to what the call gives."""
    sizes = [size for size in call.shape[1:] if size is not None]
    keys = _keys(call.arguments[1], len(call.shape))
    whole = keys and keys[0] == slice(None) and len(sizes) == len(call.shape) - 1 <= _MOST_AXES
    if not whole or not call.given[1:]:
        return None
    spans = []
    for number, (one, size) in enumerate(zip(keys[1:], sizes, strict=False)):
        if isinstance(one, int):
            start, stop = one % size, one % size + 1
        elif isinstance(one, slice) and one.step in (None, 1):
            start, stop, _ = one.indices(size)
        else:
            return None
        if start >= stop:
            return None
        if (start, stop) != (0, size):
            spans.append(Span(start, stop, number - len(sizes)))
    part = take_part(call.tensor, spans, call.names, f"{call.operation.name}_part")
    return call.layer("Reshape", call.given[1:], on=part)


def _keys(given: Any, rank: int) -> list[Any]:
    """What is taken of each axis, without new axes, and with full slices in place of an ellipsis."""
    keys = [one for one in (given if isinstance(given, list | tuple) else [given]) if one is not None]
    if not any(one is Ellipsis for one in keys):
        return keys
    at = next(number for number, one in enumerate(keys) if one is Ellipsis)
    return [*keys[:at], *[slice(None)] * (rank - len(keys) + 1), *keys[at + 1 :]]


def _multiplied(call: _Call) -> Any:
    one, other = call.arguments
    both = _is_tensor(one) and _is_tensor(other) and len(one.shape) == len(other.shape) == 3
    return call.layer("Dot", (2, 1), on=[one, other]) if both else None


def _activated(call: _Call) -> Any:
    return call.layer("Activation", _ACTIVATIONS[call.kind])


_TABLE: dict[str, _Made] = {
    **dict.fromkeys([*_MERGES, "TrueDivide", "Divide"], _arithmetic),
    **dict.fromkeys(_ACTIVATIONS, _activated),
    **dict.fromkeys(["Power", "Square"], _power),
    **dict.fromkeys(["Reshape", "ExpandDims", "Squeeze"], _reshaped),
    **dict.fromkeys(_POOLS, _pooled),
    "Concatenate": _concatenated,
    "GetItem": _taken,
    "LeakyRelu": lambda call: call.layer("LeakyReLU", call.operation.negative_slope),
    "Matmul": _multiplied,
    "Negative": lambda call: call.layer("Rescaling", -1.0),
    "Pad": _padded,
    "Relu": lambda call: call.layer("ReLU"),
    "Relu6": lambda call: call.layer("ReLU", 6.0),
    "Stack": _stacked,
    "Softmax": lambda call: call.layer("Softmax", call.operation.axis),
    **dict.fromkeys(["Swapaxes", "Transpose"], _transposed),
}
_ANY_DTYPE = ("Concatenate", "ExpandDims", "Reshape", "Squeeze", "Stack", "Swapaxes", "Transpose")
