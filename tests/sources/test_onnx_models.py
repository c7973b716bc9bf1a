"""ONNX files as submodels."""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import kipoi_runner
import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from added_sources import added, ports, problem
from onnx import TensorProto, helper, numpy_helper

import keras_stitch as ks
from keras_stitch.cli import main
from keras_stitch.errors import SourceError, StitchError
from keras_stitch.graphs.spec import Port
from keras_stitch.kipoi.packed_copy import flattened, load_packed, nested
from keras_stitch.sources import probing
from keras_stitch.sources.added import Added

Array = np.ndarray[Any, Any]
Ends = Mapping[str, tuple[int, Sequence[Any] | None]]
FLOAT = TensorProto.FLOAT
WEIGHTS = np.random.default_rng(1).standard_normal((4, 3)).astype("float32")


def numbers(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def write(
    path: Path,
    nodes: Sequence[Any],
    takes: Ends,
    gives: Ends,
    held: Mapping[str, Array] | None = None,
    opset: int = 17,
    **more: Any,
) -> Path:
    """Writes an ONNX file; what it takes and gives has a type and a shape, or ``None`` for no shape."""
    inputs, outputs = (
        [helper.make_tensor_value_info(name, *end) for name, end in ends.items()] for ends in (takes, gives)
    )
    tensors = [numpy_helper.from_array(array, name) for name, array in (held or {}).items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, tensors)
    domains = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in more.pop("domains", ()))]
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=8, producer_name="test", **more), path)
    return path


def node(kind: str, takes: str, gives: str, **attributes: Any) -> Any:
    return helper.make_node(kind, takes.split(), gives.split(), **attributes)


def dense(path: Path, **more: Any) -> Path:
    """``y = x @ w``, and the sum of each row as ``total``."""
    nodes = [node("MatMul", "x w", "y"), node("ReduceSum", "y axes", "total", keepdims=0)]
    held = {"w": WEIGHTS, "axes": np.array([1])}
    return write(path, nodes, {"x": (FLOAT, ["n", 4])}, {"y": (FLOAT, ["n", 3]), "total": (FLOAT, ["n"])}, held, **more)


def one(path: Path, kind: str = "Relu", shape: Sequence[Any] | None = ("n", 4), type: int = FLOAT, **more: Any) -> Path:
    """One operator with one input and one output of the same type and shape."""
    return write(
        path, [node(kind, "x", "y", **more.pop("attributes", {}))], {"x": (type, shape)}, {"y": (type, shape)}, **more
    )


def predicted(found: Added, *arrays: Array) -> list[Array]:
    """What the Kipoi model of a submodel predicts."""
    assert found.part is not None
    return flattened("m", found.part, load_packed(found.part.path).predict_on_batch(nested(found.part, arrays)))


def run_alone(path: Path, outputs: Sequence[str] | None = None, **inputs: Array) -> list[Array]:
    """What ONNX Runtime gives without anything of ours."""
    return list(onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(outputs, inputs))


# -- what it takes and gives ----------------------------------------------------------------------


def test_an_onnx_file(tmp_path: Path) -> None:
    path, rows = dense(tmp_path / "m.onnx"), numbers(5, 4)
    found = added(path, placement="dataloader")
    assert ports(found) == [("x", (4,), "float32"), ("y", (3,), "float32"), ("total", (1,), "float32")]
    for given, expected in zip(predicted(found, rows), run_alone(path, x=rows), strict=True):
        np.testing.assert_array_equal(given, expected)
    submodel, sha256 = found.submodel, hashlib.sha256(path.read_bytes()).hexdigest()
    assert (submodel.framework, submodel.placement, submodel.is_keras) == ("onnx", "dataloader", False)
    assert (submodel.source.kind, submodel.source.label, submodel.source.path) == ("file", "m.onnx", str(path))
    assert submodel.source.sha256 == found.files[path] == sha256
    version = ".".join(onnxruntime.__version__.split(".")[:2])
    assert (submodel.requires, submodel.unmet) == ((f"onnxruntime>={version}",), ())
    assert found.part is not None and found.part.info["doc"] == "m.onnx of opset 17, made by test."


