"""Layers that old Keras computed otherwise for tensors of some shapes: refused there, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from repairs_files import called, floats, functional, given, layer, sequential, write_h5

from keras_stitch.errors import SourceError
from keras_stitch.models.keras_file import open_file


def dotted(folder: Path, *shape: int, version: str = "2.1.6", backend: str | None = "tensorflow") -> Path:
    said = called(layer("Dot", "dot", axes=1, normalize=False), ["a", "b"])
    inner = functional([given("a", *shape), given("b", *shape), said], ["a", "b"], ["dot"], name="inner")
    inner |= {"inbound_nodes": [[["x", 0, 0, {}], ["y", 0, 0, {}]]]}
    model = functional([given("x", *shape), given("y", *shape), inner], ["x", "y"], [["inner", 1, 0]])
    return write_h5(folder / "m.h5", model, {}, version=version, backend=backend)


@pytest.mark.parametrize("version", ["2.1.6", "2.2.4-tf"])
def test_dots_of_tensors_with_many_axes_on_tensorflow(tmp_path: Path, version: str) -> None:
    with pytest.raises(SourceError, match=r"'dot' is a Dot of tensors with more than 3 axes(.|\n)*\(None, 2, 3, 3\)"):
        open_file(dotted(tmp_path, 2, 3, 3, version=version))
    with pytest.raises(SourceError, match=r'say it: graph.add\(name, source, saved_backend="theano"\)'):
        open_file(dotted(tmp_path, 2, 3, 3, version=version, backend=None))


def test_other_dots(tmp_path: Path) -> None:
    x, y = floats(2, 3, 4), floats(2, 3, 4)
    found = open_file(dotted(tmp_path, 3, 4)).model([x, y])
    np.testing.assert_allclose(found, np.einsum("bij,bik->bjk", x, y), rtol=0, atol=1e-5)
    open_file(dotted(tmp_path, 2, 3, 3, backend="theano"))
    open_file(dotted(tmp_path, 2, 3, 3, version="2.3.1"))


@pytest.mark.parametrize("version", ["2.1.6", "2.2.4"])
@pytest.mark.parametrize(
    ("order", "bias"), [("channels_first", True), ("channels_first", False), ("channels_last", True)]
)
def test_biases_of_dense_layers_where_channels_come_first(tmp_path: Path, order: str, bias: bool, version: str) -> None:
    pool = layer("MaxPooling2D", "pool", pool_size=[1, 1], strides=[1, 1], padding="valid", data_format=order)
    pool["config"]["batch_input_shape"] = [None, 2, 2, 2]
    dense = layer("Dense", "dense", units=2, activation="linear", use_bias=bias)
    arrays = {"pool": [], "dense": [floats(2, 2), floats(2)][: 1 + bias]}
    path = write_h5(tmp_path / "m.h5", sequential(pool, dense), arrays, version=version)
    if bias and order == "channels_first" and version == "2.1.6":
        with pytest.raises(SourceError, match="'dense' is a Dense of a tensor with 4 axes, whose bias"):
            open_file(path)
    else:
        assert open_file(path).model.output_shape == (None, 2, 2, 2)
