"""Joins the pieces of a model's predictions in their order and records what they were made from.

Runs in the model's own environment. Reads and writes a few megabytes at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import h5py
import numpy as np
import results
from results import Problem

Piece: TypeAlias = "tuple[str, Any, dict[str, Any]]"  # path, open file and description


def main() -> None:
    """Combines the pieces."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="directory of the Kipoi model")
    parser.add_argument("--pieces", required=True, nargs="+", help="HDF5 files in the order of their rows")
    parser.add_argument("--arguments", type=results.parsed, default={}, help="of its dataloader, as JSON")
    parser.add_argument("--predictions", type=results.parsed, default={}, help="JSON: argument -> HDF5 file")
    parser.add_argument("--output", required=True, help="the HDF5 file")
    options = parser.parse_args()
    folder, output = results.full(options.model), results.full(options.output)
    records = results.load_records(folder)
    try:
        recorded = results.with_files(
            options.arguments, lambda path: {"sha256": records.sha256_of(path), "bytes": Path(path).stat().st_size}
        )
        recorded |= inherited(folder, options.predictions, recorded)
        # Afterwards: a file that changes while it is read then has another time than the one that the pieces saw.
        made = results.made_from(folder, options.arguments, options.predictions)
        with contextlib.ExitStack() as stack:
            pieces = [opened(stack, folder, path) for path in options.pieces]
            check(made, pieces)
            with results.new_file(output) as file:
                copy(file, pieces)
                add_digests(file, records)
                kept = {key: made[key] for key in ("model", "directory", "predictions")}
                records.write_record(file, {**kept, "arguments": recorded})
    except Problem as error:
        sys.exit(f"Error: {error}")


def inherited(folder: Path, predictions: Mapping[str, str], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments with which the predictions that were read were made; this result was made with them, too.

    An argument has the same name for all models of a workflow.
    """
    found: dict[str, Any] = {}
    for argument, path in predictions.items():
        for name, value in results.record_of(folder, argument, path)["arguments"].items():
            for other in (found, recorded):
                if other.get(name, value) != value:
                    raise Problem(
                        f"{argument} was made with another {name}. Expected: {json.dumps(other[name])}. "
                        f"Received: {json.dumps(value)}. Run all of the workflow with the same arguments."
                    )
            found[name] = value
    return found


def opened(stack: contextlib.ExitStack, folder: Path, path: str) -> Piece:
    """Returns path, open file and description of a piece."""
    try:
        file = stack.enter_context(results.open_whole(folder, path))
        text = file.attrs.get("piece")
        piece = None if text is None else json.loads(text)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise Problem(f"The piece '{path}' cannot be read: {error}") from error
    if not isinstance(piece, dict):
        raise Problem(f"The piece '{path}' does not say what it was made from: it was not finished.")
    return path, file, piece


def check(made: Mapping[str, Any], pieces: Sequence[Piece]) -> None:
    """Raises if pieces do not belong together, or were made from something else than they should."""
    at = 0
    for path, file, piece in pieces:
        for key, what in (
            ("model", "by another model"),
            ("directory", "by another version of the model's directory"),
            ("arguments", "with other arguments of the dataloader"),
            ("files", "before a file among the arguments was changed"),
            ("predictions", "from other predictions"),
        ):
            if piece[key] != made[key]:
                raise Problem(
                    f"The piece '{path}' was made {what}. Expected: {json.dumps(made[key], sort_keys=True)}. "
                    f"Received: {json.dumps(piece[key], sort_keys=True)}. Remove it and run the workflow again."
                )
        if piece["start"] != at:
            raise Problem(
                f"The pieces are not in their order, or one is missing. Expected: one that starts at row {at}. "
                f"Received: '{path}', which starts at row {piece['start']}"
            )
        at = piece["stop"]
        check_rows(path, datasets(file), range(piece["start"], piece["stop"]))
    totals = {piece["rows"] for _, _, piece in pieces}
    if len(totals) > 1 or (None not in totals and totals != {at}):
        raise Problem(f"The pieces are not all rows. Expected: {max(totals)}. Received: {at}")
    if not at:
        raise Problem(f"There are no rows to predict for '{made['model']}'.")


def check_rows(path: str, found: Mapping[str, Any], rows: range) -> None:
    """Raises if a dataset of a piece does not have some rows, or has them in another order."""
    for name, dataset in found.items():
        shape = dataset.shape or ()  # a scalar has no rows
        if shape[:1] != (len(rows),):
            received = ", ".join(map(str, shape[:1])) or "none"
            raise Problem(f"The piece '{path}' was changed. Expected: {len(rows)} rows in {name}. Received: {received}")
    for start, stop in results.blocks(len(rows), 8):
        expected = np.arange(rows[start], rows[start] + stop - start)
        if "rows/number" not in found or not np.array_equal(found["rows/number"][start:stop], expected):
            raise Problem(
                f"The piece '{path}' was changed. Expected: rows {rows.start} to {rows.stop - 1} in their order. "
                "Received: others in rows/number"
            )


def datasets(file: Any) -> dict[str, Any]:
    """Returns all datasets of an open file by name."""
    found: dict[str, Any] = {}
    file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return found


def copy(file: Any, pieces: Sequence[Piece]) -> None:
    """Writes the rows of all pieces, one dataset after the other."""
    full = [(path, datasets(piece)) for path, piece, said in pieces if said["stop"] > said["start"]]
    for name in sorted(set().union(*(found for _, found in full))):
        sources = []
        for path, found in full:
            if name not in found:
                raise Problem(f"The piece '{path}' lacks {name}, which others have.")
            sources.append(found[name])
        widest = max(sources, key=lambda source: source.dtype.itemsize)
        for (path, _), source in zip(full, sources, strict=True):
            texts = source.dtype.kind == widest.dtype.kind == "S"
            if source.shape[1:] != widest.shape[1:] or not (texts or source.dtype == widest.dtype):
                raise Problem(
                    f"The piece '{path}' differs from others in {name}. Expected: rows of shape {widest.shape[1:]} and "
                    f"dtype {widest.dtype}. Received: {source.shape[1:]} and {source.dtype}"
                )
        target = results.create(file, name, sum(map(len, sources)), widest.shape[1:], widest.dtype)
        at = 0
        for (path, _), source in zip(full, sources, strict=True):
            for start, stop in results.blocks(len(source), results.row_bytes(target)):
                try:
                    values = source[start:stop]
                except OSError as error:
                    raise Problem(f"The piece '{path}' cannot be read: {error}") from error
                target[at + start : at + stop] = values
            at += len(source)


def add_digests(file: Any, records: ModuleType) -> None:
    """Adds a digest of every row, made from what was written."""
    width = sum(results.row_bytes(dataset) for dataset in datasets(file).values())
    rows = len(file["rows/number"])
    digests = file.create_dataset("rows/digest", shape=(rows,), dtype="uint64")
    for start, stop in results.blocks(rows, width):
        digests[start:stop] = records.digests(records.covered(file, start, stop))


if __name__ == "__main__":
    main()
