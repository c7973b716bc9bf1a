"""Which layers of Keras have an axis of channels, and which do the same whatever the order of the axes."""

from __future__ import annotations

import functools
from typing import Any

import keras

from keras_stitch import keras_private

_L = keras.layers


def _ranks(*kinds: str) -> dict[type[keras.Layer], int]:
    """Classes, such as ``Conv2D`` of ``"Conv{}D"``, and how many axes beside batch and channels they work on."""
    named = [(kind.format(rank), rank) for kind in kinds for rank in (1, 2, 3)]
    return {getattr(_L, name): rank for name, rank in named if hasattr(_L, name)}


_TRANSPOSED = _ranks("Conv{}DTranspose")
_CONVOLUTIONS = {**_TRANSPOSED, **_ranks("Conv{}D", "DepthwiseConv{}D", "SeparableConv{}D", "ConvLSTM{}D")}
_GLOBAL = _ranks("GlobalMaxPooling{}D", "GlobalAveragePooling{}D")
_SPATIAL = {
    **_CONVOLUTIONS,
    **_GLOBAL,
    **_ranks("MaxPooling{}D", "AveragePooling{}D", "AdaptiveMaxPooling{}D", "AdaptiveAveragePooling{}D"),
    **_ranks("UpSampling{}D", "ZeroPadding{}D", "Cropping{}D", "SpatialDropout{}D"),
}
_WRAPPERS = (_L.TimeDistributed, _L.Bidirectional, _L.SpectralNormalization)

# Each value by itself, or each with the one at the same place.
_ELEMENTWISE = (
    *(_L.Identity, _L.ActivityRegularization, _L.Dropout, _L.GaussianDropout, _L.GaussianNoise, _L.AlphaDropout),
    *(_L.ReLU, _L.LeakyReLU, _L.ELU),
)
_MERGES = (_L.Add, _L.Subtract, _L.Multiply, _L.Average, _L.Maximum, _L.Minimum)
_OF_ELEMENTS = (keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)
_OVER_AN_AXIS = ("softmax", "log_softmax", "sparsemax", "glu")


def is_convolution(layer: keras.Layer) -> bool:
    """Whether a layer convolves tensors that have their channels first, those of the user's classes included."""
    return isinstance(layer, tuple(_CONVOLUTIONS)) and getattr(layer, "data_format", None) == "channels_first"


def cannot_be_computed(layer: keras.Layer) -> bool:
    """Whether it is a convolution that this machine does not compute, whatever the order of the axes."""
    if type(layer) not in _TRANSPOSED or max(layer.dilation_rate) == 1:
        return False
    return not _dilates_transposed(_TRANSPOSED[type(layer)])


@functools.cache
def _dilates_transposed(rank: int) -> bool:
    """Whether transposed convolutions may be dilated: on CPUs, TensorFlow needs oneDNN for that."""
    image, kernel = keras.ops.ones((1, *[3] * rank, 1)), keras.ops.ones((*[2] * rank, 1, 1))
    try:
        keras.ops.conv_transpose(image, kernel, strides=1, data_format="channels_last", dilation_rate=2)
    except Exception:  # of the backend's own class
        return False
    return True


def innermost(layer: keras.Layer) -> tuple[keras.Layer, int]:
    """The layer that Keras' wrappers hold, and how many of them do so step by step."""
    steps = 0
    while type(layer) in _WRAPPERS:
        steps += type(layer) is _L.TimeDistributed
        layer = layer.forward_layer if type(layer) is _L.Bidirectional else layer.layer
    return layer, steps


def is_channels_first(layer: keras.Layer) -> bool:
    """Whether it is a layer of Keras, wrapped or not, that can be told to take its channels last instead."""
    inner, _ = innermost(layer)
    known = type(inner) in _SPATIAL or type(inner) is _L.Flatten
    return known and getattr(inner, "data_format", None) == "channels_first"


def channel_axis(layer: keras.Layer, rank: int) -> int:
    """Where a layer that is channels first has the channels in what it takes or makes; 0 where there are none."""
    inner, steps = innermost(layer)
    axis = 1 + steps if type(inner) is _L.Flatten else rank - 1 - _SPATIAL[type(inner)]
    return max(axis, 0)


def drops_axes(layer: keras.Layer) -> bool:
    """Whether only channels are left of what a layer takes."""
    inner, _ = innermost(layer)
    return type(inner) is _L.Flatten or (type(inner) in _GLOBAL and not inner.keepdims)


def heeds_masks(layer: keras.Layer) -> bool:
    """Whether a layer that is channels first has a use for a mask that is not one of steps."""
    inner, steps = innermost(layer)
    return not steps and type(inner) not in _CONVOLUTIONS


def is_elementwise(layer: keras.Layer) -> bool:
    """Whether a layer makes the same of tensors whose axes are in another order."""
    if not isinstance(layer, keras.Layer) or not penalises_elements(layer):
        return False
    if type(layer) is _L.TimeDistributed:
        return is_elementwise(layer.layer)
    if type(layer) is _L.Activation:
        return is_elementwise_function(layer.activation)
    if type(layer) is _L.Rescaling:
        return all(isinstance(number, int | float) for number in (layer.scale, layer.offset))
    return type(layer) in (*_ELEMENTWISE, *_MERGES) and getattr(layer, "noise_shape", None) is None


def is_elementwise_function(activation: Any) -> bool:
    """Whether an activation is one of Keras that looks at each value by itself."""
    if type(activation) is keras.Sequential:
        return all(map(is_elementwise, activation.layers))
    if isinstance(activation, keras.Layer):
        return is_elementwise(activation)
    name = getattr(activation, "__name__", "")
    return name not in _OVER_AN_AXIS and getattr(keras.activations, name, None) is activation


def has_one_axis(layer: keras.Layer) -> bool:
    """Whether a layer works along one axis that it names, and has no weights with several."""
    return type(layer) in (_L.BatchNormalization, _L.Concatenate) and penalises_elements(layer)


def penalises_elements(layer: keras.Layer) -> bool:
    """Whether penalties on what a layer makes, if there are any, are sums over its elements, whatever their order."""
    penalties = [getattr(held, "activity_regularizer", None) for held in keras_private.layers_within(layer)]
    return all(penalty is None or type(penalty) in _OF_ELEMENTS for penalty in penalties)


def is_graph(layer: keras.Layer) -> bool:
    """Whether it is a model of Keras' own kind, which is all said by its graph."""
    is_keras = isinstance(layer, keras.Model) and type(layer).__module__.startswith("keras.")
    return is_keras and bool(keras_private.calls(layer))


def is_steps_of_a_graph(layer: keras.Layer) -> bool:
    """Whether a model of that kind is called step by step."""
    return type(layer) is _L.TimeDistributed and is_graph(layer.layer)


def activations(layer: keras.Layer) -> list[Any]:
    """The activations of a layer."""
    return [getattr(layer, key) for key in ("activation", "recurrent_activation") if getattr(layer, key, None)]
