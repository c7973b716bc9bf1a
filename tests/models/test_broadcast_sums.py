"""Sums of tensors of different shapes, as Keras' TensorFlow backend may take one of them for a bias."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from backends import only_on
from repairs_files import called, floats, functional, given, layer, write_h5

from keras_stitch.errors import SourceError
from keras_stitch.models.broadcast_sums import may_go_wrong
from keras_stitch.models.keras_file import open_file
from keras_stitch.verify.equality import compare


@only_on("tensorflow", why="the fault is of its backend")
def test_what_keras_adds_along_the_wrong_axis() -> None:
    """Tensors of three axes with sizes of 1 to 3, and biases, in batches of 1 to 3 rows."""
    shapes = [(None, *rest) for rest in itertools.product((1, 2, 3), repeat=2)] + [(3,), (3, 1), (2, 1), (1, 3)]
    for one, other in itertools.product(shapes[:9], shapes):
        if any(a != b and 1 not in (a, b) for a, b in zip(one[::-1], other[::-1], strict=False)):
            continue
        wrong = False
        for batch in (1, 2, 3):
            x, y = (floats(*(batch if size is None else size for size in shape)) for shape in (one, other))
            wrong |= not _adds(x, y)
        assert may_go_wrong(one, other) == wrong, (one, other)


def _adds(x: np.ndarray, y: np.ndarray) -> bool:
    try:
        found = np.asarray(keras.ops.add(x, y))
    except Exception:
        return False
    return found.shape == (x + y).shape and bool(np.allclose(found, x + y))


def function(name: str, one: str, other: Any) -> dict[str, Any]:
    said = {"class_name": "TFOpLambda", "config": {"name": name, "function": "math.add"}, "name": name}
    return said | {"inbound_nodes": [[one, 0, 0, {"y": other}]]}


COLUMN = [[1.0], [2.0], [3.0], [4.0]]
SUMS = {
    "functions": (lambda x, y: function("sum", x, [y, 0, 0]), lambda x, y: x + y),
    "numbers": (lambda x, y: function("sum", x, COLUMN), lambda x, y: x + np.array(COLUMN, "float32")),
    "layer": (lambda x, y: called(layer("Add", "sum"), [x, y]), lambda x, y: x + y),
    "mean": (lambda x, y: called(layer("Average", "sum"), [x, y]), lambda x, y: (x + y) / 2),
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("kind", SUMS)
def test_columns_are_no_biases(tmp_path: Path, kind: str, mask: bool, turned: bool) -> None:
    """Also where operations stay, since masks begin somewhere in the model."""
    make, expected = SUMS[kind]
    names = ["y", "x"] if turned and kind != "numbers" else ["x", "y"]
    masking = [called(layer("Masking", "m", mask_value=9.0), "y")] if mask else []
    ends = ["sum", *(["m"] if mask else [])]
    model = functional([given("x", 4, 4), given("y", 4, 1), make(*names), *masking], ["x", "y"], ends)
    model["class_name"] = "Functional"
    found = open_file(write_h5(tmp_path / "m.h5", model, {}, version="2.15.0")).model
    for batch in (1, 2, 4):
        x, y = floats(batch, 4, 4), floats(batch, 4, 1)
        assert compare(np.asarray(found([x, y])[0] if mask else found([x, y])), expected(x, y)).equal


def test_a_bias_along_another_axis_is_refused(tmp_path: Path) -> None:
    said = layer("EinsumDense", "e", equation="abc,cd->abd", output_shape=[4, 4], bias_axes="b")
    path = write_h5(
        tmp_path / "m.h5",
        functional([given("x", 4, 3), called(said, "x")], ["x"], ["e"], kind="Functional"),
        {"e": [("e/kernel:0", floats(3, 4)), ("e/bias:0", floats(4, 1))]},
        version="2.15.0",
    )
    with pytest.raises(
        SourceError, match=r"may add the bias of layer 'e' in .* along the wrong axis\.\n(.*\n)*.*\(4, 1\)"
    ):
        open_file(path)
