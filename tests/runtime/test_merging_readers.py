"""What merged dataloaders say, how often they read, and how they behave with open files and workers."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import kipoiseq.extractors
import numpy as np
import pytest
from kipoi.data import BatchDataset, BatchIterator, Dataset
from kipoi.metadata import GenomicRanges
from kipoiseq.dataloaders import SeqIntervalDl, StringSeqIntervalDl

from keras_stitch.kipoi.templates import template_module

M = template_module("kipoi.merging")

ROWS = 6
NAMES = [f"r{row}" for row in range(ROWS)]
RANGES: Any = {"ids": None, "ranges": ("ranges",)}  # what rows are compared by


def part(name: str, loader: Any, *, arguments: Any = None, path: tuple = (), **options: Any) -> Any:
    return M.Part(
        name,
        loader,
        arguments or {},
        {name: path},
        **{"metadata": True, "ids": ("id",)} | options,
    )


def whole(ids: Any = NAMES, **metadata: Any) -> Any:
    """A loader of a data set in memory, whose inputs are 0, 1, 2, ..."""
    ids = {} if ids is None else {"id": np.asarray(ids)}
    count = len(metadata["ranges"].start) if "ranges" in metadata else len(ids.get("id", range(ROWS)))
    return M.from_function(lambda: {"inputs": np.arange(count), "metadata": ids | metadata})


def stream(*items: Any, kind: str = "SampleGenerator") -> Any:
    """A loader that gives some samples or batches; one that is an error is raised."""

    def generate() -> Any:
        for item in items:
            if isinstance(item, Exception):
                raise item
            yield item

    return M.from_function(generate, kind)


def samples(*ids: str) -> list[Any]:
    return [{"inputs": np.array([number]), "metadata": {"id": name}} for number, name in enumerate(ids)]


def batch(start: int, stop: int, **changes: Any) -> dict[str, Any]:
    return {"inputs": np.arange(start, stop), "metadata": {"id": np.asarray(NAMES[start:stop])}} | changes


def ranges(start: Any, strand: str, chr: str = "chr1") -> GenomicRanges:
    start = np.asarray(start)
    texts = {name: np.full(len(start), text) for name, text in (("chr", chr), ("id", ""), ("strand", strand))}
    return GenomicRanges(start=start, end=start + 5, **texts)


def listed(items: list[Any], base: type = Dataset) -> type:
    """A data set of samples, or of batches; one that is an error is raised."""

    class Listed(base):
        def __len__(self) -> int:
            return len(items)

        def __getitem__(self, index: int) -> Any:
            if isinstance(items[index], Exception):
                raise items[index]
            return items[index]

    return Listed


def read(*parts: Any, iterated: bool | None = None, **options: Any) -> list[Any]:
    if iterated is None:
        iterated = any(issubclass(one.loader, BatchIterator) or hasattr(one.loader, "generator_fn") for one in parts)
    merged = (M.MergedIterator if iterated else M.MergedDataset)(*parts)
    return list(merged.batch_iter(**{"batch_size": 4} | options))


def message(function: Callable, *arguments: Any, **options: Any) -> str:
    with pytest.raises(M.DataError) as error:
        function(*arguments, **options)
    return str(error.value)


IN_ORDER = (
    "  Fix: Give them data in the same order, or make the directory again with align_on= for one of them, which looks "
    "its rows up. If these fields have nothing to do with each other, align_on=False leaves them out."
)
LENGTHS = (
    "  Fix: Give all of them the same rows, or make the directory again with align_on= and missing='inner' for those "
    "that lack some."
)
COMPLETE = (
    "  Fix: Complete the data, or make the directory again with missing='inner' beside align_on=, which leaves such "
    "rows out."
)
MESSAGES = {
    "cannot be made": (
        lambda: read(part("a", whole(), arguments={"x": 1})),
        "The dataloader of 'a' cannot be made.\n"
        "  Received: TypeError: whole.<locals>.<lambda>() got an unexpected keyword argument 'x'",
    ),
    "not arrays": (
        lambda: read(part("a", M.from_function(lambda: {"x": np.arange(3)}))),
        "The dataloader of 'a' fails as its data are not nested arrays.\n  Received: KeyError: 'inputs'",
    ),
    "fails at a row": (
        lambda: read(part("a", listed([*samples("r0", "r1"), KeyError("r2")]))),
        "The dataloader of 'a' fails at row 2.\n  Received: KeyError: 'r2'",
    ),
    "fails at a batch": (
        lambda: read(part("a", listed([batch(0, 2), StopIteration(), batch(4, 6)], BatchDataset))),
        "The dataloader of 'a' fails at batch 1.\n  Received: StopIteration",
    ),
    "fails after rows": (
        lambda: read(part("a", stream(batch(0, 3), ValueError("two\n  lines"), kind="BatchGenerator"))),
        "The dataloader of 'a' fails after 3 rows.\n  Received: ValueError: two lines",
    ),
    "fails in order": (
        lambda: read(part("a", listed([*samples("r0"), IndexError()]), in_order=True), iterated=True),
        "The dataloader of 'a' fails at row 1.\n  Received: IndexError",
    ),
    "other fields": (
        lambda: read(part("a", listed([*samples("r0"), {"inputs": np.array([1]), "metadata": {}}]))),
        "The rows of 'a' do not all have the same fields, in rows 0 to 1.",
    ),
    "other shapes": (
        lambda: read(part("a", listed([*samples("r0"), {"inputs": np.ones(2), "metadata": {"id": "r1"}}]))),
        "The rows of 'a' do not fit together, in rows 0 to 1.\n"
        "  Expected: an array or a number as 'a', of the same shape in every row\n"
        "  Received: (1,), (2,)",
    ),
    "cannot be stacked": (
        lambda: read(part("a", listed([{"inputs": {1}, "metadata": {"id": "r0"}}]))),
        "The rows of 'a' do not fit together, in row 0.\n"
        "  Expected: an array or a number as 'a', of the same shape in every row\n"
        "  Received: TypeError: batch must contain tensors, numbers, dicts or lists; found <class 'set'>",
    ),
    "uneven batch": (
        lambda: read(part("a", stream(batch(0, 3, inputs=np.arange(2)), kind="BatchGenerator"))),
        "The arrays in a batch of 'a' do not have the same number of rows.\n  Received: inputs/a: 2, metadata/a/id: 3",
    ),
    "scalar input": (
        lambda: read(part("a", stream(batch(0, 3, inputs=np.array(1)), kind="BatchGenerator"))),
        "The arrays in a batch of 'a' do not have the same number of rows.\n"
        "  Received: inputs/a: None, metadata/a/id: 3",
    ),
    "uneven batches": (
        lambda: read(part("a", listed([batch(0, 2), batch(2, 3), batch(3, 5)], BatchDataset))),
        "The batches of 'a' do not have the same number of rows, so that none can be found by its number.\n"
        "  Expected: 2 rows in batch 1, as batch 0 has 2\n"
        "  Received: 1\n"
        "  Fix: Make the directory again with ks.Dataloader(..., in_order=True): it then reads from the first batch "
        "to the last.",
    ),
    "lengths": (
        lambda: read(part("a", whole()), part("b", whole(NAMES[:4])), part("c", whole())),
        "The parts do not have the same number of rows.\n"
        "  Expected: one number\n"
        "  Received: 6 in 'a', 4 in 'b', 6 in 'c'\n"
        f"{LENGTHS}",
    ),
    "lengths of streams": (
        lambda: read(part("a", stream(*samples(*NAMES))), part("b", stream(*samples(*NAMES[:5]))), part("c", whole())),
        "The parts do not have the same number of rows.\n"
        "  Expected: one number\n"
        "  Received: 6 in 'a', 5 in 'b', 6 in 'c'\n"
        f"{LENGTHS}",
    ),
    "lengths while reading": (
        lambda: read(part("a", stream(*samples(*NAMES))), part("b", whole(NAMES[:4]))),
        "The parts do not have the same number of rows.\n"
        "  Expected: one number\n"
        "  Received: 6 in 'a', 4 in 'b'\n"
        f"{LENGTHS}",
    ),
    "no rows": (lambda: read(part("a", listed([]))), "'a' has no rows."),
    "no rows in streams": (lambda: read(part("a", stream())), "There are no rows.\n  Received: parts that end at once"),
    "shuffle": (
        lambda: read(part("a", stream(*samples(*NAMES))), part("b", whole()), shuffle=True),
        "The rows cannot be shuffled, as some parts can only be read from the first row to the last.\n"
        "  Expected: shuffle=False\n"
        "  Received: 'a'",
    ),
    "batch size": (
        lambda: read(part("a", stream(*samples(*NAMES))), batch_size=0),
        "A batch has at least one row.\n  Received: batch_size=0",
    ),
    "no targets": (
        lambda: M.MergedDataset(part("a", whole())).batch_train_iter(),
        "There are no targets to train on.\n"
        "  Fix: Give the argument targets_file, or make the directory again with targets=.",
    ),
    "id": (
        lambda: read(part("a", whole()), part("b", whole(["r0", "r1", "x", "r3", "r4", "y"]))),
        "Row 2 is not the same in all parts.\n"
        "  Expected: the same id in 'a' and 'b'\n"
        "  Received: 'r2' in 'a', 'x' in 'b'\n"
        f"{IN_ORDER}",
    ),
    "ids": (
        lambda: read(part("a", whole()), part("b", stream(*samples(*NAMES[::-1])))),
        "Row 0 is not the same in all parts, nor are 3 more of the 4 read with it.\n"
        "  Expected: the same id in 'a' and 'b'\n"
        "  Received: 'r0' in 'a', 'r5' in 'b'\n"
        f"{IN_ORDER}",
    ),
    "range": (
        lambda: read(
            part("a", whole(None, ranges=ranges([0, 10, 20], "+")), **RANGES),
            part("b", whole(None, ranges=ranges([0, 10, 21], "*", "1")), **RANGES),
        ),
        "Row 2 is not the same in all parts.\n"
        "  Expected: the same genomic range in 'a' and 'b'\n"
        "  Received: chr1:20-25 (+) in 'a', 1:21-26 in 'b'\n"
        f"{IN_ORDER}",
    ),
    "strand": (
        lambda: read(
            part("a", whole(None, ranges=ranges([0, 10], "+")), **RANGES),
            part("b", whole(None, ranges=ranges([0, 10], "-")), **RANGES),
        ),
        "Row 0 is not the same in all parts, nor is 1 more of the 2 read with it.\n"
        "  Expected: the same genomic range in 'a' and 'b'\n"
        "  Received: chr1:0-5 (+) in 'a', chr1:0-5 (-) in 'b'\n"
        f"{IN_ORDER}",
    ),
    "joined without keys": (
        lambda: read(part("a", whole()), part("b", whole(None), ids=None, align_on="ids")),
        "Rows cannot be looked up by their ids: those of 'b' have none.",
    ),
    "joined to one without keys": (
        lambda: read(part("a", whole(None), ids=None), part("b", whole(), align_on="ids")),
        "Rows cannot be looked up by their ids: those of 'a' have none.",
    ),
    "joined row is missing": (
        lambda: read(part("a", whole()), part("b", whole(NAMES[:5]), align_on="ids")),
        f"Row 5 of 'a' is not in 'b'.\n  Expected: one row of 'b' for every row\n  Received: none for 'r5'\n{COMPLETE}",
    ),
    "joined rows are missing": (
        lambda: read(part("a", whole()), part("b", whole(NAMES[2:]), align_on="ids")),
        "Row 0 of 'a' is not in 'b', nor are 1 others read with it.\n"
        "  Expected: one row of 'b' for every row\n"
        "  Received: none for 'r0'\n"
        f"{COMPLETE}",
    ),
    "joined row is too many": (
        lambda: read(part("a", whole(NAMES[1:])), part("b", whole(), align_on="ids")),
        "Row 0 of 'b' is not in 'a'.\n"
        "  Expected: one row of 'a' for every row of 'b'\n"
        "  Received: none for 'r0'\n"
        f"{COMPLETE}",
    ),
    "joined rows are too many": (
        lambda: read(part("a", stream(*samples(*NAMES[2:]))), part("b", whole(), align_on="ids")),
        "Row 0 of 'b' is not in 'a', nor are 1 others.\n"
        "  Expected: one row of 'a' for every row of 'b'\n"
        "  Received: none for 'r0'\n"
        f"{COMPLETE}",
    ),
    "joined row twice": (
        lambda: read(part("a", whole()), part("b", whole([*NAMES[:5], "r1"]), align_on="ids")),
        "Two rows of 'b' are the same, so it is not clear which of them is meant.\n"
        "  Expected: different ids, as rows are looked up by them\n"
        "  Received: 'r1' in rows 1 and 5",
    ),
    "joined range twice": (
        lambda: read(
            part("a", whole(None, ranges=ranges([0, 10], "+")), **RANGES),
            part("b", whole(None, ranges=ranges([10, 10], "+")), **RANGES, align_on="ranges"),
        ),
        "Two rows of 'b' are the same, so it is not clear which of them is meant.\n"
        "  Expected: different ranges, as rows are looked up by them\n"
        "  Received: chr1:10-15 (+) in rows 0 and 1",
    ),
    "row is looked up twice": (
        lambda: read(part("a", whole([*NAMES[:5], "r1"])), part("b", whole(), align_on="ids")),
        "Two rows of 'a' are the same, so it is not clear which of them is meant.\n"
        "  Expected: different ids, as rows are looked up by them\n"
        "  Received: 'r1' once more in row 5",
    ),
    "nothing in common": (
        lambda: read(part("a", whole()), part("b", whole(["x"]), align_on="ids", missing="inner")),
        "No row is in all parts: 'a' and 'b' have no key in common.",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages(name: str):
    function, expected = MESSAGES[name]
    assert message(function) == expected


# Faults that could pass


def test_an_unknown_name_hides_no_others_that_differ():
    parts = [part(name, whole(ids)) for name, ids in (("a", ["r0", "."]), ("b", ["r0", "r1"]), ("c", ["r0", "r2"]))]
    assert "'r1' in 'b', 'r2' in 'c'" in message(read, *parts)


def test_an_unknown_strand_hides_no_others_that_differ():
    parts = [
        part(name, whole(None, ranges=ranges([0, 10], strand)), **RANGES)
        for name, strand in zip("abc", "*+-", strict=True)
    ]
    assert "chr1:0-5 (+) in 'b', chr1:0-5 (-) in 'c'" in message(read, *parts)


def test_a_batch_that_is_changed_after_it_was_given():
    def generate() -> Any:
        rows = np.zeros(2, int)
        for start in range(0, ROWS, 2):
            rows[:] = start, start + 1
            yield {"inputs": rows, "metadata": {"id": rows}}

    merged = M.MergedIterator(part("a", M.from_function(generate, "BatchGenerator")), part("b", whole(range(ROWS))))
    for size in range(1, ROWS + 1):
        rows = [batch["inputs"]["a"].tolist() for batch in merged.batch_iter(batch_size=size)]
        assert list(itertools.chain(*rows)) == list(range(ROWS))


@pytest.mark.parametrize("size", range(1, ROWS + 1))
def test_lists_in_the_metadata_of_samples(size):
    items = [{"inputs": row, "metadata": {"id": NAMES[row], "pair": [row, f"x{row}"]}} for row in range(ROWS)]
    found = read(part("a", stream(*items)), part("b", listed(items)), batch_size=size)
    for name in "ab":
        pairs = [batch["metadata"][name]["pair"] for batch in found]
        assert np.concatenate([first for first, _ in pairs]).tolist() == list(range(ROWS))
        assert np.concatenate([second for _, second in pairs]).tolist() == [f"x{row}" for row in range(ROWS)]


def test_lists_in_the_metadata_of_joined_samples():
    items = [{"inputs": row, "metadata": {"id": NAMES[row], "pair": [row, -row]}} for row in range(ROWS)]
    joined = part("b", whole(NAMES[::-2]), align_on="ids", missing="inner")
    (found,) = read(part("a", stream(*items)), joined)
    assert [array.tolist() for array in found["metadata"]["a"]["pair"]] == [[1, 3, 5], [-1, -3, -5]]


def test_an_empty_first_batch():
    text = message(read, part("a", listed([batch(0, 0), batch(0, 3), batch(3, 6)], BatchDataset)))
    assert text.startswith("The batches of 'a' do not have the same number of rows")


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("stop", [2, 4])
def test_keys_that_some_rows_lack(size, stop):
    ids = {row: {"id": NAMES[row]} if row < stop else {} for row in range(ROWS)}
    items = [{"inputs": np.array(row), "metadata": ids[row]} for row in range(ROWS)]
    wrong = [*NAMES[:stop], *["x"] * (ROWS - stop)]
    assert "'a'" in message(read, part("a", stream(*items)), part("b", whole(wrong)), batch_size=size)
    assert "'a'" in message(read, part("a", listed(items)), part("b", whole(wrong)), batch_size=size)


def test_nothing_in_common_with_a_stream():
    joined = part("b", whole(["x"]), align_on="ids", missing="inner")
    assert message(read, part("a", stream(*samples(*NAMES))), joined) == MESSAGES["nothing in common"][1]


@pytest.mark.parametrize("error", [OSError("gone"), StopIteration("gone"), IndexError("gone")])
@pytest.mark.parametrize("method", ["__len__", "__iter__"])
def test_errors_before_the_first_row(method, error):
    def fail(_: Any) -> Any:
        raise error

    base = Dataset if method == "__len__" else BatchIterator
    loader = type("Damaged", (base,), {method: fail, "__next__": fail})
    text = message(read, part("a", loader), iterated=method == "__iter__")
    assert "'a'" in text and "gone" in text


def test_two_passes_at_once():
    merged = M.MergedIterator(part("a", stream(*samples(*NAMES))), part("b", whole(NAMES[::-1]), align_on="ids"))
    for one, other in zip(merged.batch_iter(batch_size=2), merged.batch_iter(batch_size=2), strict=True):
        assert one["inputs"]["b"].tolist() == other["inputs"]["b"].tolist()


# Open files and workers


class Deadline:
    """Turns waiting for a worker that is dead into an error."""

    def __enter__(self) -> None:
        def stop(*_: Any) -> None:
            raise TimeoutError("waits for a worker for ever")

        self.before = signal.signal(signal.SIGALRM, stop)
        signal.alarm(15)

    def __exit__(self, *_: Any) -> None:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, self.before)


WIDTH = 8


class OpenFile(Dataset):
    """Keeps a file open, and another process can come between the two steps of reading a row."""

    def __init__(self, path: str, at_once: bool = False):
        self.path, self.handle = path, None
        if at_once:
            self.open()

    def open(self) -> None:
        self.handle = os.open(self.path, os.O_RDONLY)

    def __len__(self) -> int:
        return Path(self.path).stat().st_size // WIDTH

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.handle is None:
            self.open()
        os.lseek(self.handle, index * WIDTH, os.SEEK_SET)
        time.sleep(0.001)
        return {"inputs": np.frombuffer(os.read(self.handle, WIDTH), "int64"), "metadata": {"id": str(index)}}


class OpenFileOfBatches(BatchDataset, OpenFile):
    def __len__(self) -> int:
        return OpenFile.__len__(self) // 2

    def __getitem__(self, index: int) -> dict[str, Any]:
        rows = [OpenFile.__getitem__(self, row) for row in (2 * index, 2 * index + 1)]
        return {
            "inputs": np.stack([row["inputs"] for row in rows]),
            "metadata": {"id": np.asarray([row["metadata"]["id"] for row in rows])},
        }


@pytest.fixture
def numbers_file(tmp_path):
    np.arange(100).astype("int64").tofile(tmp_path / "numbers")
    return str(tmp_path / "numbers")


def assert_numbers(batches: list[Any]) -> None:
    assert np.concatenate([batch["inputs"]["a"] for batch in batches]).ravel().tolist() == list(range(100))


@pytest.mark.parametrize("loader", [OpenFile, OpenFileOfBatches])
@pytest.mark.parametrize("iterated", [False, True])
def test_workers_open_files_that_the_parent_has_open_anew(numbers_file, loader, iterated):
    merged = (M.MergedIterator if iterated else M.MergedDataset)(part("a", loader, arguments={"path": numbers_file}))
    for workers in (0, 2, 2):
        assert_numbers(list(merged.batch_iter(batch_size=4, num_workers=workers)))


@pytest.mark.parametrize("options", [{}, {"in_order": True}])
def test_workers_open_files_anew_that_are_opened_when_the_loader_is_made(numbers_file, options):
    one = part("a", OpenFile, arguments={"path": numbers_file, "at_once": True}, **options)
    merged = M.MergedIterator(one)
    for _ in range(2):
        assert_numbers(list(merged.batch_iter(batch_size=4, num_workers=2)))


def test_workers_read_tables_that_the_parent_has_open(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = np.arange(400.0).reshape(100, 4)
    merged = M.MergedDataset(M.Table("x", tmp_path / "x.h5", (4,), "float64"))
    for workers in (0, 2, 2):
        batches = list(merged.batch_iter(batch_size=3, num_workers=workers))
        assert np.concatenate([batch["inputs"]["x"] for batch in batches]).ravel().tolist() == list(range(400))


@pytest.mark.parametrize("workers", [0, 2])
def test_build_is_called_before_the_first_row(workers):
    class Built(Dataset):
        process = None

        def build(self) -> None:
            self.process = os.getpid()

        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"inputs": np.array([self.process == os.getpid()]), "metadata": {"id": str(index)}}

    (found,) = read(part("a", Built), num_workers=workers)
    assert found["inputs"]["a"].all()


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_of_build(workers):
    class Damaged(listed(samples(*NAMES))):
        def build(self) -> None:
            raise OSError("gone")

    with Deadline():
        assert "'a'" in message(read, part("a", Damaged), num_workers=workers)


def test_errors_of_making_a_loader_anew_in_workers(numbers_file):
    merged = M.MergedDataset(part("a", OpenFile, arguments={"path": numbers_file}))
    assert len(list(merged.batch_iter(batch_size=50))) == 2
    Path(numbers_file).rename(f"{numbers_file}.moved")
    with Deadline():
        assert "The dataloader of 'a' fails at row 0." in message(lambda: list(merged.batch_iter(num_workers=2)))


# One reading for several parts


class Counted(Dataset):
    reads = 0

    def __init__(self, factor: Any = 1):
        self.factor = factor

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> dict[str, Any]:
        Counted.reads += 1
        return {
            "inputs": {"x": np.array([index]) * self.factor, "y": np.array([-index])},
            "metadata": {"id": NAMES[index]},
        }


@pytest.fixture(autouse=True)
def _nothing_read():
    Counted.reads = 0


def test_the_same_loader_with_the_same_arguments_is_read_once():
    batches = read(
        part("a", Counted, path=("x",)),
        part("b", Counted, path=("y",)),
        part("c", Counted, path=("x",)),
        batch_size=ROWS,
    )
    assert Counted.reads == ROWS
    (found,) = batches
    assert {name: array.ravel().tolist() for name, array in found["inputs"].items()} == {
        "a": [0, 1, 2, 3, 4, 5],
        "b": [0, -1, -2, -3, -4, -5],
        "c": [0, 1, 2, 3, 4, 5],
    }
    assert {name: fields["id"].tolist() for name, fields in found["metadata"].items()} == dict.fromkeys("abc", NAMES)


@pytest.mark.parametrize("factor", [2, 1.0, True, [1], np.array([1.0, 2.0])])
def test_other_arguments_are_read_for_themselves(factor):
    one, other = (part(name, Counted, arguments={"factor": it}, path=("x",)) for name, it in (("a", 1), ("b", factor)))
    (found,) = read(one, other, batch_size=ROWS)
    assert Counted.reads == 2 * ROWS
    expected = np.stack([np.array([row]) * factor for row in range(ROWS)])
    assert found["inputs"]["b"].dtype == expected.dtype and np.array_equal(found["inputs"]["b"], expected)


def test_a_part_that_is_read_otherwise_is_read_for_itself():
    one, other = part("a", Counted, path=("x",)), part("b", Counted, path=("x",), align_on="ids")
    assert len(M.MergedDataset(one, other).readers) == 2


# Sequences

CHROMOSOMES = {"chr1": "ACGTTGCAACGGTTACCATGNNACGTAGCTAGCTAcgatcgATCGGATATACCAGTAGGC", "chr2": "TTGACCATGACCA" * 6}
INTERVALS = [
    ("chr1", 20, 34, "+"),
    ("chr1", 20, 34, "-"),
    ("chr1", 21, 32, "-"),
    ("chr2", 40, 41, "+"),
    ("chr2", 30, 60, "-"),
    ("chr1", 0, 12, "+"),
    ("chr1", 0, 12, "-"),
    ("chr1", 4, 8, "-"),
    ("chr1", 46, 60, "-"),
    ("chr1", 50, 60, "+"),
    ("chr2", 70, 78, "-"),
    ("chr2", 60, 78, "+"),
]


@pytest.fixture
def genome(tmp_path, monkeypatch):
    """Files, and a list of all sequences that are read."""
    (tmp_path / "genome.fa").write_text("".join(f">{name}\n{text}\n" for name, text in CHROMOSOMES.items()))
    for name in ("intervals", "others"):
        lines = [f"{chr}\t{start}\t{end}\t.\t.\t{strand}\n" for chr, start, end, strand in INTERVALS]
        (tmp_path / f"{name}.bed").write_text("".join(lines))
    seen, extract = [], kipoiseq.extractors.FastaStringExtractor.extract

    def counting(self: Any, interval: Any, **options: Any) -> str:
        seen.append((interval.chrom, interval.start, interval.stop))
        return extract(self, interval, **options)

    monkeypatch.setattr(kipoiseq.extractors.FastaStringExtractor, "extract", counting)
    return tmp_path, seen


def sequences(
    folder: Any, name: str, length: Any, loader: Any = SeqIntervalDl, bed: str = "intervals", **options: Any
) -> Any:
    arguments = {
        "intervals_file": str(folder / f"{bed}.bed"),
        "fasta_file": str(folder / "genome.fa"),
        "auto_resize_len": length,
        "use_strand": True,
    }
    return part(name, loader, arguments=arguments | options, resized_by="auto_resize_len", **RANGES)


def outcome(function: Callable) -> Any:
    try:
        return function()
    except M.DataError as error:
        return error


@pytest.mark.parametrize("lengths", [(30, 10, None), (10, 30, None), (None, 10, 30), (11, 10, 30)])
@pytest.mark.parametrize("step", [1, -1])
def test_shared_sequences_are_those_of_separate_reading(genome, lengths, step):
    folder, _ = genome
    parts = [sequences(folder, f"s{length}", length) for length in lengths]
    merged = M.MergedDataset(*parts)
    assert len(merged.readers) == 1
    for row in range(len(INTERVALS))[::step]:
        alone = [one.loader(**one.arguments)[row] for one in parts]
        found = outcome(lambda row=row: merged[row])
        if any(one["metadata"]["ranges"].start > 2**31 for one in alone):
            # Resized beyond the start of the chromosome: kipoiseq gives no sequence, and a start of 4 billion.
            assert str(found).startswith(f"Row {row} is not the same in all parts.")
            continue
        for one, expected in zip(parts, alone, strict=True):
            assert found["inputs"][one.name].dtype == expected["inputs"].dtype
            assert found["inputs"][one.name].tobytes() == expected["inputs"].tobytes()
            assert found["inputs"][one.name].shape == expected["inputs"].shape
            assert {key: str(value) for key, value in found["metadata"][one.name]["ranges"].items()} == {
                key: str(value) for key, value in expected["metadata"]["ranges"].items()
            }


INNER = 5  # intervals that are not at the end of a chromosome


@pytest.mark.parametrize(("lengths", "reads"), [((30, 10), 5), ((30, 10, 11, 29), 5), ((10, 30), 5), ((10, 10, 10), 5)])
def test_the_genome_is_read_less_often(genome, lengths, reads):
    folder, seen = genome
    parts = [sequences(folder, f"s{number}", length, alphabet_axis=number % 2) for number, length in enumerate(lengths)]
    M.MergedDataset(*parts).read(range(INNER))
    assert len(seen) == reads


@pytest.mark.parametrize(
    "options", [{"alphabet": "TGCA"}, {"dtype": np.float32}, {"dummy_axis": 0}, {"alphabet_axis": 0}]
)
def test_other_encodings_share_sequences(genome, options):
    folder, seen = genome
    one, other = sequences(folder, "a", 10), sequences(folder, "b", 10, **options)
    merged = M.MergedDataset(one, other)
    found = merged.read(range(INNER))
    assert len(merged.readers) == 1 and len(seen) <= INNER
    expected = [SeqIntervalDl(**other.arguments)[row]["inputs"] for row in range(INNER)]
    assert found["inputs"]["b"].tobytes() == np.stack(expected).tobytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"bed": "others"},
        {"use_strand": False},
        {"loader": StringSeqIntervalDl, "force_upper": False},
        {"ignore_targets": True},
    ],
)
def test_other_intervals_are_read_for_themselves(genome, changes):
    folder, _ = genome
    merged = M.MergedDataset(
        sequences(folder, "a", 10, label_dtype=str), sequences(folder, "b", 12, **{"label_dtype": str} | changes)
    )
    assert len(merged.readers) == 2


def test_a_loader_with_intervals_of_its_own_shares_nothing(genome):
    class Plus(SeqIntervalDl):
        """Leaves out intervals by a rule that is no setting of kipoiseq's."""

        def __init__(self, strand: str, **arguments: Any):
            super().__init__(**arguments)
            self.seq_dl.bed.df = self.seq_dl.bed.df[self.seq_dl.bed.df[5] == strand]

    folder, _ = genome
    parts = [sequences(folder, name, 10, Plus, strand=name) for name in "+-"]
    assert message(M.MergedDataset, *parts).startswith("The parts do not have the same number of rows.")


