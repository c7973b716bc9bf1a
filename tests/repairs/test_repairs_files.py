"""Files as a whole: what is read of them, what is missing, masks, and what Keras 3 saved with a layer that trains."""

from __future__ import annotations

import copy
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from backends import assert_allclose, only_on
from keras import layers
from repairs_files import Layer, called, floats, functional, given, layer, sequential, write_h5, write_weights

import keras_stitch as ks
from keras_stitch.errors import SourceError
from keras_stitch.models.keras_file import open_file
from keras_stitch.repairs import keras3_config, masks, read_file, repair, structure, unsupported
from keras_stitch.repairs.architecture import Saved, inner_layers, is_operation, is_reference, version_of

OLD = (2, 1, 6)


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(SourceError) as caught:
        open_file(path, **options)
    return str(caught.value)


# -- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.2.4-tf", (2, 2, 4)),
        ("1.2.2", (1, 2, 2)),
        (b"2.0.6", (2, 0, 6)),
        ("3.5.0.dev2024", (3, 5, 0)),
        ("2.13.1rc0", (2, 13, 1)),
        ("3", (3,)),
        ("unknown", (1,)),
        ("", (1,)),
        (None, (1,)),
    ],
)
def test_versions(text: Any, version: tuple[int, ...]) -> None:
    assert version_of(text) == version
    assert Saved({}, version).is_legacy == (version[0] < 3)


DENSE = layer("Dense", "d", units=2, batch_input_shape=[None, 3])


def test_what_is_read_of_a_file(tmp_path: Path) -> None:
    for version, backend, want in (
        ("2.0.6", "theano", ((2, 0, 6), "theano")),
        # The arguments are those of Keras 2, though nothing says so.
        (None, None, ((2,), None)),
        ("unknown", None, ((2,), None)),
        ("3.5.0", "jax", ((3, 5, 0), "jax")),
    ):
        path = write_h5(tmp_path / "m.h5", sequential(DENSE), {}, version, backend)
        saved = read_file.read_h5(path)
        assert (saved.version, saved.backend) == want and saved.model == sequential(DENSE)
    # Later files say the version of the whole file.
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = "2.9.0"
    assert read_file.read_h5(path).version == (2, 9, 0)


def test_tuples_and_shapes_that_keras_2_marked(tmp_path: Path) -> None:
    said = layer("Dense", "d", size={"class_name": "__tuple__", "items": [1, {"class_name": "__tuple__", "items": []}]})
    said["config"]["batch_input_shape"] = {"class_name": "TensorShape", "items": [None, 3]}
    said["config"]["kept"] = {"class_name": "Zeros", "config": {}}
    write_h5(tmp_path / "m.h5", sequential(said), {}, "2.13.0")
    config = read_file.read_h5(tmp_path / "m.h5").model["config"]["layers"][0]["config"]
    assert config["size"] == [1, []] and config["batch_input_shape"] == [None, 3]
    assert config["kept"] == {"class_name": "Zeros", "config": {}}
    write_h5(tmp_path / "new.h5", sequential(said), {}, "3.1.0")
    assert read_file.read_h5(tmp_path / "new.h5").model["config"]["layers"][0] == said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "The architecture in '{path}' is damaged: Expecting property name enclosed in double quotes: line 1 "
              "column 2 (char 1).\n  Fix: Copy or download it again."),
        ("[1, 2]", "'{path}' does not hold a model.\n  Expected: a keras.Model\n  Received: [1, 2]"),
        ('{"class_name": "Model"}',
         "'{path}' does not hold a model.\n  Expected: a keras.Model\n  Received: {{'class_name': 'Model'}}"),
    ],
)  # fmt: skip
def test_a_damaged_architecture(tmp_path: Path, text: str, message: str) -> None:
    path = write_h5(tmp_path / "m.h5", text, {})
    assert refusal(path) == message.format(path=path)


def test_an_architecture_that_is_not_text(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "m.h5", sequential(DENSE), {})
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = b"\xff\xfe{"
    assert refusal(path).startswith(f"The architecture in '{path}' is damaged: Expecting value")


def test_whose_weights_are_beside_an_architecture(tmp_path: Path) -> None:
    arch, held = tmp_path / "arch.json", tmp_path / "w.h5"
    with h5py.File(held, "w") as file:
        write_weights(file, {}, "2.0.4", "theano")
    arch.write_text(json.dumps(sequential(DENSE)))
    assert (read_file.read_json(arch, held).version, read_file.read_json(arch, held).backend) == ((2, 0, 4), "theano")
    arch.write_text(json.dumps({**sequential(DENSE), "keras_version": "2.9.1", "backend": "tensorflow"}))
    # The kernels are in the weights.
    assert (read_file.read_json(arch, held).version, read_file.read_json(arch, held).backend) == ((2, 9, 1), "theano")
    arch.write_text(keras.Sequential([keras.Input((3,))]).to_json())
    assert read_file.read_json(arch, held).version == (3,)


