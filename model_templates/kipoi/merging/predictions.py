"""Parts that are HDF5 files with predictions of a workflow; refuses rows that are not as the workflow made them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from . import hdf5_contents, records
from .blocks import Block, FieldPath, Rows, as_text, fits
from .data_errors import DataError, problem, reason
from .part_base import BasePart, FilePart
from .row_ids import as_ids

_BLOCK_BYTES = 4_000_000
_BLOCK_ROWS = 32768
_RANGE = ("chr", "start", "end", "strand")
_DIGEST = ("rows", "digest")
_AGAIN = "Run the workflow again: it makes what is missing or out of date."


class Predictions(FilePart):
    """The rows of a file with predictions, for some inputs of a model.

    Args:
        name: Its name in the merged dataloader.
        path: The file.
        inputs: For every input that it feeds, the name of the tensor in the file and the shape of a row; None for a
            size that varies.
        made_by: The sha256 of the model and its dataloader, as they were when this directory was made.
        model: The name of the model, if it is not ``name``.
        given: Arguments of the merged dataloader that the dataloader of this model takes, too: both have to be equal.
        align_on: "ids" or "ranges" if its rows are looked up by them; None if row i belongs to row i.
        missing: What to do with rows that are not in all parts: "error", or "inner" to leave them out.
    """

    def __init__(
        self,
        name: str,
        path: str,
        inputs: Mapping[str, tuple[str, Sequence[int | None]]],
        made_by: str,
        model: str | None = None,
        given: Mapping[str, Any] | None = None,
        align_on: str | None = None,
        missing: str = "error",
    ) -> None:
        self.name, self.inputs, self.model = name, inputs, model or name
        self.path = os.path.abspath(path)
        self.align_on, self.missing, self.parts = align_on, missing, [self]
        self.process: int | None = None
        self.opened: Any = None
        self.cached: tuple[int, int, dict[FieldPath, np.ndarray]] = (0, 0, {})
        self.reached = 0
        if not os.path.isfile(self.path):
            self.fail("is not there", "the HDF5 file that the workflow makes", "nothing of that name", fix=_AGAIN)
        try:
            with hdf5_contents.opened(self.path) as file:
                self.check(file, made_by, given or {})
        except hdf5_contents.RefusedFile as error:
            self.fail(str(error), "a file that the workflow made", "another", fix=_AGAIN)
        except DataError:
            raise
        except Exception as error:  # what h5py raises for a file that was cut off, and whatever a record says
            self.fail("cannot be read", "a whole HDF5 file", reason(error), fix=_AGAIN)

    def check(self, file: Any, made_by: str, given: Mapping[str, Any]) -> None:
        """Checks what can be known before any row is read, and sets what is known of the rows."""
        record = records.read_record(file)
        if record is None:
            expected = "a file that the workflow finished"
            self.fail("does not say what it was made from", expected, "one without a record", fix=_AGAIN)
        self.record: dict[str, Any] = record
        if self.record["model"] != self.model or self.record["directory"] != made_by:
            self.fail(
                "was made by another model",
                f"'{self.model}' of this directory ({made_by[:12]})",
                f"'{self.record['model']}' ({self.record['directory'][:12]})",
                fix="Run the workflow of this directory.",
            )
        self.length: int = self.record["rows"]
        tensors = dict(records.predictions(file))
        for dataset in [*file["rows"].values(), *tensors.values()]:
            if len(dataset) != self.length:
                where = f"is cut off at row {len(dataset)}" if len(dataset) < self.length else "has too many rows"
                self.fail(where, f"{self.length} rows", f"{len(dataset)} in {dataset.name}", fix=_AGAIN)
        for name, (tensor, shape) in self.inputs.items():
            if tensor not in tensors:
                self.fail(f"lacks the data for '{name}'", f"preds/{tensor}", ", ".join(tensors) or "none")
            received = tensors[tensor].shape[1:]
            if not fits(received, shape):
                self.fail(f"has rows of another shape for '{name}'", shape, received)
        if records.content_of(file) != self.record["content"]:
            self.fail("is not as it was made", "the digests of its rows as they were", "others", fix=_AGAIN)
        self.check_given(given)
        known = file["rows"]
        self.ids = ("id",) if "id" in known else None
        self.ranges = () if "chr" in known else None
        self.named_by_ranges, self.random = "chr" in known, bool(self.record.get("random"))
        self.resized = "resized" in known and bool(known["resized"][0])
        everything = [*known.values(), *tensors.values()]
        width = sum(dataset.dtype.itemsize * int(np.prod(dataset.shape[1:])) for dataset in everything)
        self.rows_at_once = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // max(1, width)))

    def check_given(self, given: Mapping[str, Any]) -> None:
        """Raises if this file was made from something else than the merged dataloader was given."""
        for argument, value in given.items():
            if argument in self.record["predictions"]:
                check_source(self, argument, value)
            elif argument in self.record["arguments"]:
                known = self.record["arguments"][argument]
                if not records.is_made_with(known, value):
                    self.fail(
                        f"was made with another {argument}",
                        shown(known),
                        f"{argument}={value!r}",
                        fix="Run the workflow with the same arguments.",
                    )

    def read(self, rows: Rows) -> Block:
        """Returns the block of some rows, given by their numbers."""
        rows = np.asarray(rows)
        first, last = int(rows[0]), int(rows[-1]) + 1
        if last - first == len(rows) and np.array_equal(rows, np.arange(first, last)):
            return self.block(*self.contiguous(first, last))
        if self.length <= self.rows_at_once:
            return self.block(self.contiguous(0, self.length)[0], rows)
        # HDF5 reads rows only in the order of the file, and none twice.
        ordered, places = np.unique(rows, return_inverse=True)
        return self.block(self.checked(ordered, ordered), places)

    def contiguous(self, first: int, last: int) -> tuple[dict[FieldPath, np.ndarray], slice]:
        """Returns arrays that hold neighbouring rows, and where these are in them; reads ahead if reading goes on."""
        self.open()  # another process has read nothing yet
        start, stop, arrays = self.cached
        if not start <= first <= last <= stop:
            self.cached = (0, 0, {})  # not both in memory
            # As many whole batches as fit, so that none is read in part and then again; one if reading does not go on.
            count, goes_on = last - first, 0 <= first - self.reached <= self.rows_at_once
            batches = max(1, self.rows_at_once // count) if goes_on else 1
            start, stop = first, min(first + batches * count, self.length)
            arrays = self.checked(slice(start, stop), np.arange(start, stop))
            self.cached = (start, stop, arrays)
        self.reached = last
        return arrays, slice(first - start, last - start)

    def checked(self, chosen: slice | np.ndarray, numbers: np.ndarray) -> dict[FieldPath, np.ndarray]:
        """Returns the arrays of some rows of the file, and checks that they are as they were predicted."""
        self.open()
        try:
            found = {path: dataset[chosen] for path, dataset in self.datasets.items()}
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            self.fail(f"cannot be read at rows {numbers[0]} to {numbers[-1]}", "whole data", reason(error), fix=_AGAIN)
        digests = found.pop(_DIGEST)
        moved = found["rows", "number"] != numbers
        changed = records.digests(list(found.values())) != digests
        if moved.any():
            at = int(np.argmax(moved))
            self.fail(
                f"has another row in the place of row {numbers[at]}",
                f"the rows in the order of the data, number {numbers[at]} here",
                f"number {found['rows', 'number'][at]}",
                fix=_AGAIN,
            )
        if changed.any():
            at = int(np.argmax(changed))
            self.fail(f"was changed at row {numbers[at]}", "the row as it was predicted", "another digest", fix=_AGAIN)
        return found

    def block(self, arrays: Mapping[FieldPath, np.ndarray], rows: slice | np.ndarray) -> Block:
        """Returns some rows of the file's arrays as a block, copied so that it may be changed."""
        block: Block = {
            ("inputs", name): arrays["preds", tensor][rows].copy() for name, (tensor, _) in self.inputs.items()
        }
        if self.ids is not None:
            block["keys", self.name, "ids"] = as_ids(arrays["rows", "id"][rows], self.name)
        if self.ranges is not None:
            for field in _RANGE:
                if ("rows", field) in arrays:
                    block["keys", self.name, field] = arrays["rows", field][rows].copy()
        block["metadata", self.name, "id"] = self.names(arrays, rows)
        return block

    def names(self, arrays: Mapping[FieldPath, np.ndarray], rows: slice | np.ndarray) -> np.ndarray:
        """Returns the ids of rows; if there are none, their genomic ranges, or else their numbers."""
        found = None if self.ids is None else as_text(arrays["rows", "id"][rows])
        if found is not None and (self.ranges is None or (found != "").all()):
            return found
        if self.ranges is None:
            return arrays["rows", "number"][rows].astype("U")
        chromosomes = as_text(arrays["rows", "chr"][rows])
        ranges = (field.tolist() for field in (chromosomes, arrays["rows", "start"][rows], arrays["rows", "end"][rows]))
        shown = np.asarray([f"{name}:{start}-{end}" for name, start, end in zip(*ranges, strict=True)], dtype="U")
        return shown if found is None else np.where(found == "", shown, found)

    def open(self) -> None:
        """Opens the file, once in each process: an open file cannot be shared."""
        if self.process != os.getpid():
            self.opened, self.process, self.cached = hdf5_contents.opened(self.path), os.getpid(), (0, 0, {})
            # What the digests cover, in the order in which they were computed.
            known, tensors = self.opened["rows"], records.predictions(self.opened)
            self.datasets: dict[FieldPath, Any] = {("rows", name): known[name] for name in sorted(known)}
            self.datasets |= {("preds", name): dataset for name, dataset in tensors}

    def check_beside(self, others: Sequence[BasePart]) -> None:
        """Raises if two files with predictions were made from different data: their rows cannot belong together."""
        for other in others:
            if not isinstance(other, Predictions):
                continue
            for argument in sorted(self.record["arguments"].keys() & other.record["arguments"].keys()):
                mine, its = self.record["arguments"][argument], other.record["arguments"][argument]
                if mine != its:
                    raise problem(
                        f"The predictions of '{self.model}' and '{other.model}' were made with another {argument}.",
                        expected="the same for both",
                        received=f"{shown(mine)} for '{self.path}', {shown(its)} for '{other.path}'",
                        fix=_AGAIN,
                    )

    def fail(self, what: str, expected: Any, received: Any, fix: str | None = None) -> NoReturn:
        """Raises the error that names this file."""
        raise problem(
            f"The file '{self.path}' with the predictions of '{self.model}' {what}.",
            expected=expected,
            received=received,
            fix=fix,
        )


def check_source(part: Predictions, argument: str, path: str) -> None:
    """Raises if the predictions that a model was given are not those that are given here."""
    try:
        with hdf5_contents.opened(path) as file:
            record = records.read_record(file)
    except (OSError, RuntimeError, ValueError, hdf5_contents.RefusedFile):  # reported by the part that reads this file
        return
    if (record or {}).get("key") != part.record["predictions"][argument]:
        part.fail(f"was made from another {argument}", f"that of '{path}'", "one with other rows", fix=_AGAIN)


def shown(value: Any) -> str:
    """Returns a recorded argument, for a message."""
    if records.is_file(value):
        return f"a file of {value['bytes']} bytes with sha256 {value['sha256'][:12]}"
    return f"[{', '.join(map(shown, value))}]" if isinstance(value, list) else repr(value)
