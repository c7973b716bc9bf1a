"""``stitch.yaml``, and what is written in it: references, slices, merges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mutations
import yaml
from hypothesis import strategies as st

SPEC: dict[str, Any] = {
    "name": "composed",
    "models": {
        "m1": "m.h5",
        "m2": {"source": "m.keras", "trainable": False, "sha256": "0" * 64},
        "m3": {"source": "w.h5", "arch": "w.json", "outputs": ["dense"]},
        "again": {"share": "m1"},
        "wide": {"layer": {"class_name": "Reshape", "config": {"target_shape": [2, 2]}}},
        "own": {"source": "m.h5", "custom_objects": ["objects.py", "keras.layers:Dense"], "placement": "model"},
    },
    "inputs": {"sequence": {"targets": ["m1", "m2.x"], "shape": [4], "dtype": "float32"}},
    "connections": {
        "m3": {"sources": ["m1[0:2]", "m2[0:2]"], "merge": "concatenate", "axis": -1},
        "again": ["sequence"],
        "wide": {"sources": ["m1", "m2"], "merge": {"layer": {"class_name": "Add", "config": {}}}, "mask": False},
        "own": {"sources": ["m3", "m1"], "merge": "add"},
    },
    "outputs": {"score": "m3", "part": "wide[:, 0:1]", "more": "again", "last": "own"},
    "freeze": ["m1", {"model": "m[23]", "layers": "den*", "frozen": True}],
}
_PIECES = [
    "m1",
    "m2",
    ".",
    "[",
    "]",
    ":",
    "-",
    ",",
    "0",
    "1",
    "9" * 30,
    "9" * 5000,
    " ",
    "x",
    "dense",
    "\n",
    "²",
    "٣",
    "\0",
]


def specs() -> st.SearchStrategy[dict[str, Any]]:
    """Changes of a ``stitch.yaml``: of what it says, or of its text."""
    return st.one_of(
        st.fixed_dictionaries({"tree": mutations.tree_changes(1, 6)}),
        st.fixed_dictionaries({"tree": mutations.tree_changes(1, 6)}),
        st.fixed_dictionaries({"bytes": mutations.byte_changes(1, 8)}),
        st.fixed_dictionaries({"small": st.just(True), "tree": mutations.tree_changes(1, 4)}),
        st.fixed_dictionaries({"small": st.just(True), "bytes": mutations.byte_changes(1, 4)}),
    )


def references() -> st.SearchStrategy[dict[str, Any]]:
    """References to tensors, sources and options of a merge, and what is frozen."""
    text = st.one_of(st.lists(st.sampled_from(_PIECES), max_size=8).map("".join), st.text(max_size=8))
    options = st.dictionaries(
        st.sampled_from(["axis", "weights", "axes", "normalize", "keep"]), mutations.values, max_size=2
    )
    kinds = st.sampled_from(
        ["concatenate", "add", "average", "multiply", "stack", "dot", "maximum", "subtract", "x", None]
    )
    source = st.one_of(st.sampled_from(["m1", "m1[0:4]", "m1[:]", "m1[0]", "i", "m1.dense"]), text)
    asked = {"sources": st.lists(source, max_size=3), "target": st.one_of(st.sampled_from(["m2", "m2.x"]), text)}
    merge = {"merge": kinds, "options": options}
    return st.one_of(
        st.fixed_dictionaries(asked),
        st.fixed_dictionaries({"sources": st.just(["m1", "m1"]), "target": st.just("m2"), **merge}),
        st.fixed_dictionaries({"sources": st.just(["m1"]), "target": st.just("m2"), "output": source}),
        st.fixed_dictionaries({"sources": st.just(["m1"]), "target": st.just("m2"), "freeze": source}),
        st.fixed_dictionaries(asked, optional={**merge, "freeze": source, "output": source}),
    )


# -- in the process that reads --------------------------------------------------------------------
def prepare(folder: Path) -> None:
    """Write the models that the specs name."""
    import keras
    from keras import layers

    from keras_stitch.keras_private import quiet_keras

    model = keras.Sequential([keras.Input((4,), name="x"), layers.Dense(4, name="dense")])
    with quiet_keras():
        model.save(folder / "m.keras")
        model.save(folder / "m.h5")
        model.save_weights(folder / "w.weights.h5")
    (folder / "w.weights.h5").rename(folder / "w.h5")
    (folder / "w.json").write_text(model.to_json())
    (folder / "objects.py").write_text("OBJECTS = {}\n")


def read_spec(case: dict[str, Any], bases: Path, folder: Path) -> None:
    """Read a changed ``stitch.yaml``, and check the graph."""
    import keras_stitch as ks

    said = {"models": {"m1": "m.h5"}} if "small" in case else SPEC
    content = yaml.safe_dump(said, sort_keys=False).encode()
    if "tree" in case:
        # JSON is YAML, and keeps what YAML would write otherwise.
        changed = mutations.changed_tree(said, case["tree"])
        content = json.dumps(changed).encode()
    for name in ("m.h5", "m.keras", "w.h5", "w.json", "objects.py"):
        (folder / name).symlink_to(bases / name)
    content = mutations.changed_bytes(content, case.get("bytes", []))
    (folder / "stitch.yaml").write_bytes(content.replace(b"0" * 64, _sha256(bases).encode()))
    graph = ks.Graph.from_yaml(folder / "stitch.yaml")
    graph.summary()
    graph.plan()


_known: list[str] = []


def _sha256(bases: Path) -> str:
    from keras_stitch.files.read_files import sha256

    if not _known:
        _known.append(sha256(bases / "m.keras"))
    return _known[0]


def read_references(case: dict[str, Any], bases: Path, folder: Path) -> None:
    """Say a connection by the verbs."""
    import keras_stitch as ks

    graph = ks.Graph().add("m1", bases / "m.h5").add("m2", bases / "m.h5")
    options = {} if case.get("merge") is None else {"merge": case["merge"], **case.get("options", {})}
    try:
        graph.connect(case["sources"], case["target"], **options)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
    if "output" in case:
        graph.add_output("score", case["output"])
    if "freeze" in case:
        graph.freeze(case["freeze"])
    graph.summary()
    graph.plan()