def test_a_loader_with_a_genome_of_its_own_shares_nothing(genome):
    class Masked(SeqIntervalDl):
        def __init__(self, **arguments: Any):
            super().__init__(**arguments)
            self.seq_dl.fasta_extractors = self

        def extract(self, interval: Any) -> str:
            return "N" * (interval.stop - interval.start)

    folder, _ = genome
    one, other = sequences(folder, "a", 10), sequences(folder, "b", 10, Masked)
    found = M.MergedDataset(one, other)[0]
    assert found["inputs"]["a"].max() == 1 and found["inputs"]["b"].max() == 0.25


def test_ids_that_are_not_known_are_in_no_row():
    parts = part("a", whole(["x", ".", "y"])), part("b", whole(["y", "x", "."]), align_on="ids")
    assert message(M.MergedDataset, *parts) == (
        "Row 1 of 'a' is not in 'b'.\n  Expected: one row of 'b' for every row\n"
        f"  Received: row 1 of 'a' has none of the ids by which rows are looked up\n{COMPLETE}"
    )
    parts[1].missing = "inner"
    assert [row.tolist() for row in M.MergedDataset(*parts).load_all()["inputs"].values()] == [[0, 2], [1, 0]]


def test_a_field_that_no_row_has():
    assert message(read, part("a", whole(None))) == (
        "The rows of 'a' have no field 'id' in their metadata.\n"
        "  Expected: what the schema of its dataloader says, as rows are compared by it"
    )


