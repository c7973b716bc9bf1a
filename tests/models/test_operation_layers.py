"""Layers in place of operations, and sums that Keras would add along the wrong axis."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from backends import only_on
from repairs_files import called, floats, functional, given, layer, write_h5

import keras_stitch as ks
from keras_stitch import keras_private
from keras_stitch.models.keras_file import open_file
from keras_stitch.models.save_keras import save_model
from keras_stitch.verify.equality import compare

ARCHIVE = Path(__file__).parents[1] / "repairs" / "operators.tar.xz"
AS_LAYERS = [
    *("concat", "expand_dims", "expand_dims_last", "graph.named", "graph.residual", "graph.input_alone", "matmul"),
    *("left", "right", "math.square", "math.tanh", "nn.elu", "nn.leaky_relu", "nn.relu6", "nn.silu", "nn.softmax_axis"),
    *("reduce.max", "reshape", "reshape_flat", "slice.new_axis", "slice.single", "squeeze"),
    *("slice.ellipsis_single", "stack", "transpose", "two.add", "two.maximum", "negative"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("operators")
    with tarfile.open(ARCHIVE) as archive:
        for name in AS_LAYERS:
            archive.extract(f"{name}.h5", folder, filter="data")
            archive.extract(f"{name}.npz", folder, filter="data")
    return folder


def operations(model: keras.Model) -> list[str]:
    models = [one for one in keras_private.layers_within(model) if isinstance(one, keras.Model)]
    made = [call.operation for one in models for call in keras_private.calls(one)]
    return [type(one).__name__ for one in made if not isinstance(one, keras.Layer)]


@pytest.mark.slow
@pytest.mark.parametrize("name", AS_LAYERS)
def test_what_an_h5_file_can_hold(place: Path, tmp_path: Path, name: str) -> None:
    """What ``tf_keras`` predicted, after the stitched model was in an .h5 file, which takes no operations."""
    graph = ks.Graph("g").add("m", place / f"{name}.h5")
    assert not operations(graph.build())
    for number, port in enumerate(graph.spec.submodel("m").outputs):
        graph.add_output(f"output{number}", f"m.{port.name}")
    save_model(graph.build(), tmp_path / "m.h5")
    model = keras.saving.load_model(tmp_path / "m.h5", compile=False)
    with np.load(place / f"{name}.npz") as arrays:
        inputs = [arrays[key] for key in sorted(arrays) if key.startswith("input")]
        found = model(inputs if len(inputs) > 1 else inputs[0], training=False)
        for key, value in (found if isinstance(found, dict) else {"output0": found}).items():
            assert compare(np.asarray(value), arrays[key]).equal


SUM = {"class_name": "TFOpLambda", "config": {"name": "sum", "function": "math.add"}}


@only_on("tensorflow", why="the fault is of its backend")
@pytest.mark.parametrize("kind", ["function", "layer"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_number_for_each_row_is_no_bias(tmp_path: Path, kind: str, turned: bool) -> None:
    """In direct calls of batches as large as an axis, where Keras adds it along that axis."""
    names = ["y", "x"] if turned else ["x", "y"]
    if kind == "layer":
        said = called(layer("Add", "sum"), names)
    else:
        said = {**SUM, "name": "sum", "inbound_nodes": [[names[0], 0, 0, {"y": [names[1], 0, 0]}]]}
    model = functional([given("x", 4, 6), given("y", 1, 1), said], ["x", "y"], ["sum"], kind="Functional")
    found = open_file(write_h5(tmp_path / "m.h5", model, {}, version="2.15.0")).model
    assert not operations(found)
    for batch in (1, 3, 4, 6):
        x, y = floats(batch, 4, 6), floats(batch, 1, 1)
        assert compare(np.asarray(found([x, y])), x + y).equal


def built(*calls: tuple[str, dict[str, Any]], mask: bool = False) -> dict[str, Any]:
    """A model of an embedding and of functions one after another."""
    embedding = layer("Embedding", "e", input_dim=5, output_dim=3, mask_zero=mask)
    layers, before = [given("x", 7, dtype="int32"), called(embedding, "x")], "e"
    for number, (function, arguments) in enumerate(calls):
        name = f"f{number}"
        node = [[before, 0, 0, arguments]]
        layers.append(
            {"class_name": "TFOpLambda", "config": {"name": name, "function": function}, "name": name}
            | {"inbound_nodes": node}
        )
        before = name
    return functional(layers, ["x"], [before], kind="Functional")


def test_operations_stay_where_masks_begin(tmp_path: Path) -> None:
    table = floats(5, 3)
    for mask in (False, True):
        said = built(("math.multiply", {"y": 2.0}), ("nn.relu", {}), mask=mask)
        path = write_h5(tmp_path / "m.h5", said, {"e": [("e/embeddings:0", table)]}, version="2.15.0")
        model = open_file(path).model
        left = [kind for kind in operations(model) if kind != "NotEqual"]  # which makes the mask
        assert left == (["Multiply", "Relu"] if mask else [])
        x = np.array([[0, 1, 2, 3, 4, 0, 1]])
        assert compare(np.asarray(model(x)), np.maximum(2 * table[x], 0)).equal
