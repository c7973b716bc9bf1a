"""Kipoi directories of models of other frameworks as submodels."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import joblib
import keras
import kipoi
import numpy as np
import pytest
import yaml
import zoo_models
from zoo_models import array

import keras_stitch as ks
from keras_stitch.errors import SourceError, StitchError
from keras_stitch.graphs.spec import Port
from keras_stitch.kipoi.model_directory import read_directory
from keras_stitch.kipoi.packed_copy import fingerprint, flattened, load_packed, nested, write_packed
from keras_stitch.sources import load_source
from keras_stitch.sources.added import Added

X = np.random.default_rng(5).standard_normal((4, 7)).astype("float32")


def added(source: Any, **options: Any) -> Added:
    return load_source.load("m", source, **options)


def ports(found: Added) -> list[tuple[Any, ...]]:
    submodel = found.submodel
    return [(port.name, port.shape, port.dtype, port.generated) for port in (*submodel.inputs, *submodel.outputs)]


def problem(source: Any, **options: Any) -> str:
    with pytest.raises(StitchError) as error:
        added(source, **options)
    return str(error.value)


def packed(source: Any, folder: Path) -> Any:
    """The packed model of a directory, loaded without a warning from where its source cannot be seen."""
    write_packed(read_directory(source), folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_packed(folder)


# -- frameworks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "framework", "taken", "given"),
    [
        (zoo_models.write_sklearn, "scikit-learn", None, "float64"),
        (zoo_models.write_pytorch, "pytorch", "float32", "float32"),
        (zoo_models.write_tensorflow, "tensorflow", "float32", "float32"),
        (zoo_models.write_custom, "kipoi", None, "float32"),
    ],
)
@pytest.mark.parametrize("outputs", [1, 3])
def test_every_framework(tmp_path, caplog, capsys, write, framework, taken, given, outputs):
    folder = write(tmp_path / "zoo", outputs=outputs, dataloader=True)
    found = added(folder, placement="dataloader")
    assert ports(found) == [("input", (7,), taken, True), ("output", (outputs,), given, True)]
    submodel = found.submodel
    assert (submodel.framework, submodel.is_keras, submodel.placement) == (framework, False, "dataloader")
    assert (submodel.source.kind, submodel.source.label, submodel.source.path) == ("kipoi", "zoo", str(folder))
    assert found.blueprint is None and found.part.dataloader is not None
    model = packed(folder, tmp_path / "packed")
    direct = load_packed(folder)
    np.testing.assert_array_equal(model.predict_on_batch(X), direct.predict_on_batch(X))
    assert not [record for record in caplog.records if record.name.startswith("kipoi") and record.levelno > 20]
    assert "mismatch" not in capsys.readouterr().out
    assert not list((tmp_path / "packed").glob("dataloader.yaml"))
    said = yaml.safe_load((tmp_path / "packed" / "model.yaml").read_text())
    assert said["info"]["authors"] == [{"name": "Ada"}] and said["dependencies"]["pip"]
    assert said["schema"]["targets"]["shape"] == str((outputs,))
    assert read_directory(tmp_path / "packed").framework == framework


def test_old_types(tmp_path):
    folder = zoo_models.write_sklearn(tmp_path / "sk", type="sklearn", defined_as=None)
    assert added(folder).submodel.framework == "scikit-learn"
    folder = zoo_models.write_pytorch(tmp_path / "pt", type="pytorch", defined_as=None)
    assert added(folder).submodel.framework == "pytorch"
    code = "from kipoi.model import BaseModel\n\n\nclass Own(BaseModel):\n    def predict_on_batch(self, x):\n"
    args = {"file": "model.py", "object": "Own"}
    folder = zoo_models.write_custom(
        tmp_path / "own", code=code + "        return x[:, 0]\n", type="custom", defined_as=None, args=args
    )
    assert added(folder).submodel.framework == "kipoi"
    (folder / "model.py").unlink()
    assert problem(folder) == (
        f"The model.yaml of '{folder}' names a file that is not there.\n  Received: file: model.py"
    )


@pytest.mark.parametrize("base", ["SklearnModel", "PyTorchModel", "TensorFlow2Model"])
def test_subclasses_keep_the_framework(tmp_path, base):
    folder = zoo_models.write_custom(
        tmp_path / "m",
        code=f"""
        from kipoi.model import {base}


        class MyModel({base}):
            def __init__(self, weights, factor):
                pass

            def predict_on_batch(self, x):
                return x[:, 0] * 2
        """,
    )
    names = {"SklearnModel": "scikit-learn", "PyTorchModel": "pytorch", "TensorFlow2Model": "tensorflow"}
    assert added(folder).submodel.framework == names[base]


def write_keras(folder: Path, body: str) -> Path:
    folder.mkdir()
    keras.Sequential([keras.Input((3,)), keras.layers.Rescaling(2.0)]).save(folder / "m.keras")
    (folder / "model.py").write_text(f"from kipoi.model import KerasModel\n\n\nclass Own(KerasModel):\n    {body}\n")
    return zoo_models.described(folder, "model.Own", {"weights": "m.keras"}, array((3,)), array((3,)), ["keras"])


def test_a_keras_model_that_predicts_in_its_own_way(tmp_path):
    folder = write_keras(tmp_path / "more", "def predict_on_batch(self, x):\n        return self.model(x).numpy() + 1")
    found = added(folder)
    assert found.submodel.framework == "kipoi" and "m.keras" in found.part.files
    x = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(packed(folder, tmp_path / "packed").predict_on_batch(x), 2 * x + 1)
    plain = added(write_keras(tmp_path / "plain", "pass"))
    assert plain.submodel.is_keras and plain.blueprint is not None


def test_dtypes_are_tried(tmp_path):
    assert ports(added(zoo_models.write_tensorflow(tmp_path / "tf", dtype="int32")))[0][2] == "int32"
    code = zoo_models.PYTORCH.replace("self.hidden(x)", "self.hidden(x.to(torch.float32))")
    code = code.replace("return ", "assert x.dtype == torch.int64\n            return ")
    assert ports(added(zoo_models.write_pytorch(tmp_path / "pt", code=code)))[0][2] == "int64"


# -- structures -----------------------------------------------------------------------------------

PAIR = """
    import numpy as np
    from kipoi.model import BaseModel


    class MyModel(BaseModel):
        def __init__(self, weights, factor):
            pass

        def predict_on_batch(self, x):
            a, b = {take}
            return {give}
