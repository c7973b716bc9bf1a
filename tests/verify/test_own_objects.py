"""Verified, built and saved: layers, functions and merges of one's own that nobody registered with Keras."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import keras_stitch as ks
from keras_stitch import cli
from keras_stitch import directory_layout as layout
from keras_stitch.errors import SaveError, SourceError, StitchError
from keras_stitch.models.custom_objects import held_by
from keras_stitch.models.save_keras import save_model

LAYERS = """
import keras


class Scale(keras.layers.Layer):
    def __init__(self, factor=2.0, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, x):
        return self.factor * x

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


class Furthest(keras.layers.Layer):
    def call(self, inputs):
        return keras.ops.max(keras.ops.abs(keras.ops.stack(inputs)), axis=0)


def bent(x):
    return keras.ops.relu(x) + 0.5 * x


OBJECTS = {"Scale": Scale, "Furthest": Furthest, "bent": bent}
"""


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """The file, and its classes as a program has them that imported it."""
    path = tmp_path / "own_layers.py"
    path.write_text(LAYERS)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(LAYERS, names)
    return path, names["OBJECTS"]


def model_of(objects: dict[str, Any], *more: keras.Layer) -> keras.Model:
    inner = layers.TimeDistributed(objects["Scale"](3.0))
    return keras.Sequential([keras.Input((4, 2), name="x"), inner, layers.Dense(2, objects["bent"]), *more])


@pytest.mark.parametrize("format", ["keras", "h5"])
def test_a_file_with_classes_of_a_file(own: tuple[Path, dict[str, Any]], tmp_path: Path, format: str) -> None:
    path, objects = own
    source = model_of(objects)
    source.save(tmp_path / "source.keras")
    graph = ks.Graph("g").add("own", tmp_path / "source.keras", custom_objects=path)
    x = np.ones((3, 4, 2), "float32")
    np.testing.assert_allclose(graph.build()(x), source(x), atol=1e-6)
    assert graph.verify(format=format).passed


def test_a_model_in_memory(own: tuple[Path, dict[str, Any]]) -> None:
    """Nobody says where its classes are; a program's own classes cannot be had in another process."""
    certificate = ks.Graph("g").add("own", model_of(own[1])).verify()
    assert certificate.passed and certificate.reloaded_in == "this process"
    assert certificate.notes == ("A fresh process cannot import the custom objects 'Scale', 'bent'.",)


