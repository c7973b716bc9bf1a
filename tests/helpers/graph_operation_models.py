"""Models with operations of TensorFlow's graphs between layers, as Keras 2.4 wrote them, made by ``tf_keras``.

``python graph_operation_models.py FOLDER`` writes each as ``.h5``, and what goes in and comes out as ``NAME.npz``. In
the graphs of TensorFlow 1, ``tf_keras`` still makes layers of operations as Keras 2.4 did everywhere. Needs
``TF_USE_LEGACY_KERAS=1``.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras

tf.compat.v1.disable_eager_execution()
layers = tf_keras.layers
UNARY = (
    *("abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "erf", "exp", "expm1", "floor"),
    *("log", "log1p", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "softplus", "sqrt", "square"),
    *("tan", "tanh", "negative"),
)
OPERATIONS: dict[str, Callable] = {
    **{f"math.{name}": (lambda x, y, name=name: getattr(tf.math, name)(x)) for name in UNARY},
    **{
        f"nn.{name}": (lambda x, y, name=name: getattr(tf.nn, name)(x))
        for name in ("elu", "relu", "relu6", "selu", "softmax", "softsign", "leaky_relu", "log_softmax")
    },
    **{
        f"reduce.{name}": (lambda x, y, name=name: getattr(tf, f"reduce_{name}")(x, axis=1, keepdims=name > "mean"))
        for name in ("max", "mean", "min", "prod", "sum")
    },
    "add": lambda x, y: x + y,
    "arithmetic": lambda x, y: (2.0 * x - 1.0) / (y + 3.0) ** 2.0,
    "atan2": tf.atan2,
    "left": lambda x, y: 1.0 - x / 2.0,
    "maximum": lambda x, y: tf.maximum(x, tf.minimum(y, 0.1)),
    "mod": lambda x, y: x % 0.3 + x // 0.3,
    # No divisor is close to zero, where processors that round differently would differ by more than is allowed.
    "no_nan": lambda x, y: tf.math.divide_no_nan(x, tf.round(y)),
    "math.reciprocal": lambda x, y: tf.math.reciprocal(tf.abs(x) + 0.1),
    "squared_difference": tf.math.squared_difference,
    "argmax": lambda x, y: tf.argmax(x, axis=-1),
    "argmin": lambda x, y: tf.argmin(x, axis=1, output_type="int32"),
    "cast": lambda x, y: tf.cast(x > 0.0, "float32") + tf.cast(tf.logical_and(x < y, y >= 0.0), "float32"),
    "reduce.all": lambda x, y: tf.reduce_all(x <= y, axis=-1),
    "reduce.any": lambda x, y: tf.reduce_any(tf.logical_not(x <= y), axis=-1),
    "clip": lambda x, y: tf.clip_by_value(x, -0.1, 0.2),
    "concat": lambda x, y: tf.concat([x, y, x], axis=-1),
    "expand_dims": lambda x, y: tf.expand_dims(x, 2),
    "gather": lambda x, y: tf.gather(x, [0, 2], axis=1),
    "identity": lambda x, y: tf.stop_gradient(tf.identity(x)),
    "bias": lambda x, y: tf.nn.bias_add(x, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
    "is_finite": lambda x, y: tf.math.is_finite(tf.math.log(x)),
    "is_inf": lambda x, y: tf.math.is_inf(x / tf.nn.relu(x)),
    "logical_or": lambda x, y: tf.logical_or(x < y, y < 0.0),
    "matmul.constant": lambda x, y: tf.matmul(tf.reshape(x, [-1, 24]), np.ones((24, 2), "float32") / 24),
    "is_nan": lambda x, y: tf.math.is_nan(tf.math.log(x)),
    "like": lambda x, y: tf.ones_like(x) + tf.zeros_like(y) + x,
    "matmul": lambda x, y: tf.matmul(x, y, transpose_b=True),
    "matmul.plain": lambda x, y: tf.matmul(tf.transpose(x, [0, 2, 1]), y),
    "pad": lambda x, y: tf.pad(x, [[0, 0], [1, 2], [0, 0]]),
    "pad.reflect": lambda x, y: tf.pad(x, [[0, 0], [1, 2], [0, 0]], mode="REFLECT"),
    "pad.value": lambda x, y: tf.pad(x, [[0, 0], [1, 2], [0, 1]], constant_values=3.0),
    "reshape": lambda x, y: tf.reshape(x, [-1, 24]),
    "resize": lambda x, y: tf.image.resize(tf.reshape(x, [-1, 4, 6, 1]), [8, 9]),
    "resize.nearest": lambda x, y: tf.image.resize(tf.expand_dims(x, -1), [8, 9], method="nearest"),
    "reverse": lambda x, y: tf.reverse(x, [1]),
    "pool.max": lambda x, y: tf.nn.max_pool2d(tf.expand_dims(x, -1), 2, 2, "VALID"),
    "pool.mean": lambda x, y: tf.nn.avg_pool2d(tf.expand_dims(x, -1), 2, 1, "SAME"),
    "slice.middle": lambda x, y: x[:, 1:3],
    "slice.single": lambda x, y: x[:, 0],
    "slice.last": lambda x, y: x[..., -1],
    "slice.step": lambda x, y: x[:, ::2, 1:],
    "slice.new": lambda x, y: x[:, None, :, 2],
    "slice.negative": lambda x, y: x[:, -3:-1],
    "split": lambda x, y: tf.split(x, 2, axis=-1),
    "split.sizes": lambda x, y: tf.split(x, [1, 3, 2], axis=-1)[1],
    "squeeze": lambda x, y: tf.squeeze(tf.expand_dims(x, 1), 1),
    "stack": lambda x, y: tf.stack([x, y], axis=1),
    "tile": lambda x, y: tf.tile(x, [1, 2, 1]),
    "unstack": lambda x, y: tf.unstack(x, axis=1)[::2],
    "where": lambda x, y: tf.where(x > y, x, y * 2.0),
}


def main(folder: Path) -> None:
    """Makes and writes all of them."""
    for name, function in OPERATIONS.items():
        tf_keras.backend.clear_session()
        x = tf_keras.Input((4, 6), name="x")
        d = layers.Dense(6, name="d")(x)
        outputs = function(d, x)
        model = tf_keras.Model(x, outputs if isinstance(outputs, list) else [outputs])
        random = np.random.default_rng(zlib.crc32(name.encode()))
        model.set_weights([random.normal(0, 0.4, (6, 6)), random.normal(0, 0.1, 6)])
        given = random.normal(size=(3, 4, 6)).astype("float32")
        found = model.predict(given)
        arrays = {
            f"output{number}": array for number, array in enumerate(found if isinstance(found, list) else [found])
        }
        np.savez(folder / f"{name}.npz", input0=given, **arrays)
        model.save(folder / f"{name}.h5")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
