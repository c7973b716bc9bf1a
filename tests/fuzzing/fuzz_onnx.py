"""ONNX files: their bytes, and the messages that they are made of."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mutations
from hypothesis import strategies as st

_WORDS = [
    *("x", "y", "w", "n", "Relu", "MatMul", "Gather", "Reshape", "Identity", "Cast", "Loop", "If", "Scan", "Shape"),
    *("ConstantOfShape", "ZipMap", "ConcatFromSequence", "ai.onnx.ml", "com.microsoft", "location", "offset", "length"),
]  # fmt: skip


def onnx_files() -> st.SearchStrategy[dict[str, Any]]:
    """Changes of an ONNX file, which may have its weights in another file."""
    place = st.integers(0, 2**20)
    value = st.one_of(st.sampled_from(_WORDS), mutations.scalars)
    change = st.one_of(
        st.tuples(st.just("set"), place, value),
        st.tuples(st.just("set"), place, value),
        st.tuples(st.sampled_from(["clear", "delete", "repeat"]), place),
        st.tuples(st.just("copy"), place, place),
    )
    message = st.lists(change.map(list), min_size=1, max_size=4)
    return st.one_of(
        st.fixed_dictionaries({"base": place, "message": message}),
        st.fixed_dictionaries({"base": place, "message": message}),
        st.fixed_dictionaries({"base": place, "message": message}),
        st.fixed_dictionaries({"base": place, "bytes": mutations.byte_changes(1, 2)}),
    )


# -- in the process that reads --------------------------------------------------------------------
def prepare(folder: Path) -> None:
    """Write the files that are changed."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    from keras_stitch.sources.load_source import load

    def end(name: str, *sizes: str | int, type: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, type, sizes)

    tensor = numpy_helper.from_array(np.ones((4, 3), "float32"), "w")
    inner = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones(3, "float32")))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), inner, helper.make_node("Add", ["h", "c"], ["y"])]
    graph = helper.make_graph(nodes, "dense", [end("x", "n", 4)], [end("y", "n", 3)], [tensor])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "dense.onnx")
    whole = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save(onnx.load(folder / "dense.onnx"), folder / "external.onnx", **whole)
    words = helper.make_node("Gather", ["w", "x"], ["y"])
    takes, gives = end("x", 2, 5, type=TensorProto.INT64), end("y", 2, 5, 3)
    graph = helper.make_graph([words], "words", [takes], [gives], [tensor])
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "words.onnx")
    rows = np.arange(12, dtype="float32").reshape(6, 2)
    fitted = LogisticRegression().fit(rows, [0, 1, 2, 0, 1, 2])
    (folder / "classes.onnx").write_bytes(to_onnx(fitted, rows[:1]).SerializeToString())
    load("m", folder / "classes.onnx")  # what it imports is there before memory becomes scarce


def read_onnx(case: dict[str, Any], bases: Path, folder: Path) -> Any:
    """Read a changed ONNX file, and run it on random rows."""
    import onnx

    from keras_stitch.sources.load_source import load

    base, path = mutations.chosen(bases.glob("*.onnx"), case["base"]), folder / "model.onnx"
    model = onnx.load(base, load_external_data=False)
    for change in case.get("message", []):
        # What protobuf does not write is no file either.
        with contextlib.suppress(TypeError, ValueError, AttributeError):
            _change(model, *change)
    path.write_bytes(mutations.changed_bytes(model.SerializeToString(), case.get("bytes", [])))
    shutil.copyfile(bases / "weights.bin", folder / "weights.bin")
    return load("m", path)


def _change(model: Any, kind: str, where: int, detail: Any = None) -> None:
    slots = list(_slots(model))
    message, field, items = slots[where % len(slots)]
    several = not isinstance(items, str | bytes | int | float) and not hasattr(items, "ListFields")
    at = where % len(items) if several else 0
    if kind == "clear":
        message.ClearField(field)
    elif kind == "set" and several:
        items[at] = detail
    elif kind == "set":
        setattr(message, field, detail.encode() if isinstance(items, bytes) else detail)
    elif kind == "delete" and several:
        del items[at]
    elif kind == "repeat" and several:
        items.append(items[at])
    elif kind == "copy" and several:
        items[at].CopyFrom(items[detail % len(items)])


def _slots(message: Any) -> Iterator[tuple[Any, str, Any]]:
    """Every field of a message that is set, and those of the messages in it."""
    for field, found in message.ListFields():
        yield message, field.name, found
        if field.message_type is not None:
            for item in [found] if hasattr(found, "ListFields") else found:
                yield from _slots(item)
