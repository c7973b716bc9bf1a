"""Factors that a repair puts into the weights of a loaded model."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from keras_stitch.errors import SourceError
from keras_stitch.keras_private import layers_within
from keras_stitch.repairs.changed_functions import HARD_SIGMOID_FACTOR

# The gates, in the order in which their units stand in the last axis of each weight; `c` and `h` are candidates.
_GATES = {"LSTMCell": "ifco", "ConvLSTMCell": "ifco", "GRUCell": "zrh", "SimpleRNNCell": "h"}

# The layers whose activation gets a sum that their weights give, so that it grows with them.
_LINEAR = {
    *("Dense", "EinsumDense"),
    *(f"Conv{rank}D{kind}" for rank in (1, 2, 3) for kind in ("", "Transpose")),
    *(f"{kind}Conv{rank}D" for rank in (1, 2) for kind in ("Depthwise", "Separable")),
}
_WITH_CELLS = ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "Bidirectional", "TimeDistributed")


def fold_hard_sigmoid(model: keras.Model) -> None:
    """Scale what goes into every hard_sigmoid by 1.2, so that Keras 3's gives what that of Keras 2 gave.

    Raises:
        SourceError: At a layer of another class, whose weights cannot be known.
    """
    for layer in {id(layer): layer for layer in layers_within(model)}.values():
        name = type(layer).__name__
        if name in _GATES:
            _fold_gates(layer, _GATES[name])
        elif name in _LINEAR and _is(layer, "activation"):
            _scale(layer, [HARD_SIGMOID_FACTOR])
        elif isinstance(layer, keras.layers.RNN | keras.layers.Activation) or name in _WITH_CELLS:
            continue  # what is in their cells, or in front of them, is taken care of
        elif _is(layer, "activation") or _is(layer, "recurrent_activation"):
            raise SourceError(
                f"The layer '{layer.name}' ({name}) has a hard_sigmoid, which is another function in Keras 3, and "
                "only its author knows what has to change.",
                fix='Give the old function: custom_objects={"hard_sigmoid": ...}.',
            )


def _is(layer: keras.Layer, attribute: str) -> bool:
    return getattr(layer, attribute, None) is keras.activations.hard_sigmoid


def _fold_gates(cell: keras.Layer, gates: str) -> None:
    factors = [
        HARD_SIGMOID_FACTOR if _is(cell, "activation" if gate in "ch" else "recurrent_activation") else 1.0
        for gate in gates
    ]
    if set(factors) != {1.0}:
        _scale(cell, factors)


def _scale(layer: keras.Layer, factors: Sequence[float]) -> None:
    """Multiply the equal parts of the last axis of each weight by one factor each."""
    for name in ("kernel", "recurrent_kernel", "pointwise_kernel", "bias"):
        weight = getattr(layer, name, None)
        if weight is not None:
            value = keras.ops.convert_to_numpy(weight)
            each = np.repeat(factors, value.shape[-1] // len(factors))
            weight.assign((value.astype("float64") * each).astype(value.dtype))
