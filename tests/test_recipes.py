"""Graphs in one line."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import toy_models
from backends import allclose, as_array, only_on
from toy_models import dense

import keras_stitch as ks

pytestmark = pytest.mark.backends

X = np.random.default_rng(0).normal(0, 1, (3, 4)).astype("float32")


def alone(kind: str, seed: int, given: np.ndarray = X) -> np.ndarray:
    return as_array(toy_models.alone(kind, seed, "h5")(given, training=False))


def test_chain():
    graph = ks.chain(toy_models.saved("functional", 0, "h5"), dense(4), toy_models.saved("sequential", 0, "h5"))
    model = graph.build()
    middle = model.get_layer("model2")(alone("functional", 0))
    assert allclose(model([X]), alone("sequential", 0, as_array(middle)), atol=1e-5)
    assert [layer.name for layer in model.layers[1:]] == ["model1", "model2", "model3"]


@pytest.mark.parametrize(
    ("merge", "want"), [("average", np.mean), ("maximum", np.max), ("add", np.sum)], ids=["average", "maximum", "add"]
)
def test_ensemble(merge, want):
    files = [toy_models.saved("functional", seed, "h5") for seed in range(3)]
    model = ks.ensemble(*files, merge=merge).build()
    members = [alone("functional", seed) for seed in range(3)]
    assert allclose(model([X]), want(members, axis=0), atol=1e-5)
    assert [tensor.name for tensor in model.inputs] == ["input"] and model.output_names == ["output"]


def test_ensemble_with_names():
    files = {"one": toy_models.saved("functional", 0, "h5"), "two": toy_models.saved("functional", 1, "keras")}
    model = ks.ensemble(files, input="x", output="mean").build()
    assert {"one", "two", "x", "mean"} <= {layer.name for layer in model.layers}


def test_ensemble_of_a_list_with_weights(tmp_path):
    files = [toy_models.saved("functional", seed, "h5") for seed in range(3)]
    model = ks.ensemble(files, weights=[3, 0, 1]).build()
    want = 0.75 * alone("functional", 0) + 0.25 * alone("functional", 2)
    for format in ("keras", "h5"):
        again = keras.saving.load_model(toy_models.save(model, tmp_path / f"e.{format}"), compile=False)
        assert allclose(again([X]), want, atol=1e-5)


@only_on("tensorflow", "torch", why="JAX has no float64 here")
def test_weights_do_not_narrow():
    sources = [keras.Sequential([keras.Input((4,), dtype="float64"), keras.layers.Dense(2, dtype="float64")])] * 2
    assert as_array(ks.ensemble(sources, weights=[1, 2]).build()([X.astype("float64")])).dtype == "float64"


@pytest.mark.parametrize("weights", [None, [1, 3]])
def test_ensemble_of_models_with_several_inputs_and_outputs(weights):
    def member(seed, order):
        keras.utils.set_random_seed(seed)
        seq, cell = keras.Input((4,), name="seq"), keras.Input((2,), name="cell")
        both = keras.layers.Concatenate(name="both")([seq, cell])
        made = {"rate": keras.layers.Dense(1, name="rate")(both), "half": keras.layers.Dense(3, name="half")(both)}
        return keras.Model([seq, cell][::order], [made[name] for name in ("rate", "half")][::order])

    members = [member(0, 1), member(1, -1)]
    given = {"seq": X, "cell": X[:, :2] + 1}
    found = ks.ensemble(members, weights=weights).build()(given)
    shares = np.array(weights or [1, 1]) / sum(weights or [1, 1])
    by_name = [dict(zip(one.output_names, one(given), strict=True)) for one in members]
    for name, shape in (("rate", 1), ("half", 3)):
        want = sum(share * as_array(one[name]) for share, one in zip(shares, by_name, strict=True))
        got = as_array(found[name])
        assert got.shape == (3, shape) and allclose(got, want, atol=1e-5)
    chosen = ks.ensemble(members, outputs=["rate"], weights=weights, output="mean").build()
    assert chosen.output_names == ["mean"] and allclose(chosen(given), found["rate"])


@pytest.mark.parametrize("merge", ["subtract", "abs_difference", "concatenate", keras.layers.Dot(axes=1)])
def test_siamese(merge, tmp_path):
    model = ks.siamese(toy_models.saved("functional", 0, "h5"), merge=merge, inputs=("a", "b")).build()
    one, other = alone("functional", 0), alone("functional", 0, X[::-1])
    if merge in ("subtract", "abs_difference"):
        want = np.abs(one - other) if merge == "abs_difference" else one - other
    else:
        want = np.concatenate([one, other], 1) if merge == "concatenate" else np.sum(one * other, 1, keepdims=True)
    for format in ("keras", "h5"):
        again = keras.saving.load_model(toy_models.save(model, tmp_path / f"s.{format}"), compile=False)
        assert allclose(again({"b": X[::-1], "a": X}), want, atol=1e-5)
        # One set of weights, in the files too.
        assert len(again.weights) == len(model.weights) == len(toy_models.alone("functional", 0, "h5").weights)


def test_siamese_cosine():
    model = ks.siamese(toy_models.saved("functional", 0, "h5"), merge="dot", axes=1, normalize=True).build()
    one, other = (alone("functional", 0, given) for given in (X, X[::-1]))
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    want = np.sum(one * other, axis=1) / np.where(norms == 0, 1, norms)
    assert allclose(model([X, X[::-1]]), want[:, None], atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ks.ensemble(dense(1)), "ensemble needs at least 2 models, received 1"),
        (lambda: ks.chain(), "chain needs at least 1 model, received 0"),
        (lambda: ks.siamese(dense(1), inputs=("a", "b", "c")), "two inputs"),
        (
            lambda: ks.ensemble(toy_models.saved("two_outputs", 0, "h5"), dense(3)),
            "do not have the same outputs.\n  Expected: dense, dense_1, as 'model1' has\n  Received: .* of 'model2'",
        ),
        (
            lambda: ks.ensemble([dense(3), toy_models.saved("two_inputs", 0, "h5")]),
            "do not have the same inputs.\n  Expected: .*, as 'model1' has\n  Received: a, b of 'model2'",
        ),
        (lambda: ks.ensemble([dense(1)] * 2, weights=[1, 2], merge="add"), "weights= has no meaning for merge='add'"),
        *(
            (
                lambda weights=weights: ks.ensemble({"a": dense(1), "b": dense(1)}, weights=weights),
                "weights= does not go with .*\n  Expected: 2 numbers that are not negative, .* one of each of a, b\n",
            )
            for weights in ([1], [1, 2, 3], [1, -1], [0, 0], ["x", 1], [float("nan"), 1], [float("inf"), 1], 3)
        ),
    ],
)
def test_what_they_refuse(make, message):
    with pytest.raises(ks.StitchError, match=message):
        make()
