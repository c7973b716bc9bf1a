"""The merged dataloader: row i of the inputs, from row i of every part."""

import numpy as np
from kipoi.data import Dataset, SampleIterator

from .blocks import leaves, nest, rebatch, size
from .joining import Join, nothing_in_common, only, orders, scan
from .keys import compare, of_rows
from .predictions import check_together
from .problems import problem
from .readers import open_readers
from .workers import check_options, numbers


class Merged:
    """What both kinds of merged dataloaders have in common.

    Args:
        parts: ``Part``, ``Table`` and ``Targets``, each under a name of its own.
        packed: The models that run on what the parts give, if any do.
    """

    def __init__(self, *parts, packed=None):
        self.packed = packed
        # Targets may come without a file, as for predictions.
        self.parts = [part for part in parts if not getattr(part, "absent", False)]
        self.without_targets = next((part for part in parts if getattr(part, "absent", False)), None)
        loaders = [part for part in self.parts if hasattr(part, "loader")]
        self.readers = [*open_readers(loaders), *(part for part in self.parts if not hasattr(part, "loader"))]
        self.base = [reader for reader in self.readers if reader.parts[0].align_on is None]
        self.joined = [reader for reader in self.readers if reader.parts[0].align_on is not None]
        if not self.base:  # that of the targets, which are not there, would be the order
            self.base = [self.joined.pop(0)]
        check_together(self.parts)
        self.check_lengths()

    def check_lengths(self):
        """Raises where parts whose rows belong together by their numbers have different numbers of them."""
        lengths = {
            part.name: reader.length for reader in self.base for part in reader.parts if reader.length is not None
        }
        if len(set(lengths.values())) > 1:
            raise different_lengths(lengths)
        for reader in self.readers:
            if reader.length == 0:
                raise problem(f"'{reader.parts[0].name}' has no rows.")

    def joins(self):
        """Returns the joins by part name, which takes reading all keys of the parts that are looked up."""
        return {reader.parts[0].name: Join(reader.parts[0], reader, self.provider(reader)) for reader in self.joined}

    def provider(self, reader):
        """The part by whose keys the rows of another are looked up."""
        kind = reader.parts[0].align_on
        candidates = [part for base in self.base for part in base.parts]
        return next((part for part in candidates if getattr(part, kind, None) is not None), candidates[0])

    def reader_of(self, part):
        return next(reader for reader in self.readers if part in reader.parts)

    def batch(self, block):
        """Returns a block that was compared as Kipoi has its batches, with the numbers of its rows for the models."""
        if self.without_targets is not None:
            block |= self.without_targets.placeholder(size(block))
        nested = nest({path: array for path, array in block.items() if path[0] != "keys"})
        nested.setdefault("metadata", {})
        return nested

    def numbered(self, block):
        """Returns a block as ``batch`` does, with what its rows are compared by, for a file that is joined later."""
        return {**self.batch(block), "keys": of_rows(block, self.parts)}

    def finish(self, batch):
        """Returns a batch as it leaves the dataloader: the models run here, in the process that made it."""
        rows = batch.pop("rows")
        if self.packed is not None:
            batch["inputs"] = self.packed.run(batch["inputs"], rows.tolist())
        return batch

    def build(self):
        """Kipoi's hook, called in every worker before the first row."""
        for reader in self.readers:
            reader.build()

    def batch_train_iter(self, cycle=True, **options):
        """Returns an iterator over inputs and targets for training; without end if ``cycle``."""
        if not any(part.name == "targets" for part in self.parts):
            raise problem("There are no targets to train on.", fix="Give the argument targets_file.")
        return self._training_batches(cycle, options)

    def _training_batches(self, cycle, options):
        while True:
            count = 0
            for batch in self.batch_iter(**options):
                yield batch["inputs"], batch["targets"]
                count += 1
            if not cycle:
                return
            if not count:
                raise problem(
                    "There is no batch to train on.", expected="a batch_size that is not larger than the data"
                )


