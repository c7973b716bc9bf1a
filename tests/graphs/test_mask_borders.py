"""What is said where a mask stops at a border between submodels: advice that works there, or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import toy_models

import keras_stitch as ks
from keras_stitch.errors import StitchError

pytestmark = pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")

L = keras.layers
STEPS = 5


def words(seed: int = 0) -> keras.Model:
    return toy_models.in_memory("masked_tokens", seed)


def start(*names: str) -> ks.Graph:
    graph = ks.Graph()
    for number, name in enumerate(names):
        graph.add(name, words(number))
    return graph.add_input("tokens", list(names))


def to_rnn(**how: Any) -> ks.Graph:
    return start("a").add("rnn", L.LSTM(2)).connect("a", "rnn", **how)


def merged(merge: Any, **how: Any) -> ks.Graph:
    return start("a", "b").add("rnn", L.LSTM(2)).connect(["a", "b"], "rnn", merge=merge, **how)


def half_masked(**how: Any) -> ks.Graph:
    graph = ks.Graph().add("a", words()).add("b", toy_models.in_memory("tokens", 1)).add("rnn", L.LSTM(2))
    return graph.add_input("tokens", ["a", "b"]).connect(["a", "b"], "rnn", merge="add", **how)


def bare_and_saved(**how: Any) -> ks.Graph:
    graph = ks.Graph().add("a", words()).add("b", L.Embedding(9, 3, mask_zero=True)).add("rnn", L.LSTM(2))
    graph.add_input("tokens", ["a", "b"], shape=(STEPS,), dtype="int32")
    return graph.connect(["a", "b"], "rnn", merge="add", **how)


def apart(**how: Any) -> ks.Graph:
    graph = ks.Graph().add("a", words(), placement="dataloader").add("rnn", L.LSTM(2))
    return graph.connect("a", "rnn", **how)


def to_pytorch(**how: Any) -> ks.Graph:
    torch = pytest.importorskip("torch")
    return start("a").add("net", torch.nn.Flatten(), shapes=(STEPS, 3)).connect("a", "net", **how)


def to_convolution(**how: Any) -> ks.Graph:
    return start("a").add("conv", L.Conv1D(2, 2)).connect("a", "conv", **how)


def part(**how: Any) -> ks.Graph:
    return start("a").add("rnn", L.LSTM(2)).connect("a[0:2]", "rnn", **how)


def broadcast(**how: Any) -> ks.Graph:
    one = keras.Sequential([keras.Input((STEPS,), dtype="int32"), L.Embedding(9, 1, mask_zero=True)])
    graph = start("a").add("b", one).add("rnn", L.LSTM(2)).add_input("others", "b")
    return graph.connect(["a", "b"], "rnn", merge="add", **how)


ASK = "; mask=True in connect passes it on."
LAYER = "; merge=keras.layers.Multiply() does with masks what Keras does."


@pytest.mark.parametrize(
    ("make", "ends", "followed"),
    [
        (to_rnn, [ASK], {"mask": True}),
        (lambda **how: merged("concatenate", **how), [ASK, ASK], {"mask": True}),
        (bare_and_saved, [ASK, ASK], {"mask": True}),
        (lambda **how: merged(L.Multiply(), **how), [ASK, ASK], {"mask": True}),
        (
            lambda **how: merged(**{"merge": "multiply", **how}),
            [f": merge='multiply' does not{LAYER}"] * 2,
            {"merge": L.Multiply(), "mask": True},
        ),
    ],
)
def test_advice_works(make: Callable[..., ks.Graph], ends: list[str], followed: dict[str, Any]) -> None:
    graph = make()
    assert graph.verify().passed
    assert [note.partition(" and 'rnn'")[2] for note in graph.plan().notes] == ends
    graph = make(**followed)
    assert graph.plan().notes == graph.summary().notes == ()
    assert graph.verify().passed


@pytest.mark.parametrize(
    ("make", "why"),
    [
        pytest.param(to_pytorch, "'net' is PyTorch, not Keras", marks=pytest.mark.slow),
        (to_convolution, "no layer of 'conv' there heeds one or passes it on"),
        (part, "'a[0:2]' is a part, and the layers that cut it out drop the mask"),
        (half_masked, "with merge='add' Keras passes a mask on only where all sources have one"),
        (broadcast, "with merge='add' sources of different shapes have no common one"),
        (apart, "the two run in different stages, and only numbers go from one to the next"),
        (lambda **how: merged(L.Dot(1), **how), "Dot as merge= drops it, as in Keras"),
    ],
)
def test_no_advice_where_the_mask_would_be_refused(make: Callable[..., ks.Graph], why: str) -> None:
    notes = make().plan().notes
    assert notes and all(note.startswith("A Keras mask stops between") and note.endswith(f": {why}.") for note in notes)
    with pytest.raises(StitchError) as error:
        make(mask=True).plan()
    assert why in str(error.value)


def test_what_a_certificate_says_of_stages() -> None:
    graph = apart()
    (note,) = graph.plan().notes
    certificate = graph.verify({"tokens": np.ones((2, STEPS), "int32")})
    assert certificate.passed and note in certificate.notes
