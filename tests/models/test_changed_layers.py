"""Models whose layers were adapted by LoRA or quantised: added, verified and saved as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import keras_stitch as ks
from keras_stitch.errors import SaveError
from keras_stitch.models import changed_layers
from keras_stitch.verify import reference

RANDOM = np.random.default_rng(0)
X = {"x": RANDOM.standard_normal((4, 6)).astype("float32")}
TOKENS = {"tokens": RANDOM.integers(0, 20, (4, 5)).astype("int32")}


def dense() -> keras.Model:
    inner = layers.Dense(8, "relu", name="first")
    return keras.Sequential([keras.Input((6,), name="x"), inner, layers.Dense(8, name="second")])


def words() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((5,), dtype="int32", name="tokens"),
            layers.Embedding(20, 8, name="embedding"),
            layers.Conv1D(4, 3, name="conv"),
            layers.TimeDistributed(layers.Dense(3, name="held"), name="each"),
            layers.GlobalAveragePooling1D(name="mean"),
            layers.EinsumDense("ab,bc->ac", 3, bias_axes="c", name="einsum"),
        ]
    )


def adapt(model: keras.Model, alpha: float | None = None) -> keras.Model:
    for layer in changed_layers.layers_within(model):
        if hasattr(layer, "enable_lora"):
            layer.enable_lora(2, lora_alpha=alpha)
            for weight in layer.weights:
                if "lora" in weight.path:
                    weight.assign(RANDOM.standard_normal(weight.shape) * 0.3)
    return model


def quantise(model: keras.Model, mode: str = "int8") -> keras.Model:
    for layer in changed_layers.layers_within(model):
        if isinstance(layer, layers.Dense | layers.EinsumDense | layers.Embedding):
            layer.quantize(mode)
    return model


def graph_of(source: keras.Model) -> ks.Graph:
    """It runs twice, so that shared weights are changed together."""
    graph = ks.Graph("g").add("a", source).share("again", of="a").add("sum", layers.Identity())
    graph.add_input(source.inputs[0].name, ["a", "again"])
    return graph.connect(["a", "again"], "sum", merge="add")


HOW = [
    pytest.param(adapt, id="LoRA"),
    pytest.param(quantise, id="int8"),
    pytest.param(lambda model: quantise(model, "int4"), id="int4", marks=pytest.mark.slow),
]
MADE = [
    pytest.param(dense, X, id="dense"),
    pytest.param(words, TOKENS, id="words", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("make", "data"), MADE)
def test_a_source_in_memory(make: Any, data: Any, how: Any) -> None:
    source = how(make())
    graph = graph_of(source)
    (inputs,) = data.values()
    np.testing.assert_array_equal(graph.build()(data), 2 * np.array(source(inputs)))
    for format in ("keras", "h5"):
        assert graph.verify(data, format=format).passed


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("make", "data"), MADE)
def test_a_built_model(make: Any, data: Any, how: Any) -> None:
    graph = graph_of(make())
    model = graph.build()
    before = np.array(model(data))
    how(model)
    assert np.abs(np.array(model(data)) - before).max() > 1e-4
    for format in ("keras", "h5"):
        certificate = graph.verify(data, model=model, format=format)
        assert certificate.passed, certificate
        assert certificate.parts[0].weights == ("trained" if how is adapt else "of the source")


def test_alpha_is_kept_by_keras_files() -> None:
    """Keras forgets it when it makes a layer from its config."""
    source = adapt(dense(), alpha=3)
    graph = graph_of(source)
    np.testing.assert_array_equal(graph.build()(X), 2 * np.array(source(X["x"])))
    assert graph.verify(X).passed
    plain = graph_of(dense())
    assert plain.verify(X, model=adapt(plain.build(), alpha=3)).passed
    with pytest.raises(SaveError, match=r"it has LoRA with lora_alpha=3, which Keras forgets on loading \('a/first'\)"):
        graph.verify(X, format="h5")


def test_alpha_of_a_file_is_not_forgotten(tmp_path: Path) -> None:
    source = adapt(dense(), alpha=3)
    source.save(tmp_path / "source.h5")
    model = ks.Graph("g").add("a", tmp_path / "source.h5").build()
    np.testing.assert_array_equal(model(X), source(X["x"]))


def test_float8_has_its_weights_in_another_order() -> None:
    source = quantise(dense(), "float8")
    graph = graph_of(source)
    np.testing.assert_array_equal(graph.build()(X), 2 * np.array(source(X["x"])))
    assert graph.verify(X).passed


def test_a_bare_layer() -> None:
    graph = ks.Graph("g").add("a", layers.Dense(3)).add_input("x", "a", shape=(6,))
    model = adapt(graph.build())
    certificate = graph.verify(X, model=model)
    assert certificate.passed
    assert certificate.notes == (f"'a' has LoRA of rank 2 in 'a'{MERGED}.",)


MERGED = "; a .keras file holds it merged into the weights, an .h5 file as it is"


def test_what_is_changed_is_named() -> None:
    graph = ks.Graph("g").add("a", adapt(dense())).add("b", layers.Dense(2)).connect("a", "b")
    note = f"'a' has LoRA of rank 2 in 'first', 'second'{MERGED}."
    assert graph.summary().notes == graph.plan().notes == graph.verify(X).notes == (note,)
    assert str(graph.summary()).endswith(f"\n\n{note}")
    model = quantise(ks.Graph("g").add("a", words()).build())
    graph = ks.Graph("g").add("a", words())
    assert graph.summary().notes == ()
    assert graph.summary(model=model).notes == ("'a' has int8 weights in 'embedding', 'each', 'einsum'.",)


def test_adapters_on_quantised_weights_are_for_h5() -> None:
    graph = graph_of(adapt(quantise(dense())))
    assert graph.verify(X, format="h5").passed
    with pytest.raises(SaveError) as error:
        graph.verify(X)
    assert str(error.value) == (
        "A .keras file cannot hold submodel 'a': its layer 'first' has LoRA of rank 2 on int8 weights, which Keras "
        "would merge and quantise anew.\n"
        '  Fix: Save as .h5, which holds them as they are: graph.save(..., format="h5").'
    )


@pytest.mark.parametrize("how", [adapt, quantise], ids=["LoRA", "int8"])
def test_a_directory_of_a_changed_model(tmp_path: Path, how: Any) -> None:
    graph = graph_of(dense())
    directory = graph.save(tmp_path / "made", model=how(graph.build()))
    said = json.loads((directory / "certificate.json").read_text())
    assert said["passed"] and said["notes"][0].startswith("'a' has ")


def test_other_adapters_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts do not simply repeat what the stitched model is."""
    graph = graph_of(dense())
    model = adapt(graph.build())

    def nearly(source: keras.Layer, target: keras.Layer) -> None:
        changed_layers.copy_weights(source, target)
        for weight in target.weights:
            if "lora_kernel_a" in weight.path:
                weight.assign(weight + 0.1)

    monkeypatch.setattr(reference, "copy_weights", nearly)
    assert not graph.verify(X, model=model).passed


def test_another_model_is_refused_all_the_same() -> None:
    other = keras.Sequential(
        [keras.Input((6,), name="x"), layers.Dense(9, name="first"), layers.Dense(8, name="second")]
    )
    model = adapt(graph_of(other).build())
    with pytest.raises(SaveError, match="model= is not a model of graph 'g': its weights differ") as error:
        graph_of(dense()).verify(X, model=model)
    assert "Expected: [(6, 8), (8,), (8, 8), (8,)]\n  Received: [(6, 9), (9,), (9, 8), (8,)]" in str(error.value)