@pytest.mark.parametrize("opset", [7, 11, 15, 21, 26])
def test_opsets(tmp_path: Path, opset: int) -> None:
    rows = numbers(2, 4)
    (given,) = predicted(added(one(tmp_path / "m.ONNX", opset=opset)), rows)
    np.testing.assert_array_equal(given, np.maximum(rows, 0))


def test_dtypes(tmp_path: Path) -> None:
    types = {"FLOAT": "float32", "DOUBLE": "float64", "FLOAT16": "float16", "BOOL": "bool", "UINT8": "uint8"}
    types |= {name.upper(): name for name in ("int8", "int16", "int32", "int64", "uint16", "uint32", "uint64")}
    nodes = [node("Identity", name, f"{name}_again") for name in types]
    takes = {name: (getattr(TensorProto, name), ["n", 4]) for name in types}
    path = write(tmp_path / "m.onnx", nodes, takes, {f"{name}_again": end for name, end in takes.items()})
    found = added(path)
    assert ports(found)[:12] == [(name, (4,), dtype) for name, dtype in types.items()]
    assert [port[2] for port in ports(found)[12:]] == list(types.values())
    rows = [(10 * numbers(3, 4) % 2).astype(dtype) for dtype in types.values()]
    for array, given in zip(predicted(found, *rows), rows, strict=True):
        assert array.dtype == given.dtype
        np.testing.assert_array_equal(array, given)


def test_open_sizes_stay_open(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "long"), node("ReduceMax", "x", "short", axes=[1], keepdims=0), node("Shape", "x", "s")]
    nodes += [node("Concat", "x x", "twice", axis=1)]
    gives = {"long": (FLOAT, ["n", "l", 2]), "short": (FLOAT, ["n", "unknown"]), "twice": (FLOAT, None)}
    found = added(write(tmp_path / "m.onnx", nodes, {"x": (FLOAT, [None, "l", 2])}, gives))
    assert [port[1] for port in ports(found)] == [(None, 2), (None, 2), (2,), (None, 2)]


def test_outputs_of_choice(tmp_path: Path) -> None:
    path, rows = dense(tmp_path / "m.onnx"), np.ones((2, 4), "float32")
    found = added(path, outputs=("total", "y", "total"))
    assert [port[0] for port in ports(found)] == ["x", "total", "y"] and found.submodel.inner_outputs == ("total", "y")
    np.testing.assert_array_equal(predicted(found, rows)[0], run_alone(path, ["total"], x=rows)[0])
    assert problem(path, outputs=["totl"]) == (
        "Submodel 'm' (m.onnx) has no output 'totl' to take.\n"
        "  Expected: 'total', the nearest name\n"
        "  Received: outputs=['totl']"
    )
    assert problem(path, outputs=[]).startswith(
        "Submodel 'm' (m.onnx) would have no outputs.\n  Expected: one of y, total"
    )


def test_initializers_that_are_inputs_are_none(tmp_path: Path) -> None:
    takes = {"w": (FLOAT, [4, 3]), "x": (FLOAT, ["n", 4])}
    nodes, gives = [node("MatMul", "x w", "y")], {"y": (FLOAT, ["n", 3])}
    assert ports(added(write(tmp_path / "m.onnx", nodes, takes, gives, {"w": WEIGHTS})))[0] == ("x", (4,), "float32")


def test_names_of_every_kind(tmp_path: Path) -> None:
    nodes = [node("Add", "serving_default_x:0 a/b[0]", "model.yaml"), node("Relu", "model.yaml", "/etc/passwd")]
    takes = {"serving_default_x:0": (FLOAT, ["n", 4]), "a/b[0]": (FLOAT, ["n", 4])}
    found = added(
        write(tmp_path / "m.onnx", nodes, takes, {name: (FLOAT, ["n", 4]) for name in ("model.yaml", "/etc/passwd")})
    )
    assert [port[0] for port in ports(found)] == ["serving_default_x:0", "a/b[0]", "model.yaml", "/etc/passwd"]
    assert found.part is not None and set(found.part.files) == {"model.py", "model_files/model.onnx"}
    graph = ks.Graph().add("m", tmp_path / "m.onnx")
    assert [port.name for port in graph.summary().inputs] == ["serving_default_x_0", "a_b_0"]


def test_a_number_for_each_row(tmp_path: Path) -> None:
    found = added(one(tmp_path / "m.onnx", shape=["n"]))
    assert [port[1] for port in ports(found)] == [(1,), (1,)]
    np.testing.assert_array_equal(predicted(found, np.array([[1], [-1]], "float32"))[0], [1, 0])