# PyYAML wrote what Python 2 had: tuples, and texts of two kinds.
YAML = """\
backend: tensorflow
class_name: Sequential
config:
- class_name: Dense
  config:
    activation: linear
    activity_regularizer: null
    batch_input_shape: !!python/tuple [null, 3]
    bias_initializer: &id001
      class_name: Zeros
      config: {}
    dtype: !!python/unicode 'float32'
    kernel_initializer: *id001
    name: !!python/str 'dense'
    trainable: true
    units: 2
    use_bias: true
keras_version: 2.2.4
"""


@pytest.mark.parametrize("form", ["dumped twice", "yaml", "keras 3 dumped twice"])
def test_other_forms_of_an_architecture(tmp_path: Path, form: str) -> None:
    kernel, bias = floats(3, 2), floats(2)
    arch, held = tmp_path / f"arch.{form}", tmp_path / "w.weights.h5"
    if form == "keras 3 dumped twice":
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
        model.set_weights([kernel, bias])
        model.save_weights(held)
        arch.write_text(json.dumps(model.to_json()))
    else:
        with h5py.File(held, "w") as file:
            write_weights(file, {"dense": [("dense/kernel:0", kernel), ("dense/bias:0", bias)]}, "2.2.4", "tensorflow")
        arch.write_text(YAML if form == "yaml" else json.dumps(json.dumps(sequential(DENSE))))
    x = floats(4, 3)
    np.testing.assert_allclose(open_file(held, arch=arch).model(x), x @ kernel + bias, rtol=1e-6, atol=1e-6)


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    arch, held = tmp_path / "arch.yaml", tmp_path / "w.h5"
    with h5py.File(held, "w") as file:
        write_weights(file, {}, "2.2.4", "tensorflow")
    marker = tmp_path / "marker"
    arch.write_text(f"class_name: !!python/object/apply:os.system ['touch {marker}']\nconfig: []\n")
    assert refusal(held, arch=arch).startswith(f"'{arch}' is not the architecture of a Keras model.")
    assert not marker.exists()


# -- custom objects -------------------------------------------------------------------------------


def test_all_missing_objects_are_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(keras.saving.get_custom_objects()):  # of other tests in this process
        monkeypatch.delitem(keras.saving.get_custom_objects(), name)
    inner = sequential(layer("Twice", "t"), layer("Dense", "e", units=2, kernel_regularizer="my_penalty"), name="inner")
    said = [
        layer("Dense", "d", units=2, activation="swoosh", batch_input_shape=[None, 3]),
        layer("garden>Plus", "p"),
        layer("LSTM", "l", units=2, recurrent_activation={"class_name": "function", "config": "my_gate"}),
        layer("TimeDistributed", "each", layer=layer("Wrapped", "w")),
        layer("Dense", "again", units=2, activation="swoosh"),
        inner,
    ]
    path = write_h5(tmp_path / "m.h5", sequential(*said), {})
    assert refusal(path) == (
        f"'{path}' needs custom objects that are not known here: 'swoosh' (layer 'd'), 'garden>Plus' (layer 'p'), "
        "'my_gate' (layer 'l'), 'Wrapped' (layer 'each/w'), 'Twice' (layer 'inner/t'), "
        "'my_penalty' (layer 'inner/e').\n"
        "  Expected: layers and functions of Keras, or those in custom_objects\n"
        '  Fix: graph.add(name, source, custom_objects={"swoosh": ..., "garden>Plus": ..., "my_gate": ..., "Wrapped": '
        '..., "Twice": ..., "my_penalty": ...})'
    )
    some = dict.fromkeys(["swoosh", "Plus", "my_gate", "Wrapped", "Twice"], lambda: None)
    assert refusal(path, custom_objects=some).startswith(
        f"'{path}' needs a custom object that is not known here: 'my_penalty' (layer 'inner/e').\n"
    )


def test_functions_of_layers_that_say_where_they_are(tmp_path: Path) -> None:
    """As ``.keras`` files do."""
    swoosh = {"module": "builtins", "class_name": "function", "config": "swoosh", "registered_name": "function"}
    said = layer("Dense", "d", units=2, activation=swoosh, batch_input_shape=[None, 3])
    said |= {"module": "keras.layers", "registered_name": None}
    path = write_h5(tmp_path / "m.h5", sequential(said), {}, version="2.15.0")
    assert refusal(path).startswith(f"'{path}' needs a custom object that is not known here: 'swoosh' (layer 'd').\n")