def test_ids_of_two_columns():
    one, other = np.array([["a", "b"], ["c", "d"]]), np.array([["a", "b"], ["c", "e"]])
    assert "'c d' in 'a', 'c e' in 'b'" in message(read, part("a", whole(one)), part("b", whole(other)))
    one, other = np.array([["a", "b c"]] * 2), np.array([["a b", "c"]] * 2)
    assert "the same id in 'a' and 'b'" in message(read, part("a", whole(one)), part("b", whole(other)))


@pytest.mark.parametrize("loader", [whole(), stream(*samples("r0"))])
def test_a_batch_without_rows(loader):
    assert message(read, part("a", loader), batch_size=0) == "A batch has at least one row.\n  Received: batch_size=0"


def test_training_on_no_batch(tmp_path):
    np.save(tmp_path / "t.npy", np.zeros((ROWS, 1)))
    targets = M.Targets(tmp_path / "t.npy", {"score": ((1,), "float32")})
    merged = M.MergedDataset(part("a", whole()), targets)
    assert len(list(merged.batch_train_iter(cycle=False, batch_size=4))) == 2
    assert message(next, merged.batch_train_iter(batch_size=7, drop_last=True)) == (
        "There is no batch to train on.\n  Expected: a batch_size that is not larger than the data"
    )