@pytest.mark.parametrize("size", [1, 4])
def test_batches_of_a_fixed_size(tmp_path: Path, size: int) -> None:
    path, rows = one(tmp_path / "m.onnx", shape=[size, 3]), numbers(6, 3).astype(float)
    (given,) = predicted(added(path), rows)
    assert given.dtype == "float32"
    np.testing.assert_array_equal(given, np.maximum(rows, 0).astype("float32"))


def test_batches_that_are_open_in_words_alone(tmp_path: Path) -> None:
    """As exporters write it where a reshape holds the number of rows that they have seen."""
    path, rows = tmp_path / "m.onnx", numbers(3, 4)
    nodes = [node("Reshape", "x shape", "y")]
    write(path, nodes, {"x": (FLOAT, ["n", 4])}, {"y": (FLOAT, ["n", 2, 2])}, {"shape": np.array([1, 2, 2])})
    found = added(path)
    np.testing.assert_array_equal(predicted(found, rows)[0], rows.reshape(3, 2, 2))
    assert found.submodel.repairs == (
        "the file says that it takes any number of rows, and takes one: rows run one by one",
    )


def test_lengths_that_are_not_doubled(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "sizes"),
        node("Gather", "sizes one", "length"),
        node("Range", "zero length step", "steps"),
    ]
    nodes += [node("Gather", "table steps", "places"), node("Add", "x places", "y")]
    held = {"one": np.array(1), "zero": np.array(0), "step": np.array(1), "table": np.ones((9, 2), "float32")}
    path = write(tmp_path / "m.onnx", nodes, {"x": (FLOAT, ["n", "l", 2])}, {"y": (FLOAT, ["n", "l", "k"])}, held)
    assert ports(added(path))[1] == ("y", (None, 2), "float32")


def test_no_rows_of_gigabytes_are_tried() -> None:
    square, line = Port("x", (None, None, 3)), Port("x", (None, 4))
    assert (probing.sizes_of([square])[-1], probing.sizes_of([line])[-1]) == (2048, 32768)
    assert probing.sizes_of([square, Port("z", (2**25,))]) == probing.sizes_of([Port("z", (2,))]) == (8,)


def test_what_no_random_rows_suit(tmp_path: Path) -> None:
    nodes = [node("Gather", "table far", "y"), node("Add", "x hundred", "far")]
    takes, held = {"x": (TensorProto.INT64, ["n", 4])}, {"table": WEIGHTS, "hundred": np.array(100)}
    path = write(tmp_path / "m.onnx", nodes[::-1], takes, {"y": (FLOAT, ["n", 4, 3])}, held)
    assert ports(added(path))[1:] == [("y", (4, 3), "float32")]
    write(path, nodes[::-1], takes, {"y": (FLOAT, None)}, held)
    text = problem(path)
    assert text.startswith(
        "Submodel 'm' (m.onnx) takes no random rows, and does not say which shape its outputs have.\n"
        "  Expected: shapes of 'y'\n  Received: Non-zero status code returned while running Gather node."
    )
    assert text.endswith("\n  Fix: Write them into the file: onnx.shape_inference.infer_shapes_path(file, new_file).")


def test_what_a_zipmap_made_is_an_array(tmp_path: Path) -> None:
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(FLOAT, []))
    )
    path = write(tmp_path / "m.onnx", [node("Softmax", "x", "p")], {"x": (FLOAT, ["n", 3])}, {"p": (FLOAT, ["n", 3])})
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    model.graph.node.append(
        helper.make_node("ZipMap", ["p"], ["z"], domain="ai.onnx.ml", classlabels_int64s=[30, 10, 20])
    )
    model.graph.output.append(helper.make_value_info("z", kind))
    onnx.save(model, path)
    found, rows = added(path), numbers(5, 3)
    assert ports(found)[1:] == [("p", (3,), "float32"), ("z", (3,), "float32")]
    tensor, columns = predicted(found, rows)
    np.testing.assert_array_equal(columns, tensor[:, [1, 2, 0]])  # by class: 10, 20, 30


# -- weights in other files -----------------------------------------------------------------------


