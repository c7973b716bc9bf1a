"""Model files: archives, HDF5 files, and weights with an architecture; of Keras 3 and of old ones."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import mutations
from hypothesis import strategies as st

OLD = Path(__file__).parents[1] / "repairs" / "old_keras.tar.xz"
_OLD_FOLDERS = (
    "2.2.4-tensorflow-channels_last", "2.0.8-theano-channels_first", "1.2.2-tensorflow-tf", "1.2.2-theano-th",
    "tf2.4.4-keras-last", "2.1.6-tensorflow-channels_first",
)  # fmt: skip
_MOST_OLD = 48


def archives() -> st.SearchStrategy[dict[str, Any]]:
    """Changes of a ``.keras`` file."""
    bases = st.integers(0, 2**16)
    return st.one_of(
        st.fixed_dictionaries(
            {"base": bases, "config.json": st.fixed_dictionaries({"tree": mutations.tree_changes()})}
        ),
        st.fixed_dictionaries(
            {"base": bases, "config.json": st.fixed_dictionaries({"tree": mutations.tree_changes()})}
        ),
        st.fixed_dictionaries(
            {"base": bases, "metadata.json": st.fixed_dictionaries({"tree": mutations.tree_changes()})}
        ),
        st.fixed_dictionaries(
            {"base": bases, "config.json": st.fixed_dictionaries({"bytes": mutations.byte_changes()})}
        ),
        st.fixed_dictionaries(
            {"base": bases, "model.weights.h5": st.fixed_dictionaries({"bytes": mutations.byte_changes()})}
        ),
        st.fixed_dictionaries({"base": bases, "model.weights.h5": st.fixed_dictionaries({"hdf5": hdf5_changes()})}),
        st.fixed_dictionaries({"base": bases, "file": st.fixed_dictionaries({"bytes": mutations.byte_changes()})}),
    )


def hdf5_files() -> st.SearchStrategy[dict[str, Any]]:
    """Changes of a whole model in HDF5, or of weights with an architecture."""
    bases = st.integers(0, 2**16)
    tree = st.fixed_dictionaries({"tree": mutations.tree_changes()})
    return st.one_of(
        st.fixed_dictionaries({"base": bases, "model_config": tree}),
        st.fixed_dictionaries({"base": bases, "model_config": tree}),
        st.fixed_dictionaries(
            {"base": bases, "model_config": st.fixed_dictionaries({"bytes": mutations.byte_changes(1, 3)})}
        ),
        st.fixed_dictionaries({"base": bases, "file": st.fixed_dictionaries({"hdf5": hdf5_changes()})}),
        st.fixed_dictionaries({"base": bases, "file": st.fixed_dictionaries({"bytes": mutations.byte_changes()})}),
        st.fixed_dictionaries(
            {"base": bases, "model_config": tree, "file": st.fixed_dictionaries({"hdf5": hdf5_changes()})}
        ),
    )


def hdf5_changes() -> st.SearchStrategy[list[list[Any]]]:
    """Changes of attributes, datasets and groups by HDF5's own means."""
    place = st.integers(0, 2**16)
    change = st.one_of(
        st.tuples(
            st.just("attribute"), place, st.one_of(mutations.scalars, st.sampled_from([[], [1, 2], ["a"], [["a"]]]))
        ),
        st.tuples(st.just("raw attribute"), place, st.text(max_size=4)),
        st.tuples(st.just("no attribute"), place),
        st.tuples(st.just("new attribute"), place, mutations.scalars, mutations.scalars),
        st.tuples(st.just("delete"), place),
        st.tuples(st.just("group"), place),
        st.tuples(st.just("shape"), place, st.lists(st.integers(0, 5), max_size=4)),
        st.tuples(st.just("dtype"), place, st.sampled_from(["f2", "f8", "i1", "u8", "c8", "S3", "bool", "text"])),
        st.tuples(st.just("move"), place, mutations.scalars),
    )
    return st.lists(change.map(list), min_size=1, max_size=4)


