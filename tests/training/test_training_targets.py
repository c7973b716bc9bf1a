"""Training on targets that are not aligned with the inputs: whatever their files show is reported."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from backends import only_on
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from merging_strategies import Dataset
from table_files import FAULTS, FORMS, write

import keras_stitch as ks

FEW = settings(max_examples=max(2, settings().max_examples // 5))
ROWS = 7
VALUES = np.stack([np.arange(ROWS), -np.arange(ROWS)], axis=1).astype("float32")
KEYS: dict[str, dict[str, Any]] = {
    "ids": {"id": np.asarray([f"row{row}" for row in range(ROWS)])},
    "ranges": {
        "chr": np.asarray([f"chr{row % 2}" for row in range(ROWS)]),
        "start": 10 * np.arange(ROWS)[::-1],
        "end": 10 * np.arange(ROWS)[::-1] + 5,
    },
    "nothing": {},
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """A directory that reads its inputs and its targets from files."""
    folder = tmp_path_factory.mktemp("aligned")
    x = keras.Input((2,), name="x")
    graph = ks.Graph("aligned").add("m", keras.Model(x, layers.Dense(2)(x)))
    examples = {"x": write(folder / "x", "TSV", {}, VALUES, range(ROWS))}
    return graph.save(
        folder / "made", dataloaders=examples, targets=write(folder / "y", "TSV", {}, VALUES, range(ROWS))
    )


def data(directory: Path, inputs: Path, targets: Path, **options: Any) -> Any:
    arguments = {"x_file": str(inputs), "targets_file": str(targets)}
    return ks.training_data(directory, arguments, batch_size=3, seed=0, **options)


@pytest.mark.parametrize("kind", ["ids", "ranges"])
@pytest.mark.parametrize("form", FORMS)
@FEW
@given(drawn=st.data())
def test_no_fault_passes(directory: Path, form: str, kind: str, drawn: Any):
    other, fault = drawn.draw(st.sampled_from(FORMS)), drawn.draw(st.sampled_from(list(FAULTS)))
    a, b = drawn.draw(st.lists(st.integers(0, ROWS - 1), min_size=2, max_size=2, unique=True))
    with tempfile.TemporaryDirectory() as folder:
        inputs = write(Path(folder, "x"), other, KEYS[kind], VALUES, range(ROWS))
        aligned = data(directory, inputs, write(Path(folder, "y"), form, KEYS[kind], VALUES, range(ROWS)))
        assert aligned.note is None
        for x, y in aligned:
            np.testing.assert_array_equal(x["x"], y)
        order = FAULTS[fault](list(range(ROWS)), a, b)
        targets = write(Path(folder, "z"), form, KEYS[kind], VALUES, order)
        with pytest.raises(ValueError, match=r"is not the same in all parts|do not have the same number of rows"):
            assert not list(data(directory, inputs, targets)), f"{fault} passed"


@pytest.mark.parametrize(("inputs", "targets"), [("ids", "nothing"), ("ids", "ranges"), ("nothing", "nothing")])
def test_what_is_matched_by_number_alone_is_noted(directory, tmp_path, inputs, targets):
    given = write(tmp_path / "x", "CSV", KEYS[inputs], VALUES, range(ROWS))
    found = data(directory, given, write(tmp_path / "y", "HDF5", KEYS[targets], VALUES, range(ROWS)[::-1]))
    note = "Row i of 'x' and 'targets' is row i of the others: no ids or genomic ranges were found to compare."
    assert found.note == note
    assert repr(found) == f"<TrainingData of 7 rows in batches of 3. {note}>"


def test_a_plain_array_says_nothing_of_its_rows(directory, tmp_path):
    np.save(tmp_path / "y.npy", VALUES[::-1])
    given = write(tmp_path / "x", "TSV", KEYS["ids"], VALUES, range(ROWS))
    assert "'targets' is row i" in data(directory, given, tmp_path / "y.npy").note


class Words(Dataset):
    """Texts, and how many of their two words are "a"."""

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> dict[str, Any]:
        words = np.asarray(["a" if row & bit else "beyond" for bit in (1, 2)])
        return {"inputs": {"words": words}, "targets": np.asarray([float((words == "a").sum())])}


@only_on("tensorflow", why="other backends have no text")
def test_text_is_trained_on(tmp_path):
    words = keras.Input((2,), dtype="string", name="words")
    known = layers.StringLookup(vocabulary=["a"])(words)
    graph = ks.Graph("text").add("m", keras.Model(words, layers.Flatten()(layers.Embedding(2, 1)(known))))
    graph.add("head", layers.Dense(1)).connect("m", "head").freeze("m")
    data = ks.training_data(Words, batch_size=3, seed=0)
    rest = graph.precompute(data, tmp_path / "rest.h5")
    for model, rows in ((graph.build(), data), (rest.model, rest.data(batch_size=3))):
        model.compile("sgd", "mse")
        losses = model.fit(rows, epochs=3, verbose=0).history["loss"]
        assert losses[-1] < losses[0]
