"""Exported models: the same names and numbers without Keras, or one message and nothing written."""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import toy_models
import warm_python
from backends import only_on
from hypothesis import Phase, given, settings
from keras import layers
from reference import World, assert_equal, by_name
from strategies import Case, cases
from toy_objects import write_layers

import keras_stitch as ks
from keras_stitch import cli
from keras_stitch.errors import SaveError, SourceError, StitchError
from keras_stitch.export import export_report, onnx_files
from keras_stitch.export.export_model import export_model
from keras_stitch.export.export_report import Exported
from keras_stitch.files import onnx_contents
from keras_stitch.verify import fresh_process

pytestmark = only_on("tensorflow", why="Keras exports on TensorFlow")
FORMATS = ("onnx", "saved_model")
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the directory of four models, ``composed``, and the models."""
    folder = tmp_path_factory.mktemp("seed")
    ports = {"m1": ("input1", 3, 4), "m2": ("input1_model1", 7, 3), "m3": ("input2", 6, 4), "m4": ("last", 7, 1)}
    for name, (port, size, units) in ports.items():
        x = keras.Input((size,), name=port)
        toy_models.save(keras.Model(x, layers.Dense(units)(x)), folder / f"{name}.h5")
    graph = ks.Graph("composed")
    for number in range(1, 5):
        graph.add(f"model{number}", folder / f"m{number}.h5")
    graph.connect(["model1", "input1"], "model2").connect(["model2", "model3"], "model4")
    graph.save(folder / "composed", info={"doc": "Four models.", "license": "MIT"})
    return folder


def alone(folder: Path, inputs: Arrays) -> Arrays:
    """What the four models predict one after another."""
    one, two, three, four = (keras.saving.load_model(folder / f"m{number}.h5") for number in range(1, 5))
    second = two(np.concatenate([one(inputs["input1"]), inputs["input1"]], axis=1))
    return {"model4": np.asarray(four(np.concatenate([second, three(inputs["input2"])], axis=1)))}


def numbers(rows: int) -> Arrays:
    rng = np.random.default_rng(rows)
    return {name: rng.normal(size=(rows, size)).astype("float32") for name, size in (("input1", 3), ("input2", 6))}


def close(found: Arrays, expected: Arrays) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].shape == array.shape
        assert np.abs(found[name] - array).max() <= 1e-5 * max(1.0, np.abs(array).max())


def run_onnx(path: Path, inputs: Arrays) -> Arrays:
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def saved(folder: Path, inputs: Any, outputs: Any, name: str = "m") -> Path:
    model = keras.Model(inputs, outputs, name=name)
    toy_models.set_random_weights(model, 1)
    return toy_models.save(model, folder / f"{name}.keras")


def exported(source: Path, folder: Path, format: str) -> Exported:
    return export_model(source, folder / {"onnx": "made.onnx", "saved_model": "made"}[format], format=format)


def listing(folder: Path) -> list[tuple[str, bytes]]:
    return sorted((str(path), path.read_bytes()) for path in folder.rglob("*") if path.is_file())


def refused(folder: Path, action: Callable[[], Any], kind: type[StitchError] = SaveError) -> str:
    """The message of what is refused and writes nothing."""
    before = listing(folder)
    with pytest.raises(kind) as error:
        action()
    assert listing(folder) == before
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    return str(error.value)


# -- names and numbers ----------------------------------------------------------------------------


def test_an_onnx_file_of_a_directory(seed: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    made = export_model(seed / "composed", tmp_path / "composed.onnx", progress=steps.append)
    onnx.checker.check_model(made.path, full_check=True)
    file = onnx.load(made.path)
    dims = {
        item.name: [dim.dim_param or dim.dim_value for dim in item.type.tensor_type.shape.dim]
        for item in [*file.graph.input, *file.graph.output]
    }
    assert dims == {"input1": ["rows", 3], "input2": ["rows", 6], "model4": ["rows", 1]}
    assert (file.producer_name, file.producer_version) == ("keras_stitch", ks.__version__)
    assert (file.graph.name, file.doc_string) == ("composed", "Four models.")
    about = {item.key: item.value for item in file.metadata_props}
    assert about == {
        "name": "composed",
        "license": "MIT",
        "exported_by": f"keras_stitch {ks.__version__}, Keras {keras.__version__}",
    }
    for rows in (1, 3, 32):
        close(run_onnx(made.path, numbers(rows)), alone(seed, numbers(rows)))
    assert (made.format, made.size) == ("onnx", made.path.stat().st_size)
    assert made.compared == ("10 example rows", "1 random row", "7 random rows") and made.before == ()
    assert [path.name for path in tmp_path.iterdir()] == ["composed.onnx"]
    assert steps == [
        f"loading {seed / 'composed'}",
        "predicting with Keras",
        "exporting to composed.onnx",
        "running composed.onnx without Keras",
    ]


PLAIN_TENSORFLOW = """
import sys

