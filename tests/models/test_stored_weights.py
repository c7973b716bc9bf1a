"""Weights that are not in the file, that are no numbers, or that would only fill the memory."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import h5py
import keras
import numpy as np
import odd_files
import pytest
import warm_python
from backends import as_array
from keras import layers

import keras_stitch as ks
from keras_stitch.errors import SourceError
from keras_stitch.models.stored_weights import non_finite


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model in every form."""
    folder = tmp_path_factory.mktemp("saved")
    x = keras.Input((4,), name="x")
    model = keras.Model(x, layers.BatchNormalization(name="bn")(layers.Dense(3, name="dense")(x)))
    model.compile("adam", "mse")
    model.save(folder / "m.keras")
    model.save(folder / "m.h5")
    model.save_weights(folder / "m.weights.h5")
    (folder / "m.json").write_text(model.to_json())
    return folder


def declare(file: h5py.File, name: str, rows: int | None = None) -> None:
    """Replace a dataset by one that is never written, or one of whose chunks only so many rows are."""
    shape = file[name].shape
    del file[name]
    dataset = file.create_dataset(name, shape, "f4", chunks=None if rows is None else (1, *shape[1:]))
    if rows:
        dataset[:rows] = 1


PLACES = {
    "m.h5": "model_weights/dense/dense/kernel",
    "m.keras": "layers/dense/vars/0",
    "m.weights.h5": "layers/dense/vars/0",
}


def added(path: Path, saved: Path) -> ks.Graph:
    graph = ks.Graph("g")
    graph.add("m", path, **({"arch": saved / "m.json"} if path.name == "m.weights.h5" else {}))
    return graph


@pytest.mark.parametrize("rows", [None, 0, 3])
@pytest.mark.parametrize("name", PLACES)
def test_weights_that_were_never_written(saved: Path, tmp_path: Path, name: str, rows: int | None) -> None:
    path = odd_files.changed(saved / name, tmp_path, lambda file: declare(file, PLACES[name], rows))
    with pytest.raises(SourceError) as caught:
        added(path, saved)
    assert str(caught.value) == (
        f"'{path}' does not hold the weights of layer 'dense'.\n"
        "  Expected: values for each weight\n"
        f"  Received: the dataset '/{PLACES[name]}', declared and never written\n"
        "  Fix: Copy or download it again."
    )


def healthy(file: h5py.File) -> None:
    for name in ("optimizer/vars/0", "optimizer_weights/adam/iteration"):  # which nobody reads
        if name in file:
            del file[name]
            file.create_dataset(name, (3,), "f4")
    kernel = next(name for name in PLACES.values() if name in file)
    del file[kernel]
    file.create_dataset(kernel, data=np.zeros((4, 3), "f4"), chunks=(3, 2), compression="gzip")
    file.create_dataset("of no size", (0, 3), "f4")


@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
@pytest.mark.parametrize("name", PLACES)
def test_zeros_that_were_written_are_healthy(saved: Path, tmp_path: Path, name: str) -> None:
    model = added(odd_files.changed(saved / name, tmp_path, healthy), saved).build().get_layer("m")
    assert not as_array(model.get_layer("dense").kernel).any()


def test_weights_that_are_no_numbers(saved: Path, tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file[PLACES["m.keras"]][1, 2] = np.nan
        file["layers/batch_normalization/vars/2"][0] = np.inf

    path = odd_files.changed(saved / "m.keras", tmp_path, change)
    with pytest.warns(UserWarning) as caught:
        added(path, saved)
    assert [str(one.message) for one in caught] == ["Submodel 'm' has weights that are NaN or infinite, in dense, bn."]


@pytest.mark.parametrize("name", PLACES)
def test_complex_weights(saved: Path, tmp_path: Path, name: str) -> None:
    def change(file: h5py.File) -> None:
        values = file[PLACES[name]][:] * 1j
        del file[PLACES[name]]
        file[PLACES[name]] = values

    path = odd_files.changed(saved / name, tmp_path, change)
    with pytest.raises(SourceError, match="has weights of layer 'dense' that are no real numbers"):
        added(path, saved)


def test_the_layers_are_named_by_their_paths() -> None:
    x = keras.Input((5, 2))
    inner = keras.Sequential([keras.Input((2,)), layers.Dense(2, name="dense")], name="inner")
    outer = layers.TimeDistributed(inner, name="each")(x)
    model = keras.Model(x, layers.Bidirectional(layers.LSTM(2, name="lstm"), name="both")(outer))
    assert non_finite(model) == []
    inner.layers[0].bias.assign([np.nan, 0.0])
    model.get_layer("both").backward_layer.cell.bias.assign(np.full(8, -np.inf))
    assert non_finite(model) == ["each/inner/dense", "both/backward_lstm/lstm_cell"]


def test_large_finite_weights_are_numbers() -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2)])
    model.layers[0].kernel.assign(np.full((2, 2), 3e38))  # whose sum is infinite
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert non_finite(model) == []


def test_the_certificate_says_it(tmp_path: Path) -> None:
    x = keras.Input((2,), name="x")
    model = keras.Model(x, layers.Dense(2, name="dense")(x), name="m")
    bias = np.array([np.nan, 0.0], "f4")
    model.get_layer("dense").bias.assign(bias)
    graph = ks.Graph("g")
    with pytest.warns(UserWarning, match="has weights that are NaN or infinite, in dense"):
        graph.add("m", model)
    graph.add_input("x", ["m"], shape=(2,))
    graph.add_output("out", "m")
    certificate = graph.verify()
    assert "NaN or infinite weights in: m/dense." in certificate.notes
    assert "NaN or infinite weights in: m/dense." in str(certificate)


BOMBS = """
import resource, sys, warnings
from pathlib import Path
import keras_stitch as ks

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (600 << 20),) * 2)
for path in sys.argv[1:]:
    try:
        ks.Graph("g").add("m", path)
        print("added")
    except ks.StitchError as error:
        print(str(error).replace(chr(10), " "))
"""


def units(config: dict, count: int) -> None:
    config["config"]["layers"][1]["config"]["units"] = count


def test_the_memory_is_bounded(saved: Path, tmp_path: Path) -> None:
    """A process that may have 600 MiB more refuses bombs of gigabytes, and then loads the healthy model."""
    bomb = odd_files.changed(saved / "m.h5", tmp_path, lambda file: odd_files.zeros(file, PLACES["m.h5"], 64))
    archive = odd_files.with_weights(
        saved / "m.keras", tmp_path / "a.keras", lambda file: odd_files.zeros(file, PLACES["m.keras"], 64)
    )
    wide = odd_files.with_config(saved / "m.keras", tmp_path / "w.keras", lambda config: units(config, 10**9))
    deep = odd_files.with_config(saved / "m.h5", tmp_path / "w.h5", lambda config: units(config, 10**12))
    command = [sys.executable, "-c", BOMBS, bomb, archive, wide, deep, saved / "m.keras"]
    done = warm_python.run(command)
    first, second, third, fourth, last = done.stdout.splitlines()
    for said, path in ((first, bomb), (second, archive)):
        assert f"'{path}' has weights that unpack to far more than it could need." in said
        assert "Received: 2,147,483," in said
    for said, path in ((third, wide), (fourth, deep)):
        assert f"The architecture of '{path}' asks for far more weights than the file holds." in said
        assert "for one weight of layer 'dense'" in said
    assert last == "added"
