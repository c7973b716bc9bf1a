"""Lambda layers: the names in their code, functions of Keras' backend, and code that does not run."""

from __future__ import annotations

import base64
import marshal
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from repairs_files import called, functional, given, write_h5

import keras_stitch as ks
from keras_stitch.errors import SourceError
from keras_stitch.models.keras_file import open_file
from keras_stitch.repairs import lambdas
from keras_stitch.verify.equality import compare


def dumped(source: str, filename: str = "notebook.py", name: str = "<lambda>") -> str:
    """A function as Keras 2 packs it, from the first one that a text defines."""
    code = next(item for item in compile(source, filename, "exec").co_consts if hasattr(item, "co_code"))
    return base64.b64encode(marshal.dumps(code.replace(co_name=name))).decode()


def said(code: str, module: str = "__main__", **config: Any) -> dict[str, Any]:
    function = {"function": [code, None, None], "function_type": "lambda", "module": module, "arguments": {}}
    return {"class_name": "Lambda", "config": {"name": "it", **function, **config}}


def test_the_names_in_code() -> None:
    code = dumped("f = lambda x: tf.math.reduce_logsumexp(x, axis=-1, keepdims=True)")
    assert set(lambdas.code_names(said(code))) == {"tf", "math", "reduce_logsumexp", "axis", "keepdims"}
    wrapped = {"class_name": "__lambda__", "config": {"code": code, "defaults": None, "closure": None}}  # Keras 3
    assert "reduce_logsumexp" in lambdas.code_names({"class_name": "Lambda", "config": {"function": wrapped}})
    # Python 2 packs names with four bytes of length.
    old = b"c\x01\x00\x00\x00" + b"t\x03\x00\x00\x00sumt\x04\x00\x00\x00axis" + b"s\x02\x00\x00\x00\x83\x01"
    assert lambdas.code_names(said(base64.b64encode(old).decode())) == ["sum", "axis"]


@pytest.mark.parametrize("code", ["", "4wAA", "not base64 at all!", "\x00", "aaaa" * 5000, "é"])
def test_code_that_is_none(code: str) -> None:
    assert isinstance(lambdas.code_names(said(code)), list)
    assert lambdas.code_names({"class_name": "Lambda", "config": {"function": None}}) == []


def test_a_function_around_others_says_nothing() -> None:
    code = dumped("def f(*args):\n    return error_handler(args)", "/keras/src/utils/traceback_utils.py")
    assert lambdas.code_names(said(code)) == []


BACKEND = "/usr/lib/python3.6/site-packages/keras/backend/tensorflow_backend.py"
OPERATIONS = {
    "all": None, "any": None, "cos": ops.cos, "exp": ops.exp, "log": None, "sigmoid": ops.sigmoid, "sign": ops.sign,
    "sin": ops.sin, "softplus": ops.softplus, "softsign": ops.softsign, "square": ops.square, "tanh": ops.tanh,
    "abs": ops.absolute, "identity": lambda x: x, "softmax": ops.softmax,
    "logsumexp": ops.logsumexp, "max": ops.max, "mean": ops.mean, "min": ops.min, "prod": ops.prod, "sum": ops.sum,
    "expand_dims": lambda x, axis=-1: ops.expand_dims(x, axis), "squeeze": lambda x, axis: ops.squeeze(x, axis),
    "l2_normalize": lambda x, axis: x / ops.sqrt(ops.maximum(ops.sum(x**2, axis, keepdims=True), 1e-12)),
}  # fmt: skip
ARGUMENTS = {"squeeze": {"axis": 2}, "l2_normalize": {"axis": -1}, "softmax": {"axis": 1}, "mean": {"axis": 1}}
X = np.random.default_rng(3).normal(size=(2, 3, 1)).astype("float32")


def file_with(folder: Path, config: dict[str, Any]) -> Path:
    model = functional([given("x", 3, 1), called(config, "x")], ["x"], ["it"])
    return write_h5(folder / "m.h5", model, {}, version="2.2.4")


@pytest.mark.parametrize("name", [name for name, function in OPERATIONS.items() if function is not None])
def test_functions_of_the_backend(tmp_path: Path, name: str) -> None:
    """As Keras 2.2 packed its own functions: their file is that of the backend, whatever its version of Python."""
    arguments = ARGUMENTS.get(name, {})
    code = dumped("def f(x):\n    return x", BACKEND, name)
    path = file_with(tmp_path, said(code, "keras.backend.tensorflow_backend", arguments=arguments))
    graph = ks.Graph("g").add("m", path)
    wanted = np.asarray(OPERATIONS[name](X, **arguments))
    assert compare(np.asarray(graph.build()(X)), wanted).equal
    assert graph.spec.submodel("m").repairs[0].startswith("backend-functions (it): ")


