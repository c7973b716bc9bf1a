"""What packing models into the dataloader costs, and what computing their predictions once saves.

    python benchmarks/packing.py

Every figure is a ratio of runs that take turns, in an order that changes from round to round, and the reference runs
twice (the A/A comparison, which shows the noise). Printed are medians of the rounds' ratios with the middle half of
them. Needs torch and scikit-learn.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import kipoi
import numpy as np
import torch
from keras import layers
from sklearn.ensemble import RandomForestRegressor
from timing import Runs, measure, ratio
from zoo import write_kipoi

import keras_stitch as ks
from keras_stitch.terminal import render

BATCH = 32
EPOCHS = 10
LEAST = 5.0  # how many times faster training on precomputed features has to be
# Packed prediction against the generator that people write by hand


def keras_directory(folder: Path, model: keras.Model) -> Path:
    """A Kipoi directory of a Keras model with one input and one output."""
    folder.mkdir()
    model.save(folder / "model.keras")
    size, units = model.inputs[0].shape[1:], model.outputs[0].shape[-1]
    return write_kipoi(folder, tuple(size), (units,), "kipoi.model.KerasModel", {"weights": "model.keras"})


def dense(size: int, units: int, hidden: int = 256) -> keras.Model:
    inputs = keras.Input((size,), name="rows")
    return keras.Model(inputs, layers.Dense(units)(layers.Dense(hidden, "relu")(inputs)))


def convolutional(units: int) -> keras.Model:
    """A small network of DNA: 200 bases, 64 filters."""
    inputs = keras.Input((200, 4), name="rows")
    y = layers.MaxPooling1D(4)(layers.Conv1D(64, 11, activation="relu")(inputs))
    y = layers.GlobalMaxPooling1D()(layers.Conv1D(64, 7, activation="relu")(y))
    return keras.Model(inputs, layers.Dense(units)(y))


class Case:
    """A graph of the seed's form: model1 feeds model2, and model2 and model3 feed model4."""

    def __init__(self, folder: Path, first: Path, third: Path, second: Any, sizes: tuple[Any, Any], rows: int):
        self.folder, self.first, self.third = folder, first, third
        final = dense(8, 1, 16)
        self.graph = ks.Graph("composed")
        self.graph.add("model1", first, placement="dataloader")
        if isinstance(second, Path):
            self.graph.add("model2", second, placement="dataloader")
        else:
            self.graph.add("model2", second, shapes=(4,))
        self.graph.add("model3", third, placement="dataloader").add("model4", final)
        self.graph.add_input("one", "model1").add_input("other", "model3")
        self.graph.connect("model1", "model2").connect(["model2", "model3"], "model4")
        dataloader = {"separate": "rows_file"}
        loaders = {name: ks.Dataloader(path, **dataloader) for name, path in (("model1", first), ("model3", third))}
        self.directory = self.graph.save(folder / "composed", dataloaders=loaders)
        self.data = {}
        for number, (name, size) in enumerate(zip(("model1", "model3"), sizes, strict=True)):
            path = folder / f"{name}.npy"
            np.save(path, np.random.default_rng(number).standard_normal((rows, *size)).astype("float32"))
            self.data[name] = str(path)
        self.second = self.directory / "components" / "model2" / "packed_model"
        if not self.second.is_dir():
            assert isinstance(second, Path)
            self.second = second

    def runs(self) -> Runs:
        final = kipoi.get_model(str(self.directory), source="dir")
        arguments = {f"{name}_rows_file": path for name, path in self.data.items()}
        models = [
            kipoi.get_model(str(path), source="dir", with_dataloader=with_dataloader)
            for path, with_dataloader in ((self.first, True), (self.second, False), (self.third, True))
        ]

        def by_hand() -> Iterator[dict[str, Any]]:
            """The seed's generator."""
            m1, m2, m3 = models
            it1 = m1.default_dataloader(rows_file=self.data["model1"]).batch_iter(batch_size=BATCH, num_workers=0)
            it3 = m3.default_dataloader(rows_file=self.data["model3"]).batch_iter(batch_size=BATCH, num_workers=0)
            for batch1, batch3 in zip(it1, it3, strict=True):
                m1_pred = m1.predict_on_batch(batch1["inputs"])
                m2_pred = m2.predict_on_batch(m1_pred)
                m3_pred = m3.predict_on_batch(batch3["inputs"])
                metadata = {"model1_id": batch1["metadata"]["id"], "model3_id": batch3["metadata"]["id"]}
                yield {"inputs": {"model2": m2_pred, "model3": m3_pred}, "metadata": metadata}

        def packed() -> Iterator[dict[str, Any]]:
            yield from final.default_dataloader(**arguments).batch_iter(batch_size=BATCH, num_workers=0)

        def predict(batches: Callable[[], Iterator[dict[str, Any]]]) -> np.ndarray:
            return np.concatenate([final.predict_on_batch(batch["inputs"]) for batch in batches()])

        a, b = predict(by_hand), predict(packed)
        assert np.max(np.abs(a - b)) <= 1e-5 * max(1, np.max(np.abs(a))), "the numbers differ"
        runs: Runs = {"by hand": lambda: predict(by_hand), "packed": lambda: predict(packed)}
        return runs | {"again": runs["by hand"]}


