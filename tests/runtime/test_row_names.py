"""Names of rows in files: wherever they are, no fault in the order of rows passes, and no healthy file fails."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from kipoi.metadata import GenomicRanges
from kipoi.writers import HDF5BatchWriter, ParquetFileBatchWriter, TsvBatchWriter
from kipoiseq.dataloaders import SeqIntervalDl
from merging_strategies import M
from table_files import FAULTS

ROWS = 12
VALUES = np.stack([np.arange(ROWS), -np.arange(ROWS)], axis=1).astype("float32")
IDS = np.asarray([f"peak{row}" for row in range(ROWS)])
START = 10 * np.random.default_rng(0).permutation(ROWS)
RANGE: dict[str, np.ndarray] = {
    "chr": np.asarray([f"chr{row % 3}" for row in range(ROWS)]),
    "start": START,
    "end": START + 5,
}
NUMBERS = np.arange(ROWS)
OUTPUTS = {"out": ((2,), "float32")}


def loader(ids: Any = None, ranges: Any = None) -> Any:
    """A dataloader whose rows have these names."""
    metadata = {} if ids is None else {"id": np.asarray(ids)}
    if ranges is not None:
        unnamed = {"id": NUMBERS.astype("U"), "strand": np.full(ROWS, "*")}
        metadata["ranges"] = GenomicRanges(**{**unnamed, **ranges})
    data = {"inputs": NUMBERS.astype("float32"), "metadata": metadata}
    where = {"ids": None if ids is None else ("id",), "ranges": None if ranges is None else ("ranges",)}
    return M.Part("dna", M.from_function(lambda: data), {}, {"dna": ()}, metadata=True, **where)


def read(part: Any, path: Path, outputs: Any = None, size: int = 5, **options: Any) -> Any:
    """The targets of all rows, in batches."""
    merged = M.MergedDataset(part, M.Targets(str(path), outputs or OUTPUTS, **options))
    found = [batch["targets"] for batch in merged.batch_iter(batch_size=size)]
    return np.concatenate(found)


def hdf5(**datasets: Any) -> Callable[[Path, Any], Path]:
    """Writes an HDF5 file with rows in some order; ``__`` in a name is the border of a group."""

    def written(folder: Path, order: Any) -> Path:
        path = folder / "targets.h5"
        path.unlink(missing_ok=True)  # which may be open
        with h5py.File(path, "w") as file:
            for name, array in {"out": VALUES, **datasets}.items():
                array = np.asarray(array)[order]
                file[name.replace("__", "/")] = array.astype("S") if array.dtype.kind == "U" else array
        return path

    return written


def text(ending: str, **columns: Any) -> Callable[[Path, Any], Path]:
    """Writes a table as text; columns called ``c0`` and ``c1`` are the data."""

    def written(folder: Path, order: Any) -> Path:
        table = pd.DataFrame({name.replace("__", "/"): np.asarray(column) for name, column in columns.items()})
        content = table.iloc[list(order)].to_csv(sep="," if "csv" in ending else "\t", index=False)
        path = folder / f"targets.{ending}"
        path.write_bytes(gzip.compress(content.encode()) if ending.endswith("gz") else content.encode())
        return path

    return written


def parquet(index: Any = None, **columns: Any) -> Callable[[Path, Any], Path]:
    def written(folder: Path, order: Any) -> Path:
        table = pd.DataFrame({name.replace("__", "/"): np.asarray(column) for name, column in columns.items()})
        table = (table if index is None else table.set_index(index)).iloc[list(order)]
        table.to_parquet(folder / "targets.parquet")
        return folder / "targets.parquet"

    return written


def npy(names: dict[str, Any]) -> Callable[[Path, Any], Path]:
    """Writes a structured array; dicts are nested fields."""

    def kind(tree: Any) -> Any:
        return [(name, kind(item)) for name, item in tree.items()] if isinstance(tree, dict) else tree.dtype

    def fill(array: Any, tree: Any, order: Any) -> None:
        for name, item in tree.items():
            if isinstance(item, dict):
                fill(array[name], item, order)
            else:
                array[name] = item[order]

    def written(folder: Path, order: Any) -> Path:
        array = np.zeros(len(order), [*kind(names), ("out", "f4", 2)])
        fill(array, names, list(order))
        array["out"] = VALUES[list(order)]
        np.save(folder / "targets.npy", array)
        return folder / "targets.npy"

    return written


def linked(folder: Path, order: Any) -> Path:
    """Names behind a link, with a link that leads back."""
    path = hdf5()(folder, order)
    with h5py.File(path, "a") as file:
        file["texts"] = IDS[order].astype("S")
        file["metadata/id"] = h5py.SoftLink("/texts")
        file["metadata/back"] = h5py.SoftLink("/")
    return path


def by_kipoi(writer: Any, ending: str, metadata: Any) -> Callable[[Path, Any], Path]:
    """What ``kipoi predict --keep_metadata`` writes."""

    def written(folder: Path, order: Any) -> Path:
        path = folder / f"predicted.{ending}"
        path.unlink(missing_ok=True)
        made = writer(str(path))
        for start in range(0, len(order), 5):
            rows = list(order)[start : start + 5]
            made.batch_write({"preds": VALUES[rows], "metadata": chosen(metadata, rows)})
        made.close()
        return path

    def chosen(tree: Any, rows: Any) -> Any:
        if isinstance(tree, dict):
            return {name: chosen(item, rows) for name, item in tree.items()}
        return np.asarray(tree)[rows]

    return written


DATA = {"c0": VALUES[:, 0], "c1": VALUES[:, 1]}
KIPOI = {**RANGE, "id": NUMBERS.astype("U"), "strand": np.full(ROWS, "*")}
NAMED = {**KIPOI, "id": IDS}
GROUPED = {f"metadata__ranges__{name}": column for name, column in NAMED.items()}
# Wherever the ids are, those of the dataloader are IDS.
WITH_IDS = {
    "HDF5 id": hdf5(id=IDS),
    "HDF5 ID": hdf5(ID=IDS),
    "HDF5 Id": hdf5(Id=IDS),
    "HDF5 ids": hdf5(ids=IDS),
    "HDF5 name": hdf5(name=IDS),
    "HDF5 id of two axes": hdf5(id=IDS.reshape(-1, 1)),
    "HDF5 metadata/id": hdf5(metadata__id=IDS),
    "HDF5 metadata/ID": hdf5(metadata__ID=IDS),
    "HDF5 metadata/deep/id": hdf5(metadata__deep__id=IDS),
    "HDF5 targets/id": hdf5(targets__id=IDS),
    "HDF5 rows/id": hdf5(rows__id=IDS),
    "HDF5 metadata/ranges with names": hdf5(**GROUPED),
    "HDF5 ranges with a name": hdf5(**{f"r__{name}": column for name, column in RANGE.items()}, r__name=IDS),
    "HDF5 behind a link": linked,
    "HDF5 numbers of rows beside ids": hdf5(metadata__a__id=NUMBERS, metadata__b__id=IDS),
    "HDF5 no ids beside ids": hdf5(metadata__a__id=np.full(ROWS, ""), metadata__b__id=IDS),
    "HDF5 ids twice": hdf5(id=IDS, metadata__id=IDS),
    "HDF5 of Kipoi": by_kipoi(HDF5BatchWriter, "h5", {"ranges": NAMED}),
    "HDF5 of Kipoi, several parts": by_kipoi(
        HDF5BatchWriter, "h5", {"a": {"id": NUMBERS.astype("U")}, "b": {"id": IDS}}
    ),
    "TSV id": text("tsv", id=IDS, **DATA),
    "TSV ID": text("tsv", ID=IDS, **DATA),
    "TSV id at the end": text("tsv", **DATA, id=IDS),
    "TSV name beside id": text("tsv", id=IDS, name=IDS[::-1], **DATA),
    "TSV number as name beside id": text("tsv", id=IDS, name=NUMBERS, **DATA),
    "TSV metadata/id": text("tsv", metadata__id=IDS, **DATA),
    "TSV metadata/id and more metadata": text("tsv", metadata__id=IDS, metadata__score=NUMBERS, **DATA),
    "TSV range with a name": text("tsv", **RANGE, name=IDS, **DATA),
    "TSV of Kipoi": by_kipoi(TsvBatchWriter, "tsv", {"ranges": NAMED}),
    "TSV gz": text("tsv.gz", id=IDS, **DATA),
    "CSV id": text("csv", id=IDS, **DATA),
    "CSV ids in the middle": text("csv", c0=VALUES[:, 0], ids=IDS, c1=VALUES[:, 1]),
    "CSV gz with a name beside id": text("csv.gz", name=IDS[::-1], id=IDS, **DATA),
    "Parquet id": parquet(id=IDS, **DATA),
    "Parquet ID as index": parquet("ID", ID=IDS, **DATA),
    "Parquet name beside id": parquet(id=IDS, name=IDS[::-1], **DATA),
    "Parquet index without a name": parquet(pd.Index(IDS), **DATA),
    "Parquet metadata/id": parquet(**DATA, metadata__id=IDS),
    "Parquet of Kipoi": by_kipoi(ParquetFileBatchWriter, "parquet", {"ranges": NAMED}),
    "NPY id": npy({"id": IDS}),
    "NPY Ids": npy({"Ids": IDS.astype("S")}),
    "NPY metadata.id": npy({"metadata": {"id": IDS}}),
    "NPY metadata.ranges with names": npy({"metadata": {"ranges": NAMED}}),
    "NPY name": npy({"name": IDS}),
    "NPY name beside id": npy({"id": IDS, "name": IDS[::-1]}),
}  # fmt: skip
# The same for genomic ranges.
BED = {"#chrom": RANGE["chr"], "start": START, "end": START + 5}
LONGER = {**KIPOI, "start": START - 2, "end": START + 7}
CAPITALS = {"Chromosome": RANGE["chr"], "Start": START, "End": START + 5}
WITH_RANGES = {
    "HDF5 chr": hdf5(**RANGE),
    "HDF5 ranges/chrom": hdf5(**{f"ranges__{name.lstrip('#')}": column for name, column in BED.items()}),
    "HDF5 Chromosome": hdf5(**CAPITALS),
    "HDF5 of Kipoi": by_kipoi(HDF5BatchWriter, "h5", {"ranges": KIPOI}),
    "HDF5 of Kipoi, several parts": by_kipoi(HDF5BatchWriter, "h5", {"a": {"ranges": KIPOI}, "b": {"ranges": LONGER}}),
    "TSV #chrom": text("tsv", **BED, **DATA),
    "TSV chr at the end": text("tsv", **DATA, **RANGE),
    "TSV of Kipoi": by_kipoi(TsvBatchWriter, "tsv", {"ranges": KIPOI}),
    "CSV Chromosome": text("csv", **CAPITALS, **DATA),
    "Parquet Chromosome": parquet(**CAPITALS, **DATA),
    "Parquet of Kipoi": by_kipoi(ParquetFileBatchWriter, "parquet", {"ranges": KIPOI}),
    "NPY chr": npy(RANGE),
    "NPY ranges.chr": npy({"ranges": RANGE}),
    "NPY metadata.ranges": npy({"metadata": {"ranges": KIPOI}}),
}  # fmt: skip
# The quick tests try a swap, a shift and a row more.
QUICK = ("swapped", "shifted", "duplicated")
ALL_FAULTS = [pytest.param(fault, marks=[] if fault in QUICK else pytest.mark.slow) for fault in FAULTS]
PLACES = [pytest.param(write, {"ids": IDS}, id=name) for name, write in WITH_IDS.items()]
PLACES += [pytest.param(write, {"ranges": RANGE}, id=f"range, {name}") for name, write in WITH_RANGES.items()]


@pytest.mark.parametrize("fault", ALL_FAULTS)
@pytest.mark.parametrize(("write", "names"), PLACES)
def test_a_fault_is_reported(tmp_path, write, names, fault):
    order = FAULTS[fault](list(range(ROWS)), 3, 7)
    path = write(tmp_path, order)
    with pytest.raises(M.DataError) as error:
        read(loader(**names), path)
    said = str(error.value)
    assert f"  File: '{path}' for 'targets" in said
    if len(order) != ROWS:
        assert said.startswith("The parts do not have the same number of rows.\n  Expected: one number\n")
        assert f"{ROWS} in 'dna', {len(order)} in 'targets'" in said
        return
    row = next(place for place, row in enumerate(order) if row != place)
    assert said.startswith(f"Row {row} is not the same in all parts")
    expected, received = (
        (f"'{IDS[row]}'", f"'{IDS[order[row]]}'")
        if "ids" in names
        else (f"{RANGE['chr'][at]}:{START[at]}-{START[at] + 5}" for at in (row, order[row]))
    )
    assert f"  Received: {expected} in 'dna', {received} in 'targets" in said


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize(("write", "names"), PLACES)
def test_a_healthy_file_passes(tmp_path, write, names, size):
    path = write(tmp_path, range(ROWS))
    np.testing.assert_array_equal(read(loader(**names), path, size=size), VALUES)
    assert M.MergedDataset(loader(**names), M.Targets(str(path), OUTPUTS)).by_number() == []


# Numbers of rows


KINDS_OF_NUMBERS = {
    "HDF5": hdf5(id=NUMBERS),
    "HDF5 of Kipoi": by_kipoi(HDF5BatchWriter, "h5", {"ranges": KIPOI}),
    "HDF5 of a table without ids": by_kipoi(HDF5BatchWriter, "h5", {"x": {"id": NUMBERS.astype("U")}}),
    "TSV": text("tsv", id=NUMBERS, **DATA),
    "TSV of Kipoi": by_kipoi(TsvBatchWriter, "tsv", {"ranges": KIPOI}),
    "Parquet": parquet(id=NUMBERS, **DATA),
    "NPY": npy({"metadata": {"id": NUMBERS.astype("U")}}),
}


@pytest.mark.parametrize("name", KINDS_OF_NUMBERS)
def test_numbers_of_rows_are_compared_with_numbers_only(tmp_path, name):
    path = KINDS_OF_NUMBERS[name](tmp_path, range(ROWS))
    for size in (1, 5):
        np.testing.assert_array_equal(read(loader(IDS), path, size=size), VALUES)
        np.testing.assert_array_equal(read(loader(NUMBERS), path, size=size), VALUES)
    assert M.MergedDataset(loader(IDS), M.Targets(str(path), OUTPUTS)).by_number() == ["dna", "targets"]
    for names in (NUMBERS[::-1], [*NUMBERS[:-1], 99]):
        with pytest.raises(M.DataError, match="the same id in 'dna' and 'targets'"):
            read(loader(names), path)
    # Numbers that are not in order may be names.
    with pytest.raises(M.DataError, match="Received: 'peak0' in 'dna', '11' in 'targets'"):
        read(loader(IDS), KINDS_OF_NUMBERS[name](tmp_path, range(ROWS)[::-1]))


def test_numbers_of_rows_of_a_dataloader_are_no_names(tmp_path):
    path = hdf5(metadata__id=IDS)(tmp_path, range(ROWS))
    for size in (1, 5):
        np.testing.assert_array_equal(read(loader(NUMBERS), path, size=size), VALUES)
    with pytest.raises(M.DataError, match="Received: '11' in 'dna', 'peak0' in 'targets'"):
        read(loader(NUMBERS[::-1]), path)


def test_large_numbers_are_no_numbers_of_rows(tmp_path):
    """A Kipoi file says of a table without ids only which row is which; a file with a column id says its names."""
    large = 1000 + NUMBERS
    kipoi = KINDS_OF_NUMBERS["HDF5 of a table without ids"](tmp_path, range(ROWS))
    np.testing.assert_array_equal(read(loader(large), kipoi), VALUES)
    with pytest.raises(M.DataError, match="Received: '1000' in 'dna', '0' in 'targets'"):
        read(loader(large), KINDS_OF_NUMBERS["TSV"](tmp_path, range(ROWS)))


@pytest.mark.parametrize("unknown", ["", ".", "0"])
def test_ids_of_which_the_first_is_unknown_are_compared(tmp_path, unknown):
    names = np.asarray([unknown, *IDS[1:]], dtype="U8")
    path = hdf5(metadata__id=names)(tmp_path, range(ROWS))
    part = loader(names)
    assert M.MergedDataset(part, M.Targets(str(path), OUTPUTS)).by_number() == []
    with pytest.raises(M.DataError, match="Row 3 is not the same in all parts"):
        read(part, hdf5(metadata__id=names)(tmp_path, FAULTS["swapped"](list(range(ROWS)), 3, 7)))
    nothing = hdf5(metadata__id=np.full(ROWS, unknown.replace("0", "")))(tmp_path, range(ROWS))
    assert M.MergedDataset(part, M.Targets(str(nothing), OUTPUTS)).by_number() == ["dna", "targets"]


def test_looking_at_many_rows_does_not_compare_them(tmp_path):
    path = hdf5(id=np.asarray([".", *IDS[1:]]))(tmp_path, range(ROWS)[::-1])
    assert M.MergedDataset(loader(IDS), M.Targets(str(path), OUTPUTS)).by_number() == []


# Several names in one file


@pytest.mark.parametrize("where", ["a", "b"])
def test_all_ids_of_a_file_are_compared(tmp_path, where):
    names = {"a": IDS, "b": IDS} | {where: IDS[::-1]}
    path = hdf5(metadata__a__id=names["a"], metadata__b__id=names["b"])(tmp_path, range(ROWS))
    with pytest.raises(M.DataError, match=f"by metadata/{where}/id") as error:
        read(loader(IDS), path)
    assert "'targets: metadata/b/id'" in str(error.value) or where == "a"
    np.testing.assert_array_equal(read(loader(IDS), path, compared=False), VALUES)


def test_ids_that_differ_within_a_file_are_refused_beside_a_dataloader_without_any(tmp_path):
    path = hdf5(id=IDS, metadata__id=IDS[::-1])(tmp_path, range(ROWS))
    with pytest.raises(M.DataError) as error:
        read(loader(), path)
    assert str(error.value).startswith(
        "Row 0 is not the same in all parts, nor are 4 more of the 5 read with it.\n"
        "  Expected: the same id in 'targets' and 'targets: metadata/id'\n"
        "  Received: 'peak0' in 'targets', 'peak11' in 'targets: metadata/id'\n"
        f"  File: '{path}' for 'targets', by id\n"
        f"  File: '{path}' for 'targets: metadata/id', by metadata/id\n"
        "  Fix: "
    )


def test_names_of_something_else_are_reported_and_can_be_left_out(tmp_path):
    path = hdf5()(tmp_path, range(ROWS))
    with h5py.File(path, "a") as file:
        file["genes/id"], file["genes/chr"] = [b"g1", b"g2"], [b"1", b"2"]
        file["metadata/id"] = "one for the whole file"
    with pytest.raises(M.DataError, match=re.escape("has no whole genomic range")):
        read(loader(IDS), path)
    with h5py.File(path, "a") as file:
        del file["genes/chr"]
    with pytest.raises(M.DataError, match=re.escape("different lengths") + f".*'out': {ROWS}, 'genes/id': 2"):
        read(loader(IDS), path)
    np.testing.assert_array_equal(read(loader(IDS), path, compared=False), VALUES)


def test_what_is_below_the_data_names_no_rows(tmp_path):
    for fields in ({"preds__out": VALUES, "preds__id": NUMBERS}, {"inputs__ids": NUMBERS}, {"out__id": NUMBERS}):
        outputs = {"out__id": None, "preds__id": None}.keys() & fields.keys()
        if outputs == {"out__id"}:  # an HDF5 file has no group and dataset of one name
            columns = {"out__id": NUMBERS, "out__start": VALUES[:, 1]}
            path = text("tsv", id=IDS, **columns)(tmp_path, range(ROWS))
            assert read(loader(IDS), path)[:, 0].tolist() == NUMBERS.tolist()
            continue
        path = hdf5(**fields)(tmp_path, range(ROWS))
        np.testing.assert_array_equal(read(loader(IDS), path), VALUES)
        assert M.MergedDataset(loader(IDS), M.Targets(str(path), OUTPUTS)).by_number() == ["dna", "targets"]


def test_several_outputs_that_kipoi_wrote(tmp_path):
    path = tmp_path / "p.h5"
    writer = HDF5BatchWriter(str(path))
    writer.batch_write({"preds": {"b": VALUES[:, :1], "a": VALUES}, "metadata": {"ranges": NAMED}})
    writer.close()
    outputs = {"a": ((2,), "float32"), "b": ((1,), "float32")}
    block = M.Targets(str(path), outputs).read([3])
    assert block["targets", "a"].tolist() == [[3, -3]] and block["targets", "b"].tolist() == [[3]]
    assert block["keys", "targets", "ids"].tolist() == ["peak3"]
    assert block["keys", "targets", "chr"].tolist() == [b"chr0"]


@pytest.mark.parametrize("shape", [(12,), (2, 11)])
def test_columns_that_kipoi_sorted_as_text(tmp_path, shape):
    values = np.arange(3 * np.prod(shape), dtype="float32").reshape(3, *shape)
    writer = TsvBatchWriter(str(tmp_path / "p.tsv"))
    writer.batch_write({"preds": values, "metadata": {"id": np.asarray(["p", "q", "r"])}})
    writer.close()
    targets = M.Targets(str(tmp_path / "p.tsv"), {"out": (shape, "float32")})
    np.testing.assert_array_equal(targets.read(range(3))["targets",], values)
    assert targets.file.labels["out"][:3] == [f"preds{'/0' * (len(shape) - 1)}/{number}" for number in range(3)]


# Columns beside those that name the rows


@pytest.mark.parametrize("ending", ["tsv", "csv", "parquet"])
def test_a_name_is_never_data(tmp_path, ending):
    """Numbers in it would be a column more."""
    columns = {"id": IDS, "name": NUMBERS, "c0": VALUES[:, 0], "c1": VALUES[:, 1]}
    path = (parquet(**columns) if ending == "parquet" else text(ending, **columns))(tmp_path, range(ROWS))
    targets = M.Targets(str(path), {"out": ((None,), "float32")})
    np.testing.assert_array_equal(targets.read(range(ROWS))["targets",], VALUES)
    assert targets.file.labels == {"out": ["c0", "c1"]}
    with pytest.raises(M.DataError, match=re.escape("rows of shape (3,)") + ".*Expected: 3. Got: 2 beside id, name."):
        M.Targets(str(path), {"out": ((3,), "float32")})


def test_names_of_something_else_than_rows_are_ignored(tmp_path):
    """Such as those of the columns."""
    path = hdf5()(tmp_path, range(ROWS))
    with h5py.File(path, "a") as file:
        file["name"] = ["first", "second"]
    np.testing.assert_array_equal(read(loader(IDS), path), VALUES)


def test_a_column_called_name_alone_is_data(tmp_path):
    path = text("tsv", name=NUMBERS, c1=VALUES[:, 1])(tmp_path, range(ROWS))
    assert M.Targets(str(path), OUTPUTS).read([3])["targets",].tolist() == [[3, -3]]


def test_a_name_beside_an_id_that_is_text_in_an_array_of_text(tmp_path):
    path = text("tsv", id=IDS, name=IDS, word=IDS[::-1])(tmp_path, range(ROWS))
    block = M.Targets(str(path), {"out": ((None,), "str")}).read([0])
    assert block["targets",].tolist() == [["peak11"]]


@pytest.mark.parametrize("write", [text("tsv", chr=NUMBERS, start=START, **DATA), parquet(**DATA, chr=IDS, end=START)])
def test_half_a_range_in_a_table(tmp_path, write):
    with pytest.raises(M.DataError, match=r"has no whole genomic range: .* a column for each of chr, start, end\."):
        M.Targets(str(write(tmp_path, range(ROWS))), OUTPUTS)


# Rows that are looked up


@pytest.mark.parametrize(
    "name", ["HDF5 metadata/id", "HDF5 numbers of rows beside ids", "TSV name beside id", "NPY metadata.id"]
)
def test_rows_are_looked_up_by_ids_in_groups(tmp_path, name):
    path = WITH_IDS[name](tmp_path, np.random.default_rng(1).permutation(ROWS))
    np.testing.assert_array_equal(read(loader(IDS), path, align_on="ids"), VALUES)
    path = WITH_IDS[name](tmp_path, [*range(ROWS - 1)])
    with pytest.raises(M.DataError, match=r"(?s)Row 11 of 'dna' is not in 'targets'.*File: '.*' for 'targets', by "):
        read(loader(IDS), path, align_on="ids")


def test_a_link_that_leads_nowhere(tmp_path):
    link = h5py.SoftLink("/gone")
    path = hdf5(metadata__id=IDS)(tmp_path, range(ROWS))
    with h5py.File(path, "a") as file:
        file["metadata/other"] = link
    np.testing.assert_array_equal(read(loader(IDS), path), VALUES)
    with h5py.File(hdf5()(tmp_path, range(ROWS)), "a") as file:
        file["metadata/id"] = link
    with pytest.raises(M.DataError, match=r"has a link that leads nowhere: .* a dataset 'metadata/id', as it names"):
        read(loader(IDS), path)


@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_ids_and_data_in_one_compound_dataset(tmp_path, fault):
    order = list(range(ROWS)) if fault is None else FAULTS[fault](list(range(ROWS)), 3, 7)
    table = np.zeros(len(order), [("id", "S8"), ("out", "f4", 2)])
    table["id"], table["out"] = IDS[order], VALUES[order]
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["table"] = table
    if fault is None:
        np.testing.assert_array_equal(read(loader(IDS), tmp_path / "t.h5"), VALUES)
        return
    with pytest.raises(M.DataError, match=re.escape(f"'{tmp_path / 't.h5'}' for 'targets'")):
        read(loader(IDS), tmp_path / "t.h5")


@pytest.mark.parametrize("ids", [IDS, NUMBERS])
def test_two_columns_of_ids_with_one_name(tmp_path, ids):
    lines = [f"{name}\t{name}\t{row}\n" for row, name in enumerate(ids)]
    (tmp_path / "t.tsv").write_text("id\tid\tc0\n" + "".join(lines))
    with pytest.raises(M.DataError, match="has several columns called 'id'"):
        M.Targets(str(tmp_path / "t.tsv"), {"out": ((None,), "float32")})


# What a merged dataloader delivers, as Kipoi writes it


@pytest.mark.parametrize("fault", ["swapped", "dropped"])
@pytest.mark.parametrize(
    ("writer", "ending"), [(HDF5BatchWriter, "h5"), (TsvBatchWriter, "tsv"), (ParquetFileBatchWriter, "parquet")]
)
@pytest.mark.parametrize("ids", [IDS, 1000 + NUMBERS], ids=["names", "numbers"])
def test_predictions_of_a_merged_dataloader_are_targets_of_it(tmp_path, writer, ending, ids, fault):
    """kipoiseq gives numbers of rows, and so does a table without ids; ranges may be resized."""
    names = ids if ids is IDS else ["."] * ROWS
    lines = [f"chr1\t{10 * row}\t{10 * row + 6}\t{name}\n" for row, name in enumerate(names)]
    (tmp_path / "rows.bed").write_text("".join(lines))
    (tmp_path / "genome.fa").write_text(">chr1\n" + "A" * 500 + "\n")
    np.save(tmp_path / "x.npy", VALUES)
    arguments = {"intervals_file": str(tmp_path / "rows.bed"), "fasta_file": str(tmp_path / "genome.fa")}
    arguments |= {"label_dtype": "str", "ignore_targets": True}
    parts = {
        length: M.Part(
            "dna",
            SeqIntervalDl,
            {**arguments, "auto_resize_len": length},
            {"dna": ()},
            metadata=True,
            ranges=("ranges",),
            resized_by="auto_resize_len",
        )
        for length in (None, 4)
    }
    table = M.Table("x", tmp_path / "x.npy", (2,), "float32")
    more = M.Part("more", loader(ids).loader, {}, {"y": ()}, metadata=True, ids=("id",))
    metadata = nested(M.MergedDataset(parts[None], table, more).load_all()["metadata"])
    metadata["targets"] = {"id": np.full(ROWS, "")}  # as there are none when a model predicts
    order = FAULTS[fault](list(range(ROWS)), 3, 7)
    for others in ([parts[None], table, more], [parts[None], table], [parts[4]], [more]):
        healthy = M.Targets(str(by_kipoi(writer, ending, metadata)(tmp_path, range(ROWS))), OUTPUTS)
        merged = M.MergedDataset(*others, healthy)
        np.testing.assert_array_equal(merged.load_all(batch_size=5)["targets"], VALUES)
        assert merged.by_number() == ["x"] * (table in others)
        path = by_kipoi(writer, ending, metadata)(tmp_path, order)
        with pytest.raises(M.DataError, match=re.escape(f"'{path}' for 'targets")):
            M.MergedDataset(*others, M.Targets(str(path), OUTPUTS)).load_all(batch_size=5)


def nested(tree: Any) -> dict[str, Any]:
    """Metadata as plain dicts."""
    return {name: nested(item) if isinstance(item, Mapping) else np.asarray(item) for name, item in tree.items()}
