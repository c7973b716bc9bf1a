"""What users give that is no model, no layer or no graph: each refused in words that say what to do."""

from __future__ import annotations

import json
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from backends import as_array
from keras import layers

import keras_stitch as ks
from keras_stitch.errors import NamingError, SaveError, SourceError, StitchError, WiringError
from keras_stitch.files.read_files import sha256
from keras_stitch.keras_private import quiet_keras

ACCEPTED = (
    "\n  Expected: a model saved by Keras (.h5, .hdf5, .keras or a SavedModel), an .onnx file, or a Kipoi directory"
)


def dense(size: int = 3, units: int = 2, name: str = "x") -> keras.Model:
    return keras.Sequential([keras.Input((size,), name=name), layers.Dense(units, name="dense")])


class Custom(layers.Layer):
    """A layer that nobody registered."""

    def call(self, inputs: Any) -> Any:
        return inputs


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good files and bad ones."""
    folder = tmp_path_factory.mktemp("saved")
    given = keras.Input((3,), name="x")
    double = keras.Model(given, layers.Lambda(lambda tensor: tensor * 2, output_shape=(3,), name="twice")(given))
    recurrent = keras.Sequential([keras.Input(batch_shape=(1, 4, 2)), layers.LSTM(3, stateful=True, name="lstm")])
    models = {
        "m": dense(),
        "lambda": double,
        "custom": keras.Model(given, Custom()(given)),
        "stateful": recurrent,
    }
    with quiet_keras():
        for name, model in models.items():
            model.save(folder / f"{name}.keras")
            model.save(folder / f"{name}.h5")
    model = dense()
    model.save_weights(folder / "m.weights.h5")
    with h5py.File(folder / "legacy.h5", "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        group = file.create_group("dense")
        group.attrs["weight_names"] = [b"dense/kernel", b"dense/bias"]
        for name, weight in zip(("dense/kernel", "dense/bias"), model.get_weights(), strict=True):
            group[name] = weight
    (folder / "m.json").write_text(model.to_json())
    return folder


def refusal(source: Any, **options: Any) -> str:
    with pytest.raises(SourceError) as caught:
        ks.Graph().add("m1", source, **options)
    return str(caught.value)


# -- files ----------------------------------------------------------------------------------------


def test_the_good_files_are_good(saved: Path) -> None:
    for name in ("m.h5", "m.keras"):
        assert ks.Graph().add("m1", saved / name).build().count_params() == 8
    for name in ("m.weights.h5", "legacy.h5"):
        assert ks.Graph().add("m1", saved / name, arch=saved / "m.json").build().count_params() == 8


@pytest.mark.parametrize("ending", ["h5", "keras"])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_files(saved: Path, tmp_path: Path, ending: str, share: float) -> None:
    whole, path = (saved / f"m.{ending}").read_bytes(), tmp_path / f"cut.{ending}"
    path.write_bytes(whole[: max(9, int(len(whole) * share))])
    what = "HDF5" if ending == "h5" else ".keras"
    text = refusal(path)
    assert text.startswith(f"'{path}' is a damaged {what} file: ")
    assert text.endswith(".\n  Fix: Copy or download it again.")


@pytest.mark.parametrize(
    ("ending", "start"),
    [("h5", r"a binary file that starts with b'\x89HD'"), ("keras", "a text file that starts with 'P'")],
)
def test_files_of_which_next_to_nothing_is_left(saved: Path, tmp_path: Path, ending: str, start: str) -> None:
    path = tmp_path / f"cut.{ending}"
    path.write_bytes((saved / f"m.{ending}").read_bytes()[: 3 if ending == "h5" else 1])
    assert refusal(path) == f"'{path}' is not a saved Keras model.{ACCEPTED}\n  Received: {start}"


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_a_broken_archive(saved: Path, tmp_path: Path, name: str) -> None:
    content = bytearray((saved / "m.keras").read_bytes())
    with zipfile.ZipFile(saved / "m.keras") as archive:
        info = archive.getinfo(name)
    # Behind the name in its local header come the bytes of the file, stored as they are.
    middle = content.index(name.encode(), info.header_offset) + len(name) + info.compress_size // 2
    content[middle] ^= 0xFF
    path = tmp_path / "broken.keras"
    path.write_bytes(content)
    assert refusal(path) == (
        f"'{path}' is a damaged .keras file: '{name}' in it was changed.\n  Fix: Copy or download it again."
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty.{accepted}\n  Received: a file of 0 bytes"),
        (b"chr1\t100\t200\n",
         "is not a saved Keras model.{accepted}\n  Received: a text file that starts with 'chr1\\t100\\t200\\n'"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12", "is not a saved Keras model.{accepted}\n"
         "  Received: a text file that starts with 'version https://git-lfs.github.com/spec/'"),
        (b"\x80\x81\x82\x83\x84\x85\x86\x87\x88", "is not a saved Keras model.{accepted}\n"
         "  Received: a binary file that starts with b'\\x80\\x81\\x82\\x83\\x84\\x85\\x86\\x87'"),
    ],
)  # fmt: skip
def test_files_of_another_kind(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    assert refusal(path) == f"'{path}' {text.format(accepted=ACCEPTED)}"


@pytest.mark.parametrize(("names", "listed"), [(["b.txt", "a.txt"], "a.txt, b.txt"), ([], "nothing")])
def test_an_archive_of_something_else(tmp_path: Path, names: list[str], listed: str) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    assert refusal(path) == f"'{path}' is a zip archive, but no Keras model.{ACCEPTED}\n  Received: files: {listed}"


def test_an_archive_with_half_a_model(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("metadata.json", "{}")
    assert refusal(path) == f"'{path}' does not hold a model.\n  Expected: a keras.Model\n  Received: {{}}"


@pytest.mark.parametrize(("names", "listed"), [(["data", "more"], "data, more"), ([], "nothing")])
def test_an_hdf5_file_of_something_else(tmp_path: Path, names: list[str], listed: str) -> None:
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        for name in names:
            file[name] = 1
    assert refusal(path) == f"'{path}' is an HDF5 file, but no Keras model.{ACCEPTED}\n  Received: groups: {listed}"


def test_an_hdf5_file_whose_config_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{"
    text = refusal(path)
    assert text.startswith(
        f"The architecture in '{path}' is damaged: Expecting property name enclosed in double quotes"
    )
    assert text.endswith("\n  Fix: Copy or download it again.")


def test_a_missing_file_has_neighbours(tmp_path: Path) -> None:
    (tmp_path / "model1.h5").touch()
    (tmp_path / "other.keras").touch()
    missing = tmp_path / "modle1.h5"
    assert refusal(missing) == f"There is no file '{missing}'.\n  Expected: 'model1.h5', the nearest name"
    missing = tmp_path / "no" / "model1.h5"
    assert refusal(missing) == f"There is no file '{missing}'. Nor does the folder '{missing.parent}' exist.{ACCEPTED}"


def test_a_directory_of_no_model(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"'{tmp_path}' is a directory without a model.yaml.{ACCEPTED}"


# -- permissions ----------------------------------------------------------------------------------


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder anybody may enter, seen as a user without rights: root would be refused nothing."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def as_nobody(action: Callable[[], Any]) -> Any:
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        return action()
    finally:
        if root:
            os.seteuid(0)


def test_a_file_nobody_may_read(nobody: Path) -> None:
    path = nobody / "model.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    path.chmod(0)
    text = as_nobody(lambda: refusal(path))
    assert text == f"No permission to read '{path}'.\n  Fix: Change its permissions, or copy it."


def test_a_folder_nobody_may_enter(nobody: Path) -> None:
    path = nobody / "closed" / "model.h5"
    path.parent.mkdir()
    path.touch()
    path.parent.chmod(0)
    try:
        text = as_nobody(lambda: refusal(path))
    finally:
        path.parent.chmod(0o755)
    assert text == f"No permission to look at '{path}'.\n  Fix: Change the permissions of its folder."


def test_a_folder_nobody_may_write(nobody: Path) -> None:
    graph = ks.Graph().add("wide", layers.Reshape((3, 1))).add_input("x", "wide", shape=(3,))
    nobody.chmod(0o555)

    def write() -> str:
        with pytest.raises(SaveError) as caught:
            graph.to_yaml(nobody / "stitch.yaml")
        return str(caught.value)

    assert as_nobody(write) == f"'{nobody / 'stitch.yaml'}' cannot be written: Permission denied."
    assert list(nobody.iterdir()) == []


# -- weights and architectures --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["m.weights.h5", "legacy.h5"])
def test_weights_without_an_architecture(saved: Path, name: str) -> None:
    assert refusal(saved / name) == (
        f"'{saved / name}' holds weights only, not the architecture they belong to.\n"
        "  Expected: a whole model, or weights with the architecture beside them\n"
        '  Fix: Give the architecture, graph.add(name, "weights.h5", arch="model.json"), or save the whole model: '
        "model.save(...) instead of model.save_weights(...)."
    )


def test_an_architecture_for_a_whole_model(saved: Path) -> None:
    assert refusal(saved / "m.keras", arch=saved / "m.json") == (
        f"'{saved / 'm.keras'}' is a whole model, so arch= is not needed.\n"
        f"  Received: arch='{saved / 'm.json'}'\n"
        "  Fix: Leave arch= out, or give an .h5 file."
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"not json",
         "'{arch}' is not the architecture of a Keras model.\n  Expected: the JSON text that model.to_json() gives"),
        (b"[1]",
         "'{arch}' is not the architecture of a Keras model.\n  Expected: the JSON text that model.to_json() gives"),
        (b"{}", "'{arch}' is not the architecture of a Keras model.\n"
         "  Expected: the JSON text that model.to_json() gives"),
        (b"\x89HDF", "The architecture '{arch}' is not text.\n  Expected: the JSON text that model.to_json() gives"),
        (None, "The architecture '{arch}' cannot be read: No such file or directory."),
    ],
)  # fmt: skip
def test_an_architecture_that_is_none(saved: Path, tmp_path: Path, content: bytes | None, text: str) -> None:
    arch = tmp_path / "arch.json"
    if content is not None:
        arch.write_bytes(content)
    assert refusal(saved / "m.weights.h5", arch=arch).startswith(text.format(arch=arch))


@pytest.mark.parametrize("name", ["m.weights.h5", "legacy.h5"])
def test_an_architecture_of_another_model(saved: Path, tmp_path: Path, name: str) -> None:
    arch = tmp_path / "arch.json"
    arch.write_text(keras.Sequential([keras.Input((5,)), layers.Dense(7), layers.Dense(1)]).to_json())
    text = refusal(saved / name, arch=arch)
    assert text.startswith(f"The weights in '{saved / name}' do not fit the architecture '{arch}': ")
    assert text.endswith("\n  Fix: Give the architecture that the weights were saved with.")


# -- what is in a model ---------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_a_lambda_is_refused(saved: Path, ending: str) -> None:
    path = saved / f"lambda.{ending}"
    assert refusal(path) == (
        f"'{path}' holds a Lambda layer, that is Python code, and loading it would run whatever its author wrote.\n"
        "  Expected: a model without Python lambdas\n"
        "  Received: 'twice' takes (None, 3) from 'x' and is an output of the model with (3,) (names in its "
        "code: tensor)\n"
        "  Fix: Give layers or functional models that compute the same (with f in keras.ops), or take what does "
        "without:\n"
        '    x = keras.Input((3,)); graph.add(name, source, replace={"twice": keras.Model(x, f(x))})'
    )


def test_a_lambda_in_memory_is_refused() -> None:
    given = keras.Input((3,))
    double = layers.Lambda(lambda tensor: tensor * 2, output_shape=(3,))
    for source, kind in ((keras.Model(given, double(given)), "Functional"), (double, "Lambda")):
        assert refusal(source) == (
            f"Submodel 'm1' ({kind}) holds a Lambda layer, that is Python code, which Keras refuses to copy.\n"
            "  Expected: a model without Python lambdas\n"
            "  Fix: Use Keras layers, or a function registered with keras.saving.register_keras_serializable."
        )


@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_a_layer_that_is_not_known(saved: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"custom.{ending}"
    content = (saved / f"custom.{ending}").read_bytes()
    if ending == "keras":
        # The class is in the file by its import path too, which this process could follow.
        with zipfile.ZipFile(saved / "custom.keras") as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                new.writestr(name, old.read(name).replace(__name__.encode(), b"elsewhere"))
    else:
        path.write_bytes(content)
    of = ", of elsewhere" if ending == "keras" else ""
    line = 'If you trust it, pip install elsewhere, and then: graph.add(name, source, custom_objects="elsewhere")'
    assert refusal(path) == (
        f"'{path}' needs a custom object that is not known here: 'Custom' (layer 'custom'{of}).\n"
        "  Expected: layers and functions of Keras, or those in custom_objects\n"
        "  Fix: " + (line if of else 'graph.add(name, source, custom_objects={"Custom": ...})')
    )
    assert ks.Graph().add("m1", path, custom_objects={"Custom": Custom}).build().output_shape == (None, 3)


class Subclassed(keras.Model):
    """A model whose inputs nobody knows before it is called."""

    def call(self, inputs: Any) -> Any:
        return inputs


NO_INPUTS = """ does not say what its inputs are.
  Expected: a functional model, or a Sequential whose first layer is an Input
  Received: a {0} without symbolic inputs
  Fix: Call it on a keras.Input, wrap that in keras.Model(inputs, outputs), and take or save the result."""


def test_models_that_do_not_say_their_inputs(tmp_path: Path) -> None:
    model = Subclassed(name="sub")
    model(np.zeros((1, 3)))
    model.save(tmp_path / "sub.keras")
    assert refusal(model) == f"Submodel 'm1' (Subclassed 'sub'){NO_INPUTS.format('Subclassed')}"
    text = refusal(tmp_path / "sub.keras", custom_objects={"Subclassed": Subclassed})
    assert text == f"Submodel 'm1' (sub.keras){NO_INPUTS.format('Subclassed')}"


@pytest.mark.parametrize("inside", [["dense"], []])
def test_models_that_were_never_built(inside: list[str], tmp_path: Path) -> None:
    """Their weights would be new ones, made when they are called."""
    model = keras.Sequential([layers.Dense(2, name=name) for name in inside], name="s")
    text = """ was never built, so it holds no weights.
  Expected: a functional model, or a Sequential whose first layer is an Input
  Received: a Sequential without weights
  Fix: Build it with its Input and train it, or load its weights, before it is added or saved."""
    assert refusal(model) == f"Submodel 'm1' (Sequential 's'){text}"
    model.save(tmp_path / "m.keras")
    assert refusal(tmp_path / "m.keras") == f"Submodel 'm1' (m.keras){text}"


@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_a_stateful_model(saved: Path, ending: str) -> None:
    assert refusal(saved / f"stateful.{ending}") == (
        "Submodel 'm1' has a stateful layer, 'lstm': what it predicts depends on the batches before.\n"
        "  Expected: stateless recurrent layers\n"
        "  Fix: Where it is a file of Keras 1 or 2 and each batch stands for itself, say so: "
        "graph.add(name, source, stateless=True). Else rebuild the model with stateful=False, copy the weights "
        "with set_weights(get_weights()), and save it again."
    )


@pytest.mark.parametrize("wrap", [False, True])
def test_a_stateful_layer(wrap: bool) -> None:
    recurrent = layers.GRU(2, stateful=True)
    assert refusal(layers.Bidirectional(recurrent) if wrap else recurrent) == (
        "Submodel 'm1' is a stateful layer: what it predicts depends on the batches before.\n"
        "  Expected: a stateless recurrent layer\n"
        "  Fix: Make it with stateful=False."
    )


@pytest.mark.parametrize("source", [3, None, layers.Dense, [1], b"m.h5"])
def test_a_source_of_the_wrong_type(source: Any) -> None:
    assert refusal(source) == (
        f"Submodel 'm1' cannot be made of this {type(source).__name__}.\n"
        "  Expected: an address such as 'hf://user/repo', a name such as 'kipoi:DeepSEA/predict', the path of a Kipoi "
        "directory, the path of an ONNX file, the path of a SavedModel of TensorFlow, the path of a saved model, a "
        "keras.Model, a Keras layer, a scikit-learn estimator or a torch.nn.Module\n"
        f"  Received: {source!r}"
    )


def test_an_input_layer_is_no_node() -> None:
    assert refusal(layers.InputLayer((3,))) == (
        "Submodel 'm1' is an InputLayer.\n  Fix: Use graph.add_input(\"m1\", targets, shape=...)."
    )


def test_inner_outputs_that_are_not_there(saved: Path) -> None:
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(4, name="hidden")], name="inner")
    outer = keras.Sequential([keras.Input((3,)), inner, layers.Dense(2, name="head")])
    given, twice = keras.Input((3,)), layers.Dense(3, name="twice")
    reused = keras.Model(given, twice(twice(given)))
    unknown = "The model has no layer '{0}' of its own to take as an output.\n  Expected: {1}"
    cases: list[tuple[Any, list[str], str]] = [
        (saved / "m.h5", ["dens"], unknown.format("dens", "'dense', the nearest name")),
        (
            outer,
            ["hidden"],
            unknown.format("hidden", "one of inner, head")
            + "\n  Received: 'inner/hidden', which lies in a nested model",
        ),
        (
            reused,
            ["twice"],
            "The layer 'twice' is called 2 times, so it has no single output.\n  Expected: a layer that is called once",
        ),
    ]
    for source, outputs, text in cases:
        assert refusal(source, outputs=outputs) == f"outputs= of submodel 'm1': {text}"
    assert refusal(layers.Dense(2), outputs=["x"]) == (
        "Submodel 'm1' is a bare layer (Dense), so outputs= does not apply to it."
    )
    assert ks.Graph().add("m1", outer, outputs=["inner"]).build().output_shape == (None, 4)


# -- what the verbs are given ---------------------------------------------------------------------


def graph() -> ks.Graph:
    """Two submodels, ``b`` on top of ``a``."""
    return ks.Graph().add("a", dense()).add("b", dense(2, 1, "y")).connect("a", "b")


NAMES = "\n  Expected: one name, or a list of names\n  Received: {0}"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: ks.Graph("two words"),
         "'two words' cannot name a graph.\n  Expected: a letter, followed by letters, digits "
         "and underscores\n  Received: 'two words'\n  Fix: Call it 'two_words', for example."),
        (lambda: graph().add("it's", dense()),
         "\"it's\" cannot name a submodel.\n  Expected: a letter, followed by letters, "
         "digits and underscores\n  Received: \"it's\"\n  Fix: Call it 'it_s', for example."),
        (lambda: graph().add("a", dense()), "There is already a submodel 'a'.\n  Fix: Give this one another name, or "
         "graph.share(..., of='a') for the same weights once more, or put it in place of that one: "
         "graph.replace('a', ...)."),
        (lambda: graph().add("c", dense(), outputs=[]), "outputs= of submodel 'c' names nothing." + NAMES.format("[]")),
        (lambda: graph().add("c", dense(), outputs=[3]), "outputs= of submodel 'c' takes names." + NAMES.format("[3]")),
        (lambda: graph().share("a", of="b"), "There is already a submodel 'a'.\n  Fix: Give this one another name."),
        (lambda: graph().share("c", of="d"), "There is no submodel 'd' that 'c' could share.\n  Expected: one of a, b"),
        (lambda: graph().connect([], "b"), "connect(..., 'b') names nothing." + NAMES.format("[]")),
        (lambda: graph().connect(3, "b"), "connect(..., 'b') takes names." + NAMES.format("3")),
        (lambda: graph().connect(["a", 3], "b"), "connect(..., 'b') takes names." + NAMES.format("['a', 3]")),
        (lambda: graph().connect("a", None),
         "connect(..., target) takes one name.\n  Expected: text\n  Received: None"),
        (lambda: graph().connect("a", "b", merge="concat"),
         "There is no merge 'concat'.\n  Expected: 'concatenate', the "
         "nearest name, or a Keras layer"),
        (lambda: graph().connect("a", "b", merge=len),
         "There is no merge <built-in function len>.\n"
         "  Expected: one of concatenate, add, average, maximum, minimum, multiply, subtract, abs_difference, stack, "
         "dot, or a Keras layer"),
        (lambda: graph().connect("a", "b", axis="last"),
         "axis= is not a whole number.\n  Expected: a number such as -1\n"
         "  Received: 'last'"),
        (lambda: graph().connect("a", "b", merge=built()),
         "This Dense as merge= has weights, and a connection holds none: they would be lost.\n"
         "  Fix: Make it a submodel, and connect each source to one of its inputs: a, b = keras.Input(...), "
         'keras.Input(...); graph.add("merged", keras.Model([a, b], layer([a, b]))). Or give a layer that was not '
         "called yet, which draws new weights."),
        (lambda: graph().add_input("x y", "a"),
         "'x y' cannot name a graph input.\n  Expected: a letter, followed by letters, "
         "digits and underscores\n  Received: 'x y'\n  Fix: Call it 'x_y', for example."),
        (lambda: graph().add_input("x", "a").add_input("x", "b"), "There is already a graph input 'x'.\n"
         "  Fix: List all its targets in one add_input."),
        (lambda: graph().add_input("x", 3), "add_input('x', ...) takes names." + NAMES.format("3")),
        (lambda: graph().add_input("x", "a", shape=3),
         "shape= of the graph input 'x' is not a shape.\n  Expected: sizes "
         "without the batch axis, None for a variable one, such as (None, 4)\n  Received: 3"),
        (lambda: graph().add_input("x", "a", shape=(-1, 4)),
         "shape= of the graph input 'x' is not a shape.\n  Expected: sizes "
         "without the batch axis, None for a variable one, such as (None, 4)\n  Received: (-1, 4)"),
        (lambda: graph().add_input("x", "a", dtype="flot32"), "dtype= of the graph input 'x' is not a dtype.\n"
         "  Expected: a dtype of Keras, such as 'float32' or 'int32'\n  Received: 'flot32'"),
        (lambda: graph().add_output("1st", "a"), "'1st' cannot name a graph output.\n  Expected: a letter, followed by "
         "letters, digits and underscores\n  Received: '1st'\n  Fix: Call it 'x1st', for example."),
        (lambda: graph().add_output("o", "a").add_output("o", "b"), "There is already a graph output 'o'.\n"
         "  Fix: Give this one another name."),
        (lambda: graph().add_output("o", 3), "add_output('o', ...) takes one name.\n  Expected: text\n  Received: 3"),
        (lambda: graph().freeze(), "freeze(...) names nothing." + NAMES.format("()")),
        (lambda: graph().unfreeze(3), "unfreeze(...) takes names." + NAMES.format("(3,)")),
        (lambda: graph().freeze("a", layers=3), "freeze(layers=...) takes one name.\n  Expected: text\n  Received: 3"),
        (lambda: graph().to_yaml("never.yaml"), "Submodel 'a' is in memory, so a stitch.yaml could not bring it back.\n"
         '  Fix: Save it, model.save("a.keras"), and add that path.'),
        (lambda: graph().save("never", format="onnx"), "There is no format 'onnx'.\n  Expected: keras or h5"),
        (lambda: ks.chain(), "chain needs at least 1 model, received 0."),
        (lambda: ks.ensemble(dense()), "ensemble needs at least 2 models, received 1."),
        (lambda: ks.siamese(dense(), inputs=["one"]), "A siamese graph has two inputs, received 1 names."),
    ],
)  # fmt: skip
def test_arguments(call: Callable[[], Any], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StitchError) as caught:
        call()
    assert str(caught.value) == text
    assert list(tmp_path.iterdir()) == []


def built() -> keras.Layer:
    layer = layers.Dense(2)
    layer.build((None, 3))
    return layer


def test_a_name_that_breaks_h5() -> None:
    with pytest.raises(NamingError, match="'top_level_model_weights' cannot name a submodel: Keras uses it inside"):
        ks.Graph().add("top_level_model_weights", dense())


# -- what only Keras knows ------------------------------------------------------------------------


def unbuildable(graph: ks.Graph) -> str:
    """The one problem of a graph."""
    with pytest.raises(WiringError) as caught:
        graph.build()
    (problem,) = caught.value.problems
    return str(problem)


@pytest.mark.parametrize(("layer", "kind"), [(layers.Add(), "Add"), (layers.Concatenate(), "Concatenate")])
def test_a_layer_that_merges_is_no_node(layer: keras.Layer, kind: str) -> None:
    text = unbuildable(graph().add("c", layer).connect("b", "c"))
    assert text.startswith(f"Layer 'c' ({kind}) cannot take (1,) float32: ")
    assert text.endswith(
        f"\n  Fix: A layer that merges belongs in the connection: graph.connect([...], target, "
        f"merge=keras.layers.{kind}(...))."
    )


def test_a_layer_with_several_outputs_is_no_node() -> None:
    tower = keras.Sequential([keras.Input((4, 2), name="x"), layers.Dense(3)])
    text = unbuildable(ks.Graph().add("a", tower).add("b", layers.LSTM(2, return_state=True)).connect("a", "b"))
    assert text == (
        "Layer 'b' (LSTM) makes several tensors.\n  Expected: a layer with one output\n"
        "  Fix: Wrap it in a keras.Model, whose outputs become ports."
    )


def test_a_layer_that_refuses_what_it_gets() -> None:
    text = unbuildable(graph().add("c", layers.Conv1D(2, 3)).connect("b", "c"))
    assert text.startswith("Layer 'c' (Conv1D) cannot take (1,) float32: ")
    assert "expected min_ndim=3, found ndim=2" in text


def test_a_merge_layer_that_refuses_its_sources() -> None:
    nodes = ks.Graph().add("a", dense(3, 2, "p")).add("b", dense(3, 4, "q")).add("c", dense(6, 1))
    text = unbuildable(nodes.connect(["a", "b"], "c", merge=layers.Dot(axes=1)))
    assert text.startswith(
        "'a' (2,) float32 and 'b' (4,) float32 cannot be merged into 'c.x' (6,) float32. Dot refuses"
    )


def test_freezing_what_is_not_there() -> None:
    assert unbuildable(graph().freeze("bb")) == "freeze('bb') matches no submodel.\n  Expected: 'b', the nearest name"
    assert unbuildable(graph().unfreeze("q*")) == "unfreeze('q*') matches no submodel.\n  Expected: one of a, b"
    assert unbuildable(graph().freeze("b", layers="dens")) == (
        "freeze('b', layers='dens') matches no layer.\n  Expected: 'dense', the nearest name"
    )


def test_wrong_wires_and_wrong_freezes_come_together() -> None:
    with pytest.raises(WiringError) as caught:
        graph().connect("a", "nowhere").freeze("nobody").build()
    assert [problem.message for problem in caught.value.problems] == [
        "There is no submodel 'nowhere' to connect to.",
        "freeze('nobody') matches no submodel.",
    ]


def test_what_is_merged_for_one_port_may_come_back_through_another(tmp_path: Path) -> None:
    """The tensor merged for ``m2.p`` also feeds ``m3``, which feeds ``m2.q``: no cycle, and the right numbers."""
    p, q = keras.Input((4,), name="p"), keras.Input((3,), name="q")
    last = keras.Model([p, q], layers.Concatenate()([p, q]))
    models = {"m2": last, "a": dense(), "b": dense(3, 2, "z"), "m3": dense(4, 3, "w")}
    made = ks.Graph()
    for name, model in models.items():
        made.add(name, model)
    made.connect(["a", "b"], "m2.p").connect("m2.p", "m3").connect("m3", "m2.q")
    x, z = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    merged = np.concatenate([as_array(models["a"](x)), as_array(models["b"](z))], axis=-1)
    expected = np.concatenate([merged, as_array(models["m3"](merged))], axis=-1)
    assert [port.name for port in made.summary().inputs] == ["x", "z"]
    np.testing.assert_allclose(made.build().predict([x, z], verbose=0), expected, atol=1e-5)
    assert made.plot(tmp_path / "graph.svg").stat().st_size > 1000


# -- files written --------------------------------------------------------------------------------


def test_a_graph_that_h5_cannot_hold(tmp_path: Path) -> None:
    given = keras.Input((3,), name="x")
    made = ks.Graph().add("squash", keras.Model(given, keras.ops.sigmoid(given)))
    with pytest.raises(SaveError) as caught:
        made.save(tmp_path / "out", format="h5")
    # Keras numbers the names of operations over a session.
    assert re.sub(r"sigmoid_\d+", "sigmoid", str(caught.value)) == (
        "An .h5 file cannot hold submodel 'squash': it has the operation Sigmoid, which is no Keras layer "
        "('squash/sigmoid').\n  Fix: Save as .keras: graph.save(..., format=\"keras\")."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_is_not_the_one_recorded(saved: Path, tmp_path: Path) -> None:
    spec = tmp_path / "stitch.yaml"
    spec.write_text(json.dumps({"models": {"m1": {"source": str(saved / "m.h5"), "sha256": "0" * 64}}}))
    with pytest.raises(SourceError) as caught:
        ks.Graph.from_yaml(spec)
    text = str(caught.value)
    assert text.startswith(f"The file of submodel 'm1', '{saved / 'm.h5'}', is not the one that was recorded.\n")
    assert f"\n  Expected: sha256 {'0' * 64}\n  Received: sha256 " in text


def test_a_source_that_changed_since(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes((saved / "m.keras").read_bytes())
    made = ks.Graph().add("m1", path)
    made.build()
    before = sha256(path)
    dense(3, 5).save(path)
    with pytest.raises(SourceError) as caught:
        made.build()
    assert str(caught.value) == (
        f"'{path}' has changed since it was added.\n  Expected: sha256 {before}\n  Received: sha256 {sha256(path)}\n"
        "  Fix: Add it to a new Graph."
    )


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ({"class_name": "Reshpe", "config": {}}, "There is no layer 'Reshpe' with this config: "),
        ({"class_name": "Dense", "config": {"unit": 3}}, "There is no layer 'Dense' with this config: "),
    ],
)
def test_a_layer_in_yaml_that_is_none(tmp_path: Path, layer: dict[str, Any], text: str) -> None:
    spec = tmp_path / "stitch.yaml"
    spec.write_text(json.dumps({"models": {"wide": {"layer": layer}}}))
    with pytest.raises(SourceError) as caught:
        ks.Graph.from_yaml(spec)
    assert str(caught.value).startswith(text)
    assert "\n  Expected: class_name: a layer of keras.layers, config: its arguments" in str(caught.value)
