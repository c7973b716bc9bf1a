"""Tiny saved models of every kind the toolkit meets, with names that collide on purpose.

Each kind comes as a file in either format or in memory, with weights that depend on a seed only.
"""

from __future__ import annotations

import functools
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_stitch.keras_private import quiet_keras

Shape = tuple[int | None, ...]
STEPS = 5
TOKENS = 7


@dataclass(frozen=True)
class Kind:
    """A kind of toy model, as seen from outside.

    Attributes:
        make: Makes one, with random weights.
        inputs: ``(name, shape, dtype)`` of each input; a name of ``None`` is one Keras made up.
        outputs: ``(name, shape)`` of each output.
        inner: Inner layers that ``outputs=`` can name, with their shapes.
        formats: Of files that can hold it.
        masks: Whether its first output carries a Keras mask.
    """

    make: Callable[[], keras.Model]
    inputs: tuple[tuple[str | None, Shape, str], ...]
    outputs: tuple[tuple[str, Shape], ...]
    inner: tuple[tuple[str, Shape], ...] = ()
    formats: tuple[str, ...] = ("keras", "h5")
    masks: bool = False


def dense(units: int, name: str = "dense") -> keras.layers.Dense:
    return keras.layers.Dense(units, activation="tanh", name=name)


def _sequential() -> keras.Model:
    return keras.Sequential([keras.Input((4,)), dense(3)], name="sequential")


def _functional() -> keras.Model:
    x = keras.Input((4,), name="x")
    hidden = keras.layers.BatchNormalization(name="batch_normalization")(dense(5)(x))
    return keras.Model(x, dense(3, "dense_1")(hidden), name="functional")


def _partly_frozen() -> keras.Model:
    model = _functional()
    model.get_layer("dense").trainable = False
    return model


def _all_frozen() -> keras.Model:
    model = _functional()
    model.trainable = False
    return model


def _two_inputs() -> keras.Model:
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    return keras.Model([a, b], dense(4)(keras.layers.Concatenate(name="concatenate")([a, b])), name="model_1")


def _two_outputs() -> keras.Model:
    x = keras.Input((4,), name="x")
    return keras.Model(x, [dense(3)(x), dense(2, "dense_1")(x)], name="model_1")


def _dict_outputs() -> keras.Model:
    x = keras.Input((4,), name="x")
    return keras.Model(x, {"scale": dense(4, "dense_1")(x), "mean": dense(2)(x)}, name="functional")


def _dict_inputs() -> keras.Model:
    inputs = {"right": keras.Input((4,), name="right"), "left": keras.Input((3,), name="left")}
    both = keras.layers.Concatenate(name="concatenate")([inputs["left"], dense(2)(inputs["right"])])
    return keras.Model(inputs, dense(2, "dense_1")(both), name="model_1")


def _nested() -> keras.Model:
    """Two nested models whose weights have one path, ``dense/kernel``."""
    encoders = [keras.Sequential([keras.Input((4,)), dense(3)], name=name) for name in ("encoder", "encoder_1")]
    x = keras.Input((4,), name="x")
    return keras.Model(x, keras.layers.Add(name="add")([encoder(x) for encoder in encoders]), name="functional")


def _nested_deep() -> keras.Model:
    inner = keras.Sequential([keras.Input((4,)), dense(4)], name="functional")
    inner.trainable = False
    middle_in = keras.Input((4,))
    middle = keras.Model(middle_in, dense(4)(inner(middle_in)), name="functional")
    x = keras.Input((4,), name="x")
    return keras.Model(x, dense(2)(middle(middle(x))), name="functional")


def _tokens(mask: bool) -> keras.Model:
    tokens = keras.Input((STEPS,), dtype="int32", name="tokens")
    return keras.Model(tokens, keras.layers.Embedding(TOKENS, 3, mask_zero=mask, name="embedding")(tokens), name="m")


def _variable() -> keras.Model:
    sequence = keras.Input((None, 3), name="sequence")
    conv = keras.layers.Conv1D(3, 2, padding="same", activation="tanh", name="conv1d")
    return keras.Model(sequence, conv(sequence), name="model_1")


def _recurrent() -> keras.Model:
    return keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(4, name="lstm")], name="sequential")


def _two_way() -> keras.Model:
    sequence = keras.Input((STEPS, 3), name="sequence")
    both = keras.layers.Bidirectional(keras.layers.GRU(2, return_sequences=True), name="bidirectional")(sequence)
    return keras.Model(sequence, keras.layers.TimeDistributed(dense(3), name="td")(both), name="functional")


def _plane() -> keras.Model:
    plane = keras.Input((3, 2, 2), name="plane")
    return keras.Model(plane, keras.layers.Conv2D(3, 1, activation="tanh", name="conv2d")(plane), name="functional")


