"""Readers of Kipoi dataloaders: rows as blocks, whatever the kind of the dataloader; no row is lost silently."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .blocks import Block, Rows, concatenate, own, size, take
from .component_source import Source
from .data_errors import DataError, problem, span
from .dataloader_kinds import BatchDataset, BatchGenerator, BatchIterator, Dataset, PreloadedDataset
from .part_base import Reader
from .shared_sequences import length_of, same_extraction, share_extraction
from .workers import numbers

if TYPE_CHECKING:
    from .dataloader_part import Part


def open_readers(parts: Sequence[Part]) -> list[Reader]:
    """Returns readers for parts; those that read the same data with the same settings get one together."""
    groups: list[list[Part]] = []
    for part in parts:
        group = next((group for group in groups if group[0].reads_the_same_as(part)), None)
        if group is None:
            groups.append([part])
        else:
            group.append(part)
    sources = [Source(group) for group in groups]
    readers: list[Reader] = []
    for source in sources:
        twin = next((known for known in readers if isinstance(known, RowReader) and known.can_take(source)), None)
        if twin is not None:
            twin.add(source)
        else:
            readers.append(_reader(source))
    return readers


class ArrayReader(Reader):
    """Reads a data set that is in memory."""

    def __init__(self, source: Source) -> None:
        self.source, self.parts = source, source.parts
        with source.guarded("as its data are not nested arrays"):
            self.block = source.whole(source.loader.data, "the data", copy=False)
        self.length = size(self.block)

    def read(self, rows: Rows) -> Block:
        """Returns the block of some rows, given by their numbers."""
        return take(self.block, np.asarray(rows))


class _FileReader(Reader):
    """Reads from a dataloader that may have files open.

    A worker process shares the open files of its parent, and their position in the file: two processes that read at
    once would get each other's data. So a worker makes a dataloader anew if it was used before, or if it opened files
    when it was made.
    """

    def __init__(self, source: Source) -> None:
        self.sources = [source]
        self.parts: list[Part] = list(source.parts)
        self.process: int | None = os.getpid() if source.opens_files else None

    def prepare(self) -> None:
        """Makes the dataloaders anew in a new process; called before anything is read."""
        process = os.getpid()
        if self.process not in (None, process):
            for source in self.sources:
                source.loader = source.make()
            self.renew()
        self.process = process

    def renew(self) -> None:
        """Called after the dataloaders were made anew."""

    def build(self) -> None:
        """Calls the hook that Kipoi's workers call before the first row."""
        for source in self.sources:
            if hasattr(source.loader, "build"):
                self.prepare()
                with source.guarded("when it is built"):
                    source.loader.build()


class RowReader(_FileReader):
    """Reads a data set row by row, or several of kipoiseq together if they can share the extraction of sequences."""

    def __init__(self, source: Source) -> None:
        length = len(source)  # which may open files
        super().__init__(source)
        self.length, self.copying = length, False

    def can_take(self, source: Source) -> bool:
        """Whether the dataloader of another source reads the same sequences, except for their length."""
        one, other = self.parts[0], source.parts[0]
        settings = [(part.align_on, part.missing, part.in_order) for part in (one, other)]
        return settings[0] == settings[1] and same_extraction(self.sources[0].loader, source.loader)

    def add(self, source: Source) -> None:
        """Adds a source for which ``can_take`` holds."""
        # A shorter sequence is cut out of a longer one, so that comes first.
        self.sources = sorted([*self.sources, source], key=lambda source: -length_of(source.loader))
        self.parts += source.parts
        self.renew()

    def renew(self) -> None:
        """Lets new dataloaders share their extraction again."""
        if len(self.sources) > 1:
            share_extraction([source.loader for source in self.sources])

    def read(self, rows: Rows) -> Block:
        """Returns the block of some rows, given by their numbers."""
        self.prepare()
        found: list[tuple[Source, list[Any]]] = [(source, []) for source in self.sources]
        for row in np.asarray(rows).tolist():
            for source, items in found:
                try:
                    items.append(own(source.loader[row]) if self.copying else source.loader[row])
                except Exception as error:
                    raise source.failed(f"at row {row}", error) from error
        block: Block = {}
        for source, items in found:
            if not self.copying:
                with source.guarded(f"in {span(rows)}"):
                    self.copying = source.reuses(items)
                if self.copying:
                    return self.read(rows)
            block |= source.collate(items, span(rows))
        return block


