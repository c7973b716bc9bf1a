"""The merged dataloader: row i of the inputs, from row i of every part."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from .blocks import Block, Rows, nest, size
from .data_errors import DataError, problem
from .dataloader_kinds import Dataset
from .keys import of_rows
from .part_base import BasePart, FilePart, Reader, open_parts
from .row_groups import RowCheck, say
from .row_lookup import Join, orders, scan
from .workers import numbers

LOOKED_AT = 64  # rows, to see whether parts are compared


class Runs(Protocol):
    """Models that run on what the parts give."""

    def run(self, inputs: dict[str, np.ndarray], rows: list[int]) -> Any:
        """Returns the inputs of the final model, from arrays of shape (rows, ...) by name."""


class Merged:
    """What both kinds of merged dataloader have in common.

    Args:
        *parts: ``Part``, ``Table``, ``Predictions`` and ``Targets``, each with a name of its own.
        packed: The models that run on what the parts give, if there are any.
        require_ids: Whether it is an error that only the number of a row says where it belongs.
    """

    batch_iter: Callable[..., Any]

    def __init__(self, *parts: BasePart, packed: Runs | None = None, require_ids: bool = False) -> None:
        self.packed = packed
        # Targets may come without a file, as for predictions.
        self.parts = [part for part in parts if not part.absent]
        self.without_targets = next((part for part in parts if part.absent), None)
        self.readers = open_parts(self.parts)
        self.row_check = RowCheck(self.parts, self.readers, require_ids)
        self.base = [reader for reader in self.readers if reader.parts[0].align_on is None]
        self.joined = [reader for reader in self.readers if reader.parts[0].align_on is not None]
        if not self.base:  # the order would be that of the targets, which are absent
            self.base = [self.joined.pop(0)]
        for number, part in enumerate(self.parts):
            part.check_beside(self.parts[number + 1 :])
        self.check_lengths()

    def check_lengths(self) -> None:
        """Raises if parts whose rows belong together by their numbers do not have the same number of rows."""
        lengths = {
            part.name: reader.length for reader in self.base for part in reader.parts if reader.length is not None
        }
        if len(set(lengths.values())) > 1:
            raise different_lengths(lengths, self.parts)
        for reader in self.readers:
            if reader.length == 0:
                raise problem(f"'{reader.parts[0].name}' has no rows.")

    def joins(self) -> dict[str, Join]:
        """Returns the joins by part name; reads all keys of the parts that are looked up."""
        return {reader.parts[0].name: Join(reader.parts[0], reader, self.provider(reader)) for reader in self.joined}

    def provider(self, reader: Reader) -> BasePart:
        """Returns the part by whose keys the rows of another are looked up."""
        kind = reader.parts[0].align_on
        candidates = [part for base in self.base for part in base.parts]
        return next((part for part in candidates if getattr(part, kind or "", None) is not None), candidates[0])

    def reader_of(self, part: BasePart) -> Reader:
        """Returns the reader of a part."""
        return next(reader for reader in self.readers if part in reader.parts)

    def batch(self, block: Block) -> dict[str, Any]:
        """Returns a compared block in the form of Kipoi's batches, with the numbers of its rows for the models."""
        if self.without_targets is not None:
            block |= self.without_targets.placeholder(size(block))
        nested = nest({path: array for path, array in block.items() if path[0] != "keys"})
        nested.setdefault("metadata", {})
        return nested

    def numbered(self, block: Block) -> dict[str, Any]:
        """Returns what ``batch`` does, with the keys of the rows, for a file that is joined later."""
        return {**self.batch(block), "keys": of_rows(block, self.parts)}

    def finish(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Returns a batch as it leaves the dataloader; the models run here, in the process that made the dataloader."""
        rows = batch.pop("rows")
        say(batch.pop("by_number", ()))
        if self.packed is not None:
            batch["inputs"] = self.packed.run(batch["inputs"], rows.tolist())
        return batch

    def in_step(self) -> list[list[str]]:
        """Returns the parts in groups: only the number of a row says where it belongs in another group."""
        raise NotImplementedError

    def by_number(self) -> list[str]:
        """Returns the parts whose rows are not compared with those of most others: they share no key that is known."""
        groups = self.in_step()
        others = next((own for own in groups if len(own) > 1 or len(groups) == 1), [])
        return [part.name for part in self.parts if part.name not in others]

    def build(self) -> None:
        """Prepares a worker: Kipoi calls this in each of them before the first row."""
        for reader in self.readers:
            reader.build()

    def check_targets(self) -> None:
        """Raises if there is nothing to train on."""
        if not any(part.name == "targets" for part in self.parts):
            raise problem(
                "There are no targets to train on.",
                fix="Give the argument targets_file, or make the directory again with targets=.",
            )

    def batch_train_iter(self, cycle: bool = True, **options: Any) -> Iterator[tuple[Any, Any]]:
        """Returns an iterator over inputs and targets for training; without end if ``cycle``."""
        self.check_targets()
        return self._training_batches(cycle, options)

    def _training_batches(self, cycle: bool, options: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
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

    def __init__(self, *parts: BasePart, packed: Runs | None = None, require_ids: bool = False) -> None:
        super().__init__(*parts, packed=packed, require_ids=require_ids)
        assert self.base[0].length is not None
        self.length: int = self.base[0].length
        self.kept: np.ndarray | None = None
        self.places: dict[str, np.ndarray] = {}
        joins = self.joins()
        if joins:
            scanned: dict[tuple[str, str], Block] = {}
            for join in joins.values():
                key = (join.other.name, join.kind)
                if key not in scanned:
                    scanned[key] = scan(self.reader_of(join.other), join.other, join.kind)
            self.kept, self.places = orders(joins, scanned, self.length)
            self.length = len(self.kept)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        batch = self.read([range(self.length)[index]])
        return row_of(batch, 0)

    def read(self, rows: Rows) -> dict[str, Any]:
        """Returns the batch of some rows, given by their numbers."""
        return self.finish(self.raw(rows))

    def raw(self, rows: Rows) -> dict[str, Any]:
        """Returns what workers read of some rows, before the models run; ``finish`` makes it a batch."""
        return self.batch(self._block(rows))

    def in_step(self) -> list[list[str]]:
        """Returns the parts in groups: only the number of a row says where it belongs in another group."""
        # The first row is mostly enough; its id may be unknown, or look like the number of a row.
        for count in (1, LOOKED_AT):
            rows = np.unique(np.linspace(0, self.length - 1, count).astype("int64"))
            groups = self.row_check.in_step(self._read(rows), rows)
            if len(groups) == 1:
                break
        return groups

    def numbered_batches(
        self, batch_size: int = 32, num_workers: int = 0, rows: range | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yields batches in order, each with ``rows``: their numbers and keys.

        Args:
            batch_size: Rows in a batch; the last may have fewer.
            num_workers: Processes that read.
            rows: A range of numbers of rows; all by default.
        """
        wanted = range(self.length) if rows is None else rows

        def read(places: np.ndarray) -> dict[str, Any]:
            return self.numbered(self._block(wanted.start + wanted.step * places))

        options: dict[str, Any] = {"batch_size": batch_size, "num_workers": num_workers}
        for batch in numbers(len(wanted), read, self.build, **options) if len(wanted) else ():
            chosen, keys = batch["rows"], batch.pop("keys")
            yield {**self.finish(batch), "rows": {"number": chosen.astype("int64"), **keys}}

    def _block(self, rows: Rows) -> Block:
        rows = np.asarray(rows)
        block = self._read(rows)
        by_number = self.row_check.check(block, rows)
        more: dict[tuple[str, ...], Any] = {("rows",): rows}
        return block | (more | {("by_number",): by_number} if by_number else more)

    def _read(self, rows: np.ndarray) -> Block:
        """Returns the rows of all parts, not yet compared."""
        own = rows if self.kept is None else self.kept[rows]
        block: Block = {}
        for reader in self.base:
            block |= reader.read(own)
        for reader in self.joined:
            block |= reader.read(self.places[reader.parts[0].name][rows])
        return block

    def _batch_iterable(
        self,
        batch_size: int = 32,
        shuffle: bool = False,
        num_workers: int = 0,
        drop_last: bool = False,
        **options: Any,
    ) -> _Finished:
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


class _Finished:
    """The batches of a loader, finished in the process that iterates over them."""

    def __init__(self, loader: Any, finish: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.loader, self.finish = loader, finish

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self.finish, self.loader)


def different_lengths(
    lengths: Mapping[str, int], parts: Sequence[BasePart], at_least: Collection[str] = ()
) -> DataError:
    """Returns the error for parts with different numbers of rows."""
    listed = ", ".join(
        f"{'at least ' if name in at_least else ''}{count} in '{name}'" for name, count in lengths.items()
    )
    return problem(
        "The parts do not have the same number of rows.",
        expected="one number",
        received=listed,
        files=[f"'{part.path}' for '{part.name}'" for part in parts if isinstance(part, FilePart)],
        fix="Give all of them the same rows, or make the directory again with align_on= and missing='inner' for those "
        "that lack some.",
    )


def row_of(nested: Any, row: int) -> Any:
    """Returns one row of the arrays in nested dicts and lists."""
    if isinstance(nested, dict):
        return {key: row_of(item, row) for key, item in nested.items()}
    return [row_of(item, row) for item in nested] if isinstance(nested, list) else nested[row]
