"""Models of Keras 2 with functions of TensorFlow between their layers: ``python operator_models.py FOLDER [PATTERN]``.

Writes ``NAME.h5``, ``NAME.keras`` where Keras 2 can, and ``NAME.npz`` with ``input0``, ... and ``output0``, ..., for
every model in ``MODELS``; ``index.json`` says which files there are, and why others are not. With
``--application NAME`` in place of the pattern, an application of Keras is written, with random weights.
"""

from __future__ import annotations

import json
import os
import re
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras import layers

F = tf.float32
SIX = [0.5, -1.0, 2.0, 0.25, 3.0, -0.5]


def one(function: Callable, shape: tuple[int, ...] = (4, 6)) -> Callable:
    """A model that calls a function on what a layer gives out."""

    def make() -> tf_keras.Model:
        x = tf_keras.Input(shape, name="x")
        found = function(layers.Dense(shape[-1], name="dense")(x))
        return tf_keras.Model(x, found)

    return make


def two(function: Callable) -> Callable:
    """The same on two tensors."""

    def make() -> tf_keras.Model:
        x, y = tf_keras.Input((4, 6), name="x"), tf_keras.Input((4, 6), name="y")
        return tf_keras.Model([x, y], function(layers.Dense(6)(x), layers.Dense(6)(y)))

    return make


positive = lambda x: tf.abs(x) + 0.1  # noqa: E731