import numpy as np
import tensorflow as tf

loaded = tf.saved_model.load("composed")
for signature in ("serving_default", "serve"):
    predict = loaded.signatures[signature]
    for rows in (1, 3, 32):
        with np.load(f"{rows}.npz") as inputs:
            made = predict(**{name: tf.constant(inputs[name]) for name in inputs.files})
        np.savez(f"{signature}{rows}.npz", **{name: value.numpy() for name, value in made.items()})
assert not {"kipoi", "keras_stitch"} & set(sys.modules)
"""


@pytest.mark.slow
@pytest.mark.fresh_process
def test_a_saved_model_in_plain_tensorflow(seed: Path, tmp_path: Path) -> None:
    made = export_model(seed / "composed", tmp_path / "composed")
    assert made.format == "saved_model"
    assert str(made).endswith(
        "Run by TensorFlow alone, in a fresh process, and compared with Keras on 10 example rows, 1 random row and 7 "
        "random rows."
    )
    for rows in (1, 3, 32):
        np.savez(tmp_path / f"{rows}.npz", **numbers(rows))
    done = warm_python.run([sys.executable, "-c", PLAIN_TENSORFLOW], tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    for rows in (1, 3, 32):
        expected = alone(seed, numbers(rows))
        for signature in ("serving_default", "serve"):
            with np.load(tmp_path / f"{signature}{rows}.npz") as found:
                close(dict(found), expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", toy_models.KINDS)
def test_every_kind_of_model(kind: str, tmp_path: Path) -> None:
    format = toy_models.KINDS[kind].formats[0]
    graph = ks.Graph("g").add("a", toy_models.saved(kind, 3, format)).share("b", of="a")
    for port in graph.spec.submodel("a").inputs:
        for name in "ab":
            graph.add_input(f"in_{name}_{port.name}", f"{name}.{port.name}")
    model = graph.build()
    source = toy_models.save(model, tmp_path / "g.keras")
    for name in FORMATS:
        made = exported(source, tmp_path, name)
        assert [port.name for port in made.inputs] == [tensor.name for tensor in model.inputs]
        assert [output.name for output in made.outputs] == list(model.output)
        open_sizes = [size for port in made.inputs for size in port.shape or ()].count(None)
        assert open_sizes == sum(list(tensor.shape[1:]).count(None) for tensor in model.inputs)


# Shrinking would take minutes, and a case that fails is small enough.
@settings(max_examples=4, phases=[Phase.generate])
@given(cases(max_nodes=5))
def test_random_graphs_in_onnx_runtime(case: Case) -> None:
    world = World(case)
    model, data = world.graph().build(), world.data()
    expected = by_name(model(data, training=False), model)
    with tempfile.TemporaryDirectory() as name:
        source = toy_models.save(model, Path(name) / "g.keras")
        made = exported(source, Path(name), "onnx")
        assert [port.name for port in made.inputs] == world.input_names()
        found = run_onnx(made.path, {port.name: data[port.name].astype(port.dtype) for port in made.inputs})
    assert list(found) == list(expected)
    assert_equal(found, expected)


def test_outputs_keep_their_names_and_their_order(tmp_path: Path) -> None:
    graph = ks.Graph("g").add("a", toy_models.saved("dict_outputs", 0, "keras"))
    graph.add("Big", toy_models.saved("variable", 1, "keras"))
    graph.add_output("zeta", "a.scale").add_output("Middle", "Big").add_output("alpha", "a.mean")
    source = toy_models.save(graph.build(), tmp_path / "g.keras")
    names = ["zeta", "Middle", "alpha"]
    for format in FORMATS:
        assert [output.name for output in exported(source, tmp_path, format).outputs] == names
    graph_in_file = onnx.load(tmp_path / "made.onnx").graph
    assert [output.name for output in graph_in_file.output] == names
    assert [dim.dim_param for dim in graph_in_file.output[1].type.tensor_type.shape.dim] == ["rows", "Middle_1", ""]


@pytest.mark.slow
def test_lengths_stay_open(tmp_path: Path) -> None:
    x = keras.Input((None, 3), name="x")
    source = saved(tmp_path, x, layers.Bidirectional(layers.LSTM(2, return_sequences=True))(x))
    made = exported(source, tmp_path, "onnx")
    model = keras.saving.load_model(source)
    for rows, length in ((1, 4), (3, 9), (32, 1)):
        data = np.random.default_rng(0).normal(size=(rows, length, 3)).astype("float32")
        (found,) = run_onnx(made.path, {"x": data}).values()
        np.testing.assert_allclose(found, model(data), atol=1e-5)


@pytest.mark.slow
def test_recurrent_layers_with_masks(tmp_path: Path) -> None:
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    made = {
        "lstm": layers.LSTM(2),
        "gru": layers.GRU(2, reset_after=False, return_sequences=True),
        "two_way_gru": layers.Bidirectional(layers.GRU(2)),
        "simple_rnn": layers.SimpleRNN(2, go_backwards=True),
    }
    outputs = {name: layer(layers.Embedding(7, 3, mask_zero=True)(tokens)) for name, layer in made.items()}
    source = saved(tmp_path, tokens, outputs)
    for format in FORMATS:
        exported(source, tmp_path, format)
    data = np.array([[1, 2, 0, 0], [3, 0, 0, 0], [4, 5, 6, 1]], "int32")
    found, expected = run_onnx(tmp_path / "made.onnx", {"tokens": data}), keras.saving.load_model(source)(data)
    assert set(found) == set(expected) == set(made)
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], atol=1e-5)


@pytest.mark.slow
def test_inputs_of_every_dtype(tmp_path: Path) -> None:
    dtypes = ["float16", "float64", "int8", "uint8", "int32", "int64", "bool"]
    inputs = [keras.Input((4,), dtype=dtype, name=f"x_{dtype}") for dtype in dtypes]
    source = saved(tmp_path, inputs, {x.name.replace("x", "y", 1): layers.Dense(2)(x) for x in inputs})
    for format in FORMATS:
        made = exported(source, tmp_path, format)
        assert [(port.name, port.dtype) for port in made.inputs] == [(f"x_{dtype}", dtype) for dtype in dtypes]
        assert [output.name for output in made.outputs] == [f"y_{dtype}" for dtype in dtypes]


def test_operations_that_need_other_words(tmp_path: Path) -> None:
    """What tf2onnx has no words for, and what it makes an input of."""
    x = keras.Input((3,), name="x")
    outputs = {
        "gelu": layers.Activation("gelu")(x),
        "celu": layers.Activation("celu")(x),
        "bins": layers.Discretization([-1.0, 0.5])(x),
        "normal": layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0])(x),
    }
    source = saved(tmp_path, x, outputs)
    made = exported(source, tmp_path, "onnx")
    assert {output.name: output.dtype for output in made.outputs}["bins"].startswith("int")
    data = np.array([[-1.0, 0.5, np.nan], [np.inf, -np.inf, 0.0]], "float32")
    assert run_onnx(made.path, {"x": data})["bins"].tolist() == [[1, 2, 2], [2, 0, 1]]


def test_an_output_that_is_called_like_the_input_it_passes_on(tmp_path: Path) -> None:
    a = keras.Input((3,), name="a")
    source = saved(tmp_path, a, {"a": layers.Identity(name="passed")(a), "y": layers.Dense(2)(a)})
    for format in FORMATS:
        assert [output.name for output in exported(source, tmp_path, format).outputs] == ["a", "y"]
    data = np.ones((2, 3), "float32")
    assert np.array_equal(run_onnx(tmp_path / "made.onnx", {"a": data})["a"], data)
    other = saved(tmp_path, a, {"a": layers.Dense(2)(a)}, "other")
    assert refused(tmp_path, lambda: export_model(other, tmp_path / "other.onnx")) == (
        "An ONNX file cannot have an input and an output that are both called 'a'.\n"
        "  Fix: Name the output otherwise: graph.add_output(...). Export it as a SavedModel, which holds all that "
        "TensorFlow has: --format saved_model."
    )


# -- directories ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_directory_with_packed_models(seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.linear_model import LinearRegression

    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).normal(size=(20, 7))
    estimator = LinearRegression().fit(rows, rows[:, :3])
    graph = ks.Graph("packed").add("model1", seed / "m1.h5").add("model2", estimator, shapes=(7,))
    graph.connect(["model1", "input1"], "model2").save("ends")
    graph.add("model3", seed / "m3.h5").add("model4", seed / "m4.h5")
    graph.connect(["model2", "model3"], "model4").save("packed")
    made = export_model("packed")
    assert made.path == Path("packed.onnx") and made.before == ("model1", "model2")
    assert {port.name for port in made.inputs} == {"model2", "input2"}
    assert str(made).endswith(
        "\nThis is the final model only: model1 and model2 run before it, and are not in it. Its inputs are what the "
        "directory's dataloader gives."
    )
    assert refused(tmp_path, lambda: export_model("ends"), SourceError) == (
        "The model of 'ends' is no Keras model, so it cannot be exported.\n"
        "  Expected: a directory whose final model is a Keras model, or a saved Keras model\n"
        "  Received: scikit-learn"
    )


@pytest.mark.slow
def test_custom_objects_of_a_directory_and_of_a_file(tmp_path: Path) -> None:
    objects = write_layers(tmp_path / "layers.py")
    namespace: dict[str, Any] = {}
    exec(objects.read_text(), namespace)
    x = keras.Input((2,), name="x")
    keras.Model(x, namespace["OBJECTS"]["Times"]()(x)).save(tmp_path / "own.keras")
    graph = ks.Graph("own").add("times", tmp_path / "own.keras", custom_objects=objects)
    graph.save(tmp_path / "own", format="h5")
    data = np.ones((2, 2), "float32")
    for source, objects_of in ((tmp_path / "own", None), (tmp_path / "own.keras", objects)):
        made = export_model(source, tmp_path / "own.onnx", custom_objects=objects_of, overwrite=True)
        (found,) = run_onnx(made.path, {"x": data}).values()
        assert np.array_equal(found, 3 * data)


@pytest.mark.slow
def test_weights_at_a_url(seed: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    graph = ks.Graph("hosted").add("model1", seed / "m1.h5")
    graph.save(tmp_path / "hosted", hosting=store.as_uri())
    (tmp_path / "hosted" / "model_files" / "model.keras").rename(tmp_path / "model.keras")
    text = refused(tmp_path, lambda: export_model(tmp_path / "hosted", tmp_path / "made.onnx"), SourceError)
    assert text.startswith(
        f"The file of weights of '{tmp_path / 'hosted'}' cannot be downloaded.\n  Expected: file:///"
    )
    (store / "model_files").mkdir(parents=True)
    (tmp_path / "model.keras").rename(store / "model_files" / "model.keras")
    made = exported(tmp_path / "hosted", tmp_path, "onnx")
    close(
        run_onnx(made.path, {"input1": numbers(3)["input1"]}),
        {"model1": np.asarray(keras.saving.load_model(seed / "m1.h5")(numbers(3)["input1"]))},
    )


# -- what is refused ------------------------------------------------------------------------------


def dense(folder: Path, name: str = "m") -> Path:
    x = keras.Input((3,), name="x")
    return saved(folder, x, layers.Dense(2, name="y")(x), name)


def test_an_operation_that_onnx_does_not_have(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    x = keras.Input((8,), name="x")
    source = saved(tmp_path, x, layers.Activation("linear", name="y")(keras.ops.erfinv(x * 0.1)))
    text = refused(tmp_path, lambda: exported(source, tmp_path, "onnx"))
    first, *rest = text.split("\n")
    assert first.startswith(
        "ONNX has no word for what the model does, or its converter does not know it: Erfinv ('m_1/"
    )
    assert rest == [
        "  Expected: operations of ONNX",
        "  Fix: Export it as a SavedModel, which holds all that TensorFlow has: --format saved_model.",
    ]
    exported(source, tmp_path, "saved_model")
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_what_predicts_something_else(tmp_path: Path) -> None:
    x = keras.Input((4,), name="x")
    source = saved(tmp_path, x, layers.Dense(3, name="y", dtype="mixed_float16")(x))
    text = refused(tmp_path, lambda: exported(source, tmp_path, "onnx"))
    assert text.startswith(
        "The exported model does not predict what Keras does: the output 'y' differs on 1 random row.\n"
        "  Expected: a difference of at most "
    )
    assert text.endswith("\n  Fix: Nothing was written. The other format may do it.")
    exported(source, tmp_path, "saved_model")


def test_an_old_file_survives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails, and wherever: what was there is there, and nothing lies beside it."""
    source = dense(tmp_path)
    old, folder = tmp_path / "made.onnx", tmp_path / "made"
    old.write_text("old")
    export_model(source, folder)

    def other(path: Path, inputs: Arrays) -> Arrays:
        return {"y": np.zeros((len(inputs["x"]), 2), "float32")}

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("It broke.")

    with monkeypatch.context() as patch:
        patch.setattr(onnx_files, "run", other)
        assert "differs on" in refused(tmp_path, lambda: export_model(source, old, overwrite=True))
        patch.setattr(onnx_files, "run", fail)
        assert refused(tmp_path, lambda: export_model(source, old, overwrite=True)) == (
            "ONNX Runtime cannot run the exported model on 1 random row.\n  Received: It broke\n"
            "  Fix: Nothing was written. Export it as a SavedModel: --format saved_model."
        )
        patch.setattr(fresh_process.Job, "wait", lambda _: (9, "killed"))
        patch.setattr(fresh_process.Job, "report", lambda _: None)
        assert refused(tmp_path, lambda: export_model(source, folder, overwrite=True), StitchError) == (
            "TensorFlow alone cannot run the exported model.\n  Received: it ended: status 9, killed\n"
            "  Fix: Nothing was written."
        )
        patch.setattr(keras.Model, "export", fail)
        assert refused(tmp_path, lambda: export_model(source, folder, overwrite=True)) == (
            "Keras cannot export 'm' as a TensorFlow SavedModel.\n  Received: RuntimeError: It broke\n"
            "  Fix: Nothing was written. The other format may be able to: --format onnx."
        )
    export_model(source, old, overwrite=True)
    export_model(source, folder, overwrite=True)
    assert old.read_bytes() != b"old"


