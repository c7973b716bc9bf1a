"""Runs rows of a dataloader through one model and writes what it predicts into an HDF5 file.

Runs in the model's own environment. A text among the arguments that is the name of a file stands for that file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import results
from results import Problem
from tqdm import tqdm


def main() -> None:
    """Predicts one piece."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="directory of the Kipoi model")
    parser.add_argument("--arguments", type=results.parsed, default={}, help="of its dataloader, as JSON")
    parser.add_argument("--predictions", type=results.parsed, default={}, help="JSON: argument -> HDF5 file")
    parser.add_argument("--piece", type=piece, default=(1, 1), help="which of how many pieces, such as 2-of-4")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=0, help="processes that read")
    parser.add_argument("--output", required=True, help="the HDF5 file")
    options = parser.parse_args()
    folder, output = results.full(options.model), results.full(options.output)
    try:
        check_contents(folder)
        made = results.made_from(folder, options.arguments, options.predictions)
        given = results.absolute({**options.arguments, **options.predictions})
        directory = results.load_runtime(folder).Directory(folder)
        loader, model = directory.dataloader(**given), directory.model()
        rows, total = rows_of(loader, made["model"], options.piece, options.batch_size)
        with results.new_file(output) as file:
            batches = loader.numbered_batches(options.batch_size, num_workers=options.workers, rows=rows)
            expected = range(total) if rows is None and total is not None else rows
            start = 0 if expected is None else expected.start
            counted = progress(batches, expected, options.batch_size)
            stop = start + write(file, model, directory.target_name(), counted, made["model"], start)
            if expected is not None and stop - start != len(expected):
                raise Problem(
                    f"The dataloader of '{made['model']}' did not give all rows. Expected: {len(expected)} rows. "
                    f"Received: {stop - start}"
                )
            file.attrs["piece"] = json.dumps({**made, "start": start, "stop": stop, "rows": total}, sort_keys=True)
    except Problem as error:
        sys.exit(f"Error: {error}")


def piece(text: str) -> tuple[int, int]:
    """Returns number and count of "2-of-4"."""
    number, count = (int(part) for part in text.split("-of-"))
    if not 1 <= number <= count:
        raise ValueError(text)
    return number, count


def check_contents(folder: Path) -> None:
    """Raises if files of a model's directory are not as they were when it was made."""
    records = results.load_records(folder)
    known = json.loads((folder / "sha256.json").read_text(encoding="utf-8"))
    paths = {name: folder / name for name in known}
    missing = [name for name, path in paths.items() if not path.is_file()]
    changed = [name for name, path in paths.items() if name not in missing and records.sha256_of(path) != known[name]]
    if missing or changed:
        listed = [f"changed: {', '.join(changed)}"] * bool(changed) + [f"missing: {', '.join(missing)}"] * bool(missing)
        raise Problem(
            f"The model in '{folder}' is not as it was made. Expected: the files in sha256.json. "
            f"Received: {'; '.join(listed)}. Restore them, or make the directory again."
        )


def rows_of(loader: Any, name: str, piece: tuple[int, int], batch_size: int) -> tuple[range | None, int | None]:
    """Returns the rows of a piece, None for all, and the number of all rows, None if nobody knows it.

    Pieces are whole batches, so that pieces give the same digits as all rows at once.
    """
    number, count = piece
    total = len(loader) if hasattr(type(loader), "__len__") else None
    if count == 1:
        return None, total
    if total is None:
        raise Problem(
            f"The dataloader of '{name}' can only be read from the first row to the last. Expected: chunks: 1 in "
            f"config.yaml. Received: {count}"
        )
    batches = -(-total // batch_size)
    first, last = (number - 1) * batches // count, number * batches // count
    return range(min(first * batch_size, total), min(last * batch_size, total)), total


def progress(batches: Iterable[Any], rows: range | None, batch_size: int) -> Iterable[Any]:
    """Returns batches that are counted in the log while they are read."""
    counted: Iterable[Any] = tqdm(
        batches, total=None if rows is None else -(-len(rows) // batch_size), unit="batch", mininterval=5
    )
    return counted


def write(file: Any, model: Any, target: str, batches: Iterable[Any], name: str, start: int) -> int:
    """Writes predictions, metadata and keys of rows; returns the number of rows. ``target`` is the only prediction."""
    count = 0
    for batch in batches:
        numbers = batch["rows"]["number"]
        if not np.array_equal(numbers, np.arange(len(numbers)) + start + count):
            raise Problem(f"The dataloader of '{name}' gave other rows than those from {start + count} on.")
        predicted = model.predict_on_batch(batch["inputs"])
        if not isinstance(predicted, (dict, list, tuple)):
            predicted = {target: predicted}
        groups = {"preds": predicted, "metadata": batch.get("metadata", {}), "rows": batch["rows"]}
        for path, array in leaves(groups):
            if np.ndim(array) == 0 or len(array) != len(numbers):
                received = "no rows" if np.ndim(array) == 0 else f"{len(array)} rows"
                raise Problem(
                    f"A batch of '{name}' has another number of rows in {path}. Expected: {len(numbers)}. "
                    f"Received: {received}"
                )
            append(file, path, storable(path, array))
        count += len(numbers)
    return count


def leaves(nested: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields path and array of nested dicts and lists."""
    if isinstance(nested, (dict, list, tuple)):
        items = nested.items() if isinstance(nested, dict) else enumerate(nested)
        for key, item in items:
            yield from leaves(item, f"{path}/{key}" if path else str(key))
    else:
        yield path, nested


def storable(path: str, array: Any) -> np.ndarray:
    """Returns an array as HDF5 keeps it: texts as UTF-8 bytes, no longer than the longest."""
    array = np.asarray(array)
    if array.dtype.kind == "O":
        items = list(array.ravel())
        if any(not isinstance(item, (str, bytes, int, float, type(None))) for item in items):
            raise Problem(f"{path} has objects that are no texts, such as {type(items[0]).__name__}.")
        texts = [item if isinstance(item, bytes) else str(item).encode() for item in items]
        array = np.array(texts, "S").reshape(array.shape)
    if array.dtype.kind == "U":
        array = np.char.encode(array, "utf-8")
    if array.dtype.kind == "S":
        array = array.astype(f"S{max(1, int(np.char.str_len(array).max(initial=0)))}")
    return array


def append(file: Any, path: str, array: np.ndarray) -> None:
    """Adds rows to a dataset, which is created or given longer texts if needed."""
    if path not in file:
        results.create(file, path, 0, array.shape[1:], array.dtype)
    dataset = file[path]
    if array.dtype.kind == dataset.dtype.kind == "S" and array.dtype.itemsize > dataset.dtype.itemsize:
        dataset = widen(file, path, array.dtype)
    texts = array.dtype.kind == dataset.dtype.kind == "S"
    if array.shape[1:] != dataset.shape[1:] or not (texts or array.dtype == dataset.dtype):
        raise Problem(
            f"Batches differ in {path}. Expected: rows of shape {dataset.shape[1:]} and dtype {dataset.dtype}. "
            f"Received: {array.shape[1:]} and {array.dtype}"
        )
    start = len(dataset)
    dataset.resize(start + len(array), axis=0)
    dataset[start:] = array


def widen(file: Any, path: str, dtype: np.dtype) -> Any:
    """Replaces a dataset by one that holds longer texts, and returns that."""
    old = file[path]
    del file[path]
    new = results.create(file, path, len(old), old.shape[1:], dtype)
    for start, stop in results.blocks(len(old), results.row_bytes(new)):
        new[start:stop] = old[start:stop].astype(dtype)
    return new


if __name__ == "__main__":
    main()