def test_a_file_does_not_choose_what_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unasked.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nclass Unasked: pass"
    )
    monkeypatch.syspath_prepend(tmp_path)
    said = {**layer("Unasked", "t", batch_input_shape=[None, 3]), "module": "unasked", "registered_name": "Unasked"}
    path = write_h5(tmp_path / "m.h5", {**sequential(said), "keras_version": "3.15.1"}, {})
    assert refusal(path).startswith(
        f"'{path}' needs a custom object that is not known here: 'Unasked' (layer 't', of unasked)."
    )
    assert not (tmp_path / "ran").exists()


class Plus(layers.Layer):
    def call(self, x: Any) -> Any:
        return x + 1


@pytest.mark.parametrize("name", ["Plus", "garden>Plus"])
@pytest.mark.parametrize("how", ["given", "given in full", "registered", "registered by its name"])
def test_a_class_with_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str) -> None:
    path = write_h5(tmp_path / "m.h5", sequential(layer(name, "p", batch_input_shape=[None, 3])), {})
    x = floats(2, 3)
    objects = {"given": {"Plus": Plus}, "given in full": {"garden>Plus": Plus}}.get(how, {})
    for key in {"registered": ["garden>Plus"], "registered by its name": ["Plus"]}.get(how, []):
        monkeypatch.setitem(keras.saving.get_custom_objects(), key, Plus)
    model = open_file(path, custom_objects=objects).model
    assert_allclose(model(x), x + 1)


def test_layers_that_keras_no_longer_has(tmp_path: Path) -> None:
    said = layer("RandomHeight", "h", factor=0.1, batch_input_shape=[None, 3, 2, 1])
    path = write_h5(tmp_path / "m.h5", sequential(said, layer("RandomWidth", "w")), {})
    assert refusal(path) == (
        f"'{path}' has layers that Keras 3 no longer has: 'h' (RandomHeight), 'w' (RandomWidth).\n"
        "  Fix: Rebuild them with other layers, or give classes of your own for them in custom_objects."
    )


def test_tensorflow_functions_between_layers(tmp_path: Path) -> None:
    """Ten of them are named; ``test_operators.py`` has those that Keras 3 has, too."""
    said = [called(layer("TFOpLambda", f"tf.{number}", function="odd.one"), "x") for number in range(12)]
    path = write_h5(tmp_path / "m.h5", functional([given("x", 3), *said], ["x"], ["tf.0"]), {})
    listed = ", ".join(f"tf.{number} (tf.odd.one)" for number in range(10))
    assert refusal(path) == (
        f"'{path}' cannot be loaded without changing what it predicts. It calls functions of TensorFlow between its "
        f"layers that have no counterpart in Keras 3 here: {listed} and 2 more.\n"
        "  Fix: Rebuild these steps with Keras layers in the model that made the file, and save it again."
    )


@pytest.mark.parametrize("kind", ["TensorFlowOpLayer", "InstanceMethod", "InstanceProperty", "ClassMethod"])
def test_calls_of_other_kinds(tmp_path: Path, kind: str) -> None:
    path = write_h5(tmp_path / "m.h5", functional([given("x", 3), called(layer(kind, "odd"), "x")], ["x"], ["odd"]), {})
    old = " of TensorFlow 2.1 or older" if kind == "TensorFlowOpLayer" else ""
    assert f"no counterpart in Keras 3 here: odd ({kind}{old})." in refusal(path)


def test_arguments_that_keras_3_does_not_take() -> None:
    saved = Saved(sequential(layer("Dense", "d", units=2, odd=None, other=False, dropout=3, mode="x" * 300)), OLD)
    with pytest.raises(SourceError) as caught:
        keras3_config.fit_arguments(saved)
    first, received, fix = str(caught.value).split("\n")
    assert first == f"The layer 'd' (Dense) has arguments that Keras {keras.__version__} refuses."
    assert received == f"  Received: dropout=3, mode='{'x' * 194}"
    assert fix.startswith("  Fix: If they do not matter, make the layer without them ")
    said = sequential(layer("Dense", "d", units=2, odd=None, other=False), layer("Mine", "m", odd=3))
    keras3_config.fit_arguments(Saved(said, OLD))
    assert said == sequential(layer("Dense", "d", units=2), layer("Mine", "m", odd=3))


# -- masks ----------------------------------------------------------------------------------------

