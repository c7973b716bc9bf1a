"""Result files that are either whole or not there, and what they were made from; both scripts use this.

Needs h5py and NumPy only.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import importlib.util
import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np

_CHUNK_BYTES = 1 << 18  # few rows are read at a time by what joins the files


class Problem(Exception):
    """What went wrong, for the log."""


def with_files(value: Any, change: Callable[[str], Any]) -> Any:
    """Returns a value in which every text that names a file is changed, also in lists and dicts."""
    if isinstance(value, dict):
        return {key: with_files(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [with_files(item, change) for item in value]
    is_file = isinstance(value, str) and os.path.isfile(value)
    return change(value) if is_file else value


def full(path: str) -> Path:
    """Returns an absolute path, in which symbolic links stay."""
    return Path(os.path.abspath(path))


def absolute(arguments: dict[str, Any]) -> Any:
    """Returns arguments in which texts that name files are absolute, as models are loaded in their own folder."""
    return with_files(arguments, os.path.abspath)


def open_whole(folder: Path, path: str) -> Any:
    """Returns an HDF5 file, open for reading; one that keeps values in other files is an error."""
    contents = load_module(folder, "hdf5_contents")
    try:
        return contents.opened(path)
    except contents.RefusedFile as error:
        raise Problem(f"The file '{path}' {error}. Remove it and run the workflow again.") from error


def load_records(folder: Path) -> ModuleType:
    """Returns the module ``merging/records.py`` of a model's directory."""
    return load_module(folder, "records")


def load_module(folder: Path, name: str) -> ModuleType:
    """Returns a module in ``merging/`` of a model's directory, loaded by its path."""
    return loaded(importlib.util.spec_from_file_location(name, folder / "merging" / f"{name}.py"))


def load_runtime(folder: Path) -> ModuleType:
    """Returns ``merging/`` of a model's directory as a package."""
    runtime, package = folder / "merging", "merging_of_the_model"
    options: dict[str, Any] = {"submodule_search_locations": [str(runtime)]}
    return loaded(importlib.util.spec_from_file_location(package, runtime / "__init__.py", **options))


def loaded(spec: Any) -> ModuleType:
    """Returns the module that an import system's specification names."""
    module = importlib.util.module_from_spec(spec)
    if spec.submodule_search_locations is not None:  # its files import each other by the name of the package
        sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def made_from(folder: Path, arguments: dict[str, Any], predictions: Mapping[str, str]) -> dict[str, Any]:
    """Returns what a result depends on, as JSON has it, without reading large files.

    Args:
        folder: The model's directory.
        arguments: The arguments of its dataloader; files are told apart by their sizes and times.
        predictions: The file with predictions for each argument; files are told apart by the keys of their records.
    """
    directory = hashlib.sha256((folder / "sha256.json").read_bytes()).hexdigest()
    return {
        "model": folder.name,
        "directory": directory,
        "arguments": arguments,
        "files": with_files(arguments, state_of),
        "predictions": keys_of(folder, predictions),
    }


def state_of(path: str) -> list[int]:
    """Returns size and time of a file, by which a change is noticed without reading it."""
    state = Path(path).stat()
    return [state.st_size, state.st_mtime_ns]


def keys_of(folder: Path, predictions: Mapping[str, str]) -> dict[str, str]:
    """Returns the key of the record of every file with predictions, by argument."""
    return {argument: record_of(folder, argument, path)["key"] for argument, path in predictions.items()}


def record_of(folder: Path, argument: str, path: str) -> dict[str, Any]:
    """Returns the record of the file with predictions that an argument names."""
    records = load_records(folder)
    try:
        with open_whole(folder, path) as file:
            record = records.read_record(file)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise Problem(f"The file '{path}' for {argument} cannot be read: {error}") from error
    if record is None or records.key_of(record) != record.get("key"):
        raise Problem(f"The file '{path}' for {argument} has no record, as it was not finished by this workflow.")
    return record


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Any]:
    """Opens a new HDF5 file, which gets its name when it is whole.

    Until then it has a name that no other process knows. A process that still runs after Snakemake was killed cannot
    write into it, and loses its own file.
    """
    for other in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
        other.unlink(missing_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with h5py.File(part, "x") as file:
            yield file
        with part.open("rb+") as whole:
            os.fsync(whole.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def create(file: Any, name: str, rows: int, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """Creates a dataset that can grow: each row has the given shape."""
    size = dtype.itemsize * int(np.prod(shape, dtype="int64"))
    # Numbers of rows are read with every batch, and are small.
    options: dict[str, Any] = (
        {"compression": "gzip", "compression_opts": 1, "shuffle": True} if name != "rows/number" else {}
    )
    return file.create_dataset(
        name,
        shape=(rows, *shape),
        dtype=dtype,
        maxshape=(None, *shape),
        chunks=(max(1, min(_CHUNK_BYTES // max(1, size), 1 << 16)), *shape),
        **options,
    )


def blocks(rows: int, row_bytes: int, block_bytes: int = 1 << 24) -> Iterator[tuple[int, int]]:
    """Yields start and stop of blocks of rows that fit into memory."""
    step = max(1, block_bytes // max(1, row_bytes))
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


def row_bytes(dataset: Any) -> int:
    """Returns the size of a row of a dataset."""
    return int(dataset.dtype.itemsize * np.prod(dataset.shape[1:], dtype="int64"))


def parsed(text: str) -> dict[str, Any]:
    """Returns the value of an argument that is a JSON object."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(text)
    return value
