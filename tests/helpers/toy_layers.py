"""Bare layers as random graphs use them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from toy_models import STEPS, TOKENS, set_random_weights

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LayerKind:
    """A kind of bare layer.

    Attributes:
        make: Makes one.
        result: The shape it makes of the shapes that arrive.
        rank: Of what it takes, batch axis left out; ``None`` for any.
        hows: Untrained, trained, or both.
        ports: Names of its inputs.
    """

    name: str
    make: Callable[[], keras.Layer]
    result: Callable[[tuple[Shape, ...]], Shape]
    rank: int | None = None
    hows: tuple[str, ...] = ("layer", "trained layer")
    ports: tuple[str, ...] = ("input",)
    dtype: str = "float32"


def _same(shapes: tuple[Shape, ...]) -> Shape:
    return shapes[0]


_PLAIN = ("layer",)
_KINDS = [
    LayerKind("Dense", lambda: keras.layers.Dense(3, name="dense"), lambda shapes: (*shapes[0][:-1], 3)),
    LayerKind("BatchNormalization", lambda: keras.layers.BatchNormalization(), _same),
    LayerKind("Activation", lambda: keras.layers.Activation("tanh", name="functional"), _same, hows=_PLAIN),
    LayerKind("Flatten", lambda: keras.layers.Reshape((-1, 1)), lambda s: (s[0][0], 1), rank=1, hows=_PLAIN),
    LayerKind("LSTM", lambda: keras.layers.LSTM(2, name="lstm"), lambda shapes: (2,), rank=2),
    LayerKind(
        "MultiHeadAttention",
        lambda: keras.layers.MultiHeadAttention(2, 2, name="mha"),
        _same,
        rank=2,
        ports=("query", "value"),
    ),
    LayerKind(
        "Embedding",
        lambda: keras.layers.Embedding(TOKENS, 3, mask_zero=True, name="embedding"),
        lambda shapes: (STEPS, 3),
        dtype="int32",
    ),
]
LAYERS = {kind.name: kind for kind in _KINDS}
MASKING = "Embedding"


def make_layer(kind: str, how: str, seed: int, arriving: tuple[Shape, ...]) -> keras.Layer:
    """The layer that a user would hold."""
    layer = LAYERS[kind].make()
    if how == "trained layer":
        layer(*(np.zeros((1, *shape), LAYERS[kind].dtype) for shape in arriving))
        set_random_weights(layer, seed)
    return layer


def merge_layer(name: str) -> Any:
    return getattr(keras.layers, name)()
