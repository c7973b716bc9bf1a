"""Run a directory's dataloader once, and store its rows for all epochs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from keras_stitch.checks import mapping_of, whole_number
from keras_stitch.errors import StitchError
from keras_stitch.files.read_files import is_directory
from keras_stitch.kipoi.templates import template_module
from keras_stitch.terminal import Step
from keras_stitch.training.batches import rest, size
from keras_stitch.training.dataloading import failure, label, maker
from keras_stitch.training.epochs import is_merged, read_rows
from keras_stitch.training.provenance import key_of
from keras_stitch.training.stored_rows import is_finished, write_features

_KINDS = template_module("kipoi.merging.dataloader_kinds")


def precompute(
    directory: str | os.PathLike[str],
    dataloader_args: Mapping[str, Any] | None,
    path: str | os.PathLike[str],
    *,
    batch_size: int = 32,
    workers: int = 0,
    progress: Step | None = None,
) -> Path:
    r"""Run a directory's dataloader once, and store its rows for training.

    ``training_data(path)`` then gives the same batches without running the dataloader. After an interruption, the same
    call continues; unfinished rows are in ``<path>.part``. A finished file does not change. The file also records what
    the rows were made from: the sha256 of the directory's models and code, except the final model, which is the one
    that is trained; the arguments; and the size and sha256 of files among these.

    Args:
        directory: A directory that ``Graph.save`` wrote, or any other Kipoi directory.
        dataloader_args: The dataloader's arguments: text, numbers and paths, or lists and dicts of these.
        path: The HDF5 file to write. Missing folders are made.
        batch_size: The number of rows in a batch, for reading and for packed models.
        workers: The number of processes that read rows; packed models run in this process.
        progress: A function that gets a short text at every batch; by default, the terminal shows a progress bar.

    Returns:
        The path.

    Raises:
        StitchError: If there is no such dataloader, its arguments do not fit, it fails, its batches have different
            arrays, or the file has rows of something else. Such a file is not changed.

    Example:
        >>> import yaml, keras_stitch as ks
        >>> folder = Path("squares")
        >>> folder.mkdir()
        >>> row = "{'inputs': np.ones(2) * i, 'targets': np.ones(1) * i**2}"
        >>> code = f"import numpy as np\ndef rows(count):\n    for i in range(count):\n        yield {row}"
        >>> _ = (folder / "dataloader.py").write_text(code)
        >>> schema = {"inputs": {"shape": "(2,)", "doc": "x"}, "targets": {"shape": "(1,)", "doc": "y"}}
        >>> _ = (folder / "dataloader.yaml").write_text(yaml.safe_dump({
        ...     "type": "SampleGenerator", "defined_as": "dataloader.py::rows", "output_schema": schema,
        ...     "args": {"count": {"doc": "Rows."}}, "info": {"authors": [{"name": "Ada"}], "doc": "Squares."}}))
        >>> file = ks.precompute(folder, {"count": 10}, "squares.h5")
        >>> data = ks.training_data(file, batch_size=4, shuffle=False)
        >>> len(data), data[2][1].tolist()
        (3, [[64.0], [81.0]])
    """
    batch_size, workers = whole_number("batch_size", batch_size, 1), whole_number("workers", workers, 0)
    arguments = mapping_of(dataloader_args, "dataloader_args=", "{argument: value}")
    _check_directory(directory)
    place, key, make = Path(path), key_of(Path(directory), arguments), maker(directory, arguments)
    if is_finished(place, key):  # a dataloader may take long to make
        return write_features(place, lambda start: iter(()), rows=None, key=key, progress=progress)
    dataloader = make()
    rows = _count(dataloader, directory)

    def batches(start: int) -> Iterator[Mapping[str, Any]]:
        return _explained(_batches(dataloader, start, rows, batch_size, workers), start, directory)

    return write_features(place, batches, rows=rows, key=key, progress=progress)


def _count(dataloader: Any, directory: object) -> int | None:
    """How many rows a dataloader has, ``None`` where it does not know."""
    rows = len(dataloader) if isinstance(dataloader, _KINDS.Dataset | _KINDS.PreloadedDataset) else None
    if rows == 0:
        raise StitchError(f"The dataloader of {label(directory)} has no rows.")
    return rows


def _check_directory(directory: object) -> None:
    if not isinstance(directory, str | os.PathLike) or not is_directory(directory):
        raise StitchError(
            "precompute(...) takes a directory.",
            expected="a Kipoi directory, such as graph.save(...) writes",
            received=repr(directory)[:200],
        )


def _explained(batches: Iterable[Mapping[str, Any]], row: int, directory: Any) -> Iterator[Mapping[str, Any]]:
    """The batches from a row on; where the dataloader fails, the error says at which row."""
    try:
        for batch in batches:
            yield batch
            row += size(batch)
    except StitchError:
        raise
    except Exception as error:  # whatever a dataloader does
        message = f"The dataloader of {label(directory)} fails at the batch from row {row} on."
        fix = "Rows before it are kept: unless the directory or its data change, the same call goes on there."
        raise failure(error, message, fix) from error


def _batches(
    dataloader: Any, start: int, rows: int | None, batch_size: int, workers: int
) -> Iterator[Mapping[str, Any]]:
    """The batches of a dataloader from a row on; where that can be, without reading those before."""
    if rows is not None and (not workers or isinstance(dataloader, _KINDS.PreloadedDataset)):
        for first in range(start, rows, batch_size):
            yield read_rows(dataloader, range(first, min(first + batch_size, rows)))
    elif rows is not None and _takes_sampler(dataloader):
        yield from dataloader.batch_iter(batch_size=batch_size, num_workers=workers, sampler=range(start, rows))
    else:
        yield from _without(dataloader.batch_iter(batch_size=batch_size, num_workers=workers), start)


def _takes_sampler(dataloader: Any) -> bool:
    """Whether what it is given goes on to Kipoi's loader, which takes the numbers of the rows."""
    kind = type(dataloader)
    own = kind._batch_iterable is _KINDS.Dataset._batch_iterable or is_merged(dataloader)
    return bool(own and kind.batch_iter is _KINDS.Dataset.batch_iter)


def _without(batches: Iterable[Any], skipped: int) -> Iterator[Any]:
    """The batches without the first rows."""
    for batch in batches:
        count = size(batch) if skipped else 0
        if skipped >= count > 0:
            skipped -= count
        else:
            yield rest(batch, skipped) if skipped else batch
            skipped = 0
    if skipped:
        raise StitchError("The dataloader has fewer rows than were read before.", received=f"{skipped} fewer")
