"""What a model looks like from outside: ports and layers."""

from __future__ import annotations

import keras
import pytest
import toy_models
from keras import layers
from toy_models import KINDS, dense

import keras_stitch as ks
from keras_stitch.graphs.spec import Port
from keras_stitch.models import ports


@pytest.mark.parametrize("kind", KINDS)
def test_ports_are_as_declared_in_every_format(kind):
    declared = KINDS[kind]
    sources = [toy_models.saved(kind, 0, format) for format in declared.formats] + [toy_models.in_memory(kind, 0)]
    for source in sources:
        (submodel,) = ks.Graph().add("m", source).spec.submodels
        found = [(None if port.generated else port.name, port.shape, port.dtype) for port in submodel.inputs]
        assert found == list(declared.inputs)
        assert [(port.name, port.shape) for port in submodel.outputs] == list(declared.outputs)
        assert {layer.path for layer in submodel.layers if layer.parameters} <= set(toy_models.leaf_paths(kind))


def test_layers_of_nested_models_have_a_path():
    infos = {info.path: info for info in ports.walk_layers(toy_models.in_memory("nested_deep", 0))}
    assert infos["functional/functional/dense"].trainable is False
    assert infos["functional/dense"].trainable and infos["dense"].parameters == 10


def test_outputs_that_repeat_or_pass_through():
    x = keras.Input((3,), name="x")
    y = dense(2, "y")(x)
    graph = ks.Graph().add("m", keras.Model(x, [y, x, y]))
    assert [port.name for port in graph.spec.submodels[0].outputs] == ["y", "x", "y_1"]
    assert list(graph.build().output) == ["m_y", "m_x", "m_y_1"]


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (keras.layers.Dense(1), ["input"]),
        (keras.layers.MultiHeadAttention(1, 1), ["query", "value"]),
        (keras.layers.LSTM(1), ["input"]),
        (keras.layers.Embedding(2, 2), ["input"]),
    ],
)
def test_ports_of_a_layer(layer, names):
    assert [port.name for port in ports.layer_ports(layer)] == names


def test_scalars_per_row():
    x = keras.Input((), name="x")
    assert ports.input_ports(keras.Model(x, keras.layers.Reshape((1,))(x))) == (Port("x", (), "float32"),)


@pytest.mark.parametrize("order", [["dense", "dense_1"], ["dense_1", "dense"]])
def test_inner_outputs_in_the_order_asked_for(order):
    model = toy_models.in_memory("functional", 0)
    assert [tensor.shape[-1] for tensor in ports.inner_tensors(model, order)] == [5, 3][
        :: 1 if order[0] == "dense" else -1
    ]


def test_an_unknown_inner_layer_names_the_nested_one():
    with pytest.raises(ks.StitchError, match=r"has no layer 'dense' of its own(.|\n)*encoder/dense"):
        ks.Graph().add("m", toy_models.in_memory("nested", 0), outputs="dense")


def test_a_layer_used_twice_has_no_single_output():
    x, layer = keras.Input((3,), name="x"), dense(3)
    with pytest.raises(ks.StitchError, match=r"The layer 'dense' is .* so it has no single output"):
        ks.Graph().add("m", keras.Model(x, layer(layer(x))), outputs=["dense"])


def test_flags_of_a_frozen_model_count_for_its_layers():
    model = toy_models.in_memory("functional", 0)
    model.trainable = False
    model.get_layer("dense").trainable = True
    assert ports.flags(model) == {"x": False, "dense": False, "batch_normalization": False, "dense_1": False}
    ports.set_flags(model, {"dense": True})
    assert {weight.path for weight in model.trainable_weights} >= {"dense/kernel", "dense/bias"}


def test_a_stateful_layer_is_refused():
    x = keras.Input(batch_shape=(1, 2, 3), name="x")
    with pytest.raises(ks.StitchError, match=r"has a stateful layer, 'rnn'(.|\n)*stateful=False"):
        ks.Graph().add("m", keras.Model(x, keras.layers.LSTM(2, stateful=True, name="rnn")(x)))


def test_bounds_are_found_through_what_only_moves_values() -> None:
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    inner = keras.Model(tokens, layers.Embedding(12, 2)(layers.Reshape((2, 3))(tokens)))
    graph = ks.Graph().add("inner", inner).add("small", layers.Embedding(5, 2)).add("x", layers.Rescaling(2.0))
    graph.add_input("both", ["inner", "small"]).add_input("other", "x", shape=(3,))
    # Of two embeddings, the one that knows fewer tokens.
    assert ports.embedding_bounds(graph.build()) == {"both": 5}
    half = layers.Embedding(9, 2)(layers.Discretization([0.0])(tokens))
    assert ports.embedding_bounds(keras.Model(tokens, half)) == {}


def test_vocabularies_are_what_all_lookups_know() -> None:
    words = keras.Input((2,), dtype="string", name="words")
    one = layers.StringLookup(vocabulary=["a", "b", "c"], num_oov_indices=0)(layers.Reshape((2,))(words))
    inner = keras.Model(words, layers.StringLookup(vocabulary=["c", "b"])(words))
    assert ports.vocabularies(keras.Model(words, [one, inner(words)])) == {"words": ("c", "b")}
    text = keras.Input((1,), dtype="string", name="text")
    split = layers.TextVectorization(vocabulary=["a", "b"])
    assert ports.vocabularies(keras.Model(text, split(text)))["text"][-1] == " [UNK] a b"
    numbers = keras.Input((2,), dtype="int32", name="numbers")
    back = layers.StringLookup(vocabulary=["a"], invert=True)(numbers)
    assert ports.vocabularies(keras.Model(numbers, back)) == {}
