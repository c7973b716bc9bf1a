"""Random nested models with frozen parts, of this Keras or, ``nested_models.py FOLDER COUNT``, of Keras 2.

All layers have the same shapes, so that no error tells of an array in a wrong place. Of each model there are
``NUMBER.h5``, ``NUMBER.legacy.h5`` with ``NUMBER.json``, and ``NUMBER.npz`` with an input and what Keras 2 predicts.
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

WIDTH = 3


class Maker:
    """Makes one model by chance, with a module ``keras``."""

    def __init__(self, keras: Any, seed: int):
        self.keras, self.layers = keras, keras.layers
        self.rng = np.random.default_rng(seed)
        self.numbers = itertools.count()

    def layer(self, depth: int) -> Any:
        """A layer, or a model with ``depth`` levels of models in it."""
        name = f"d{next(self.numbers)}"
        if depth and self.rng.random() < 0.6:
            return self.model(depth - 1)
        if self.rng.random() < 0.35:
            return self.layers.BatchNormalization(name=name)
        return self.layers.Dense(WIDTH, activation="tanh", name=name)

    def model(self, depth: int) -> Any:
        """A Sequential or a model with two branches, some of whose layers are frozen."""
        name = f"m{next(self.numbers)}"
        layers = [self.layer(depth) for _ in range(self.rng.integers(2, 5))]
        if self.rng.random() < 0.4:
            model = self.keras.Sequential([self.layers.Input((WIDTH,)), *layers], name=name)
        else:
            x = self.layers.Input((WIDTH,))
            ends = [layers[0](x)]
            for layer in layers[1:]:
                ends.append(layer(ends[self.rng.integers(len(ends))]))
            model = self.keras.Model(x, self.layers.Add(name=f"{name}_add")(ends), name=name)
        self.freeze(model)
        return model

    def freeze(self, model: Any) -> None:
        """Freezes the whole and thaws layers in it, or freezes some layers."""
        whole = self.rng.random() < 0.5
        if whole:
            model.trainable = False
        for layer in model.layers:
            if self.rng.random() < 0.4:
                layer.trainable = whole


def made(keras: Any, seed: int) -> tuple[Any, np.ndarray]:
    """A model with random weights, and an input for it."""
    maker = Maker(keras, seed)
    model = maker.model(3)
    for weight in model.weights:
        low = 0.5 if "variance" in weight.name else -1
        weight.assign(maker.rng.uniform(low, 1.5, weight.shape))
    return model, maker.rng.normal(size=(4, WIDTH)).astype("float32")


def write(seed: int, folder: Path) -> None:
    """Makes one model with Keras 2, and its files."""
    import tf_keras

    model, x = made(tf_keras, seed)
    model.save(folder / f"{seed}.h5")
    model.save_weights(folder / f"{seed}.legacy.h5")
    (folder / f"{seed}.json").write_text(model.to_json())
    np.savez(folder / f"{seed}.npz", x=x, y=model(x, training=False))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    for number in range(int(sys.argv[2])):
        write(number, Path(sys.argv[1]))
