"""Operations of TensorFlow's graphs between layers, as Keras 2.4 wrote them: plain Keras 3 predicts the same.

``graph_operation_models.py`` made the files, with ``tf_keras``; they are in ``graph_operations.tar.xz``, which
``UPDATE_GOLDEN=1`` writes anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

import keras_stitch as ks
from keras_stitch.errors import SourceError
from keras_stitch.models.save_keras import save_model
from keras_stitch.repairs.tensorflow_ops import OPERATIONS
from keras_stitch.verify.equality import compare

MAKER = Path(__file__).parents[1] / "helpers" / "graph_operation_models.py"
ARCHIVE = Path(__file__).with_name("graph_operations.tar.xz")

if "UPDATE_GOLDEN" in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([sys.executable, MAKER, place], env=os.environ | {"TF_USE_LEGACY_KERAS": "1"}, check=True)
        (Path(place) / "made_by.sha256").write_text(hashlib.sha256(MAKER.read_bytes()).hexdigest())
        with tarfile.open(ARCHIVE, "w:xz") as archive:
            for path in sorted(Path(place).iterdir()):
                archive.add(path, path.name)

with tarfile.open(ARCHIVE) as archive:
    NAMES = sorted(name.removesuffix(".h5") for name in archive.getnames() if name.endswith(".h5"))
QUICK = ("arithmetic", "concat", "slice.new", "split")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph_operations")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in NAMES]
)
def test_an_operation(place: Path, tmp_path: Path, name: str) -> None:
    graph = ks.Graph("g").add("m", place / f"{name}.h5")
    for number, port in enumerate(graph.spec.submodel("m").outputs):
        graph.add_output(f"output{number}", f"m.{port.name}")
    save_model(graph.build(), tmp_path / "m.keras")
    model = keras.saving.load_model(tmp_path / "m.keras", compile=False)
    with np.load(place / f"{name}.npz") as arrays:
        found = model(arrays["input0"], training=False)
        found = found if isinstance(found, dict) else {"output0": found}
        assert found.keys() == {key for key in arrays if key != "input0"}
        for key, array in found.items():
            array = np.asarray(array)
            assert array.dtype == arrays[key].dtype
            assert compare(array, arrays[key]).equal


def definitions(path: Path) -> list[dict[str, Any]]:
    with h5py.File(path) as file:
        layers = json.loads(file.attrs["model_config"])["config"]["layers"]
    return [layer["config"]["node_def"] for layer in layers if layer["class_name"] == "TensorFlowOpLayer"]


def test_every_operation_has_a_file(place: Path) -> None:
    assert (place / "made_by.sha256").read_text() == hashlib.sha256(MAKER.read_bytes()).hexdigest()
    found = {definition["op"] for name in NAMES for definition in definitions(place / f"{name}.h5")}
    assert OPERATIONS.keys() - found == {"Add"}  # which is AddV2 as it was before TensorFlow 1.14


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"op": "MatrixInverse"}, r"tf_op_layer_Relu \(TensorFlowOpLayer MatrixInverse\)"),
        ({"op": "Cast", "attr": {"DstT": {"type": "DT_STRING"}}}, r"TensorFlowOpLayer Cast with DstT={'type': 'DT_STR"),
        (None, r"TensorFlowOpLayer of TensorFlow 2\.1 or older\)"),
    ],
)
def test_what_is_not_known_is_named(place: Path, tmp_path: Path, change: dict[str, Any] | None, text: str) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes((place / "nn.relu.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        said = json.loads(file.attrs["model_config"])
        for layer in said["config"]["layers"]:
            if layer["class_name"] == "TensorFlowOpLayer":
                layer["config"]["node_def"] = "packed" if change is None else layer["config"]["node_def"] | change
        file.attrs["model_config"] = json.dumps(said)
    with pytest.raises(SourceError, match=text):
        ks.Graph("g").add("m", path)
