"""The runtime and the scripts of a workflow read no file that another one points at, and no end of links."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import h5py
import numpy as np
import odd_files
import pytest
from keras_stitch.model_templates.kipoi import merging as M
from keras_stitch.model_templates.kipoi.merging import hdf5_contents
from test_merging_predictions import AGAIN, MADE_BY, says, write

ARRAYS = {"y": ((3,), np.dtype("f4"))}
TEMPLATES = Path(M.__file__).parents[2]


def table(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["y"] = np.ones((4, 3), "f4")
    return path


def put_outside(path: Path, name: str, kind: str) -> None:
    with h5py.File(path, "r+") as file:
        odd_files.put_outside(file, name, kind, path.with_name("secret"))


@pytest.mark.parametrize("kind", odd_files.OUTSIDE)
def test_tables(tmp_path: Path, kind: str) -> None:
    path = table(tmp_path / "t.h5")
    put_outside(path, "y", kind)
    with pytest.raises(M.DataError) as caught:
        M.Targets(str(path), ARRAYS)
    message = str(caught.value)
    assert message.startswith("The file for 'targets' does not hold ") and f"{path.with_name('secret')}'" in message
    assert message.endswith(f": '{path}'. Expected: a file that holds all of its values. Got: another.")


@pytest.mark.parametrize("kind", odd_files.OUTSIDE)
def test_predictions(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "model1.h5")
    put_outside(path, "preds/map", kind)
    with pytest.raises(M.DataError) as caught:
        M.Predictions("model1", str(path), {"a": ("score", (2,))}, made_by=MADE_BY)
    with h5py.File(path) as file, pytest.raises(hdf5_contents.RefusedFile) as found:
        hdf5_contents.check(file)
    lines = ("  Expected: a file that the workflow made", "  Received: another", AGAIN)
    assert str(caught.value) == says(str(found.value), path, *lines)


def test_pieces_of_a_workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TEMPLATES / "workflow" / "scripts"))
    monkeypatch.delitem(sys.modules, "results", raising=False)
    import results

    path = table(tmp_path / "piece.h5")
    with results.open_whole(TEMPLATES / "kipoi", str(path)) as file:
        assert file["y"].shape == (4, 3)
    put_outside(path, "y", "external storage")
    with pytest.raises(results.Problem) as caught:
        results.open_whole(TEMPLATES / "kipoi", str(path))
    assert str(caught.value) == (
        f"The file '{path}' does not hold the values of the dataset '/y' itself: they lie in the file "
        f"'{tmp_path / 'secret'}'. Remove it and run the workflow again."
    )


def test_links_that_give_few_groups_many_names(tmp_path: Path) -> None:
    path = table(tmp_path / "t.h5")
    with h5py.File(path, "r+") as file:
        group = file
        for _ in range(40):  # 2 ** 40 ways to the last
            inner = group.create_group("a")
            group["b"] = inner
            group = inner
    with pytest.raises(M.DataError, match=r"has too many groups: .* Expected: at most 10,000, and 100 within each"):
        M.Targets(str(path), ARRAYS)


def test_terabytes_of_which_few_rows_are_read(tmp_path: Path) -> None:
    """A sparse NPY file is mapped: a row costs what it has."""
    path = tmp_path / "sparse.npy"
    start = odd_files.npy((1 << 38, 3))
    path.write_bytes(start)
    os.truncate(path, len(start) + (3 << 40))
    try:
        rows = M.Targets(str(path), ARRAYS).file.read([5, (1 << 38) - 1])
        np.testing.assert_array_equal(rows["y"], np.zeros((2, 3)))
    finally:
        path.unlink()
