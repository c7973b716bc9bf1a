"""Random nested models with frozen parts, made by Keras 2 (``tf_keras``): ``nested_keras2.py FOLDER COUNT``.

All layers have the same shapes, so that no error tells of an array in a wrong place. Of each model there are
``NUMBER.h5``, ``NUMBER.legacy.h5`` with ``NUMBER.json``, and ``NUMBER.npz`` with an input and what Keras 2 predicts.
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tf_keras

L = tf_keras.layers
WIDTH = 3


class Maker:
    """Makes one model by chance."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.numbers = itertools.count()

    def layer(self, depth: int) -> tf_keras.layers.Layer:
        """A layer, or a model with ``depth`` levels of models in it."""
        name = f"d{next(self.numbers)}"
        if depth and self.rng.random() < 0.6:
            return self.model(depth - 1)
        if self.rng.random() < 0.35:
            return L.BatchNormalization(name=name)
        return L.Dense(WIDTH, activation="tanh", name=name)

    def model(self, depth: int) -> tf_keras.Model:
        """A Sequential or a model with two branches, some of whose layers are frozen."""
        name = f"m{next(self.numbers)}"
        layers = [self.layer(depth) for _ in range(self.rng.integers(2, 5))]
        if self.rng.random() < 0.4:
            model = tf_keras.Sequential([L.Input((WIDTH,)), *layers], name=name)
        else:
            x = L.Input((WIDTH,))
            ends = [layers[0](x)]
            for layer in layers[1:]:
                ends.append(layer(ends[self.rng.integers(len(ends))]))
            model = tf_keras.Model(x, L.Add(name=f"{name}_add")(ends), name=name)
        self.freeze(model)
        return model

    def freeze(self, model: tf_keras.Model) -> None:
        """Freezes the whole and thaws layers in it, or freezes some layers."""
        whole = self.rng.random() < 0.5
        if whole:
            model.trainable = False
        for layer in model.layers:
            if self.rng.random() < 0.4:
                layer.trainable = whole


def make(seed: int, folder: Path) -> None:
    """Makes one model and its files."""
    maker = Maker(seed)
    model = maker.model(3)
    for weight in model.weights:
        low = 0.5 if "variance" in weight.name else -1
        weight.assign(maker.rng.uniform(low, 1.5, weight.shape))
    model.save(folder / f"{seed}.h5")
    model.save_weights(folder / f"{seed}.legacy.h5")
    (folder / f"{seed}.json").write_text(model.to_json())
    x = maker.rng.normal(size=(4, WIDTH)).astype("float32")
    np.savez(folder / f"{seed}.npz", x=x, y=model(x, training=False))


if __name__ == "__main__":
    for number in range(int(sys.argv[2])):
        make(number, Path(sys.argv[1]))
