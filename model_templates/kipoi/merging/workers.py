"""Batches of numbered rows, in order, read by processes that are noticed when they die and end when nobody waits."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

import numpy as np

from .data_errors import DataError, problem, reason

Read = Callable[[np.ndarray], Any]
Build = Callable[[], None]
_AHEAD, _KEPT = 2, 3  # batches that a worker is asked for at once; those that are kept for each worker


def numbers(count: int, read: Read, build: Build | None = None, **options: Any) -> Batches:
    """Returns what iterates over what ``read`` makes of arrays of numbers below ``count``.

    Args:
        count: How many numbers.
        read: Makes a batch of an array of numbers, in the worker.
        build: Called in every worker before the first batch.
        **options: Options of ``Batches``.
    """
    return Batches(count, read, build, **options)


def check_options(batch_size: int = 1, num_workers: int = 0, **options: Any) -> None:
    """Raises if there is no such batch size or number of workers; ignores other options."""
    if batch_size != int(batch_size) or batch_size < 1:
        raise problem("A batch has at least one row.", received=f"batch_size={batch_size}")
    if num_workers != int(num_workers) or num_workers < 0:
        raise problem("The number of workers is a whole number, 0 or more.", received=f"num_workers={num_workers}")


class Batches:
    """Batches in order; each iteration starts workers of its own, at once, and ends them when it is left.

    Args:
        count: How many numbers there are.
        read: Makes a batch of an array of numbers.
        build: Called before the first batch, in every process that reads.
        batch_size: Numbers in a batch; the last may have fewer.
        shuffle: Whether they come in another order each time.
        sampler: Numbers in an order of its own, instead.
        batch_sampler: Lists of numbers, one for each batch, instead.
        num_workers: Processes that read; with 0, this one does.
        drop_last: Whether a last batch with fewer numbers is left out.
        pin_memory: Has no meaning; Kipoi's loader takes it.
    """

    def __init__(
        self,
        count: int,
        read: Read,
        build: Build | None = None,
        *,
        batch_size: int = 1,
        shuffle: bool = False,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int = 0,
        drop_last: bool = False,
        pin_memory: bool = False,
    ) -> None:
        check_options(batch_size, num_workers)
        if batch_sampler is not None and (batch_size > 1 or shuffle or sampler is not None or drop_last):
            raise ValueError("batch_sampler is mutually exclusive with batch_size, shuffle, sampler, and drop_last")
        if sampler is not None and shuffle:
            raise ValueError("sampler is mutually exclusive with shuffle")
        self.count, self.read, self.build = count, read, build
        self.size, self.workers, self.shuffle, self.drop_last = int(batch_size), int(num_workers), shuffle, drop_last
        self.sampler, self.batch_sampler = sampler, batch_sampler

    def __len__(self) -> int:
        if self.batch_sampler is not None:
            return len(self.batch_sampler)
        count = self.count if self.sampler is None else len(self.sampler)
        return count // self.size if self.drop_last else -(-count // self.size)

    def __iter__(self) -> Iterator[Any]:
        if not self.workers:
            return self._read_here()
        return _in_order([Worker(self.read, self.build) for _ in range(self.workers)], self._numbers())

    def _read_here(self) -> Iterator[Any]:
        if self.build is not None:
            self.build()
        yield from map(self.read, self._numbers())

    def _numbers(self) -> Iterator[np.ndarray]:
        """Yields the numbers of every batch."""
        if self.batch_sampler is not None:
            yield from map(np.asarray, self.batch_sampler)
        elif self.sampler is not None:
            left = iter(self.sampler)
            while batch := list(itertools.islice(left, self.size)):
                if len(batch) == self.size or not self.drop_last:
                    yield np.asarray(batch)
        else:
            order = np.random.permutation(self.count) if self.shuffle else None
            for start in range(0, len(self) * self.size, self.size):
                stop = min(start + self.size, self.count)
                yield np.arange(start, stop) if order is None else order[start:stop]


class Worker:
    """A process that reads what it is asked for, in turn; it ends with this object, and with the process that has it.

    Args:
        read: Makes a batch of an array of numbers.
        build: Called before the first batch.
    """

    def __init__(self, read: Read, build: Build | None = None) -> None:
        # Forked, as a dataloader that was loaded by its path cannot be sent to a process.
        context = multiprocessing.get_context("fork")
        theirs, self.questions = context.Pipe(duplex=False)
        self.answers, given = context.Pipe(duplex=False)
        own = (self.questions, self.answers)
        self.process = context.Process(target=_work, args=(theirs, given, own, read, build), daemon=True)
        self.process.start()
        # The worker alone holds its ends, so that its death is an end of what it sends.
        theirs.close()
        given.close()
        self.asked: list[int] = []
        self.stop = weakref.finalize(self, _stop, self.process, own, os.getpid())

    def ask(self, number: int, chosen: np.ndarray) -> None:
        """Asks for the batch of some numbers; the number of the batch comes with the answer."""
        try:
            self.questions.send(chosen)
        except OSError:
            self._has_died()
        self.asked.append(number)

    def answer(self) -> tuple[int, tuple[Any, Exception | None]]:
        """Returns the number of what was asked for first, and the batch or what was raised instead; waits for it."""
        while not self.answers.poll(1):
            self.check()
        try:
            found = _receive(self.answers)
        except (EOFError, OSError):
            self._has_died()
        return self.asked.pop(0), found

    def check(self) -> None:
        """Raises if the process has ended and has left nothing."""
        # Another fork may hold its ends, so that this is no end of what it sends.
        if self.process.exitcode is not None and not self.answers.poll():
            self._has_died()

    def _has_died(self) -> NoReturn:
        self.process.join(5)
        raise problem(
            "A worker process that reads rows has died.",
            received=f"exit status {self.process.exitcode}",
            fix="Look for a lack of memory, or read without workers.",
        )


class Workers:
    """Workers that stay: several threads may ask at once.

    Args:
        count: How many processes.
        read: Makes a batch of an array of numbers.
        build: Called in each of them before the first batch.
    """

    def __init__(self, count: int, read: Read, build: Build | None = None) -> None:
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(Worker(read, build))

    def read(self, chosen: np.ndarray) -> Any:
        """Returns the batch of some numbers; raises what its worker raises, and if a worker has died."""
        worker = self._free.get()
        try:
            worker.ask(0, chosen)
            return _value(worker.answer()[1])
        finally:
            self._free.put(worker)


def _in_order(workers: list[Worker], batches: Iterable[np.ndarray]) -> Iterator[Any]:
    """Yields the batches of arrays of numbers; ends the workers when it is left.

    Beside the one that was given, at most three for each worker are there or being read.
    """
    left = enumerate(batches)
    arrived: dict[int, tuple[Any, Exception | None]] = {}
    asked = 0
    try:
        for given in itertools.count():
            while given not in arrived:
                asked += _ask(workers, left, given + _KEPT * len(workers) - asked)
                if given == asked:
                    return
                arrived |= _arriving([worker for worker in workers if worker.asked])
            batch = _value(arrived.pop(given))
            asked += _ask(workers, left, given + 1 + _KEPT * len(workers) - asked)  # read while the caller is busy
            yield batch
            del batch
    finally:
        for worker in workers:  # all at once, before the first is waited for
            worker.process.terminate()
        for worker in workers:
            worker.stop()


def _ask(workers: list[Worker], left: Iterator[tuple[int, np.ndarray]], most: int) -> int:
    """Asks for more batches, at most so many; returns how many."""
    for count in range(most):
        worker = min(workers, key=lambda worker: len(worker.asked))
        item = next(left, None) if len(worker.asked) < _AHEAD else None
        if item is None:
            return count
        worker.ask(*item)
    return max(0, most)


def _arriving(workers: list[Worker]) -> dict[int, tuple[Any, Exception | None]]:
    """Returns the next answers by the numbers of their batches; waits for one."""
    by_answers: dict[Any, Worker] = {worker.answers: worker for worker in workers}
    while not (ready := wait(list(by_answers), 1)):
        for worker in workers:
            worker.check()
    return dict(by_answers[answers].answer() for answers in ready)


def _value(answer: tuple[Any, Exception | None]) -> Any:
    value, error = answer
    if error is not None:
        raise error
    return value


def _stop(process: Any, connections: Iterable[Connection], owner: int) -> None:
    if os.getpid() == owner:  # a worker has copies of the workers that were started before it
        for connection in connections:
            connection.close()
        process.terminate()
        process.join()


def _receive(connection: Connection) -> Any:
    """Returns what ``_send`` has sent; its arrays lie in the memory that they were read into."""
    data, sizes = connection.recv()
    buffers = [np.empty(size, "uint8") for size in sizes]
    for buffer in buffers:
        view = buffer.data
        while view:
            count = os.readv(connection.fileno(), [view])
            if not count:
                raise EOFError
            view = view[count:]
    return pickle.loads(data, buffers=buffers)


# -- within a worker -------------------------------------------------------------------------------------------------


def _pickled(value: Any) -> tuple[bytes, list[memoryview]]:
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return data, [buffer.raw() for buffer in buffers]


def _send(connection: Connection, data: bytes, views: list[memoryview]) -> None:
    """Sends what was pickled: arrays as they lie in memory."""
    connection.send((data, [view.nbytes for view in views]))
    for view in views:
        while view:
            view = view[os.write(connection.fileno(), view) :]


def _work(
    questions: Connection, answers: Connection, others: Iterable[Connection], read: Read, build: Build | None
) -> None:
    for connection in others:
        connection.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that has started it decides what Ctrl-C ends
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    asked: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(questions, asked), daemon=True).start()
    failed = None
    try:
        if build is not None:
            build()
    except Exception as error:
        failed = error
    while True:
        chosen = asked.get()
        try:
            if failed is not None:
                raise failed
            answer = _pickled((read(chosen), None))
        except Exception as error:
            answer = _pickled((None, _sendable(error)))
        _send(answers, *answer)


def _listen(connection: Connection, asked: queue.SimpleQueue[np.ndarray]) -> None:
    """Takes what the worker is asked for at once, so that both sides can send at the same time; ends the worker."""
    try:
        while True:
            asked.put(connection.recv())
    except (EOFError, OSError):
        os._exit(0)


def _sendable(error: Exception) -> Exception:
    """Returns an error that can be raised in another process, with a note that says where it was raised."""
    note = "In a worker:\n" + "".join(traceback.format_exception(error))
    try:
        sent = pickle.loads(pickle.dumps(error))
        assert type(sent) is type(error)
    except Exception:  # whatever its class does
        sent = DataError(reason(error))
    sent.add_note(note)
    return sent