def external(path: Path, **changes: Any) -> Path:
    """The file ``dense`` with its weights in ``m.bin``; changes are those of the place that it names for ``w``."""
    model = onnx.load(dense(path))
    onnx.save(model, path, save_as_external_data=True, location="m.bin", size_threshold=64)
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        entry.value = str(changes.get(entry.key, entry.value))
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_in_another_file(tmp_path: Path) -> None:
    path, rows = external(tmp_path / "m.onnx"), np.ones((2, 4), "float32")
    found, data = added(path), tmp_path / "m.bin"
    np.testing.assert_array_equal(predicted(found, rows)[0], run_alone(path, x=rows)[0])
    assert found.part is not None and "model_files/data/m.bin" in found.part.files
    both = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (path, data)]
    assert [found.files[path], found.files[data]] == both
    assert (
        found.submodel.source.sha256 == hashlib.sha256(json.dumps({"": both[0], "m.bin": both[1]}).encode()).hexdigest()
    )
    assert "is not the file that it should be" in problem(path, sha256="a" * 64)
    graph = ks.Graph().add("m", path, sha256=both[0]).add("top", keras.layers.Dense(1)).connect("m.y", "top")
    data.write_bytes(bytes(4) + data.read_bytes()[4:])
    with pytest.raises(SourceError, match=r"'.*m\.bin' has changed since it was added\.") as error:
        graph.verify()
    assert error.value.expected == f"sha256 {both[1]}"


