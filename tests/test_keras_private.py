"""What is read from the inside of Keras is what the functions say."""

from __future__ import annotations

import keras
from keras import layers

from keras_stitch import keras_private


def test_calls_go_from_the_inputs_to_the_outputs_of_one_model():
    given = keras.Input((3,), name="given")
    shared = layers.Dense(3, name="shared")
    nested = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="inner")], name="nested")
    model = keras.Model(given, nested(shared(shared(given))))
    names = [call.operation.name for call in keras_private.calls(model)]
    assert names == ["given", "shared", "shared", "nested"]
    assert [call.operation.name for call in keras_private.calls(nested)][-1] == "inner"
    assert keras_private.calls(shared) == []


def test_layers_are_found_in_wrappers_and_their_weights_in_frozen_ones():
    wrapper = layers.Bidirectional(layers.LSTM(2, name="lstm"))
    wrapper.build((None, 4, 3))
    wrapper.trainable = False
    held = {type(layer).__name__ for layer in keras_private.held_layers(wrapper)}
    assert held == {"LSTM"}
    within = list(keras_private.layers_within(wrapper))
    assert within[0] is wrapper
    assert list(keras_private.layers_within(wrapper, include_self=False)) == within[1:]
    assert not wrapper.trainable_weights
    assert sum(len(keras_private.own_trainable_weights(layer)) for layer in within) == 6


def test_a_given_vocabulary_is_told_from_one_that_was_learnt():
    given, learns = layers.StringLookup(vocabulary=["a"]), layers.StringLookup()
    learns.adapt(["a"])
    assert keras_private.given_vocabulary(given) == ["a"]
    assert keras_private.given_vocabulary(learns) is None


def test_a_tensor_comes_from_its_layer():
    assert keras_private.maker(layers.Dense(2, name="dense")(keras.Input((3,)))).name == "dense"


def test_a_sequential_of_a_config_is_built_once():
    calls = []

    class Counted(layers.Dense):
        def compute_output_spec(self, *arguments, **options):
            calls.append(self.name)
            return super().compute_output_spec(*arguments, **options)

    inner = keras.Sequential([keras.Input((2,), name="x"), Counted(3, name="c"), Counted(2, name="d")], name="inner")
    outer = keras.Sequential([keras.Input((2,), name="y"), Counted(2, name="a"), inner, Counted(2, name="b")])
    config, add, read = outer.get_config(), keras.Sequential.add, keras.Sequential.from_config
    calls.clear()
    with keras_private.build_sequentials_once():
        made = keras.Sequential.from_config(config, custom_objects={"Counted": Counted})
        later = keras.Sequential([keras.Input((2,))])
        later.add(layers.Dense(2))
    assert later.built and made.built and made.get_config() == config
    assert sorted(set(calls)) == ["a", "b", "c", "d"] and calls.count("a") == calls.count("b") == 1
    assert keras.Sequential.add is add and keras.Sequential.from_config == read