"""


def pair(folder: Path, take: str, give: str, inputs: Any, targets: Any) -> Path:
    schema = {"inputs": inputs, "targets": targets}
    return zoo_models.write_custom(folder, code=PAIR.format(take=take, give=give), schema=schema)


def test_dicts_lists_and_what_is_nested(tmp_path):
    a, b = np.ones((2, 2), "float32"), np.full((2, 3), 2.0, "float32")
    by_name = {"a": array((2,), "a"), "b": array((3,), "b")}
    targets = {"p": array((2,)), "q": array((3,))}
    folder = pair(
        tmp_path / "dict", 'x["a"], x["b"]', '{"q": b, "p": a}', by_name, {"p": array((2,)), "q": array((3,))}
    )
    found = added(folder)
    assert [port[:2] for port in ports(found)] == [("a", (2,)), ("b", (3,)), ("p", (2,)), ("q", (3,))]
    assert (found.part.input_structure, found.part.output_structure) == ("dict", "dict")
    given = packed(folder, tmp_path / "packed").predict_on_batch(nested(found.part, [a, b]))
    assert [array.shape for array in flattened("m", found.part, given)] == [(2, 2), (2, 3)]

    listed = [array((2,), "first"), array((3,))]
    found = added(pair(tmp_path / "list", "x", "[a[:, 0], b]", listed, [array((1,)), array((None,), "second")]))
    assert [port[:2] for port in ports(found)] == [
        ("first", (2,)),
        ("input2", (3,)),
        ("output1", (1,)),
        ("second", (None,)),
    ]
    assert [port[3] for port in ports(found)] == [False, True, True, False]
    assert (found.part.input_structure, found.part.output_structure) == ("list", "list")

    deep = {"one": {"a": array((2,)), "b": array((3,))}}
    give = '{"left": {"v": a}, "right": [b, a]}'
    targets = {"left": {"v": array((2,))}, "right": [array((3,)), array((2,))]}
    found = added(pair(tmp_path / "deep", 'x["one"]["a"], x["one"]["b"]', give, deep, targets))
    assert [port[1] for port in ports(found)] == [(2,), (3,), (2,), (3,), (2,)]
    assert len({port[0] for port in ports(found)}) == 5
    assert nested(found.part, [a, b]) == {"one": {"a": a, "b": b}}


def test_open_sizes_stay_open(tmp_path):
    code = "from kipoi.model import BaseModel\n\n\nclass MyModel(BaseModel):\n"
    code += "    def __init__(self, **args):\n        pass\n\n"
    code += "    def predict_on_batch(self, x):\n        assert x.shape[1] > 20\n        return x[:, 2:, 0]\n"
    schema = {"inputs": array((None, 4)), "targets": array((None,))}
    found = added(zoo_models.write_custom(tmp_path / "m", code=code, schema=schema))
    assert [port[1] for port in ports(found)] == [(None, 4), (None,)]


def test_what_no_random_number_suits(tmp_path):
    code = zoo_models.CUSTOM.replace("return ", "raise ValueError('not these')\n            return ")
    schema = {"targets": array((2, 5), "y")}
    found = added(zoo_models.write_custom(tmp_path / "m", code=code, schema=schema))
    assert ports(found) == [("input", (7,), None, True), ("y", (2, 5), "float32", False)]


def test_numbers_that_are_none(tmp_path):
    code = zoo_models.CUSTOM.replace("return ", "return np.nan * ")
    assert ports(added(zoo_models.write_custom(tmp_path / "m", code=code)))[1][1:3] == ((1,), "float32")


# -- files ----------------------------------------------------------------------------------------


def test_downloaded_files(tmp_path):
    hosted = zoo_models.write_sklearn(tmp_path / "hosted") / "model_files" / "model.pkl"
    folder = zoo_models.write_sklearn(tmp_path / "zoo", args={"pkl_file": {"url": hosted.as_uri(), "md5": md5(hosted)}})
    (folder / "model_files" / "model.pkl").unlink()
    found = added(folder)
    assert list(found.part.files) == ["model_files/pkl_file.pkl"]
    assert found.part.args == {"pkl_file": "model_files/pkl_file.pkl"}
    model = packed(folder, tmp_path / "packed")
    np.testing.assert_array_equal(model.predict_on_batch(X), joblib.load(hosted).predict(X))
    assert (tmp_path / "packed/model_files/pkl_file.pkl").is_file()


def test_a_saved_model_by_its_files(tmp_path):
    hosted = zoo_models.write_tensorflow(tmp_path / "hosted")
    saved = {
        "pb": hosted / "saved/saved_model.pb",
        "index": hosted / "saved/variables/variables.index",
        "data": hosted / "saved/variables/variables.data-00000-of-00001",
    }
    remote = {key: {"url": path.as_uri(), "md5": md5(path)} for key, path in saved.items()}
    folder = zoo_models.described(
        tmp_path / "zoo",
        "kipoi.model.TensorFlow2Model",
        {"savedmodel_path": remote},
        array(),
        array((1,)),
        ["tensorflow"],
    )
    assert added(folder).part.args == {"savedmodel_path": "model_files/savedmodel_path"}
    direct = kipoi.get_model(str(hosted), source="dir", with_dataloader=False).predict_on_batch(X)
    np.testing.assert_array_equal(packed(folder, tmp_path / "packed").predict_on_batch(X), direct)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_what_is_copied(tmp_path):
    folder = zoo_models.write_custom(tmp_path / "zoo", dataloader=True)
    (folder / "sub").mkdir()
    (folder / "sub" / "__init__.py").write_text("")
    (folder / "downloaded" / "x").mkdir(parents=True)
    (folder / "downloaded" / "x" / "old.py").write_text("")
    (folder / "huge.h5").write_bytes(b"others")
    assert sorted(read_directory(folder).files) == [
        "dataloader.py",
        "helper.py",
        "model.py",
        "sub/__init__.py",
        "weights.npy",
    ]


def test_two_directories_with_modules_of_one_name(tmp_path):
    one = packed(zoo_models.write_custom(tmp_path / "one", shift=1), tmp_path / "a")
    two = packed(zoo_models.write_custom(tmp_path / "two", shift=2), tmp_path / "b")
    np.testing.assert_allclose(two.predict_on_batch(X) - one.predict_on_batch(X), 1, rtol=1e-5)


def test_the_sha256_is_that_of_what_is_copied(tmp_path):
    folder = zoo_models.write_custom(tmp_path / "zoo")
    found = added(folder)
    sha256 = found.submodel.source.sha256
    assert sha256 == fingerprint(found.part) == added(folder).submodel.source.sha256
    (folder / "README.md").write_text("More.")
    assert added(folder).submodel.source.sha256 == sha256
    (folder / "helper.py").write_text("def shifted(x):\n    return x\n")
    assert added(folder).submodel.source.sha256 != sha256
    with pytest.raises(SourceError) as error:
        write_packed(found.part, tmp_path / "packed", sha256=sha256)
    assert str(error.value) == (
        f"'{folder}' has changed since it was added.\n  Expected: sha256 {sha256}\n"
        f"  Received: sha256 {fingerprint(found.part)}\n  Fix: Add it to a new Graph."
    )
    assert not (tmp_path / "packed").exists()
    folder = zoo_models.write_custom(tmp_path / "other", args={"weights": "weights.npy", "factor": 3.0})
    other = added(folder).submodel.source.sha256
    (folder / "model.yaml").write_text((folder / "model.yaml").read_text().replace("3.0", "4.0"))
    assert added(folder).submodel.source.sha256 != other


def test_labels_of_columns_in_a_file(tmp_path):
    folder = zoo_models.write_custom(tmp_path / "zoo", outputs=2)
    (folder / "labels.txt").write_text("a\nb\n")
    description = yaml.safe_load((folder / "model.yaml").read_text())
    description["schema"]["targets"]["column_labels"] = str(folder / "labels.txt")
    (folder / "model.yaml").write_text(yaml.safe_dump(description))
    write_packed(read_directory(folder), tmp_path / "packed")
    said = yaml.safe_load((tmp_path / "packed" / "model.yaml").read_text())
    assert said["schema"]["targets"]["column_labels"] == ["a", "b"]


def test_a_source_of_kipois(tmp_path):
    """Models of a source may share files."""
    folder = zoo_models.write_custom(tmp_path / "zoo" / "group" / "m", args={"weights": "../shared.npy"})
    (folder / "weights.npy").rename(folder.parent / "shared.npy")
    before = dict(kipoi.config.model_sources())
    kipoi.config.add_source("mine", {"type": "local", "local_path": str(tmp_path / "zoo")})
    try:
        found = added("mine:group/m")
    finally:
        kipoi.config.set_model_sources(before)
    source = found.submodel.source
    assert (source.zoo, source.label, source.path) == ("mine:group/m", "mine:group/m", str(folder))
    assert found.part.args == {"weights": "model_files/shared.npy"}
    write_packed(found.part, tmp_path / "packed")
    assert load_packed(tmp_path / "packed").predict_on_batch(X).shape == (4, 1)


# -- mistakes -------------------------------------------------------------------------------------


def test_frameworks_that_cannot_be(tmp_path):
    folder = zoo_models.write_custom(tmp_path / "m", defined_as="kipoi.model.TensorFlowModel")
    assert problem(folder) == (
        f"The model of '{folder}' is a graph of TensorFlow 1, for which Kipoi switches TensorFlow 2 off everywhere.\n"
        "  Expected: kipoi.model.TensorFlow2Model, or another of Kipoi's classes\n"
        "  Received: kipoi.model.TensorFlowModel\n"
        "  Fix: Save it with tf.saved_model.save and describe it as kipoi.model.TensorFlow2Model."
    )
    folder = zoo_models.write_custom(tmp_path / "n", defined_as="kipoi.model.CaffeModel")
    assert problem(folder) == (
        f"The model of '{folder}' is nothing that Kipoi runs.\n"
        "  Expected: defined_as: kipoi.model.KerasModel, SklearnModel, PyTorchModel or TensorFlow2Model, or a class in "
        "the directory\n"
        "  Received: kipoi.model.CaffeModel"
    )
    folder = zoo_models.write_custom(tmp_path / "o", defined_as="helper.shifted")
    assert problem(folder) == (
        f"The model class of '{folder}' is none of Kipoi's.\n"
        "  Expected: a subclass of kipoi.model.BaseModel\n"
        "  Received: helper.shifted"
    )
    folder = zoo_models.write_custom(tmp_path / "p", code="import no_such_package\n")
    assert problem(folder) == (
        f"The model class of '{folder}' cannot be loaded.\n"
        "  Received: ModuleNotFoundError: No module named 'no_such_package'\n"
        "  Fix: Install what 'no_such_package' is a part of."
    )


@pytest.mark.slow
def test_files_that_cannot_be_had(tmp_path):
    folder = zoo_models.write_sklearn(tmp_path / "m", args={"pkl_file": "gone.pkl"})
    assert problem(folder) == (
        f"The model.yaml of '{folder}' names a file that is not there.\n  Received: pkl_file: gone.pkl"
    )
    (tmp_path / "secret.txt").write_text("x")
    folder = zoo_models.write_custom(tmp_path / "n", args={"weights": "../secret.txt"})
    assert problem(folder) == (
        f"The model.yaml of '{folder}' names a file outside of its directory.\n"
        "  Expected: a file in the directory, which is copied together with the model\n"
        "  Received: ../secret.txt\n"
        "  Fix: Copy the file into the directory and name it there."
    )
    folder = zoo_models.write_sklearn(tmp_path / "o", args={"pkl_file": {"url": "file:///gone.pkl", "md5": "0" * 32}})
    assert problem(folder).startswith(f"The file 'pkl_file' of '{folder}' cannot be downloaded.\n  Expected: file:///")


def test_models_that_cannot_be_loaded(tmp_path):
    folder = zoo_models.write_sklearn(tmp_path / "m")
    (folder / "model_files" / "model.pkl").write_bytes(b"broken")
    assert problem(folder).startswith("Submodel 'm' (m), a model of scikit-learn, cannot be loaded.\n  Received: ")
    folder = zoo_models.write_sklearn(tmp_path / "n", method="predict_proba")
    assert problem(folder) == (
        "Submodel 'm' (n), a model of scikit-learn, cannot be loaded.\n"
        "  Received: AssertionError: it has no predict_method 'predict_proba'\n"
        "  Fix: Correct predict_method: in the args: of its model.yaml."
    )
    code = zoo_models.CUSTOM.replace("np.load(weights)", "np.load(weights) + float(open('offset.txt').read())")
    folder = zoo_models.write_custom(tmp_path / "o", code=code)
    (folder / "offset.txt").write_text("1")
    assert problem(folder) == (
        "Submodel 'm' (o), a model of kipoi, cannot be loaded.\n"
        "  Received: FileNotFoundError: [Errno 2] No such file or directory: 'offset.txt'\n"
        "  Fix: Name every file that the model reads in the args: of its model.yaml, so that it is copied, too."
    )
    code = zoo_models.PYTORCH.replace("import torch\n", "import torch, no_such_package\n", 1)
    folder = zoo_models.write_pytorch(tmp_path / "p")
    (folder / "net.py").write_text("import no_such_package\n")
    text = problem(folder)
    assert text.startswith("Submodel 'm' (p), a model of pytorch, cannot be loaded.\n  Received: ImportError: ")
    assert text.endswith("\n  Fix: Install what 'no_such_package' is a part of.")


def test_class_labels(tmp_path):
    from sklearn.linear_model import LogisticRegression

    x, y = zoo_models.training_rows(7)
    estimator = LogisticRegression().fit(x, np.where(y[:, 0] > 0, "yes", "no"))
    folder = zoo_models.write_sklearn(tmp_path / "m", estimator=estimator)
    assert problem(folder) == (
        "Submodel 'm' (m) predicts no numbers, but class labels or other objects.\n"
        "  Expected: numbers\n"
        "  Received: <U3 for 'output'\n"
        "  Fix: Take the probabilities, predict_method: predict_proba in the args: of its model.yaml."
    )
    folder = zoo_models.write_custom(tmp_path / "n", code=zoo_models.CUSTOM.replace("return ", "return [None] * 3 # "))
    assert problem(folder).endswith("Expected: numbers\n  Received: object for 'output'")


@pytest.mark.parametrize(
    ("targets", "give", "text"),
    [
        (
            array((4,)),
            "a",
            "The schema of 'm' does not fit what submodel 'm' predicts for 'output'.\n"
            "  Expected: (2,), which the model gives\n"
            "  Received: (4,), which model.yaml says\n"
            "  Fix: Correct the targets of the schema in model.yaml.",
        ),
        (
            array((2,)),
            "a[:2]",
            "Submodel 'm' (m) does not predict row by row.\n"
            "  Expected: 3 rows for 3 rows\n"
            "  Received: 'output' of shape (2, 2)",
        ),
        (
            array((2,)),
            "a.sum()",
            "Submodel 'm' (m) does not predict row by row.\n"
            "  Expected: 3 rows for 3 rows\n"
            "  Received: 'output' of shape ()",
        ),
        (
            array((2,)),
            '{"p": a}',
            "Submodel 'm' (m) predicts other things than its schema says.\n"
            "  Expected: 'inputs' (2,), as array\n"
            "  Received: a dict of 'p'\n"
            "  Fix: Correct the targets of the schema in model.yaml.",
        ),
        (
            [array((2,), "p"), array((3,), "q")],
            "[a, b, a]",
            "Submodel 'm' (m) predicts other things than its schema says.\n"
            "  Expected: 'p' (2,) and 'q' (3,), as list\n"
            "  Received: a list of 3\n"
            "  Fix: Correct the targets of the schema in model.yaml.",
        ),
        (
            {"p": array((2,)), "q": array((3,))},
            "a",
            "Submodel 'm' (m) predicts other things than its schema says.\n"
            "  Expected: 'p' (2,) and 'q' (3,), as dict\n"
            "  Received: an array of shape (3, 2)\n"
            "  Fix: Correct the targets of the schema in model.yaml.",
        ),
        (
            array((2,)),
            "[a, b]",
            "Submodel 'm' (m) predicts other things than its schema says.\n"
            "  Expected: 'inputs' (2,), as array\n"
            "  Received: a list of 2: setting an array element",
        ),
    ],
)
def test_schemas_of_another_model(tmp_path, targets, give, text):
    inputs = [array((2,)), array((3,))]
    assert problem(pair(tmp_path / "m", "x", give, inputs, targets)).startswith(text)


def test_rows_of_another_length(tmp_path):
    folder = zoo_models.write_sklearn(tmp_path / "m", schema={"inputs": array((5,)), "targets": array((1,))})
    assert problem(folder) == (
        "The schema of 'm' does not fit what submodel 'm' takes as 'input'.\n"
        "  Expected: (7,), which it was fitted on\n"
        "  Received: (5,), which model.yaml says\n"
        "  Fix: Correct the inputs of the schema in model.yaml."
    )


def test_imports_when_it_predicts(tmp_path):
    code = zoo_models.CUSTOM.replace("import helper\n", "").replace("return ", "import helper\n            return ")
    assert problem(zoo_models.write_custom(tmp_path / "m", code=code)) == (
        "Submodel 'm' (m) imports a module when it predicts, and does not find it.\n"
        "  Received: No module named 'helper'\n"
        "  Fix: Import it at the top of the Python file, where its neighbours are found, or install it."
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("trainable", False),
        ("custom_objects", "x.py"),
        ("arch", "a.json"),
        ("outputs", ("dense",)),
        ("saved_backend", "theano"),
        ("stateless", True),
    ],
)
def test_options_of_keras_models(tmp_path, option, value):
    folder = zoo_models.write_custom(tmp_path / "m")
    assert problem(folder, **{option: value}) == (
        f"{option}= of submodel 'm' is for Keras models, and this is a model of another framework.\n"
        f"  Received: {option}={value!r}\n"
        "  Fix: Leave it out: such a model runs in the dataloader as it is."
    )


def test_options_of_models_in_memory(tmp_path):
    folder = zoo_models.write_custom(tmp_path / "m")
    assert problem(folder, shapes=(7,)) == (
        "shapes= of submodel 'm' is for estimators of scikit-learn and modules of PyTorch alone.\n"
        "  Fix: Leave it out: the source says what it takes."
    )
    assert problem(folder, method="predict") == (
        "method= of submodel 'm' is for estimators of scikit-learn alone.\n  Fix: Leave it out."
    )


# -- graphs ---------------------------------------------------------------------------------------


def test_a_graph_and_its_file(tmp_path):
    folder = zoo_models.write_custom(tmp_path / "zoo", name="x")
    graph = ks.Graph("g").add("m", folder)
    assert graph.spec.submodel("m").inputs == (Port("x", (7,), None),)
    said = yaml.safe_load(graph.to_yaml(tmp_path / "stitch.yaml").read_text())
    assert json.dumps(said["models"]) == '{"m": "zoo"}'
    assert ks.Graph.from_yaml(tmp_path / "stitch.yaml").spec == graph.spec
