"""Built models: plain Keras, whatever the parts are called, with masks stopped at the borders."""

from __future__ import annotations

import inspect
import sys
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import toy_models
import warm_python
from backends import FLOAT64, as_array, close, only_on
from toy_models import dense

import keras_stitch as ks
from keras_stitch.errors import StitchError
from keras_stitch.models.save_keras import save_model

pytestmark = pytest.mark.backends

RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(0, 1, shape).astype("float32")


def run(model: keras.Model, *given: Any) -> Any:
    """Predictions with every Keras warning an error; one array, or a dict of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        listed = isinstance(getattr(model, "input", None), list)
        results = model(list(given) if listed else given[0], training=False)
    return {key: as_array(v) for key, v in results.items()} if isinstance(results, dict) else as_array(results)


def both_formats(model: keras.Model, folder: Path) -> list[keras.Model]:
    paths = [save_model(model, folder / name) for name in ("again.keras", "again.h5")]
    return [keras.saving.load_model(path, compile=False) for path in paths]


SEED_SCRIPT = """
import sys, keras
layers, number, folder = keras.layers, int(sys.argv[1]), sys.argv[2]
keras.utils.set_random_seed(number)
if number == 2:
    x = keras.Input((6,), name="model1_input1")
else:
    x = keras.Input(({1: 3, 3: 4, 4: 3}[number],), name={1: "input1", 3: "input2", 4: "model2_model3"}[number])
hidden = layers.Dense(5, activation="tanh")(x)
keras.Model(x, layers.Dense({1: 3, 2: 2, 3: 1, 4: 1}[number])(hidden)).save(f"{folder}/model{number}.{sys.argv[3]}")
"""
FRESH_SCRIPT = """
import sys, keras, numpy as np
data = dict(np.load(sys.argv[1]))
for path in sys.argv[2:]:
    predicted = keras.saving.load_model(path).predict(data, verbose=0)
    np.savez(path + ".npz", **(predicted if isinstance(predicted, dict) else {"only": predicted}))
