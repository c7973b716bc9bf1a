"""Changes of bytes and of trees, as plain data: drawn by Hypothesis, written down as JSON, done again anywhere.

A change says where by a number, which counts modulo the places that there are. So every change fits every file, and one
that is left out does not make others impossible.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

SECRET = "@SECRET@"  # becomes the path of a file that nobody names, and nothing may read
_SIZES = [-1, 0, 1, 2, 3, 7, 1000, 2**31 - 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**90]
_WORDS = [
    "", "a", "dense", "x", " ", "\0", "\n", "é", "\U0001f9ec", "\ud800", "a" * 300, "../" * 9 + "etc/passwd",
    SECRET, "/dev/zero", "0", "m[0]", "m[0:2]", "*", "[", "%s", "{}", "{{x}}", "${HOME}", "~", "None", "nan", "float16",
    "string", "int64",
    "bool", "complex64", "banana", "Dense", "Lambda", "Sequential", "Functional", "Model", "InputLayer", "Input",
    "Conv2D", "LSTM", "Bidirectional", "TimeDistributed", "Embedding", "StringLookup", "TextVectorization", "Reshape",
    "Merge",
    "Masking", "BatchNormalization", "Concatenate", "Flatten", "Dropout", "Normalization", "MultiHeadAttention",
    "__keras_tensor__", "__tensor__", "__numpy__", "__ndarray__", "__lambda__", "__bytes__", "__tuple__", "slice",
    "__class__", "TensorShape", "function", "builtins", "os", "keras", "keras.layers", "keras.src.models.functional",
    "relu", "softmax", "GlorotUniform", "channels_first", "same", "valid", "causal", "sum", "concatenate", "theano",
    "tensorflow", "1.2.2", "2.2.4", "2.11.0", "3.0.0", "3.99.0", "model", "dataloader", "workflow", "kipoi:a/b",
]  # fmt: skip
_WHOLE = [[], {}, [[]], [None], [1, 2], [None, 3], [[["x", 0, 0]]], ["x", 0, 0], [["x", 0, 0, {}]], {"a": 1}, {"": []}]
_LAYERS = [
    {"class_name": kind, "config": config}
    for kind in ("Dense", "InputLayer", "Lambda", "Sequential", "Functional", "Flatten", "TimeDistributed", "Nothing")
    for config in ({}, {"name": "x"}, {"name": "x", "units": 2, "layers": []}, [])
]

scalars = st.one_of(
    st.sampled_from(_WORDS),
    st.sampled_from([None, True, False, *_SIZES, 0.5, -0.0, 1e300, float("inf"), float("nan")]),
    st.integers(-5, 20),
    st.text(max_size=4),
)
values = st.one_of(scalars, scalars, st.sampled_from(_WHOLE), st.sampled_from(_LAYERS))
_places = st.integers(0, 2**20)


# -- trees ----------------------------------------------------------------------------------------
def tree_changes(least: int = 1, most: int = 4) -> st.SearchStrategy[list[list[Any]]]:
    """A few changes of a tree of dicts and lists."""
    change = st.one_of(
        st.tuples(st.just("set"), _places, values),
        st.tuples(st.just("set"), _places, values),
        st.tuples(st.just("delete"), _places),
        st.tuples(st.just("rename"), _places, scalars),
        st.tuples(st.just("copy"), _places, _places),
        st.tuples(st.just("swap"), _places, _places),
        st.tuples(st.just("repeat"), _places, st.integers(1, 3)),
        st.tuples(st.just("add"), _places, scalars, values),
        st.tuples(st.just("wrap"), _places, st.sampled_from([1, 2, 3, 150, 220]), st.booleans()),
        st.tuples(st.just("text"), _places),
    )
    return st.lists(change.map(list), min_size=least, max_size=most)


def changed_tree(tree: Any, changes: list[list[Any]]) -> Any:
    """A copy of a tree with these changes."""
    holder = [copy.deepcopy(tree)]
    for kind, where, *details in changes:
        slots = _slots(holder)
        container, key = slots[where % len(slots)]
        if kind == "set":
            container[key] = copy.deepcopy(details[0])
        elif kind == "delete" and container is not holder:
            del container[key]
        elif kind == "rename" and isinstance(container, dict):
            container[str(details[0])] = container.pop(key)
        elif kind in ("copy", "swap"):
            other, other_key = slots[details[0] % len(slots)]
            here, there = copy.deepcopy(container[key]), copy.deepcopy(other[other_key])
            container[key] = there
            if kind == "swap" and (container is not other or key != other_key):
                other[other_key] = here
        elif kind == "repeat" and isinstance(container, list) and container is not holder:
            container[key:key] = [copy.deepcopy(container[key]) for _ in range(details[0])]
        elif kind == "add":
            _add(container[key], *details)
        elif kind == "wrap":
            for _ in range(details[0]):
                container[key] = [container[key]] if details[1] else {"config": container[key]}
        elif kind == "text" and not isinstance(container[key], dict | list):
            container[key] = str(container[key])
    return holder[0]


def _add(item: Any, key: Any, value: Any) -> None:
    if isinstance(item, dict):
        item[str(key)] = copy.deepcopy(value)
    elif isinstance(item, list):
        item.append(copy.deepcopy(value))


def _slots(holder: list[Any]) -> list[tuple[Any, Any]]:
    """Every place in a tree that holds something, the outer before the inner."""
    found, waiting = [], [holder]
    while waiting:
        container = waiting.pop()
        for key, item in container.items() if isinstance(container, dict) else enumerate(container):
            found.append((container, key))
            if isinstance(item, dict | list):
                waiting.append(item)
    return found


def replaced(item: Any, secret: str) -> Any:
    """The same with the path of the secret file where it belongs."""
    if isinstance(item, dict):
        return {replaced(key, secret): replaced(value, secret) for key, value in item.items()}
    if isinstance(item, list):
        return [replaced(value, secret) for value in item]
    return item.replace(SECRET, secret) if isinstance(item, str) else item


def chosen(files: Iterable[Path], which: int | str) -> Path:
    """One of some files: by a number, or by its name."""
    known = sorted(files)
    return next(file for file in known if file.name == which) if isinstance(which, str) else known[which % len(known)]


# -- bytes ----------------------------------------------------------------------------------------
def byte_changes(least: int = 1, most: int = 6) -> st.SearchStrategy[list[list[Any]]]:
    """A few changes of bytes; ``front`` ones are among the first of them, where files say how they are made."""
    place = st.one_of(st.integers(0, 2**24), st.integers(0, 200), st.integers(-200, -1))
    change = st.one_of(
        st.tuples(st.just("flip"), place, st.integers(0, 7)),
        st.tuples(st.just("number"), place, st.sampled_from([1, 2, 4, 8]), st.sampled_from(_SIZES)),
        st.tuples(st.just("insert"), place, st.binary(min_size=1, max_size=6).map(lambda it: it.decode("latin-1"))),
        st.tuples(
            st.just("text"), place, st.sampled_from(["\n", "\t", '"', "'", "{", "[", "&a", "*a", "!!int", "- ", ": "])
        ),
        st.tuples(st.just("delete"), place, st.integers(1, 40)),
        st.tuples(st.just("copy"), place, place, st.integers(1, 40)),
        st.tuples(st.just("cut"), place),
    )
    return st.lists(change.map(list), min_size=least, max_size=most)


def changed_bytes(content: bytes, changes: list[list[Any]]) -> bytes:
    """Bytes with these changes."""
    made = bytearray(content)
    for kind, where, *details in changes:
        at = where % (len(made) + 1)
        if kind == "flip" and at < len(made):
            made[at] ^= 1 << details[0]
        elif kind == "number":
            size, number = details
            made[at : at + size] = (number % 2 ** (8 * size)).to_bytes(size, "little")
        elif kind in ("insert", "text"):
            made[at:at] = details[0].encode("latin-1")
        elif kind == "delete":
            del made[at : at + details[0]]
        elif kind == "copy":
            start = details[0] % (len(made) + 1)
            made[at : at + details[1]] = made[start : start + details[1]]
        elif kind == "cut":
            del made[at:]
    return bytes(made)