MODELS: dict[str, Callable] = {
    # Arithmetic, with a tensor or a constant on either side.
    **{f"two.{f.__name__}": two(f) for f in (tf.add, tf.subtract, tf.multiply, tf.maximum, tf.minimum)},
    "two.operators": two(lambda x, y: (x + y) * (x - y) / (tf.abs(y) + 1.0)),
    "two.squared_difference": two(tf.math.squared_difference),
    # No divisor is close to zero, where processors that round differently would differ by more than is allowed.
    "two.divide": two(lambda x, y: tf.divide(x, positive(y))),
    "two.divide_no_nan": two(lambda x, y: tf.math.divide_no_nan(x, tf.round(y))),
    "two.atan2": two(tf.atan2),
    "two.pow": two(lambda x, y: tf.pow(positive(x), y)),
    "left": one(lambda x: 2.0 - 3.0 * (1.0 + x)),
    "right": one(lambda x: (x - 2.0) * 0.5 + 1.0),
    "over": one(lambda x: 1.0 / positive(x) + x / 3.0),
    "integers": one(lambda x: 2 * x + 1),
    "power": one(lambda x: x**2 + positive(x) ** 0.5),
    "exponent": one(lambda x: 2.0**x),
    "floor": one(lambda x: x // 0.5 + x % 0.25),
    "negative": one(lambda x: -x),
    "absolute": one(lambda x: abs(x)),
    "vector": one(lambda x: tf.add(x, SIX)),
    "vector_left": one(lambda x: tf.subtract(SIX, x)),
    "matrix": one(lambda x: x * [[1.0], [2.0], [0.5], [-1.0]]),
    "array": one(lambda x: x * np.asarray(SIX, "float32")),
    # Slices.
    **{
        f"slice.{name}": one(function)
        for name, function in {
            "range": lambda x: x[:, 1:3],
            "single": lambda x: x[:, 2],
            "last": lambda x: x[:, -1],
            "step": lambda x: x[:, ::2, ::-1],
            "ellipsis": lambda x: x[..., 1:],
            "ellipsis_single": lambda x: x[..., 0],
            "middle": lambda x: x[:, ..., 1:5:2],
            "new_axis": lambda x: x[:, tf.newaxis],
            "new_axis_last": lambda x: x[..., tf.newaxis],
            "new_axis_between": lambda x: x[:, :, None, 2:4],
            "one_by_one": lambda x: x[:, 1][:, 2:4],
            "negative": lambda x: x[:, -3:-1, :-2],
            "all": lambda x: x[:],
        }.items()
    },
    # Shapes.
    "concat": two(lambda x, y: tf.concat([x, y], axis=-1)),
    "concat_axis": two(lambda x, y: tf.concat([x, y, x], 1)),
    "stack": two(lambda x, y: tf.stack([x, y], axis=2)),
    "split": one(lambda x: tf.split(x, 3, axis=2)),
    "split_sizes": one(lambda x: tf.split(x, [1, 3, 2], axis=-1)),
    "split_rest": one(lambda x: tf.split(x, [1, -1], axis=1)),
    "unstack": one(lambda x: tf.unstack(x, axis=1)),
    "reshape": one(lambda x: tf.reshape(x, [-1, 24])),
    "reshape_rows": one(lambda x: tf.reshape(x, [tf.shape(x)[0], 6, 4])),
    "reshape_flat": one(lambda x: tf.reshape(x, [tf.shape(x)[0], -1])),
    "expand_dims": one(lambda x: tf.expand_dims(x, 1)),
    "expand_dims_last": one(lambda x: tf.expand_dims(x, -1)),
    "squeeze": one(lambda x: tf.squeeze(tf.expand_dims(x, 1), 1)),
    "squeeze_several": one(lambda x: tf.squeeze(x[:, None, :, None], [1, 3])),
    "transpose": one(lambda x: tf.transpose(x, [0, 2, 1])),
    "tile": one(lambda x: tf.tile(x, [1, 2, 3])),
    "repeat": one(lambda x: tf.repeat(x, 2, axis=1)),
    "reverse": one(lambda x: tf.reverse(x, [1])),
    "pad": one(lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1]])),
    "pad_value": one(lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 0]], constant_values=2.0)),
    "pad_reflect": one(lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 0]], "REFLECT")),
    "pad_symmetric": one(lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 0]], "SYMMETRIC")),
    # Reductions.
    **{
        f"reduce.{name}{suffix}": one(
            lambda x, name=name, axis=axis, keep=keep: getattr(tf, f"reduce_{name}")(x, axis, keep)
        )
        for name in ("mean", "sum", "max", "min", "prod")
        for suffix, axis, keep in (("", 1, False), ("_two", [1, 2], False), ("_keep", -1, True))
    },
    **{
        f"reduce.{name}": one(lambda x, name=name: getattr(tf.math, f"reduce_{name}")(x, axis=-1))
        for name in ("logsumexp", "std", "variance")
    },
    "reduce.any": one(lambda x: tf.cast(tf.reduce_any(x > 0.5, axis=1), F)),
    "reduce.all": one(lambda x: tf.cast(tf.reduce_all(x > -0.5, axis=1), F)),
    "argmax": one(lambda x: tf.argmax(x, axis=-1)),
    "argmin": one(lambda x: tf.argmin(x, axis=1, output_type=tf.int32)),
    "cumsum": one(lambda x: tf.cumsum(x, axis=1)),
    "cumsum_reverse": one(lambda x: tf.cumsum(x, axis=1, exclusive=True, reverse=True)),
    "norm": one(lambda x: tf.norm(x, axis=-1)),
    # Products.
    "matmul": two(lambda x, y: tf.matmul(x, y, transpose_b=True)),
    "matmul_left": two(lambda x, y: tf.matmul(x, y, transpose_a=True)),
    "matmul_constant": one(
        lambda x: tf.matmul(x, [[1.0, 2.0], [0.5, 0.0], [1.0, 1.0], [0.0, 1.0], [2.0, 0.0], [1.0, 3.0]])
    ),
    "tensordot": one(lambda x: tf.tensordot(x, [[1.0], [2.0], [3.0], [0.0], [1.0], [2.0]], axes=1)),
    # Comparison and choice.
    **{
        f"compare.{f.__name__}": two(lambda x, y, f=f: tf.cast(f(x, y), F))
        for f in (tf.greater, tf.greater_equal, tf.less, tf.less_equal, tf.equal, tf.not_equal)
    },
    "compare.constant": one(lambda x: tf.cast(x > 0.0, F) + tf.cast(x <= 0.2, F)),
    "logical": two(lambda x, y: tf.cast(tf.logical_and(x > 0, tf.logical_not(y > 0)), F)),
    "logical_or": two(lambda x, y: tf.cast(tf.logical_or(x > 0, y > 0), F)),
    "where": two(lambda x, y: tf.where(x > 0.0, x, y)),
    "where_constant": one(lambda x: tf.where(x > 0.0, x, 0.0)),
    "where_zeros": one(lambda x: tf.where(x > 0.0, tf.zeros_like(x), tf.ones_like(x) * x)),
    "clip": one(lambda x: tf.clip_by_value(x, -0.5, 0.5)),
    "cast": one(lambda x: tf.cast(x * 3.0, tf.int32)),
    "one_hot": one(lambda x: tf.one_hot(tf.argmax(x, axis=-1), 6)),
    "gather": one(lambda x: tf.gather(x, [2, 0, 1], axis=1)),
    "gather_negative": one(lambda x: tf.gather(x, [5, 0], axis=-1)),
    "identity": one(lambda x: tf.identity(x) + tf.stop_gradient(x)),
    # Elementwise.
    **{
        f"math.{name}": one(lambda x, name=name: getattr(tf.math, name)(x))
        for name in (
            *("sin", "cos", "tan", "sinh", "cosh", "tanh", "asinh", "atan", "exp", "expm1", "square", "sign", "erf"),
            *("sigmoid", "softplus", "softsign", "log_sigmoid", "floor", "ceil", "round"),
        )
    },
    **{
        f"positive.{name}": one(lambda x, name=name: getattr(tf.math, name)(positive(x)))
        for name in ("log", "log1p", "sqrt", "rsqrt", "reciprocal")
    },
    "math.inverse": one(
        lambda x: tf.asin(tf.tanh(x)) + tf.acos(tf.sin(x)) + tf.atanh(tf.tanh(x) / 2.0) + tf.acosh(positive(x) + 1.0)
    ),
    "math.finite": one(
        lambda x: tf.cast(tf.math.is_finite(x), F) + tf.cast(tf.math.is_nan(x), F) + tf.cast(tf.math.is_inf(x), F)
    ),
    **{
        f"nn.{name}": one(lambda x, name=name: getattr(tf.nn, name)(x))
        for name in ("relu", "relu6", "elu", "selu", "gelu", "silu", "softmax", "log_softmax", "leaky_relu", "tanh")
    },
    "nn.sigmoid": one(tf.nn.sigmoid),
    "nn.softmax_axis": one(lambda x: tf.nn.softmax(x, axis=1)),
    "nn.gelu_approximate": one(lambda x: tf.nn.gelu(x, approximate=True)),
    "nn.silu_beta": one(lambda x: tf.nn.silu(x, 1.5)),
    "nn.leaky_relu_alpha": one(lambda x: tf.nn.leaky_relu(x, alpha=0.3)),
    "nn.l2_normalize": one(lambda x: tf.nn.l2_normalize(x, axis=-1)),
    "math.l2_normalize": one(lambda x: tf.math.l2_normalize(x, axis=[1, 2])),
    "nn.bias_add": one(lambda x: tf.nn.bias_add(x, SIX)),
    # Images.
    "image.resize": one(lambda x: tf.image.resize(x, [7, 5]), (4, 6, 3)),
    "image.resize_nearest": one(lambda x: tf.image.resize(x, (8, 12), method="nearest"), (4, 6, 3)),
    "image.resize_bicubic": one(lambda x: tf.image.resize(x, (8, 12), method="bicubic"), (4, 6, 3)),
    "image.resize_antialias": one(
        lambda x: tf.image.resize(x, (2, 3), preserve_aspect_ratio=False, antialias=True), (4, 6, 3)
    ),
    "nn.max_pool2d": one(lambda x: tf.nn.max_pool2d(x, 2, 2, "VALID"), (4, 6, 3)),
    "nn.avg_pool2d": one(lambda x: tf.nn.avg_pool2d(x, [1, 3, 3, 1], [1, 1, 1, 1], "SAME"), (4, 6, 3)),
}


