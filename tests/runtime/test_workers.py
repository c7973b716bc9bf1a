"""Batches that workers read: as Kipoi's loader gives them, whatever happens to the workers."""

import gc
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from kipoi_utils.external.torch.data import DataLoader

from keras_stitch.kipoi.templates import template_module

WORKERS = template_module("kipoi.merging.workers")
DataError = template_module("kipoi.merging").DataError
DIED = "A worker process that reads rows has died.\n  Received: exit status {}\n  Fix: Look for a lack of memory, or "
COUNT = 23


@pytest.fixture(autouse=True)
def deadline():
    """Nothing here may wait for ever."""

    def stop(*_):
        raise TimeoutError("waits for ever")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def alive(processes):
    """Those of some processes that have not ended, after some time to do so."""

    def running(process):
        try:
            return bool(Path(f"/proc/{process}/cmdline").read_bytes())  # one that has ended has none
        except FileNotFoundError:
            return False

    end = time.monotonic() + 10
    while time.monotonic() < end and any(map(running, processes)):
        time.sleep(0.01)
    return [process for process in processes if running(process)]


def started(before):
    """The processes that this one has started since there were some."""
    return [child.pid for child in multiprocessing.active_children() if child not in before]


class Rows:
    """A data set of Kipoi's whose rows are their numbers."""

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        return int(index)


OPTIONS = [
    {},
    {"batch_size": 5},
    {"batch_size": 5, "drop_last": True},
    {"batch_size": 30},
    {"batch_size": 30, "drop_last": True},
    {"batch_size": 4, "shuffle": True},
    {"batch_size": 4, "shuffle": True, "drop_last": True},
    {"batch_size": 4, "sampler": range(3, 20, 3)},
    {"batch_size": 4, "sampler": [5, 5, 1, 8, 2], "drop_last": True},
    {"batch_sampler": [[1, 2], [7], [0, 0, 3]]},
    {"batch_size": 4, "pin_memory": True},
]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_batches_are_those_of_kipois_loader(options, workers):
    loader = WORKERS.numbers(COUNT, np.copy, num_workers=workers, **options)
    kipois = DataLoader(Rows(), collate_fn=np.asarray, **options)
    assert len(loader) == len(kipois)
    # Shuffled by NumPy's generator, which Kipoi uses, too.
    np.random.seed(3)
    found = [batch.tolist() for batch in loader]
    np.random.seed(3)
    assert found == [batch.tolist() for batch in kipois]
    again = [batch.tolist() for batch in loader]
    assert (again == found) != ("shuffle" in options) and list(map(len, again)) == list(map(len, found))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_sampler": [[1]], "shuffle": True}, "batch_sampler is mutually exclusive with batch_size, shuffle"),
        ({"batch_sampler": [[1]], "batch_size": 2}, "batch_sampler is mutually exclusive with batch_size, shuffle"),
        ({"sampler": [1], "shuffle": True}, "sampler is mutually exclusive with shuffle"),
        ({"batch_size": 0}, "A batch has at least one row.\n  Received: batch_size=0"),
        ({"num_workers": 1.5}, "The number of workers is a whole number, 0 or more.\n  Received: num_workers=1.5"),
    ],
)
def test_options_that_have_no_meaning(options, message):
    with pytest.raises(ValueError, match="^" + message.replace(".", r"\.")):
        WORKERS.numbers(COUNT, np.copy, **options)


def test_a_sampler_may_have_no_end():
    batches = iter(WORKERS.numbers(COUNT, np.copy, batch_size=3, sampler=itertools.cycle(range(5)), num_workers=2))
    assert [next(batches).tolist() for _ in range(3)] == [[0, 1, 2], [3, 4, 0], [1, 2, 3]]


def test_arrays_arrive_as_they_were_and_may_be_written_to():
    def read(chosen):
        grid = np.arange(12.0).reshape(3, 4)
        arrays = [grid, grid.T, grid[:, ::2], grid[:0], np.float32(3), np.array(["ä", "b"]), np.array([b"x", None])]
        return {"arrays": arrays, "text": "x", "chosen": chosen}

    (found,) = WORKERS.numbers(4, read, batch_size=4, num_workers=1)
    for own, sent in zip(found["arrays"], read(None)["arrays"], strict=True):
        np.testing.assert_array_equal(own, sent)
        assert (own.dtype == sent.dtype and np.asarray(own).strides == np.asarray(sent).strides) or own.size < 7
    assert found["text"] == "x" and all(array.flags.writeable for array in found["arrays"] if array.ndim)


def test_batches_larger_than_any_pipe_go_both_ways():
    def read(chosen):
        return np.repeat(chosen, 10)

    size = 200_000
    found = list(WORKERS.numbers(5 * size, read, batch_size=size, shuffle=True, num_workers=2))
    np.testing.assert_array_equal(np.sort(np.concatenate(found)[::10]), np.arange(5 * size))