def test_a_model_in_memory_with_the_file_of_its_classes(own: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    graph = ks.Graph("g").add("own", model_of(own[1]), custom_objects=own[0])
    certificate = graph.verify()
    assert certificate.passed and certificate.reloaded_in == "a fresh process", certificate
    said = json.loads((graph.save(tmp_path / "made") / "certificate.json").read_text())
    assert said["passed"] and said["reloaded_in"] == "a fresh process"


def test_a_layer_in_memory(own: tuple[Path, dict[str, Any]]) -> None:
    graph = ks.Graph("g").add("own", layers.TimeDistributed(own[1]["Scale"](3.0))).add_input("x", "own", shape=(4, 2))
    assert graph.verify().passed


def bent_by_two(x: Any) -> Any:
    return 2 * keras.ops.relu(x)


class Doubled(layers.Layer):
    def call(self, x: Any) -> Any:
        return 2 * x


@pytest.mark.parametrize("layer", [Doubled, lambda: layers.Activation(bent_by_two)], ids=["class", "function"])
def test_stitch_yaml_names_what_a_bare_layer_is_made_of(layer: Callable[[], keras.Layer], tmp_path: Path) -> None:
    """Its module, where others can import it: the file is read back as it is."""
    graph = ks.Graph().add("own", layer()).add_input("x", "own", shape=(3,))
    text = graph.to_yaml(tmp_path / "stitch.yaml").read_text()
    assert f"custom_objects: {__name__}:" in text and "Given in memory" not in text
    again = ks.Graph.from_yaml(tmp_path / "stitch.yaml")
    np.testing.assert_array_equal(again.build()(X), 2 * X if layer is Doubled else 2 * np.maximum(X, 0))


@pytest.mark.parametrize("given", [False, True], ids=["as it is", "with custom_objects"])
def test_stitch_yaml_says_which_classes_of_bare_layers_to_give(
    own: tuple[Path, dict[str, Any]], tmp_path: Path, given: bool
) -> None:
    options = {"custom_objects": {"Scale": own[1]["Scale"]}} if given else {}
    graph = ks.Graph().add("own", own[1]["Scale"](3.0), **options).add_input("x", "own", shape=(3,))
    path = graph.to_yaml(tmp_path / "stitch.yaml")
    assert path.read_text().splitlines()[0] == (
        "# Given in memory, so to give again, Graph.from_yaml(..., custom_objects=...): 'Scale' of own"
    )
    with pytest.raises(SourceError) as error:
        ks.Graph.from_yaml(path)
    assert str(error.value).startswith("There is no layer 'Scale' with this config:")
    assert str(error.value).endswith(
        "  Fix: Give your own classes and functions, Graph.from_yaml(..., custom_objects={...}), or name their file or "
        "module in the stitch.yaml, behind custom_objects."
    )
    np.testing.assert_array_equal(ks.Graph.from_yaml(path, custom_objects={"Scale": own[1]["Scale"]}).build()(X), 3 * X)
    path.write_text(path.read_text().replace("    layer:", "    custom_objects: own_layers.py\n    layer:"))
    np.testing.assert_array_equal(ks.Graph.from_yaml(path).build()(X), 3 * X)


def test_the_command_builds_and_verifies(own: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    model_of(own[1]).save(tmp_path / "source.keras")
    spec = tmp_path / "stitch.yaml"
    spec.write_text("models:\n  own: {source: source.keras, custom_objects: own_layers.py}\n")
    assert cli.main(["build", str(spec), "-o", str(tmp_path / "built.keras")]) == 0
    loaded = keras.saving.load_model(tmp_path / "built.keras", custom_objects=own[1], compile=False)
    assert loaded.name == "stitched"
    assert cli.main(["verify", str(spec)]) == 0


def test_what_a_model_is_made_of(own: tuple[Path, dict[str, Any]]) -> None:
    class Own(keras.initializers.Initializer):
        def __call__(self, shape: Any, dtype: Any = None) -> Any:
            return keras.ops.ones(shape, dtype)

    found = held_by(model_of(own[1], layers.Dense(1, kernel_initializer=Own())))
    assert dict(found.objects) == {"Scale": own[1]["Scale"], "bent": own[1]["bent"], "Own": Own}
    assert held_by(layers.Dense(1, "relu")).objects == {}


# -- merges ---------------------------------------------------------------------------------------


def merged(merge: Any, **options: Any) -> ks.Graph:
    def part(factor: float) -> keras.Model:
        return keras.Sequential([keras.Input((3,), name="x"), layers.Rescaling(factor)])

    graph = ks.Graph("g").add("a", part(1.0)).add("b", part(-2.0)).add("c", part(10.0)).add_input("x", ["a", "b"])
    return graph.connect(["a", "b"], "c", merge=merge, **options)


X = np.array([[1.0, -2.0, 3.0]], "float32")


@pytest.mark.parametrize("made", [False, True], ids=["class", "layer"])
def test_a_merge_of_ones_own(own: tuple[Path, dict[str, Any]], tmp_path: Path, made: bool) -> None:
    kind = own[1]["Furthest"]
    graph = merged(kind() if made else kind)
    np.testing.assert_allclose(graph.build()(X), [[20, 40, 60]])
    assert graph.verify().passed
    save_model(graph.build(), tmp_path / "model.keras")
    with pytest.raises(SaveError) as error:
        graph.save(tmp_path / "made")
    assert str(error.value) == (
        "The merge 'c_merge' needs 'Furthest', which is not in Keras: whoever downloads the directory could not load "
        "it.\n"
        "  Expected: classes and functions of Keras, of an installed package, or of a Python file with a dict OBJECTS\n"
        '  Fix: Put it into such a file, and give that: graph.connect(..., merge=..., custom_objects="layers.py").'
    )


def test_a_merge_with_the_file_of_its_class(own: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    graph = merged(own[1]["Furthest"], custom_objects=own[0])
    certificate = graph.verify()
    assert certificate.passed and certificate.reloaded_in == "a fresh process", certificate
    directory = graph.save(tmp_path / "made")
    assert json.loads((directory / "certificate.json").read_text())["passed"]
    assert (directory / layout.CUSTOM_OBJECTS).read_text() == LAYERS


def test_a_merge_in_stitch_yaml(own: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    for name, factor in (("a", 1.0), ("b", -2.0), ("c", 10.0)):
        keras.Sequential([keras.Input((3,), name="x"), layers.Rescaling(factor)]).save(tmp_path / f"{name}.keras")
    graph = ks.Graph("g").add("a", tmp_path / "a.keras").add("b", tmp_path / "b.keras").add("c", tmp_path / "c.keras")
    graph.add_input("x", ["a", "b"])
    graph.connect(["a", "b"], "c", merge=own[1]["Furthest"](name="far"), custom_objects=own[0])
    text = graph.to_yaml(tmp_path / "stitch.yaml").read_text()
    assert "custom_objects: own_layers.py" in text
    again = ks.Graph.from_yaml(tmp_path / "stitch.yaml")
    np.testing.assert_allclose(again.build()(X), [[20, 40, 60]])
    assert again.to_yaml(tmp_path / "again.yaml").read_text() == text
    (tmp_path / "stitch.yaml").write_text(text.replace(", custom_objects: own_layers.py", ""))
    given = ks.Graph.from_yaml(tmp_path / "stitch.yaml", custom_objects=own[0])
    np.testing.assert_allclose(given.build()(X), [[20, 40, 60]])


def test_stitch_yaml_names_the_class_of_a_merge_in_a_module(
    own: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_module_of_merges.py").write_text(own[0].read_text())
    monkeypatch.syspath_prepend(tmp_path)
    merge = importlib.import_module("own_module_of_merges").Furthest()
    for name in ("a", "b", "c"):
        part = keras.Sequential([keras.Input((3,), name="x"), layers.Rescaling({"b": -2.0}.get(name, 1.0))])
        part.save(tmp_path / f"{name}.keras")
    graph = ks.Graph().add("a", tmp_path / "a.keras").add("b", tmp_path / "b.keras").add("c", tmp_path / "c.keras")
    graph.add_input("x", ["a", "b"]).connect(["a", "b"], "c", merge=merge)
    path = graph.to_yaml(tmp_path / "stitch.yaml")
    assert "custom_objects: own_module_of_merges:Furthest" in path.read_text()
    np.testing.assert_allclose(ks.Graph.from_yaml(path).build()(X), graph.build()(X))


class WithWeights(layers.Layer):
    def build(self, shapes: Any) -> None:
        self.scale = self.add_weight(shape=(1,), name="scale")

    def call(self, inputs: Any) -> Any:
        return self.scale * (inputs[0] + inputs[1])


@pytest.mark.parametrize(
    ("merge", "options", "text"),
    [
        (
            lambda: layers.Dot,
            {},
            "The class Dot as merge= cannot be made without arguments: Dot.__init__() missing 1 required positional "
            "argument: 'axes'\n  Fix: Give a layer: merge=Dot(...).",
        ),
        (
            lambda: "add",
            {"custom_objects": {"a": print}},
            "custom_objects= has no meaning for merge='add'.\n  Expected: a merge that is a Keras layer",
        ),
    ],
)
def test_a_merge_that_cannot_be(merge: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(StitchError) as error:
        merged(merge(), **options)
    assert str(error.value).startswith(text)


def test_a_merge_that_draws_weights() -> None:
    """The parts take those that the stitched model drew."""
    graph = merged(WithWeights)
    model = graph.build()
    assert graph.verify().passed and graph.verify(model=model).passed
    model.get_layer("c_merge").set_weights([np.array([7.0])])
    assert graph.verify(model=model).passed
    np.testing.assert_allclose(model(X), 70 * (X - 2 * X), rtol=1e-6)


def test_a_merge_with_weights_as_a_submodel() -> None:
    """What the message says to do with one keeps its weights."""
    layer = WithWeights()
    layer([X, X])
    layer.set_weights([np.array([7.0])])
    with pytest.raises(StitchError, match="has weights, and a connection holds none"):
        merged(layer)
    a, b = keras.Input(X.shape[1:]), keras.Input(X.shape[1:])
    graph = ks.Graph().add("a", layers.Rescaling(1.0)).add("b", layers.Rescaling(2.0))
    graph.add("merged", keras.Model([a, b], layer([a, b])))
    first, second = (port.name for port in graph.spec.submodel("merged").inputs)
    graph.add_input("x", ["a", "b"], shape=X.shape[1:]).connect("a", f"merged.{first}").connect("b", f"merged.{second}")
    np.testing.assert_allclose(graph.build()(X), layer([X, 2 * X]), rtol=1e-6)
    assert graph.verify().passed


def test_a_merge_whose_name_is_taken() -> None:
    graph = ks.Graph().add("a", layers.Rescaling(1.0)).add("c_merge", layers.Rescaling(2.0))
    graph.add("c", layers.Rescaling(10.0)).add_input("x", ["a", "c_merge"], shape=X.shape[1:])
    graph.connect(["a", "c_merge"], "c", merge=WithWeights)
    assert {"c_merge", "c_merge_1"} <= {layer.name for layer in graph.build().layers}
    assert graph.verify().passed


def test_a_merge_that_draws_weights_does_not_run_in_the_dataloader() -> None:
    def part() -> keras.Model:
        return keras.Sequential([keras.Input((3,)), layers.Dense(3)])

    graph = ks.Graph().add("a", part()).add("b", part()).add("c", part(), placement="dataloader").add("d", part())
    graph.add_input("x", ["a", "b"]).connect(["a", "b"], "c", merge=WithWeights()).connect("c", "d")
    with pytest.raises(StitchError, match=r"The merge 'c_merge' runs in the dataloader, .* and its weights are new"):
        graph.verify()


# -- names ----------------------------------------------------------------------------------------


def times(factor: float) -> Callable[[Any], Any]:
    def act(x: Any) -> Any:
        return x * factor

    return act


def gelu(x: Any) -> Any:
    return x * 3


class Holds(layers.Wrapper):
    def call(self, x: Any) -> Any:
        return self.layer(x)


def scaling(factor: float) -> keras.Layer:
    class Scaled(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x * factor

    return Holds(Scaled())


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (lambda: [layers.Dense(2, times(2.0)), layers.Dense(2, times(5.0))], "act"),
        (lambda: [layers.Activation(times(2.0)), layers.Activation(times(5.0))], "act"),
        (lambda: [layers.Dense(2, gelu)], "gelu"),
        (lambda: [scaling(2.0), scaling(5.0)], "Scaled"),
    ],
)
def test_two_of_one_name_are_not_taken_for_each_other(made: Callable[[], list[keras.Layer]], name: str) -> None:
    model = keras.Sequential([keras.Input((4, 2), name="x"), *made()])
    with pytest.raises(SourceError, match=rf"Submodel 'own' .* needs '{name}', and another one has the same name"):
        ks.Graph().add("own", model)


def test_a_layer_whose_function_is_called_like_one_of_keras() -> None:
    with pytest.raises(SourceError, match="needs 'gelu', and another one has the same name"):
        ks.Graph().add("own", layers.Dense(2, gelu))


def test_functions_made_twice_by_the_same_code_are_one() -> None:
    model = keras.Sequential([keras.Input((2,), name="x"), layers.Dense(2, times(2.0)), layers.Dense(2, times(2.0))])
    x = np.ones((3, 2), "float32")
    np.testing.assert_allclose(ks.Graph().add("own", model).build()(x), model(x), atol=1e-6)
