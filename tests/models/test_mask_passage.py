"""Keras masks at the borders between submodels: passed on, stopped and named, or refused."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import toy_models
import warm_python
from backends import as_array, close

import keras_stitch as ks
from keras_stitch.errors import StitchError, WiringError
from keras_stitch.models import build as building
from keras_stitch.models import mask_passage
from keras_stitch.models.save_keras import save_model

pytestmark = [pytest.mark.backends, pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")]

STEPS = 5
TOKENS = np.array([[1, 2, 0, 0, 0], [0, 0, 3, 4, 0], [0, 0, 0, 0, 0], [5, 0, 6, 0, 1]], "int32")
L = keras.layers
STOPS = "A Keras mask stops between '{0}' and '{1}'; mask=True in connect passes it on."


def padded(*shape: int) -> np.ndarray:
    values = np.random.default_rng(0).normal(0, 1, shape).astype("float32")
    for number, row in enumerate(values):
        row[len(row) - number % len(row) :] = 0
    return values


def again(model: keras.Model, folder: Path) -> list[keras.Model]:
    paths = [save_model(model, folder / name) for name in ("again.keras", "again.h5")]
    return [model, *(keras.saving.load_model(path, compile=False) for path in paths)]


def run(model: keras.Model, *given: np.ndarray) -> Any:
    return model.predict(list(given) if len(model.inputs) > 1 else given[0], verbose=0)


def words() -> keras.Model:
    return toy_models.in_memory("masked_tokens", 0)


def recurrent() -> keras.Model:
    return toy_models.in_memory("recurrent", 0)


def two_in() -> keras.Model:
    a, b = keras.Input((STEPS, 3), name="a"), keras.Input((STEPS, 3), name="b")
    return keras.Model([a, b], L.Concatenate()([L.LSTM(2)(a), L.LSTM(2)(b)]))


def of(*layers: keras.Layer, shape: tuple[int, ...] = (STEPS, 3), dtype: str = "float32") -> keras.Model:
    """One Keras model of some layers, the judge."""
    return keras.Sequential([keras.Input(shape, dtype=dtype), *layers])


class Zeros(L.Layer):
    """Masks steps of zeros."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.supports_masking = True

    def call(self, x: Any) -> Any:
        return x * 1.0

    def compute_mask(self, x: Any, previous_mask: Any = None) -> Any:
        return keras.ops.any(keras.ops.not_equal(x, 0), axis=-1)


class Inherited(Zeros):
    pass


class HoldsMasking(L.Layer):
    """Calls a layer that masks steps of zeros."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.held = L.Masking()

    def call(self, x: Any) -> Any:
        return self.held(x)


class DropsIt(HoldsMasking):
    def call(self, x: Any) -> Any:
        return self.held(x) * 1.0


class ModelOfItsOwn(keras.Model):
    """A nested model that is not what its graph says, which has no mask."""

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, **options: Any):
        super().__init__(inputs, outputs, name=name, **options)
        self.masking = L.Masking()

    def call(self, x: Any, training: Any = None, mask: Any = None) -> Any:
        return self.masking(super().call(x))


def own_model() -> keras.Model:
    x = keras.Input((STEPS, 3))
    return ModelOfItsOwn(x, L.Rescaling(1.0)(x), name="inner")


# -- passed on -----------------------------------------------------------------


@pytest.mark.parametrize("source", ["h5", "keras", "memory"])
def test_a_mask_goes_from_one_saved_model_to_the_next(source: str, tmp_path: Path) -> None:
    graph = ks.Graph()
    for name, kind in (("words", "masked_tokens"), ("rnn", "recurrent")):
        held = source == "memory"
        graph.add(name, toy_models.in_memory(kind, 0) if held else toy_models.saved(kind, 0, source))
    graph.connect("words", "rnn", mask=True)
    embedding, lstm = words().get_layer("embedding"), recurrent().get_layer("lstm")
    want = run(of(embedding, lstm, shape=(STEPS,), dtype="int32"), TOKENS)
    assert not close(recurrent()(as_array(words()(TOKENS))), want), "the mask makes no difference"
    assert graph.summary().notes == graph.plan().notes == ()
    for model in again(graph.build(), tmp_path):
        assert close(run(model, TOKENS), want)
        assert close(model([TOKENS]), want)


PROGRAM = """
import sys, warnings, keras, numpy as np
warnings.simplefilter("ignore")
tokens = np.load(sys.argv[1])
for path in sys.argv[2:]:
    np.save(path + ".npy", keras.saving.load_model(path).predict([tokens], verbose=0))
