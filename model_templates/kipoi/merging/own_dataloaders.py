"""Dataloaders with the methods of Kipoi's, for where Kipoi is not installed: ``dataloader_kinds`` chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .workers import numbers


def numpy_collate(rows: Sequence[Any]) -> Any:
    """Returns rows as one batch: nested as they are, every array with an axis of rows in front."""
    return _collated(rows, np.stack)


def concatenated(batches: Sequence[Any]) -> Any:
    """Returns batches as one."""
    return _collated(batches, np.concatenate)


def _collated(items: Sequence[Any], joined: Callable[[Sequence[np.ndarray]], np.ndarray]) -> Any:
    first = items[0]
    if isinstance(first, np.ndarray) and first.ndim:
        return joined(items)
    if first is None or isinstance(first, np.ndarray | np.generic | int | float | str | bytes):
        return np.asarray(items)
    if isinstance(first, Mapping):
        return {key: _collated([item[key] for item in items], joined) for key in first}
    if isinstance(first, Sequence):
        return [_collated(column, joined) for column in zip(*items, strict=False)]
    raise TypeError(f"A row has arrays, numbers and text, in dicts and lists; received {type(first).__name__}.")


class GenomicRanges(Mapping[str, Any]):
    """Where a row, or every row of a batch, lies in the genome.

    Args:
        chr: The chromosome, text or an array of it.
        start: The first base, counted from 0.
        end: The base behind the last.
        id: The name.
        strand: "+", "-" or "*".
    """

    def __init__(self, chr: Any, start: Any, end: Any, id: Any, strand: Any = "*") -> None:
        self._fields = {"chr": chr, "start": start, "end": end, "id": id, "strand": strand}
        for name, value in self._fields.items():
            if value is None:
                raise ValueError(f"{name} can't be None")
        self.chr, self.start, self.end, self.id, self.strand = chr, start, end, id, strand
        self.chrom, self.stop, self.name = chr, end, id

    def __getitem__(self, key: str) -> Any:
        return self._fields[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    @classmethod
    def from_interval(cls, interval: Any) -> GenomicRanges:
        """Returns the range of an interval of pybedtools."""
        return cls(interval.chrom, interval.start, interval.end, interval.name, interval.strand)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> GenomicRanges:
        """Returns the range with these fields."""
        return cls(**fields)

    @classmethod
    def collate(cls, ranges: Sequence[GenomicRanges]) -> GenomicRanges:
        """Returns the ranges of rows as those of a batch."""
        return cls(**numpy_collate(ranges))

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields by name."""
        return dict(self._fields)


class BaseDataLoader:
    """A dataloader: gives batches, dicts with ``inputs`` and perhaps ``targets`` and ``metadata``.

    Attributes:
        args: What its description says about its arguments; None without a description.
        source_dir: The directory that it comes from; None if it comes from none.
    """

    args: Any = None
    source_dir: Any = None

    def batch_iter(self, **options: Any) -> Iterator[Any]:
        """Returns an iterator over all batches."""
        raise NotImplementedError

    def batch_train_iter(self, cycle: bool = True, **options: Any) -> Iterator[tuple[Any, Any]]:
        """Yields inputs and targets of all batches; without end if ``cycle``."""
        while True:
            for batch in self.batch_iter(**options):
                yield batch["inputs"], batch["targets"]
            if not cycle:
                return

    def batch_predict_iter(self, **options: Any) -> Iterator[Any]:
        """Yields the inputs of all batches."""
        return (batch["inputs"] for batch in self.batch_iter(**options))

    def load_all(self, **options: Any) -> Any:
        """Returns all rows as one batch."""
        return concatenated(list(self.batch_iter(**options)))


class Dataset(BaseDataLoader):
    """A dataloader of rows that are found by their numbers."""

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def _batch_iterable(
        self,
        batch_size: int = 32,
        shuffle: bool = False,
        num_workers: int = 0,
        drop_last: bool = False,
        **options: Any,
    ) -> Iterable[Any]:
        def read(rows: np.ndarray) -> Any:
            return numpy_collate([self[row] for row in rows.tolist()])

        options |= {"batch_size": batch_size, "shuffle": shuffle, "num_workers": num_workers, "drop_last": drop_last}
        return numbers(len(self), read, getattr(self, "build", None), **options)

    def batch_iter(
        self,
        batch_size: int = 32,
        shuffle: bool = False,
        num_workers: int = 0,
        drop_last: bool = False,
        **options: Any,
    ) -> Iterator[Any]:
        """Returns an iterator over all batches.

        Args:
            batch_size: Rows in a batch; the last may have fewer.
            shuffle: Whether the rows come in another order each time.
            num_workers: Processes that read.
            drop_last: Whether a last batch with fewer rows is left out.
            **options: Other options of ``numbers``.
        """
        return iter(
            self._batch_iterable(
                batch_size=batch_size, shuffle=shuffle, num_workers=num_workers, drop_last=drop_last, **options
            )
        )


