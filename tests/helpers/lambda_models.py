"""Models with ``Lambda`` layers as people have them, made by ``tf_keras``: run in a process of its own.

``python lambda_models.py FOLDER`` writes each as ``.h5`` and ``.keras``, ChromBPNet as a SavedModel, too, and what goes
in and comes out beside it, as ``NAME.npz`` with ``x0``, ``y0``, ``y1`` and so on. All weights are random. Needs
``TF_USE_LEGACY_KERAS=1``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

L, K = keras.layers, keras.backend
Made = tuple[str, keras.Model, np.ndarray]


def bpnet(name: str, filters: int, dilations: int, length: int, out: int, prefix: str) -> keras.Model:
    """The network of BPNet: a wide convolution, dilated ones that are added up, a profile and its counts."""
    given = keras.Input((length, 4), name="sequence")
    x = L.Conv1D(filters, 21, padding="valid", activation="relu", name=f"{prefix}_1st_conv")(given)
    for number in range(1, dilations + 1):
        conv = L.Conv1D(filters, 3, activation="relu", dilation_rate=2**number, name=f"{prefix}_{number}conv")(x)
        x = L.Cropping1D((x.shape[1] - conv.shape[1]) // 2, name=f"{prefix}_{number}crop")(x)
        x = L.add([conv, x], name=f"{prefix}_{number}add")
    profile = L.Conv1D(1, 75, padding="valid", name=f"{prefix}_prof_out_precrop")(x)
    crop = int(profile.shape[1] / 2 - out / 2)
    profile = L.Cropping1D(crop, name=f"{prefix}_logits_profile_predictions_preflatten")(profile)
    profile = L.Flatten(name=f"{prefix}_logits_profile_predictions")(profile)
    counts = L.Dense(1, name=f"{prefix}_logcount_predictions")(L.GlobalAvgPool1D(name=f"{prefix}_gap")(x))
    return keras.Model(given, [profile, counts], name=name)


def multinomial_nll(true_counts: Any, logits: Any) -> Any:
    """The loss of ChromBPNet, which is no part of what it predicts."""
    return -tf.reduce_sum(true_counts * tf.nn.log_softmax(logits), axis=-1)


def chrombpnet(length: int = 400, out: int = 100) -> keras.Model:
    """ChromBPNet: a frozen model of the enzyme's bias beside the main one, their counts joined by a Lambda.

    The wiring is that of https://github.com/kundajelab/chrombpnet, with fewer filters on a shorter window.
    """
    bias = bpnet("model_bias", 3, 2, length, out, "bpnet")
    bias.trainable = False
    main = bpnet("model_wo_bias", 5, 3, length, out, "wo_bias_bpnet")
    given = keras.Input((length, 4), name="sequence")
    bias_profile, bias_counts = bias(given)
    profile, counts = main(given)
    profile_out = L.Add(name="logits_profile_predictions")([profile, bias_profile])
    joined = L.Concatenate(axis=-1)([counts, bias_counts])
    counts_out = L.Lambda(lambda x: tf.math.reduce_logsumexp(x, axis=-1, keepdims=True), name="logcount_predictions")
    model = keras.Model(given, [profile_out, counts_out(joined)])
    losses = [multinomial_nll, "mse"]
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss=losses, loss_weights=[1.0, 10.0])
    return model


class Scale(L.Layer):
    """A layer of its author's, with a weight."""

    def build(self, input_shape: Any) -> None:
        self.factors = self.add_weight("factors", (input_shape[-1],))

    def call(self, inputs: Any) -> Any:
        return inputs * self.factors


class Trained(keras.Model):
    """A functional model that is trained in its author's way, with more in its config."""

    def train_step(self, data: Any) -> Any:
        return super().train_step(data)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gamma": 2.0}