assert not any(name.startswith("keras_stitch") for name in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.fresh_process
def test_keras_alone_has_the_mask_in_a_fresh_process(tmp_path: Path) -> None:
    mask, lstm = L.Embedding(9, 3, mask_zero=True), L.LSTM(4)
    want = run(of(mask, L.Dropout(0.5), lstm, shape=(STEPS,), dtype="int32"), TOKENS)
    bare = ks.Graph().add("e", mask).add("d", L.Dropout(0.5)).add("rnn", lstm)
    bare.connect("e", "d").connect("d", "rnn").add_input("tokens", "e", shape=(STEPS,), dtype="int32")
    inner = of(mask, shape=(STEPS,), dtype="int32")
    asked = ks.Graph().add("e", inner).add("rnn", of(lstm)).connect("e", "rnn", mask=True)
    np.save(tmp_path / "tokens.npy", TOKENS)
    files = [
        save_model(graph.build(), tmp_path / f"{name}.{format}")
        for name, graph in (("bare", bare), ("asked", asked))
        for format in ("keras", "h5")
    ]
    done = warm_python.run([sys.executable, "-c", PROGRAM, tmp_path / "tokens.npy", *files])
    assert done.returncode == 0, done.stderr[-2000:]
    assert all(close(np.load(f"{file}.npy"), want) for file in files)


def masking() -> keras.Layer:
    return L.Masking(name="masking")


BARE: dict[str, list[Callable[[], keras.Layer]]] = {
    "recurrent": [masking, lambda: L.GRU(3)],
    "through layers that pass it on": [masking, lambda: L.Dense(4), lambda: L.Dropout(0.1), lambda: L.LSTM(3)],
    "two ways": [masking, lambda: L.Bidirectional(L.LSTM(2, return_sequences=True)), lambda: L.GRU(2)],
    "pooling": [masking, L.GlobalAveragePooling1D],
    "softmax": [masking, lambda: L.Dense(1), lambda: L.Reshape((STEPS,))],
    "a layer that drops it": [masking, lambda: L.Conv1D(3, 2), lambda: L.LSTM(2)],
    "a layer at each step": [masking, lambda: L.TimeDistributed(L.Dense(2)), lambda: L.SimpleRNN(2)],
}


@pytest.mark.slow
@pytest.mark.parametrize("makers", BARE.values(), ids=BARE)
def test_bare_layers_mask_what_follows_them(makers: list[Callable[[], keras.Layer]], tmp_path: Path) -> None:
    layers, x = [make() for make in makers], padded(6, STEPS, 3)
    want = run(of(*layers), x)
    graph = ks.Graph()
    for number, layer in enumerate(layers):
        graph.add(f"n{number}", layer)
        if number:
            graph.connect(f"n{number - 1}", f"n{number}")
    graph.add_input("x", "n0", shape=(STEPS, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # nothing is said of masks that layers drop
        model = graph.build()
    for one in again(model, tmp_path):
        assert close(run(one, x), want)


def test_a_bare_masking_layer_masks_a_saved_model() -> None:
    x = padded(6, STEPS, 3)
    graph = ks.Graph().add("masking", L.Masking()).add("rnn", toy_models.saved("recurrent", 0, "h5"))
    graph.connect("masking", "rnn").add_input("x", "masking", shape=(STEPS, 3))
    want = run(of(L.Masking(), recurrent().get_layer("lstm")), x)
    assert not close(recurrent()(x), want)
    assert close(run(graph.build(), x), want)
    assert graph.verify().passed


@pytest.mark.slow
def test_some_connections_pass_it_on_and_others_stop_it(tmp_path: Path) -> None:
    graph = ks.Graph().add("words", words()).add("yes", recurrent()).share("no", of="yes").add("part", recurrent())
    graph.connect("words", "yes", mask=True).connect("words", "no").connect(["words[0:2]", "words[2]"], "part")
    values, lstm = as_array(words()(TOKENS)), recurrent().get_layer("lstm")
    masked, plain = as_array(lstm(values, mask=TOKENS != 0)), as_array(lstm(values))
    assert not close(masked, plain)
    for model in again(graph.build(), tmp_path):
        found = run(model, TOKENS)
        assert close(found["yes"], masked) and close(found["no"], plain) and close(found["part"], plain)
    cut = (
        "A Keras mask stops between '{0}' and 'part': 'words[0:2]' is a part, and the layers that cut it out drop {1}."
    )
    parts = [cut.format(source, "the mask") for source in ("words[0:2]", "words[2]")]
    assert graph.plan().notes == (STOPS.format("words", "no"), *parts)
    assert graph.verify().passed


def test_a_mask_goes_on_behind_a_model_that_took_it() -> None:
    """Where it comes out again, it stops, or goes on, as at any border."""
    pass_on = of(L.Dense(3, kernel_initializer="identity"))
    graph = ks.Graph().add("words", words()).add("dense", pass_on).add("rnn", recurrent())
    values, lstm = as_array(words()(TOKENS)), recurrent().get_layer("lstm")
    for asked, want in ((True, lstm(values, mask=TOKENS != 0)), (None, lstm(values))):
        trial = ks.Graph().add("words", words()).add("dense", pass_on).add("rnn", recurrent())
        trial.connect("words", "dense", mask=True).connect("dense", "rnn", mask=asked)
        assert close(run(trial.build(), TOKENS), want)
        assert trial.plan().notes == (() if asked else (STOPS.format("dense", "rnn"),))
        assert trial.verify().passed
    assert graph.connect("words", "dense").connect("dense", "rnn").plan().notes == (STOPS.format("words", "dense"),)


@pytest.mark.slow
@pytest.mark.parametrize("order", [("mha", "rnn"), ("rnn", "mha")])
def test_attention_leaves_the_masks_of_others(order: tuple[str, str]) -> None:
    """Keras' MultiHeadAttention takes masks off its inputs."""
    embedding, layers = L.Embedding(9, 4, mask_zero=True), {"mha": L.MultiHeadAttention(2, 3), "rnn": L.LSTM(3)}
    x = keras.Input((STEPS,), dtype="int32")
    masked = embedding(x)
    attention = run(keras.Model(x, layers["mha"](masked, masked)), TOKENS)
    recurrent_alone = run(of(embedding, layers["rnn"], shape=(STEPS,), dtype="int32"), TOKENS)
    graph = ks.Graph().add("e", embedding).add_input("tokens", "e", shape=(STEPS,), dtype="int32")
    for name in order:
        graph.add(name, layers[name])
    graph.connect("e", "mha.query").connect("e", "mha.value").connect("e", "rnn")
    found = run(graph.build(), TOKENS)
    assert close(found["mha"], attention) and close(found["rnn"], recurrent_alone)
    assert graph.verify().passed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("merge", "axis", "both"),
    [
        *(("concatenate", axis, both) for axis in (-1, 1) for both in (True, False)),
        *((merge, -1, True) for merge in ("add", "average", "subtract")),
    ],
)
def test_masks_that_meet_are_joined_as_in_keras(merge: str, axis: int, both: bool, tmp_path: Path) -> None:
    one, other = words(), toy_models.in_memory("masked_tokens" if both else "tokens", 1)
    graph = ks.Graph().add("one", one).add("other", other).add("rnn", L.LSTM(3))
    graph.add_input("x", "one").add_input("y", "other")
    graph.connect(["one", "other"], "rnn", merge=merge, axis=axis, mask=True)
    model = graph.build()
    kind = {"concatenate": lambda: L.Concatenate(axis=axis)}.get(merge) or getattr(L, merge.capitalize())
    a, b = (keras.Input((STEPS,), dtype="int32") for _ in range(2))
    other.get_layer("embedding").name = "other"
    joined = kind()([one.get_layer("embedding")(a), other.get_layer("other")(b)])
    judge = keras.Model([a, b], model.get_layer("rnn")(joined))
    second = np.roll(TOKENS, 1, axis=0)
    want = run(judge, TOKENS, second)
    for again_ in again(model, tmp_path):
        assert close(run(again_, TOKENS, second), want)
    assert graph.verify().passed


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "asked"), [(L.Add, None), (L.Multiply, None), (L.Multiply, True)])
def test_a_layer_that_merges_does_with_masks_what_keras_does(
    kind: type[keras.Layer], asked: bool | None, tmp_path: Path
) -> None:
    """Bare layers mask it without being asked, saved models where they are."""
    rnn, one, other = L.LSTM(3), padded(6, STEPS, 3), padded(6, STEPS, 3)[::-1].copy()
    graph = ks.Graph()
    for name in ("one", "other"):
        graph.add(name, of(L.Masking()) if asked else L.Masking()).add_input(f"x_{name}", name, shape=(STEPS, 3))
    graph.add("rnn", rnn).connect(["one", "other"], "rnn", merge=kind(), mask=asked)
    a, b = keras.Input((STEPS, 3)), keras.Input((STEPS, 3))
    model = graph.build()
    held = model.get_layer("rnn")
    want = run(keras.Model([a, b], held(kind()([L.Masking()(a), L.Masking()(b)]))), one, other)
    assert not close(run(keras.Model([a, b], held(kind()([a, b]))), one, other), want), "masks make no difference"
    for again_ in again(model, tmp_path):
        assert close(run(again_, one, other), want)
    assert graph.plan().notes == () and graph.verify().passed


