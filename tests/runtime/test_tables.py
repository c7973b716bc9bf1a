from __future__ import annotations

import gzip
import multiprocessing
import re
import sys

import h5py
import numpy as np
import pandas as pd
import pyarrow
import pytest
from pyarrow import parquet

from keras_stitch.kipoi.templates import template_module

Table = template_module("kipoi.merging.tables").Table


def write(path, content):
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, dict):
        with h5py.File(path, "w") as file:
            for name, array in content.items():
                file[name] = array
    elif isinstance(content, pd.DataFrame):
        content.to_parquet(path)
    else:
        with path.open("wb") as file:
            np.save(file, content)
    return path


def frame(index=None, **columns):
    table = pd.DataFrame(columns)
    return table if index is None else table.set_index(index)


@pytest.mark.parametrize(
    ("name", "content", "shape", "dtype", "rows"),
    [
        ("a.tsv", "a\tb\n1\t2\n3\tnan\n", (2,), "float32", [[1, 2], [3, np.nan]]),
        ("a.csv", "a,b\n1,2\n3,4\n", (2, 1), "int32", [[[1], [2]], [[3], [4]]]),
        ("a.tsv", "a\tb\n1\t2\n", (None, 1), "float32", [[[1], [2]]]),
        ("a.tsv", "x\n7\n", (), "int64", [7]),
        ("a.tsv", "x\tok\n1.5\tTrue\n", (2,), "float32", [[1.5, 1]]),
        ("a.npy", np.array([[1.0, 2.0]]), (2,), "int8", [[1, 2]]),
        ("a.npy", np.array([[0, 1]]), (None,), "bool", [[False, True]]),
        ("no_ending", {"x": np.ones((2, 3)), "other": np.ones(1)}, (3,), "float32", [[1, 1, 1]] * 2),
        ("a.h5", {"deep/er": np.ones((2, 3))}, (3,), "float16", [[1, 1, 1]] * 2),
        ("a.parquet", frame(a=[1, 3], b=[2.0, None]), (2,), "float32", [[1, 2], [3, np.nan]]),
        ("no_ending", frame(a=[1, 3], ok=[True, False]), (2, 1), "int32", [[[1], [1]], [[3], [0]]]),
        ("a.parquet", frame(a=[1, 3], b=[2, 4]), (None, 1), "float32", [[[1], [2]], [[3], [4]]]),
    ],
)
def test_rows(tmp_path, name, content, shape, dtype, rows):
    path = write(tmp_path / name, content)
    table = Table("x", path, shape, dtype)
    assert table.length == len(rows)
    for chosen in [*([index] for index in range(len(rows))), range(len(rows))[::-1]]:
        found = table.read(chosen)
        assert found["inputs", "x"].dtype == np.dtype(dtype)
        np.testing.assert_array_equal(found["inputs", "x"], np.array([rows[index] for index in chosen], dtype))
        assert found["metadata", "x", "id"].tolist() == [str(index) for index in chosen]
        assert not any(path[0] == "keys" for path in found)
    with pytest.raises(IndexError):
        table.read([len(rows)])


def test_reading_leaves_the_data_alone(tmp_path):
    for name, content in (("a.tsv", "a\tb\n1\t2\n3\t4\n"), ("a.npy", np.array([[1, 2], [3, 4]], "float32"))):
        table = Table("x", write(tmp_path / name, content), (2,), "float32")
        table.read([0, 1])["inputs", "x"] += 10
        assert table.read([0, 1])["inputs", "x"].tolist() == [[1, 2], [3, 4]]


def test_an_id_column_names_the_rows(tmp_path):
    table = Table("x", write(tmp_path / "a.tsv", "id\ta\n007\t1\nNA\t2\n"), (1,), "float32")
    block = table.read([1, 0])
    assert block["metadata", "x", "id"].tolist() == block["keys", "x", "ids"].tolist() == ["NA", "007"]


def test_columns_of_a_range_name_the_rows_too(tmp_path):
    text = "chr\tstart\tend\tid\tstrand\ta\tend2\n1\t5\t9\tx\t+\t1\t2\n"
    block = Table("x", write(tmp_path / "a.tsv", text), (2,), "float32").read([0])
    assert {path[2]: array.tolist() for path, array in block.items() if path[0] == "keys"} == {
        "ids": ["x"], "chr": ["1"], "start": [5], "end": [9], "strand": ["+"]}  # fmt: skip
    assert block["inputs", "x"].tolist() == [[1, 2]]