def nested() -> tf_keras.Model:
    """Functions within a model, in front of it and behind it; it is called twice."""
    x = tf_keras.Input((4, 6), name="x")
    y = tf_keras.Input((4, 6))
    inner = tf_keras.Model(y, tf.nn.relu(layers.Dense(6)(y * 2.0)) + y, name="inner")
    return tf_keras.Model(x, tf.concat([inner(inner(x - 1.0)), x], -1))


def distributed() -> tf_keras.Model:
    """Functions in a model that a wrapper holds."""
    y = tf_keras.Input((6,))
    inner = tf_keras.Model(y, tf.nn.softmax(layers.Dense(3)(y) / 0.5))
    x = tf_keras.Input((4, 6), name="x")
    return tf_keras.Model(x, layers.TimeDistributed(inner)(x))


def sequential() -> tf_keras.Model:
    """A model with functions in a Sequential."""
    y = tf_keras.Input((4, 6))
    inner = tf_keras.Model(y, tf.reduce_mean(layers.Dense(6)(y), axis=1))
    return tf_keras.Sequential([tf_keras.Input((4, 6), name="x"), layers.Dense(6), inner, layers.Dense(2)])


def masked(function: Callable) -> Callable:
    """A function between an embedding that masks and what heeds the mask."""

    def make() -> tf_keras.Model:
        x = tf_keras.Input((5,), name="x")
        inside = layers.Embedding(7, 4, mask_zero=True)(x)
        return tf_keras.Model(x, [layers.LSTM(3)(inside), layers.LSTM(3)(function(inside))])

    return make


