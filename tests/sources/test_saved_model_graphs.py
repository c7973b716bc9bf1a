"""SavedModels that hold no Keras layers: packed as they are, by their signatures, and refused where they do harm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import kipoi_runner
import numpy as np
import pytest
import tensorflow as tf
from added_sources import added, ports, problem
from backends import only_on

import keras_stitch as ks
from keras_stitch.cli import main
from keras_stitch.errors import StitchError
from keras_stitch.kipoi.packed_copy import load_packed
from keras_stitch.sources import saved_model_operations
from keras_stitch.sources.added import Added
from keras_stitch.verify.equality import compare

ROWS = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")


class Two(tf.Module):
    """Two functions of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable(np.arange(12, dtype="float32").reshape(4, 3) / 10)

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, 4), tf.float32, "seq"), tf.TensorSpec((None, 2), tf.int32, "n")]
    )
    def both(self, seq: Any, n: Any) -> dict[str, Any]:
        """A dict of two arrays, of two."""
        return {"score": tf.reduce_mean(seq @ self.weight, 1), "count": n + 1}

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, "x")])
    def one(self, x: Any) -> Any:
        """An array, of one."""
        return tf.tanh(x @ self.weight)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with SavedModels of TensorFlow."""
    folder = tmp_path_factory.mktemp("graphs")
    two = Two()
    tf.saved_model.save(two, str(folder / "usual"), signatures={"serving_default": two.both, "other": two.one})
    tf.saved_model.save(two, str(folder / "several"), signatures={"both": two.both, "one": two.one})
    tf.saved_model.save(two, str(folder / "unsigned"), signatures={})
    tf.saved_model.save(tf.Module(), str(folder / "nothing"))
    return folder


def save(function: Callable[..., Any], folder: Path, spec: tf.TensorSpec | None = None) -> Path:
    """A SavedModel of one function."""
    module = tf.Module()
    module.function = tf.function(function, input_signature=[spec or tf.TensorSpec((None, 4), tf.float32, "x")])
    tf.saved_model.save(module, str(folder / "graph"), signatures={"serving_default": module.function})
    return folder / "graph"


def predicted(found: Added, *arrays: np.ndarray) -> list[np.ndarray]:
    made = load_packed(found.part.path).predict_on_batch(list(arrays) if len(arrays) > 1 else arrays[0])
    return made if isinstance(made, list) else [made]


# -- what it takes and gives -----------------------------------------------------------------------------------------
def test_a_signature_gives_the_ports(place: Path) -> None:
    """By their names, with their dtypes, and open axes stay open."""
    found = added(place / "usual")
    assert ports(found) == [
        ("n", (2,), "int32"),
        ("seq", (None, 4), "float32"),
        ("count", (2,), "int32"),
        ("score", (3,), "float32"),
    ]
    assert found.submodel.framework == "tensorflow"
    assert found.submodel.source.label == "usual (SavedModel, serving_default)"
    n, seq = np.array([[1, 2]] * 5, "int32"), ROWS[:, None] * np.ones((1, 7, 1), "float32")
    count, score = predicted(found, n, seq)
    assert count.tolist() == [[2, 3]] * 5
    assert compare(score, ROWS @ Two().weight.numpy()).equal


@pytest.mark.parametrize(("source", "output"), [("usual", "output_0"), ("unsigned", "output")])
def test_another_function(source: str, output: str, place: Path) -> None:
    """A signature, or a function of the object in it."""
    found = added(place / source, signature="other" if source == "usual" else "one")
    assert ports(found) == [("x", (4,), "float32"), (output, (3,), "float32")]
    assert compare(predicted(found, ROWS)[0], np.tanh(ROWS @ Two().weight.numpy())).equal


@only_on("tensorflow", why="Keras exports from others by other packages")
@pytest.mark.slow
def test_what_keras_3_exports(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(2)])
    model.export(tmp_path / "exported", verbose=False)
    found = added(tmp_path / "exported")
    assert ports(found) == [("x", (4,), "float32"), ("output_0", (2,), "float32")]
    assert compare(predicted(found, ROWS)[0], np.asarray(model(ROWS))).equal


@pytest.mark.slow
def test_what_tensorflow_1_and_its_estimators_wrote(tmp_path: Path) -> None:
    """Operations that restore weights, and no objects."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, (None, 4), "x")
        weight = tf.compat.v1.get_variable("w", (4, 2), use_resource=True)
        y = tf.identity(x @ weight, "y")
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "old"), {"x": x}, {"y": y})
        expected = session.run(y, {x: ROWS})
    found = added(tmp_path / "old")
    assert ports(found) == [("x", (4,), "float32"), ("y", (2,), "float32")]
    assert compare(predicted(found, ROWS)[0], expected).equal