def test_a_column_called_start_alone_is_data(tmp_path):
    block = Table("x", write(tmp_path / "a.csv", "start,end\n5,9\n"), (2,), "float32").read([0])
    assert block["inputs", "x"].tolist() == [[5, 9]] and not any(path[0] == "keys" for path in block)


def test_an_hdf5_file_may_have_ids(tmp_path):
    path = write(tmp_path / "a.h5", {"rows": np.eye(2), "id": np.array([b"p", b"q"])})
    assert Table("x", path, (2,), "float32").read([1, 0])["keys", "x", "ids"].tolist() == ["q", "p"]
    with pytest.raises(ValueError, match=re.escape("has datasets of different lengths")):
        Table("x", write(tmp_path / "b.h5", {"rows": np.eye(3), "id": np.array([b"p", b"q"])}), (3,), "float32")


def test_names_that_are_not_compared_are_metadata_only(tmp_path):
    path = write(tmp_path / "a.tsv", "id\ta\np\t1\n")
    assert Table("x", path, (1,), "float32", compared=False).read([0]).keys() == {
        ("inputs", "x"),
        ("metadata", "x", "id"),
    }


def test_numbers_beside_an_id_or_a_name_are_a_header(tmp_path):
    for text in ("id\t1\na\t2\n", "1\tx\n2\t2\n"):
        columns = (1,) if text.startswith("id") else (2,)
        table = Table("x", write(tmp_path / "a.tsv", text), columns, "float32")
        assert table.read([0])["inputs", "x"].tolist() == [[2.0] * columns[0]] and table.length == 1


@pytest.mark.parametrize(
    ("name", "content", "shape", "dtype", "problem"),
    [
        ("a.tsv", "a\tb\n1\t2\n3\n", (2,), "float32",
         "has no number in row 1, column 'b': 'F'. Expected: numbers. Got: ''."),
        ("a.tsv", "a\n1\nx\n", (1,), "float32",
         "has no number in row 1, column 'a': 'F'. Expected: numbers. Got: 'x'."),
        ("a.csv", "a,b\n1,2\n", (3,), "float32",
         "has a wrong number of columns for rows of shape (3,): 'F'. Expected: 3. Got: 2."),
        ("a.csv", "a,b\n1,2\n", (None, None), "float32",
         "has a wrong number of columns for rows of shape (None, None): 'F'. Expected: an NPY or HDF5 file. Got: 2."),
        ("a.tsv", "x\n1\n\n3\n", (1,), "float32",
         "has no number in row 1, column 'x': 'F'. Expected: numbers. Got: ''."),
        ("a.tsv", 'id\tx\n"a\t1\nb\t2\n"c\t3\n', (1,), "float32",
         "has a quotation mark that is not closed: 'F'. Expected: one line in column 'id'. Got: 'a\\t1\\nb\\t2\\nc'."),
        ("a.csv", "a,b\n1,2,3\n", (2,), "float32", "cannot be read as a table: 'F'. Expected: a header"),
        ("a.csv", "a,b\n1,2\n1,2,3\n", (2,), "float32", "cannot be read as a table: 'F'. Expected: a header"),
        ("a.csv", "1,2\n1,3\n", (2,), "float32",
         "has no header, as its first line holds numbers: 'F'. Expected: a header row with the columns' names: add one "
         "above, which need not mean anything, such as x1. Got: the numbers 1, 2."),
        ("a.tsv", "1.5\t-2e3\t1.5\t4\n", (4,), "float32", "has no header, as its first line holds numbers: 'F'."),
        ("a.csv", "", (2,), "float32", "cannot be read as a table: 'F'. Expected: a header"),
        ("a.csv", "a,b\n", (2,), "float32", "has no rows: 'F'. Expected: at least one row. Got: none."),
        ("a.csv", "a\n1.5\n", (1,), "int32",
         "has a value in row 0 that int32 cannot hold: 'F'. Expected: int32. Got: 1.5."),
        ("a.csv", "a\nnan\n", (1,), "int32",
         "has a value in row 0 that int32 cannot hold: 'F'. Expected: int32. Got: nan."),
        ("a.npy", np.array([[300]]), (1,), "uint8", "has a value in row 0 that uint8 cannot hold"),
        ("a.npy", np.array([[1e300]]), (1,), "float32", "has a value in row 0 that float32 cannot hold"),
        ("a.npy", np.zeros((3, 2)), (3,), "float32", "has rows of another shape: 'F'. Expected: (3,). Got: (2,)."),
        ("a.npy", np.array([[None]]), (1,), "float32",
         "cannot be read as NPY: 'F'. Expected: an array of numbers. Got:"),
        ("a.npz", "PK", (1,), "float32",
         "is an archive: 'F'. Expected: an NPY, TSV, CSV, HDF5 or Parquet file. Got: a"),
        ("a.npy", np.array(1.0), (3,), "float32",
         "has rows of another shape: 'F'. Expected: (3,). Got: a single number."),
        ("a.npy", np.array([["a"]]), (1,), "float32", "does not hold numbers: 'F'. Expected: float32. Got: <U1."),
        ("a.h5", {"a": np.ones(2), "b": np.ones(2)}, (), "float32",
         "lacks the data: 'F'. Expected: a dataset 'x', or a single one. Got: a, b."),
    ],
)  # fmt: skip
def test_bad_files(tmp_path, name, content, shape, dtype, problem):
    path = write(tmp_path / name, content)
    expected = f"The file for 'x' {problem}".replace("'F'", f"'{path}'")
    with pytest.raises(ValueError, match=re.escape(expected)):
        Table("x", path, shape, dtype).read([0])


