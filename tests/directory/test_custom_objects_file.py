from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import kipoi_runner
import numpy as np
import pytest
import warm_python
import yaml
from kipoi_cases import load_objects
from toy_objects import write_layers, write_package

import keras_stitch as ks
from keras_stitch.errors import SaveError, SourceError, StitchError
from keras_stitch.files.read_files import sha256
from keras_stitch.kipoi.model_directory import read_directory
from keras_stitch.models.custom_objects import read

OBJECTS = """
import keras


@keras.saving.register_keras_serializable(package="zoo")
class Times(keras.layers.Layer):
    def call(self, x):
        return x * FACTOR

    def compute_output_shape(self, shape):
        return shape


def twice(x):
    return 2 * x


OBJECTS = {"Times": Times, "twice": twice}
"""


def write_part(folder: Path, factor: int = 3) -> Path:
    folder.mkdir()
    (folder / "custom.py").write_text(OBJECTS.replace("FACTOR", str(factor)))
    objects = load_objects(folder / "custom.py")
    inner = keras.Sequential([keras.Input((2, 3)), keras.layers.TimeDistributed(objects["Times"](name="times"))])
    x = keras.Input((2, 3), name="x")
    y = keras.layers.Dense(1, activation=objects["twice"], name="dense")(inner(x))
    model = keras.Model(x, y)
    model.save(folder / "model.keras")
    array = {"name": "x", "shape": "(2, 3)", "doc": "x"}
    description = {
        "defined_as": "kipoi.model.KerasModel",
        "args": {"weights": "model.keras", "custom_objects": "custom.py"},
        "info": {"doc": "A part with a layer of its own."},
        "schema": {"inputs": array, "targets": {"name": "y", "shape": "(2, 1)", "doc": "y"}},
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(description))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"format": "h5"}, {"hosting": True}])
def test_custom_objects_of_parts_are_carried(tmp_path, options):
    part = write_part(tmp_path / "part")
    target = tmp_path / "composed"
    if "hosting" in options:
        options = {"hosting": target.as_uri()}
    graph = ks.Graph("composed")
    graph.add("m", part)
    graph.add("n", part)
    graph.add_input("x", ["m.x", "n.x"])
    directory = graph.save(target, **options)
    shutil.rmtree(part)
    assert yaml.safe_load((directory / "model.yaml").read_text())["args"]["custom_objects"] == (
        "model_files/custom_objects.py"
    )
    assert "class Times" in (directory / "model_files/custom_objects.py").read_text()
    kipoi_runner.kipoi_test(directory)
    assert set(read_directory(directory).customs.objects) == {"Times", "twice"}


def test_two_different_objects_of_one_name(tmp_path):
    graph = ks.Graph("composed")
    graph.add("m", write_part(tmp_path / "a"))
    graph.add("n", write_part(tmp_path / "b", factor=5))
    graph.add_input("x", ["m.x", "n.x"])
    with pytest.raises(StitchError) as error:
        graph.save(tmp_path / "composed")
    text = str(error.value)
    assert text.startswith(
        "'m' and 'n' need two different custom objects called 'zoo>Times', and a saved model has one"
    )
    assert re.search(r"Received: one of '.*/a/custom.py', line \d+, one of '.*/b/custom.py', line \d+\n", text)
    assert not (tmp_path / "composed").exists()


def chain(tmp_path: Path, **given: Any) -> ks.Graph:
    """Models of one custom layer each, ``Times3`` for ``m3``, in a row; ``given`` are their custom objects."""
    graph, before = ks.Graph("composed"), None
    for name, custom_objects in given.items():
        item = next(iter(read(custom_objects, "it").objects.values()))
        path = tmp_path / f"{name}.keras"
        keras.Sequential([keras.Input((2,), name="x"), item(name="own"), keras.layers.Dense(2)]).save(path)
        graph.add(name, path, custom_objects=custom_objects)
        if before is not None:
            graph.connect(before, name)
        before = name
    return graph


def write_own(path: Path, name: str, before: str = "") -> Path:
    """A Python file with one custom layer."""
    path.write_text(
        f"import keras\n{before}\n\nclass {name}(keras.layers.Layer):\n    def call(self, x):\n"
        f"        return 3 * x\n\n\nOBJECTS = {{'{name}': {name}}}\n"
    )
    return path


LOAD = """
import runpy, sys, warnings, keras
warnings.simplefilter("error")
objects = runpy.run_path("composed/model_files/custom_objects.py")["OBJECTS"]
model = keras.models.load_model("composed/model_files/model.keras", custom_objects=objects)
assert "keras_stitch" not in sys.modules
print(sorted(objects))
"""