@pytest.mark.parametrize(("name", "joined"), [("concatenate", np.concatenate([X, X], -1)), ("stack", np.stack([X, X]))])
def test_functions_of_several_tensors(tmp_path: Path, name: str, joined: np.ndarray) -> None:
    code = dumped("def f(x):\n    return x", BACKEND, name)
    both = called(said(code, "keras.backend.tensorflow_backend"), ["x", "x"])
    path = write_h5(tmp_path / "m.h5", functional([given("x", 3, 1), both], ["x"], ["it"]), {}, version="2.2.4")
    assert compare(np.asarray(open_file(path).model(X)), joined).equal


def test_each_function_of_the_backend_is_tried() -> None:
    of_several = {"concatenate", "stack"}
    assert OPERATIONS.keys() | of_several == lambdas.BACKEND_FUNCTIONS.keys()


def test_one_that_is_called_twice_stays_a_lambda(tmp_path: Path) -> None:
    """A function of TensorFlow is called once, so what replaces the Lambda is called twice."""
    code = dumped("def f(x):\n    return x", BACKEND, "exp")
    twice = called(said(code, "keras.backend.tensorflow_backend"), "x", [["it", 0, 0, {}]])
    model = functional([given("x", 3, 1), twice], ["x"], [["it", 1, 0]])
    path = write_h5(tmp_path / "m.h5", model, {}, version="2.2.4")
    with pytest.raises(SourceError, match="holds a Lambda layer, that is Python code"):
        ks.Graph("g").add("m", path)
    found = ks.Graph("g").add("m", path, replace={"it": layers.Activation("exponential")}).build()
    assert compare(np.asarray(found(X)), np.exp(np.exp(X))).equal


@pytest.mark.parametrize(
    ("code", "module", "more"),
    [
        (dumped("def f(x): return x", "notebooks/backend.py", "mean"), "__main__", {}),
        (dumped("def f(x): return x", "notebooks/model.py", "mean"), "keras.backend", {}),
        (dumped("def f(x): return x", BACKEND, "sqrt"), "keras.backend", {}),  # which cut off at zero
        (dumped("def f(x): return x", BACKEND, "mean"), "keras.backend", {"arguments": {"out": "x"}}),
        (dumped("def f(x): return x", BACKEND, "mean"), "os.keras.backend", {}),
        (dumped("def f(x): return x", BACKEND, "mean"), None, {}),
    ],
)
def test_what_is_in_doubt_is_refused(tmp_path: Path, code: str, module: str, more: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match="holds a Lambda layer, that is Python code"):
        ks.Graph("g").add("m", file_with(tmp_path, said(code, module, **more)))


@pytest.mark.parametrize("function", ["mean", "tf.reduce_mean", "system"])
def test_functions_by_name(tmp_path: Path, function: str) -> None:
    config = said("", "keras.backend", function=function, function_type="function", arguments={"axis": 1})
    path = file_with(tmp_path, config)
    if function == "mean":
        assert compare(np.asarray(ks.Graph("g").add("m", path).build()(X)), X.mean(1)).equal
    else:
        with pytest.raises(SourceError):
            ks.Graph("g").add("m", path)


def test_no_code_runs(tmp_path: Path) -> None:
    """Whoever makes the marker file has run what the file brings along."""
    marker = tmp_path / "marker"
    code = dumped(f"def f(x):\n    open({str(marker)!r}, 'w').close()\n    return x")
    x = keras.Input((3, 1), name="x")
    opens = eval(f"lambda t: open({str(marker)!r}, 'w') and t")
    of_keras_3 = keras.Model(x, layers.Lambda(opens, output_shape=(3, 1), name="it")(x))
    for ending in ("keras", "h5"):
        of_keras_3.save(tmp_path / f"of_3.{ending}")
    of_keras_3(X)
    marker.unlink()  # so the code does what it should not
    files = [tmp_path / "of_3.keras", tmp_path / "of_3.h5", file_with(tmp_path, said(code))]
    for path in files:
        with pytest.raises(SourceError):
            ks.Graph("g").add("m", path)
        ks.Graph("g").add("m", path, replace={"it": layers.Rescaling(1.0)}).build()(X)
    assert not marker.exists()