class BatchReader(_FileReader):
    """Reads rows of a data set of batches, which have the same number of rows; the last may have fewer."""

    def __init__(self, source: Source) -> None:
        count = len(source)
        super().__init__(source)
        self.count = count
        self.cached: tuple[int | None, Block] = (None, {})
        self.batch_size = size(self.batch(0)) if self.count else 0
        last = size(self.batch(self.count - 1)) if self.count > 1 else self.batch_size
        if self.count > 1 and not 0 < last <= self.batch_size:
            raise self.uneven(self.count - 1, f"1 to {self.batch_size}" if self.batch_size else "rows in batch 0", last)
        self.length: int = max(0, self.count - 1) * self.batch_size + last

    def batch(self, number: int) -> Block:
        """Returns a batch as it is; the last one that was read is kept."""
        self.prepare()
        if self.cached[0] != number:
            (source,) = self.sources
            with source.guarded(f"at batch {number}"):
                self.cached = (number, source.whole(source.loader[int(number)], f"batch {number}"))
        return self.cached[1]

    def read(self, rows: Rows) -> Block:
        """Returns the block of some rows, given by their numbers."""
        batches, within = np.divmod(np.asarray(rows), self.batch_size)
        pieces, places = [], []
        for number in np.unique(batches):
            block = self.batch(number)
            expected = min(self.batch_size, self.length - int(number) * self.batch_size)
            if size(block) != expected:
                raise self.uneven(number, expected, size(block))
            chosen = batches == number
            pieces.append(take(block, within[chosen]))
            places.append(np.flatnonzero(chosen))
        return take(concatenate(pieces), np.argsort(np.concatenate(places)))

    def renew(self) -> None:
        """Forgets the last batch."""
        self.cached = (None, {})

    def uneven(self, number: int, expected: int | str, received: int) -> DataError:
        """Returns the error for batches of different sizes: the number of a row does not say which batch has it."""
        return problem(
            f"The batches of {self.sources[0].name} do not have the same number of rows, so that none can be found by "
            "its number.",
            expected=f"{expected} rows in batch {number}, as batch 0 has {self.batch_size}",
            received=str(received),
            fix="Make the directory again with ks.Dataloader(..., in_order=True): it then reads from the first batch "
            "to the last.",
        )


class StreamReader(_FileReader):
    """Reads from the first row to the last, by iterating over a dataloader."""

    length = None

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.unused = True

    def blocks(self, batch_size: int, workers: int) -> Iterator[Block]:
        """Yields all rows in order, in blocks of any size; each call starts from the first row."""
        (source,) = self.sources
        if not self.unused:  # an iterator can be used only once
            source.loader = source.make()
        self.unused = False
        in_batches = isinstance(source.loader, BatchIterator | BatchGenerator | BatchDataset)
        waiting: list[Any] = []
        count = 0
        with source.guarded("when it is asked for its first row"):
            items = self.items(source, workers)
        while True:
            with source.guarded(f"after {count} rows"):
                item = next(items, _END)
            if item is _END:
                break
            if in_batches:
                with source.guarded(f"after {count} rows"):
                    block = source.whole(item, "a batch")
                count += size(block)
                if size(block):
                    yield block
                continue
            waiting.append(own(item))
            count += 1
            if len(waiting) == batch_size:
                yield source.collate(waiting, span([count - len(waiting), count - 1]))
                waiting = []
        if waiting:
            yield source.collate(waiting, span([count - len(waiting), count - 1]))

    def items(self, source: Source, workers: int) -> Iterator[Any]:
        """Returns an iterator over samples or batches."""
        loader = source.loader
        if not isinstance(loader, BatchDataset | Dataset | PreloadedDataset):
            return iter(loader)

        def read(chosen: np.ndarray) -> Any:
            self.prepare()
            number = int(chosen[0])
            with source.guarded(f"at {'batch' if isinstance(loader, BatchDataset) else 'row'} {number}"):
                return source.loader[number]

        count = len(source)
        if source.opens_files:
            self.process = os.getpid()
        return iter(numbers(count, read, self.build, batch_size=1, num_workers=workers))


_END = object()


def _reader(source: Source) -> Reader:
    loader, part = source.loader, source.parts[0]
    if part.in_order or not isinstance(loader, Dataset | PreloadedDataset | BatchDataset):
        return StreamReader(source)
    if isinstance(loader, BatchDataset):
        return BatchReader(source)
    if isinstance(loader, PreloadedDataset) and type(loader).__getitem__ is PreloadedDataset.__getitem__:
        return ArrayReader(source)
    return RowReader(source)
