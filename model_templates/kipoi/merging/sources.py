"""Sources: one dataloader object of Kipoi's, its rows and batches as blocks, and what it raises as one error."""

import contextlib
import os
import stat
from collections.abc import Mapping

import numpy as np
from kipoi_utils.data_utils import numpy_collate

from .blocks import leaves
from .keys import with_keys
from .problems import DataError, problem, reason


class Source:
    """One dataloader object, made when it is needed.

    Args:
        parts: The parts that read it: their loader and arguments are the same.
    """

    def __init__(self, parts):
        self.parts, self.paths = parts, None
        self.name = " and ".join(f"'{part.name}'" for part in parts)
        before = _open_files()
        self.loader = self.make()
        self.opens_files = before is None or not _open_files() <= before

    def make(self):
        """Returns a new dataloader object."""
        part = self.parts[0]
        try:
            return part.loader(**part.arguments)
        except Exception as error:
            raise problem(f"The dataloader of {self.name} cannot be made.", received=reason(error)) from error

    def __len__(self):
        before = _open_files()
        with self.guarded("when it is asked for its length"):
            count = len(self.loader)
        # Some open their file here.
        self.opens_files = self.opens_files or before is None or not _open_files() <= before
        return count

    def with_keys(self, block):
        """Adds the keys of all parts to a block, whose fields have to be those of every other."""
        self.paths = self.paths or frozenset(block)
        if block.keys() != self.paths:
            changed = " and ".join("/".join(map(str, path)) for path in sorted(block.keys() ^ self.paths, key=str))
            raise problem(
                f"The rows of {self.name} do not all have the same fields.", received=f"{changed} in some only"
            )
        for part in self.parts:
            with_keys(block, part)
        return block

    def collate(self, rows, where):
        """Returns the block of some rows, each as the dataloader gave it."""
        block = {}
        with self.guarded(f"in {where}"):
            for part in self.parts:
                for name, keys in part.inputs.items():
                    values = [row["inputs"] for row in rows]
                    for key in keys:
                        values = [value[key] for value in values]
                    block["inputs", name] = self.stack(values, name, where)
                if part.metadata:
                    self.stack_all([row["metadata"] for row in rows], ("metadata", part.name), block, where)
        return self.with_keys(block)

    def stack_all(self, values, path, block, where):
        """Adds the arrays of some rows to a block, field by field, as Kipoi goes through them."""
        first = values[0]
        if not isinstance(first, Mapping | list | tuple):
            block[path] = self.stack(values, path[-1], where)
            return
        if any(len(value) != len(first) for value in values):
            raise problem(f"The rows of {self.name} do not all have the same fields, in {where}.")
        for key in first if isinstance(first, Mapping) else range(len(first)):
            self.stack_all([value[key] for value in values], (*path, key), block, where)

    def stack(self, values, name, where):
        """Returns the values of some rows as one array."""
        try:
            array = numpy_collate(values)
            if isinstance(array, np.ndarray):
                return array
            received = f"{type(values[0]).__name__} in {where}"
        except Exception as error:
            shapes = sorted({str(np.shape(value)) for value in values})
            received = ", ".join(shapes) if len(shapes) > 1 else reason(error)
        raise problem(
            f"The rows of {self.name} do not fit together, in {where}.",
            expected=f"an array or a number as '{name}', of the same shape in every row",
            received=received,
        )

    def whole(self, batch, where, copy=True):
        """Returns the block of a batch, whose arrays have to have the same number of rows."""
        # A copy, as dataloaders may fill the same array again for the next batch.
        block = {path: np.array(array) if copy else np.asarray(array) for path, array in self.used(batch)}
        sizes = {path: len(array) if array.ndim else None for path, array in block.items()}
        counts = set(sizes.values()) - {None}
        if len(counts) != 1 or any(sizes[path] is None for path in block if path[0] != "metadata"):
            listed = ", ".join(f"{'/'.join(map(str, path))}: {count}" for path, count in sizes.items())
            raise problem(f"The arrays in {where} of {self.name} do not have the same number of rows.", received=listed)
        for path, array in block.items():
            if array.ndim == 0:  # one value for all rows, such as the strand "*" of Kipoi's GenomicRanges
                block[path] = np.full(*counts, array)
        return self.with_keys(block)

    def reuses(self, rows):
        """Whether rows share memory: the dataloader fills the same array again for each of them."""
        pairs = zip(self.used(rows[0]), self.used(rows[1]), strict=False) if len(rows) > 1 else ()
        return any(
            isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.may_share_memory(a, b)
            for (_, a), (_, b) in pairs
        )

    def used(self, batch):
        """Yields path and array of all that the parts use of a batch, or of a row."""
        for part in self.parts:
            for name, keys in part.inputs.items():
                value = batch["inputs"]
                for key in keys:
                    value = value[key]
                yield ("inputs", name), value
            if part.metadata:
                for path, value in leaves(batch["metadata"]):
                    yield ("metadata", part.name, *path), value

    @contextlib.contextmanager
    def guarded(self, where):
        """Turns whatever a dataloader raises into an error that says where: some would only end the iteration."""
        try:
            yield
        except Exception as error:
            raise self.failed(where, error) from error

    def failed(self, where, error):
        """Returns the error for what a dataloader raised."""
        if isinstance(error, DataError):
            return error
        return problem(f"The dataloader of {self.name} fails {where}.", received=reason(error))


def _open_files():
    """The regular files that this process has open; None where the system does not say."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            found = set()
            for name in os.listdir(folder):
                with contextlib.suppress(OSError):  # that of the listing itself
                    status = os.fstat(int(name))
                    if stat.S_ISREG(status.st_mode):
                        found.add((name, status.st_dev, status.st_ino))
            return found
    return None
