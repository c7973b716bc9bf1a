"""Layers of Keras 1 that are gone: Highway, MaxoutDense, cosines, and BatchNormalization that normalises each row."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

from keras_stitch.errors import SourceError
from keras_stitch.repairs.rebuilt_layer import Inside, pick


def highway(inside: Inside) -> str:
    """``x + t (h - x)`` with ``t`` a sigmoid and ``h`` the activation of sums of their own."""
    (x,) = inside.inputs
    config = {"units": inside.features, "use_bias": inside.config.get("use_bias", True)}
    activation = inside.config.get("activation") or "linear"
    gate = inside.add("Dense", "gate", x, fill=lambda arrays: _of_highway(arrays, 1), activation="sigmoid", **config)
    new = inside.add(
        "Dense", "transform", x, fill=lambda arrays: _of_highway(arrays, 0), activation=activation, **config,
        **inside.penalties,
    )  # fmt: skip
    change = inside.add("Subtract", "change", new, x)
    return inside.add("Add", "carry", x, inside.add("Multiply", "gated", gate, change))


def _of_highway(arrays: Sequence[np.ndarray], which: int) -> list[np.ndarray]:
    """Keras 1.0 wrote W, b, W_carry, b_carry, and Keras 1.2 W, W_carry, b, b_carry."""
    kernels, biases = ([array for array in arrays if array.ndim == rank] for rank in (2, 1))
    return [kernels[which], *biases[which : which + 1]]


def maxout(inside: Inside) -> str:
    """The largest of several sums."""
    (x,) = inside.inputs
    units, sums = inside.config["output_dim"], inside.config.get("nb_feature", 4)

    def fill(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        kernel, *bias = arrays
        return [kernel.transpose(1, 0, 2).reshape(len(kernel[0]), -1), *(array.reshape(-1) for array in bias)]

    use_bias = inside.config.get("use_bias", True)
    every = inside.add("Dense", "sums", x, fill=fill, units=units * sums, use_bias=use_bias, **inside.penalties)
    return inside.add("GlobalMaxPooling1D", "max", inside.add("Reshape", "features", every, target_shape=[sums, units]))


def cosine(inside: Inside) -> str:
    """``x·y / max(|x| |y|, 1e-7)``, with an axis more than the cosine of Keras 2.

    Both are first made longer, so that what Keras 3 takes as the shortest vector does not count.
    """
    if {len(shape) for shape in inside.shapes} != {2}:
        raise SourceError(
            f"The layer '{inside.name}' is a cosine merge of Keras 1 of tensors with more than one axis, which divides "
            "by roots of products of different vectors.",
            expected="two tensors of one axis besides that of the batch",
            received=", ".join(map(str, inside.shapes)),
            fix="Merge flat tensors in the model that made the file, and save it again.",
        )
    longer = [
        inside.add("Rescaling", f"longer{number}", x, scale=1e3, offset=0.0) for number, x in enumerate(inside.inputs)
    ]
    units = [inside.add("UnitNormalization", f"unit{number}", x, axis=-1) for number, x in enumerate(longer)]
    lengths = [
        inside.add("Dot", f"length{number}", *pair, axes=1)
        for number, pair in enumerate(zip(longer, units, strict=True))
    ]
    # The product of the lengths is 1e6 times as large here: at most 1e-7 is 10 times that, at most 1.
    product = inside.add("Rescaling", "product", inside.add("Multiply", "lengths", *lengths), scale=10.0, offset=0.0)
    short = inside.add("ReLU", "short", product, max_value=1.0)
    cosine = inside.add("Multiply", "product_of_short", inside.add("Dot", "dot", *units, axes=1), short)
    return inside.add("Reshape", "reshape", cosine, target_shape=[1, 1])


def sample_normalization(inside: Inside) -> str:
    """BatchNormalization with mode=1: ``(x - m) / (s + e)`` with ``s = sqrt(variance + e)``, by the last axis.

    LayerNormalization divides by ``s`` alone. What is left is ``s / (s + e)``, softsign of ``s / e``; and ``s sqrt(n)``
    is the length of ``x - m`` with ``sqrt(n e)`` as one entry more.
    """
    (x,) = inside.inputs
    size, epsilon = inside.features, float(inside.config.get("epsilon", 1e-3))
    mean = _mean(inside, "mean", x, size)
    root = inside.add("Rescaling", "root", mean, scale=0.0, offset=sqrt(size * epsilon))
    long = inside.add("Concatenate", "long", inside.add("Subtract", "centred", x, mean), root, axis=-1)
    squares = inside.add("Multiply", "squares", long, inside.add("UnitNormalization", "unit", long, axis=-1))
    of_squares = _mean(inside, "length", squares, size + 1)
    ratio = inside.add("Rescaling", "ratio", of_squares, scale=(size + 1) / (sqrt(size) * epsilon), offset=0.0)
    factor = inside.add("Activation", "factor", ratio, activation="softsign")
    even = inside.add("LayerNormalization", "even", x, axis=-1, epsilon=epsilon, center=False, scale=False)
    normal = inside.add("Multiply", "normal", even, factor)
    axes = "bcdefgh"[: len(inside.shapes[0]) - 1]
    return inside.add(
        "EinsumDense",
        "scale",
        normal,
        fill=pick(0, 1),
        equation=f"a{axes},{axes[-1]}->a{axes}",
        output_shape=list(inside.shapes[0][1:]),
        bias_axes=axes[-1],
    )


def _mean(inside: Inside, suffix: str, x: str, size: int) -> str:
    """The mean along the last axis, of a size, which stays as an axis of size 1: pooling needs no weights for it."""
    rank = len(inside.shapes[0]) - 1
    if rank > 4:
        raise SourceError(
            f"The layer '{inside.name}' is a BatchNormalization of Keras 1 with mode=1 of tensors of {rank} axes, and "
            "Keras 3 takes means along at most four.",
            fix="Normalise tensors of fewer axes in the model that made the file, and save it again.",
        )
    if rank == 1:
        column = inside.add("Reshape", f"{suffix}_column", x, target_shape=[size, 1])
        mean = inside.add("AveragePooling1D", f"{suffix}_pooled", column, pool_size=size)
        return inside.add("Reshape", suffix, mean, target_shape=[1])
    turn = [*range(1, rank - 1), rank, rank - 1]
    turned = inside.add("Permute", f"{suffix}_turned", x, dims=turn)
    window = [1] * (rank - 2) + [size]
    pooled = inside.add(f"AveragePooling{rank - 1}D", f"{suffix}_pooled", turned, pool_size=window)
    return inside.add("Permute", suffix, pooled, dims=turn)