MASKS = (
    "\n  Expected: masks (of Masking, or of Embedding with mask_zero=True) in the model of the layer that heeds them"
    "\n  Fix: Keep this model in an environment with tf_keras, or rebuild it without the mask."
)
OTHERWISE = "Keras 2 passed masks on in another way: '{0}' ({1}) heeds a mask that Keras 3 would make otherwise."


def masked(*more: Layer, end: str | None = None) -> Saved:
    """Two masked tensors, a and b, and c without a mask."""
    start = [given("x", 4, 2), given("y", 4, 2), given("c", 4, 2)]
    start += [called(layer("Masking", "a"), "x"), called(layer("Masking", "b"), "y")]
    return Saved(functional([*start, *more], ["x", "y", "c"], [end or more[-1]["name"]]), OLD)


LSTM = layer("LSTM", "rnn", units=2)


@pytest.mark.parametrize(
    "graph",
    [
        (called(LSTM, "a"),),
        (called(layer("Dropout", "d"), "a"), called(layer("Dense", "e"), "d"), called(LSTM, "e")),
        (called(layer("Add", "m"), ["a", "a"]), called(LSTM, "m")),
        (called(layer("Add", "m"), ["a", "b"]), called(layer("Dense", "e"), "m")),
        (called(layer("Add", "m"), ["a", "b"]), called(layer("Flatten", "f"), "m"), called(layer("Softmax", "s"), "f")),
        (called(layer("Conv1D", "f"), "a"), called(layer("GlobalAveragePooling1D", "s"), "f")),
        (called(layer("Maximum", "m"), ["c", "c"]),),
        (called(layer("Concatenate", "m", axis=1), ["a", "b"]), called(LSTM, "m")),
        (called(layer("LSTM", "rnn", units=2, return_sequences=True), "a"), called(layer("GRU", "g"), "rnn")),
        (
            called(layer("LSTM", "steps", return_sequences=True), "a"),
            called(layer("Add", "m"), ["steps", "a"]),
            called(LSTM, "m"),
        ),
        (called(sequential(layer("Dense", "e"), LSTM, name="inner"), "a"),),
    ],
    ids=[
        "direct",
        "passed on",
        "one mask",
        "unheeded",
        "Flatten",
        "Conv1D",
        "no masks",
        "one behind the other",
        "sequences",
        "its own sequence",
        "nested",
    ],
)
def test_masks_that_stay_the_same(graph: tuple[Layer, ...]) -> None:
    saved = masked(*graph)
    before = copy.deepcopy(saved.model)
    assert masks.mask_arguments.apply(saved) == []
    assert saved.model == before


def computed(saved: Saved, of: str) -> Any:
    """The mask that a layer is given, as nested calls: ``("LogicalAnd", ...)``; other arguments by name."""
    known = {said["name"]: said for said in inner_layers(saved.model)}

    def value(said: Any) -> Any:
        if isinstance(said, list):
            return value_of(said) if is_reference(said) else [value(one) for one in said]
        if isinstance(said, dict):
            return value_of(said["config"]["keras_history"])
        return said

    def value_of(reference: list[Any]) -> Any:
        made = known[reference[0]]
        if not is_operation(made):
            return reference[0]
        return (made["class_name"], *map(value, made["inbound_nodes"][0]["args"]))

    (node,) = known[of]["inbound_nodes"]
    first = node[0] if isinstance(node, list) else node
    return {"on": [value(item[:3]) for item in node if is_reference(item)], "mask": value(first[3].get("mask"))}


OF_A, OF_B = ("Any", ("NotEqual", "x", 0.0)), ("Any", ("NotEqual", "y", 0.0))
BOTH = ("LogicalAnd", OF_A, OF_B)


@pytest.mark.parametrize(
    ("graph", "where", "want"),
    [
        ((called(layer("Add", "m"), ["a", "b"]), called(LSTM, "m")), "rnn", BOTH),
        ((called(layer("Concatenate", "m"), ["a", "c"]), called(LSTM, "m")), "rnn", OF_A),
        ((called(layer("Add", "m"), ["a", "c"]), called(layer("Dropout", "d"), "m"),
          called(layer("GlobalAveragePooling1D", "p"), "d")), "p", OF_A),
        ((called(layer("LSTM", "steps", return_sequences=True), "a"), called(layer("Add", "m"), ["steps", "b"]),
          called(LSTM, "m")), "rnn", BOTH),
        ((called(layer("Add", "m"), ["a", "b"]), called(layer("Add", "n"), ["m", "c"]), called(LSTM, "n")),
         "rnn", BOTH),
        ((called(layer("Concatenate", "m", axis=1), ["a", "b"]), called(layer("Concatenate", "n", axis=1), ["c", "c"]),
          called(layer("Add", "o"), ["m", "n"]), called(LSTM, "o")), "rnn", ("Concatenate", [OF_A, OF_B])),
    ],
)  # fmt: skip
def test_layers_are_given_the_masks_of_keras_2(graph: tuple[Layer, ...], where: str, want: Any) -> None:
    saved = masked(*graph)
    assert masks.mask_arguments.apply(saved) == [where]
    assert computed(saved, where)["mask"] == want


