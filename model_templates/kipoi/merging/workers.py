"""Kipoi's loader of batches, with its workers and samplers, over numbers of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from kipoi_utils.external.torch.data import DataLoader

from .data_errors import problem


def numbers(
    count: int, read: Callable[[np.ndarray], Any], build: Callable[[], None] | None = None, **options: Any
) -> DataLoader:
    """Returns a loader that iterates over what ``read`` makes of arrays of numbers below ``count``.

    Args:
        count: How many numbers.
        read: Makes a batch of an array of numbers, in the worker.
        build: Called in every worker before the first batch.
        **options: Options of Kipoi's loader: ``batch_size``, ``shuffle``, ``num_workers``, ``drop_last`` and so on.
    """
    check_options(**options)
    return _Watched(_Numbers(count, read, build), collate_fn=itemgetter(0), **options)


def check_options(batch_size: int = 1, num_workers: int = 0, **options: Any) -> None:
    """Raises if there is no such batch size or number of workers; ignores other options."""
    if batch_size != int(batch_size) or batch_size < 1:
        raise problem("A batch has at least one row.", received=f"batch_size={batch_size}")
    if num_workers != int(num_workers) or num_workers < 0:
        raise problem("There are no workers, or some.", received=f"num_workers={num_workers}")


class _Watched(DataLoader):
    """Kipoi's loader with two changes: it notices a worker that was killed, and it does not count row by row."""

    def __init__(self, numbers: _Numbers, shuffle: bool = False, **options: Any) -> None:
        super().__init__(numbers, shuffle=shuffle, **options)
        if options.get("sampler") is None and options.get("batch_sampler") is None:
            self.batch_sampler: Any = _Slices(numbers.count, self.batch_size, shuffle, self.drop_last)
        else:
            self.batch_sampler = _Arrays(self.batch_sampler)

    def __iter__(self) -> Iterator[Any]:
        iterator = super().__iter__()
        if iterator.num_workers:
            iterator.data_queue = _WatchedQueue(iterator.data_queue, iterator.workers)
        return iterator


class _WatchedQueue:
    def __init__(self, queue: Any, workers: Sequence[Any]) -> None:
        self.queue, self.workers = queue, workers

    def get(self) -> Any:
        """Returns the next item; raises if a worker has died and nothing is left."""
        while not self.queue._reader.poll(1):
            ended = [worker.exitcode for worker in self.workers if worker.exitcode is not None]
            if ended and not self.queue._reader.poll():
                raise problem("A worker process that reads rows has died.", received=f"exit status {ended[0]}")
        return self.queue.get()


class _Arrays:
    """The batches of a sampler as arrays; Kipoi takes each of them for one item."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        return ([np.asarray(batch)] for batch in self.sampler)


class _Slices:
    """The batches of all numbers, in order or shuffled; no number is touched alone."""

    def __init__(self, count: int, size: int, shuffle: bool, drop_last: bool) -> None:
        self.count, self.size, self.shuffle = count, int(size), shuffle
        self.stop = count - count % self.size if drop_last else count

    def __len__(self) -> int:
        return -(-self.stop // self.size)

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        order = np.random.permutation(self.count) if self.shuffle else None
        for start in range(0, self.stop, self.size):
            stop = min(start + self.size, self.stop)
            yield [np.arange(start, stop) if order is None else order[start:stop]]


class _Numbers:
    """A data set of Kipoi's whose items are arrays of numbers."""

    def __init__(self, count: int, read: Callable[[np.ndarray], Any], build: Callable[[], None] | None) -> None:
        self.count, self.read, self.hook = count, read, build
        self.failure: Exception | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, chosen: np.ndarray) -> Any:
        if self.failure is not None:
            raise self.failure
        return self.read(chosen)

    def build(self) -> None:
        """Calls the hook in a worker."""
        # A worker that fails here would die silently; an error while rows are read is passed on by Kipoi.
        try:
            if self.hook is not None:
                self.hook()
        except Exception as error:
            self.failure = error
