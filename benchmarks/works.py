"""What is measured: graphs of saved models. ``peers.py`` runs each of them in several ways.

A work holds the files of its parts and says what its graph is four times: for keras_stitch, in plain Keras, as models
that run one after another, and in ONNX. Keras is imported where it is needed only, as not all peers need it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import merging_onnx
import numpy as np

if TYPE_CHECKING:
    import keras

    import keras_stitch as ks

Arrays = dict[str, np.ndarray]
Predict = Callable[[str, np.ndarray], np.ndarray]  # the name of a part, and what it takes
DNA = 4  # letters


@dataclass(frozen=True)
class Work:
    """A graph of saved models with one output.

    Attributes:
        name: What it is called in tables.
        files: Of the parts, by name.
        inputs: The shape of a row of each graph input.
        stitch: Makes the graph with keras_stitch, of the files.
        by_hand: The output of the same graph in plain Keras, of parts and input tensors by name.
        one_after_another: The same with arrays: parts run by name, with NumPy between them.
        merged: The same in ONNX, of the exported parts by name.
        batches: Batch sizes that are measured.
        length: Rows of inputs whose length is open.
    """

    name: str
    files: Mapping[str, Path]
    inputs: Mapping[str, tuple[int | None, ...]]
    stitch: Callable[[Mapping[str, Path]], ks.Graph]
    by_hand: Callable[[Mapping[str, keras.Model], Mapping[str, Any]], Any]
    one_after_another: Callable[[Predict, Arrays], np.ndarray]
    merged: Callable[[Mapping[str, Any]], Any]
    batches: Sequence[int] = (1, 32, 256)
    length: int = 0

    def graph(self) -> ks.Graph:
        """The graph, its parts loaded."""
        return self.stitch(self.files)

    def rows(self, count: int, seed: int = 0) -> Arrays:
        """Random rows of every graph input, float32."""
        random = np.random.default_rng(seed)
        shapes = {name: tuple(size or self.length for size in shape) for name, shape in self.inputs.items()}
        return {name: random.standard_normal((count, *shape)).astype("float32") for name, shape in shapes.items()}


def loaded_by_hand(work: Work) -> dict[str, keras.Model]:
    """The parts, by name, as plain Keras loads them."""
    import keras

    return {name: keras.saving.load_model(file, compile=False) for name, file in work.files.items()}


def wired_by_hand(work: Work, loaded: Mapping[str, keras.Model]) -> keras.Model:
    """The graph in plain Keras, of parts under names of their own: without that, they do not fit together."""
    import keras

    parts = {name: keras.Model(model.inputs, model.outputs[0], name=name) for name, model in loaded.items()}
    inputs = {name: keras.Input(shape, name=name) for name, shape in work.inputs.items()}
    return keras.Model(list(inputs.values()), work.by_hand(parts, inputs))


# -- works -------------------------------------------------------------------------------------------------------------


def seed(folder: Path) -> Work:
    """Four dense layers on two inputs: the graph of Kipoi's document on composing models."""
    sizes = {"model1": (3, 4), "model2": (7, 3), "model3": (6, 4), "model4": (7, 1)}
    files = {name: _saved(folder, name, lambda size=size: _dense(*size)) for name, size in sizes.items()}

    def stitch(files: Mapping[str, Path]) -> ks.Graph:
        graph = _added("seed", files)
        graph.add_input("input1", "model1").add_input("input2", "model3")
        return graph.connect(["model1", "input1"], "model2").connect(["model2", "model3"], "model4")

    def by_hand(parts: Mapping[str, keras.Model], inputs: Mapping[str, Any]) -> Any:
        from keras import layers

        second = parts["model2"](layers.Concatenate()([parts["model1"](inputs["input1"]), inputs["input1"]]))
        return parts["model4"](layers.Concatenate()([second, parts["model3"](inputs["input2"])]))

    def one_after_another(predict: Predict, inputs: Arrays) -> np.ndarray:
        first = predict("model1", inputs["input1"])
        second = predict("model2", np.concatenate([first, inputs["input1"]], axis=1))
        return predict("model4", np.concatenate([second, predict("model3", inputs["input2"])], axis=1))

    inputs = {"input1": (3,), "input2": (6,)}
    return Work("the seed's graph", files, inputs, stitch, by_hand, one_after_another, merging_onnx.seed)


def spliceai(folder: Path) -> Work:
    """The five published models of SpliceAI on one sequence, averaged, as SpliceAI does it."""
    del folder
    package = importlib.util.find_spec("spliceai")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("SpliceAI's models are not here: pip install 'keras_stitch[spliceai]'")
    models = Path(package.submodule_search_locations[0]) / "models"
    files = {f"spliceai{number}": models / f"spliceai{number}.h5" for number in range(1, 6)}
    # 10,000 positions around those that are predicted are context; batches of 32 would take a minute each on two cores.
    return _on_one_input("SpliceAI x5", files, (None, DNA), "average", batches=(1, 4), length=10_100)


def deepbind(folder: Path, count: int) -> Work:
    """Models of DeepBind's size on one sequence, their outputs side by side, as in Kipoi's CpGenie/merged."""
    files = {f"motif{number}": folder / f"motif{number}.keras" for number in range(count)}
    if not all(file.is_file() for file in files.values()):
        import keras

        model = _motif()
        for number, file in enumerate(files.values()):
            for weight in model.weights:
                weight.assign(keras.random.normal(weight.shape, stddev=0.3, seed=number))
            model.save(file)
    return _on_one_input(f"{count} DeepBind-size models", files, (101, DNA), "concatenate")