def test_a_bare_layer_is_told_not_to_mask() -> None:
    x, last = padded(6, STEPS, 3), recurrent()
    graph = ks.Graph().add("masking", L.Masking()).add("rnn", last).add_input("x", "masking", shape=(STEPS, 3))
    graph.connect("masking", "rnn", mask=False)
    assert close(run(graph.build(), x), run(last, x))
    assert graph.plan().notes == ("A Keras mask stops between 'masking' and 'rnn': connect says mask=False.",)
    assert graph.verify().passed


def test_each_input_of_a_model_has_its_own() -> None:
    graph = ks.Graph().add("words", words()).add("m", two_in()).connect("words", "m.a", mask=True)
    graph.connect("words", "m.b")
    values, model = as_array(words()(TOKENS)), graph.build()
    first, second = [layer for layer in model.get_layer("m").layers if isinstance(layer, L.LSTM)]
    want = np.concatenate([as_array(first(values, mask=TOKENS != 0)), as_array(second(values))], 1)
    assert close(run(model, TOKENS), want)
    assert graph.plan().notes == (STOPS.format("words", "m.b"),)
    assert graph.verify().passed


# -- stopped, and named --------------------------------------------------------


def test_where_a_mask_stops_is_named() -> None:
    graph = ks.Graph().add("words", words()).add("rnn", recurrent()).connect("words", "rnn")
    said = STOPS.format("words", "rnn")
    assert graph.summary().notes == graph.plan().notes == (said,)
    assert str(graph.summary()).endswith(f"\n\n{said}") and str(graph.plan()).endswith(f"\n{said}")
    certificate = graph.verify()
    assert certificate.passed and said in certificate.notes and said in str(certificate)


