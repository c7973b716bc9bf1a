"""Kipoi directories of the kind that lie in a zoo: what benchmarks compare with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

DATALOADER = '''
"""Rows of an NPY file."""

import numpy as np
from kipoi.data import Dataset


class Rows(Dataset):
    def __init__(self, rows_file):
        self.rows = np.load(rows_file)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return {"inputs": self.rows[index], "metadata": {"id": str(index)}}
'''


def write_kipoi(
    folder: Path, size: tuple[int | None, ...], units: tuple[int | None, ...], defined_as: str, args: dict[str, Any]
) -> Path:
    """A Kipoi directory around files that are there, with a dataloader that reads an NPY file."""
    shape = (4, *(length or 1 for length in size))
    np.save(folder / "rows.npy", np.random.default_rng(0).standard_normal(shape).astype("float32"))
    (folder / "dataloader.py").write_text(DATALOADER)
    info = {"authors": [{"name": "nobody"}], "doc": "A model to measure.", "license": "MIT"}
    schema = {"inputs": {"name": "rows", "shape": str(size), "doc": "Numbers."}}
    model = {
        "defined_as": defined_as,
        "args": args,
        "default_dataloader": ".",
        "info": info,
        "schema": {**schema, "targets": {"name": "y", "shape": str(units), "doc": "Numbers."}},
    }
    loader = {
        "type": "Dataset",
        "defined_as": "dataloader.Rows",
        "args": {"rows_file": {"doc": "An NPY file.", "example": "rows.npy"}},
        "info": info,
        "output_schema": {**schema, "metadata": {"id": {"doc": "The row.", "type": "str"}}},
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(model))
    (folder / "dataloader.yaml").write_text(yaml.safe_dump(loader))
    return folder