# -- in the process that reads --------------------------------------------------------------------
def prepare(folder: Path) -> None:
    """Write the files that are changed."""
    import keras
    from keras import layers

    from keras_stitch.keras_private import quiet_keras

    first, second = keras.Input((4,), name="first"), keras.Input((6, 3), name="second")
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="relu"), layers.BatchNormalization()])
    shared = layers.Dense(2, name="shared")
    steps = layers.Bidirectional(layers.LSTM(2))(layers.Conv1D(3, 2, padding="causal")(layers.Masking()(second)))
    joined = layers.Concatenate()([inner(first), steps, shared(first)])
    words = keras.Input((5,), dtype="int32", name="words")
    embedded = layers.GlobalAveragePooling1D()(layers.Embedding(7, 3, mask_zero=True)(words))
    texts = keras.Input((1,), dtype="string", name="texts")
    looked = layers.Flatten()(layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")(texts))
    picture = keras.Input((6, 6, 2), name="picture")
    pooled = layers.Flatten()(layers.MaxPooling2D()(layers.SeparableConv2D(2, 3)(picture)))
    models = {
        "plain": keras.Sequential([keras.Input((3,), name="x"), layers.Dense(2, name="dense")]),
        "graph": keras.Model([first, second], [layers.Dense(1, name="score")(joined), shared(first)], name="graph"),
        "words": keras.Model(words, layers.LayerNormalization()(embedded)),
        "texts": keras.Model(texts, layers.Dense(1)(layers.Rescaling(2.0)(looked))),
        "picture": keras.Model(picture, layers.Dropout(0.5)(layers.PReLU()(pooled))),
    }
    with quiet_keras():
        for name, model in models.items():
            model.save(folder / f"{name}.keras")
            if name != "texts":
                model.save(folder / f"{name}.h5")
                model.save_weights(folder / f"{name}.weights.h5")
                (folder / f"{name}.weights.json").write_text(model.to_json())
    with tarfile.open(OLD) as old:
        files = [item for item in old.getnames() if item.endswith(".h5") and item.split("/")[1] in _OLD_FOLDERS]
        for number, name in enumerate(sorted(files)[:: max(1, len(files) // _MOST_OLD)]):
            kind = ".weights" if name.endswith("_w.h5") else ""
            copied = {".h5": name, **({".json": name.replace("_w.h5", ".json")} if kind else {})}
            for ending, member in copied.items():
                content = old.extractfile(member)
                assert content is not None
                (folder / f"old{number}{kind}{ending}").write_bytes(content.read())


def read_archive(case: dict[str, Any], bases: Path, folder: Path) -> Any:
    """Read a changed archive."""
    import keras_stitch as ks

    base, path = mutations.chosen(bases.glob("*.keras"), case["base"]), folder / "model.keras"
    with zipfile.ZipFile(base) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            for kind, changes in case.get(name, {}).items():
                content = _changed(content, kind, changes)
            new.writestr(name, content)
    if "file" in case:
        path.write_bytes(_changed(path.read_bytes(), "bytes", case["file"]["bytes"]))
    return ks.Graph().add("m", path).build()


def read_hdf5(case: dict[str, Any], bases: Path, folder: Path) -> Any:
    """Read a changed HDF5 file."""
    import h5py

    import keras_stitch as ks

    base, path, options = mutations.chosen(bases.glob("*.h5"), case["base"]), folder / "model.h5", {}
    shutil.copyfile(base, path)
    config = case.get("model_config", {})
    if base.with_suffix(".json").exists():
        content = base.with_suffix(".json").read_bytes()
        for kind, changes in config.items():
            content = _changed(content, kind, changes)
        options["arch"] = folder / "model.json"
        options["arch"].write_bytes(content)
    elif config:
        with h5py.File(path, "r+") as file:
            content = file.attrs["model_config"]
            content = content if isinstance(content, bytes) else content.encode()
            for kind, changes in config.items():
                content = _changed(content, kind, changes)
            file.attrs["model_config"] = content.rstrip(b"\0")
    for kind, changes in case.get("file", {}).items():
        path.write_bytes(_changed(path.read_bytes(), kind, changes))
    return ks.Graph().add("m", path, **options).build()


def _changed(content: bytes, kind: str, changes: list[list[Any]]) -> bytes:
    if kind == "bytes":
        return mutations.changed_bytes(content, changes)
    if kind == "tree":
        return changed_json(content, changes)
    return changed_hdf5(content, changes)


def changed_json(content: bytes, changes: list[list[Any]]) -> bytes:
    """JSON with these changes of what it says."""
    return json.dumps(mutations.changed_tree(json.loads(content), changes)).encode()


def changed_hdf5(content: bytes, changes: list[list[Any]]) -> bytes:
    """A file with these changes, as far as HDF5 can write them."""
    import h5py

    held = io.BytesIO(content)
    with h5py.File(held, "r+") as file:
        for kind, where, *details in changes:
            items: list[Any] = []
            file.visititems(lambda _, item, items=items: items.append(item))
            items = [file, *items]
            attributes = [(item, name) for item in items for name in item.attrs]
            attribute = attributes[where % len(attributes)] if attributes else None
            # What HDF5 does not write is no file either.
            with contextlib.suppress(OSError, TypeError, ValueError, RuntimeError, KeyError):
                _change(kind, items[where % len(items)], attribute, details)
    return held.getvalue()


def _change(kind: str, item: Any, attribute: tuple[Any, str] | None, details: list[Any]) -> None:
    import h5py
    import numpy as np

    if kind.endswith("attribute") and kind != "new attribute":
        if attribute is not None:
            holder, name = attribute
            if kind == "attribute":
                holder.attrs[name] = details[0] if details[0] is not None else h5py.Empty("f4")
            elif kind == "raw attribute":
                holder.attrs[name] = np.bytes_(details[0].encode("utf-16", "surrogatepass"))
            else:
                del holder.attrs[name]
    elif kind == "new attribute":
        item.attrs[str(details[0])] = details[1]
    elif item.name != "/":
        parent, name = item.parent, item.name.rpartition("/")[2]
        if kind == "move":
            parent.move(name, str(details[0]))
            return
        value = item[()] if isinstance(item, h5py.Dataset) else None
        del parent[name]
        if kind == "group":
            parent.create_group(name)
        elif kind == "shape":
            parent[name] = np.zeros(details[0], "f4")
        elif kind == "dtype" and value is not None:
            parent[name] = "text" if details[0] == "text" else np.zeros(np.shape(value), details[0])
