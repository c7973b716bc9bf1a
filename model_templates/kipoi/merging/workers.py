"""Kipoi's loader of batches, with its workers and samplers, over numbers of rows."""

from operator import itemgetter

import numpy as np
from kipoi_utils.external.torch.data import DataLoader

from .problems import problem


def numbers(count, read, build=None, **options):
    """Iterates over what ``read`` makes of arrays of numbers below ``count``.

    Args:
        count: How many numbers.
        read: Makes a batch of an array of numbers, in the worker.
        build: Called in every worker before the first batch.
        options: What Kipoi's loader takes: ``batch_size``, ``shuffle``, ``num_workers``, ``drop_last`` and so on.
    """
    check_options(**options)
    return _Watched(_Numbers(count, read, build), collate_fn=itemgetter(0), **options)


def check_options(batch_size=1, num_workers=0, **options):
    """Raises where there is no such batch, or no such number of workers."""
    if batch_size != int(batch_size) or batch_size < 1:
        raise problem("A batch has at least one row.", received=f"batch_size={batch_size}")
    if num_workers != int(num_workers) or num_workers < 0:
        raise problem("There are no workers, or some.", received=f"num_workers={num_workers}")


class _Watched(DataLoader):
    """Kipoi's loader, which would wait for ever for a worker that was killed, and count row by row."""

    def __init__(self, numbers, shuffle=False, **options):
        super().__init__(numbers, shuffle=shuffle, **options)
        if options.get("sampler") is None and options.get("batch_sampler") is None:
            self.batch_sampler = _Slices(numbers.count, self.batch_size, shuffle, self.drop_last)
        else:
            self.batch_sampler = _Arrays(self.batch_sampler)

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
            ended = [worker.exitcode for worker in self.workers if worker.exitcode is not None]
            if ended and not self.queue._reader.poll():
                raise problem("A worker process that reads rows has died.", received=f"exit status {ended[0]}")
        return self.queue.get()


class _Arrays:
    """The batches of a sampler as arrays, each of which Kipoi takes for one item."""

    def __init__(self, sampler):
        self.sampler = sampler

    def __len__(self):
        return len(self.sampler)

    def __iter__(self):
        return ([np.asarray(batch)] for batch in self.sampler)


class _Slices:
    """The same for all numbers, in order or shuffled, none of which is touched alone."""

    def __init__(self, count, size, shuffle, drop_last):
        self.count, self.size, self.shuffle = count, int(size), shuffle
        self.stop = count - count % self.size if drop_last else count

    def __len__(self):
        return -(-self.stop // self.size)

    def __iter__(self):
        order = np.random.permutation(self.count) if self.shuffle else None
        for start in range(0, self.stop, self.size):
            stop = min(start + self.size, self.stop)
            yield [np.arange(start, stop) if order is None else order[start:stop]]


class _Numbers:
    """What is read of arrays of numbers, as a data set of Kipoi's."""

    def __init__(self, count, read, build):
        self.count, self.read, self.hook, self.failure = count, read, build, None

    def __len__(self):
        return self.count

    def __getitem__(self, chosen):
        if self.failure is not None:
            raise self.failure
        return self.read(chosen)

    def build(self):
        # A worker that fails here would die without a word; where rows are read, Kipoi passes errors on.
        try:
            if self.hook is not None:
                self.hook()
        except Exception as error:
            self.failure = error
