"""Joining files with predictions: every row as it was predicted, or an error that names the file and the row."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras_stitch.model_templates.kipoi import merging as M
from keras_stitch.model_templates.kipoi.merging import records
from keras_stitch.model_templates.kipoi.merging.predictions import Predictions

MADE_BY = "0" * 64
ROWS = 50


def texts(pattern: str, rows: int) -> np.ndarray:
    return np.array([pattern.format(row).encode() for row in range(rows)])


def write(path: Path, rows: int = ROWS, *, keys: Mapping[str, Any] | None = None, seed: int = 0, **record: Any) -> Path:
    """A file as a workflow writes it, with tensors ``score`` (2,) and ``map`` (3, 4)."""
    generator = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        file["rows/number"] = np.arange(rows, dtype="int64")
        for name, values in ({"id": texts("seq{}", rows)} if keys is None else keys).items():
            file[f"rows/{name}"] = values
        file["preds/score"] = generator.normal(size=(rows, 2)).astype("float32")
        file["preds/map"] = generator.normal(size=(rows, 3, 4)).astype("float32")
        file["rows/digest"] = records.digests(records.covered(file))
        made = {"model": path.stem, "directory": MADE_BY, "arguments": {}, "predictions": {}}
        records.write_record(file, {**made, **record})
    return path


def read(path: Path, **options: Any) -> Predictions:
    inputs = options.pop("inputs", {"model2": ("score", (2,))})
    options = {"made_by": MADE_BY, **options}
    return M.Predictions(path.stem, str(path), inputs, **options)


def ranges(rows: int, first: int = 0, size: int = 10, chromosome: str = "chr1") -> dict[str, Any]:
    starts = np.arange(rows) * 100 + first
    return {
        "chr": texts(chromosome, rows),
        "start": starts,
        "end": starts + size,
        "strand": texts("*", rows),
        "resized": np.zeros(rows, bool),
    }


def change(path: Path, how: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "r+") as file:
        how(file)


def says(what: str, path: Path, *lines: str, model: str | None = None) -> str:
    return "\n".join([f"The file '{path}' with the predictions of '{model or path.stem}' {what}.", *lines])


AGAIN = "  Fix: Run the workflow again: it makes what is missing or out of date."


# -- what is read ------------------------------------------------------------------------------------------------------


def test_rows_in_any_order(tmp_path: Path) -> None:
    path = write(tmp_path / "model1.h5")
    reader = read(path, inputs={"a": ("score", (2,)), "b": ("map", (3, None))})
    with h5py.File(path) as file:
        score, maps = file["preds/score"][:], file["preds/map"][:]
    for rows in ([0], [3, 4, 5], [49, 0, 7, 7], list(range(50)), list(range(49, -1, -1))):
        block = reader.read(rows)
        np.testing.assert_array_equal(block["inputs", "a"], score[rows])
        np.testing.assert_array_equal(block["inputs", "b"], maps[rows])
        assert block["metadata", "model1", "id"].tolist() == [f"seq{row}" for row in rows]


@given(st.lists(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=9), max_size=8))
def test_any_reads_one_after_another(tmp_path_factory: pytest.TempPathFactory, reads: list[list[int]]) -> None:
    """Whatever was read before, and whatever was done to it, does not matter."""
    folder = tmp_path_factory.mktemp("reads")
    path = write(folder / "model1.h5")
    reader = read(path)
    with h5py.File(path) as file:
        score = file["preds/score"][:]
    for rows in reads:
        for wanted in (rows, range(min(rows), max(rows) + 1)):
            found = reader.read(wanted)["inputs", "model2"]
            np.testing.assert_array_equal(found, score[list(wanted)])
            found[:] = 0


def test_a_copy_in_a_worker_opens_the_file_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "model1.h5")
    loader = M.MergedDataset(read(path))
    alone = [batch["inputs"]["model2"] for batch in loader.batch_iter(batch_size=8)]
    helped = [batch["inputs"]["model2"] for batch in loader.batch_iter(batch_size=8, num_workers=2)]
    for one, other in zip(alone, helped, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ({}, ["0", "1"]),
        (ranges(ROWS), ["chr1:0-10", "chr1:100-110"]),
        ({"id": texts("seq{}", ROWS), **ranges(ROWS)}, ["seq0", "seq1"]),
        ({"id": np.full(ROWS, b""), **ranges(ROWS)}, ["chr1:0-10", "chr1:100-110"]),
        ({"id": np.array([b"", *texts("seq{}", ROWS)[1:]]), **ranges(ROWS)}, ["chr1:0-10", "seq1"]),
    ],
)
def test_the_names_of_rows(tmp_path: Path, keys: dict[str, Any], names: list[str]) -> None:
    loader = M.MergedDataset(read(write(tmp_path / "model1.h5", keys=keys)))
    batch = next(loader.batch_iter(batch_size=2))
    assert batch["metadata"]["model1"]["id"].tolist() == names


def test_files_are_joined_row_by_row(tmp_path: Path) -> None:
    one, two = write(tmp_path / "model1.h5"), write(tmp_path / "model2.h5", seed=1)
    loader = M.MergedDataset(read(one, inputs={"a": ("score", (2,))}), read(two, inputs={"b": ("score", (2,))}))
    assert len(loader) == ROWS
    row = loader[7]
    for path, name in ((one, "a"), (two, "b")):
        with h5py.File(path) as file:
            np.testing.assert_array_equal(row["inputs"][name], file["preds/score"][7])


def test_rows_are_looked_up_by_ids(tmp_path: Path) -> None:
    one = write(tmp_path / "model1.h5")
    two = write(tmp_path / "model2.h5", keys={"id": texts("seq{}", ROWS)[::-1]}, seed=1)
    parts = read(one, inputs={"a": ("score", (2,))}), read(two, inputs={"b": ("score", (2,))}, align_on="ids")
    batch = next(M.MergedDataset(*parts).batch_iter(batch_size=ROWS))
    with h5py.File(two) as file:
        np.testing.assert_array_equal(batch["inputs"]["b"], file["preds/score"][:][::-1])


# -- what stops it -----------------------------------------------------------------------------------------------------


def assert_stops(path: Path, text: str, reading: bool = False, **options: Any) -> None:
    with pytest.raises(M.DataError) as caught:
        reader = read(path, **options)
        assert reading
        for row in range(0, len(M.MergedDataset(reader)), 8):
            reader.read(range(row, min(row + 8, reader.length)))
    assert str(caught.value) == text


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "model1.h5"
    expected = "  Expected: the HDF5 file that the workflow makes\n  Received: nothing of that name"
    assert_stops(path, says("is not there", path, expected, AGAIN))


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_file_that_was_cut_off(tmp_path: Path, part: float) -> None:
    path = write(tmp_path / "model1.h5")
    os.truncate(path, int(path.stat().st_size * part))
    with pytest.raises(M.DataError) as caught:
        read(path)
    first, expected, received, fix = str(caught.value).splitlines()
    assert first == f"The file '{path}' with the predictions of 'model1' cannot be read."
    assert expected == "  Expected: a whole HDF5 file" and "truncated file" in received and fix == AGAIN


def test_a_file_that_is_no_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "model1.h5"
    path.write_bytes(b"")
    with pytest.raises(M.DataError, match=r"model1\.h5' with the predictions of 'model1' cannot be read"):
        read(path)


def test_a_file_that_was_not_finished(tmp_path: Path) -> None:
    path = write(tmp_path / "model1.h5")
    change(path, lambda file: file.attrs.__delitem__(records.ATTRIBUTE))
    expected = "  Expected: a file that the workflow finished\n  Received: one without a record"
    assert_stops(path, says("does not say what it was made from", path, expected, AGAIN))


@pytest.mark.parametrize("record", ["", "[" * 100_000, "[]", "{}", '{"model": "model1"}', "9" * 5_000, 3])
def test_a_file_whose_record_is_none(tmp_path: Path, record: str | int) -> None:
    path = write(tmp_path / "model1.h5")
    change(path, lambda file: file.attrs.__setitem__(records.ATTRIBUTE, record))
    with pytest.raises(M.DataError, match=r"model1\.h5' with the predictions of 'model1' (cannot be read|was made)"):
        read(path)


def test_rows_that_are_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "model1.h5")

    def cut(file: h5py.File) -> None:
        kept = file["preds/score"][:40]
        del file["preds/score"]
        file["preds/score"] = kept

    change(path, cut)
    expected = "  Expected: 50 rows\n  Received: 40 in /preds/score"
    assert_stops(path, says("is cut off at row 40", path, expected, AGAIN))


def test_rows_that_were_shuffled(tmp_path: Path) -> None:
    """All datasets in the same way, so that every row is one that was predicted."""
    path = write(tmp_path / "model1.h5")
    order = np.arange(ROWS)
    order[[21, 22]] = 22, 21

    def shuffle(file: h5py.File) -> None:
        for group in ("rows", "preds"):
            for dataset in file[group].values():
                dataset[:] = dataset[:][order]
        record = records.read_record(file)
        file.attrs[records.ATTRIBUTE] = records.json.dumps({**record, "content": records.content_of(file)})

    change(path, shuffle)
    expected = "  Expected: the rows in the order of the data, number 21 here\n  Received: number 22"
    assert_stops(path, says("has another row in the place of row 21", path, expected, AGAIN), reading=True)


@pytest.mark.parametrize("name", ["preds/score", "preds/map", "rows/id"])
def test_a_row_that_was_changed(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "model1.h5")

    def swap(file: h5py.File) -> None:
        values = file[name][:]
        values[[30, 31]] = values[[31, 30]]
        file[name][:] = values

    change(path, swap)
    expected = "  Expected: the row as it was predicted\n  Received: another digest"
    assert_stops(path, says("was changed at row 30", path, expected, AGAIN), reading=True)


def test_digests_that_were_changed(tmp_path: Path) -> None:
    path = write(tmp_path / "model1.h5")
    change(path, lambda file: file["rows/digest"].write_direct(np.zeros(ROWS, "uint64")))
    expected = "  Expected: the digests of its rows as they were\n  Received: others"
    assert_stops(path, says("is not as it was made", path, expected, AGAIN))


def test_a_file_of_another_model(tmp_path: Path) -> None:
    path = write(tmp_path / "model1.h5", directory="1" * 64)
    expected = "  Expected: 'model1' of this directory (000000000000)\n  Received: 'model1' (111111111111)"
    assert_stops(path, says("was made by another model", path, expected, "  Fix: Run the workflow of this directory."))
    other = shutil.copy(write(tmp_path / "model2.h5"), tmp_path / "copy.h5")
    with pytest.raises(M.DataError, match=r"Received: 'model2' \(000000000000\)"):
        read(Path(other))


def test_a_tensor_that_is_not_there_or_has_another_shape(tmp_path: Path) -> None:
    path = write(tmp_path / "model1.h5")
    lacks = says("lacks the data for 'x'", path, "  Expected: preds/y", "  Received: map, score")
    assert_stops(path, lacks, inputs={"x": ("y", (2,))})
    shape = says("has rows of another shape for 'x'", path, "  Expected: (3,)", "  Received: (2,)")
    assert_stops(path, shape, inputs={"x": ("score", (3,))})


def test_files_with_other_rows(tmp_path: Path) -> None:
    one, two = write(tmp_path / "model1.h5"), write(tmp_path / "model2.h5", rows=49)
    with pytest.raises(M.DataError) as caught:
        M.MergedDataset(read(one), read(two))
    assert "Received: 50 in 'model1', 49 in 'model2'" in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "received"),
    [
        ({"id": texts("seq{}", ROWS)[::-1]}, "'seq0' in 'model1', 'seq49' in 'model2'"),
        (ranges(ROWS, first=5), "chr1:0-10 in 'model1', chr1:5-15 in 'model2'"),
        (ranges(ROWS, chromosome="chr2"), "chr1:0-10 in 'model1', chr2:0-10 in 'model2'"),
    ],
)
def test_files_whose_rows_are_not_the_same(tmp_path: Path, keys: dict[str, Any], received: str) -> None:
    one = write(tmp_path / "model1.h5", keys={"id": texts("seq{}", ROWS), **ranges(ROWS)})
    two = write(tmp_path / "model2.h5", keys=keys)
    loader = M.MergedDataset(read(one), read(two))
    with pytest.raises(M.DataError) as caught:
        next(loader.batch_iter(batch_size=8))
    text = str(caught.value)
    assert text.startswith("Row 0 is not the same in all parts, nor are 7 more of the 8 read with it.")
    assert f"Received: {received}" in text


def test_ranges_that_were_resized_are_compared_by_their_centres(tmp_path: Path) -> None:
    resized = {**ranges(ROWS, first=-5, size=20), "resized": np.ones(ROWS, bool)}
    one, two = write(tmp_path / "model1.h5", keys=ranges(ROWS)), write(tmp_path / "model2.h5", keys=resized)
    assert len(list(M.MergedDataset(read(one), read(two)).batch_iter(batch_size=50))) == 1


def known(path: Path) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}


def test_files_made_from_other_data(tmp_path: Path) -> None:
    """Two files of the same length, neither with names of rows: only what they were made from tells."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.bed").write_text(f"chr1\t{name}")
    given = [{"intervals_file": known(tmp_path / f"{name}.bed")} for name in ("a", "b")]
    one = write(tmp_path / "model1.h5", keys={}, arguments=given[0])
    two = write(tmp_path / "model2.h5", keys={}, arguments=given[1])
    with pytest.raises(M.DataError) as caught:
        M.MergedDataset(read(one), read(two))
    a, b = (it["intervals_file"]["sha256"][:12] for it in given)
    assert str(caught.value) == (
        "The predictions of 'model1' and 'model2' were made with another intervals_file.\n"
        "  Expected: the same for both\n"
        f"  Received: a file of 6 bytes with sha256 {a} for '{one}', a file of 6 bytes with sha256 {b} for '{two}'\n"
        f"{AGAIN}"
    )


