"""Targets, losses and weights of several outputs go by name, as lists would go by the alphabet."""

from __future__ import annotations

import copy
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

import keras_stitch as ks
from keras_stitch.errors import StitchError
from keras_stitch.models.named_targets import check_named

ROWS = 4


def graph(*names: str) -> ks.Graph:
    """Outputs of these names, in this order."""
    made = ks.Graph("g").add_input("x", shape=(2,))
    for name in names:
        made.add(f"{name}_model", layers.Dense(1)).connect("x", f"{name}_model").add_output(name, f"{name}_model")
    return made


def built(*names: str) -> keras.Model:
    model = graph(*names).build()
    model.compile("sgd", "mse")
    return model


X = np.ones((ROWS, 2), "float32")


def ys(count: int) -> list[np.ndarray]:
    return [np.full((ROWS, 1), number, "float32") for number in range(count)]


@pytest.mark.parametrize("what", ["loss", "metrics", "weighted_metrics", "loss_weights"])
@pytest.mark.parametrize("kind", [list, tuple])
def test_lists_are_refused_where_the_alphabet_is_another_order(what, kind):
    model = built("late", "early")
    value = kind([1.0, 0.0] if what == "loss_weights" else ["mse", "mae"])
    with pytest.raises(StitchError) as error:
        model.compile(**{"optimizer": "sgd", "loss": {"late": "mse", "early": "mae"}, what: value})
    assert str(error.value) == (
        f"{what}= does not say which output each entry is for: Keras would take them in the order early, late.\n"
        "  Expected: a dict by output: late, early\n"
        f"  Received: a {kind.__name__} of 2"
    )
    if what == "loss":
        with pytest.raises(StitchError, match="loss= does not say"):
            model.compile("sgd", value)


@pytest.mark.parametrize("call", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_lists_of_targets_are_refused(call):
    model, options = built("late", "early"), {"verbose": 0} if call in ("fit", "evaluate") else {}
    with pytest.raises(StitchError, match=r"^The targets do not say which output each entry is for"):
        getattr(model, call)(X, ys(2), **options)
    getattr(model, call)(X, dict(zip(("late", "early"), ys(2), strict=True)), **options)


NO_LIST = (
    "sample_weight= is a list, and Keras takes none for a model with several named outputs.\n"
    "  Expected: a dict by output: {0}, or one array for all\n"
    "  Received: a {1} of 2"
)


@pytest.mark.slow
@pytest.mark.parametrize("names", [("early", "late"), ("late", "early")])
@pytest.mark.parametrize("call", ["fit", "evaluate", "train_on_batch", "validate"])
@pytest.mark.parametrize("kind", [list, tuple])
def test_lists_of_weights_of_rows_are_refused_in_any_order(names, call, kind):
    """Keras itself fails on them: a structure that does not match, or 'list indices must be integers'."""
    model, targets = built(*names), dict(zip(names, ys(2), strict=True))
    weights = [np.ones(ROWS, "float32")] * 2
    quiet = {} if call == "train_on_batch" else {"verbose": 0}

    def run(given: Any) -> None:
        if call == "validate":
            model.fit(X, targets, validation_data=(X, targets, given), **quiet)
        else:
            getattr(model, call)(X, targets, sample_weight=given, **quiet)

    with pytest.raises(StitchError) as error:
        run(kind(weights))
    assert str(error.value) == NO_LIST.format(", ".join(names), kind.__name__)
    run(dict(zip(names, weights, strict=True)))
    run(weights[0])


def test_weights_of_rows_by_name_go_with_targets_by_name():
    weights = dict.fromkeys(("early", "late"), np.ones(ROWS, "float32"))
    with pytest.raises(StitchError, match="is a dict by output, and the targets are a list") as error:
        built("early", "late").fit(X, ys(2), sample_weight=weights, verbose=0)
    assert "Expected: targets as a dict by output: early, late" in str(error.value)


def test_weights_of_rows_in_a_data_set():
    class Weighted(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Any:
            return X, dict(zip(("early", "late"), ys(2), strict=True)), (np.ones(ROWS), np.ones(ROWS))

    with pytest.raises(StitchError, match="sample_weight= is a list"):
        built("early", "late").fit(Weighted(), verbose=0)


def test_targets_of_a_data_set_are_refused():
    class Lists(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Any:
            return X, tuple(ys(2))

    with pytest.raises(StitchError, match="The targets do not say"):
        built("late", "early").fit(Lists(), verbose=0)


@pytest.mark.slow
@given(st.permutations(["a", "b", "c"]), st.booleans())
def test_the_loss_is_that_of_the_graphs_order_or_refused(names: list[str], compiled: bool):
    """Whatever is given as a list counts for the outputs in their order, or does not pass."""
    model = graph(*names).build()
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([np.zeros(weight.shape) for weight in layer.weights])
    weights = [1.0, 10.0, 100.0]
    listed = {"loss": ["mse"] * 3, "loss_weights": weights}
    named = {key: dict(zip(names, value, strict=True)) for key, value in listed.items()}
    try:
        model.compile("sgd", **(listed if compiled else named))
        found = model.evaluate(X, ys(3), verbose=0, return_dict=True)["loss"]
    except StitchError:
        assert list(names) != sorted(names)
        model.compile("sgd", **named)
        found = model.evaluate(X, dict(zip(names, ys(3), strict=True)), verbose=0, return_dict=True)["loss"]
    assert found == sum(weight * number**2 for number, weight in enumerate(weights))


@pytest.mark.slow
def test_a_model_stays_plain(tmp_path):
    """What is saved, or copied, is Keras' own."""
    model = built("late", "early")
    model.fit(X, {"late": ys(1)[0], "early": ys(1)[0]}, sample_weight={"late": np.ones(ROWS), "early": np.ones(ROWS)},
              verbose=0)  # fmt: skip
    model.save(tmp_path / "m.keras")
    for plain in (keras.saving.load_model(tmp_path / "m.keras"), copy.deepcopy(model), keras.models.clone_model(model)):
        assert type(plain) is type(model) and "compile" not in vars(plain)
        for name, value in model.predict(X, verbose=0).items():
            plain.set_weights(model.get_weights())  # those of a clone are new
            np.testing.assert_array_equal(plain.predict(X, verbose=0)[name], value)
    assert graph("late", "early").save(tmp_path / "made", model=model).is_dir()


def test_one_output_and_outputs_in_the_order_of_the_alphabet_take_lists():
    for names in (["one"], ["early", "late"]):
        model = graph(*names).build()
        model.compile("sgd", ["mse"] * len(names), metrics=["mae"] * len(names))
        model.fit(X, ys(len(names)), verbose=0)
        by_list = model.evaluate(X, ys(len(names)), verbose=0)
        if len(names) > 1:
            model.compile("sgd", dict.fromkeys(names, "mse"))
            by_name = model.evaluate(X, dict(zip(names, ys(len(names)), strict=True)), verbose=0)
            np.testing.assert_allclose(by_list[0], np.ravel(by_name)[0], rtol=1e-6)


def test_the_summary_says_so():
    said = "Targets, losses and weights go by name: Keras would take a list in the order early, late."
    assert said in str(graph("late", "early").summary())
    assert "go by name" not in str(graph("early", "late").summary())


@pytest.mark.parametrize(("value", "names"), [(it, ["b", "a"]) for it in (None, {}, "mse", np.ones(2))])
def test_what_is_no_list(value, names):
    check_named(value, "loss=", names)
    check_named(["mse"], "loss=", ["one"])