def test_the_graph_of_a_subclass_of_keras_2(tmp_path: Path) -> None:
    """Its layers are in its code alone, so that the error offers to pack it."""
    with tarfile.open(Path(__file__).parents[1] / "repairs" / "saved_models.tar.xz") as archive:
        members = [it for it in archive.getmembers() if it.name.split("/")[0] in ("Subclass", "Subclass.npz")]
        archive.extractall(tmp_path, members, filter="data")
    offered = 'graph.add(name, directory, signature="serving_default")'
    assert offered in problem(tmp_path / "Subclass")
    found = added(tmp_path / "Subclass", signature="serving_default")
    with np.load(tmp_path / "Subclass.npz") as arrays:
        assert compare(predicted(found, arrays["input0"])[0], arrays["output0"]).equal


# -- in a graph ------------------------------------------------------------------------------------------------------
@only_on("tensorflow", why="Kipoi runs Keras on it")
@pytest.mark.slow
@pytest.mark.parametrize("is_last", [False, True])
def test_a_directory(is_last: bool, place: Path, tmp_path: Path) -> None:
    """Before a Keras model, and alone, when no Keras model remains."""
    top = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    graph = ks.Graph("g").add("tf", place / "several", signature="one")
    expected = np.tanh(ROWS @ Two().weight.numpy())
    if not is_last:
        graph.add("top", top).connect("tf", "top")
        expected = np.asarray(top(expected))
    np.save(tmp_path / "x.npy", ROWS)
    graph.save(tmp_path / "made", examples={"x_file": tmp_path / "x.npy"})
    kipoi_runner.kipoi_test(tmp_path / "made")
    arrays = kipoi_runner.kipoi_predict(tmp_path / "made", {"x_file": str(tmp_path / "x.npy")}, tmp_path / "out.h5")
    (found,) = (array for name, array in arrays.items() if name.startswith("preds"))
    assert compare(found, expected).equal
    packed = tmp_path / "made" / "components" / "tf" / "packed_model" / "model_files" / "saved_model"
    assert (packed / "saved_model.pb").exists() and not any(path.is_symlink() for path in packed.rglob("*"))


@pytest.mark.slow
def test_a_plan_says_what_it_is(place: Path) -> None:
    graph = ks.Graph("g").add("tf", place / "usual")
    graph.add("top", keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])).connect("tf.score", "top")
    assert "TensorFlow, not Keras" in str(graph.plan())
    assert "usual (SavedModel, serving_default)" in str(graph.summary())


def test_a_stitch_yaml(place: Path, tmp_path: Path) -> None:
    graph = ks.Graph("g").add("tf", place / "several", signature="one")
    graph.to_yaml(tmp_path / "stitch.yaml")
    assert "signature: one" in (tmp_path / "stitch.yaml").read_text()
    again = ks.Graph.from_yaml(tmp_path / "stitch.yaml").spec.submodels[0]
    assert (again.source.signature, again.source.sha256) == ("one", graph.spec.submodels[0].source.sha256)