TEXTS = [["a", "7"], ["007", "NA"]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "id\tx1\tx2\np\ta\t7\nq\t007\tNA\n"),
        ("a.npy", np.array(TEXTS)),
        ("a.npy", np.array(TEXTS).astype("S")),
        ("a.h5", {"x": np.array(TEXTS).astype("O")}),
        ("a.h5", {"x": np.array(TEXTS).astype("S")}),
        ("a.parquet", frame("id", id=["p", "q"], x1=["a", "007"], x2=["7", "NA"])),
    ],
)
def test_text(tmp_path, name, content):
    table = Table("x", write(tmp_path / name, content), (2,), "str")
    found = table.read([1, 0])["inputs", "x"]
    assert found.dtype.kind == "U" and found.tolist() == TEXTS[::-1]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.npy", np.ones((2, 1)), "does not hold text: 'F'. Expected: text. Got: float64."),
        ("a.parquet", frame(a=[1.5]), "does not hold text: 'F'. Expected: text. Got: float64."),
        ("a.parquet", frame(a=["x", None]),
         "has no value in row 1, column 'a': 'F'. Expected: one in every row. Got: nothing."),
        ("a.tsv", 'a\n"x\ny"\n',
         "has a quotation mark that is not closed: 'F'. Expected: one line in column 'a'. Got: 'x\\ny'."),
    ],
)  # fmt: skip
def test_what_is_no_text(tmp_path, name, content, problem):
    path = write(tmp_path / name, content)
    with pytest.raises(ValueError, match=re.escape(f"The file for 'x' {problem}".replace("'F'", f"'{path}'"))):
        Table("x", path, (1,), "str").read([0])


def test_targets_of_text_beside_numbers(tmp_path):
    path = write(tmp_path / "t.tsv", "id\ta\tb\np\tx\t1\nq\ty\t2\n")
    block = targets(path, outputs={"a": ((1,), "str"), "b": ((), "int32")}).read([1])
    assert block["targets", "a"].tolist() == [["y"]] and block["targets", "b"].tolist() == [2]