def images(folder: Path) -> Work:
    """Two MobileNetV2 on one image, averaged."""
    files = {f"mobilenet{number}": _saved(folder, f"mobilenet{number}", _mobilenet) for number in (1, 2)}
    return _on_one_input("MobileNetV2 x2", files, (128, 128, 3), "average")


def trednet(folder: Path) -> Work:
    """One trunk that reads DNA, three heads on what it gives, as in Kipoi's TREDNet."""
    heads = [f"head{number}" for number in (1, 2, 3)]
    files = {"phase_one": _saved(folder, "phase_one", _trunk), **{name: _saved(folder, name, _head) for name in heads}}

    def stitch(files: Mapping[str, Path]) -> ks.Graph:
        from keras import layers

        graph = _added("trednet", files).add_input("sequence", "phase_one")
        graph.add("between", layers.Reshape((1024, 1))).connect("phase_one", "between")
        for name in heads:
            graph.connect("between", name)
        return graph.add("beside", layers.Identity()).connect(heads, "beside")

    def by_hand(parts: Mapping[str, keras.Model], inputs: Mapping[str, Any]) -> Any:
        from keras import layers

        between = layers.Reshape((1024, 1))(parts["phase_one"](inputs["sequence"]))
        return layers.Concatenate()([parts[name](between) for name in heads])

    def one_after_another(predict: Predict, inputs: Arrays) -> np.ndarray:
        between = predict("phase_one", inputs["sequence"])[..., np.newaxis]
        return np.concatenate([predict(name, between) for name in heads], axis=-1)

    inputs = {"sequence": (2000, DNA)}
    return Work("TREDNet's shape", files, inputs, stitch, by_hand, one_after_another, merging_onnx.trednet)


def _on_one_input(name: str, files: Mapping[str, Path], shape: tuple[int | None, ...], merge: str, **more: Any) -> Work:
    def stitch(files: Mapping[str, Path]) -> ks.Graph:
        import keras_stitch as ks

        return ks.ensemble(files, merge=merge, input="x", name="composed")

    def by_hand(parts: Mapping[str, keras.Model], inputs: Mapping[str, Any]) -> Any:
        from keras import layers

        layer = {"average": layers.Average, "concatenate": layers.Concatenate}[merge]
        return layer()([part(inputs["x"]) for part in parts.values()])

    def one_after_another(predict: Predict, inputs: Arrays) -> np.ndarray:
        predicted = [predict(part, inputs["x"]) for part in files]
        return np.mean(predicted, axis=0) if merge == "average" else np.concatenate(predicted, axis=-1)

    def merged(parts: Mapping[str, Any]) -> Any:
        return merging_onnx.on_one_input(parts, merge)

    return Work(name, files, {"x": shape}, stitch, by_hand, one_after_another, merged, **more)


def _added(name: str, files: Mapping[str, Path]) -> ks.Graph:
    import keras_stitch as ks

    graph = ks.Graph(name)
    for part, file in files.items():
        graph.add(part, file)
    return graph


WORKS: dict[str, Callable[[Path], Work]] = {
    "seed": seed,
    "spliceai": spliceai,
    "trednet": trednet,
    "images": images,
    "deepbind10": lambda folder: deepbind(folder, 10),
    "deepbind100": lambda folder: deepbind(folder, 100),
    "deepbind500": lambda folder: deepbind(folder, 500),
}


# -- parts -------------------------------------------------------------------------------------------------------------


def _saved(folder: Path, name: str, make: Callable[[], keras.Model]) -> Path:
    """The file of a part, made if it is not there, with the names that layers have in a session of its own."""
    path = folder / f"{name}.keras"
    if not path.is_file():
        import keras

        keras.utils.clear_session()
        make().save(path)
    return path


def _dense(size: int, units: int) -> keras.Model:
    import keras

    inputs = keras.Input((size,))
    return keras.Model(inputs, keras.layers.Dense(units)(inputs))


def _motif() -> keras.Model:
    import keras
    from keras import layers

    inputs = keras.Input((101, DNA))
    y = layers.Conv1D(16, 24, activation="relu")(inputs)
    y = layers.Dense(32, activation="relu")(layers.GlobalMaxPooling1D()(y))
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(y))


def _mobilenet() -> keras.Model:
    import keras

    return keras.applications.MobileNetV2((128, 128, 3), weights=None, classes=10)


def _trunk() -> keras.Model:
    import keras
    from keras import layers

    inputs = y = keras.Input((2000, DNA))
    for filters in (64, 96, 128):
        y = layers.MaxPooling1D(4)(layers.Conv1D(filters, 8, activation="relu")(y))
    return keras.Model(inputs, layers.Dense(1024, activation="sigmoid")(layers.Flatten()(y)))


def _head() -> keras.Model:
    import keras
    from keras import layers

    inputs = keras.Input((1024, 1))
    y = layers.MaxPooling1D(4)(layers.Conv1D(64, 4, activation="relu")(inputs))
    y = layers.MaxPooling1D(2)(layers.Conv1D(64, 2, activation="relu")(y))
    y = layers.Dense(100, activation="relu")(layers.Flatten()(y))
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(y))