class PreloadedDataset(BaseDataLoader):
    """A dataloader whose rows are in memory, in nested dicts and lists of arrays: ``data_fn`` returns them."""

    data_fn: Any = None

    def __init__(self, *args: Any, **options: Any) -> None:
        self.data = self.data_fn(*args, **options)
        lengths = {len(array) for array in _arrays(self.data)}
        assert len(lengths) == 1, f"arrays with {sorted(lengths)} rows"
        (self.n,) = lengths

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: Any) -> Any:
        return _taken(self.data, index)

    def batch_iter(
        self, batch_size: int = 32, shuffle: bool = False, drop_last: bool = False, **options: Any
    ) -> Iterator[Any]:
        """Returns an iterator over all batches; see ``Dataset``."""
        return iter(numbers(len(self), self.__getitem__, batch_size=batch_size, shuffle=shuffle, drop_last=drop_last))

    def load_all(self, **options: Any) -> Any:
        """Returns all rows as one batch."""
        return self.data


class BatchDataset(BaseDataLoader):
    """A dataloader of batches that are found by their numbers."""

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def batch_iter(self, num_workers: int = 0, **options: Any) -> Iterator[Any]:
        """Returns an iterator over all batches, which ``num_workers`` processes read."""

        def read(chosen: np.ndarray) -> Any:
            return concatenated([self[int(chosen[0])]])

        return iter(numbers(len(self), read, getattr(self, "build", None), num_workers=num_workers))


class _Batches(BaseDataLoader):
    """A dataloader that iterates over batches."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError

    def batch_iter(self, **options: Any) -> Iterator[Any]:
        """Returns an iterator over all batches."""
        return iter(self)


class _Samples(BaseDataLoader):
    """A dataloader that iterates over rows."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError

    def batch_iter(self, batch_size: int = 32, **options: Any) -> Iterator[Any]:
        """Yields all batches, of ``batch_size`` rows; the last may have fewer."""
        rows = []
        for row in self:
            rows.append(row)
            if len(rows) == batch_size:
                yield numpy_collate(rows)
                rows = []
        if rows:
            yield numpy_collate(rows)


class _Function:
    """A dataloader that a generator makes: ``generator_fn``, called anew for each pass."""

    generator_fn: Any = None

    def __init__(self, *args: Any, **options: Any) -> None:
        self.arguments = args, options

    def __iter__(self) -> Iterator[Any]:
        args, options = self.arguments
        return iter(self.generator_fn(*args, **options))


class SampleIterator(_Samples):
    """A dataloader that iterates over rows."""

    def __next__(self) -> Any:
        raise NotImplementedError


class BatchIterator(_Batches):
    """A dataloader that iterates over batches."""

    def __next__(self) -> Any:
        raise NotImplementedError


class SampleGenerator(_Function, _Samples):
    """A dataloader of a function that yields rows."""


class BatchGenerator(_Function, _Batches):
    """A dataloader of a function that yields batches."""


AVAILABLE_DATALOADERS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        PreloadedDataset,
        Dataset,
        BatchDataset,
        SampleIterator,
        SampleGenerator,
        BatchIterator,
        BatchGenerator,
    )
}


def _arrays(data: Any) -> Iterator[np.ndarray]:
    if isinstance(data, Mapping | list | tuple):
        for item in data.values() if isinstance(data, Mapping) else data:
            yield from _arrays(item)
    elif isinstance(data, np.ndarray) and data.ndim:
        yield data
    else:
        raise ValueError("Leafs of the nested structure need to be numpy arrays")


def _taken(data: Any, index: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _taken(item, index) for key, item in data.items()}
    return [_taken(item, index) for item in data] if isinstance(data, list | tuple) else data[index]