def test_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str) -> Any:
        if name == "tf2onnx":
            raise ModuleNotFoundError("No module named 'tf2onnx'")
        return importlib.import_module(name)

    monkeypatch.setattr(onnx_contents, "import_module", without)
    source = dense(tmp_path)
    assert refused(tmp_path, lambda: exported(source, tmp_path, "onnx"), StitchError) == (
        "ONNX files need the package 'tf2onnx', which cannot be imported.\n"
        "  Received: No module named 'tf2onnx'\n  Fix: pip install 'keras_stitch[onnx]'"
    )
    exported(source, tmp_path, "saved_model")


def test_weights_that_no_onnx_file_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_files, "LARGEST", 31)
    source = dense(tmp_path)
    assert refused(tmp_path, lambda: exported(source, tmp_path, "onnx")) == (
        "The weights of 'm' do not fit into one ONNX file.\n  Expected: at most 31 bytes\n  Received: 32 bytes\n"
        "  Fix: Export it as a SavedModel, which holds all that TensorFlow has: --format saved_model."
    )


def test_inputs_that_differ_in_their_case_only(tmp_path: Path) -> None:
    one, two = keras.Input((3,), name="Seq"), keras.Input((3,), name="seq")
    source = saved(tmp_path, [one, two], layers.Subtract(name="y")([one, two]))
    assert refused(tmp_path, lambda: exported(source, tmp_path, "saved_model")) == (
        "A SavedModel cannot have the inputs 'Seq' and 'seq': to TensorFlow, that is one name.\n"
        "  Fix: Rename one of them, graph.add_input(...), or export the model as ONNX."
    )
    made = exported(source, tmp_path, "onnx")
    ones, zeros = np.ones((2, 3), "float32"), np.zeros((2, 3), "float32")
    assert np.array_equal(run_onnx(made.path, {"Seq": ones, "seq": zeros})["y"], ones)