def models(random: np.random.Generator) -> Iterator[Made]:
    """All of them, each with its name and what it is asked to predict."""
    rows, steps = random.normal(size=(5, 4)), random.normal(size=(5, 6, 4))
    words = random.integers(0, 5, (4, 7)).astype("int32")
    yield "chrombpnet", chrombpnet(), random.normal(size=(3, 400, 4)).astype("float32")
    twice = L.Lambda(lambda t: t * 2.0, name="twice")
    yield "sequential", keras.Sequential([keras.Input((4,)), L.Dense(3, name="d"), twice, L.Dense(2, name="e")]), rows
    first = L.Lambda(lambda t: K.expand_dims(t, -1), input_shape=(4,), name="first")
    yield "first", keras.Sequential([first, L.Conv1D(2, 2, name="c")]), rows
    squared = L.TimeDistributed(L.Lambda(lambda t: t**2, name="squared"), name="steps")
    x = keras.Input((6, 4))
    yield "steps", keras.Model(x, squared(L.Dense(3, name="d")(x))), steps
    x, inner = keras.Input((4,)), keras.Input((4,))
    plus = L.Lambda(lambda t: t + 1, name="plus")(L.Dense(3, name="g")(inner))
    within = keras.Model(inner, L.Dense(2, name="h")(plus), name="inner")
    yield "nested", keras.Model(x, L.Lambda(lambda t: t * 3, name="three")(within(L.Dense(4, name="f")(x)))), rows
    a, b = L.Dense(3, name="a")(x), L.Dense(3, name="b")(x)
    product = L.Lambda(lambda t: t[0] * t[1], output_shape=(3,), name="product")([a, b])
    yield "pair", keras.Model(x, L.Dense(2, name="o")(product)), rows
    minus = L.Lambda(lambda t: t - 1, name="minus")
    yield "shared", keras.Model(x, L.Concatenate(name="both")([minus(a), minus(b)])), rows
    yield "parts", keras.Model(x, L.Lambda(lambda t: tf.split(t, 3, axis=-1), name="split")(a)), rows
    ends = [L.Dense(2, name="o1")(Scale(name="scale")(a)), L.Dense(2, name="o2")(b)]
    yield "custom", keras.Model(x, ends), rows
    yield "subclass", Trained(x, L.Dense(2, name="o")(a)), rows
    x = keras.Input((7,), dtype="int32")
    embedded = L.Embedding(5, 3, mask_zero=True, name="embedding")(x)
    doubled = L.Lambda(lambda t: t * 2, name="doubled")(L.LSTM(2, return_sequences=True, name="lstm")(embedded))
    yield "mask", keras.Model(x, L.LSTM(2, name="last")(doubled)), words
    mean = L.Lambda(lambda t: K.mean(t, 1), name="mean")
    embedding = L.Embedding(5, 3, mask_zero=True, name="embedding")
    yield "mask_sequential", keras.Sequential([keras.Input((7,), dtype="int32"), embedding, mean, L.Dense(2)]), words
    inner = keras.Sequential([keras.Input((7, 3)), L.Lambda(lambda t: t * 2, name="d"), L.LSTM(2)], name="inner")
    yield "mask_nested", keras.Model(x, inner(embedded)), words


def listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def main(folder: Path) -> None:
    """Makes and writes all of them."""
    keras.utils.set_random_seed(5)
    for name, model, x in models(np.random.default_rng(5)):
        arrays = [np.random.default_rng(number).normal(0, 0.3, w.shape) for number, w in enumerate(model.get_weights())]
        model.set_weights(arrays)
        predicted = {f"y{number}": value for number, value in enumerate(listed(model.predict(x, verbose=0)))}
        if name == "chrombpnet":
            inner = listed(model.get_layer("model_wo_bias").predict(x, verbose=0))
            predicted |= {f"main{number}": value for number, value in enumerate(inner)}
            model.save(folder / f"{name}.saved_model", save_format="tf")
        np.savez(folder / f"{name}.npz", x0=x, **predicted)
        for ending in ("h5", "keras"):
            model.save(folder / f"{name}.{ending}", save_format=ending)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