def test_a_forked_worker_opens_hdf5_for_itself(tmp_path):
    table = Table("x", write(tmp_path / "a.h5", {"x": np.arange(6.0).reshape(3, 2)}), (2,), "float32")
    assert table.read([0])["inputs", "x"].tolist() == [[0, 1]]
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    workers = [context.Process(target=lambda: found.put(table.read([2])["inputs", "x"].tolist())) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert [found.get(timeout=60) for _ in workers] == [[[4, 5]], [[4, 5]]]
    for worker in workers:
        worker.join()


def targets(path, **options):
    return template_module("kipoi.merging.tables").Targets(path, **options)


def test_targets_of_one_output_are_an_array(tmp_path):
    path = write(tmp_path / "t.tsv", "id\tliver\tlung\na\t0\t1\nb\tnan\t0\n")
    block = targets(path, outputs={"score": ((2,), "float32")}, labels={"score": ["liver", "lung"]}).read([1, 0])
    np.testing.assert_array_equal(block["targets",], [[np.nan, 0], [0, 1]])
    assert block["metadata", "targets", "id"].tolist() == ["b", "a"]


@pytest.mark.parametrize("ending", ["csv", "h5"])
def test_targets_of_several_outputs_go_by_name(tmp_path, ending):
    content = "b,a/x,a/y\n1,2,3\n4,5,6\n"
    if ending == "h5":
        content = {"a": np.array([[2, 3], [5, 6]]), "b": np.array([[1], [4]]), "id": np.array([b"p", b"q"])}
    outputs = {"a": ((2,), "float32"), "b": ((1,), "int32")}
    block = targets(write(tmp_path / f"t.{ending}", content), outputs=outputs).read([0, 1])
    assert block["targets", "a"].tolist() == [[2, 3], [5, 6]] and block["targets", "b"].tolist() == [[1], [4]]
    assert block["targets", "b"].dtype == "int32"


@pytest.mark.parametrize(
    ("name", "content", "outputs", "problem"),
    [
        ("t.tsv", "lung\tliver\n1\t2\n", {"a": ((2,), "float32")},
         "has other columns for 'a': 'F'. Expected: liver, lung. Got: lung, liver."),
        ("t.tsv", "a\tc\n1\t2\n", {"a": ((1,), "float32"), "b": ((1,), "float32")},
         "has the column 'c', which belongs to no output: 'F'. Expected: 'a' or 'a/...' or 'b' or 'b/...'. Got: 'c'."),
        ("t.tsv", "a\n1\n", {"a": ((1,), "float32"), "b": ((1,), "float32")},
         "has a wrong number of columns for 'b' for rows of shape (1,): 'F'. Expected: 1. Got: 0."),
        ("t.npy", np.ones((2, 1)), {"a": ((1,), "float32"), "b": ((1,), "float32")},
         "is NPY, which holds one array: 'F'. Expected: TSV, CSV, HDF5 or Parquet with a, b. Got: one array."),
        ("t.h5", {"a": np.ones((2, 1))}, {"a": ((1,), "float32"), "b": ((1,), "float32")},
         "lacks the data: 'F'. Expected: a dataset 'b'. Got: a."),
        ("t.h5", {"a": np.ones((2, 1)), "b": np.ones((3, 1))}, {"a": ((1,), "float32"), "b": ((1,), "float32")},
         "has datasets of different lengths: 'F'. Expected: one length. Got: {'a': 2, 'b': 3}."),
        ("t.h5", {"a": np.ones((4, 1)), "id": np.ones((2, 2))}, {"a": ((1,), "float32")},
         "has 'id', which names rows, in another shape: 'F'. Expected: one value for each row. Got: (2, 2)."),
    ],
)  # fmt: skip
def test_bad_targets(tmp_path, name, content, outputs, problem):
    path = write(tmp_path / name, content)
    with pytest.raises(ValueError, match=re.escape(f"The file for 'targets' {problem}".replace("'F'", f"'{path}'"))):
        targets(path, outputs=outputs, labels={"a": ["liver", "lung"]} if "liver" in str(content) else None)


def test_without_a_file_there_are_no_targets():
    absent = targets(None, outputs={"a": ((1,), "float32")})
    assert absent.absent and absent.placeholder(2)["metadata", "targets", "id"].tolist() == ["", ""]


@pytest.mark.parametrize("name", ["a.tsv.gz", "a.h5", "a.npy"])
def test_files_that_were_cut_off(tmp_path, name):
    whole = tmp_path / f"whole_{name}"
    if name.endswith("gz"):
        whole.write_bytes(gzip.compress(b"x\n" + b"".join(b"%d\n" % row for row in range(9999))))
    else:
        write(whole, {"x": np.ones((999, 1))} if name.endswith("h5") else np.ones((999, 1)))
    path = tmp_path / name
    path.write_bytes(whole.read_bytes()[:1500])
    with pytest.raises(ValueError, match=re.escape("The file for 'x' cannot be read")):
        Table("x", path, (1,), "float32").read([998])


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"The file for .x. cannot be read.*FileNotFoundError"):
        Table("x", tmp_path / "none.npy", (1,), "float32")


