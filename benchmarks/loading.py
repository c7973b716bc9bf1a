"""What loading a file that needs no repair costs, against Keras alone.

    python benchmarks/loading.py

Each round loads every file once by ``keras.models.load_model``, once more by the same (the A/A comparison, which
shows the noise), and once by ``Graph.add``, in an order that changes from round to round. Prints the median of the
rounds' ratios with the middle half of them. The work beside Keras' own is recognising the file, its checksums and
sha256, and a look at its architecture.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import keras
import numpy as np
from timing import Runs, Times, measure, ratio

import keras_stitch as ks
from keras_stitch.terminal import render

LIMIT = 1.2


def convolutional(inputs: keras.KerasTensor, depth: int, filters: int) -> keras.Model:
    """A residual stack of dilated convolutions, as SpliceAI's."""
    x = keras.layers.Conv1D(filters, 1)(inputs)
    for _ in range(depth):
        y = keras.layers.BatchNormalization()(x)
        y = keras.layers.Activation("relu")(y)
        x = keras.layers.Add()([x, keras.layers.Conv1D(filters, 11, padding="same")(y)])
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))


def write_models(folder: Path) -> dict[str, Path]:
    """Files of several sizes in both formats."""
    models = {
        "4 layers": keras.Sequential(
            [keras.Input((100, 4)), keras.layers.Conv1D(16, 8), keras.layers.Flatten(), keras.layers.Dense(1)]
        ),
        "SpliceAI's shape": convolutional(keras.Input((None, 4)), 32, 32),
        "recurrent": keras.Sequential(
            [keras.Input((25,)), keras.layers.Embedding(1000, 32), keras.layers.LSTM(128), keras.layers.Dense(4)]
        ),
        "100 MB": keras.Sequential([keras.Input((5000,)), keras.layers.Dense(5000), keras.layers.Dense(10)]),
    }
    paths = {}
    for name, model in models.items():
        for ending in (".h5", ".keras"):
            paths[f"{name} {ending}"] = folder / f"model{len(paths)}{ending}"
            model.save(paths[f"{name} {ending}"])
    return paths


def compared(name: str, path: Path, rounds: int) -> Times:
    """Seconds of every round: by Keras, by Keras once more, and by keras_stitch."""
    runs: Runs = {
        "keras": lambda: keras.models.load_model(path, compile=False),
        "again": lambda: keras.models.load_model(path, compile=False),
        "ours": lambda: ks.Graph("benchmark").add("model", path),
    }
    return measure(runs, rounds, name)


def main() -> None:
    """Measure every file and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path in write_models(Path(folder)).items():
            times = compared(name, path, options.rounds)
            rows.append(
                (
                    name,
                    f"{np.median(times['keras']) * 1000:.0f}",
                    ratio(times["again"], times["keras"]),
                    ratio(times["ours"], times["keras"]),
                )
            )
    print(render(("file", "Keras, ms", "Keras / Keras", "Graph.add / Keras"), rows))
    print(f"\nlimit: {LIMIT}")


if __name__ == "__main__":
    main()
