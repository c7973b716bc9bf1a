"""Arrays of Keras 1, of cuDNN and of Theano in the layout of Keras 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np

from keras_stitch.repairs.architecture import Layer, Saved
from keras_stitch.repairs.theano import TURNED

_GATES = {"LSTM": 4, "GRU": 3}

# Keras 1 wrote an LSTM gate by gate, (kernel, recurrent, bias) of i, c, f, o; Keras 2 has i, f, c, o side by side.
_KERAS_1_GATES = {"LSTM": (0, 2, 1, 3), "ConvLSTM2D": (0, 2, 1, 3), "GRU": (0, 1, 2)}


def convert(layer: keras.Layer, said: Layer, arrays: Sequence[np.ndarray], saved: Saved) -> list[np.ndarray]:
    """The arrays that a file has for a layer, in the layout of its weights; both are in the order of the weights."""
    values = list(arrays)
    kind = said["class_name"]
    if kind == "Bidirectional":
        half = len(values) // 2
        forward = convert(layer.forward_layer, said["config"]["layer"], values[:half], saved)
        said_backward = said["config"].get("backward_layer") or said["config"]["layer"]
        return forward + convert(layer.backward_layer, said_backward, values[half:], saved)
    if kind == "TimeDistributed":
        return convert(layer.layer, said["config"]["layer"], values, saved)
    if kind == "LayerNormalization":
        # Keras 2 kept them by its order of axes, and did not mind it when it used them.
        return [value.reshape(weight.shape) for value, weight in zip(values, layer.weights, strict=True)]
    if saved.version < (2,):
        values = _from_keras_1(kind, layer, said, values)
    if saved.backend == "theano" and kind in TURNED and not saved.is_custom(said):
        values = _from_theano(kind, layer, values)
    if kind in _GATES and len(values) == 3:
        values = _from_cudnn(kind, layer, values)
    return values


def _from_keras_1(kind: str, layer: keras.Layer, said: Layer, values: list[np.ndarray]) -> list[np.ndarray]:
    channels_first = said["config"].get("data_format") == "channels_first"
    if kind in ("ConvLSTM2D", "SeparableConv2D") and channels_first:
        values = [value.transpose(2, 3, 1, 0) if value.ndim == 4 else value for value in values]
    if kind in _KERAS_1_GATES and len(values) == 3 * len(_KERAS_1_GATES[kind]):
        order = _KERAS_1_GATES[kind]
        values = [np.concatenate([values[3 * gate + part] for gate in order], axis=-1) for part in range(3)]
    if kind == "Conv1D" and values[0].ndim == 4:
        kernel = values[0]
        if kernel.shape[:2] != (layer.kernel_size[0], 1):
            kernel = kernel.transpose(2, 3, 1, 0)
        values[0] = kernel[:, 0]
    elif kind == "Conv2D" and channels_first:
        values[0] = values[0].transpose(2, 3, 1, 0)
    elif kind == "Conv2DTranspose":
        values[0] = values[0].transpose((2, 3, 0, 1) if channels_first else (0, 1, 3, 2))
    elif kind == "Conv3D" and channels_first:
        values[0] = values[0].transpose(2, 3, 4, 1, 0)
    return values


def _from_theano(kind: str, layer: keras.Layer, values: list[np.ndarray]) -> list[np.ndarray]:
    """Theano convolves, TensorFlow correlates: the kernel is turned round along its spatial axes."""
    kernels = TURNED[kind]
    turned = [np.flip(value, axis=tuple(range(value.ndim - 2))) for value in values[:kernels]]
    if kind == "ConvLSTM2D":
        # ``theano_borders`` made even kernels longer.
        more = [(0, size - had) for size, had in zip(layer.kernel_size, turned[0].shape[:2], strict=True)]
        turned = [np.pad(value, [*more, (0, 0), (0, 0)]) for value in turned]
    return turned + values[kernels:]


def _from_cudnn(kind: str, layer: keras.Layer, values: list[np.ndarray]) -> list[np.ndarray]:
    """CuDNN keeps the kernels of gates transposed, and has two biases. The form is seen from the bias."""
    kernel, recurrent, bias = values
    gates = _GATES[kind]
    if bias.shape != (2 * layer.units * gates,):
        return values

    def each_gate(array: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return np.hstack([change(part) for part in np.hsplit(array, gates)])

    kernel = each_gate(kernel, lambda part: part.T.reshape(part.shape, order="F"))
    recurrent = each_gate(recurrent, lambda part: part.T)
    return [kernel, recurrent, bias.reshape(2, -1) if kind == "GRU" else bias.reshape(2, -1).sum(axis=0)]