def test_inspect_says_what_it_is(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(place / "several")]) == 2
    assert "Expected: signature= one of both, one" in capsys.readouterr().err
    assert main(["inspect", str(place / "several"), "--signature", "one"]) == 0
    assert "several (SavedModel, one)" in capsys.readouterr().out
    assert main(["inspect", str(place / "usual")]) == 0
    said = capsys.readouterr().out
    assert "usual (SavedModel, serving_default)" in said
    assert "TensorFlow, which runs in the dataloader" in said


@pytest.mark.slow
def test_a_source_that_changes(place: Path, tmp_path: Path) -> None:
    source = shutil.copytree(place / "several", tmp_path / "several")
    graph = ks.Graph("g").add("tf", source, signature="one")
    (source / "variables" / "variables.index").write_bytes(b"")
    with pytest.raises(StitchError, match="has changed since it was added"):
        graph.save(tmp_path / "made")


# -- what is refused -------------------------------------------------------------------------------------------------
def test_which_function(place: Path) -> None:
    assert problem(place / "several") == (
        f"'{place / 'several'}' is a SavedModel of several functions, so nothing says which one submodel 'm' is.\n"
        "  Expected: signature= one of both, one\n"
        '  Fix: graph.add("m", directory, signature="both")'
    )
    assert problem(place / "several", signature="boht") == (
        f"signature= of submodel 'm' is none of '{place / 'several'}'.\n"
        "  Expected: 'both', the nearest name\n"
        "  Received: 'boht'"
    )
    assert f"'{place / 'nothing'}' is a SavedModel without a function to call." in problem(place / "nothing")


@pytest.mark.parametrize(
    ("function", "spec", "said"),
    [
        (lambda s: {"y": tf.strings.length(s)}, tf.TensorSpec((None,), tf.string, "s"), "takes something else than"),
        pytest.param(
            *(lambda x: {"y": tf.strings.as_string(x)}, None, "gives something else than an array of numbers, 'y'"),
            marks=pytest.mark.slow,
        ),
        (lambda x: {"y": x * 1}, tf.TensorSpec((2, 4), tf.float32, "x"), "takes a fixed number of rows, 'x'"),
        pytest.param(
            *(lambda x: {"y": x * 1}, tf.TensorSpec(None, tf.float32, "x"), "takes an array of unknown shape"),
            marks=pytest.mark.slow,
        ),
        (lambda x: {"y": tf.reduce_sum(x)}, None, "gives an array of unknown shape, or a single number, 'y'"),
        (lambda x: {"y": x - tf.reduce_mean(x)}, None, "predicts something else for the same rows when it is asked"),
        pytest.param(
            *(lambda x: {"y": x + tf.random.normal(tf.shape(x))}, None, "predicts something else for the same rows"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_functions_that_are_no_models(
    function: Callable[..., Any], spec: tf.TensorSpec | None, said: str, tmp_path: Path
) -> None:
    assert said in problem(save(function, tmp_path, spec))


def test_options_of_other_sources(place: Path, tmp_path: Path) -> None:
    assert "trainable= of submodel 'm' is for Keras models" in problem(place / "usual", trainable=True)
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "m.keras")
    for source in (tmp_path / "m.keras", keras.layers.Dense(1)):
        assert problem(source, signature="one") == (
            "signature= of submodel 'm' is for SavedModels of TensorFlow alone.\n  Fix: Leave it out."
        )
    assert "takes one name" in problem_of_add(place / "usual", signature=3)


def problem_of_add(source: Any, **options: Any) -> str:
    with pytest.raises(StitchError) as error:
        ks.Graph("g").add("m", source, **options)
    return str(error.value)


# -- what would do harm ----------------------------------------------------------------------------------------------
def writes(marker: Path) -> dict[str, tuple[Callable[[Any], Any], str]]:
    """Functions that write a file, read one, run Python or end the process, and the operation that does it."""
    path = str(marker)

    def write(x: Any) -> Any:
        tf.io.write_file(path, "x")
        return x

    def in_loop(x: Any) -> Any:
        return tf.map_fn(write, x)

    def in_branch(x: Any) -> Any:
        return tf.cond(tf.reduce_sum(x) > 0, lambda: tf.function(write)(x), lambda: x)

    def prints(x: Any) -> Any:
        tf.print(x, output_stream=f"file://{path}")
        return x * 1

    def reads(x: Any) -> Any:
        return x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)

    def lists(x: Any) -> Any:
        return x + tf.cast(tf.size(tf.io.matching_files("/etc/*")), tf.float32)

    def rows(x: Any) -> Any:
        return x + tf.cast(tf.data.TextLineDataset("/etc/hosts").reduce(np.int64(0), lambda n, _: n + 1), tf.float32)

    def runs(x: Any) -> Any:
        return tf.ensure_shape(tf.numpy_function(lambda array: array, [x], tf.float32), (None, 4))

    def ends(x: Any) -> Any:
        tf.raw_ops.Abort(error_msg="x")
        return x * 1

    def saves(x: Any) -> Any:
        tf.raw_ops.SaveV2(prefix=path, tensor_names=["x"], shape_and_slices=[""], tensors=[x])
        return x * 1

    def restores(x: Any) -> Any:
        return x + tf.raw_ops.RestoreV2(prefix=path, tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32])[0]

    return {
        "write": (write, "WriteFile"),
        "in_loop": (in_loop, "WriteFile"),
        "in_branch": (in_branch, "WriteFile"),
        "prints": (prints, "PrintV2"),
        "reads": (reads, "ReadFile"),
        "lists": (lists, "MatchingFiles"),
        "rows": (rows, "TextLineDataset"),
        "runs": (runs, "PyFunc"),
        "ends": (ends, "Abort"),
        "saves": (saves, "SaveV2"),
        "restores": (restores, "RestoreV2"),
    }


QUICK = ("in_loop", "in_branch", "prints", "runs", "saves")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in writes(Path())]
)
def test_operations_that_do_more_than_compute(name: str, tmp_path: Path) -> None:
    function, operation = writes(tmp_path / "marker")[name]
    source = save(lambda x: {"y": tf.identity(function(x))}, tmp_path)
    assert problem(source) == (
        f"'{source}' is a SavedModel that does more than compute: it has the operation {operation}.\n"
        "  Expected: operations that do not touch files, processes or Python\n"
        "  Fix: Do not use it if you do not know where it comes from; else save it without them, with a signature that "
        "takes numbers."
    )
    assert not (tmp_path / "marker").exists()


