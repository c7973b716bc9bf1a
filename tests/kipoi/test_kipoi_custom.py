from __future__ import annotations

import shutil
from pathlib import Path

import keras
import kipoi_runner
import numpy as np
import pytest
import yaml
from kipoi_cases import load_objects

import keras_stitch as ks
from keras_stitch.errors import SaveError, StitchError
from keras_stitch.kipoi import read_directory

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
    assert set(read_directory(directory).custom_objects) == {"Times", "twice"}


def test_two_files_of_custom_objects(tmp_path):
    graph = ks.Graph("composed")
    graph.add("m", write_part(tmp_path / "a"))
    graph.add("n", write_part(tmp_path / "b", factor=5))
    graph.add_input("x", ["m.x", "n.x"])
    with pytest.raises(StitchError) as error:
        graph.save(tmp_path / "composed")
    assert str(error.value) == (
        "The submodels m and n have custom objects in different files, and Kipoi takes one.\n"
        "  Received: 'a/custom.py', 'b/custom.py'\n"
        "  Fix: Put all of their OBJECTS into one file, and let each of the directories have a copy of it."
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
        "  Expected: classes and functions of Keras, or of the file that a Kipoi directory names for them\n"
        "  Fix: Put the submodel into a Kipoi directory whose model.yaml says args: custom_objects: <file>, a Python "
        "file with a dict OBJECTS, and add that directory."
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
