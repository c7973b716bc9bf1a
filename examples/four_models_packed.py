"""Three models run in the dataloader, and a fourth one is trained on their predictions.

Models 1 and 2 are Keras files, model 3 is a scikit-learn estimator, and model 4 is the Keras model of a new task. The
first three are packed into the dataloader. The final model is model 4; its inputs ``model2`` and ``model3`` are the
predictions of these two:

    pip install "keras_stitch[examples]"
    python examples/four_models_packed.py four_models

The rows of all tables have ids, which are compared in every batch. Models and tables are made up.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import keras
import kipoi
import numpy as np
import pandas as pd
from keras import layers
from sklearn.linear_model import LinearRegression

import keras_stitch as ks

logging.getLogger("absl").setLevel(logging.ERROR)  # Keras would warn about every .h5 file


def save_model(path: Path, input_name: str, size: int, units: int) -> keras.Model:
    """A Keras file, as other people would publish it."""
    inputs = keras.Input((size,), name=input_name)
    model = keras.Model(inputs, layers.Dense(units)(inputs))
    model.save(path)
    return model


def stitch(folder: Path, model3: LinearRegression) -> ks.Graph:
    """The four models in a graph; ``placement=`` also packs models 1 and 2."""
    graph = ks.Graph("four_models")
    graph.add("model1", folder / "m1.h5", placement="dataloader")
    graph.add("model2", folder / "m2.h5", placement="dataloader")
    graph.add("model3", model3, shapes=(6,))
    graph.add("model4", folder / "m4.h5")
    graph.connect(["input1", "model1"], "model2")
    graph.connect(["model2", "model3"], "model4")
    graph.add_input("input2", "model3")
    return graph


def write_tables(folder: Path, data: dict[str, np.ndarray]) -> dict[str, str]:
    """A TSV file for each array, with the ids of its rows; returns the arguments of the dataloader."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in data.items():
        table = pd.DataFrame(array).add_prefix(f"{name}_")
        table.insert(0, "id", [f"row{number}" for number in range(len(array))])
        table.to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    return {f"{name}_file": str(folder / f"{name}.tsv") for name in data}


def one_after_another(models: dict[str, Any], data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The predictions of models 2 and 3, without a graph."""
    model1 = models["model1"](data["input1"])
    model2 = models["model2"](np.concatenate([data["input1"], model1], axis=1))
    return {"model2": np.asarray(model2), "model3": models["model3"].predict(data["input2"])}


def main(output: Path, *, overwrite: bool = False) -> Path:
    """Stitch, write the Kipoi directory, train model 4 on the others' predictions, and write the trained model."""
    keras.utils.set_random_seed(1)
    generator = np.random.default_rng(1)
    folder = output.resolve().with_name(f"{output.name}_data")
    folder.mkdir(parents=True, exist_ok=True)
    models = {
        "model1": save_model(folder / "m1.h5", "input1", 3, 4),
        "model2": save_model(folder / "m2.h5", "input1_model1", 7, 3),
        "model3": LinearRegression().fit(generator.normal(size=(50, 6)), generator.normal(size=(50, 4))),
        "model4": save_model(folder / "m4.h5", "model2_model3", 7, 1),
    }
    data = {"input1": generator.normal(size=(512, 3)), "input2": generator.normal(size=(512, 6))}
    data = {name: array.astype("float32") for name, array in data.items()}
    parts = one_after_another(models, data)
    data["targets"] = parts["model2"].sum(axis=1, keepdims=True) - parts["model3"].sum(axis=1, keepdims=True)
    arguments = write_tables(folder / "all", data)
    example = write_tables(folder / "example", {name: array[:10] for name, array in data.items()})

    graph = stitch(folder, models["model3"])
    print(graph.plan())

    print("\nwriting the Kipoi directory ...")
    options = {
        "targets": example.pop("targets_file"),
        "examples": example,
        "info": {"authors": [{"name": "You"}], "doc": "Four models.", "license": "MIT"},
    }
    directory = graph.save(output, overwrite=overwrite, progress=lambda text: print(f"  {text}"), **options)

    print("\ntraining model 4 ...")
    model = graph.build()
    print(f"inputs of the final model: {', '.join(tensor.name for tensor in model.inputs)}")
    model.compile(keras.optimizers.Adam(0.05), "mse")
    losses = model.fit(ks.training_data(directory, arguments, seed=1), epochs=10, verbose=0).history["loss"]
    print(f"loss: {losses[0]:.4f} in the first epoch, {losses[-1]:.4f} in the last")
    assert losses[-1] < losses[0] / 10

    print("\nwriting the trained model ...")
    graph.save(output, model=model, overwrite=True, progress=lambda text: print(f"  {text}"), **options)
    predicted = kipoi.get_model(str(directory), source="dir").pipeline.predict(arguments)
    difference = np.abs(predicted - model(parts)).max()
    print(f"largest difference from the models run one after another: {difference:.1e}")
    assert difference <= 1e-5
    print(f"\nwritten: {directory}\ntry it: cd {directory} && kipoi test .")
    return directory


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Three models packed into a dataloader, the fourth trained on them.")
    parser.add_argument("output", type=Path, nargs="?", default=Path("four_models"))
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    main(options.output, overwrite=options.overwrite)