def test_printing_is_no_harm(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def prints(x: Any) -> Any:
        tf.print("seen")
        return {"y": x * 2}

    found = added(save(prints, tmp_path))
    assert predicted(found, ROWS)[0].tolist() == (ROWS * 2).tolist()


def test_a_table_in_a_file(tmp_path: Path) -> None:
    """Its file may be any: the SavedModel only has its name."""
    (tmp_path / "words.txt").write_text("a\nb\n")
    line, whole = tf.lookup.TextFileIndex.LINE_NUMBER, tf.lookup.TextFileIndex.WHOLE_LINE
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(str(tmp_path / "words.txt"), tf.string, whole, tf.int64, line), -1
    )
    module.function = tf.function(
        lambda x: {"y": x + tf.cast(module.table.lookup(tf.constant(["b"])), tf.float32)},
        input_signature=[tf.TensorSpec((None, 4), tf.float32, "x")],
    )
    tf.saved_model.save(module, str(tmp_path / "graph"), signatures={"serving_default": module.function})
    assert "it has the operation InitializeTableFromTextFileV2" in problem(tmp_path / "graph")


def test_an_asset_elsewhere(place: Path, tmp_path: Path) -> None:
    source = shutil.copytree(place / "usual", tmp_path / "graph")
    (graph,) = saved_model_operations.read_graphs(source, source)
    graph.asset_file_def.add().filename = "../../words.txt"
    rewrite(source, graph)
    assert problem(source) == (
        f"'{source / 'saved_model.pb'}' names a file that is not in its 'assets'.\n"
        "  Received: '../../words.txt'\n"
        "  Fix: Do not use it if you do not know where it comes from."
    )


