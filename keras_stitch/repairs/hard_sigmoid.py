"""Factors that a repair puts into the weights of a loaded model."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np

from keras_stitch.errors import SourceError
from keras_stitch.keras_private import layers_within
from keras_stitch.repairs.changed_functions import HARD_SIGMOID_FACTOR

# The gates, in the order in which their units stand in the last axis of each weight; `c` and `h` are candidates.
_GATES = {"LSTMCell": "ifco", "ConvLSTMCell": "ifco", "GRUCell": "zrh", "SimpleRNNCell": "h"}
_KERNELS = ("kernel", "recurrent_kernel", "bias")

# The layers whose activation gets a sum that these weights give, so that it grows with them.
_LINEAR = {
    "Dense": ("kernel", "bias"),
    "EinsumDense": ("kernel", "bias"),
    **{f"Conv{rank}D{kind}": ("kernel", "bias") for rank in (1, 2, 3) for kind in ("", "Transpose")},
    **{f"DepthwiseConv{rank}D": ("kernel", "bias") for rank in (1, 2)},
    **{f"SeparableConv{rank}D": ("pointwise_kernel", "bias") for rank in (1, 2)},
}


def fold_hard_sigmoid(model: keras.Model) -> None:
    """Scale what goes into every hard_sigmoid by 1.2, so that Keras 3's gives what that of Keras 2 gave.

    Raises:
        SourceError: At a layer of another class, whose weights cannot be known.
    """
    for layer in _layers(model):
        name = type(layer).__name__
        if name in _GATES:
            _fold_gates(layer, _GATES[name])
        elif name in _LINEAR and _is(layer, "activation"):
            for weight in _LINEAR[name]:
                _scale(layer, weight, HARD_SIGMOID_FACTOR)
        elif isinstance(layer, keras.layers.RNN | keras.layers.Activation) or name in _WITH_CELLS:
            continue  # what is in their cells, or in front of them, is taken care of
        elif _is(layer, "activation") or _is(layer, "recurrent_activation"):
            raise SourceError(
                f"The layer '{layer.name}' ({name}) has a hard_sigmoid, which is another function in Keras 3, and "
                "only its author knows what has to change.",
                fix='Give the old function: custom_objects={"hard_sigmoid": ...}.',
            )


_WITH_CELLS = ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "Bidirectional", "TimeDistributed")


def _layers(model: keras.Model) -> Iterator[keras.Layer]:
    seen: set[int] = set()
    for layer in layers_within(model):
        if id(layer) not in seen:
            seen.add(id(layer))
            yield layer


def _is(layer: keras.Layer, attribute: str) -> bool:
    return getattr(layer, attribute, None) is keras.activations.hard_sigmoid


def _fold_gates(cell: keras.Layer, gates: str) -> None:
    factors = [
        HARD_SIGMOID_FACTOR if _is(cell, "activation" if gate in "ch" else "recurrent_activation") else 1.0
        for gate in gates
    ]
    if set(factors) == {1.0}:
        return
    for name in _KERNELS:
        weight = getattr(cell, name, None)
        if weight is not None:
            _scale(cell, name, np.repeat(factors, weight.shape[-1] // len(gates)))


def _scale(layer: keras.Layer, name: str, factor: float | np.ndarray) -> None:
    weight = getattr(layer, name, None)
    if weight is not None:
        value = keras.ops.convert_to_numpy(weight)
        weight.assign((value.astype("float64") * factor).astype(value.dtype))