@pytest.mark.parametrize("kind", ["Multiply", "Maximum", "Minimum"])
def test_merges_that_fill_masked_values_in_see_none(kind: str) -> None:
    saved = masked(called(layer(kind, "m"), ["a", "c"]), called(LSTM, "m"))
    assert masks.mask_arguments.apply(saved) == ["m", "rnn"]
    assert computed(saved, "m")["on"] == [("Copy", "a"), "c"]
    assert computed(saved, "rnn")["mask"] == OF_A


def test_a_mask_that_keras_2_stopped_is_taken_off() -> None:
    saved = masked(called(layer("Rescaling", "r"), "a"), called(LSTM, "r"))
    assert masks.mask_arguments.apply(saved) == ["rnn"]
    assert computed(saved, "rnn")["on"] == [("Copy", "r")]


def test_a_shared_layer_makes_another_mask_in_each_call() -> None:
    twice = layer("Masking", "a")
    twice |= {"name": "a", "inbound_nodes": [[["x", 0, 0, {}]], [["y", 0, 0, {}]]]}
    start = [given("x", 4, 2), given("y", 4, 2), twice]
    add = layer("Add", "m") | {"name": "m", "inbound_nodes": [[["a", 0, 0, {}], ["a", 1, 0, {}]]]}
    saved = Saved(functional([*start, add, called(LSTM, "m")], ["x", "y"], ["rnn"]), OLD)
    assert masks.mask_arguments.apply(saved) == ["rnn"]
    assert computed(saved, "rnn")["mask"] == BOTH


def test_a_mask_that_is_made_in_a_nested_model() -> None:
    inner = sequential(layer("Masking", "a"), layer("Dense", "e"), name="inner")
    graph = [given("x", 4, 2), given("c", 4, 2), called(inner, "x"), called(layer("Add", "m"), ["inner", "c"])]
    saved = Saved(functional([*graph, called(LSTM, "m")], ["x", "c"], ["rnn"]), OLD)
    assert masks.mask_arguments.apply(saved) == ["rnn"]
    assert computed(saved, "rnn")["mask"] == OF_A


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        ((called(layer("Add", "m"), ["a", "b"]), called(sequential(layer("Dense", "e"), LSTM, name="inner"), "m")),
         OTHERWISE.format("inner/rnn", "LSTM")),
        ((called(layer("Add", "m"), ["a", "b"]), called(layer("MultiHeadAttention", "mha"), "m")),
         OTHERWISE.format("mha", "MultiHeadAttention")),
    ],
)  # fmt: skip
def test_masks_that_cannot_be_said_are_refused(graph: tuple[Layer, ...], text: str) -> None:
    with pytest.raises(SourceError) as caught:
        masks.mask_arguments.apply(masked(*graph))
    assert str(caught.value) == text + MASKS


def test_masks_of_embeddings_count_where_they_are_made() -> None:
    for mask_zero in (True, False):
        made = [layer("Embedding", f"e{i}", input_dim=3, output_dim=2, mask_zero=mask_zero) for i in range(2)]
        graph = [given("x", 4), *(called(said, "x") for said in made)]
        graph += [called(layer("Add", "m"), ["e0", "e1"]), called(LSTM, "m")]
        saved = Saved(functional(graph, ["x"], ["rnn"]), OLD)
        assert masks.mask_arguments.apply(saved) == (["rnn"] if mask_zero else [])
        if mask_zero:
            assert computed(saved, "rnn")["mask"] == ("LogicalAnd", ("NotEqual", "x", 0), ("NotEqual", "x", 0))