@pytest.mark.parametrize("name", ["self", "lambda"])
def test_inputs_that_python_has_a_use_for(name: str, tmp_path: Path) -> None:
    x = keras.Input((3,), name=name)
    source = saved(tmp_path, x, layers.Dense(2, name="y")(x))
    assert refused(tmp_path, lambda: exported(source, tmp_path, "saved_model")) == (
        f"A SavedModel cannot have an input '{name}': TensorFlow makes it an argument of a Python function, and Python "
        "needs that word.\n  Fix: Rename it, graph.add_input(...), or export the model as ONNX."
    )
    assert [port.name for port in exported(source, tmp_path, "onnx").inputs] == [name]


def test_inputs_that_the_converter_has_a_use_for(tmp_path: Path) -> None:
    names = ["args_0", "args_0_b", "given_1", "made_0"]
    tensors = [keras.Input((number,), name=name) for number, name in enumerate(names, 1)]
    source = saved(tmp_path, tensors, {"given_0": layers.Concatenate()(tensors), "made_0": tensors[3]})
    for format in FORMATS:
        made = exported(source, tmp_path, format)
        assert [port.name for port in made.inputs] == names
        assert [output.name for output in made.outputs] == ["given_0", "made_0"]


def test_text_without_examples(tmp_path: Path) -> None:
    x = keras.Input((2,), dtype="string", name="words")
    source = saved(tmp_path, x, layers.StringLookup(vocabulary=["a", "b"])(x))
    assert refused(tmp_path, lambda: exported(source, tmp_path, "saved_model"), StitchError) == (
        "There are no inputs to compare 'm' on, so it is not exported.\n"
        "  Received: The input 'words' takes string, of which none is made up.\n"
        "  Fix: Export a directory that graph.save(..., examples=) wrote: it has examples."
    )


