"""Targets that are not aligned: every table format carries ids and ranges, and no fault that they show passes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kipoi.data import Dataset
from kipoi.metadata import GenomicRanges
from kipoiseq.dataloaders import SeqIntervalDl, StringSeqIntervalDl
from merging_strategies import Case, M, cases
from table_files import FAULTS, FORMATS, FORMS, WRITERS, write

FEW = settings(max_examples=max(2, settings().max_examples // 5))
OUTPUTS = {"out": ((2,), "float32")}


def keys_of(case: Case, kind: str) -> dict[str, np.ndarray]:
    """What names the rows in the file with targets."""
    fields = {name: np.asarray(case.ranges[name]) for name in ("chr", "start", "end", "strand")}
    ids = np.asarray([int(text) for text in case.ids] if case.ids[0].isdigit() else case.ids)
    return {"ids": {"id": ids}, "ranges": fields, "names": {**fields, "name": np.asarray(case.ids)}}[kind]


def targets_of(folder: str, form: str, keys: dict[str, Any], values: np.ndarray, order: Any, nested: bool) -> Any:
    """The targets in an order that a file of a format has them in."""
    path = write(Path(folder, f"targets_{'_'.join(map(str, order[:9]))}"), form, keys, values, order, nested)
    return M.Targets(path, OUTPUTS)


def values_of(rows: int) -> np.ndarray:
    return np.stack([np.arange(rows), -np.arange(rows)], axis=1).astype("float32")


def test_every_format_is_written_here():
    assert {form.split(" in ")[0] for form in WRITERS} == set(FORMATS)


@pytest.mark.parametrize("kind", ["ids", "ranges", "names"])
@pytest.mark.parametrize("form", FORMS)
@FEW
@given(data=st.data())
def test_targets_that_are_not_aligned(form: str, kind: str, data: Any):
    needed = frozenset({"ranges" if kind == "ranges" else "id"})
    case = data.draw(cases(min_parts=2, max_parts=3, min_rows=2, keys=needed))
    keys, values, nested = keys_of(case, kind), values_of(case.rows), data.draw(st.booleans())
    with tempfile.TemporaryDirectory() as folder:
        aligned = case.merged(targets_of(folder, form, keys, values, range(case.rows), nested))
        found = [batch["targets"] for batch in aligned.batch_iter(batch_size=case.batch_size)]
        np.testing.assert_array_equal(np.concatenate(found), values)
    for fault, change in FAULTS.items():
        a, b = data.draw(st.lists(st.integers(0, case.rows - 1), min_size=2, max_size=2, unique=True))
        order = change(list(range(case.rows)), a, b)
        with tempfile.TemporaryDirectory() as folder, pytest.raises(M.DataError) as error:
            merged = case.merged(targets_of(folder, form, keys, values, order, nested))
            steps = merged.batch_train_iter(cycle=False, batch_size=case.batch_size)
            assert not list(steps), f"{fault} passed"
        text = str(error.value)
        if not text.startswith("The parts do not have the same number of rows."):
            row = next(place for place, row in enumerate(order) if row != place)
            assert text.startswith(f"Row {row} is not the same in all parts"), fault
        assert f"  File: '{folder}" in text and "' for 'targets'" in text


# Names of rows in BED files


class Intervals(Dataset):
    """What many dataloaders of Kipoi's zoo do: the name in the BED file is the id of the range."""

    def __init__(self, bed_file: str):
        self.table = pd.read_csv(bed_file, sep="\t", header=None, dtype={3: str}, keep_default_na=False)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> dict[str, Any]:
        chr, start, end, name = self.table.iloc[row, :4]
        return {"inputs": np.zeros(1), "metadata": {"ranges": GenomicRanges(chr, start, end, name)}}


def bed_part(folder: Path, loader: Any, names: Any, **options: Any) -> Any:
    """A part that reads a BED file of these names, in a genome of nothing but A."""
    (folder / "genome.fa").write_text(">chr1\n" + "A" * 500 + "\n")
    lines = [f"chr1\t{10 * row}\t{10 * row + 5}\t{name}\t0\t+\n" for row, name in enumerate(names)]
    (folder / "rows.bed").write_text("".join(lines))
    arguments = {"bed_file": str(folder / "rows.bed")}
    if loader is not Intervals:
        arguments = {"intervals_file": str(folder / "rows.bed"), "fasta_file": str(folder / "genome.fa"), **options}
    return M.Part("dna", loader, arguments, {"dna": ()}, metadata=True, ranges=("ranges",))


BED = [
    pytest.param(Intervals, {}, id="zoo"),
    pytest.param(SeqIntervalDl, {"use_strand": True}, id="strand"),
    pytest.param(SeqIntervalDl, {"ignore_targets": True, "label_dtype": "str", "auto_resize_len": 4}, id="ignored"),
    pytest.param(StringSeqIntervalDl, {"label_dtype": str}, id="text"),
]


@pytest.mark.parametrize(("loader", "options"), BED)
def test_names_in_a_bed_file_are_ids(tmp_path, loader, options):
    names = [f"peak{row}" for row in range(6)]
    part = bed_part(tmp_path, loader, names, **options)

    def targets(order: Any) -> Any:
        return targets_of(str(tmp_path), "HDF5", {"id": np.asarray(names)}, values_of(6), order, True)

    aligned = M.MergedDataset(part, targets(range(6)))
    assert aligned.read(range(6))["targets"][:, 0].tolist() == list(range(6)) and aligned.by_number() == []
    with pytest.raises(M.DataError, match="the same id in 'dna' and 'targets'\n  Received: 'peak0' in 'dna', 'peak5'"):
        M.MergedDataset(part, targets(range(6)[::-1])).read(range(6))