@pytest.mark.parametrize("kind", [Zeros, Inherited])
def test_the_mask_of_ones_own_layer_stops(kind: type[keras.Layer]) -> None:
    x, last = padded(6, STEPS, 3), recurrent()
    graph = ks.Graph().add("zeros", of(kind())).add("rnn", last).connect("zeros", "rnn")
    assert graph.summary().notes == (STOPS.format("zeros", "rnn"),)
    assert close(run(graph.build(), x), run(last, x))


@pytest.mark.slow
@pytest.mark.parametrize("make", [HoldsMasking, own_model])
@pytest.mark.parametrize("behind", [False, True])
def test_the_mask_of_a_layer_within_ones_own_stops(make: Callable[[], keras.Layer], behind: bool) -> None:
    """Symbolic calls do not say that it is there."""
    x, last = padded(6, STEPS, 3), recurrent()
    first = of(make(), *([L.ReLU(negative_slope=1.0)] if behind else []))
    assert not close(last(first(x)), run(last, x))
    graph = ks.Graph().add("own", first).add("rnn", last).connect("own", "rnn")
    assert graph.summary().notes == (STOPS.format("own", "rnn"),)
    assert close(run(graph.build(), x), run(last, x))
    graph = ks.Graph().add("own", first).add("rnn", last).connect("own", "rnn", mask=True)
    assert close(run(graph.build(), x), last(first(x)))
    assert graph.verify().passed


def test_a_layer_that_drops_the_mask_within_it_has_none() -> None:
    x, last = padded(6, STEPS, 3), recurrent()
    graph = ks.Graph().add("own", of(DropsIt())).add("rnn", last).connect("own", "rnn")
    assert graph.summary().notes == ()
    assert close(run(graph.build(), x), run(last, x))