def prediction(folder: Path, rows: int, rounds: int) -> str:
    """The same models by a generator written by hand, and packed."""
    keras.utils.set_random_seed(0)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    forest = RandomForestRegressor(20, max_depth=6, random_state=0)
    forest.fit(rng.standard_normal((200, 4)), rng.standard_normal((200, 4)))
    module = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.ReLU(), torch.nn.Linear(64, 4))
    small = [keras_directory(folder / f"small{number}", dense(50, 4)) for number in range(2)]
    large = [keras_directory(folder / f"large{number}", convolutional(4)) for number in range(2)]
    second = keras_directory(folder / "second", dense(4, 4))
    cases = {
        "three Keras models": (*small, second, ((50,), (50,))),
        "Keras, scikit-learn, Keras": (*small, forest, ((50,), (50,))),
        "Keras, PyTorch, Keras": (*small, module, ((50,), (50,))),
        "three Keras models, DNA": (*large, second, ((200, 4), (200, 4))),
        "Keras, PyTorch, Keras, DNA": (*large, module, ((200, 4), (200, 4))),
    }
    lines = []
    for number, (name, (first, third, middle, sizes)) in enumerate(cases.items()):
        place = folder / f"case{number}"
        place.mkdir()
        times = measure(Case(place, first, third, middle, sizes, rows).runs(), rounds, name)
        lines.append(
            (
                name,
                f"{np.median(times['by hand']) / rows * 1e6:.0f}",
                ratio(times["again"], times["by hand"]),
                ratio(times["packed"], times["by hand"]),
            )
        )
    headers = (f"predicting {rows} rows", "by hand, µs/row", "by hand / by hand", "packed / by hand")
    return render(headers, lines)


# Training on what was computed once


def trunk(units: int = 64) -> keras.Model:
    """A network of DNA, 1000 bases, whose last layer is pooled."""
    inputs = keras.Input((1000, 4), name="dna")
    y = layers.MaxPooling1D(4)(layers.Conv1D(128, 15, activation="relu")(inputs))
    y = layers.MaxPooling1D(4)(layers.Conv1D(128, 11, activation="relu")(y))
    return keras.Model(inputs, layers.GlobalMaxPooling1D()(layers.Conv1D(units, 7, activation="relu")(y)))


def head() -> keras.Model:
    inputs = keras.Input((64,), name="pooled")
    return keras.Model(inputs, layers.Dense(1)(layers.Dense(32, "relu")(inputs)))


def compiled(model: keras.Model) -> keras.Model:
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    return model


