"""The merged dataloader for parts that can only be read from the first row to the last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .blocks import Block, leaves, rebatch, size
from .data_errors import problem
from .dataloader_kinds import SampleIterator
from .merged import LOOKED_AT, Merged, Runs, different_lengths, row_of
from .part_base import BasePart, Reader
from .row_groups import say
from .row_lookup import Join, nothing_in_common, only
from .workers import check_options, numbers


class MergedIterator(Merged, SampleIterator):
    """A merged dataloader that is read from the first row to the last, as some of its parts can only do that."""

    def __init__(self, *parts: BasePart, packed: Runs | None = None, require_ids: bool = False) -> None:
        super().__init__(*parts, packed=packed, require_ids=require_ids)
        self.lookups: dict[str, Join] | None = None
        self.samples: Iterator[Any] | None = None

    def __iter__(self) -> MergedIterator:
        self.samples = self._samples()
        return self

    def __next__(self) -> Any:
        if self.samples is None:
            self.samples = self._samples()
        return next(self.samples)

    def batch_iter(
        self,
        batch_size: int = 32,
        num_workers: int = 0,
        drop_last: bool = False,
        shuffle: bool = False,
        **options: Any,
    ) -> Iterator[dict[str, Any]]:
        """Returns an iterator over all batches; each call starts from the first row.

        Args:
            batch_size: Rows in a batch; the last may have fewer.
            num_workers: Processes that read the parts with random access.
            drop_last: Whether a last batch with fewer rows is left out.
            shuffle: Not possible.
            **options: Ignored.
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

    def numbered_batches(
        self, batch_size: int = 32, num_workers: int = 0, rows: range | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yields batches in order, each with ``rows``: their numbers and keys.

        Args:
            batch_size: Rows in a batch; the last may have fewer.
            num_workers: Processes that read the parts with random access.
            rows: ``None`` for all, as no row can be read without those before it.
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

    def in_step(self) -> list[list[str]]:
        """Returns the parts in groups: only the number of a row says where it belongs in another group."""
        block = next(self._blocks(LOOKED_AT, 0))
        return self.row_check.in_step(block, block["rows",])

    def _blocks(self, batch_size: int, workers: int, drop_last: bool = False) -> Iterator[Block]:
        blocks = self._compared(batch_size, workers)
        for block in rebatch(blocks, batch_size) if self.joined else blocks:
            if size(block) == batch_size or not drop_last:
                yield block

    def _samples(self) -> Iterator[Any]:
        for batch in self.batch_iter():
            for row in range(size(dict(leaves(batch)))):
                yield row_of(batch, row)

    def _compared(self, batch_size: int, workers: int) -> Iterator[Block]:
        """Yields the compared rows of all parts, in blocks of ``batch_size`` rows or, after joins, fewer."""
        if self.lookups is None:
            self.lookups = self.joins()
        joins = {name: join.fresh() for name, join in self.lookups.items()}
        readers = {reader.parts[0].name: reader for reader in self.joined}
        start = found = 0
        for block in self._together(batch_size, workers):
            together = range(start, start + size(block))
            rows, start = np.asarray(together), together.stop
            if joins:
                places = {name: join.find(block, together) for name, join in joins.items()}
                kept = np.all([own >= 0 for own in places.values()], axis=0)
                rows, block = rows[kept], only(block, kept)
                if not len(rows):
                    continue
                found += len(rows)
                for name, own in places.items():
                    block |= readers[name].read(own[kept])
            say(self.row_check.check(block, rows))
            yield block | {("rows",): rows}
        for join in joins.values():
            join.finish()
        if not start:
            raise problem("There are no rows.", received="parts that end at once")
        if joins and not found:
            raise nothing_in_common(joins)

    def _together(self, batch_size: int, workers: int) -> Iterator[Block]:
        """Yields blocks of the parts whose rows belong together by their numbers; all have to end at the same row."""
        streams = [reader for reader in self.base if reader.length is None]
        random = [reader for reader in self.base if reader.length is not None]
        sources = [rebatch(stream.blocks(batch_size, workers), batch_size) for stream in streams]
        if random:
            sources.append(_in_order(random, batch_size, workers))
        names = [part.name for reader in (*streams, *random[:1]) for part in reader.parts[:1]]
        counts = [0] * len(sources)
        while True:
            blocks = [next(source, None) for source in sources]
            sizes = [0 if block is None else size(block) for block in blocks]
            counts = [count + more for count, more in zip(counts, sizes, strict=True)]
            if len(set(sizes)) > 1:
                going_on = {name for name, more in zip(names, sizes, strict=True) if more == batch_size}
                totals = dict(zip(names, counts, strict=True))
                if random:
                    totals[names[-1]] = random[0].length or 0
                    going_on.discard(names[-1])
                raise different_lengths(totals, self.parts, at_least=going_on)
            if not sizes[0]:
                return
            yield {path: array for block in blocks if block is not None for path, array in block.items()}


def _in_order(readers: list[Reader], batch_size: int, workers: int) -> Iterator[Block]:
    """Returns an iterator over the blocks of parts with random access."""

    def read(rows: np.ndarray) -> Block:
        return {path: array for reader in readers for path, array in reader.read(rows).items()}

    def build() -> None:
        for reader in readers:
            reader.build()

    return iter(numbers(readers[0].length or 0, read, build, batch_size=batch_size, num_workers=workers))