def test_a_bare_layer_of_ones_own_masks_what_follows_it() -> None:
    x, last = padded(6, STEPS, 3), recurrent()
    graph = ks.Graph().add("own", HoldsMasking()).add("rnn", last).connect("own", "rnn")
    graph.add_input("x", "own", shape=(STEPS, 3))
    assert close(run(graph.build(), x), last(L.Masking()(x)))
    graph.disconnect("rnn").connect("own", "rnn", mask=False)
    assert close(run(graph.build(), x), run(last, x))


def test_a_lost_mask_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = ks.Graph().add("words", words()).add("rnn", recurrent()).connect("words", "rnn", mask=True)
    assert graph.verify().passed
    bare = ks.Graph().add("masking", L.Masking()).add("rnn", recurrent()).connect("masking", "rnn")
    certificate = bare.add_input("x", "masking", shape=(STEPS, 3)).verify()
    assert certificate.passed and "Random rows of x end in steps that are masked." in certificate.notes
    monkeypatch.setattr(building._Builder, "_fed", _without_masks(building._Builder._fed))
    assert not graph.verify().passed
    assert not bare.verify().passed


def _without_masks(fed: Callable[..., Any]) -> Callable[..., Any]:
    def lost(self: Any, feed: Any) -> Any:
        return building.merge_layers.without_mask(fed(self, feed), self.names) if feed.masks else fed(self, feed)

    return lost


# -- refused -------------------------------------------------------------------


def refusal(graph: ks.Graph) -> str:
    with pytest.raises(WiringError) as error:
        graph.build()
    (problem,) = error.value.problems
    return str(problem)


LEAVE_OUT = "\n  Fix: Leave mask= out: masks then stop at this connection."


def test_a_source_without_a_mask() -> None:
    graph = ks.Graph().add("words", toy_models.in_memory("tokens", 0)).add("rnn", recurrent())
    assert refusal(graph.connect("words", "rnn", mask=True)) == (
        "No mask can be passed on to 'rnn': 'words' carries none."
        "\n  Expected: an output behind keras.layers.Masking or Embedding(mask_zero=True)" + LEAVE_OUT
    )


def test_a_target_that_takes_none() -> None:
    graph = ks.Graph().add("words", words()).add("conv", of(L.Conv1D(2, 2))).connect("words", "conv", mask=True)
    assert refusal(graph) == (
        "No mask can be passed on to 'conv': no layer of 'conv' there heeds one or passes it on." + LEAVE_OUT
    )


def test_a_part() -> None:
    graph = ks.Graph().add("words", words()).add("rnn", L.LSTM(2)).connect("words[0:2]", "rnn", mask=True)
    assert refusal(graph) == (
        "No mask can be passed on to 'rnn': 'words[0:2]' is a part, and the layers that cut it out drop the mask."
        "\n  Expected: a whole output" + LEAVE_OUT
    )


def test_merges_that_pass_none_on() -> None:
    def merged(merge: Any, other: str = "masked_tokens") -> str:
        graph = ks.Graph().add("a", words()).add("b", toy_models.in_memory(other, 1)).add("rnn", L.LSTM(2))
        graph.add_input("tokens", ["a", "b"])
        return refusal(graph.connect(["a", "b"], "rnn", merge=merge, mask=True))

    kinds = "\n  Expected: one of concatenate, add, average, subtract" + LEAVE_OUT
    assert merged("multiply") == "No mask can be passed on to 'rnn': merge='multiply' does not." + kinds.replace(
        "Leave mask= out: masks then stop at this connection.",
        "merge=keras.layers.Multiply() does with masks what Keras does. Or leave mask= out.",
    )
    assert merged(L.Dot(1)) == "No mask can be passed on to 'rnn': Dot as merge= drops it, as in Keras." + LEAVE_OUT
    assert merged("add", "tokens") == (
        "No mask can be passed on to 'rnn': with merge='add' Keras passes a mask on only where all sources have one."
        "\n  Received: 'b' without a mask" + LEAVE_OUT
    )


def test_mask_is_on_or_off() -> None:
    with pytest.raises(StitchError, match="mask= of connect"):
        ks.Graph().add("a", words()).add("b", recurrent()).connect("a", "b", mask="yes")