def with_packed_trunk(folder: Path, rows: int) -> tuple[Runs, str]:
    """Ten epochs through the packed dataloader, and by features computed once, the extraction included."""
    graph = ks.Graph("packed").add("trunk", trunk(), placement="dataloader").add("head", head())
    graph.connect("trunk", "head")
    rng = np.random.default_rng(0)
    files = {"dna_file": folder / "dna.npy", "targets_file": folder / "targets.npy"}
    np.save(files["dna_file"], np.eye(4, dtype="float32")[rng.integers(0, 4, (rows, 1000))])
    np.save(files["targets_file"], rng.standard_normal((rows, 1)).astype("float32"))
    few = folder / "few.npy"
    np.save(few, np.load(files["targets_file"])[:10])
    directory = graph.save(folder / "packed", targets=few)
    model = compiled(graph.build())

    def every_epoch() -> None:
        model.fit(ks.training_data(directory, files, batch_size=BATCH, seed=0), epochs=EPOCHS, verbose=0)

    def once() -> None:
        (folder / "features.h5").unlink(missing_ok=True)
        features = ks.precompute(directory, files, folder / "features.h5", batch_size=BATCH, progress=lambda _: None)
        model.fit(ks.training_data(features, batch_size=BATCH, seed=0), epochs=EPOCHS, verbose=0)

    return {"every epoch": every_epoch, "again": every_epoch, "once": once}, "trunk packed into the dataloader"


def with_frozen_trunk(folder: Path, rows: int) -> tuple[Runs, str]:
    """Ten epochs of the stitched model with a frozen trunk, and by what crosses the cut behind it."""
    graph = ks.Graph("frozen").add("trunk", trunk(), trainable=False).add("head", head())
    graph.connect("trunk", "head")
    rng = np.random.default_rng(0)
    inputs = np.eye(4, dtype="float32")[rng.integers(0, 4, (rows, 1000))]
    targets = rng.standard_normal((rows, 1)).astype("float32")
    model = compiled(graph.build())

    def every_epoch() -> None:
        model.fit(inputs, targets, batch_size=BATCH, epochs=EPOCHS, verbose=0)

    def once() -> None:
        path = folder / "frozen.h5"
        path.unlink(missing_ok=True)
        rest = graph.precompute((inputs, targets), path, model=model, batch_size=BATCH, progress=lambda _: None)
        compiled(rest.model).fit(rest.data(batch_size=BATCH, seed=0), epochs=EPOCHS, verbose=0)

    return {"every epoch": every_epoch, "again": every_epoch, "once": once}, f"trunk frozen, {share(model, inputs):.0%}"


def share(model: keras.Model, inputs: np.ndarray) -> float:
    """The part of a training step's time that the trunk takes: what a step of the head alone does not."""
    targets, pooled, alone = np.zeros((BATCH, 1), "float32"), np.zeros((BATCH, 64), "float32"), compiled(head())
    runs: Runs = {
        "whole": lambda: [model.train_on_batch(inputs[:BATCH], targets) for _ in range(20)],
        "head": lambda: [alone.train_on_batch(pooled, targets) for _ in range(20)],
    }
    times = measure(runs, 5, "share of the trunk")
    return 1 - float(np.median(np.array(times["head"]) / np.array(times["whole"])))


def training(folder: Path, rows: int, rounds: int) -> tuple[str, list[tuple[str, float]]]:
    """The table, and how many times faster each case is at least wanted."""
    lines, found = [], []
    for case in (with_packed_trunk, with_frozen_trunk):
        runs, name = case(folder, rows)
        times = measure(runs, rounds, name)
        faster = np.array(times["every epoch"]) / np.array(times["once"])
        found.append((name, float(np.quantile(faster, 0.25))))
        lines.append(
            (
                name,
                f"{np.median(times['every epoch']):.1f}",
                ratio(times["again"], times["every epoch"]),
                f"{np.median(times['once']):.1f}",
                ratio(times["every epoch"], times["once"]),
            )
        )
    headers = (f"{EPOCHS} epochs, {rows} rows", "every time, s", "again / every time", "once, s", "times faster")
    return render(headers, lines), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="rounds of prediction")
    parser.add_argument("--rows", type=int, default=2048, help="rows to predict")
    parser.add_argument("--training-rounds", type=int, default=3)
    parser.add_argument("--training-rows", type=int, default=2048)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        print(prediction(folder, options.rows, options.rounds), end="\n\n")
        table, found = training(folder, options.training_rows, options.training_rounds)
    print(table)
    for name, faster in found:
        verdict = "clear of" if faster >= LEAST else "NOT clear of"
        print(f"{name}: the lower quartile, {faster:.1f} times, is {verdict} the limit of {LEAST:g}")


if __name__ == "__main__":
    main()
