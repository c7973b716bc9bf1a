"""The promise of merged dataloaders: no row is lost, repeated or out of step, and no fault that shows passes."""

from __future__ import annotations

import dataclasses
import itertools
import re
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from merging_strategies import KINDS, STREAMS, Case, Given, M, at, cases, flat, givens, some_array

ID = frozenset({"id"})
RANGES = frozenset({"ranges"})


# Where tests are made for every kind and fault.
FEW = settings(max_examples=settings().max_examples // 5)


class TwoArguments(Exception):
    """An error that cannot be made again from one text."""

    def __init__(self, where: str, why: str):
        super().__init__(f"{where}: {why}")


ERRORS = {
    "ValueError": lambda: ValueError("damaged"),
    "KeyError": lambda: KeyError("damaged"),
    "IndexError": lambda: IndexError("damaged"),
    "StopIteration": lambda: StopIteration("damaged"),
    "TwoArguments": lambda: TwoArguments("file", "damaged"),
}


def assert_same(found: Any, expected: np.ndarray, path: tuple) -> None:
    """The same values, bit for bit, and the same dtype; but texts may be wider, and those of metadata objects."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, path
    kinds = {found.dtype.kind, expected.dtype.kind}
    if kinds & {"U", "S", "O"}:
        assert len(kinds) == 1 or (path[0] == "metadata" and "O" in kinds), path
        assert found.tolist() == expected.tolist(), path
    else:
        assert found.dtype == expected.dtype, path
        assert found.tobytes() == expected.tobytes(), path


def assert_rows(nested: dict[str, Any], expected: dict[tuple, np.ndarray], rows: Any) -> None:
    """A batch, or a row, has these rows and nothing else."""
    found = dict(flat({key: nested[key] for key in ("inputs", "metadata")}))
    assert found.keys() == expected.keys()
    for path, array in found.items():
        assert_same(array, expected[path][rows], path)


def assert_stream(batches: list, expected: dict, rows: int, batch_size: int, drop_last: bool = False) -> None:
    """All rows in their order, in batches of the right size."""
    full, rest = divmod(rows, batch_size)
    sizes = [batch_size] * full + [rest] * (rest > 0 and not drop_last)
    assert len(batches) == len(sizes)
    for number, (batch, size) in enumerate(zip(batches, sizes, strict=True)):
        start = number * batch_size
        assert_rows(batch, expected, slice(start, start + size))
        assert {len(array) for _, array in flat(batch)} == {size}


def note(case: Case) -> None:
    for part in case.parts:
        event(part.kind + (" in order" if part.in_order else ""))


@given(cases())
def test_rows_are_those_of_the_parts(case: Case):
    note(case)
    merged, expected = case.merged(), case.expected()
    for _ in range(2):
        batches = list(merged.batch_iter(batch_size=case.batch_size, drop_last=case.drop_last))
        assert_stream(batches, expected, case.rows, case.batch_size, case.drop_last)
    assert_rows(merged.load_all(batch_size=case.batch_size), expected, slice(None))


@given(cases())
def test_single_rows(case: Case):
    merged, expected = case.merged(), case.expected()
    if isinstance(merged, M.MergedDataset):
        assert len(merged) == case.rows
        for row in (*range(case.rows), -1):
            assert_rows(merged[row], expected, row)
        for row in (case.rows, -case.rows - 1):
            with pytest.raises(IndexError):
                merged[row]
    else:
        for _ in range(2):
            samples = list(merged)
            assert len(samples) == case.rows
            for row, sample in enumerate(samples):
                assert_rows(sample, expected, row)


@FEW
@given(cases(max_parts=3), st.integers(1, 2))
def test_workers(case: Case, workers: int):
    merged, expected = case.merged(), case.expected()
    for _ in range(2):
        options = {"batch_size": case.batch_size, "num_workers": workers, "drop_last": case.drop_last}
        assert_stream(list(merged.batch_iter(**options)), expected, case.rows, case.batch_size, case.drop_last)


@given(cases(kinds=[kind for kind in KINDS if kind not in STREAMS]))
def test_shuffled(case: Case):
    assume(not any(part.in_order for part in case.parts))
    merged = dataclasses.replace(case, iterated=False).merged()
    numbers = np.arange(case.rows)
    merged = M.MergedDataset(
        *merged.parts, M.Part("number", M.from_function(lambda: {"inputs": numbers}), {}, {"n": ()})
    )
    batches = list(merged.batch_iter(batch_size=case.batch_size, shuffle=True, drop_last=case.drop_last))
    orders = [batch["inputs"].pop("n") for batch in batches]
    for batch, order in zip(batches, orders, strict=True):
        assert_rows(batch, case.expected(), order)
    seen = np.concatenate(orders).tolist() if orders else []
    lost = case.rows % case.batch_size if case.drop_last else 0
    assert len(set(seen)) == len(seen) == case.rows - lost


def write_table(path: Path, array: np.ndarray, ids: Any, kind: str) -> Path:
    """A file with one row for each row of the array; NPY holds no ids."""
    if kind == "npy":
        np.save(path.with_suffix(".npy"), array)
    elif kind == "h5":
        with h5py.File(path.with_suffix(".h5"), "w") as file:
            file["x"] = array
            if ids is not None:
                file["id"] = [text.encode() for text in ids]
    else:
        columns = array.reshape(len(array), -1)
        lines = [["id"] * (ids is not None) + [f"c{number}" for number in range(columns.shape[1])]]
        for row, numbers in enumerate(columns.tolist()):
            lines.append(([] if ids is None else [ids[row]]) + [repr(number) for number in numbers])
        path.with_suffix(".tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
    return path.with_suffix(f".{kind}")


@given(cases(max_parts=3), st.sampled_from(["npy", "tsv", "h5"]), st.booleans(), st.sampled_from(["float32", "int64"]))
def test_training_with_tables(case: Case, kind: str, named: bool, dtype: str):
    x, y = some_array(1, case.rows, dtype, (2, 2)), some_array(2, case.rows, "float32", (3,))
    named = named and kind != "npy"
    with tempfile.TemporaryDirectory() as folder:
        ids = case.ids if named else None
        table = M.Table("x", write_table(Path(folder, "x"), x, ids, kind), (2, 2), dtype)
        targets = M.Targets(write_table(Path(folder, "y"), y, ids, kind), {"out": ((3,), "float32")})
        merged = case.merged(table, targets)
        batches = -(-case.rows // case.batch_size)
        steps = merged.batch_train_iter(cycle=True, batch_size=case.batch_size)
        names = np.asarray(ids if named else range(case.rows)).astype("U")
        expected = case.expected() | {("inputs", "x"): x}
        for number, (inputs, found) in enumerate(itertools.islice(steps, 2 * batches)):
            rows = slice(number % batches * case.batch_size, (number % batches + 1) * case.batch_size)
            assert_same(found, y[rows], ("targets",))
            only = {path: array for path, array in expected.items() if path[0] == "inputs"}
            assert_rows({"inputs": inputs, "metadata": {}}, only, rows)
        assert number + 1 == 2 * batches
        whole = merged.load_all(batch_size=case.batch_size)
        assert whole["metadata"]["x"]["id"].tolist() == whole["metadata"]["targets"]["id"].tolist() == names.tolist()
        once = list(merged.batch_train_iter(cycle=False, batch_size=case.batch_size, num_workers=0))
        assert len(once) == batches


# Joins


@st.composite
def joins(draw: Any, kinds: Any = ("PreloadedDataset", "Dataset", "BatchDataset")) -> tuple[Case, str]:
    """A case whose last parts have another order and perhaps lack rows, as may the first ones; and the kind of key."""
    key = draw(st.sampled_from(["id", "ranges"]))
    base = draw(cases(max_parts=2, keys=frozenset({key})))
    rows, parts = base.rows, list(base.parts)
    if draw(st.booleans()):
        given_rows = tuple(sorted(draw(st.sets(st.integers(0, rows - 1), min_size=1))))
        parts = [part.but(order=given_rows) for part in parts]
    count = draw(st.integers(1, 2))
    for number in range(count):
        part = draw(givens(f"joined{number}", base, frozenset({key}), kinds))
        order = draw(st.permutations(range(rows)))
        if draw(st.booleans()):
            order = order[: draw(st.integers(1, rows))]
        align = "ids" if key == "id" else "ranges"
        missing = draw(st.sampled_from(["error", "inner"]))
        parts.append(part.but(order=tuple(order), sizes=part.sizes[:1], in_order=False, joined=(align, missing)))
    return dataclasses.replace(base, parts=tuple(parts)), key


@given(joins())
def test_joins(drawn: tuple[Case, str]):
    case, _ = drawn
    base = next(part for part in case.parts if part.joined[0] is None)
    joined = [part for part in case.parts if part.joined[0] is not None]
    fails = any(part.joined[1] == "error" and set(part.order) != set(base.order) for part in joined)
    common = [row for row in base.order if all(row in part.order for part in joined)]
    event("fails" if fails else "joined" if common else "nothing in common")
    if fails or not common:
        names = "|".join(part.name for part in joined)
        with pytest.raises(M.DataError, match=f"is not in '|No row is in all parts: '{base.name}' and '({names})'"):
            list(case.merged().batch_iter(batch_size=case.batch_size))
        return
    merged = case.merged()
    expected = {}
    for part in case.parts:
        place = {row: number for number, row in enumerate(part.order)}
        expected |= {path: array[[place[row] for row in common]] for path, array in part.expected().items()}
    for _ in range(2):
        batches = list(merged.batch_iter(batch_size=case.batch_size, drop_last=case.drop_last))
        assert_stream(batches, expected, len(common), case.batch_size, case.drop_last)


@given(joins(), st.data())
def test_joins_of_rows_that_are_there_twice(drawn: tuple[Case, str], data: Any):
    case, _ = drawn
    part = next(part for part in case.parts if part.joined[0] is not None)
    twice = data.draw(st.sampled_from(part.order))
    place = data.draw(st.integers(0, len(part.order)))
    case = case.with_part(
        part.but(order=(*part.order[:place], twice, *part.order[place:]), joined=(part.joined[0], "inner"))
    )
    with pytest.raises(M.DataError) as error:
        list(case.merged().batch_iter(batch_size=case.batch_size))
    first, second = sorted([part.order.index(twice) + (place <= part.order.index(twice)), place])
    if f"'{part.name}' are the same" in str(error.value):
        assert f"in rows {first} and {second}" in str(error.value)
    else:  # another part is found wanting before
        assert "is not in '" in str(error.value)


@given(joins(), st.data())
def test_joins_for_rows_that_are_there_twice(drawn: tuple[Case, str], data: Any):
    case, _ = drawn
    everything = tuple(range(case.rows))
    twice, place = data.draw(st.integers(0, case.rows - 1)), data.draw(st.integers(0, case.rows))
    order = (*everything[:place], twice, *everything[place:])
    parts = [part.but(order=order if part.joined[0] is None else part.order[::-1]) for part in case.parts]
    parts = [part if part.joined[0] is None else part.but(order=everything[::-1]) for part in parts]
    case = dataclasses.replace(case, parts=tuple(parts))
    base = parts[0]
    with pytest.raises(M.DataError, match=f"^Two rows of '{base.name}' are the same"):
        list(case.merged().batch_iter(batch_size=case.batch_size))


# Faults


def shown(case: Case, part: Given, key: str, row: int) -> str:
    """How a message shows a row."""
    if key == "id":
        return f"'{case.ids[row]}' in '{part.name}'"
    fields = at(part.metadata["ranges"], row)
    strand = f" ({fields['strand']})" if fields["strand"] in ("+", "-") else ""
    return f"{fields['chr']}:{fields['start']}-{fields['end']}{strand} in '{part.name}'"


def read_all(case: Case, **options: Any) -> str:
    """The error of reading all batches."""
    with pytest.raises(M.DataError) as error:
        list(case.merged().batch_iter(batch_size=case.batch_size, **options))
    return str(error.value)


def duplicated(order: tuple, a: int, b: int) -> tuple:
    return tuple(order[b] if place == a else row for place, row in enumerate(order))


def swapped(order: tuple, a: int, b: int) -> tuple:
    order = list(order)
    order[a], order[b] = order[b], order[a]
    return tuple(order)


def rotated(order: tuple, a: int, b: int) -> tuple:
    shift = max(a, b)
    return (*order[shift:], *order[:shift])


def moved(order: tuple, a: int, b: int) -> tuple:
    order = list(order)
    order.insert(b, order.pop(a))
    return tuple(order)


def shifted(order: tuple, a: int, b: int) -> tuple:
    """A row is lost and another twice, so that all between them are out of step."""
    a, b = min(a, b), max(a, b)
    return (*order[:a], *order[a + 1 : b + 1], order[b], *order[b + 1 :])


OUT_OF_STEP = {"duplicated": duplicated, "swapped": swapped, "rotated": rotated, "moved": moved, "shifted": shifted}


@pytest.mark.parametrize("fault", OUT_OF_STEP)
@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(
    case=cases(min_parts=2, max_parts=4, min_rows=2, keys=ID)
    | cases(min_parts=2, max_parts=4, min_rows=2, keys=RANGES),
    data=st.data(),
)
def test_rows_out_of_step(kind: str, fault: str, case: Case, data: Any):
    key = next(iter(case.parts[0].keys() & case.parts[1].keys()))
    part = data.draw(givens("part1", case, frozenset({key}), [kind]))
    a, b = data.draw(st.lists(st.integers(0, case.rows - 1), min_size=2, max_size=2, unique=True))
    order = OUT_OF_STEP[fault](part.order, a, b)
    part = part.but(order=order)
    case = case.with_part(part)
    text = read_all(case)
    row = next(place for place in range(case.rows) if order[place] != place)
    assert text.startswith(f"Row {row} is not the same in all parts")
    first = re.search(r"the same (?:id|genomic range) in '(\w+)' and '(\w+)'", text)
    other = next(name for name in first.groups() if name != "part1")
    other = next(given for given in case.parts if given.name == other)
    for one, number in ((part, order[row]), (other, row)):
        key = "id" if "the same id" in text else "ranges"
        assert shown(case, one, key, number) in text


@pytest.mark.parametrize("fault", ["lost", "more", "cut off", "cut off by a batch"])
@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(case=cases(min_parts=2, max_parts=4, min_rows=2), data=st.data())
def test_other_numbers_of_rows(kind: str, fault: str, case: Case, data: Any):
    part = data.draw(givens("part1", case, kinds=[kind]))
    place = data.draw(st.integers(0, case.rows - 1))
    order = {
        "lost": (*part.order[:place], *part.order[place + 1 :]),
        "more": (*part.order[: place + 1], *part.order[place:]),
        "cut off": part.order[: max(1, place)],
        "cut off by a batch": part.order[: max(1, case.rows - case.batch_size)],
    }[fault]
    case = case.with_part(part.but(order=order))
    text = read_all(case, drop_last=case.drop_last)
    if text.startswith("The parts do not have the same number of rows."):
        assert "in 'part1'" in text
        assert case.iterated or any(other.is_stream for other in case.parts) or f"{len(order)} in 'part1'" in text
    else:  # keys differ in a row before that
        assert re.match(r"Row \d+ is not the same in all parts", text) and "'part1'" in text


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(case=cases(max_parts=3), data=st.data())
def test_errors_of_loaders(kind: str, error: str, case: Case, data: Any):
    part = data.draw(givens("part0", case, kinds=[kind]))
    last = case.rows if kind in STREAMS else case.rows - 1
    if kind in ("SampleIterator", "BatchIterator") and error == "StopIteration":
        # That is how iterators end; at the end it is no fault, and alone it cannot be seen.
        last = case.rows - 1
        assume(len(case.parts) > 1)
    place = data.draw(st.integers(0, last) | st.just(last))
    text = read_all(case.with_part(part.but(error=(place, ERRORS[error]))))
    if kind in ("SampleIterator", "BatchIterator") and error == "StopIteration":
        assert text.startswith("The parts do not have the same number of rows.") and "'part0'" in text
    else:
        # A generator must not raise StopIteration: Python makes it a RuntimeError.
        raised = "RuntimeError" if error == "StopIteration" and "Generator" in kind else error
        assert text.startswith("The dataloader of 'part0' ") and f"Received: {raised}: " in text
        assert "damaged" in text or raised == "RuntimeError"


@pytest.mark.parametrize("fault", ["ValueError", "StopIteration", "TwoArguments", "swapped", "lost"])
@pytest.mark.parametrize("kind", ["Dataset", "BatchDataset"])
@settings(max_examples=2)
@given(case=cases(min_parts=2, max_parts=3, min_rows=2, keys=ID), data=st.data())
def test_faults_in_workers(kind: str, fault: str, case: Case, data: Any):
    part = data.draw(givens("part1", case, ID, [kind]))
    if fault in ERRORS:
        part = part.but(error=(data.draw(st.integers(0, case.rows - 1)), ERRORS[fault]))
    else:
        a, b = data.draw(st.lists(st.integers(0, case.rows - 1), min_size=2, max_size=2, unique=True))
        part = part.but(order=swapped(part.order, a, b) if fault == "swapped" else part.order[:-1])
    text = read_all(case.with_part(part), num_workers=2)
    assert "'part1'" in text