def loaded_by_keras(folder: Path, python_path: str = "") -> str:
    """What plain Keras is given to load the directory in a folder, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": python_path}
    done = warm_python.run([sys.executable, "-c", LOAD], folder, environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.mark.slow
def test_a_file_given_to_add(tmp_path):
    file = write_own(tmp_path / "layers.py", "Scale")
    directory = chain(tmp_path, m=file, n=str(file)).save(tmp_path / "composed")
    content = file.read_text()
    file.unlink()
    assert (directory / "model_files/custom_objects.py").read_text() == content
    assert not (directory / "model_files/custom_objects").exists()
    assert yaml.safe_load((directory / "stitch.yaml").read_text())["models"]["m"]["custom_objects"] == "layers.py"
    kipoi_runner.kipoi_test(directory)
    kipoi_runner.in_process(directory)  # from another working directory
    assert loaded_by_keras(tmp_path) == "['Scale']"


@pytest.mark.slow
def test_several_files(tmp_path):
    graph = chain(
        tmp_path, m=write_own(tmp_path / "a.py", "Scale"), n=write_own(tmp_path / "b.py", "Shift", "import numpy\n")
    )
    directory = graph.save(tmp_path / "composed", format="h5")
    assert (directory / "model_files/custom_objects.py").read_text() == MERGED
    assert sorted(path.name for path in (directory / "model_files/custom_objects").iterdir()) == ["of_m.py", "of_n.py"]
    kipoi_runner.kipoi_test(directory)
    kipoi_runner.in_process(directory)
    graph.save(tmp_path / "composed", overwrite=True)
    assert loaded_by_keras(tmp_path) == "['Scale', 'Shift']"


MERGED = """\
\"\"\"The custom objects of the stitched model: what Keras does not have, by name.\"\"\"

import importlib.util
import inspect
from pathlib import Path


