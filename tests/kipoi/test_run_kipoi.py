"""A directory's examples in Kipoi itself, held against what is stored."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from kipoi_cases import write_loader

import keras_stitch as ks
from keras_stitch import directory_layout as layout
from keras_stitch.errors import SaveError
from keras_stitch.kipoi.run_kipoi import check_in_kipoi


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    x = keras.Input((3,), name="x")
    graph = ks.Graph("composed").add("a", keras.Model(x, keras.layers.Dense(2)(x)))
    graph.save(folder / "composed", dataloaders={"x": str(write_loader(folder / "numbers"))})
    return folder / "composed"


@pytest.fixture
def expected(directory: Path, tmp_path: Path) -> Path:
    """A copy of the predictions that the directory stores."""
    return Path(shutil.copy(directory / layout.EXPECTED, tmp_path))


def test_what_kipoi_predicts_is_accepted(directory: Path, expected: Path) -> None:
    check_in_kipoi(directory, expected)


def changed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[h5py.File], None]:
    def change_file(file: h5py.File) -> None:
        values = change(file["preds"][:])
        del file["preds"]
        file["preds"] = values

    return change_file


def less(file: h5py.File) -> None:
    del file["preds"]


def more(file: h5py.File) -> None:
    file["metadata/other"] = np.arange(5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(lambda preds: preds + 1), "something else as 'preds' .*what it gives .* a difference of 1"),
        (changed(lambda preds: preds[:-1]), r"something else as 'preds' .*of shape \(4, 2\).* shape \(5, 2\)"),
        (more, "something else as 'metadata/other' .*nothing"),
        (less, "more on its examples than without it.*preds"),
    ],
)
def test_any_difference_is_an_error(
    directory: Path, expected: Path, change: Callable[[h5py.File], None], message: str
) -> None:
    with h5py.File(expected, "r+") as file:
        change(file)
    with pytest.raises(SaveError, match=f"(?s)In Kipoi, the directory gives {message}"):
        check_in_kipoi(directory, expected)


def test_what_kipoi_cannot_run(directory: Path, expected: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(directory, tmp_path / "broken")
    shutil.rmtree(broken / layout.MODEL_FILES)
    with pytest.raises(SaveError, match="Kipoi cannot run the directory on its examples"):
        check_in_kipoi(broken, expected)