@pytest.mark.parametrize("status", [0, 3])
def test_a_worker_that_dies(status):
    class Dying(Dataset):
        def __len__(self) -> int:
            return ROWS

        def __getitem__(self, index: int) -> Any:
            if index == 4:
                os._exit(status)
            return samples(*NAMES)[index]

    assert message(read, part("a", Dying), num_workers=2, batch_size=1) == (
        f"A worker process that reads rows has died.\n  Received: exit status {status}\n"
        "  Fix: Look for a lack of memory, or read without workers."
    )


def test_sequences_beside_a_generator(genome):
    folder, _ = genome
    rows = [str(row) for row in range(len(INTERVALS))]
    merged = M.MergedIterator(sequences(folder, "a", 10), part("b", stream(*samples(*rows))))
    batch = next(merged.batch_iter(batch_size=INNER))
    assert batch["inputs"]["a"].shape == (INNER, 10, 4) and batch["inputs"]["b"].tolist() == [[0], [1], [2], [3], [4]]


class OpensWhenAskedForItsLength(Dataset):
    def __init__(self, path: str):
        self.path, self.file = path, None

    def open(self) -> Any:
        if self.file is None:
            self.file = Path(self.path).open("rb", buffering=0)  # noqa: SIM115
        return self.file

    def __len__(self) -> int:
        return os.fstat(self.open().fileno()).st_size // 8

    def __getitem__(self, index: int) -> Any:
        self.open().seek(index * 8)
        return {"inputs": np.array([int(self.file.read(8))])}


