"""HDF5 files that read other files, or declare far more than they hold, are refused wherever they are opened."""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import odd_files
import pytest
from keras import layers

import keras_stitch as ks
from keras_stitch.errors import SourceError
from keras_stitch.files.hdf5_files import open_hdf5
from keras_stitch.kipoi.templates import template_module
from keras_stitch.training.provenance import Key
from keras_stitch.training.stored_rows import open_features, write_features

hdf5_contents = template_module("kipoi.merging.hdf5_contents")


def old_layer(kind: str, calls: list[Any], **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "name": config["name"], "config": config, "inbound_nodes": calls}


OLD = {  # whose arrays are read here, not by Keras
    "class_name": "Model",
    "config": {
        "name": "m",
        "layers": [
            old_layer("InputLayer", [], name="x", batch_input_shape=[None, 3], dtype="float32", sparse=False),
            old_layer("Dense", [[["x", 0, 0, {}]]], name="dense", units=2, activation="linear", use_bias=True),
        ],
        "input_layers": [["x", 0, 0]],
        "output_layers": [["dense", 0, 0]],
    },
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model in every form, and stored rows."""
    folder = tmp_path_factory.mktemp("saved")
    x = keras.Input((3,), name="x")
    model = keras.Model(x, layers.Dense(2, name="dense")(x))
    model.save(folder / "m.keras")
    model.save(folder / "m.h5")
    model.save_weights(folder / "m.weights.h5")
    (folder / "m.json").write_text(model.to_json())
    (folder / "old.h5").write_bytes((folder / "m.h5").read_bytes())
    with h5py.File(folder / "old.h5", "r+") as file:
        file.attrs["keras_version"] = file["model_weights"].attrs["keras_version"] = "2.2.4"
        file.attrs["model_config"] = json.dumps(OLD)
    rows = {"inputs": {"x": np.ones((4, 3), "f4")}, "targets": np.zeros((4, 2), "f4")}
    write_features(folder / "rows.h5", lambda _: iter([rows]), rows=4, key=Key({}))
    return folder


def changed(source: Path, folder: Path, name: str, kind: str) -> Path:
    """A copy whose dataset of a name, or its first one in that group, lies elsewhere."""

    def change(file: h5py.File) -> None:
        odd_files.put_outside(file, name, kind, folder / "secret")

    return odd_files.changed(source, folder, change)


def added(path: Path, saved: Path, **options: Any) -> ks.Graph:
    return ks.Graph("g").add("m", path, **options)


def from_table(path: Path, saved: Path) -> None:
    """Values of a table through the runtime of generated directories, in which errors are of another class."""
    tables = template_module("kipoi.merging.tables")
    try:
        tables.Targets(str(path), {"y": ((3,), np.dtype("f4"))})
    except ValueError as error:
        raise ks.StitchError(f"{error}\n  Fix: {hdf5_contents.FIX}") from None


DOORS: dict[str, tuple[str, str, Callable[[Path, Path], object]]] = {
    "a model": ("m.h5", "model_weights/dense/dense/kernel", added),
    "a model of Keras 2": ("old.h5", "model_weights/dense/dense/kernel", added),
    "an archive": ("m.keras", "layers/dense/vars/0", added),
    "weights": ("m.weights.h5", "layers/dense/vars/1", lambda path, saved: added(path, saved, arch=saved / "m.json")),
    "a table": ("rows.h5", "inputs/x", from_table),
    "stored rows": ("rows.h5", "inputs/x", lambda path, _: open_features(path)),
}


@pytest.mark.parametrize("name", ["m.h5", "m.keras", "old.h5"])
def test_healthy_models(saved: Path, name: str) -> None:
    assert "dense" in {layer.name for layer in added(saved / name, saved).build().get_layer("m").layers}


@pytest.mark.parametrize("kind", odd_files.OUTSIDE)
@pytest.mark.parametrize("door", DOORS)
def test_no_other_file_is_read(saved: Path, tmp_path: Path, door: str, kind: str) -> None:
    source, name, open_it = DOORS[door]
    path = changed(saved / source, tmp_path, name, kind)
    with pytest.raises(ks.StitchError) as caught:
        open_it(path, saved)
    message = str(caught.value)
    assert str(path) in message and "secret'" in message and "does not hold " in message
    assert ("/aside" if "soft" in kind else f"'/{name}'") in message
    assert message.endswith(f"Fix: {hdf5_contents.FIX}")


def test_the_message(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x/y", (3,), "f4", external=[("/etc/hosts", 0, 12)])
    with pytest.raises(SourceError) as caught, open_hdf5(tmp_path / "a.h5"):
        pass
    assert str(caught.value) == (
        f"'{tmp_path}/a.h5' does not hold the values of the dataset '/x/y' itself: they lie in the file '/etc/hosts'.\n"
        "  Expected: a file that holds all of its values\n"
        "  Fix: Do not use it if you do not know where it comes from; else write its values into a new file, with h5py."
    )


def healthy(file: h5py.File) -> None:
    group = file.create_group("a/b")
    group["x"] = np.ones(3)
    group["up"], group["self"], file["soft"] = file["/"], group, h5py.SoftLink("/a/b/up/a/b/x")
    file["nowhere"], file["empty"], file["scalar"] = h5py.SoftLink("/c"), np.zeros((0, 4)), 3.0
    file["null"], file["type"], file["text"] = h5py.Empty("f4"), np.dtype("f4"), ["a", "b"]
    file.create_dataset("compressed", data=np.zeros(1000), compression="gzip")


def nested(file: h5py.File) -> None:
    group = file
    for _ in range(1500):
        group = group.create_group("g")
    group["outside"] = h5py.ExternalLink("other.h5", "/")


REFUSED = {
    "deeply nested": (nested, "is a link to '/' in the file 'other.h5'"),
    "never allocated": (
        lambda file: file.create_dataset("x", (1 << 40,), "f4"),
        "declares 4,398,046,511,104 bytes for the dataset '/x' and holds 0 of them",
    ),
    "chunks that are not there": (
        lambda file: file.create_dataset("g/x", (1 << 40,), "f4", chunks=(1 << 20,), compression="gzip"),
        "for the dataset '/g/x' and holds 0 of them",
    ),
    "an empty virtual dataset": (
        lambda file: file.create_virtual_dataset("x", h5py.VirtualLayout((4,), "f4")),
        "does not hold the values of the dataset '/x' itself: it is a virtual dataset",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_else_is_refused(tmp_path: Path, case: str) -> None:
    make, expected = REFUSED[case]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file)
    with pytest.raises(SourceError) as caught, open_hdf5(tmp_path / "a.h5"):
        pass
    assert expected in str(caught.value)


def test_healthy_files_are_opened(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        healthy(file)
    for _ in range(2):  # known to be sound the second time
        with open_hdf5(tmp_path / "a.h5") as file:
            assert file["soft"][0] == 1


def test_a_file_that_changes_is_looked_at_again(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.ones(3)
    with open_hdf5(tmp_path / "a.h5"):
        pass
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["y"] = h5py.ExternalLink("other.h5", "/")
    with pytest.raises(SourceError, match=r"is a link to '/' in the file 'other\.h5'"), open_hdf5(tmp_path / "a.h5"):
        pass


@pytest.mark.parametrize(("chunk", "is_refused"), [(1 << 20, False), (1 << 27, True)])
def test_a_chunk_far_larger_than_its_dataset(tmp_path: Path, chunk: int, is_refused: bool) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("x", (3,), "float32", chunks=(chunk,), maxshape=(None,), compression="gzip")
        data.id.write_direct_chunk((0,), b"what would unpack to a chunk")
    with h5py.File(tmp_path / "a.h5") as file:
        if not is_refused:
            hdf5_contents.check(file)
            return
        with pytest.raises(hdf5_contents.RefusedFile, match="536,870,912 bytes for a chunk of the dataset '/x'"):
            hdf5_contents.check(file)


def texts(file: h5py.File, kind: str) -> h5py.Dataset:
    """A dataset of 40 texts, with its last chunk in part outside."""
    text, shape = h5py.string_dtype(), (8, 5)
    if kind == "compact":
        created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        created.set_layout(h5py.h5d.COMPACT)
        stored = h5py.h5t.py_create(text, logical=True)
        return h5py.Dataset(h5py.h5d.create(file.id, b"ids", stored, h5py.h5s.create_simple(shape), created))
    options = {"contiguous": {}, "in memory": {}, "lzf": {"chunks": (3, 5), "compression": "lzf"}}
    gzip = {"chunks": (3, 3), "compression": "gzip", "shuffle": True}
    return file.create_dataset("ids", shape, text, **options.get(kind, gzip))


def share(path: Path, length: int) -> None:
    """Make all texts of a file the one of that length, by the bytes that HDF5 stores of each in a dataset."""
    data = path.read_bytes()
    held = data.index(struct.pack("<IQ", 0, length)) - 4
    one = struct.pack("<IQI", length, data.rindex(b"GCOL", 0, held), struct.unpack_from("<H", data, held)[0])
    with h5py.File(path) as file:
        start, is_chunked = file["ids"].id.get_offset(), file["ids"].chunks is not None
    if not is_chunked:
        start = data.index(one) if start is None else start
        path.write_bytes(data[:start] + one * 40 + data[start + len(one) * 40 :])
        return
    with h5py.File(path, "r+") as file:
        texts = file["ids"]
        chunk = one * math.prod(texts.chunks)
        stored, left_out = (zlib.compress(chunk), 0b01) if texts.compression == "gzip" else (chunk, 0b1)
        for place in [(row, column) for row in (0, 3, 6) for column in range(0, 5, texts.chunks[1])]:
            texts.id.write_direct_chunk(place, stored, left_out)


@pytest.mark.parametrize("kind", ("contiguous", "gzip", "lzf", "compact", "in memory"))
@pytest.mark.parametrize("is_refused", [False, True])
def test_texts_that_share_their_bytes(tmp_path: Path, kind: str, is_refused: bool) -> None:
    """Each would be a text of its own in memory."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        texts(file, kind)[...] = np.array(["x" * 10_000] + ["id"] * 38 + [""], dtype=object).reshape(8, 5)
    if is_refused:
        share(path, 10_000)
        with h5py.File(path) as file:
            assert [len(text) for text in file["ids"][...].flat] == [10_000] * 40
    with path.open("rb") as opened, h5py.File(opened if kind == "in memory" else path) as file:
        if not is_refused:
            hdf5_contents.check(file)
            return
        with pytest.raises(hdf5_contents.RefusedFile, match="declares more text up to the dataset '/ids' than its"):
            hdf5_contents.check(file)
