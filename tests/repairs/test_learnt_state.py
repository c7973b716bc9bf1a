"""What layers learnt by ``adapt``: brought along from files, and by files that plain Keras reads."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from backends import as_array, assert_allclose
from repairs_files import Layer, floats, layer, sequential, write_h5

import keras_stitch as ks
from keras_stitch.errors import SourceError
from keras_stitch.keras_private import quiet_keras
from keras_stitch.models.keras_file import Opened, open_file
from keras_stitch.repairs import learnt_state
from keras_stitch.repairs.architecture import Saved

# -- statistics ---------------------------------------------------------------------------------------------------

X = floats(6, 4) * 3 + 5


def normalization(place: str) -> keras.Model:
    """A model with statistics, and a step that they change."""
    adapted = keras.layers.Normalization(name="norm")
    adapted.adapt(X)
    dense = keras.layers.Dense(2)
    x = keras.Input((4,), name="x")
    if place == "sequential":
        return keras.Sequential([x, adapted, dense])
    if place == "nested":
        return keras.Model(x, dense(keras.Sequential([keras.Input((4,)), adapted], name="inner")(x)))
    if place == "wrapper":
        x = keras.Input((3, 4), name="x")
        return keras.Model(x, dense(keras.layers.TimeDistributed(adapted)(x)))
    return keras.Model(x, dense(adapted(x)))


@pytest.mark.parametrize("place", ["functional", "sequential", "nested", "wrapper"])
@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_statistics_in_files_of_keras_3(place: str, ending: str, tmp_path: Path) -> None:
    model = normalization(place)
    x = X if place != "wrapper" else np.stack([X] * 3, 1)
    with quiet_keras():
        model.save(tmp_path / f"m.{ending}")
    assert_allclose(as_array(open_file(tmp_path / f"m.{ending}").model(x)), as_array(model(x)), atol=1e-5)


@pytest.mark.parametrize("place", ["functional", "sequential", "nested", "wrapper", "layer"])
@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_statistics_of_a_built_model_in_plain_keras(place: str, ending: str, tmp_path: Path) -> None:
    source: Any = normalization(place)
    x = X if place != "wrapper" else np.stack([X] * 3, 1)
    if place == "layer":
        source = source.get_layer("norm")
    model = ks.Graph().add("m", source).add_input("x", "m", shape=x.shape[1:]).build()
    assert_allclose(as_array(model(x)), as_array(source(x)), atol=1e-5)
    with quiet_keras():
        model.save(tmp_path / f"m.{ending}")
        again = keras.saving.load_model(tmp_path / f"m.{ending}", compile=False)
    assert_allclose(as_array(again(x)), as_array(model(x)), atol=1e-6)


def test_several_axes_and_none() -> None:
    for axis in (None, (1, 2), -1):
        adapted = keras.layers.Normalization(axis=axis)
        data = floats(8, 3, 4) * 2 + 1
        adapted.adapt(data)
        source = keras.Sequential([keras.Input((3, 4), name="x"), adapted])
        model = ks.Graph().add("m", source).build()
        assert model.weights == []
        assert_allclose(as_array(model(data)), as_array(source(data)), atol=1e-5)


@pytest.mark.parametrize(("version", "config", "warned"), [
    ((2, 11, 0), {}, True), ((2, 12, 0), {}, True), ((2, 10, 0), {}, False), ((2, 12, 0), {"invert": False}, False),
    ((2, 13, 1), {"invert": True}, False),
])  # fmt: skip
def test_whether_it_inverts(version: tuple[int, ...], config: dict[str, Any], warned: bool, recwarn: Any) -> None:
    saved = Saved(sequential(layer("Normalization", "norm", axis=-1, **config)), version)
    assert learnt_state.normalization_invert.apply(saved) == (["norm"] if warned else [])
    text = f"Keras {'.'.join(map(str, version))} did not write whether a Normalization inverts: norm. It is taken"
    assert [str(item.message).startswith(text) for item in recwarn] == [True] * warned


# -- bins and words of Keras 2 ------------------------------------------------------------------------------------

VALUES = np.array([[0.0, 1, 2, 3, 4, 5, 6, 7], [1, 1, 1, 1, 1, 1, 1, 1]], "float32")
BINS = {"num_bins": 4, "bin_boundaries": None, "epsilon": 0.01, "output_mode": "multi_hot"}
WORDS = {"vocabulary": None, "output_mode": "multi_hot", "num_oov_indices": 1, "vocabulary_size": 3, "oov_token": -1}


def archive(path: Path, model: Layer, arrays: dict[str, Any], texts: dict[str, str]) -> Path:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for name, value in arrays.items():
            file[name] = value
    with zipfile.ZipFile(path, "w") as written:
        written.writestr("config.json", json.dumps(model))
        written.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        written.write(path.with_suffix(".h5"), "model.weights.h5")
        for name, text in texts.items():
            written.writestr(name, text)
    return path


def bins(nested: bool) -> Layer:
    """Bins and a Dense layer, that has to know how many there are."""
    said = sequential(
        layer("InputLayer", "x", batch_shape=[None, 1]), layer("Discretization", "bins", **BINS), name="inner"
    )
    inner = said["config"]["layers"] if not nested else [layer("InputLayer", "y", batch_shape=[None, 1]), said]
    return sequential(*inner, layer("Dense", "d", units=2), name="outer")


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_bins_that_keras_2_learnt(ending: str, nested: bool, tmp_path: Path) -> None:
    w, b = floats(4, 2), floats(2)
    if ending == "h5":
        arrays = {"inner" if nested else "bins": [("summary:0", VALUES)], "d": [("d/kernel:0", w), ("d/bias:0", b)]}
        found = open_file(write_h5(tmp_path / "m.h5", bins(nested), arrays))
    else:
        place = "layers/sequential/layers/discretization" if nested else "layers/discretization"
        groups = {f"{place}/vars/0": VALUES, "layers/dense/vars/0": w, "layers/dense/vars/1": b}
        found = open_file(archive(tmp_path / "m.keras", bins(nested), groups, {}))
    # A quarter of the values is at most 1, and so on.
    want = np.eye(4)[[0, 1, 2, 3]] @ w + b
    assert_allclose(as_array(found.model(np.array([[0.5], [1.5], [4.0], [9.0]], "float32"))), want, atol=1e-5)
    assert adapted(found) == (("inner/bins" if nested and ending == "h5" else "bins"),)


def adapted(found: Opened) -> tuple[str, ...]:
    return next(done.where for done in found.repairs if done.rule == "adapted-arguments")


def test_numbers_that_keras_2_learnt(tmp_path: Path) -> None:
    model = sequential(
        layer("InputLayer", "x", batch_shape=[None, 2], dtype="int64"),
        layer("IntegerLookup", "look", **WORDS),
        layer("Dense", "d", units=2),
    )
    w, b = floats(3, 2), floats(2)
    text = {"assets/layers/integer_lookup/vocabulary.txt": "-1\n5\n9"}
    arrays = {"layers/dense/vars/0": w, "layers/dense/vars/1": b}
    found = open_file(archive(tmp_path / "m.keras", model, arrays, text))
    want = np.array([[0, 1, 1], [1, 0, 0]]) @ w + b
    assert_allclose(as_array(found.model(np.array([[5, 9], [1, 2]]))), want, atol=1e-5)
    assert adapted(found) == ("look",)
    with pytest.raises(SourceError, match="does not hold the vocabulary of layer 'look', which it had learnt by adapt"):
        open_file(archive(tmp_path / "none.keras", model, arrays, {}))


def test_bins_that_were_lost(tmp_path: Path) -> None:
    arrays = {"d": [("d/kernel:0", floats(4, 2)), ("d/bias:0", floats(2))]}
    with pytest.raises(SourceError, match="does not hold the bin_boundaries of layer 'bins'"):
        open_file(write_h5(tmp_path / "m.h5", bins(False), arrays))