def shared() -> tf_keras.Model:
    """Layers that are called on what functions give out, and functions on what layers share."""
    x = tf_keras.Input((4, 6), name="x")
    dense, norm = layers.Dense(6), layers.BatchNormalization()
    a, b = dense(x * 2.0), dense(tf.nn.relu(x))
    return tf_keras.Model(x, {"sum": norm(a + b), "product": norm(a) * b})


def residual() -> tf_keras.Model:
    """Convolutions and functions that are called like layers."""
    x = tf_keras.Input((8, 8, 3), name="x")
    y = layers.Conv2D(4, 3, padding="same", name="multiply")(x * 2.0 / 255.0)
    scale = tf.reduce_mean(y, axis=[1, 2], keepdims=True)
    y = y * tf.nn.relu6(layers.Conv2D(4, 1, name="add")(scale) + 3.0) * (1.0 / 6.0)
    return tf_keras.Model(x, layers.Add(name="sum")([y, layers.Multiply(name="product")([y, y])]))


STEPS: tuple[Callable, ...] = (
    lambda x, y: x + y,
    lambda x, y: x * 0.5 - y,
    lambda x, y: tf.maximum(x, 1.0 - y),
    lambda x, y: tf.nn.relu(x) / (1.0 + tf.abs(y)),
    lambda x, y: tf.concat([x[:, :2], y[:, 2:]], axis=1),
    lambda x, y: tf.where(x > y, tf.tanh(x), y),
    lambda x, y: tf.reverse(x, [2]) * tf.reduce_mean(y, axis=-1, keepdims=True),
    lambda x, y: tf.transpose(tf.reshape(tf.transpose(x, [0, 2, 1]), [-1, 6, 4]), [0, 2, 1]) + y,
    lambda x, y: tf.matmul(tf.nn.softmax(tf.matmul(x, y, transpose_b=True)), y),
    lambda x, y: tf.stack(tf.unstack(x, axis=1)[::-1], axis=1) - tf.expand_dims(y[:, 0], 1),
    lambda x, y: tf.clip_by_value(layers.Dense(6)(x), -1.0, 1.0) + tf.squeeze(y[:, None], 1),
    lambda x, y: tf.nn.l2_normalize(layers.LayerNormalization()(x), axis=-1) * y**2,
)


def composed(seed: int) -> Callable:
    """Ten steps, each on two of the tensors so far."""

    def make() -> tf_keras.Model:
        random = np.random.default_rng(seed)
        x = tf_keras.Input((4, 6), name="x")
        found = [x, layers.Dense(6)(x)]
        for step in random.choice(len(STEPS), 10):
            first, second = random.integers(0, len(found), 2)
            found.append(STEPS[step](found[first], found[second]))
        return tf_keras.Model(x, found[-3:])

    return make