def test_other_arguments_than_the_dataloader_has(tmp_path: Path) -> None:
    bed = tmp_path / "a.bed"
    bed.write_text("chr1\t0")
    path = write(tmp_path / "model1.h5", arguments={"intervals_file": known(bed), "flank": 10})
    read(path, given={"intervals_file": str(bed), "flank": 10, "other": 1})
    fix = "  Fix: Run the workflow with the same arguments."
    said = says("was made with another flank", path, "  Expected: 10", "  Received: flank=11", fix)
    assert_stops(path, said, given={"flank": 11})
    before = known(bed)["sha256"][:12]
    bed.write_text("chr1\t1")
    expected = f"  Expected: a file of 6 bytes with sha256 {before}\n  Received: intervals_file={str(bed)!r}"
    said = says("was made with another intervals_file", path, expected, fix)
    assert_stops(path, said, given={"intervals_file": str(bed)})


def test_files_in_lists_and_dicts(tmp_path: Path) -> None:
    tables = [tmp_path / "a.npy", tmp_path / "b.npy"]
    for number, table in enumerate(tables):
        table.write_text(str(number))
    made = {"tables": [known(table) for table in tables], "by": {"x": known(tables[0]), "y": 2}}
    path = write(tmp_path / "model1.h5", arguments=made)
    a, b = map(str, tables)
    read(path, given={"tables": [a, b], "by": {"x": a, "y": 2}})
    for wrong in ({"tables": [b, a]}, {"tables": [a]}, {"tables": a}, {"by": {"x": a}}, {"by": {"x": b, "y": 2}}):
        with pytest.raises(M.DataError, match=f"was made with another {next(iter(wrong))}"):
            read(path, given=wrong)


