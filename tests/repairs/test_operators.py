"""Functions of TensorFlow between the layers of Keras 2, one by one and in graphs: plain Keras 3 predicts the same.

``operator_models.py`` made the files, with ``tf_keras``; they are in ``operators.tar.xz``, which ``UPDATE_GOLDEN=1``
writes anew. Of a model that is there as ``.h5`` and ``.keras``, one is tried, the other one of the next model;
``OLD_FILES=all`` tries both.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import traceback
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import warm_python
from backends import only_on
from old_keras import ALL_FILES

import keras_stitch as ks
from keras_stitch.errors import SourceError
from keras_stitch.models.save_keras import save_model
from keras_stitch.repairs import tensorflow_functions
from keras_stitch.verify.equality import compare

HELPERS = Path(__file__).parents[1] / "helpers"
ARCHIVE = Path(__file__).with_name("operators.tar.xz")
MAKER = HELPERS / "operator_models.py"
APPLICATIONS = (
    *("ConvNeXtTiny", "DenseNet121", "EfficientNetV2B0", "MobileNetV3Large", "MobileNetV3Small", "NASNetMobile"),
    "RegNetX002",
)


def make(folder: Path, *options: str) -> None:
    environment = os.environ | {"TF_USE_LEGACY_KERAS": "1"}
    done = subprocess.run([sys.executable, MAKER, folder, *options], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def digest() -> str:
    return hashlib.sha256(MAKER.read_bytes()).hexdigest()


def index() -> dict[str, dict[str, str | None]]:
    """For each model and ending why there is no file, or ``None``."""
    with tarfile.open(ARCHIVE) as archive:
        return json.load(archive.extractfile("index.json"))


if "UPDATE_GOLDEN" in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        make(Path(place))
        (Path(place) / "made_by.sha256").write_text(digest())
        with tarfile.open(ARCHIVE, "w:xz") as archive:
            for path in sorted(
                Path(place).iterdir(), key=lambda path: (path.suffix != ".json", path.suffix, path.name)
            ):
                archive.add(path, path.name)

INDEX = index()
FILES = [
    f"{name}.{ending}"
    for number, (name, endings) in enumerate(INDEX.items())
    for there in [[ending for ending, missing in endings.items() if missing is None]]
    for ending in (there if ALL_FILES else [there[number % len(there)]])
]
# Those of `make test`.
QUICK = {
    "two.operators",
    "slice.middle",
    "reshape_rows",
    "split",
    "where",
    "graph.nested",
    "graph.masked",
    "composed.0",
}


def is_quick(file: str) -> bool:
    return file.rpartition(".")[0] in QUICK


@dataclass
class Tried:
    """What became of a file: the repairs that it needed, what plain Keras predicts, or why not."""

    repairs: tuple[str, ...] = ()
    found: dict[str, np.ndarray] | None = None
    error: str = ""


def stitch(place: Path, file: str, target: Path) -> tuple[str, ...]:
    graph = ks.Graph("stitched").add("part", place / file)
    part = graph.spec.submodels[0]
    for number, port in enumerate(part.outputs):
        graph.add_output(f"output{number:02}", f"part.{port.name}")
    save_model(graph.build(), target)
    return part.repairs


def reload(folder: Path, files: dict[str, Path]) -> dict[str, dict[str, np.ndarray]]:
    """What plain Keras predicts in a process of its own, by file; the files are with their inputs."""
    jobs = [
        {"model": str(folder / f"{file}.keras"), "inputs": str(inputs), "arrays": str(folder / f"{file}.npz")}
        for file, inputs in files.items()
    ]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    done = warm_python.run([sys.executable, HELPERS / "plain_reloading.py", folder / "jobs.json"])
    assert done.returncode == 0, done.stderr[-2000:]
    found = {}
    for file in files:
        with np.load(folder / f"{file}.npz") as arrays:
            assert "error" not in arrays, f"{file}: {arrays['error']}"
            found[file] = dict(arrays)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the files."""
    folder = tmp_path_factory.mktemp("operators")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def tried(request: pytest.FixtureRequest, place: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tried]:
    """All chosen files, stitched and saved here, and loaded by plain Keras in one other process."""
    folder = tmp_path_factory.mktemp("stitched")
    items = [item for item in request.session.items if getattr(item, "originalname", "") == "test_a_function"]
    found: dict[str, Tried] = {}
    for file in dict.fromkeys(item.callspec.params["file"] for item in items if item.path == request.path):
        try:
            found[file] = Tried(stitch(place, file, folder / f"{file}.keras"))
        except Exception:
            found[file] = Tried(error=traceback.format_exc())
    good = {file: place / f"{file.rpartition('.')[0]}.npz" for file, one in found.items() if not one.error}
    for file, arrays in reload(folder, good).items():
        found[file].found = arrays
    return found


@pytest.mark.parametrize(
    "file", [pytest.param(file, marks=[] if is_quick(file) else pytest.mark.slow) for file in FILES]
)
def test_a_function(file: str, place: Path, tried: dict[str, Tried]) -> None:
    assert not tried[file].error, tried[file].error
    check(place / f"{file.rpartition('.')[0]}.npz", tried[file].found)
    assert any(repair.startswith("tensorflow-functions") for repair in map(str, tried[file].repairs))


def check(stored: Path, found: dict[str, np.ndarray]) -> None:
    with np.load(stored) as arrays:
        expected = [arrays[f"output{n}"] for n in range(sum(name.startswith("output") for name in arrays.files))]
    outputs = [found[name] for name in sorted(found)]
    assert [output.dtype for output in outputs] == [output.dtype for output in expected]
    for one, other in zip(outputs, expected, strict=True):
        assert compare(one, other).equal