class MergedDataset(Merged, Dataset):
    """A merged dataloader with random access: rows can be shuffled, and read by several workers."""

    def __init__(self, *parts, packed=None):
        super().__init__(*parts, packed=packed)
        self.length, self.kept, self.places = self.base[0].length, None, {}
        joins = self.joins()
        if joins:
            scanned = {}
            for join in joins.values():
                key = (join.other.name, join.kind)
                if key not in scanned:
                    scanned[key] = scan(self.reader_of(join.other), join.other, join.kind)
            self.kept, self.places = orders(joins, scanned, self.length)
            self.length = len(self.kept)

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        batch = self.read([range(self.length)[index]])
        return _row(batch, 0)

    def read(self, rows):
        """Returns the batch of some rows, given by their numbers."""
        return self.finish(self.raw(rows))

    def raw(self, rows):
        """Returns what workers read of some rows, before the models run: ``finish`` makes a batch of it."""
        return self.batch(self._block(rows))

    def numbered_batches(self, batch_size=32, num_workers=0, rows=None):
        """Yields batches in order, each with its ``rows``: their numbers, and the keys that they are compared by.

        Args:
            batch_size: Rows in a batch; the last may have fewer.
            num_workers: Processes that read.
            rows: A range of numbers of rows; all by default.
        """
        wanted = range(self.length) if rows is None else rows

        def read(places):
            return self.numbered(self._block(wanted.start + wanted.step * places))

        options = {"batch_size": batch_size, "num_workers": num_workers}
        for batch in numbers(len(wanted), read, self.build, **options) if len(wanted) else ():
            chosen, keys = batch["rows"], batch.pop("keys")
            yield {**self.finish(batch), "rows": {"number": chosen.astype("int64"), **keys}}

    def _block(self, rows):
        rows = np.asarray(rows)
        own = rows if self.kept is None else self.kept[rows]
        block = {}
        for reader in self.base:
            block |= reader.read(own)
        for reader in self.joined:
            block |= reader.read(self.places[reader.parts[0].name][rows])
        compare(block, self.parts, rows)
        return block | {("rows",): rows}

    def _batch_iterable(self, batch_size=32, shuffle=False, num_workers=0, drop_last=False, **options):
        loader = numbers(
            self.length,
            self.raw,
            self.build,
            batch_size=batch_size,
            shuffle=shuffle,
            num_workers=num_workers,
            drop_last=drop_last,
            **options,
        )
        return _Finished(loader, self.finish)