def test_only_numbers_go_from_one_stage_to_the_next() -> None:
    graph = ks.Graph().add("words", words(), placement="dataloader").add("rnn", recurrent())
    with pytest.raises(StitchError) as error:
        graph.connect("words", "rnn", mask=True).plan()
    assert str(error.value).startswith(
        "The mask of 'words' cannot go to 'rnn': the two run in different stages, and only numbers go from one to the"
    )
    assert "With mask=False in connect, the mask stops there." in " ".join(str(error.value).split())
    assert graph.disconnect("rnn").connect("words", "rnn", mask=False).plan()
    both = ks.Graph().add("words", words(), placement="dataloader").add("rnn", recurrent(), placement="dataloader")
    both.add("head", toy_models.dense(2)).connect("words", "rnn", mask=True).connect("rnn", "head")
    assert both.verify().passed


# -- files and training --------------------------------------------------------


def test_stitch_yaml_holds_it(tmp_path: Path) -> None:
    graph = ks.Graph().add("words", toy_models.saved("masked_tokens", 0, "h5"))
    graph.add("rnn", toy_models.saved("recurrent", 0, "keras")).connect("words", "rnn", mask=True)
    path = graph.to_yaml(tmp_path / "stitch.yaml")
    assert "rnn: {sources: words, mask: true}" in path.read_text()
    read = ks.Graph.from_yaml(path)
    assert read.spec.connections == graph.spec.connections
    assert close(run(read.build(), TOKENS), run(graph.build(), TOKENS))


def test_precompute_leaves_masks_within_the_rest(tmp_path: Path) -> None:
    x, y = padded(6, STEPS, 3), np.zeros((6, 1), "float32")
    frozen = of(L.Dense(3))
    graph = ks.Graph().add("first", frozen, trainable=False).add("masking", L.Masking()).add("rnn", L.LSTM(2))
    graph.add("head", toy_models.dense(1)).connect("first", "masking").connect("masking", "rnn").connect("rnn", "head")
    rest = graph.precompute(([x], y), tmp_path / "rows.h5", progress=lambda _: None)
    assert rest.frozen == ("first",)
    crossing = as_array(frozen(x))
    assert close(run(rest.model, crossing), run(rest.whole, x))

    masked = ks.Graph().add("words", words(), trainable=False).add("rnn", recurrent())
    masked.connect("words", "rnn", mask=True)
    with pytest.raises(StitchError, match="cannot be cut behind 'words': masks go on from there to what trains"):
        masked.precompute(([TOKENS], np.zeros((4, 4))), tmp_path / "none.h5", progress=lambda _: None)


# -- what a model does with masks ----------------------------------------------


def test_what_a_model_takes_and_gives() -> None:
    nested = of(recurrent())
    assert mask_passage.takes_mask(nested, 0, "input")
    assert not mask_passage.takes_mask(of(L.Conv1D(2, 2), L.LSTM(2)), 0, "input")
    assert not mask_passage.takes_mask(of(L.Rescaling(2.0), L.Flatten()), 0, "input")
    assert mask_passage.takes_mask(of(L.Rescaling(2.0)), 0, "input")
    state, steps = keras.Input((2,)), keras.Input((STEPS, 3))
    given = keras.Model([steps, state], L.GRU(2)(steps, initial_state=state))
    assert not mask_passage.takes_mask(given, 0, "input")  # Keras forgets it
    outer = of(words(), shape=(STEPS,), dtype="int32")
    assert mask_passage.masked_outputs(outer, outer.outputs, [False]) == (True,)
    assert mask_passage.masked_outputs(nested, nested.outputs, [True]) == (False,)


@keras.saving.register_keras_serializable("mask_passage")
class Clueless(keras.layers.Layer):
    supports_masking = True

    def call(self, x: Any) -> Any:
        return x + 1

    def compute_mask(self, x: Any, previous: Any) -> Any:
        return None if previous is None else previous.nothing


def test_a_layer_whose_mask_fails_is_named() -> None:
    inputs = keras.Input((3, 2))
    odd = keras.Model(inputs, Clueless(name="odd")(inputs))
    with pytest.raises(StitchError) as caught:
        mask_passage.masked_outputs(odd, odd.outputs, [True])
    assert str(caught.value) == (
        "Layer 'odd' cannot say what becomes of the mask that it is given.\n"
        "  Received: AttributeError: 'KerasTensor' object has no attribute 'nothing'\n"
        "  Fix: Mend its compute_mask, or the mask that it is called with, and save the model again."
    )