def test_rows_that_are_damaged(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", data=np.arange(8.0), compression="gzip")
        chunk = data.id.get_chunk_info(0)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\xff" * chunk.size)
    table = Table("x", str(path), (), "float32")
    with pytest.raises(
        ValueError, match=r"Rows of the dataset 'x' cannot be read from '.*a\.h5'\.\n.*Expected: a whole file"
    ):
        table.read([0, 1])


def test_float_ids_of_hdf5_are_those_of_other_parts(tmp_path):
    path = write(tmp_path / "a.h5", {"x": np.eye(2), "id": np.array([1.0, 2.5])})
    assert Table("x", path, (2,), "float32").read([0, 1])["keys", "x", "ids"].tolist() == ["1", "2.5"]


@pytest.mark.parametrize("index", [None, "id", ["id"]])
def test_ids_of_parquet_are_texts_whatever_their_type(tmp_path, index):
    for ids, texts in ((["007", "NA"], ["007", "NA"]), ([7, 8], ["7", "8"]), ([1.0, 2.5], ["1", "2.5"])):
        path = write(tmp_path / "a.parquet", frame(index, id=ids, a=[1, 2]))
        block = Table("x", path, (1,), "float32").read([1, 0])
        assert block["metadata", "x", "id"].tolist() == block["keys", "x", "ids"].tolist() == texts[::-1]
        assert block["inputs", "x"].tolist() == [[2], [1]]


def test_columns_of_a_range_in_parquet(tmp_path):
    chromosomes = pd.Categorical(["1", "X"])
    table = frame(chr=chromosomes, start=[5, 6], end=[9, 10], id=["x", "y"], strand=["+", "-"], a=[1, 2], end2=[2, 3])
    block = Table("x", write(tmp_path / "a.parquet", table), (2,), "float32").read([1])
    assert {path[2]: array.tolist() for path, array in block.items() if path[0] == "keys"} == {
        "ids": ["y"], "chr": ["X"], "start": [6], "end": [10], "strand": ["-"]}  # fmt: skip
    assert block["inputs", "x"].tolist() == [[2, 3]]


@pytest.mark.parametrize(("index", "ids"), [(["p", "q"], ["p", "q"]), ([5, 4], ["0", "1"])])
def test_an_index_of_parquet_without_a_name_is_an_id_if_it_is_text(tmp_path, index, ids):
    table = frame(a=[1, 2]).set_axis(index)
    block = Table("x", write(tmp_path / "a.parquet", table), (1,), "float32").read([0, 1])
    assert block["inputs", "x"].tolist() == [[1], [2]] and block["metadata", "x", "id"].tolist() == ids


@pytest.mark.parametrize(
    ("content", "shape", "problem"),
    [
        (frame(a=[1], b=[2]), (3,), "has a wrong number of columns for rows of shape (3,): 'F'. Expected: 3. Got: 2."),
        (frame(a=[1], b=[2]), (None, None),
         "has a wrong number of columns for rows of shape (None, None): 'F'. Expected: an NPY or HDF5 file. Got: 2."),
        (frame(a=[[1.0, 2.0], [3.0]]), (None,),
         "does not hold numbers in column 'a': 'F'. Expected: a number in every row. Got: list<element: double>."),
        (frame(a=["1", "2"]), (1,),
         "does not hold numbers in column 'a': 'F'. Expected: a number in every row. Got: string."),
        (frame(a=[True, None]), (1,),
         "has no number in row 1, column 'a': 'F'. Expected: numbers. Got: nothing."),
        (frame(a=pd.array([1, None], "Int64")), (1,),
         "has no number in row 1, column 'a': 'F'. Expected: numbers. Got: nothing."),
        (frame(a=pd.array([1.5, None], "double[pyarrow]")), (1,),
         "has no number in row 1, column 'a': 'F'. Expected: numbers. Got: nothing."),
        (frame(a=pd.array([True, None], "boolean")), (1,),
         "has no number in row 1, column 'a': 'F'. Expected: numbers. Got: nothing."),
        (frame(chr=["1", None], start=[5, 6], end=[9, 9], a=[1, 2]), (1,),
         "has no value in row 1, column 'chr': 'F'. Expected: one in every row. Got: nothing."),
        (frame(chr=["1"], start=["5"], end=[9], a=[1]), (1,),
         "does not hold positions in column 'start': 'F'. Expected: whole numbers. Got: string."),
        (frame(a=[1.5]).iloc[:0], (1,), "has no rows: 'F'. Expected: at least one row. Got: none."),
        (frame(a=[300]), (1,), "has a value in row 0 that int8 cannot hold: 'F'. Expected: int8. Got: 300."),
    ],
)  # fmt: skip
def test_bad_parquet(tmp_path, content, shape, problem):
    path = write(tmp_path / "a.parquet", content)
    with pytest.raises(ValueError, match=re.escape(f"The file for 'x' {problem}".replace("'F'", f"'{path}'"))):
        Table("x", path, shape, "int8").read([0])


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean", "double[pyarrow]", "uint8[pyarrow]"])
def test_parquet_of_the_other_dtypes_of_pandas(tmp_path, dtype):
    table = frame(id=["p", "q"], a=pd.array([1, 0], dtype), b=[1.5, 2.0]).set_index("id")
    block = Table("x", write(tmp_path / "a.parquet", table), (2,), "float32").read([1, 0])
    assert block["inputs", "x"].tolist() == [[0, 2], [1, 1.5]]
    assert block["metadata", "x", "id"].tolist() == ["q", "p"]


def test_parquet_of_converted_dtypes(tmp_path):
    table = frame(chr=["1", "X"], start=[5, 6], end=[9, 10], a=[1, 2], b=[1.5, 2.5], c=[True, False]).convert_dtypes()
    block = Table("x", write(tmp_path / "a.parquet", table), (3,), "float32").read([0, 1])
    assert block["inputs", "x"].tolist() == [[1, 1.5, 1], [2, 2.5, 0]]
    assert block["keys", "x", "start"].tolist() == [5, 6] and block["keys", "x", "chr"].tolist() == ["1", "X"]


@pytest.mark.parametrize(
    ("index", "names"),
    [
        (pd.RangeIndex(3, 5, name="id"), ["3", "4"]),
        (pd.RangeIndex(3, 5), ["0", "1"]),
        (pd.Index([7, 8], dtype="Int64", name="id"), ["7", "8"]),
        (pd.MultiIndex.from_tuples([("p", 1), ("q", 2)], names=["id", "a"]), ["p", "q"]),
    ],
)
def test_kinds_of_the_index_of_parquet(tmp_path, index, names):
    table = frame(b=[5, 6]).set_axis(index)
    rows = [[1, 5], [2, 6]] if "a" in index.names else [[5], [6]]
    block = Table("x", write(tmp_path / "a.parquet", table), (len(rows[0]),), "float32").read([0, 1])
    assert block["inputs", "x"].tolist() == rows and block["metadata", "x", "id"].tolist() == names


@pytest.mark.parametrize("name", ["a.parquet", "a.tsv"])
@pytest.mark.parametrize("other", [[0.0, 1.0], [False, True]])
def test_columns_of_other_types_do_not_round_large_numbers(tmp_path, name, other):
    table = frame(a=[2**53 + 1, 2**53 + 3], b=other)
    path = write(tmp_path / name, table if name == "a.parquet" else table.to_csv(sep="\t", index=False))
    assert Table("x", path, (2,), "int64").read([1, 0])["inputs", "x"].tolist() == [[2**53 + 3, 1], [2**53 + 1, 0]]


def test_a_column_that_the_type_cannot_hold_beside_others(tmp_path):
    path = write(tmp_path / "a.parquet", frame(a=[2**53 + 1, 2**53 + 3], b=[1.0, 0.5]))
    message = f"has a value in row 1 that int64 cannot hold: '{path}'. Expected: int64. Got: 0.5."
    with pytest.raises(ValueError, match=re.escape(message)):
        Table("x", path, (2,), "int64")


def test_null_and_nan_in_parquet_that_pandas_did_not_write(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"a": pyarrow.array([1.0, float("nan")])}), path)
    np.testing.assert_array_equal(Table("x", path, (1,), "float32").read([0, 1])["inputs", "x"], [[1], [np.nan]])
    parquet.write_table(pyarrow.table({"a": pyarrow.array([float("nan"), None])}), path)
    with pytest.raises(ValueError, match=re.escape(f"has no number in row 1, column 'a': '{path}'. Expected: numbers")):
        Table("x", path, (1,), "float32")