def test_attention_gets_copies_where_there_are_masks() -> None:
    attention = called(layer("MultiHeadAttention", "mha"), [["a", 0, 0, {"value": ["a", 0, 0], "key": ["b", 0, 0]}]])
    saved = masked(attention)
    assert masks.attention_copies.apply(saved) == ["mha"]
    *_, first, second, changed = saved.model["config"]["layers"]
    assert [(said["name"], said["class_name"], said["inbound_nodes"]) for said in (first, second)] == [
        ("mha_copy", "Rescaling", [[["a", 0, 0, {}]]]),
        ("mha_copy_", "Rescaling", [[["b", 0, 0, {}]]]),
    ]
    assert first["config"] == {"name": "mha_copy", "scale": 1.0, "offset": 0.0}
    assert changed["inbound_nodes"] == [[["mha_copy", 0, 0, {"value": ["mha_copy", 0, 0], "key": ["mha_copy_", 0, 0]}]]]
    plain = Saved(functional([given("a", 3, 2), given("b", 3, 2), attention], ["a", "b"], ["mha"]), OLD)
    assert masks.attention_copies.apply(plain) == []


# -- what Keras 3 saved ---------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_a_file_of_keras_3_with_layers_that_always_train(tmp_path: Path, ending: str) -> None:
    x = keras.Input((4,), name="x")
    y = layers.Dropout(0.5, name="drop")(layers.Dense(3, name="dense")(x), training=True)
    held = keras.Model(x, layers.BatchNormalization(name="norm")(y, training=True))
    held.set_weights([floats(*weight.shape) ** 2 for weight in held.weights])
    path = tmp_path / f"m.{ending}"
    held.save(path)
    data = floats(5, 4)
    want = keras.saving.load_model(path, compile=False).predict(data, verbose=0)
    found = open_file(path)
    assert [(done.rule, set(done.where)) for done in found.repairs] == [("training-flag", {"drop", "norm"})]
    before = [np.asarray(weight) for weight in found.model.weights]
    for got in (found.model(data), found.model.predict(data, verbose=0)):
        assert_allclose(got, want, atol=1e-6)
    assert all(np.array_equal(a, b) for a, b in zip(before, found.model.weights, strict=True))


def test_a_nested_model_of_keras_3_that_always_trains(tmp_path: Path) -> None:
    inside = keras.Input((3,))
    inner = keras.Model(inside, layers.BatchNormalization(name="norm")(inside), name="inner")
    x, y = keras.Input((3,), name="x"), keras.Input((3,), name="y")
    held = keras.Model([x, y], [inner(y, training=True), inner(x)])
    held.set_weights([floats(*weight.shape) ** 2 for weight in held.weights])
    path = tmp_path / "m.keras"
    held.save(path)
    data = [floats(5, 3), floats(5, 3)]
    found = open_file(path)
    assert [(done.rule, done.where) for done in found.repairs] == [("training-flag", ("inner",))]
    for got, want in zip(found.model(data), held.predict(data, verbose=0), strict=True):
        assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(
            lambda: layers.LayerNormalization(axis=[1, 2], name="n"),
            id="LayerNormalization",
            marks=only_on("tensorflow", "jax", why="on PyTorch, Keras normalizes the last axes alone"),
        ),
        pytest.param(lambda: layers.Softmax(axis=[1, 2], name="n"), id="Softmax"),
        pytest.param(lambda: layers.UnitNormalization(axis=[1, 2], name="n"), id="UnitNormalization"),
    ],
)
@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_several_axes_in_files_of_keras_3(tmp_path: Path, make: Any, ending: str) -> None:
    held = keras.Sequential([keras.Input((3, 4, 2)), make()])
    held.set_weights([floats(*weight.shape) for weight in held.weights])
    held.save(tmp_path / f"m.{ending}")
    x = floats(2, 3, 4, 2)
    found = open_file(tmp_path / f"m.{ending}")
    assert_allclose(found.model(x), held(x), atol=1e-6)
    assert [(done.rule, done.where) for done in found.repairs] == ([("axis-list", ("n",))] if ending == "h5" else [])


def test_a_file_of_keras_3_is_left_to_keras(tmp_path: Path) -> None:
    held = keras.Sequential([keras.Input((3,)), layers.Dense(2, activation="hard_sigmoid"), layers.LeakyReLU()])
    x = floats(2, 3)
    for ending in ("h5", "keras"):
        held.save(tmp_path / f"m.{ending}")
        found = open_file(tmp_path / f"m.{ending}")
        assert found.repairs == ()
        assert_allclose(found.model(x), held(x), atol=1e-6)


# -- archives of Keras 2 --------------------------------------------------------------------------


