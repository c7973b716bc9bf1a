"""Readers: rows of a dataloader as blocks, whatever its kind, and never a row lost without a word."""

import contextlib
import os
from collections.abc import Mapping

import numpy as np
from kipoi.data import BatchDataset, BatchGenerator, BatchIterator, Dataset, PreloadedDataset
from kipoi_utils.data_utils import numpy_collate
from kipoi_utils.external.torch.data import DataLoader

from .blocks import concatenate, leaves, size, take
from .keys import with_keys
from .problems import DataError, problem, reason, span
from .sequences import same_extraction, share_extraction


def open_readers(parts):
    """Returns readers for parts; those that read the same data with the same settings get one together."""
    groups = []
    for part in parts:
        group = next((group for group in groups if group[0].reads_the_same_as(part)), None)
        if group is None:
            groups.append([part])
        else:
            group.append(part)
    sources = [Source(group) for group in groups]
    readers = []
    for source in sources:
        twin = next((known for known in readers if type(known) is RowReader and known.can_take(source)), None)
        if twin is not None:
            twin.add(source)
        else:
            readers.append(_reader(source))
    return readers


def numbers(count, read, build=None, **options):
    """Iterates over what ``read`` makes of lists of numbers below ``count``, by Kipoi's own workers and samplers."""
    return _Watched(_Numbers(count, build), collate_fn=read, **options)


class Source:
    """One dataloader object, made when it is needed.

    Args:
        parts: The parts that read it: their loader and arguments are the same.
    """

    def __init__(self, parts):
        self.parts = parts
        self.name = " and ".join(f"'{part.name}'" for part in parts)
        self.loader = self.make()

    def make(self):
        """Returns a new dataloader object."""
        part = self.parts[0]
        try:
            return part.loader(**part.arguments)
        except Exception as error:
            raise problem(f"The dataloader of {self.name} cannot be made.", received=reason(error)) from error

    def with_keys(self, block):
        """Adds the keys of all parts to a block."""
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

    def used(self, batch):
        """Yields path and array of all that the parts use of a batch."""
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


class ArrayReader:
    """Reads a data set that is in memory."""

    def __init__(self, source):
        self.source, self.parts = source, source.parts
        with source.guarded("as its data are not nested arrays"):
            self.block = source.whole(source.loader.data, "the data", copy=False)
        self.length = size(self.block)

    def read(self, rows):
        return take(self.block, np.asarray(rows))

    def build(self):
        pass


class _FileReader:
    """Reads by a dataloader that may have files open.

    A worker process shares the open files of its parent, and with them the place where reading goes on: two that read
    at once would get each other's data. So a dataloader that was used before is made anew in the worker.
    """

    def __init__(self, source):
        self.sources, self.parts = [source], list(source.parts)
        self.process = None

    def prepare(self):
        """Has to be called before anything is read."""
        process = os.getpid()
        if self.process not in (None, process):
            for source in self.sources:
                source.loader = source.make()
            self.renew()
        self.process = process

    def renew(self):
        pass

    def build(self):
        """Calls the hook that Kipoi's workers call before the first row."""
        for source in self.sources:
            if hasattr(source.loader, "build"):
                self.prepare()
                source.loader.build()


class RowReader(_FileReader):
    """Reads a data set row by row: several dataloaders of kipoiseq if they can share the extraction of sequences."""

    def __init__(self, source):
        super().__init__(source)
        self.length = len(source.loader)

    def can_take(self, source):
        """Whether the dataloader of another source reads the same sequences, but for their length."""
        one, other = self.parts[0], source.parts[0]
        settings = [(part.align_on, part.missing, part.in_order) for part in (one, other)]
        return settings[0] == settings[1] and same_extraction(self.sources[0].loader, source.loader)

    def add(self, source):
        self.sources.append(source)
        self.parts += source.parts
        self.renew()

    def renew(self):
        if len(self.sources) > 1:
            share_extraction([source.loader for source in self.sources])

    def read(self, rows):
        self.prepare()
        found = [(source, []) for source in self.sources]
        for row in np.asarray(rows).tolist():
            for source, own in found:
                try:
                    own.append(source.loader[row])
                except Exception as error:
                    raise source.failed(f"at row {row}", error) from error
        block = {}
        for source, own in found:
            block |= source.collate(own, span(rows))
        return block