def test_links_to_a_file_and_its_weights(tmp_path: Path) -> None:
    """As in the cache of a hub: both are links to files of other names in one folder."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    external(tmp_path / "m.onnx").rename(tmp_path / "blobs" / "1")
    (tmp_path / "m.bin").rename(tmp_path / "blobs" / "2")
    for name, blob in (("m.onnx", "1"), ("m.bin", "2")):
        (tmp_path / "snapshot" / name).symlink_to(f"../blobs/{blob}")
    assert ports(added(tmp_path / "snapshot" / "m.onnx"))[0] == ("x", (4,), "float32")


OUTSIDE = (
    "'{path}' names a file outside of its folder for the weights of 'w'.\n"
    "  Expected: a file in '{folder}' or below it\n"
    "  Received: {name!r}\n"
    "  Fix: Ask its authors for a file that has its weights in it or beside it."
)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/../../secret", "", "*/_ORT_MEM_ADDR_/*", "C:\\w", "link"]
)
def test_weights_that_lie_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(bytes(1000))
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    path = external(folder / "m.onnx", location=name)
    assert problem(path) == OUTSIDE.format(path=path, folder=folder, name=name)


def test_weights_that_are_gone_or_too_few(tmp_path: Path) -> None:
    path = external(tmp_path / "m.onnx")
    data = tmp_path / "m.bin"
    data.write_bytes(data.read_bytes()[:40])
    text = problem(path)
    assert text.startswith(f"Submodel 'm' (m.onnx) cannot be loaded by ONNX Runtime {onnxruntime.__version__}.")
    assert "External initializer: w offset: 0 size to read: 48 given file_length: 40 are out of bounds" in text
    data.unlink()
    assert problem(path) == (
        f"The weights of '{path}' cannot be read: No such file or directory.\n"
        "  Expected: the file 'm.bin' beside it, with the weights of 'w'\n"
        "  Fix: Put that file there: both belong together."
    )


def test_a_node_with_a_tensor_in_another_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.onnx",
        [node("Constant", "", "c", value=numpy_helper.from_array(WEIGHTS, "c")), node("MatMul", "x c", "y")],
        {"x": (FLOAT, ["n", 4])},
        {"y": (FLOAT, ["n", 3])},
    )
    options = {"location": "m.bin", "size_threshold": 0, "convert_attribute": True}
    onnx.save(onnx.load(path), path, save_as_external_data=True, **options)
    assert problem(path) == (
        f"'{path}' has tensors of nodes in another file, which ONNX Runtime cannot be given.\n"
        "  Expected: only initializers of the graph in other files\n"
        "  Received: 1 more\n"
        "  Fix: Write it as one file: onnx.save(onnx.load('m.onnx'), 'whole.onnx')."
    )
    onnx.save(onnx.load(path), tmp_path / "whole.onnx")
    assert ports(added(tmp_path / "whole.onnx"))[1] == ("y", (3,), "float32")


# -- what is refused ------------------------------------------------------------------------------

INPUTS = "Submodel 'm' (m.onnx) has inputs that no rows of numbers can feed.\n"
OUTPUTS = "Submodel 'm' (m.onnx) has outputs that are no arrays with a row for each row.\n"
ROWS = "  Expected: tensors of numbers with the batch as their first axis\n"


@pytest.mark.parametrize(
    ("type", "shape", "received"),
    [
        (TensorProto.STRING, ["n"], "'x', a tensor of string"),
        (TensorProto.BFLOAT16, ["n", 4], "'x', a tensor of bfloat16"),
        (TensorProto.COMPLEX64, ["n", 4], "'x', a tensor of complex64"),
        (FLOAT, [], "'x', a tensor of float32 without any axis"),
        (FLOAT, None, "'x', a tensor of float32 of a shape that the file does not say"),
        (FLOAT, [None, 2**17, 2**10], "'x', a tensor of float32 of 134,217,728 numbers, more than 67,108,864"),
    ],
)
def test_inputs_that_cannot_be_fed(tmp_path: Path, type: int, shape: Any, received: str) -> None:
    text = problem(one(tmp_path / "m.onnx", "Identity", shape, type))
    assert text.startswith(f"{INPUTS}{ROWS}  Received: {received}\n")
    named = "model.graph.input[...].CopyFrom(onnx.helper.make_tensor_value_info('x', ..., ['rows', ...]))."
    cut = "Cut it behind them: onnx.utils.extract_model(file, new_file, [tensors to feed], [outputs])."
    assert text.endswith(f"\n  Fix: Write the shape into the file: {named}" if shape is None else f"\n  Fix: {cut}")


def test_outputs_that_are_no_rows(tmp_path: Path) -> None:
    nodes = [
        node("Relu", "x", "y"),
        node("Cast", "x", "text", to=TensorProto.STRING),
        node("SplitToSequence", "x", "parts"),
    ]
    nodes += [node("ReduceSum", "x", "sum", keepdims=0), node("Shape", "x", "sizes")]
    gives = {"y": (FLOAT, ["n", 4]), "text": (TensorProto.STRING, ["n", 4]), "sum": (FLOAT, [])}
    path = write(tmp_path / "m.onnx", nodes, {"x": (FLOAT, ["n", 4])}, gives)
    model = onnx.load(path)
    model.graph.output.append(helper.make_tensor_sequence_value_info("parts", FLOAT, None))
    model.graph.output.append(helper.make_tensor_value_info("sizes", TensorProto.INT64, None))
    onnx.save(model, path)
    assert problem(path) == (
        f"{OUTPUTS}{ROWS}  Received: 'text', a tensor of string; 'sum', a tensor of float32 without any axis; "
        "'parts', a sequence\n  Fix: Take others: outputs=['y', 'sizes']."
    )
    assert problem(path, outputs=["y", "sizes"]) == (
        f"{OUTPUTS}{ROWS}  Received: 'sizes', of shape (2,) for 3 rows\n  Fix: Take others: outputs=['y']."
    )
    assert ports(added(path, outputs=["y"]))[1:] == [("y", (4,), "float32")]
    write(path, nodes[3:4], {"x": (FLOAT, ["n", 4])}, {"sum": (FLOAT, [])})
    assert problem(path).endswith("extract_model(file, new_file, [inputs], [tensors]).")


def test_inputs_of_other_rows(tmp_path: Path) -> None:
    takes = {"x": (FLOAT, ["n", 4]), "z": (FLOAT, [1, 4])}
    assert problem(write(tmp_path / "m.onnx", [node("Add", "x z", "y")], takes, {"y": (FLOAT, ["n", 4])})) == (
        "Submodel 'm' (m.onnx) has inputs that do not take the same number of rows.\n"
        "  Expected: a first axis that is open for all inputs, or of one size\n"
        "  Received: 'x' (None, 4); 'z' (1, 4)\n"
        "  Fix: Export it with open batches, torch.onnx.export(..., dynamic_axes={input: {0: 'rows'}}), and what is "
        "the same for all rows as an initializer."
    )


def test_rows_that_depend_on_each_other(tmp_path: Path) -> None:
    path = one(tmp_path / "m.onnx", "Softmax", attributes={"axis": 0})
    assert "predicts something else for the same rows when it is asked for one of them alone." in problem(path)
    nodes = [node("RandomNormalLike", "x", "r"), node("Add", "x r", "y")]
    write(path, nodes, {"x": (FLOAT, ["n", 4])}, {"y": (FLOAT, ["n", 4])})
    assert "predicts something else for the same rows when it is asked once more." in problem(path)
    assert problem(write(path, [node("Constant", "", "y", value_floats=[1.0])], {}, {"y": (FLOAT, [1])})) == (
        "Submodel 'm' (m.onnx) has no inputs: it gives the same for all rows."
    )


def test_operators_of_others(tmp_path: Path) -> None:
    path = one(tmp_path / "m.onnx", "Evil", attributes={"domain": "my.ops"}, domains=["my.ops"])
    assert problem(path) == (
        "Submodel 'm' (m.onnx) needs operators that ONNX Runtime has only with a library of somebody else, which is "
        "code and is never loaded.\n"
        "  Expected: operators of ONNX and of ONNX Runtime itself\n"
        "  Received: my.ops::Evil\n"
        "  Fix: Export it with operators of ONNX alone."
    )
    function = helper.make_function(
        "my.ops", "Evil", ["a"], ["b"], [node("Relu", "a", "b")], [helper.make_opsetid("", 17)]
    )
    one(path, "Evil", attributes={"domain": "my.ops"}, domains=["my.ops"], functions=[function])
    assert ports(added(path))[1] == ("y", (4,), "float32")  # explained by the file itself


def test_operators_and_opsets_that_there_are_not(tmp_path: Path) -> None:
    start = f"Submodel 'm' (m.onnx) cannot be loaded by ONNX Runtime {onnxruntime.__version__}.\n  Received: "
    text = problem(one(tmp_path / "m.onnx", "Evil"))
    assert text.startswith(f"{start}This is an invalid model.") and "No Op registered for Evil" in text
    text = problem(one(tmp_path / "m.onnx", opset=99))
    assert text.startswith(f"{start}ONNX Runtime only") and "Opset 99 is under development" in text
    assert text.endswith(
        "Install a newer one, pip install -U onnxruntime, or convert the file: onnx.version_converter."
    )


@pytest.mark.parametrize("content", [b"", b"\x08", b"a text, and no model", b"\x89HDF\r\n\x1a\n" + bytes(99), b"cut"])
def test_damaged_files(tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(dense(path).read_bytes()[:-9] if content == b"cut" else content)
    assert problem(path) == (
        f"'{path}' is not an ONNX file, or a damaged one.\n"
        "  Expected: what onnx.save writes, or an exporter such as torch.onnx, tf2onnx or skl2onnx\n"
        f"  Received: {path.stat().st_size:,} bytes that declare no graph with outputs\n"
        "  Fix: Download or export it again."
    )
    assert capfd.readouterr() == ("", "")


def test_a_name_that_is_no_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = one(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes().replace(b"\x0a\x01x", b"\x0a\x01\xff"))
    assert "  Received: the name b'\\xff', which is not UTF-8\n" in problem(path)
    path = one(tmp_path / "m.onnx", "Evil")
    path.write_bytes(path.read_bytes().replace(b"Evil", b"Evi\xff"))
    assert problem(path).startswith("Submodel 'm' (m.onnx) cannot be loaded by ONNX Runtime")
    assert capfd.readouterr() == ("", "")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    dense(tmp_path / "model.onnx")
    text = problem(tmp_path / "modle.onnx")
    assert text == f"There is no file '{tmp_path / 'modle.onnx'}'.\n  Expected: 'model.onnx', the nearest name"
    (tmp_path / "folder.onnx").mkdir()
    assert problem(tmp_path / "folder.onnx").startswith(
        f"'{tmp_path / 'folder.onnx'}' is a directory without a model.yaml."
    )


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_packages_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    path = dense(tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, package, None)
    text = problem(path)
    assert text.startswith(f"ONNX files need the package '{package}', which cannot be imported.\n")
    assert text.endswith("\n  Fix: pip install 'keras_stitch[onnx]'")


@pytest.mark.parametrize("option", ["trainable", "custom_objects", "arch", "saved_backend", "stateless", "part"])
def test_options_of_keras_models(tmp_path: Path, option: str) -> None:
    assert problem(dense(tmp_path / "m.onnx"), **{option: True}) == (
        f"{option}= of submodel 'm' is for Keras models, and this is a model of another framework.\n"
        f"  Received: {option}=True\n"
        "  Fix: Leave it out: such a model runs in the dataloader as it is."
    )


# -- graphs ---------------------------------------------------------------------------------------


def test_a_graph_and_its_file(tmp_path: Path) -> None:
    dense(tmp_path / "m.onnx")
    graph = ks.Graph("g").add("m", tmp_path / "m.onnx", outputs=["y"]).share("again", of="m")
    graph.add("top", keras.layers.Dense(2)).connect(["m", "again"], "top").add_input("x", ["m.x", "again.x"])
    assert "m          dataloader   an ONNX file, not Keras" in str(graph.plan())
    graph.to_yaml(tmp_path / "stitch.yaml")
    models = yaml.safe_load((tmp_path / "stitch.yaml").read_text())["models"]
    assert models["m"] == {"source": "m.onnx", "outputs": ["y"]} and models["again"] == {"share": "m"}
    back = ks.Graph.from_yaml(tmp_path / "stitch.yaml")
    assert back.spec.submodels[:2] == graph.spec.submodels[:2]
    certificate = back.verify()
    assert certificate.passed and certificate.parts[0].sha256 == graph.spec.submodel("m").source.sha256


def test_a_relative_path_is_known_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    external(tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    graph = ks.Graph().add("m", "m.onnx", outputs=["y"])
    monkeypatch.chdir("/")
    assert graph.verify().passed
    (tmp_path / "m.onnx").unlink()
    with pytest.raises(SourceError, match=r"'.*m\.onnx' cannot be read any more: No such file or directory\."):
        graph.verify()


def test_another_file_than_was_recorded(tmp_path: Path) -> None:
    path = dense(tmp_path / "m.onnx")
    text = f"name: g\nmodels:\n  m: {{source: m.onnx, sha256: {'a' * 64}}}\n"
    (tmp_path / "stitch.yaml").write_text(text)
    with pytest.raises(StitchError, match=r"models\.m") as error:
        ks.Graph.from_yaml(tmp_path / "stitch.yaml")
    assert error.value.received == f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = dense(tmp_path / "m.onnx")
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    head = f"{path}\nsha256 {sha256}\nm.onnx of opset 17, made by test.\nan ONNX file, which runs in the dataloader\n\n"
    assert text.startswith(head) and "output   total   (1,)    float32" in text


# -- saved directories, by Kipoi in a fresh process -----------------------------------------------


def by_kipoi(directory: Path, folder: Path, **inputs: Array) -> dict[str, Array]:
    """What ``kipoi predict`` gives for rows; ``kipoi test`` passes without a warning."""
    files = {name: folder / f"{name}.npy" for name in inputs}
    for name, file in files.items():
        np.save(file, inputs[name])
    found, with_workers = kipoi_runner.kipoi_checks(
        directory, {f"{n}_file": str(file) for n, file in files.items()}, folder
    )
    for name, array in found.items():
        np.testing.assert_array_equal(array, with_workers[name])
    return {name: array for name, array in found.items() if name.startswith("preds")}


def check_close(given: Array, expected: Array) -> None:
    assert np.abs(given - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


def exported(folder: Path) -> dict[str, Path]:
    """Files of three exporters: tf2onnx with opset 11, torch.onnx with 15, and skl2onnx with its newest."""
    import tensorflow as tf
    import tf2onnx
    import torch
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier

    places = {name: folder / f"{name}.onnx" for name in ("trunk", "head", "forest")}
    kernel = numbers(4, 5)
    trunk = tf.function(lambda seq: {"pooled": tf.reduce_max(tf.nn.relu(seq @ kernel), axis=1)})
    spec = tf.TensorSpec((None, None, 4), tf.float32, name="seq")
    tf2onnx.convert.from_function(trunk, [spec], opset=11, output_path=str(places["trunk"]))
    layers = torch.nn.Linear(5, 6), torch.nn.BatchNorm1d(6), torch.nn.GELU(), torch.nn.Linear(6, 3)
    options: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"], "dynamo": False, "opset_version": 15}
    axes = {"x": {0: "rows"}, "y": {0: "rows"}}
    with warnings.catch_warnings(action="ignore"):  # torch prefers its new exporter, which needs more packages
        module = torch.nn.Sequential(*layers).eval()
        torch.onnx.export(module, (torch.zeros(2, 5),), str(places["head"]), dynamic_axes=axes, **options)
    rows = numbers(60, 3)
    forest = RandomForestClassifier(5, random_state=0).fit(rows, (rows[:, 0] > 0).astype(int) + (rows[:, 1] > 1))
    places["forest"].write_bytes(to_onnx(forest, rows[:1], options={"zipmap": False}).SerializeToString())
    return places


@pytest.mark.slow
def test_three_exporters_and_opsets_in_one_graph(tmp_path: Path) -> None:
    from skl2onnx import __max_supported_opset__ as newest

    files = exported(tmp_path)
    opsets = {
        name: {item.domain: item.version for item in onnx.load(file).opset_import} for name, file in files.items()
    }
    assert [opsets[name][""] for name in files] == [11, 15, newest] and "ai.onnx.ml" in opsets["forest"]
    graph = ks.Graph("three").add("trunk", files["trunk"]).add("head", files["head"])
    graph.add("forest", files["forest"], outputs=["probabilities"])
    graph.add("top", keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)]))
    graph.connect("trunk", "head").connect("head", "forest").connect(["forest", "head"], "top")
    assert [port.shape for port in graph.summary().inputs] == [(None, 4)]
    model = graph.build()
    saved = graph.save(tmp_path / "saved", model=model)
    described = yaml.safe_load((saved / "dataloader.yaml").read_text())
    assert graph.spec.submodel("head").requires[0] in described["dependencies"]["pip"]
    record = yaml.safe_load((saved / "stitch.yaml").read_text())["models"]
    for name, file in files.items():
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        assert (record[name]["source"], record[name]["sha256"]) == (file.name, sha256)
        copy = saved / "components" / name / "packed_model" / "model_files" / "model.onnx"
        assert copy.read_bytes() == file.read_bytes()
    rows = numbers(9, 7, 4)
    (given,) = by_kipoi(saved, tmp_path, seq=rows).values()
    (pooled,) = run_alone(files["trunk"], seq=rows)
    (scores,) = run_alone(files["head"], x=pooled)
    (parts,) = run_alone(files["forest"], ["probabilities"], X=scores)
    check_close(given, model.predict({"forest": parts, "head": scores}, verbose=0))


@pytest.mark.slow
def test_a_directory_whose_model_is_an_onnx_file(tmp_path: Path) -> None:
    first, last = dense(tmp_path / "first.onnx"), one(tmp_path / "last.onnx", "Abs", [4, 3])
    graph = ks.Graph("last").add("first", first, outputs=["y"]).add("last", last).connect("first", "last")
    assert "No Keras model remains: 'last' (an ONNX file) makes the predictions." in str(graph.plan())
    rows = numbers(9, 4)
    (given,) = by_kipoi(graph.save(tmp_path / "saved"), tmp_path, x=rows).values()
    check_close(given, np.abs(run_alone(first, ["y"], x=rows)[0]))


@pytest.mark.slow
def test_hosted_files_with_weights_beside_them(tmp_path: Path) -> None:
    path = external(tmp_path / "m.onnx")
    graph = (
        ks.Graph("hosted").add("m", path, outputs=["y"]).add("top", keras.layers.Activation("tanh")).connect("m", "top")
    )
    saved, store = graph.save(tmp_path / "saved", hosting=(tmp_path / "store").as_uri()), tmp_path / "store"
    packed = "components/m/packed_model"
    assert set(yaml.safe_load((saved / packed / "model.yaml").read_text())["args"]["weights"]) == {"url", "md5"}
    assert (saved / packed / "model_files" / "data" / "m.bin").read_bytes() == (tmp_path / "m.bin").read_bytes()
    hosted = ["model_files/model.keras", "model_files/expected.h5", f"{packed}/model_files/model.onnx"]
    hosted += [file.relative_to(saved).as_posix() for file in (saved / "example_files").iterdir()]
    for name in hosted:
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (saved / name).rename(store / name)
    rows = numbers(5, 4)
    (given,) = by_kipoi(saved, tmp_path, x=rows).values()
    check_close(given, np.tanh(run_alone(path, ["y"], x=rows)[0]))