@only_on("tensorflow", why="Keras has SyncBatchNormalization there alone")
def test_an_archive_of_keras_2_whose_classes_change_names(tmp_path: Path) -> None:
    """Groups in an archive are numbered by class: what was ``thresholded_relu`` counts as a ReLU now."""
    dense = [layer("Dense", name, units=3) for name in ("b", "a")]
    dense[0]["config"]["batch_input_shape"] = [None, 3]
    model = sequential(
        dense[0], layer("ThresholdedReLU", "t", theta=0.2), layer("SyncBatchNormalization", "s"), dense[1]
    )
    w, b = [floats(3, 3), floats(3, 3)], [floats(3), floats(3)]
    norm = [floats(3), floats(3), floats(3), floats(3) ** 2 + 1]
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        for group, arrays in (("dense", [w[0], b[0]]), ("dense_1", [w[1], b[1]]), ("sync_batch_normalization", norm)):
            for number, array in enumerate(arrays):
                file[f"layers/{group}/vars/{number}"] = array
        file.create_group("layers/thresholded_relu/vars")
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(model))
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        archive.write(tmp_path / "model.weights.h5", "model.weights.h5")
    x = floats(2, 3)
    y = x @ w[0] + b[0]
    y = np.where(y > 0.2, y, 0)
    y = (y - norm[2]) / np.sqrt(norm[3] + 1e-3) * norm[0] + norm[1]
    found = open_file(tmp_path / "m.keras")
    assert_allclose(found.model(x), y @ w[1] + b[1], atol=1e-5)
    assert {"thresholded-relu", "class-names"} <= {done.rule for done in found.repairs}


def test_a_group_where_an_array_should_be(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "m.h5", sequential(DENSE), {"d": [("w", floats(3, 2))]})
    with h5py.File(path, "r+") as file:
        group = file["model_weights/d"]
        del group["w"]
        group.create_group("w")
    assert "do not fit it" in refusal(path)


# -- together -------------------------------------------------------------------------------------


def test_a_recurrent_layer_with_a_first_state_and_a_mask() -> None:
    """Keras 3 forgets the mask then."""
    for node in ([["a", 0, 0, {}], ["s", 0, 0, {}]], [["a", 0, 0, {"initial_state": ["s", 0, 0]}]]):
        recurrent = layer("GRU", "g", units=2) | {"name": "g", "inbound_nodes": [node]}
        made = [given("x", 3, 2), given("s", 2), called(layer("Masking", "a"), "x"), recurrent]
        saved = Saved(functional(made, ["x", "s"], ["g"]), (2, 9))
        assert masks.mask_arguments.apply(saved) == ["g"]
        assert computed(saved, "g")["mask"] == OF_A


@pytest.mark.parametrize("steps", [True, False])
def test_masked_steps_at_the_start_give_out_the_first_state(steps: bool) -> None:
    """So did Keras before 2.3 on TensorFlow."""
    for version, tf_keras, want in (((2, 2, 4), False, "Where"), ((2, 2, 4), True, None), ((2, 3, 1), False, None)):
        node = [["a", 0, 0, {}], ["s", 0, 0, {}]]
        recurrent = layer("GRU", "g", units=2, return_sequences=steps) | {"name": "g", "inbound_nodes": [node]}
        made = [given("x", 3, 2), given("s", 2), called(layer("Masking", "a"), "x"), recurrent]
        made += [called(layer("Dense", "e", units=2), "g")]
        saved = Saved(functional(made, ["x", "s"], ["e"]), version, is_tf_keras=tf_keras)
        masks.mask_arguments.apply(saved)
        found = computed(saved, "e")["on"][0]
        assert (
            found == "g"
            if want is None
            else (found[0], *found[2:]) == (("Where", "g", ("ExpandDims", "s")) if steps else ("Where", "g", "s"))
        )


def test_what_masked_steps_give_out_without_a_version_is_unknown() -> None:
    recurrent = layer("GRU", "g", units=2) | {"name": "g", "inbound_nodes": [[["a", 0, 0, {}], ["s", 0, 0, {}]]]}
    made = [given("x", 3, 2), given("s", 2), called(layer("Masking", "a"), "x"), recurrent]
    with pytest.raises(SourceError, match="the file does not say its version"):
        masks.mask_arguments.apply(Saved(functional(made, ["x", "s"], ["g"]), (2,)))


def test_a_recurrent_layer_at_every_step_of_a_mask() -> None:
    steps = layer("TimeDistributed", "t", layer=layer("LSTM", "l", units=2))
    made = [given("x", 4, 3, 2), called(layer("Masking", "a"), "x"), called(steps, "a"), called(LSTM, "t")]
    assert masks.mask_arguments.apply(Saved(functional(made[:3], ["x"], ["t"]), OLD)) == []
    with pytest.raises(SourceError, match="heeds a mask that Keras 3 would make otherwise"):
        masks.mask_arguments.apply(Saved(functional(made, ["x"], ["rnn"]), OLD))


