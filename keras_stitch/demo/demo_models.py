"""Saves one of the demo's four models: ``python -m keras_stitch.demo.demo_models NAME FILE``.

Each is saved by a process of its own, so that all four have a layer called ``dense``, as models of
different people do.
"""

from __future__ import annotations

import sys

from keras_stitch.start_keras import import_keras

# Name: input name, input size, output size, as in Kipoi's notebook on composing models.
MODELS = {
    "model1": ("input1", 3, 4),
    "model2": ("input1_model1", 7, 3),
    "model3": ("input2", 6, 4),
    "model4": ("model2_model3", 7, 1),
}


def save(name: str, path: str) -> None:
    """Save one model with weights that depend on its name only."""
    import_keras()
    import keras

    input_name, size, units = MODELS[name]
    keras.utils.set_random_seed(list(MODELS).index(name))
    inputs = keras.Input((size,), name=input_name)
    keras.Model(inputs, keras.layers.Dense(units)(inputs)).save(path)


if __name__ == "__main__":
    save(sys.argv[1], sys.argv[2])