MODELS |= {
    "graph.nested": nested,
    "graph.distributed": distributed,
    "graph.sequential": sequential,
    "graph.masked": masked(lambda x: x * 2.0),
    "graph.masked_slice": masked(lambda x: x[:, 1:]),
    "graph.masked_relu": masked(tf.nn.relu),
    "graph.shared": shared,
    "graph.residual": residual,
    "graph.named": one(lambda x: tf.multiply(x, 2.0, name="twice")),
    "graph.input_alone": lambda: tf_keras.Model(x := tf_keras.Input((4, 6), name="x"), x * 2.0),
    "graph.several": one(lambda x: [x + 1.0, *tf.split(x, 2, axis=1), tf.split(x, 2, axis=1)[1] * 2.0]),
    **{f"composed.{seed}": composed(seed) for seed in range(40)},
}


def make(folder: Path, chosen: str = "") -> dict[str, dict[str, str | None]]:
    """Write the files of the chosen models; gives for each model and ending why there is no file, or ``None``."""
    index: dict[str, dict[str, str | None]] = {}
    for name, build in MODELS.items():
        if not re.match(chosen, name):
            continue
        tf_keras.backend.clear_session()
        tf_keras.utils.set_random_seed(zlib.crc32(name.encode()))
        model = build()
        random = np.random.default_rng(zlib.crc32(name.encode()))
        inputs = [random.normal(size=(3, *tensor.shape[1:])).astype("float32") for tensor in model.inputs]
        if name.startswith("graph.masked"):
            inputs = [random.integers(0, 3, (3, 5)).astype("float32")]
        outputs = tf.nest.flatten(model(inputs if len(inputs) > 1 else inputs[0], training=False))
        arrays = {f"input{number}": array for number, array in enumerate(inputs)}
        np.savez(folder / f"{name}.npz", **arrays, **{f"output{n}": np.asarray(o) for n, o in enumerate(outputs)})
        index[name] = {}
        for ending in ("h5", "keras"):
            try:
                model.save(folder / f"{name}.{ending}")
                index[name][ending] = None
            except Exception as error:
                (folder / f"{name}.{ending}").unlink(missing_ok=True)
                index[name][ending] = f"{type(error).__name__}: {error}"[:200]
    return index


def refused() -> tf_keras.Model:
    """Functions that have no counterpart in Keras 3."""
    x = tf_keras.Input((4, 6), name="x")
    outputs = [
        tf.einsum("abc,abd->acd", x, x),
        tf.cast(x == 0.0, F),
        tf.reshape(x, [tf.shape(x)[0] * 2, -1]),
        tf.linalg.inv(x[:, :, :4]),
        tf.image.resize(x[..., None], [3, 3], method="area"),
        tf.tile(x, [tf.shape(x)[0], 1, 1]),
        *tf.split(x, [2, -1, 1], axis=2),
    ]
    return tf_keras.Model(x, outputs)


def make_application(folder: Path, name: str) -> None:
    """Write an application of Keras with random weights."""
    size = 224 if name == "NASNetMobile" else 96
    options = {} if name == "NASNetMobile" else {"classifier_activation": None}
    tf_keras.utils.set_random_seed(0)
    model = getattr(tf_keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=10, **options)
    random = np.random.default_rng(0)
    inputs = random.uniform(0, 255, (2, size, size, 3)).astype("float32")
    np.savez(folder / f"{name}.npz", input0=inputs, output0=np.asarray(model(inputs, training=False)))
    for ending in ("h5", "keras"):
        model.save(folder / f"{name}.{ending}")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    if sys.argv[2:3] == ["--application"]:
        make_application(place, sys.argv[3])
        sys.exit()
    refused().save(place / "refused.h5")
    (place / "index.json").write_text(json.dumps(make(place, *sys.argv[2:]), indent=1))