def test_columns_of_one_name_in_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table([[1], [2], [3]], names=["c1", "c2", "c1"]), path)
    message = (
        f"The file for 'x' has several columns called 'c1': '{path}'. "
        "Expected: a name for each column. Got: ['c1', 'c2', 'c1']."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        Table("x", path, (3,), "float32")


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"PARE1234"])
def test_other_files_that_are_called_parquet(tmp_path, content):
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    message = (
        f"The file for 'x' is not a Parquet file, but is called one: '{path}'. "
        f"Expected: a file that starts with b'PAR1'. Got: {content[:4]}."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        Table("x", path, (2,), "float32")


def test_parquet_that_was_cut_off(tmp_path):
    path = write(tmp_path / "a.parquet", frame(a=range(999)))
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(ValueError, match=re.escape("The file for 'x' cannot be read as Parquet")):
        Table("x", path, (1,), "float32")


def test_targets_in_parquet(tmp_path):
    path = write(tmp_path / "t.parquet", frame(id=["p", "q"], **{"b": [1, 4], "a/x": [2, 5], "a/y": [3, 6]}))
    outputs = {"a": ((2,), "float32"), "b": ((1,), "int32")}
    block = targets(path, outputs=outputs, labels={"a": ["x", "y"]}).read([1, 0])
    assert block["targets", "a"].tolist() == [[5, 6], [2, 3]] and block["targets", "b"].tolist() == [[4], [1]]
    with pytest.raises(ValueError, match="has other columns for 'a'"):
        targets(path, outputs=outputs, labels={"a": ["y", "x"]})


def test_parquet_without_the_package_that_reads_it(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", frame(a=[1]))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = (
        f"The file for 'x' is Parquet, which the package pyarrow reads: '{path}'. "
        "Expected: pip install 'pyarrow>=15'. Got: ModuleNotFoundError: "
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        Table("x", path, (1,), "float32")


@pytest.mark.parametrize("ending", ["tsv", "tsv.gz"])
def test_text_with_nul_characters(tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    content = b"id\tx\nA\0B\t1\nA\0C\t2\n"
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    expected = f"The file for 'x' holds a NUL character, at which pandas ends a value: '{path}'. Expected: text."
    with pytest.raises(ValueError, match=re.escape(expected)):
        Table("x", path, (1,), "float32")


@pytest.mark.parametrize("ending", ["csv.gz", "parquet"])
@pytest.mark.parametrize(("large", "memory"), [(1 << 20, 1 << 40), (1 << 40, 1 << 20)])
def test_tables_that_unpack_to_far_more_than_they_hold(tmp_path, monkeypatch, ending, large, memory):
    module = template_module("kipoi.merging.column_tables")
    monkeypatch.setattr(module, "_LARGE", large)
    monkeypatch.setattr(module, "_MOST_EXPANSION", 10)
    monkeypatch.setattr(module, "_memory", lambda: memory)
    path, table = tmp_path / f"x.{ending}", frame(x=np.zeros(600_000, "int8"))
    table.to_parquet(path) if ending == "parquet" else table.to_csv(path, index=False)
    with pytest.raises(ValueError, match=rf"The file for 'x' has [\d,]+ bytes and unpacks to [\d,]+ or more: '{path}'"):
        Table("x", path, (1,), "float32")


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        (["a\0", "a"], r"A text of 'x' ends with a NUL character, which NumPy leaves out\.\n  Received: 'a\\x00'"),
        (
            ["a", "b" * 200],
            r"The texts of 'x' do not fit into the memory\.\n(.*\n)  Received: 2 texts, of which one has 200",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["id", "chr", "x1"])
def test_texts_that_numpy_cannot_hold(tmp_path, monkeypatch, ids, problem, kind):
    monkeypatch.setattr(template_module("kipoi.merging.blocks"), "_LARGE", 1000)
    ranges = {"start": [1, 2], "end": [2, 3]} if kind == "chr" else {}
    path = write(tmp_path / "x.parquet", frame(**{kind: ids, **ranges}, x=["p", "q"]))
    with pytest.raises(ValueError, match=problem):
        Table("x", path, (1 + (kind == "x1"),), "U")