def test_numbers_of_rows_are_no_names(tmp_path):
    """kipoiseq counts rows; a label in the fourth column is none either."""
    targets = targets_of(str(tmp_path), "TSV", {"id": np.asarray(["a", "b"])}, values_of(2), range(2), True)
    for loader, names, options in (
        (Intervals, [7, 8], {}),
        (SeqIntervalDl, ["0.5", "1"], {"label_dtype": str}),
        (SeqIntervalDl, [".", "."], {"use_strand": True}),
    ):
        merged = M.MergedDataset(bed_part(tmp_path, loader, names, **options), targets)
        assert merged.read([0, 1])["targets"][:, 0].tolist() == [0, 1]
        assert merged.by_number() == ["dna", "targets"]


@pytest.mark.parametrize(("loader", "options"), BED)
def test_names_in_a_bed_file_go_into_files_of_predictions(tmp_path, loader, options):
    part = bed_part(tmp_path, loader, ["peak0", ".", "peak2"], **options)
    (batch,) = M.MergedDataset(part).numbered_batches()
    assert batch["rows"]["id"].tolist() == [b"peak0", b"", b"peak2"]
    assert batch["metadata"]["dna"]["ranges"]["start"].tolist() == [0, 10, 20]


def test_rows_are_looked_up_by_names_in_a_bed_file(tmp_path):
    names = [f"peak{row}" for row in range(4)]
    part = bed_part(tmp_path, SeqIntervalDl, names, use_strand=True)
    part.ids, part.align_on = ("ranges", "id"), "ids"
    targets = targets_of(str(tmp_path), "NPY", {"id": np.asarray(names)}, values_of(4), [2, 0, 3, 1], True)
    batch = M.MergedDataset(part, targets).read(range(4))
    assert batch["metadata"]["dna"]["ranges"]["start"].tolist() == [20, 0, 30, 10]
    assert batch["targets"][:, 0].tolist() == [2, 0, 3, 1]


# Files that say less, or something else


def test_a_plain_array_has_no_ids(tmp_path):
    np.save(tmp_path / "t.npy", values_of(3))
    loader = M.from_function(lambda: {"inputs": np.arange(3), "metadata": {"id": np.arange(3)}})
    ids = M.Part("a", loader, {}, {"a": ()}, metadata=True, ids=("id",))
    assert M.MergedDataset(ids, M.Targets(tmp_path / "t.npy", OUTPUTS)).by_number() == ["a", "targets"]
    assert M.MergedDataset(ids).by_number() == []


def test_several_outputs_in_a_structured_array(tmp_path):
    array = np.array([("p", (1, 2), 3), ("q", (4, 5), 6)], [("id", "U1"), ("a", "f4", (2,)), ("b", "i4", (1,))])
    np.save(tmp_path / "t.npy", array)
    outputs = {"a": ((2,), "float32"), "b": ((1,), "int32")}
    block = M.Targets(tmp_path / "t.npy", outputs).read([1, 0])
    assert block["targets", "a"].tolist() == [[4, 5], [1, 2]] and block["targets", "b"].tolist() == [[6], [3]]
    assert block["keys", "targets", "ids"].tolist() == ["q", "p"]


def test_columns_of_a_structured_array(tmp_path):
    array = np.array([(b"p", 1, 2), (b"q", 4, 5)], [("id", "S1"), ("liver", "f4"), ("lung", "f4")])
    np.save(tmp_path / "t.npy", array)
    block = M.Targets(tmp_path / "t.npy", OUTPUTS, labels={"out": ["liver", "lung"]}).read([1])
    assert block["targets",].tolist() == [[4, 5]] and block["keys", "targets", "ids"].tolist() == ["q"]
    with pytest.raises(ValueError, match="has other columns for 'out'"):
        M.Targets(tmp_path / "t.npy", OUTPUTS, labels={"out": ["lung", "liver"]})


@pytest.mark.parametrize("form", ["NPY", "HDF5"])
def test_half_a_range(tmp_path, form):
    keys = {"chr": np.asarray(["1", "2"]), "start": np.arange(2)}
    with pytest.raises(ValueError, match=r"has no whole genomic range: .* chr, start, end\. Got: chr, start"):
        targets_of(str(tmp_path), form, keys, values_of(2), range(2), True)


def test_keys_of_another_length(tmp_path):
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["out"], file["chr"], file["start"], file["end"] = values_of(2), [b"1"] * 3, [1, 2, 3], [2, 3, 4]
    with pytest.raises(ValueError, match="has datasets of different lengths"):
        M.Targets(tmp_path / "t.h5", OUTPUTS)


def test_keys_that_are_not_compared(tmp_path):
    keys = {"chr": np.asarray(["1", "2"]), "start": np.arange(2), "end": np.arange(2)}
    targets = targets_of(str(tmp_path), "HDF5", keys, values_of(2), range(2), True)
    assert {path[2] for path in targets.read([0]) if path[0] == "keys"} == {"chr", "start", "end"}
    targets.file.compared = False
    assert not any(path[0] == "keys" for path in targets.read([0]))


def test_a_dataset_called_like_a_key_that_is_an_output(tmp_path):
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["start"], file["id"] = values_of(2), [b"p", b"q"]
    block = M.Targets(tmp_path / "t.h5", {"start": ((2,), "float32")}).read([1])
    assert block["targets",].tolist() == [[1, -1]] and block["keys", "targets", "ids"].tolist() == ["q"]
