"""SavedModels that Keras 2 wrote: their objects, what Keras says of the layers, and the checkpoint."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import mutations
from hypothesis import strategies as st

ARCHIVE = Path(__file__).parents[1] / "repairs" / "saved_models.tar.xz"
_FILES = {
    "objects": "saved_model.pb",
    "layers": "keras_metadata.pb",
    "index": "variables/variables.index",
    "tensors": "variables/variables.data-00000-of-00001",
}


def directories() -> st.SearchStrategy[dict[str, Any]]:
    """Changes of a file, of what the JSON texts in one say, or of the descriptions of tensors."""
    bases = st.integers(0, 2**16)
    changed = [st.fixed_dictionaries({"base": bases, name: mutations.byte_changes()}) for name in _FILES]
    trees = st.fixed_dictionaries({"base": bases, "said": mutations.tree_changes(), "of": st.integers(0, 50)})
    entries = st.fixed_dictionaries({"base": bases, "entry": mutations.byte_changes(1, 3), "of": st.integers(0, 50)})
    return st.one_of(*changed, trees, trees, entries, entries)


def prepare(folder: Path) -> None:
    """Unpack the SavedModels, and import what reads them."""
    import keras_stitch as ks

    ks.Graph()
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")


def read_directory(case: dict[str, Any], bases: Path, folder: Path) -> Any:
    """Read a changed SavedModel."""
    from checkpoint_files import read_metadata, rewrite_index, written_metadata

    import keras_stitch as ks

    known = (path.parent for path in bases.glob("*/saved_model.pb"))
    path = Path(shutil.copytree(mutations.chosen(known, case["base"]), folder / "model"))
    for name, file in _FILES.items():
        if name in case and (path / file).exists():
            (path / file).write_bytes(mutations.changed_bytes((path / file).read_bytes(), case[name]))
    layers = path / _FILES["layers"]
    if "said" in case and layers.exists():
        nodes = read_metadata(layers.read_bytes())
        at, name, said = nodes[case["of"] % len(nodes)]
        nodes[case["of"] % len(nodes)] = at, name, json.dumps(mutations.changed_tree(json.loads(said), case["said"]))
        layers.write_bytes(written_metadata(nodes))
    if "entry" in case:
        seen = []

        def change(key: bytes, value: bytes) -> bytes:
            seen.append(key)
            return mutations.changed_bytes(value, case["entry"]) if len(seen) - 1 == case["of"] % 20 else value

        rewrite_index(path / _FILES["index"], change)
    return ks.Graph().add("m", path).build()
