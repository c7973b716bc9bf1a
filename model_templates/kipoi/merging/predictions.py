"""Reads the HDF5 files with predictions that a workflow made, and refuses rows that are not as it made them."""

import os

import h5py
import numpy as np

from . import records
from .blocks import as_text
from .problems import problem, reason
from .tables import fits

_BLOCK_BYTES = 4_000_000
_BLOCK_ROWS = 32768
_RANGE = ("chr", "start", "end", "strand")
_DIGEST = ("rows", "digest")
_AGAIN = "Run the workflow again: it makes what is missing or out of date."


class Predictions:
    """The rows of a file with predictions, for some inputs of a model.

    Args:
        name: Its name in the merged dataloader.
        path: The file.
        inputs: For every input that it feeds, the name of the tensor in the file and the shape of a row; None for a
            size that varies.
        made_by: The sha256 that stands for the model and its dataloader, as they were when this directory was made.
        model: The name of the model, where that is another.
        given: Arguments of the merged dataloader that this model's dataloader has as well: both have to be the same.
        align_on: "ids" or "ranges", where rows are looked up by them; None where row i belongs to row i.
        missing: Of rows that are not in all parts: "error", or "inner" to leave them out.
    """

    def __init__(self, name, path, inputs, made_by, model=None, given=None, align_on=None, missing="error"):
        self.name, self.path, self.inputs, self.model = name, os.path.abspath(path), inputs, model or name
        self.align_on, self.missing, self.parts = align_on, missing, [self]
        self.process = self.opened = None
        self.cached, self.reached = (0, 0, {}), 0
        if not os.path.isfile(self.path):
            self.fail("is not there", "the HDF5 file that the workflow makes", "nothing of that name", fix=_AGAIN)
        try:
            with h5py.File(self.path, "r") as file:
                self.check(file, made_by, given or {})
        except OSError as error:  # h5py says so of a file that was cut off
            self.fail("cannot be read", "a whole HDF5 file", reason(error), fix=_AGAIN)

    def check(self, file, made_by, given):
        """Checks what can be known before any row is read, and sets what is known of the rows."""
        self.record = records.read_record(file)
        if self.record is None:
            expected = "a file that the workflow finished"
            self.fail("does not say what it was made from", expected, "one without a record", fix=_AGAIN)
        if self.record["model"] != self.model or self.record["directory"] != made_by:
            self.fail(
                "was made by another model",
                f"'{self.model}' of this directory ({made_by[:12]})",
                f"'{self.record['model']}' ({self.record['directory'][:12]})",
                fix="Run the workflow of this directory.",
            )
        self.length = self.record["rows"]
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
        self.resized = "resized" in known and bool(known["resized"][0])
        everything = [*known.values(), *tensors.values()]
        width = sum(dataset.dtype.itemsize * int(np.prod(dataset.shape[1:])) for dataset in everything)
        self.rows_at_once = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // max(1, width)))

    def check_given(self, given):
        """Raises where this file was made from something else than the merged dataloader was given."""
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

    def read(self, rows):
        """Returns the block of some rows, given by their numbers."""
        rows = np.asarray(rows)
        first, last = int(rows[0]), int(rows[-1]) + 1
        if last - first == len(rows) and np.array_equal(rows, np.arange(first, last)):
            return self.block(*self.contiguous(first, last))
        if self.length <= self.rows_at_once:
            return self.block(self.contiguous(0, self.length)[0], rows)
        # HDF5 takes rows in their order in the file only, and none twice.
        ordered, places = np.unique(rows, return_inverse=True)
        return self.block(self.checked(ordered, ordered), places)

    def contiguous(self, first, last):
        """Arrays with neighbouring rows, and where in them these are; reads ahead where reading goes on."""
        self.open()  # another process has read nothing yet
        start, stop, arrays = self.cached
        if not start <= first <= last <= stop:
            self.cached = (0, 0, {})  # not both in memory
            # As many whole batches as fit, so that none is read in part and then again; one where only that is wanted.
            count, goes_on = last - first, 0 <= first - self.reached <= self.rows_at_once
            batches = max(1, self.rows_at_once // count) if goes_on else 1
            start, stop = first, min(first + batches * count, self.length)
            arrays = self.checked(slice(start, stop), np.arange(start, stop))
            self.cached = (start, stop, arrays)
        self.reached = last
        return arrays, slice(first - start, last - start)

    def checked(self, chosen, numbers):
        """The arrays of some rows by their places in the file, all as they were when they were predicted."""
        self.open()
        try:
            found = {path: dataset[chosen] for path, dataset in self.datasets.items()}
        except OSError as error:
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

    def block(self, arrays, rows):
        """Some rows of arrays of the file as a block of the merged dataloader, which may be changed."""
        block = {("inputs", name): arrays["preds", tensor][rows].copy() for name, (tensor, _) in self.inputs.items()}
        if self.ids is not None:
            block["keys", self.name, "ids"] = arrays["rows", "id"][rows].copy()
        if self.ranges is not None:
            for field in _RANGE:
                if ("rows", field) in arrays:
                    block["keys", self.name, field] = arrays["rows", field][rows].copy()
        block["metadata", self.name, "id"] = self.names(arrays, rows)
        return block

    def names(self, arrays, rows):
        """The ids of rows; where there are none their genomic ranges, or else their numbers."""
        if self.ids is not None:
            return decoded(arrays["rows", "id"][rows])
        if self.ranges is None:
            return arrays["rows", "number"][rows].astype("U")
        chromosomes = decoded(arrays["rows", "chr"][rows])
        ranges = (field.tolist() for field in (chromosomes, arrays["rows", "start"][rows], arrays["rows", "end"][rows]))
        return np.asarray([f"{name}:{start}-{end}" for name, start, end in zip(*ranges, strict=True)], dtype="U")

    def open(self):
        """Opens the file, each process for itself: an open one cannot be shared."""
        if self.process != os.getpid():
            self.opened, self.process, self.cached = h5py.File(self.path, "r"), os.getpid(), (0, 0, {})
            # Those that have a digest in the order in which it was made of them.
            known, tensors = self.opened["rows"], records.predictions(self.opened)
            self.datasets = {("rows", name): known[name] for name in sorted(known)}
            self.datasets |= {("preds", name): dataset for name, dataset in tensors}

    def build(self):
        """Kipoi's hook for workers: nothing is open that they could share."""

    def fail(self, what, expected, received, fix=None):
        """Raises the error that names the file."""
        raise problem(
            f"The file '{self.path}' with the predictions of '{self.model}' {what}.",
            expected=expected,
            received=received,
            fix=fix,
        )


def check_together(parts):
    """Raises where two files with predictions were made from different data: their rows cannot belong together."""
    parts = [part for part in parts if isinstance(part, Predictions)]
    for number, one in enumerate(parts):
        for other in parts[number + 1 :]:
            for argument in sorted(one.record["arguments"].keys() & other.record["arguments"].keys()):
                mine, its = one.record["arguments"][argument], other.record["arguments"][argument]
                if mine != its:
                    raise problem(
                        f"The predictions of '{one.model}' and '{other.model}' were made with another {argument}.",
                        expected="the same for both",
                        received=f"{shown(mine)} for '{one.path}', {shown(its)} for '{other.path}'",
                        fix=_AGAIN,
                    )


def check_source(part, argument, path):
    """Raises where the predictions that a model was given are not those that are given here."""
    try:
        with h5py.File(path, "r") as file:
            record = records.read_record(file) or {}
    except OSError:  # said where that file is opened for its own sake
        return
    if record.get("key") != part.record["predictions"][argument]:
        part.fail(f"was made from another {argument}", f"that of '{path}'", "one with other rows", fix=_AGAIN)


def decoded(array):
    """Returns fixed-length bytes as text; the code points of ASCII are its bytes."""
    octets = np.ascontiguousarray(array).view("uint8")
    if array.dtype.kind != "S" or octets.max(initial=0) > 127:
        return as_text(array)
    return octets.astype("uint32").view(f"U{array.dtype.itemsize}")


def shown(value):
    """A recorded argument, for a message."""
    if records.is_file(value):
        return f"a file of {value['bytes']} bytes with sha256 {value['sha256'][:12]}"
    return f"[{', '.join(map(shown, value))}]" if isinstance(value, list) else repr(value)