@pytest.mark.parametrize(
    ("output", "format", "message"),
    [
        ("a.pb", None, "'a.pb' does not say what to export.\n  Expected: a name that ends in .onnx, or one without an "
         "ending for a SavedModel\n  Fix: Say it: --format onnx or --format saved_model."),
        ("a", "onnx", "'a' is no name for an ONNX file.\n  Expected: a name that ends in .onnx"),
        ("a.onnx", "saved_model", "'a.onnx' is no name for a TensorFlow SavedModel.\n"
         "  Expected: a folder, its name without such an ending"),
        ("a", "tflite", "There is no format 'tflite'.\n  Expected: onnx or saved_model"),
        ("", None, "'.' has no name to write to.\n  Expected: a file or a folder, such as model.onnx"),
        (".onnx", None, "'.onnx' has no name to write to.\n  Expected: a file or a folder, such as model.onnx"),
        ("generated/a.onnx", None, "'generated/a.onnx' would be in 'generated', which is a generated directory.\n"
         "  Expected: a place outside it: a directory that holds anything else is not replaced any more\n"
         "  Fix: Choose another place: -o a.onnx."),
        ("generated/below/a", None, "'generated/below/a' would be in 'generated', which is a generated directory.\n"
         "  Expected: a place outside it: a directory that holds anything else is not replaced any more\n"
         "  Fix: Choose another place: -o a."),
        ("link/a.onnx", None, "'link/a.onnx' would be in 'generated', which is a generated directory.\n"
         "  Expected: a place outside it: a directory that holds anything else is not replaced any more\n"
         "  Fix: Choose another place: -o a.onnx."),
        ("there.onnx", None, "'there.onnx' exists.\n  Fix: Pass overwrite=True (--overwrite on the command line) to "
         "replace it, or choose another name."),
        ("folder.onnx", None, "'folder.onnx' is a directory.\n  Expected: a file, or nothing there yet"),
        ("folder", None, "'folder' exists.\n  Fix: Pass overwrite=True (--overwrite on the command line) to replace "
         "it, or choose another place."),
    ],
)  # fmt: skip
def test_places(output: str, format: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.onnx").write_text("mine")
    for name in ("folder", "folder.onnx"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").touch()
    (tmp_path / "generated").mkdir()
    for name in ("stitch.yaml", "model.yaml", "dataloader.yaml"):
        (tmp_path / "generated" / name).touch()
    (tmp_path / "link").symlink_to("generated")
    source = dense(tmp_path)
    assert refused(tmp_path, lambda: export_model(source, output, format=format), StitchError) == message


def test_what_somebody_wrote_meanwhile_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = dense(tmp_path), tmp_path / "made.onnx"
    run = onnx_files.run
    monkeypatch.setattr(onnx_files, "run", lambda *given: (target.write_text("another's"), run(*given))[1])
    with pytest.raises(SaveError, match="exists"):
        export_model(source, target)
    assert target.read_text() == "another's"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("format", FORMATS)
def test_folders_above_are_made(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stitch.yaml").touch()  # the user's own
    name = "model.onnx" if format == "onnx" else "model"
    made = export_model(dense(tmp_path), Path("new") / "below" / name, format=format)
    assert made.path.exists()
    assert [path.name for path in made.path.parent.iterdir()] == [name]


def test_only_a_saved_model_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = dense(tmp_path)
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "mine.txt").touch()
    assert refused(tmp_path, lambda: export_model(source, "made", overwrite=True)) == (
        "'made' is not replaced: it holds what was not generated, and that would be lost.\n"
        "  Expected: a new directory, an empty one, or one that was generated\n  Received: mine.txt\n"
        "  Fix: Choose another place, or move these away."
    )


def test_what_is_not_saved() -> None:
    with pytest.raises(SourceError, match=r"Only what is saved can be exported\.\n  Expected: the path of a"):
        export_model(keras.Sequential([keras.Input((2,)), layers.Dense(1)]), "m.onnx")


# -- the command line -----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command(seed: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert cli.main(["export", str(seed / "composed")]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[0].startswith("composed.onnx: an ONNX file, 2.")
    assert lines[2].split() == ["input", "shape", "dtype"]
    assert lines[4].split() == ["input1", "(rows,", "3)", "float32"]
    assert lines[7].split() == ["output", "shape", "dtype", "largest", "value", "largest", "difference", "allowed"]
    assert lines[9].split()[:4] == ["model4", "(rows,", "1)", "float32"]
    assert lines[11:] == [
        "Run by ONNX Runtime, and compared with Keras on 10 example rows, 1 random row and 7 random rows.",
        "",
        "written: composed.onnx",
    ]
    assert cli.main(["export", str(seed / "composed")]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == (
        "",
        "keras-stitch: 'composed.onnx' exists.\n  Fix: Pass overwrite=True (--overwrite on the command line) to "
        "replace it, or choose another name.\n",
    )
    assert cli.main(["export", str(seed / "composed"), "--overwrite"]) == 0
    assert cli.main(["export", str(seed / "m1.h5"), "--format", "saved_model"]) == 0
    assert (tmp_path / "m1_saved_model" / "saved_model.pb").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"composed.onnx", "m1_saved_model"}


def test_sizes_and_lists_in_words() -> None:
    sizes = [export_report._size_text(size) for size in (7, 1234, 5_000_000, 2 * 10**9)]
    assert sizes == ["7 bytes", "1.23 kB", "5 MB", "2 GB"]
    assert [export_report.listed(list(text)) for text in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
    assert export_report._shape_text((None,)) == "(rows,)"
