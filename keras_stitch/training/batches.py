"""Batches as flat arrays with one entry for each row, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np

from keras_stitch.errors import StitchError

Array = np.ndarray[Any, Any]
PARTS = ("inputs", "targets", "metadata")
TEXT = "text"


@dataclass(frozen=True)
class Leaf:
    """One array of every batch; ``shape`` is that of one row."""

    path: tuple[str | int, ...]  # such as ("inputs", "dna"); list entries have numbers
    dtype: str  # NumPy's name with the order of bytes, "<f4"; "text" for text
    shape: tuple[int, ...]

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Leaf:
        """The leaf from what JSON made of ``asdict``."""
        return cls(tuple(plain["path"]), plain["dtype"], tuple(plain["shape"]))

    @property
    def name(self) -> str:
        """What messages call it, such as ``inputs/dna``."""
        return "/".join(map(str, self.path))

    @property
    def dataset(self) -> str:
        """The name of its HDF5 dataset; slashes and the like within names are written as in a URL."""
        names = (quote(str(key), safe=" ") for key in self.path)
        return "/".join({"": "%", ".": "%2E"}.get(name, name) for name in names)


def split(batch: Any) -> tuple[dict[str, Any], dict[Leaf, Array]]:
    """A Kipoi batch as flat arrays.

    Returns:
        For each part how its arrays are nested, as JSON has it and with numbers in their places, ``None`` for targets
        and metadata that are not there; and the arrays, in the order of these numbers. Inputs and targets keep dtype
        and values. In metadata, whatever is no number or truth value becomes text. Arrays of text have dtype object.

    Raises:
        StitchError: If there are no inputs, an array cannot be stored, or they differ in their rows.

    Example:
        >>> structure, arrays = split({"inputs": {"a": np.ones((2, 3), "float32")}, "metadata": {"id": ["x", "y"]}})
        >>> structure
        {'inputs': {'dict': {'a': 0}}, 'targets': None, 'metadata': {'dict': {'id': 1}}}
        >>> [(leaf.name, leaf.dtype, leaf.shape) for leaf in arrays]
        [('inputs/a', '<f4', (3,)), ('metadata/id', 'text', ())]
    """
    if not isinstance(batch, Mapping) or _is_absent(batch.get("inputs")):
        raise StitchError(
            "There are no inputs in a batch.",
            expected="a dict with 'inputs'",
            received=repr(list(batch) if isinstance(batch, Mapping) else batch)[:200],
        )
    arrays: dict[Leaf, Array] = {}
    structure = {part: None if _is_absent(batch.get(part)) else _nested(batch[part], (part,), arrays) for part in PARTS}
    sizes = {leaf.name: len(array) for leaf, array in arrays.items()}
    if len(set(sizes.values())) != 1:
        first, *others = sizes.items()
        other = next(item for item in others if item[1] != first[1]) if others else first
        raise StitchError(
            "The arrays of a batch do not have the same number of rows.",
            received=f"{first[1]} in {first[0]}, {other[1]} in {other[0]}",
        )
    return structure, arrays


def joined(structure: Any, array: Callable[[int], Array]) -> Any:
    """Arrays nested as ``structure`` says, which ``split`` made of one part; ``array`` gives the array of a number."""
    if isinstance(structure, int):
        return array(structure)
    if structure is None:
        return {}
    ((kind, items),) = structure.items()
    if kind == "dict":
        return {name: joined(item, array) for name, item in items.items()}
    return (tuple if kind == "tuple" else list)(joined(item, array) for item in items)


def rest(batch: Any, skipped: int) -> dict[str, Any]:
    """A Kipoi batch without its first rows."""
    structure, arrays = split(batch)
    flat = list(arrays.values())
    return {part: joined(structure[part], lambda number: flat[number][skipped:]) for part in PARTS}


def size(batch: Any) -> int:
    """How many rows a Kipoi batch has."""
    return len(next(iter(split({"inputs": batch["inputs"]})[1].values())))


def _is_absent(value: Any) -> bool:
    """Whether a part is not there: ``None``, or nothing but empty dicts and lists."""
    if isinstance(value, Mapping):
        return all(map(_is_absent, value.values()))
    return value is None or (isinstance(value, list | tuple) and all(map(_is_absent, value)))


def _nested(value: Any, path: tuple[str | int, ...], arrays: dict[Leaf, Array]) -> Any:
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise StitchError(
                f"A dict in {'/'.join(map(str, path))} has keys that are no text.", received=repr(list(value))[:200]
            )
        return {"dict": {key: _nested(item, (*path, key), arrays) for key, item in value.items()}}
    if _is_nested(value):
        items = [_nested(item, (*path, number), arrays) for number, item in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    array = _storable(value, path)
    arrays[Leaf(path, TEXT if array.dtype.kind == "O" else array.dtype.str, array.shape[1:])] = array
    return len(arrays) - 1


def _is_nested(value: Any) -> bool:
    """Whether it is a list of arrays; a list of plain values is one array."""
    kinds = Mapping | list | tuple | np.ndarray
    return isinstance(value, list | tuple) and (not value or any(isinstance(item, kinds) for item in value))


def _storable(value: Any, path: Sequence[str | int]) -> Array:
    """A value of every row as an array of numbers, or of text with dtype object."""
    name, array = "/".join(map(str, path)), np.asarray(value)
    if array.ndim == 0:
        raise StitchError(
            f"{name} does not have one entry for each row.", expected="an array", received=repr(value)[:200]
        )
    # Types that other packages add, such as bfloat16, are none that HDF5 has.
    if array.dtype.kind in "biufc" and np.dtype(array.dtype.str) == array.dtype:
        return array
    items = array.ravel().tolist()
    is_text = array.dtype.kind in "US" or all(isinstance(item, str | bytes) for item in items)
    if path[0] != "metadata" and not is_text:
        raise StitchError(
            f"{name} cannot be stored.", expected="numbers, truth values or text", received=f"dtype {array.dtype}"
        )
    texts = [_text(item) for item in items]
    if any("\0" in text for text in texts):
        raise StitchError(f"{name} cannot be stored: HDF5 has no text with a null character.")
    result = np.empty(len(texts), dtype="O")
    result[:] = texts
    return result.reshape(array.shape)


def _text(item: Any) -> str:
    # Not all that Python calls text is text in a file.
    text = item if isinstance(item, bytes) else str(item).encode("utf-8", "backslashreplace")
    return text.decode("utf-8", "backslashreplace")
