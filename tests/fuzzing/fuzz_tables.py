"""Files with rows and targets: TSV, CSV, NPY, HDF5 and Parquet."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path
from typing import Any

import mutations
from fuzz_models import changed_hdf5, hdf5_changes
from hypothesis import strategies as st

_CELLS = [
    "",
    "nan",
    "NaN",
    "inf",
    "1e400",
    "9" * 5000,
    "0x1",
    "1_0",
    "a",
    '"',
    "'",
    ",",
    "\t",
    "\r",
    "\0",
    "é",
    "-",
    ".",
    "#",
]
_HEADS = [
    "id",
    "ids",
    "name",
    "chr",
    "start",
    "end",
    "strand",
    "#chr",
    "c0",
    "c0.1",
    "metadata/id",
    "preds/0",
    "x",
    "x/0",
    "",
]


def tables() -> st.SearchStrategy[dict[str, Any]]:
    """Changes of a table: of its bytes, of its cells, or by HDF5's own means; and what is asked of it."""
    cell = st.tuples(st.just("cell"), st.integers(0, 2**12), st.sampled_from(_CELLS)).map(list)
    head = st.tuples(st.just("head"), st.integers(0, 15), st.sampled_from(_HEADS)).map(list)
    line = st.tuples(st.sampled_from(["no line", "line twice", "no end"]), st.integers(0, 9)).map(list)
    asked = {
        "base": st.integers(0, 2**16),
        "targets": st.booleans(),
        "dtype": st.sampled_from(["float32", "float32", "int64", "bool", "uint8", "float16", "str"]),
        "shape": st.sampled_from([[2], [2], [1, 2], [None], [], [3], [None, None]]),
        "gzip": st.sampled_from([False, False, False, True]),
    }
    changes = st.one_of(
        st.fixed_dictionaries({"bytes": mutations.byte_changes()}),
        st.fixed_dictionaries({"cells": st.lists(st.one_of(cell, head, line), min_size=1, max_size=4)}),
        st.fixed_dictionaries({"hdf5": hdf5_changes()}),
    )
    return st.fixed_dictionaries({**asked, "changes": changes})


# -- in the process that reads --------------------------------------------------------------------
def prepare(folder: Path) -> None:
    """Write a table of every form."""
    import numpy as np
    import table_files

    keys = {
        "id": np.array(["a", "b", "c", "d"]),
        "chr": np.array(["chr1"] * 4),
        "start": np.arange(4),
        "end": np.arange(4) + 10,
    }
    values = np.arange(8, dtype="float32").reshape(4, 2)
    forms = [form for form in table_files.FORMS if "Parquet" not in form or importlib.util.find_spec("pyarrow")]
    for number, form in enumerate(forms):
        for nested in (False, True):
            for count in (1, 4) if nested or "compound" in form else (0, 1, 4):
                chosen = dict(list(keys.items())[:count])
                stem = folder / f"{number:02}{nested:d}{count}"
                table_files.write(stem, form, chosen, values, range(4), nested)
    np.save(folder / "plain.npy", values)
    np.save(folder / "texts.npy", np.array([["a", "b"]] * 4))


def read_table(case: dict[str, Any], bases: Path, folder: Path) -> None:
    """Read all rows of a changed table."""
    from keras_stitch.kipoi.templates import template_module

    kind = next(iter(case["changes"]))
    files = sorted(bases.iterdir())
    if kind == "hdf5":
        files = [file for file in files if file.suffix == ".h5"]
    elif kind == "cells":
        files = [file for file in files if file.suffix in (".csv", ".tsv")]
    base = mutations.chosen(files, case["base"])
    content = base.read_bytes()
    if kind == "hdf5":
        content = changed_hdf5(content, case["changes"][kind])
    elif kind == "cells":
        content = _changed_cells(content.decode(), "\t" if base.suffix == ".tsv" else ",", case["changes"][kind])
    else:
        content = mutations.changed_bytes(content, case["changes"][kind])
    path = folder / base.name
    if case["gzip"] and base.suffix in (".csv", ".tsv"):
        path, content = path.with_name(f"{path.name}.gz"), gzip.compress(content)
    path.write_bytes(content)
    tables = template_module("kipoi.merging.tables")
    if case["targets"]:
        part = tables.Targets(str(path), {"out": (case["shape"], case["dtype"])})
    else:
        part = tables.Table("out", str(path), case["shape"], case["dtype"])
    for rows in ([0], range(part.length), [part.length - 1, 0]):
        part.read(rows)


def _changed_cells(text: str, separator: str, changes: list[list[Any]]) -> bytes:
    lines = [line.split(separator) for line in text.splitlines()]
    for kind, where, *details in changes:
        row = 0 if kind == "head" else where % len(lines)
        if kind in ("cell", "head"):
            lines[row][(where // (1 if kind == "head" else len(lines))) % len(lines[row])] = details[0]
        elif kind == "no line" and len(lines) > 1:
            del lines[row]
        elif kind == "line twice":
            lines.insert(row, list(lines[row]))
        elif kind == "no end":
            lines[row] = lines[row][:-1] or [""]
    return "\n".join(map(separator.join, lines)).encode("utf-8", "surrogatepass")
