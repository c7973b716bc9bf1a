"""Stored arrays that are no tables: NPZ files of ``verify --data``, and rows that were precomputed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import mutations
from fuzz_models import changed_hdf5, changed_json, hdf5_changes
from hypothesis import strategies as st


def npz_files() -> st.SearchStrategy[dict[str, Any]]:
    """Changes of an NPZ file, or of an array in it."""
    bytes_ = mutations.byte_changes()
    member = st.sampled_from(["x.npy", "texts.npy"])
    return st.one_of(
        st.fixed_dictionaries({"file": bytes_}), st.fixed_dictionaries({"member": member, "bytes": bytes_})
    )


def features() -> st.SearchStrategy[dict[str, Any]]:
    """Changes of a file with precomputed rows, or of what it says about itself."""
    return st.one_of(
        st.fixed_dictionaries({"bytes": mutations.byte_changes()}),
        st.fixed_dictionaries({"hdf5": hdf5_changes()}),
        st.fixed_dictionaries({"about": mutations.tree_changes()}),
        st.fixed_dictionaries({"about": mutations.tree_changes()}),
    )


# -- in the process that reads --------------------------------------------------------------------
def prepare(folder: Path) -> None:
    """Write a file of each kind."""
    import numpy as np

    from keras_stitch.training.provenance import Key
    from keras_stitch.training.stored_rows import write_features

    numbers = np.arange(8, dtype="float32").reshape(4, 2)
    np.savez(folder / "data.npz", x=numbers, texts=np.array(["a", "bc"]))
    batch = {"inputs": {"x": numbers, "t": np.array(["a", "b", "c", "d"])}, "targets": numbers[:, :1], "metadata": {}}
    write_features(folder / "rows.h5", lambda start: iter([batch]), rows=4, key=Key({"m.h5": "ab"}, {"width": 3}))


def read_npz(case: dict[str, Any], bases: Path, folder: Path) -> None:
    """Read a changed NPZ file."""
    from keras_stitch.models.sample_rows import read_data

    content = (bases / "data.npz").read_bytes()
    if "member" in case:
        held = io.BytesIO()
        with zipfile.ZipFile(bases / "data.npz") as old, zipfile.ZipFile(held, "w") as new:
            for name in old.namelist():
                changes = case["bytes"] if name == case["member"] else []
                new.writestr(name, mutations.changed_bytes(old.read(name), changes))
        content = held.getvalue()
    (folder / "data.npz").write_bytes(mutations.changed_bytes(content, case.get("file", [])))
    read_data(folder / "data.npz")


def read_features(case: dict[str, Any], bases: Path, folder: Path) -> None:
    """Open changed rows, and read them all."""
    import h5py

    from keras_stitch.training.stored_rows import open_features

    path = folder / "rows.h5"
    content = mutations.changed_bytes((bases / "rows.h5").read_bytes(), case.get("bytes", []))
    path.write_bytes(changed_hdf5(content, case.get("hdf5", [])) if "hdf5" in case else content)
    if "about" in case:
        with h5py.File(path, "r+") as file:
            text = changed_json(file["about"][()], case["about"])
            del file["about"]
            file["about"] = text
    rows = open_features(path, batch_size=2)
    for number in range(len(rows)):
        rows[number]
