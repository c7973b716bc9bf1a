"""The examples run as a user would run them, and what they write passes Kipoi's own check."""

from __future__ import annotations

import os
import re
import sys
from importlib.resources import files
from pathlib import Path

import keras
import numpy as np
import pytest
import warm_python
import yaml
from kipoi_runner import kipoi_checks, kipoi_predict

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_spliceai_ensemble(tmp_path):
    """Five published networks with the same layer names: one model, one directory, the mean of the five."""
    output = tmp_path / "spliceai_ensemble"
    command = [sys.executable, ROOT / "examples" / "spliceai_ensemble.py", output]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = warm_python.run(command, env=environment, certify_here=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "largest difference" in done.stdout
    arguments = {
        name: str(output / argument["example"])
        for name, argument in yaml.safe_load((output / "dataloader.yaml").read_text())["args"].items()
        if "example" in argument
    }
    # The example itself has run `kipoi test`.
    written = kipoi_predict(output, arguments, tmp_path / "predictions.h5", workers=2)

    sequence = written["inputs/sequence"].astype("float32")
    parts = []
    for number in range(1, 6):
        path = files("spliceai").joinpath("models", f"spliceai{number}.h5")
        part = keras.saving.load_model(str(path), compile=False)([sequence])
        parts.append(np.asarray(part[0] if isinstance(part, list) else part))
    expected = np.mean(parts, axis=0)
    assert expected.shape == (2, 100, 3)
    assert np.abs(written["preds"] - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())


def test_train_on_new_task(tmp_path):
    """Two models of files, trained on what the directory's own dataloader reads; Kipoi predicts what Keras does."""
    output, data = tmp_path / "enhancers", tmp_path / "enhancers_data"
    command = [sys.executable, ROOT / "examples" / "train_on_new_task.py", output]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = warm_python.run(command, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    losses = re.findall(r"^(\w+) loss: (\S+) in the first epoch, (\S+) in the last$", done.stdout, re.MULTILINE)
    assert [name for name, _, _ in losses] == ["training", "validation"]
    assert all(float(last) < float(first) / 2 for _, first, last in losses)
    assert re.findall(r"^weights of (.*)$", done.stdout, re.MULTILINE) == ["gata: unchanged", "ctcf: unchanged"]
    assert (
        "if the labels were in another order:\n"
        "Row 0 is not the same in all parts.\n"
        "  Expected: the same genomic range in 'gata' and 'targets'\n"
        "  Received: chr1:75-176 in 'gata', chr1:199775-199976 in 'targets'\n"
    ) in done.stdout
    assert float(re.findall(r"difference to Kipoi's predictions: (\S+)", done.stdout)[0]) <= 1e-5

    files = {"fasta_file": "genome.fa", "intervals_file": "chr2.bed", "targets_file": "chr2.tsv"}
    arguments = {name: str(data / file) for name, file in files.items()}
    written = kipoi_checks(output, arguments, tmp_path)
    assert written[0].keys() == written[1].keys()
    for name, array in written[0].items():
        np.testing.assert_array_equal(array, written[1][name])

    model = keras.saving.load_model(output / "model_files" / "model.keras")
    expected = model.predict({name: written[0][f"inputs/{name}"] for name in ("dna101", "dna201")}, verbose=0)
    assert np.abs(written[0]["preds"] - expected).max() <= 1e-5
    labels = np.loadtxt(data / "chr2.tsv", skiprows=1, usecols=3)
    assert len(labels) == 300
    assert ((expected[:, 0] > 0.5) == labels).mean() > 0.95
    for name in ("gata", "ctcf"):
        before = keras.saving.load_model(data / f"{name}.keras", compile=False).get_layer("scan").get_weights()
        for a, b in zip(model.get_layer(name).get_weights(), before, strict=True):
            np.testing.assert_array_equal(a, b)