def test_layers_as_activations() -> None:
    made = layer("Dense", "d", units=2, activation=layer("Activation", "a", activation="hard_sigmoid"))
    saved = Saved(sequential(made), (2, 9))
    assert [done.rule for done in repair(saved)] == ["activation-layers", "hard-sigmoid"]
    assert made["config"]["activation"] == "hard_sigmoid"
    made = layer("Dense", "d", units=2, activation=layer("ThresholdedReLU", "a", theta=0.5))
    repair(Saved(sequential(made), (2, 9)))
    assert (made["config"]["activation"]["class_name"], made["config"]["activation"]["config"]["threshold"]) == (
        "ReLU",
        0.5,
    )


def test_names_of_operations_on_masks() -> None:
    join = called(layer("Concatenate", "concatenate_1"), ["a", "a"])
    model = functional([given("x", 3, 2), called(layer("Masking", "a"), "x"), join], ["x"], ["concatenate_1"])
    saved = Saved(model, (2, 9))
    assert structure.mask_operations.apply(saved) == ["concatenate_1"]
    assert model["config"]["output_layers"][0][0] == join["name"] == "layer_concatenate_1"
    assert saved.name_in_file(join) == "concatenate_1"


@pytest.mark.parametrize(("of_weights", "version"), [((3, 5), (2, 9)), ((2, 9), (3,))])
def test_architecture_and_weights_of_different_versions(of_weights: tuple[int, ...], version: tuple[int, ...]) -> None:
    gates = Saved(
        sequential(layer("LSTM", "l", recurrent_activation="hard_sigmoid")), version, weights_version=of_weights
    )
    with pytest.raises(SourceError) as caught:
        unsupported.mixed_versions.refuse(gates)
    assert caught.value.received == f"an architecture of Keras {version[0]}, weights of Keras {of_weights[0]}"
    unsupported.mixed_versions.refuse(Saved(sequential(layer("LSTM", "l")), version, weights_version=of_weights))


@pytest.mark.parametrize("damaged", [{"class_name": 3}, {"config": None}, {"config": {"axis": {}, "units": [[]]}}])
def test_an_architecture_that_makes_no_sense(tmp_path: Path, damaged: dict[str, Any]) -> None:
    dense = called(layer("Dense", "d", units=2), "x") | damaged
    said = functional([given("x", 3), dense], ["x"], ["d"])
    path = write_h5(tmp_path / "m.h5", said, {}, "2.9.0")
    with pytest.raises(SourceError):
        open_file(path)


def test_an_hdf5_file_with_a_hole(tmp_path: Path) -> None:
    """The file is refused, or loaded as it was; in other places HDF5 itself may never end."""
    dense = layer("Dense", "d", units=2, batch_input_shape=[None, 3])
    arrays = {"d": [("d/kernel:0", floats(3, 2)), ("d/bias:0", floats(2))]}
    path = write_h5(tmp_path / "m.h5", sequential(dense), arrays, version="2.9.0")
    whole = path.read_bytes()
    weights = [array.tobytes() for _, array in arrays["d"]]
    outcomes = {}
    for start in range(0, 2000, 200):
        holed = whole[:start] + bytes(200) + whole[start + 200 :]
        if not all(array in holed for array in weights):
            continue  # HDF5 has no checksums: this cannot be seen
        path.write_bytes(holed)
        try:
            found = open_file(path).model.get_weights()
        except SourceError:
            outcomes[start] = "refused"
        else:
            outcomes[start] = "same" if [array.tobytes() for array in found] == weights else "other numbers"
    assert outcomes[0] == "refused"
    assert set(outcomes.values()) == {"refused", "same"}, outcomes


def test_training_flags_within_wrappers_in_memory() -> None:
    x = keras.Input((4,))
    inner = keras.Model(x, keras.layers.Dropout(0.5, name="dropout")(x, training=True), name="inner")
    steps = keras.Sequential([keras.Input((3, 4)), keras.layers.TimeDistributed(inner)])
    graph = (
        ks.Graph().add("a", steps).add("b", keras.Sequential([keras.Input((3, 4)), keras.layers.BatchNormalization()]))
    )
    model = graph.connect("a", "b").build()
    assert [text.split(":")[0] for text in graph.spec.submodel("a").repairs] == ["training-flag (inner/dropout)"]
    before = [weight.numpy() for weight in model.weights]
    data = np.ones((2, 3, 4), "float32")
    assert_allclose(model([data]), model.predict([data], verbose=0), atol=1e-6)
    assert all(np.array_equal(weight.numpy(), old) for weight, old in zip(model.weights, before, strict=True))