def rewrite(source: Path, graph: Any) -> None:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    (source / "saved_model.pb").write_bytes(
        SavedModel(saved_model_schema_version=1, meta_graphs=[graph]).SerializeToString()
    )


def test_restoring_from_another_file_in_tensorflow_1(tmp_path: Path) -> None:
    """What restores the weights runs when it is loaded."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, (None, 4), "x")
        weight = tf.compat.v1.get_variable("w", (4, 2), use_resource=True)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "old"), {"x": x}, {"y": tf.identity(x @ weight)})
    (graph,) = saved_model_operations.read_graphs(tmp_path / "old", tmp_path / "old")
    (node,) = (node for node in graph.graph_def.node if node.op == "RestoreV2")
    other = graph.graph_def.node.add(name="elsewhere", op="Const")
    other.attr["dtype"].type = 7
    other.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("/elsewhere"))
    node.input[0] = "elsewhere"
    rewrite(tmp_path / "old", graph)
    assert "it has the operation RestoreV2" in problem(tmp_path / "old")


def test_a_link_that_leads_out(place: Path, tmp_path: Path) -> None:
    source = shutil.copytree(place / "usual", tmp_path / "graph")
    (tmp_path / "secret").write_text("secret")
    (source / "assets").mkdir(exist_ok=True)
    (source / "assets" / "words").symlink_to(tmp_path / "secret")
    assert problem(source) == (
        f"'{source / 'assets' / 'words'}' is a link that leads out of the SavedModel.\n"
        f"  Received: a link to '{tmp_path / 'secret'}'\n"
        f"  Fix: Copy the directory with what its links lead to, cp -rL, if you trust '{source}'."
    )


@pytest.mark.parametrize(
    "file", ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
def test_damage(file: str, place: Path, tmp_path: Path) -> None:
    source = shutil.copytree(place / "usual", tmp_path / "graph")
    content = (source / file).read_bytes()
    for changed in (content[: len(content) // 2], content[:-1], np.random.default_rng(0).bytes(2000)):
        (source / file).write_bytes(changed)
        assert str(source) in problem(source)
    (source / file).write_bytes(b"")
    problem(source)


def test_pipes_and_many_files(place: Path, tmp_path: Path) -> None:
    source = shutil.copytree(place / "usual", tmp_path / "graph")
    os.mkfifo(source / "pipe")
    assert f"'{source / 'pipe'}' cannot be read any more: It is a pipe, not a file." in problem(source)


@pytest.mark.slow
def test_nothing_is_loaded_to_recognise_it(place: Path) -> None:
    """Neither TensorFlow's loader nor its messages."""
    code = (
        "import sys; from pathlib import Path\n"
        "from keras_stitch.repairs.saved_objects import is_of_keras\n"
        f"assert not is_of_keras(Path({str(place / 'usual')!r}))\n"
        "assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"KERAS_BACKEND": "jax"}
    )
    assert done.returncode == 0, done.stderr[-500:]


def test_two_graphs(place: Path, tmp_path: Path) -> None:
    """TensorFlow loads whole graphs then, and not the functions of objects."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    source = shutil.copytree(place / "usual", tmp_path / "graph")
    (graph,) = saved_model_operations.read_graphs(source, source)
    (harm,) = saved_model_operations.read_graphs(
        save(writes(tmp_path / "marker")["write"][0], tmp_path / "other"), source
    )
    hidden = harm.graph_def.node.add(name="harm", op="StatefulPartitionedCall")
    hidden.attr["f"].func.name = next(iter(harm.object_graph_def.concrete_functions))
    harm.object_graph_def.concrete_functions.clear()
    harm.signature_def["serving_default"].outputs["y"].name = "harm:0"
    both = SavedModel(saved_model_schema_version=1, meta_graphs=[graph, harm])
    (source / "saved_model.pb").write_bytes(both.SerializeToString())
    assert "WriteFile" in problem(source)
    assert not (tmp_path / "marker").exists()