assert not any(name.startswith("keras_stitch") for name in sys.modules)
"""


def python(script: str, *args: object) -> None:
    warned = "import warnings; warnings.simplefilter('error', UserWarning)\n"
    done = warm_python.run([sys.executable, "-c", warned + script, *args])
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.fresh_process
def test_the_seeds_four_models_from_separate_processes(tmp_path):
    for number, format in ((1, "h5"), (2, "keras"), (3, "h5"), (4, "keras")):
        python(SEED_SCRIPT, number, tmp_path, format)
    files = [next(tmp_path.glob(f"model{number}.*")) for number in (1, 2, 3, 4)]
    parts = [keras.saving.load_model(file, compile=False) for file in files]
    assert {part.layers[1].name for part in parts} == {"dense"}

    graph = ks.Graph("composed")
    for number, file in enumerate(files, 1):
        graph.add(f"model{number}", file)
    graph.connect(["model1", "model1.input1"], "model2").connect(["model2", "model3"], "model4")
    model = graph.freeze("model1", "model3").build()
    x1, x2 = floats(5, 3), floats(5, 4)
    second = run(parts[1], np.concatenate([run(parts[0], x1), x1], 1))
    want = run(parts[3], np.concatenate([second, run(parts[2], x2)], 1))
    assert [tensor.name for tensor in model.inputs] == ["input1", "input2"]
    assert close(run(model, x1, x2), want)

    # Keras alone, in a process that knows nothing of keras_stitch.
    np.savez(tmp_path / "data.npz", input1=x1, input2=x2)
    written = [save_model(model, tmp_path / f"composed.{format}") for format in ("keras", "h5")]
    python(FRESH_SCRIPT, tmp_path / "data.npz", *written)
    for path in written:
        assert close(np.load(f"{path}.npz")["only"], want)


@pytest.mark.slow
@pytest.mark.fresh_process
def test_masks_parts_and_heads_in_a_fresh_process(tmp_path):
    graph = ks.Graph().add("words", toy_models.saved("masked_tokens", 0, "keras"))
    graph.add("rnn", toy_models.saved("recurrent", 0, "h5")).connect("words", "rnn")
    graph.add("heads", toy_models.saved("dict_outputs", 0, "h5")).connect("rnn", "heads")
    graph.add_output("first", "heads.mean[0]").add_output("scale", "heads.scale")
    model = graph.build()
    tokens = RNG.integers(0, 3, (4, 5)).astype("int32")
    want = run(model, tokens)
    save_model(model, tmp_path / "model.h5")
    np.savez(tmp_path / "data.npz", tokens=tokens)
    python(FRESH_SCRIPT, tmp_path / "data.npz", tmp_path / "model.h5")
    again = np.load(tmp_path / "model.h5.npz")
    assert list(again) == list(want) == ["first", "scale"]
    assert all(close(again[name], want[name]) for name in want)


@pytest.mark.parametrize("source", ["h5", "keras", "memory", "layer"])
def test_masks_stop_at_the_borders(source, tmp_path):
    tokens = np.array([[1, 2, 0, 0, 0], [0, 0, 3, 4, 0], [0, 0, 0, 0, 0]], "int32")
    words = toy_models.in_memory("masked_tokens", 0)
    rnn = toy_models.in_memory("recurrent", 0)
    want = run(rnn, run(words, tokens))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with_mask = as_array(rnn(words(tokens)))
    if source == "layer":  # as between the layers of one model
        want, with_mask = with_mask, want
    assert not close(with_mask, want), "the mask makes no difference, so this test shows nothing"

    graph = ks.Graph()
    if source == "layer":
        graph.add("words", words.get_layer("embedding")).add("rnn", rnn.get_layer("lstm"))
        graph.add_input("tokens", "words", shape=(5,), dtype="int32")
    else:
        for name, kind in (("words", "masked_tokens"), ("rnn", "recurrent")):
            held = source == "memory"
            graph.add(name, toy_models.in_memory(kind, 0) if held else toy_models.saved(kind, 0, source))
    model = graph.connect("words", "rnn").build()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert close(model.predict({"tokens": tokens}, verbose=0), want)
    for again in both_formats(model, tmp_path):
        assert close(run(again, tokens), want)


def test_a_part_of_a_masked_output_is_taken_without_a_warning():
    words = toy_models.saved("masked_tokens", 0, "keras")
    model = ks.Graph().add("words", words).add_output("first", "words[0]").build()
    tokens = np.array([[1, 2, 0, 0, 0]], "int32")
    assert close(run(model, tokens), run(toy_models.alone("masked_tokens", 0, "keras"), tokens)[..., :1])


def test_nothing_but_plain_keras_layers_inside():
    graph = ks.Graph().add("words", toy_models.saved("masked_tokens", 0, "h5")).add("rnn", keras.layers.LSTM(3))
    graph.connect("words[0:2]", "rnn").add("two", toy_models.saved("two_outputs", 0, "h5"))
    graph.connect(["rnn", "rnn[0]"], "two")
    model = graph.build()
    assert type(model) is keras.Model or type(model).__module__.startswith("keras.")
    inside = [layer for layer in model._flatten_layers() if not type(layer).__module__.startswith("keras.")]
    assert inside == []
    assert {"words", "rnn", "two"} <= {layer.name for layer in model.layers}


def test_five_copies_with_every_layer_name_equal(tmp_path):
    names = [f"m{number}" for number in range(5)]
    parts = [toy_models.in_memory("functional", number) for number in range(5)]
    x = floats(3, 4)
    for format in ("h5", "keras"):
        graph = ks.Graph()
        for number, name in enumerate(names):
            graph.add(name, toy_models.save(parts[number], tmp_path / f"{name}.{format}"))
        model = graph.add_input("x", names).build()
        for again in (model, *both_formats(model, tmp_path)):
            predicted = run(again, x)
            assert list(predicted) == names
            assert all(close(predicted[name], run(part, x)) for name, part in zip(names, parts, strict=True))


def test_submodels_may_be_called_what_keras_calls_its_own_things(tmp_path):
    names = ["layers", "vars", "model_weights", "optimizer_weights", "functional", "metrics", "seed_generator", "Name"]
    graph = ks.Graph("layers_1")
    for name in names:
        graph.add(name, toy_models.saved("nested", 0, "keras"))
    model = graph.add_input("x", names).build()
    x = floats(2, 4)
    for again in both_formats(model, tmp_path):
        assert all(close(value, run(toy_models.alone("nested", 0, "keras"), x)) for value in run(again, x).values())


def test_nested_in_nested_with_equal_weight_paths(tmp_path):
    def deep() -> keras.Model:
        x = keras.Input((3,), name="x")
        return keras.Model(x, keras.layers.Add(name="add")([level("a")(x), level("b")(x)]), name="model")

    def level(name: str) -> keras.Model:
        inner = [keras.Sequential([keras.Input((3,)), dense(3)], name=which) for which in ("inner", "inner_1")]
        x = keras.Input((3,), name="x")
        return keras.Model(x, inner[1](inner[0](x)), name=name)

    held, x = deep(), floats(4, 3)
    toy_models.set_random_weights(held, 5)
    path = toy_models.save(held, tmp_path / "deep.keras")
    model = ks.Graph().add("one", path).add("two", held).connect("one", "two").build()
    for name in ("one", "two"):
        paths = [weight.path for weight in model.get_layer(name).weights]
        assert len(set(paths)) == len(paths) == 8
    for again in (model, *both_formats(model, tmp_path)):
        assert close(run(again, x), run(held, run(held, x)))


def test_loss_by_name_with_one_output():
    model = ks.Graph().add("m", toy_models.saved("functional", 0, "h5")).add_output("score", "m").build()
    model.compile("sgd", loss={"score": "mse"}, metrics={"score": ["mae"]})
    before = model.get_weights()
    model.fit({"x": floats(8, 4)}, floats(8, 3), batch_size=4, verbose=0)
    assert not all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_fit_with_several_outputs_moves_what_is_not_frozen_and_nothing_else(tmp_path):
    graph = ks.Graph().add("m", toy_models.saved("two_outputs", 0, "keras"))
    graph.add("f", toy_models.saved("functional", 0, "h5"), trainable=False).add_input("x", ["m", "f"])
    model = graph.add("head", keras.layers.Dense(1)).connect(["m.dense", "f"], "head").build()
    assert list(model.output) == ["m_dense_1", "head"]
    model.compile("sgd", loss={"m_dense_1": "mse", "head": "mae"})
    before = [weight.numpy() for weight in model.weights]
    training = [any(weight is other for other in model.trainable_weights) for weight in model.weights]
    model.fit({"x": floats(7, 4)}, {"m_dense_1": floats(7, 2), "head": floats(7, 1)}, batch_size=3, verbose=0)
    moved = [not np.array_equal(old, new.numpy()) for old, new in zip(before, model.weights, strict=True)]
    assert moved == training
    x = floats(3, 4)
    for again in both_formats(model, tmp_path):
        assert all(close(run(again, x)[name], value) for name, value in run(model, x).items())


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_batches_of_any_size(batch):
    model = ks.Graph().add("a", toy_models.saved("sequential", 0, "h5")).add("b", dense(1)).connect("a", "b").build()
    x = floats(7, 4)
    assert close(model.predict([x], batch_size=batch, verbose=0), run(model, x))


def test_a_model_of_fixed_batch_size_takes_any(tmp_path):
    x = keras.Input(batch_shape=(4, 3), name="x")
    held = keras.Model(x, dense(2)(x))
    path = toy_models.save(held, tmp_path / "fixed.h5")
    model = ks.Graph().add("m", path).add("last", dense(1)).connect("m", "last").build()
    assert model.inputs[0].shape == (None, 3)
    for rows in (1, 4, 5):
        data = floats(rows, 3)
        assert close(run(model, data), model.get_layer("last")(as_array(held(data))))


@pytest.fixture
def mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


def everything() -> ks.Graph:
    graph = ks.Graph().add("words", toy_models.saved("masked_tokens", 0, "h5"))
    graph.add("rnn", toy_models.saved("recurrent", 0, "keras")).add("m", toy_models.saved("functional", 0, "h5"))
    graph.connect("words", "rnn").connect(["rnn", "rnn"], "m", merge="multiply")
    graph.add("pair", toy_models.saved("two_inputs", 0, "keras")).connect(["m", "m"], "pair.a", merge="average")
    return graph.connect(["m[0]", "m[2]"], "pair.b").add_output("end", "pair").add_output("part", "rnn[1:3]")


def test_the_global_dtype_policy_changes_no_numbers(request, tmp_path):
    tokens = RNG.integers(0, 7, (3, 5)).astype("int32")
    want = run(everything().build(), tokens)
    request.getfixturevalue("mixed_precision")
    model = everything().build()
    assert all(np.array_equal(run(model, tokens)[name], want[name]) for name in want)
    for again in both_formats(model, tmp_path):
        assert all(close(run(again, tokens)[name], want[name]) for name in want)


@only_on("tensorflow", "torch", why=FLOAT64)
def test_each_port_keeps_its_dtype():
    def of(dtype: str) -> keras.Model:
        x = keras.Input((3,), dtype=dtype, name="x")
        return keras.Model(x, keras.layers.Dense(3, dtype=dtype, activation="tanh")(x))

    parts = {dtype: of(dtype) for dtype in ("float16", "float32", "float64")}
    graph = ks.Graph()
    for dtype, part in parts.items():
        graph.add(dtype, part)
    model = graph.add_input("x", list(parts)).build()
    # The widest: a narrow graph input would cut what the wide submodels see.
    assert model.inputs[0].dtype == "float64"
    x = RNG.normal(0, 1, (4, 3))
    predicted = run(model, x)
    for dtype, part in parts.items():
        assert predicted[dtype].dtype == dtype
        assert np.array_equal(predicted[dtype], as_array(part(x.astype(dtype))))


@only_on("tensorflow", "torch", why=FLOAT64)
def test_sources_are_merged_in_their_own_dtype():
    x = keras.Input((2,), dtype="float64", name="big")
    wide = keras.Model(x, keras.layers.Activation("linear", dtype="float64")(x))
    head = keras.Sequential([keras.Input((2,), name="h"), dense(1)])
    graph = ks.Graph().add("wide", wide).add("head", head).add_input("z", shape=(2,), dtype="float64")
    model = graph.connect(["wide", "z"], "head", merge="subtract").build()
    big = np.array([[1e8 + 0.25, 3e8]])
    assert close(run(model, big, big - 0.5), head(np.full((1, 2), 0.5, "float32")))


def test_an_integer_input_feeds_integer_and_float_ports():
    graph = ks.Graph().add("dense", keras.Sequential([keras.Input((5,), name="v"), dense(2)]))
    model = graph.add("words", toy_models.saved("tokens", 0, "h5")).add_input("x", ["dense", "words"]).build()
    assert model.inputs[0].dtype == "int32"
    x = RNG.integers(0, 7, (3, 5)).astype("int32")
    assert close(run(model, x)["words"], run(toy_models.alone("tokens", 0, "h5"), x))


def test_shared_on_inputs_that_do_not_fit_is_an_error_of_ours():
    graph = ks.Graph().add("d", keras.layers.Dense(2)).share("twin", of="d")
    graph.add_input("x", "d", shape=(3,)).add_input("y", "twin", shape=(5,))
    with pytest.raises(ks.StitchError, match=r"Submodel 'twin' cannot take 'twin\.input'"):
        graph.build()


def test_inputs_that_inner_outputs_do_not_need(tmp_path):
    x, y = keras.Input((3,), name="x"), keras.Input((3,), name="y")
    hidden = dense(2, "h")(x)
    held = keras.Model([x, y], keras.layers.Add()([hidden, dense(2)(y)]))
    model = ks.Graph().add("m", held, outputs="h").build()
    a = floats(2, 3)
    for again in (model, *both_formats(model, tmp_path)):
        assert close(run(again, a, a), held.get_layer("h")(a))


@pytest.mark.slow
def test_a_chain_of_300_and_one_that_is_too_deep_for_keras(tmp_path):
    graph = ks.Graph("chain").add("m0", keras.layers.Dense(2, "tanh")).add_input("x", "m0", shape=(2,))
    for number in range(1, 300):
        graph.add(f"m{number}", keras.layers.Dense(2, "tanh")).connect(f"m{number - 1}", f"m{number}")
    model = graph.build()
    given = np.ones((3, 2), "float32")
    expected = given
    for layer in model.layers[1:]:
        expected = np.tanh(expected @ layer.kernel.numpy() + layer.bias.numpy())
    assert close(model.predict_on_batch(given), expected)
    model.save(tmp_path / "chain.keras")
    assert close(keras.saving.load_model(tmp_path / "chain.keras").predict_on_batch(given), expected)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 250)
    try:
        with pytest.raises(StitchError, match=r"^Graph 'chain' is too deep for Keras: more layers follow one another"):
            graph.build()
    finally:
        sys.setrecursionlimit(limit)