class MergedIterator(Merged, SampleIterator):
    """A merged dataloader that goes from the first row to the last, as some of its parts can only do that."""

    def __init__(self, *parts, packed=None):
        super().__init__(*parts, packed=packed)
        self.lookups = self.samples = None

    def __iter__(self):
        self.samples = self._samples()
        return self

    def __next__(self):
        if self.samples is None:
            iter(self)
        return next(self.samples)

    def batch_iter(self, batch_size=32, num_workers=0, drop_last=False, shuffle=False, **options):
        """Returns an iterator over all batches; each call starts from the first row.

        Args:
            batch_size: Rows in a batch; the last may have fewer.
            num_workers: Processes that read those parts that have random access.
            drop_last: Whether a last batch with fewer rows is left out.
            shuffle: Not possible.
        """
        if shuffle:
            raise problem(
                "The rows cannot be shuffled, as some parts can only be read from the first row to the last.",
                expected="shuffle=False",
                received=", ".join(
                    f"'{part.name}'" for base in self.base if base.length is None for part in base.parts
                ),
            )
        check_options(batch_size=batch_size, num_workers=num_workers)
        return (self.finish(self.batch(block)) for block in self._blocks(batch_size, num_workers, drop_last))

    def numbered_batches(self, batch_size=32, num_workers=0, rows=None):
        """Yields batches in order, each with its ``rows``: their numbers, and the keys that they are compared by.

        Args:
            batch_size: Rows in a batch; the last may have fewer.
            num_workers: Processes that read those parts that have random access.
            rows: All, ``None``: no row can be read without those before it.
        """
        if rows is not None:
            raise problem(
                "The rows cannot be read in pieces, as some parts can only be read from the first row to the last.",
                expected="one piece: chunks: 1",
                received=f"{rows}",
            )
        count = 0
        for block in self._blocks(batch_size, num_workers):
            batch = self.numbered(block)
            keys, chosen = batch.pop("keys"), np.arange(count, count + size(block), dtype="int64")
            count += size(block)
            yield {**self.finish(batch), "rows": {"number": chosen, **keys}}

    def _blocks(self, batch_size, workers, drop_last=False):
        blocks = self._compared(batch_size, workers)
        for block in rebatch(blocks, batch_size) if self.joined else blocks:
            if size(block) == batch_size or not drop_last:
                yield block

    def _samples(self):
        for batch in self.batch_iter():
            for row in range(size(dict(leaves(batch)))):
                yield _row(batch, row)

    def _compared(self, batch_size, workers):
        """Yields the rows of all parts, compared, in blocks of ``batch_size`` rows or, after joins, fewer."""
        if self.lookups is None:
            self.lookups = self.joins()
        joins = {name: join.fresh() for name, join in self.lookups.items()}
        readers = {reader.parts[0].name: reader for reader in self.joined}
        start = found = 0
        for block in self._together(batch_size, workers):
            rows = range(start, start + size(block))
            start += size(block)
            if joins:
                places = {name: join.find(block, rows) for name, join in joins.items()}
                kept = np.all([own >= 0 for own in places.values()], axis=0)
                rows, block = np.asarray(rows)[kept], only(block, kept)
                if not len(rows):
                    continue
                found += len(rows)
                for name, own in places.items():
                    block |= readers[name].read(own[kept])
            compare(block, self.parts, rows)
            yield block | {("rows",): np.asarray(rows)}
        for join in joins.values():
            join.finish()
        if not start:
            raise problem("There are no rows.", received="parts that end at once")
        if joins and not found:
            raise nothing_in_common(joins)

    def _together(self, batch_size, workers):
        """Yields blocks of the parts whose rows belong together by their numbers; all have to end at the same row."""
        random = [reader for reader in self.base if reader.length is not None]
        streams = [reader for reader in self.base if reader.length is None]
        sources = [rebatch(stream.blocks(batch_size, workers), batch_size) for stream in streams]
        if random:

            def read(rows):
                block = {}
                for reader in random:
                    block |= reader.read(np.asarray(rows))
                return block

            def build():
                for reader in random:
                    reader.build()

            options = {"batch_size": batch_size, "num_workers": workers}
            sources.append(iter(numbers(random[0].length, read, build, **options)))
        names = [part.name for reader in (*streams, *random[:1]) for part in reader.parts[:1]]
        counts = [0] * len(sources)
        while True:
            blocks = [next(source, None) for source in sources]
            sizes = [size(block) if block is not None else 0 for block in blocks]
            counts = [count + more for count, more in zip(counts, sizes, strict=True)]
            if len(set(sizes)) > 1:
                going_on = {name for name, more in zip(names, sizes, strict=True) if more == batch_size}
                totals = dict(zip(names, counts, strict=True))
                if random:
                    totals[names[-1]] = random[0].length
                    going_on.discard(names[-1])
                raise different_lengths(totals, at_least=going_on)
            if not sizes[0]:
                return
            block = {}
            for piece in blocks:
                block |= piece
            yield block


class _Finished:
    """The batches of a loader, made whole in the process that iterates over them."""

    def __init__(self, loader, finish):
        self.loader, self.finish = loader, finish

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        return map(self.finish, self.loader)


def different_lengths(lengths, at_least=()):
    """Returns the error for parts with different numbers of rows."""
    listed = ", ".join(
        f"{'at least ' if name in at_least else ''}{count} in '{name}'" for name, count in lengths.items()
    )
    return problem(
        "The parts do not have the same number of rows.",
        expected="one number",
        received=listed,
        fix="Give all of them the same rows, or make the directory again with align_on= and missing='inner' for those "
        "that lack some.",
    )


def _row(nested, row):
    if isinstance(nested, dict):
        return {key: _row(item, row) for key, item in nested.items()}
    return [_row(item, row) for item in nested] if isinstance(nested, list) else nested[row]
