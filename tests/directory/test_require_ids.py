"""Directories whose parts have no ids: the card says so, and ``require_ids=True`` refuses them."""

from __future__ import annotations

import logging
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers
from kipoi_runner import in_process

import keras_stitch as ks

VALUES = np.arange(8.0).reshape(4, 2)
NAMES = ["p", "q", "r", "s"]


@pytest.fixture(scope="module")
def graph() -> ks.Graph:
    """Two inputs, each read from a file."""
    graph = ks.Graph("two")
    for name in ("a", "b"):
        x = keras.Input((2,), name=f"x_{name}")
        graph.add(name, keras.Model(x, layers.Dense(1)(x)))
    return graph.add("top", layers.Dense(1)).connect(["a", "b"], "top")


def table(path: Path, ids: list[str]) -> Path:
    pd.DataFrame({"id": ids, "u": VALUES[:, 0], "v": VALUES[:, 1]}).to_csv(path, sep="\t", index=False)
    return path


def test_parts_without_ids_are_refused_or_said(graph, tmp_path, caplog):
    with pytest.raises(ks.StitchError) as error:
        graph.save(tmp_path / "refused", require_ids=True)
    assert "Only the number of a row says which rows of 'x_a' and 'x_b' belong together." in str(error.value)
    assert "no ids or ranges in 'x_a', no ids or ranges in 'x_b'" in str(error.value)
    assert "Fix: Give both the same ids: a table in a column id" in str(error.value)
    assert list(tmp_path.iterdir()) == []
    directory = graph.save(tmp_path / "said")
    assert "if one is in another order, nobody notices:\n\n- x_a and x_b\n" in (directory / "README.md").read_text()
    # What Kipoi says of it is no warning of Kipoi's, nor of Python's.
    with caplog.at_level(logging.WARNING, logger="keras_stitch.rows"):
        in_process(directory)
    found = [record.getMessage() for record in caplog.records if record.name == "keras_stitch.rows"]
    assert len(set(found)) == 1 and found[0].startswith(
        "Only the number of a row says which rows belong together in 'x_a' and 'x_b': "
    )


@pytest.mark.slow
def test_ids_stay_required_for_other_data(graph, tmp_path, caplog):
    files = {f"x_{name}": table(tmp_path / f"{name}.tsv", NAMES) for name in "ab"}
    directory = graph.save(tmp_path / "made", dataloaders=files, require_ids=True)
    card = (directory / "README.md").read_text()
    assert "(`require_ids=True`)" in card and "nobody notices" not in card
    with caplog.at_level(logging.WARNING, logger="keras_stitch.rows"):
        in_process(directory)
    assert not [record for record in caplog.records if record.name == "keras_stitch.rows"]
    np.save(tmp_path / "b.npy", VALUES)
    with pytest.raises(ks.StitchError, match="Only the number of a row says which rows of 'x_a' and 'x_b' belong"):
        ks.training_data(directory, {"x_a_file": str(files["x_a"]), "x_b_file": str(tmp_path / "b.npy")})
    excluded = files | {"x_b": ks.Dataloader(files["x_b"], align_on=False)}
    with pytest.raises(ks.StitchError, match="ids in 'x_a', align_on=False in 'x_b'"):
        graph.save(tmp_path / "excluded", dataloaders=excluded, require_ids=True)
    said = graph.save(tmp_path / "said", dataloaders=excluded)
    assert "nobody notices:\n\n- x_a and x_b\n" in (said / "README.md").read_text()