def test_other_predictions_than_it_was_made_from(tmp_path: Path) -> None:
    first = write(tmp_path / "model1.h5")
    with h5py.File(first) as file:
        key = records.read_record(file)["key"]
    second = write(tmp_path / "model2.h5", predictions={"model1_file": key})
    read(second, given={"model1_file": str(first)})
    write(first, seed=9)
    expected = f"  Expected: that of '{first}'\n  Received: one with other rows"
    said = says("was made from another model1_file", second, expected, AGAIN)
    assert_stops(second, said, given={"model1_file": str(first)})


# -- digests -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(1, 9), st.sampled_from(["float32", "float64", "int8", "bool", "S7", "float16"]))
def test_a_digest_changes_with_any_value_and_with_nothing_else(rows: int, width: int, dtype: str) -> None:
    generator = np.random.default_rng(rows * 10 + width)
    values = generator.integers(0, 2, (rows, width)).astype(dtype)
    numbers = np.arange(rows)
    before = records.digests([numbers, values])
    assert before.dtype == np.uint64 and len(set(before.tolist())) == rows
    np.testing.assert_array_equal(records.digests([numbers, np.asfortranarray(values)]), before)
    if dtype == "S7" and width == 1:  # zeros at the end of texts are not part of them
        np.testing.assert_array_equal(records.digests([numbers, values.astype("S16")]), before)
    changed = values.copy()
    changed[-1, -1] = not int(values[-1, -1])
    after = records.digests([numbers, changed])
    assert after[-1] != before[-1]
    np.testing.assert_array_equal(after[:-1], before[:-1])


def test_a_reader_can_be_copied(tmp_path: Path) -> None:
    """As processes that are not forked get it."""
    reader = read(write(tmp_path / "model1.h5"))
    again = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(again.read([3])["inputs", "model2"], reader.read([3])["inputs", "model2"])
