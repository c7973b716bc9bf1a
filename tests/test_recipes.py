"""Graphs in one line."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import toy_models
from backends import allclose, as_array
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


@pytest.mark.parametrize("merge", ["subtract", "concatenate", keras.layers.Dot(axes=1)])
def test_siamese(merge, tmp_path):
    model = ks.siamese(toy_models.saved("functional", 0, "h5"), merge=merge, inputs=("a", "b")).build()
    one, other = alone("functional", 0), alone("functional", 0, X[::-1])
    if merge == "subtract":
        want = one - other
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
            lambda: ks.ensemble(*[toy_models.saved("two_outputs", 0, "h5")] * 2),
            "Submodel 'model1' of an ensemble has 1 inputs and 2 outputs",
        ),
    ],
)
def test_what_they_refuse(make, message):
    with pytest.raises(ks.StitchError, match=message):
        make()
