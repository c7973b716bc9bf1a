"""Writes batches into an HDF5 file as Kipoi does: the names of nested arrays are paths, texts have any length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from .data_errors import problem

ROWS_AT_ONCE = 10_000  # in a chunk of the file, if that is not too large
CHUNK_BYTES = 2**20


class PredictionFile:
    """A new file. It is opened when the first batch comes: until then, a worker may be forked without it.

    Args:
        path: The file; one that exists is an error.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.file: h5py.File | None = None
        if self.path.exists():
            raise problem(f"'{path}' exists already.", fix="Name another file, or delete it.")

    def __enter__(self) -> PredictionFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.file is not None:
            self.file.close()

    def write(self, batch: Mapping[str, Any]) -> None:
        """Adds a batch: nested dicts and lists of arrays with the same number of rows."""
        arrays = {path: np.asarray(array) for path, array in flat(batch)}
        if self.file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = h5py.File(self.path, "w-")
        for path, array in arrays.items():
            self.append(path, array)

    def append(self, path: str, array: np.ndarray) -> None:
        """Adds rows to a dataset, which is made if there is none."""
        assert self.file is not None
        texts = array.dtype.kind in "OUS"
        if path not in self.file:
            row_bytes = max(1, int(np.prod(array.shape[1:])) * (64 if texts else array.dtype.itemsize))
            rows = min(ROWS_AT_ONCE, max(1, CHUNK_BYTES // row_bytes))
            self.file.create_dataset(
                path,
                shape=(0, *array.shape[1:]),
                maxshape=(None, *array.shape[1:]),
                dtype=h5py.string_dtype() if texts else array.dtype,
                chunks=(rows, *(max(1, size) for size in array.shape[1:])),
                compression="gzip",
            )
        dataset = self.file[path]
        start = len(dataset)
        dataset.resize(start + len(array), axis=0)
        dataset[start:] = array.astype(object) if texts else array


def flat(nested: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields path and array of nested dicts and lists."""
    if isinstance(nested, Mapping):
        nested = list(nested.items())
    elif isinstance(nested, list | tuple):
        nested = list(enumerate(nested))
    else:
        yield path, nested
        return
    for key, item in nested:
        yield from flat(item, f"{path}/{key}" if path else str(key))