def _pass_through() -> keras.Model:
    x = keras.Input((3,), name="x")
    return keras.Model(x, [x, dense(2)(x)], name="model_1")


def _operations() -> keras.Model:
    x = keras.Input((4,), name="x")
    inner = keras.ops.sigmoid(dense(3)(x)[:, :2])
    return keras.Model(x, keras.layers.Activation("linear", name="activation")(inner), name="functional")


_VECTOR = (("x", (4,), "float32"),)
_INTEGERS = (("tokens", (STEPS,), "int32"),)
_SEQUENCE = (("sequence", (None, 3), "float32"),)

KINDS = {
    "sequential": Kind(_sequential, ((None, (4,), "float32"),), (("dense", (3,)),), (("dense", (3,)),)),
    "functional": Kind(_functional, _VECTOR, (("dense_1", (3,)),), (("dense", (5,)), ("batch_normalization", (5,)))),
    "partly_frozen": Kind(_partly_frozen, _VECTOR, (("dense_1", (3,)),), (("batch_normalization", (5,)),)),
    "all_frozen": Kind(_all_frozen, _VECTOR, (("dense_1", (3,)),)),
    "two_inputs": Kind(_two_inputs, (("a", (3,), "float32"), ("b", (2,), "float32")), (("dense", (4,)),)),
    "two_outputs": Kind(_two_outputs, _VECTOR, (("dense", (3,)), ("dense_1", (2,)))),
    "dict_outputs": Kind(_dict_outputs, _VECTOR, (("mean", (2,)), ("scale", (4,)))),
    "dict_inputs": Kind(_dict_inputs, (("left", (3,), "float32"), ("right", (4,), "float32")), (("dense_1", (2,)),)),
    "nested": Kind(_nested, _VECTOR, (("add", (3,)),), (("encoder", (3,)),)),
    "nested_deep": Kind(_nested_deep, _VECTOR, (("dense", (2,)),)),
    "tokens": Kind(lambda: _tokens(False), _INTEGERS, (("embedding", (STEPS, 3)),)),
    "masked_tokens": Kind(lambda: _tokens(True), _INTEGERS, (("embedding", (STEPS, 3)),), masks=True),
    "variable": Kind(_variable, _SEQUENCE, (("conv1d", (None, 3)),)),
    "recurrent": Kind(_recurrent, ((None, (None, 3), "float32"),), (("lstm", (4,)),)),
    "two_way": Kind(_two_way, (("sequence", (STEPS, 3), "float32"),), (("td", (STEPS, 3)),)),
    "plane": Kind(_plane, (("plane", (3, 2, 2), "float32"),), (("conv2d", (3, 2, 3)),)),
    "pass_through": Kind(_pass_through, (("x", (3,), "float32"),), (("x", (3,)), ("dense", (2,)))),
    "operations": Kind(_operations, _VECTOR, (("activation", (2,)),), formats=("keras",)),
}


def set_random_weights(layer: keras.Layer, seed: int) -> None:
    """Weights around zero, and variances around one."""
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        positive = "variance" in weight.path or "gamma" in weight.path
        values = rng.uniform(0.5, 1.5, weight.shape) if positive else rng.normal(0, 0.6, weight.shape)
        weight.assign(values.astype(weight.dtype))


def in_memory(kind: str, seed: int) -> keras.Model:
    """A new model of a kind."""
    model = KINDS[kind].make()
    set_random_weights(model, seed)
    return model


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="toy-models-")


@functools.cache
def saved(kind: str, seed: int, format: str) -> Path:
    """The file of a model of a kind, written once."""
    path = Path(_folder().name) / f"{kind}{seed}.{format}"
    return save(in_memory(kind, seed), path)


def save(model: keras.Model, path: Path) -> Path:
    """Save without Keras' remark on ``.h5``."""
    with quiet_keras(), warnings.catch_warnings():
        model.save(path)
    return path


@functools.cache
def alone(kind: str, seed: int, format: str) -> keras.Model:
    """The model of a file, loaded by Keras, for the reference; nobody changes it."""
    return keras.saving.load_model(saved(kind, seed, format), compile=False)


def leaves(model: keras.Model, prefix: str = "") -> dict[str, keras.Layer]:
    """Paths of the layers in a model and in those nested in it; inputs left out."""
    found: dict[str, keras.Layer] = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found |= leaves(layer, f"{prefix}{layer.name}/")
        elif not isinstance(layer, keras.layers.InputLayer):
            found[prefix + layer.name] = layer
    return found


@functools.cache
def leaf_paths(kind: str) -> tuple[str, ...]:
    return tuple(leaves(KINDS[kind].make()))
