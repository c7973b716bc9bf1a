"""The promise: a stitched model predicts what its parts predict one after another, also after saving."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from backends import gradients
from hypothesis import event, given
from reference import World, assert_equal, by_name
from strategies import Case, cases
from toy_models import leaves

from keras_stitch.errors import StitchError
from keras_stitch.keras_private import quiet_keras
from keras_stitch.models.save_keras import check_format

pytestmark = pytest.mark.backends


def predict(model: keras.Model, data: dict[str, np.ndarray], *, as_list: bool = False) -> dict[str, np.ndarray]:
    """Predictions by output name; a warning of Keras is an error."""
    given: Any = [data[tensor.name] for tensor in model.inputs] if as_list else data
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return by_name(model(given, training=False), model)


def reloaded(model: keras.Model, format: str) -> keras.Model:
    """The model saved and loaded by Keras alone."""
    with tempfile.TemporaryDirectory() as folder, quiet_keras():
        path = Path(folder) / f"model.{format}"
        model.save(path)
        return keras.saving.load_model(path, compile=False)


def output_names(model: keras.Model) -> list[str]:
    return list(model.output) if isinstance(model.output, dict) else list(model.output_names)


def trained_positions(model: keras.Model) -> list[int]:
    training = {id(weight) for weight in model.trainable_weights}
    return [position for position, weight in enumerate(model.weights) if id(weight) in training]


def snapshot(held: dict[str, Any]) -> dict[str, Any]:
    """What must not change in the objects of the user."""
    seen = {}
    for name, layer in held.items():
        inside = leaves(layer) if isinstance(layer, keras.Model) else {layer.name: layer}
        flags = [(path, id(leaf), leaf.name, leaf.trainable) for path, leaf in inside.items()]
        seen[name] = (layer.name, layer.trainable, flags, [weight.copy() for weight in layer.get_weights()])
    return seen


def assert_same_state(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name, (*said, weights) in before.items():
        *now, weights_now = after[name]
        assert said == now
        assert all(np.array_equal(a, b) for a, b in zip(weights, weights_now, strict=True))


def expected_training(world: World, model: keras.Model) -> dict[int, str]:
    """Ids and paths of the weights that should train."""
    found = {}
    for owner, flags in world.flags().items():
        layer = model.get_layer(owner)
        inside = leaves(layer) if isinstance(layer, keras.Model) else {owner: layer}
        for path, leaf in inside.items():
            if flags.get(path, False):
                found |= {id(w): w.path for w in leaf.weights if "moving_" not in w.path}
    return found


@given(cases())
def test_predicts_what_the_parts_predict(case: Case):
    world = World(case)
    data = world.data()
    before = snapshot(world.held)
    graph = world.graph()
    model = graph.build()
    assert [tensor.name for tensor in model.inputs] == world.input_names()
    want = world.expected(data, model)
    # Outputs in a dict are sorted by Keras where it flattens them, never where a user sees them.
    assert output_names(model) == list(want)
    assert_equal(predict(model, data), want)
    assert_equal(predict(model, data, as_list=True), want)
    assert_same_state(before, snapshot(world.held))

    operations = any(case.owner(node).kind == "operations" for node in case.nodes)
    event(f"{len(case.nodes)} submodels")
    # Keras makes the layers inside attention anew on loading, and forgets that they were frozen.
    attention = [case.owner(node).name for node in case.nodes if node.kind == "MultiHeadAttention"]
    thaws = any(not world.flags()[owner][owner] for owner in attention)
    for format in ("keras", "h5"):
        if format == "h5" and operations:
            with warnings.catch_warnings(), pytest.raises(StitchError, match=r"An \.h5 file cannot hold"):
                warnings.simplefilter("ignore")
                check_format(model, format)
            continue
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            check_format(model, format)
        assert any("is frozen" in str(warning.message) for warning in said) == thaws
        again = reloaded(model, format)
        assert [tensor.name for tensor in again.inputs] == world.input_names()
        assert output_names(again) == list(want)
        assert_equal(predict(again, data), want)
        assert_equal(predict(again, data, as_list=True), want)
        assert thaws or trained_positions(again) == trained_positions(model)


@given(cases())
def test_gradients_reach_the_unfrozen_weights_and_no_others(case: Case):
    world = World(case)
    model = world.graph().build()
    expected = expected_training(world, model)
    assert {weight.path for weight in model.trainable_weights if id(weight) not in expected} == set()
    missing = set(expected) - {id(weight) for weight in model.trainable_weights}
    assert {expected[key] for key in missing} == set()

    unreached = [
        weight.path
        for weight, gradient in zip(model.trainable_weights, gradients(model, world.data()), strict=True)
        if gradient is None
    ]
    # A head that is neither used nor exposed has no gradient, nor has what only it needs.
    assert case.dropped or unreached == []


@given(cases(max_nodes=4))
def test_two_builds_share_nothing(case: Case):
    world = World(case)
    graph = world.graph()
    first, second = graph.build(), graph.build()
    assert not {id(weight) for weight in first.weights} & {id(weight) for weight in second.weights}
    before, held = [w.copy() for w in second.get_weights()], snapshot(world.held)
    for weight in first.weights:
        weight.assign(weight + 1)
    first.trainable = False
    assert all(np.array_equal(a, b) for a, b in zip(before, second.get_weights(), strict=True))
    assert {id(weight) for weight in second.trainable_weights} == set(expected_training(world, second))
    assert_same_state(held, snapshot(world.held))
