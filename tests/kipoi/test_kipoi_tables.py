from __future__ import annotations

import multiprocessing
import re

import h5py
import numpy as np
import pytest

from keras_stitch.kipoi.rendering import template_module

Table = template_module("kipoi.components.tables").Table


def write(path, content):
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, dict):
        with h5py.File(path, "w") as file:
            for name, array in content.items():
                file[name] = array
    else:
        with path.open("wb") as file:
            np.save(file, content)
    return path


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
    ],
)
def test_rows(tmp_path, name, content, shape, dtype, rows):
    path = write(tmp_path / name, content)
    table = Table(path, "x", shape, dtype)
    assert len(table) == len(rows)
    for index, row in enumerate(rows):
        found = table[index]
        assert found["inputs"].dtype == np.dtype(dtype) and found["inputs"].shape == np.shape(row)
        np.testing.assert_array_equal(found["inputs"], np.array(row, dtype))
        assert found["metadata"] == {"id": str(index)}
    with pytest.raises(IndexError):
        table[len(rows)]


def test_an_id_column_names_the_rows(tmp_path):
    table = Table(write(tmp_path / "a.tsv", "id\ta\n007\t1\nNA\t2\n"), "x", (1,), "float32")
    assert [table[index]["metadata"]["id"] for index in range(2)] == ["007", "NA"]


def test_numbers_beside_an_id_or_a_name_are_a_header(tmp_path):
    for text in ("id\t1\na\t2\n", "1\tx\n2\t2\n"):
        columns = (1,) if text.startswith("id") else (2,)
        table = Table(write(tmp_path / "a.tsv", text), "x", columns, "float32")
        assert [row["inputs"].tolist() for row in table] == [[2.0] * columns[0]]


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
        ("a.npz", "PK", (1,), "float32", "is an archive: 'F'. Expected: an NPY, TSV, CSV or HDF5 file. Got: a"),
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
        Table(path, "x", shape, dtype)[0]


def test_a_forked_worker_opens_hdf5_for_itself(tmp_path):
    table = Table(write(tmp_path / "a.h5", {"x": np.arange(6.0).reshape(3, 2)}), "x", (2,), "float32")
    assert table[0]["inputs"].tolist() == [0, 1]
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    workers = [context.Process(target=lambda: found.put(table[2]["inputs"].tolist())) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert [found.get(timeout=60) for _ in workers] == [[4, 5], [4, 5]]
    for worker in workers:
        worker.join()