@pytest.mark.parametrize("in_order", [False, True])
def test_workers_do_not_share_a_file_that_was_opened_for_the_length(tmp_path, in_order):
    (tmp_path / "rows").write_text("".join(f"{row:8d}" for row in range(600)))
    arguments = {"path": str(tmp_path / "rows")}
    one = part("a", OpensWhenAskedForItsLength, arguments=arguments, metadata=False, ids=None, in_order=in_order)
    found = read(one, iterated=in_order, batch_size=16, num_workers=4)
    assert np.concatenate([batch["inputs"]["a"] for batch in found])[:, 0].tolist() == list(range(600))


@pytest.mark.parametrize("view", [False, True])
def test_arrays_that_are_filled_again_for_every_row(view):
    class Refilled(Dataset):
        buffer = np.zeros(2)

        def __len__(self) -> int:
            return ROWS

        def __getitem__(self, index: int) -> Any:
            self.buffer[:] = index
            return {"inputs": self.buffer[:] if view else self.buffer, "metadata": {"id": NAMES[index]}}

    def generate() -> Any:
        loader = Refilled()
        for index in range(ROWS):
            yield loader[index]

    for loader in (Refilled, M.from_function(generate, "SampleGenerator")):
        found = read(part("a", loader), part("b", whole()))
        assert np.concatenate([batch["inputs"]["a"] for batch in found])[:, 0].tolist() == list(range(ROWS))