class BatchReader(_FileReader):
    """Reads rows of a data set of batches, which have the same number of rows; the last may have fewer."""

    def __init__(self, source):
        super().__init__(source)
        self.count = len(source.loader)
        self.cached = (None, None)
        self.batch_size = size(self.batch(0)) if self.count else 0
        last = size(self.batch(self.count - 1)) if self.count > 1 else self.batch_size
        self.length = max(0, self.count - 1) * self.batch_size + last

    def batch(self, number):
        """Returns a batch as it is; the last one that was read is kept."""
        self.prepare()
        if self.cached[0] != number:
            (source,) = self.sources
            with source.guarded(f"at batch {number}"):
                self.cached = (number, source.whole(source.loader[int(number)], f"batch {number}"))
        return self.cached[1]

    def read(self, rows):
        batches, within = np.divmod(np.asarray(rows), self.batch_size)
        pieces, places = [], []
        for number in np.unique(batches):
            block = self.batch(number)
            expected = min(self.batch_size, self.length - int(number) * self.batch_size)
            if size(block) != expected:
                raise problem(
                    f"The batches of {self.sources[0].name} do not have the same number of rows, so that none can be "
                    "found by its number.",
                    expected=f"{expected} rows in batch {number}, as batch 0 has {self.batch_size}",
                    received=str(size(block)),
                    fix="Make the directory again with ks.Dataloader(..., in_order=True): it then reads from the first "
                    "batch to the last.",
                )
            chosen = batches == number
            pieces.append(take(block, within[chosen]))
            places.append(np.flatnonzero(chosen))
        return take(concatenate(pieces), np.argsort(np.concatenate(places)))

    def renew(self):
        self.cached = (None, None)


class StreamReader:
    """Reads from the first row to the last, by iterating over a dataloader."""

    length = None

    def __init__(self, source):
        self.source, self.parts = source, source.parts
        self.unused = source.loader

    def blocks(self, batch_size, workers):
        """Yields all rows, in blocks of any size; each time from the start."""
        # One that iterates over itself is used up by that.
        loader, self.unused = self.unused or self.source.make(), None
        in_batches = isinstance(loader, BatchIterator | BatchGenerator)
        items = self._items(loader, workers)
        count, waiting = 0, []
        while True:
            with self.source.guarded(f"after {count} rows"):
                item = next(items, _END)
                if item is _END:
                    break
                if in_batches or isinstance(loader, BatchDataset):
                    block = self.source.whole(item, "a batch")
                else:
                    waiting.append(item)
                    count += 1
                    if len(waiting) < batch_size:
                        continue
                    block, waiting = self.source.collate(waiting, span([count - len(waiting), count - 1])), []
            if in_batches or isinstance(loader, BatchDataset):
                count += size(block)
            if size(block):
                yield block
        if waiting:
            yield self.source.collate(waiting, span([count - len(waiting), count - 1]))

    def _items(self, loader, workers):
        """Samples or batches, one after another."""
        if not isinstance(loader, BatchDataset | Dataset | PreloadedDataset):
            return iter(loader)

        def read(chosen):
            with self.source.guarded(f"at {'batch' if isinstance(loader, BatchDataset) else 'row'} {chosen[0]}"):
                return loader[chosen[0]]

        return iter(numbers(len(loader), read, getattr(loader, "build", None), batch_size=1, num_workers=workers))


_END = object()


class _Watched(DataLoader):
    """Kipoi's loader, which would wait for ever for a worker that was killed."""

    def __iter__(self):
        iterator = super().__iter__()
        if iterator.num_workers:
            iterator.data_queue = _WatchedQueue(iterator.data_queue, iterator.workers)
        return iterator


class _WatchedQueue:
    def __init__(self, queue, workers):
        self.queue, self.workers = queue, workers

    def get(self):
        while not self.queue._reader.poll(1):
            ended = [worker.exitcode for worker in self.workers if worker.exitcode not in (None, 0)]
            if ended:
                raise problem("A worker process that reads rows has died.", received=f"exit status {ended[0]}")
        return self.queue.get()


class _Numbers:
    def __init__(self, count, build):
        self.count = count
        self.build = build or (lambda: None)

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        return number


def _reader(source):
    loader, part = source.loader, source.parts[0]
    if part.in_order or not isinstance(loader, Dataset | PreloadedDataset | BatchDataset):
        return StreamReader(source)
    if isinstance(loader, BatchDataset):
        return BatchReader(source)
    if isinstance(loader, PreloadedDataset) and type(loader).__getitem__ is PreloadedDataset.__getitem__:
        return ArrayReader(source)
    return RowReader(source)
