"""Directories with dataloaders of all of Kipoi's kinds, run by Kipoi."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import keras
import kipoi
import kipoi_runner
import numpy as np
import pytest
from kipoi_cases import KINDS, Case, make_case, write_kind

from keras_stitch.errors import SaveError
from keras_stitch.kipoi.dataloader import Dataloader

ROWS = 10
RANDOM = ["PreloadedDataset", "Dataset", "BatchDataset"]
NEIGHBOURS = list(zip(KINDS, [*list(KINDS)[1:], *list(KINDS)[:1]], strict=True))


def mixture(folder: Path, kinds: list[str]) -> tuple[Case, dict[str, Path]]:
    """A graph with one input for each kind, and its dataloaders: their inputs are arrays, dicts and lists in turn."""
    names = [f"x{number}" for number in range(len(kinds))]
    case = make_case(
        feeds={f"model_{name}": {name: name} for name in names}, inputs=dict.fromkeys(names, ((3,), "float32"))
    )
    forms = cycle(["array", "dict", "list"])
    loaders = {
        name: write_kind(folder / "zoo" / name, kind, form)
        for name, kind, form in zip(names, kinds, forms, strict=False)
    }
    return case, loaders


def expected(case: Case, rows: int = ROWS) -> np.ndarray:
    """What the model predicts for the rows that every loader of ``write_kind`` gives."""
    inputs = (np.arange(rows)[:, None] + np.arange(3) / 2).astype("float32")
    return np.asarray(case.model([inputs] * len(case.wiring.inputs)))


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [list(KINDS), RANDOM, ["BatchGenerator", "SampleIterator"]], ids=len)
def test_kipoi_tests_and_predicts(tmp_path, kinds):
    """In a process of their own: exit 0 and no warning, the same with and without workers, equal to Keras."""
    case, loaders = mixture(tmp_path, kinds)
    np.savetxt(tmp_path / "t.tsv", np.ones((ROWS, 1)), header="score", comments="")
    directory = case.write(tmp_path / "composed", dataloaders=loaders, targets=tmp_path / "t.tsv")
    for found in kipoi_runner.kipoi_checks(directory, {"count": 33}, tmp_path, documented=True):
        for port in case.wiring.inputs:
            np.testing.assert_array_equal(found[f"inputs/{port.name}"][:, 0], np.arange(33))
        want = expected(case, 33)
        assert np.abs(found["preds"] - want).max() <= 1e-5 * max(1.0, np.abs(want).max())


@pytest.mark.parametrize("kinds", NEIGHBOURS, ids="-".join)
def test_each_kind_beside_the_next(tmp_path, kinds):
    case, loaders = mixture(tmp_path, list(kinds))
    directory = case.write(tmp_path / "composed", dataloaders=loaders)
    want = expected(case)
    for workers in (0, 2):
        np.testing.assert_allclose(kipoi_runner.in_process(directory, workers)[""], want, rtol=0, atol=1e-5 * 10)
    loader = kipoi.get_dataloader_factory(str(directory), "dir")
    assert loader.type == ("Dataset" if set(kinds) <= set(RANDOM) else "SampleIterator")
    whole = loader(count=23).load_all(batch_size=4)
    assert whole["metadata"]["model_x0"]["id"].tolist() == [f"row{number}" for number in range(23)]
    assert [len(batch["inputs"]["x0"]) for batch in loader(count=23).batch_iter(batch_size=5)] == [5] * 4 + [3]


def test_a_part_that_is_read_in_order_although_it_could_be_read_anywhere(tmp_path):
    case, loaders = mixture(tmp_path, ["BatchDataset", "Dataset"])
    file = loaders["x0"] / "dataloader.py"
    file.write_text(file.read_text().replace("-(-self.count // 4)", "2").replace(
        "batch(index * 4, min(self.count, index * 4 + 4))", "batch(index * 3, (3, self.count)[index])"
    ))  # fmt: skip
    with pytest.raises(SaveError) as error:
        case.write(tmp_path / "composed", dataloaders=loaders)
    assert "The batches of 'model_x0' do not have the same number of rows" in str(error.value)
    assert "ks.Dataloader(..., in_order=True)" in str(error.value)
    loaders["x0"] = Dataloader(loaders["x0"], in_order=True)
    directory = case.write(tmp_path / "composed", dataloaders=loaders)
    np.testing.assert_allclose(kipoi_runner.in_process(directory)[""], expected(case), rtol=0, atol=1e-5 * 10)


def test_shuffled_batches_keep_rows_together(tmp_path):
    case, loaders = mixture(tmp_path, RANDOM)
    directory = case.write(tmp_path / "composed", dataloaders=loaders)
    loader = kipoi.get_dataloader_factory(str(directory), "dir")(count=50)
    keras.utils.set_random_seed(0)
    seen = []
    for batch in loader.batch_iter(batch_size=8, shuffle=True, drop_last=True, num_workers=2):
        first = batch["inputs"]["x0"][:, 0]
        assert all((array[:, 0] == first).all() for array in batch["inputs"].values())
        seen += first.tolist()
    assert len(set(seen)) == len(seen) == 48 and seen != sorted(seen)