def load(name):
    \"\"\"Returns the module in a file of the folder custom_objects.\"\"\"
    # Kipoi gives this module no __file__.
    folder = Path(inspect.getfile(load)).resolve().with_name("custom_objects")
    spec = importlib.util.spec_from_file_location("custom_objects", folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


of_m = load("of_m")
of_n = load("of_n")

OBJECTS = {
    "Scale": of_m.OBJECTS["Scale"],
    "Shift": of_n.OBJECTS["Shift"],
}
"""

IMPORTED = """\
\"\"\"The custom objects of the stitched model: what Keras does not have, by name.\"\"\"

import {module}

OBJECTS = {{
    "Times": {module}.Times,
}}
"""


@pytest.mark.slow
def test_an_installed_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path / "site")
    module = write_package(tmp_path / "site", "zoo_installed")
    for given in (f"{module}:Times", {"Times": read(module, "it").objects["Times"]}):
        directory = chain(tmp_path, m=given).save(tmp_path / "composed", overwrite=True)
        assert (directory / "model_files/custom_objects.py").read_text() == IMPORTED.format(module=module)
        needed = yaml.safe_load((directory / "model.yaml").read_text())["dependencies"]["pip"]
        assert "zoo_installed>=1.2.3" in needed and needed.count("zoo_installed>=1.2.3") == 1
    kipoi_runner.kipoi_test(directory, python_path=str(tmp_path / "site"))
    assert loaded_by_keras(tmp_path, str(tmp_path / "site")) == "['Times']"


def test_a_file_and_a_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path / "site")
    module = write_package(tmp_path / "site", "zoo_beside", listed='OBJECTS = {"Times": Times}\n')
    file = write_own(tmp_path / "layers.py", "Scale", f"import {module}\n")
    directory = chain(tmp_path, m=file, n=module).save(tmp_path / "composed")
    text = (directory / "model_files/custom_objects.py").read_text()
    assert f'    "Times": {module}.OBJECTS["Times"],\n' in text and "\n\nimport zoo_beside.layers\n\n\ndef load" in text
    kipoi_runner.in_process(directory)
    options = ["--isolated", "--line-length", "120", str(directory / "model_files/custom_objects.py")]
    for command in (["format", "--check", "--diff"], ["check", "--select", "E,W,F,I,B,C4,RUF,SIM,UP"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *options], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


def test_a_model_in_memory_of_an_installed_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path / "site")
    times = read(write_package(tmp_path / "site", "zoo_in_memory"), "it").objects["Times"]
    graph = ks.Graph("composed").add("m", keras.Sequential([keras.Input((2,), name="x"), times()]))
    graph.add("n", times()).connect("m", "n")
    directory = graph.save(tmp_path / "composed")
    assert "zoo_in_memory.layers.Times" in (directory / "model_files/custom_objects.py").read_text()


def test_a_loose_module_is_copied(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    write_own(tmp_path / "zoo_loose.py", "Scale")
    directory = chain(tmp_path, m="zoo_loose:Scale").save(tmp_path / "composed")
    assert "of_m.Scale" in (directory / "model_files/custom_objects.py").read_text()
    kipoi_runner.in_process(directory)


def test_a_saved_name_that_is_not_the_key(tmp_path):
    """What a file lists as Other, Keras saves as Scale."""
    file = write_own(tmp_path / "layers.py", "Scale")
    file.write_text(file.read_text().replace("'Scale': Scale", "'Other': Scale"))
    directory = chain(tmp_path, m=file).save(tmp_path / "composed")
    assert '"Scale": of_m.OBJECTS["Other"]' in (directory / "model_files/custom_objects.py").read_text()
    kipoi_runner.in_process(directory)


def test_files_that_register_one_name(tmp_path):
    graph = ks.Graph("composed")
    for name, needed in (("m", "Times"), ("n", "Plus")):
        file = write_layers(tmp_path / f"{name}.py", factor=len(needed))
        item = read(file, "it").objects[needed]
        keras.Sequential([keras.Input((2,), name="x"), item(name="own")]).save(tmp_path / f"{name}.keras")
        graph.add(name, tmp_path / f"{name}.keras", custom_objects=file)
    with pytest.raises(SaveError) as error:
        graph.connect("m", "n").save(tmp_path / "composed")
    assert "need two different custom objects called 'zoo>Plus'" in str(error.value)


def test_files_that_cannot_be_copied(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "zoo_helper.py").write_text("")
    file = write_own(tmp_path / "layers.py", "Scale", "import zoo_helper\n")
    graph = chain(tmp_path, m=file)
    with pytest.raises(SaveError) as error:
        graph.save(tmp_path / "composed")
    assert str(error.value) == (
        f"The custom objects of '{file}' import 'zoo_helper', which is in no installed package, so whoever downloads "
        "the directory would not have it.\n"
        "  Fix: Put both into one file, or what is imported into a package."
    )
    before = sha256(file)
    write_own(file, "Scale")
    with pytest.raises(SourceError) as error:
        graph.save(tmp_path / "composed")
    assert str(error.value) == (
        f"'{file}' has changed since it was added.\n  Expected: sha256 {before}\n  Received: sha256 {sha256(file)}\n"
        "  Fix: Add it to a new Graph."
    )
    assert not (tmp_path / "composed").exists()


@keras.saving.register_keras_serializable(package="mine")
class Mine(keras.layers.Layer):
    def call(self, x):
        return x

    def compute_output_shape(self, shape):
        return shape


@keras.saving.register_keras_serializable(package="mine")
def mine(x):
    return x


@pytest.mark.parametrize(
    ("layers", "name", "where"),
    [
        ([Mine(name="l")], "mine>Mine", ", in its layer 'l'"),
        ([keras.layers.TimeDistributed(Mine(name="l"), name="t")], "mine>Mine", ", in its layer 't/l'"),
        ([keras.Sequential([Mine(name="l")], name="s")], "mine>Mine", ", in its layer 's/l'"),
        ([keras.layers.Dense(2, activation=mine, name="d")], "mine>mine", ", in its layer 'd'"),
    ],
)
def test_custom_objects_that_no_file_has(tmp_path, layers, name, where):
    graph = ks.Graph("composed")
    graph.add("m", keras.Sequential([keras.Input((2, 3)), *layers]))
    with pytest.raises(SaveError) as error:
        graph.save(tmp_path / "composed")
    assert str(error.value) == (
        f"The submodel 'm' needs '{name}'{where}, which is not in Keras: whoever downloads the directory could not "
        "load it.\n"
        "  Expected: classes and functions of Keras, of an installed package, or of a Python file with a dict OBJECTS\n"
        '  Fix: Put it into such a file, and give that: graph.add("m", ..., custom_objects="layers.py").'
    )
    assert list(tmp_path.iterdir()) == []


def test_layers_and_operations_of_keras_are_no_custom_objects(tmp_path):
    x = keras.Input((4, 3))
    y = keras.layers.Bidirectional(keras.layers.GRU(2, kernel_regularizer="l2"))(x)
    y = keras.ops.relu(y) + 1
    y = keras.layers.Dense(2, activation=keras.activations.gelu, kernel_constraint=keras.constraints.NonNeg())(y)
    graph = ks.Graph("composed")
    graph.add("m", keras.Model(x, keras.layers.PReLU()(y)))
    graph.add("n", keras.layers.Dense(1))
    graph.connect("m", "n")
    found = kipoi_runner.in_process(graph.save(tmp_path / "composed"))
    assert np.isfinite(found[""]).all()