@pytest.mark.slow
def test_the_files_are_what_keras_2_makes(place: Path, tmp_path: Path) -> None:
    assert (place / "made_by.sha256").read_text() == digest(), "UPDATE_GOLDEN=1 makes them again"
    make(tmp_path, r"two\.add|graph\.nested|composed\.1$")
    for name in ("two.add", "graph.nested", "composed.1"):
        with np.load(tmp_path / f"{name}.npz") as now, np.load(place / f"{name}.npz") as stored:
            assert now.files == stored.files
            assert all(np.allclose(now[key], stored[key], rtol=0, atol=1e-6) for key in now.files)


def test_every_function_has_a_file(place: Path) -> None:
    called = set()
    for name, endings in INDEX.items():
        if endings["h5"] is None:
            called |= set(functions(place / f"{name}.h5"))
    assert called == set(tensorflow_functions.FUNCTIONS)


@pytest.mark.parametrize(("name", "same"), tensorflow_functions._ALIASES.items())
def test_other_names(name: str, same: str) -> None:
    assert name not in tensorflow_functions.FUNCTIONS and same in tensorflow_functions.FUNCTIONS
    import tensorflow as tf

    places = [tf, *(getattr(tf, one) for one in ("math", "nn", "linalg"))]
    assert any(hasattr(place, name.rpartition(".")[2]) for place in places)


def functions(path: Path) -> list[str]:
    from keras_stitch.repairs.architecture import walk
    from keras_stitch.repairs.read_file import read_h5

    layers = [layer for _, layer in walk(read_h5(path).model)]
    return [layer["config"]["function"].removeprefix("compat.v1.") for layer in layers if "function" in layer["config"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICATIONS if ALL_FILES else ["MobileNetV3Small"])
def test_an_application(name: str, tmp_path: Path) -> None:
    """With random weights; ConvNeXt has a layer of its own, too."""
    make(tmp_path, "--application", name)
    for ending in ("h5", "keras"):
        stitch(tmp_path, f"{name}.{ending}", tmp_path / f"{name}.{ending}.keras")
        files = {f"{name}.{ending}": tmp_path / f"{name}.npz"}
        check(tmp_path / f"{name}.npz", reload(tmp_path, files)[f"{name}.{ending}"])


def test_what_has_no_counterpart_is_refused_by_name(place: Path) -> None:
    """All of a file at once."""
    with pytest.raises(SourceError) as error:
        ks.Graph("g").add("part", place / "refused.h5")
    lost = ", of which Keras 2 writes no file with all tensors"
    assert str(error.value) == (
        f"'{place / 'refused.h5'}' cannot be loaded without changing what it predicts. It calls functions of "
        f"TensorFlow between its layers that have no counterpart in Keras 3 here: tf.__operators__.eq "
        f"(tf.__operators__.eq{lost}), tf.math.multiply (tf.math.multiply with a size that is computed), tf.einsum "
        f"(tf.einsum{lost}), tf.reshape (tf.reshape to a shape that is computed), tf.linalg.inv (tf.linalg.inv), "
        "tf.image.resize (tf.image.resize with method='area'), tf.tile (tf.tile with a size that is computed), "
        "tf.split (tf.split with a size that is computed).\n"
        "  Fix: Rebuild these steps with Keras layers in the model that made the file, and save it again."
    )


def test_a_shape_that_something_else_takes(tmp_path: Path) -> None:
    x = {"class_name": "InputLayer", "name": "x", "config": {"name": "x", "batch_input_shape": [None, 3]}}
    shape = {"class_name": "TFOpLambda", "name": "tf.shape", "config": {"name": "tf.shape", "function": "shape"}}
    x["inbound_nodes"], shape["inbound_nodes"] = [], [["x", 0, 0, {}]]
    config = {"name": "m", "layers": [x, shape], "input_layers": [["x", 0, 0]], "output_layers": [["tf.shape", 0, 0]]}
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
        file.create_group("model_weights").attrs["layer_names"] = []
    with pytest.raises(SourceError, match=r"no counterpart in Keras 3 here: tf\.shape \(tf\.shape outside of tf\.resh"):
        ks.Graph("g").add("m", tmp_path / "m.h5")


@only_on("tensorflow", why="the numbers of one process are compared")
@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_operations_of_keras_3(ending: str, tmp_path: Path) -> None:
    """An .h5 file of Keras 3 names them as if they were layers, some by the names of layers."""
    x, y = keras.Input((4, 6), name="x"), keras.Input((4, 6), name="y")
    z = (keras.layers.Dense(6)(x) * 2.0 + y)[:, 1:3]
    z = keras.layers.BatchNormalization()(keras.ops.concatenate([z, keras.ops.relu(z)], -1))
    inside = keras.Input((2, 12))
    mean = keras.ops.mean(keras.layers.Dense(3)(inside), axis=1) * 0.5
    model = keras.Model([x, y], keras.Model(inside, mean)(keras.layers.Add()([z, z])))
    model.save(tmp_path / f"m.{ending}")
    graph = ks.Graph("g").add("m", tmp_path / f"m.{ending}")
    assert [str(one).split(" ")[0] for one in graph.spec.submodels[0].repairs] == ["operations"] * (ending == "h5")
    given = [np.random.default_rng(seed).normal(size=(3, 4, 6)).astype("float32") for seed in (0, 1)]
    assert compare(np.asarray(graph.build()(given)), np.asarray(model(given))).equal
