"""Result files that are either whole or not there, and what they were made from: for both scripts.

Needs h5py and NumPy only.
"""

import contextlib
import glob
import hashlib
import importlib.util
import json
import os
import uuid

import h5py
import numpy as np

_CHUNK_BYTES = 1 << 18  # few rows are read at a time by what joins the files


class Problem(Exception):
    """What went wrong, for the log."""


def with_files(value, change):
    """Returns a value in which every text that names a file is changed, also in lists and dicts."""
    if isinstance(value, dict):
        return {key: with_files(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [with_files(item, change) for item in value]
    return change(value) if isinstance(value, str) and os.path.isfile(value) else value


def absolute(arguments):
    """Returns arguments in which texts that name files are absolute, as Kipoi changes the working directory."""
    return with_files(arguments, os.path.abspath)


def load_records(folder):
    """Returns the module ``merging/records.py`` of a model's directory, loaded by its path."""
    spec = importlib.util.spec_from_file_location("records", os.path.join(folder, "merging", "records.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made_from(folder, arguments, predictions):
    """Returns what a result depends on, as JSON has it, without reading large files.

    Args:
        folder: The model's directory.
        arguments: Of its dataloader; files are told apart by their sizes and times.
        predictions: Dataloader argument -> file with predictions, told apart by the keys of their records.
    """
    with open(os.path.join(folder, "sha256.json"), "rb") as file:
        directory = hashlib.sha256(file.read()).hexdigest()
    return {
        "model": os.path.basename(folder),
        "directory": directory,
        "arguments": arguments,
        "files": with_files(arguments, state_of),
        "predictions": keys_of(folder, predictions),
    }


def state_of(path):
    """Returns size and time of a file, by which a change is noticed without reading it."""
    state = os.stat(path)
    return [state.st_size, state.st_mtime_ns]


def keys_of(folder, predictions):
    """Returns the key of the record of every file with predictions, by argument."""
    records, keys = load_records(folder), {}
    for argument, path in predictions.items():
        try:
            with h5py.File(path, "r") as file:
                record = records.read_record(file)
        except OSError as error:
            raise Problem(f"The file '{path}' for {argument} cannot be read: {error}") from error
        if record is None:
            raise Problem(f"The file '{path}' for {argument} has no record, as it was not finished by this workflow.")
        keys[argument] = record["key"]
    return keys


@contextlib.contextmanager
def new_file(path):
    """Opens a new HDF5 file, which gets its name once it is whole.

    Until then it has a name that no other process knows: one that was left over, when Snakemake was killed, cannot
    write into it, and loses its own file.
    """
    for other in glob.glob(f"{glob.escape(path)}.*.part"):
        _remove(other)
    part = f"{path}.{uuid.uuid4().hex}.part"
    try:
        with h5py.File(part, "x") as file:
            yield file
        with open(part, "rb+") as whole:
            os.fsync(whole.fileno())
        os.replace(part, path)
    finally:
        _remove(part)


def create(file, name, rows, shape, dtype):
    """Creates a dataset that can grow: each row has the given shape."""
    size = dtype.itemsize * int(np.prod(shape, dtype="int64"))
    # Numbers of rows are read with every batch, and are small.
    options = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if name != "rows/number" else {}
    return file.create_dataset(
        name,
        shape=(rows, *shape),
        dtype=dtype,
        maxshape=(None, *shape),
        chunks=(max(1, min(_CHUNK_BYTES // max(1, size), 1 << 16)), *shape),
        **options,
    )


def blocks(rows, row_bytes, block_bytes=1 << 24):
    """Yields start and stop of blocks of rows that fit into memory."""
    step = max(1, block_bytes // max(1, row_bytes))
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


def row_bytes(dataset):
    """Returns the size of a row of a dataset."""
    return dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype="int64"))


def parsed(text):
    """Returns the value of an argument that is a JSON object."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(text)
    return value


def _remove(path):
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