def test_what_workers_raise_is_raised_here_in_its_place():
    class Odd(Exception):
        def __init__(self, number, reason):
            super().__init__(f"{number}: {reason}")

    def read(chosen):
        if chosen[0] == 4:
            raise DataError("four")
        if chosen[0] == 6:
            raise Odd(6, "six")
        return read if chosen[0] == 8 else chosen

    def raised(*batches):
        given = iter(WORKERS.numbers(10, read, batch_sampler=[[number] for number in batches], num_workers=2))
        assert all(next(given).tolist() == [number] for number in batches[:-1])
        with pytest.raises(Exception) as error:
            next(given)
        assert next(given, None) is None
        return error.value

    error = raised(0, 4)
    assert (type(error), str(error)) == (DataError, "four")
    assert error.__notes__[0].startswith("In a worker:\nTraceback") and ", in read\n" in error.__notes__[0]
    # One that cannot be made of its text, and a batch that cannot be sent.
    error = raised(1, 2, 6)
    assert (type(error), str(error)) == (DataError, "Odd: 6: six")
    assert "pickle" in str(raised(8))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_hook_runs_before_the_first_batch_and_its_error_is_passed_on(workers):
    built = []
    found = WORKERS.numbers(4, lambda chosen: (list(built), os.getpid()), lambda: built.append(1), num_workers=workers)
    assert [count for count, _ in found] == [[1]] * 4
    assert built == ([] if workers else [1])

    def fail():
        raise DataError("not today")

    with pytest.raises(DataError) as error:
        next(iter(WORKERS.numbers(4, np.copy, fail, num_workers=workers)))
    assert str(error.value) == "not today"


def sleepy(chosen):
    if chosen[0] == 3:
        time.sleep(1000)
    return os.getpid()


def test_workers_end_with_the_last_batch_or_when_the_iteration_is_left():
    ended = set(WORKERS.numbers(20, lambda chosen: os.getpid(), num_workers=3))
    assert len(ended) > 1 and not alive(ended)
    batches = iter(WORKERS.numbers(20, sleepy, num_workers=2))
    left = {next(batches), next(batches)}
    batches.close()
    assert not alive(left)
    # Nobody asks for a batch; the workers are there from the first moment on.
    before = multiprocessing.active_children()
    batches = iter(WORKERS.numbers(20, sleepy, num_workers=2))
    unused = started(before)
    assert len(unused) == 2
    del batches
    gc.collect()
    assert not alive(unused)


@pytest.mark.parametrize("asked", [0, 3])
def test_a_worker_that_is_killed_is_noticed(asked):
    before = multiprocessing.active_children()
    batches = iter(WORKERS.numbers(100, lambda chosen: time.sleep(0.01), num_workers=2))
    for _ in range(asked):
        next(batches)
    victim, other = started(before)
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(DataError) as error:
        list(batches)
    assert str(error.value).startswith(DIED.format(-9)) and not alive([victim, other])


def test_a_killed_worker_is_noticed_while_another_process_holds_its_connections():
    def read(chosen):
        if chosen[0] == 2:
            if not os.fork():
                time.sleep(30)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
        return chosen

    with pytest.raises(DataError) as error:
        list(WORKERS.numbers(9, read, num_workers=1))
    assert str(error.value).startswith(DIED.format(-9))


def test_several_threads_ask_workers_that_stay():
    workers = WORKERS.Workers(2, lambda chosen: (chosen * 2, os.getpid()))
    found = {}

    def ask(number):
        found[number] = workers.read(np.array([number]))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: double.tolist() for number, (double, _) in found.items()} == {n: [2 * n] for n in range(20)}
    processes = {process for _, process in found.values()}
    for process in processes:
        os.kill(process, signal.SIGKILL)
    with pytest.raises(DataError, match="has died"):
        workers.read(np.array([1]))
    assert not alive(processes)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_process_that_has_them(end):
    code = f"""
        import os, sys, time
        sys.path.insert(0, {str(Path(WORKERS.__file__).parents[1])!r})
        from merging.workers import numbers
        def read(chosen):
            if chosen[0] > 1:
                time.sleep(1000)
            return os.getpid()
        batches = iter(numbers(100, read, num_workers=2))
        print(next(batches), next(batches), flush=True)
        next(batches)
    """
    running = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    workers = list(map(int, running.stdout.readline().split()))
    assert len(workers) == 2
    # Ctrl-C goes to all processes of a terminal.
    (os.killpg if end == signal.SIGINT else os.kill)(running.pid, end)
    _, errors = running.communicate(timeout=30)
    assert not alive(workers)
    assert errors.count("KeyboardInterrupt") == (end == signal.SIGINT)
