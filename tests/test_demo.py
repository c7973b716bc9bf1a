"""The demo, as ``make demo`` runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from kipoi_runner import kipoi_checks

pytestmark = pytest.mark.slow


def run_demo(output: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    environment["COLUMNS"] = "200"
    command = [sys.executable, "-m", "keras_stitch", "demo", "-o", str(output)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    output = tmp_path_factory.mktemp("demo") / "output"
    return output, run_demo(output)


def test_it_says_what_was_written_and_checked(demo):
    output, done = demo
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("  ok  ") == 7
    assert "each with a layer called 'dense'" in done.stdout
    for name in ("composed/model.yaml", "composed/graph.svg", "trained/model.yaml", "predictions.h5", "composed.png"):
        assert (output / name).is_file()


def test_its_directory_passes_kipoi(demo, tmp_path):
    """Kipoi in a process of its own: no warning, the same with 0 and 2 workers, and what Keras predicts."""
    output, _ = demo
    directory, data = output / "composed", output / "data"
    arguments = {
        "intervals_file": str(data / "intervals.bed"),
        "fasta_file": str(data / "genome.fa"),
        "measurements_file": str(data / "measurements.tsv"),
    }
    written = kipoi_checks(directory, arguments, tmp_path)
    for name, array in written[0].items():
        np.testing.assert_array_equal(array, written[1][name])
    inputs = {name: written[0][f"inputs/{name}"] for name in ("sequence", "input2")}
    model = keras.saving.load_model(directory / "model_files" / "model.keras")
    expected = np.asarray(model(inputs))
    assert expected.shape == (64, 1)
    assert np.abs(written[0]["preds"] - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    done = run_demo(tmp_path)
    assert done.returncode == 2
    assert f"'{tmp_path}' holds something that the demo did not write." in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
