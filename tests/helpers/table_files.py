"""Table files of every format, with ids and ranges, and what can be wrong with the order of their rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from keras_stitch.kipoi.templates import template_module

FORMATS = [known.name for known in template_module("kipoi.merging.table_formats").FORMATS]


def write(
    stem: Path, form: str, keys: dict[str, Any], values: np.ndarray, order: Sequence[int], nested: bool = True
) -> Path:
    """Writes a file: some rows, in some order, of two columns and of what names the rows.

    Args:
        stem: Its path without the ending.
        form: The name of the format, and perhaps where in it the names of rows are: a key of ``WRITERS``.
        keys: What names all rows, by column.
        values: All rows, of shape ``(rows, 2)``.
        order: The numbers of the rows in the file.
        nested: Of two ways to write the same, the one that is less plain.
    """
    ending, writer = WRITERS[form]
    path = stem.with_name(f"{stem.name}.{ending}")
    writer(path, {name: column[list(order)] for name, column in keys.items()}, values[list(order)], nested)
    return path


def frame(keys: dict[str, Any], values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({**keys, **{f"c{number}": column for number, column in enumerate(values.T)}})


def in_groups(keys: dict[str, Any], nested: bool) -> dict[str, Any]:
    """The same by the paths that Kipoi gives them in its own files, or in a group of no meaning."""
    whole = "chr" in keys
    groups = {True: "metadata/ranges/" if whole else "metadata/", False: "rows/"}
    renamed = {"name": "id"} if nested else {}
    return {groups[nested] + renamed.get(name, name): column for name, column in keys.items()}


def in_order(keys: dict[str, Any], nested: bool) -> dict[str, Any]:
    """The paths of groups, which Kipoi writes in the order of the alphabet."""
    return dict(sorted(in_groups(keys, nested).items()))


def write_nested_npy(path: Path, keys: dict[str, Any], values: np.ndarray, nested: bool) -> None:
    inner = np.dtype([(name, column.dtype) for name, column in keys.items()])
    array = np.zeros(len(values), [("metadata", [("ranges", inner)]) if nested else ("rows", inner), ("out", "f4", 2)])
    for name, column in keys.items():
        (array["metadata"]["ranges"] if nested else array["rows"])[name] = column
    array["out"] = values
    np.save(path, array)


def write_compound_hdf5(path: Path, keys: dict[str, Any], values: np.ndarray, nested: bool) -> None:
    """A table in a dataset of HDF5, which has no text but bytes."""
    columns = {name: column.astype("S") if column.dtype.kind == "U" else column for name, column in keys.items()}
    table = np.zeros(len(values), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        table[name] = column
    with h5py.File(path, "w") as file:
        file["metadata/rows" if nested else "rows"], file["preds"] = table, values


def write_npy(path: Path, keys: dict[str, Any], values: np.ndarray, nested: bool) -> None:
    fields = [(name, column.dtype) for name, column in keys.items()]
    kind = values.dtype
    fields += [("out", kind, values.shape[1:])] if nested else [(f"c{number}", kind) for number in (0, 1)]
    array = np.zeros(len(values), fields)
    for name, column in keys.items():
        array[name] = column
    for number, column in enumerate(values.T):
        array["out" if nested else f"c{number}"][(..., number) if nested else ...] = column
    np.save(path, array)


def write_hdf5(path: Path, keys: dict[str, Any], values: np.ndarray, nested: bool) -> None:
    with h5py.File(path, "w") as file:
        for name, column in keys.items():
            texts = column.dtype.kind == "U"
            file[name] = column.astype("S" if nested else "O") if texts else column.reshape(-1, 1) if nested else column
        file["out" if nested else "other"] = values


WRITERS: dict[str, tuple[str, Callable]] = {
    "NPY": ("npy", write_npy),
    "TSV": ("tsv", lambda path, keys, values, nested: frame(keys, values).to_csv(path, sep="\t", index=False)),
    "CSV": ("csv", lambda path, keys, values, nested: frame(keys, values).to_csv(path, index=False)),
    "HDF5": ("h5", write_hdf5),
    "Parquet": (
        "parquet",
        lambda path, keys, values, nested: (
            frame(keys, values).set_index(list(keys)) if nested else frame(keys, values)
        ).to_parquet(path),
    ),
}
WRITERS |= {
    "HDF5 in groups": ("h5", lambda path, keys, *rest: write_hdf5(path, in_groups(keys, rest[-1]), *rest)),
    "HDF5 in a compound dataset": ("h5", write_compound_hdf5),
    "NPY in nested fields": ("npy", write_nested_npy),
    "TSV in groups": ("tsv", lambda path, keys, *rest: WRITERS["TSV"][1](path, in_order(keys, rest[-1]), *rest)),
    "CSV in groups": ("csv", lambda path, keys, *rest: WRITERS["CSV"][1](path, in_order(keys, rest[-1]), *rest)),
    "Parquet in groups": (
        "parquet",
        lambda path, keys, *rest: WRITERS["Parquet"][1](path, in_order(keys, rest[-1]), *rest),
    ),
}
FORMS = list(WRITERS)


def swapped(order: list[int], a: int, b: int) -> list[int]:
    order[a], order[b] = order[b], order[a]
    return order


FAULTS: dict[str, Callable[[list[int], int, int], list[int]]] = {
    "swapped": swapped,
    "reversed": lambda order, a, b: order[::-1],
    "rotated": lambda order, a, b: [*order[max(a, b) :], *order[: max(a, b)]],
    "shifted": lambda order, a, b: [*order[: min(a, b)], *order[min(a, b) + 1 : max(a, b) + 1], *order[max(a, b) :]],
    "in the place of another": lambda order, a, b: [b if row == a else row for row in order],
    "dropped": lambda order, a, b: order[:a] + order[a + 1 :],
    "duplicated": lambda order, a, b: [*order[:b], a, *order[b:]],
    "cut off": lambda order, a, b: order[: max(1, a)],
}