@pytest.mark.parametrize("start", [[0.0, np.nan], [0.5, 10.0], ["x", "y"], [None, 1]])
def test_ranges_that_are_no_whole_numbers(start):
    values = GenomicRanges(
        chr=np.full(2, "chr1"),
        start=np.asarray(start),
        end=np.array([5, 15]),
        id=np.full(2, ""),
        strand=np.full(2, "*"),
    )
    parts = (
        part("a", whole(None, ranges=values), **RANGES),
        part("b", whole(None, ranges=ranges([0, 10], "*")), **RANGES),
    )
    assert message(read, *parts) == (
        "The genomic ranges of 'a' cannot be compared.\n"
        "  Expected: whole numbers as 'start'\n"
        f"  Received: {', '.join(map(str, np.asarray(start).tolist()))}"
    )


def test_targets_that_give_the_order_may_be_missing(tmp_path):
    (tmp_path / "t.tsv").write_text(
        "id\tscore\n" + "".join(f"{name}\t{row}\n" for row, name in list(enumerate(NAMES))[::-1])
    )
    outputs = {"score": ((1,), "float32")}
    joined = part("a", whole(), align_on="ids")
    with_targets = M.MergedDataset(joined, M.Targets(tmp_path / "t.tsv", outputs)).read(range(ROWS))
    assert with_targets["inputs"]["a"].tolist() == with_targets["targets"][:, 0].tolist() == list(range(ROWS))[::-1]
    assert M.MergedDataset(joined, M.Targets(None, outputs)).read(range(ROWS))["inputs"]["a"].tolist() == list(
        range(ROWS)
    )


def test_samples_without_iter_and_bad_numbers_of_workers():
    assert next(M.MergedIterator(part("a", stream(*samples("r0")))))["metadata"]["a"]["id"] == "r0"
    for loader in (whole(), stream(*samples("r0"))):
        assert message(read, part("a", loader), num_workers=-1) == (
            "The number of workers is a whole number, 0 or more.\n  Received: num_workers=-1"
        )
