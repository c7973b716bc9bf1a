"""Kipoi directories: their ``model.yaml`` and ``dataloader.yaml``. The Python in them is trusted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mutations
import yaml
from hypothesis import strategies as st


def directories() -> st.SearchStrategy[dict[str, Any]]:
    """Changes of what a directory says about its model, or about its dataloader."""
    changes = st.one_of(
        st.fixed_dictionaries({"tree": mutations.tree_changes(1, 5)}),
        st.fixed_dictionaries({"tree": mutations.tree_changes(1, 5)}),
        st.fixed_dictionaries({"bytes": mutations.byte_changes(1, 6)}),
    )
    return st.one_of(
        st.fixed_dictionaries({"model.yaml": changes}), st.fixed_dictionaries({"dataloader.yaml": changes})
    )


# -- in the process that reads --------------------------------------------------------------------
def prepare(folder: Path) -> None:
    """Write a directory."""
    import keras
    from keras import layers

    from keras_stitch.keras_private import quiet_keras

    model = keras.Sequential([keras.Input((3,), name="x"), layers.Dense(1, name="score")])
    with quiet_keras():
        model.save(folder / "model.keras")
    (folder / "dataloader.py").write_text(_CODE)
    said = {
        "defined_as": "kipoi.model.KerasModel",
        "args": {"weights": "model.keras", "backend": "tensorflow"},
        "default_dataloader": ".",
        "info": {"authors": [{"name": "Ada", "github": "ada"}], "doc": "Small.", "license": "MIT", "tags": ["a"]},
        "dependencies": {"conda": ["python=3.11"], "pip": ["keras"]},
        "schema": {
            "inputs": {"name": "x", "shape": "(3,)", "doc": "Three numbers.", "special_type": "Array"},
            "targets": {"name": "score", "shape": "(1,)", "doc": "One.", "column_labels": ["a"]},
        },
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(said, sort_keys=False))
    said = {
        "type": "Dataset",
        "defined_as": "dataloader.py::Rows",
        "args": {
            "file": {"doc": "Any.", "type": "str", "example": "dataloader.py"},
            "count": {"doc": "Rows.", "default": 3},
        },
        "info": {"authors": [{"name": "Bob"}], "doc": "Rows."},
        "output_schema": {
            "inputs": {"x": {"shape": "(3,)", "doc": "Three numbers."}},
            "targets": {"shape": "(1,)", "doc": "One."},
            "metadata": {
                "id": {"type": "str", "doc": "Its name."},
                "ranges": {"type": "GenomicRanges", "doc": "Where."},
            },
        },
    }
    (folder / "dataloader.yaml").write_text(yaml.safe_dump(said, sort_keys=False))


_CODE = """import numpy as np
from kipoi.data import Dataset


class Rows(Dataset):
    def __init__(self, file, count=3):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, row):
        return {"inputs": {"x": np.ones(3)}, "targets": np.ones(1), "metadata": {"id": str(row)}}
"""


def read_directory(case: dict[str, Any], bases: Path, folder: Path) -> None:
    """Add a changed directory, and resolve its dataloader."""
    import keras_stitch as ks
    from keras_stitch.kipoi.component import resolve

    place = folder / "published"
    shutil.copytree(bases, place)
    for name, changes in case.items():
        content = (place / name).read_bytes()
        for kind, said in changes.items():
            if kind == "bytes":
                content = mutations.changed_bytes(content, said)
            else:
                content = json.dumps(mutations.changed_tree(yaml.safe_load(content), said)).encode()
        (place / name).write_bytes(content)
    if "model.yaml" in case:
        ks.Graph().add("m", place).build()
    resolve(ks.Dataloader(str(place)))
