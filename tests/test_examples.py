"""The examples run as a user would run them, and what they write passes Kipoi's own check."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import keras
import numpy as np
import yaml
from kipoi_runner import kipoi_predict, kipoi_test

ROOT = Path(__file__).parents[1]


def test_spliceai_ensemble(tmp_path):
    """Five published networks with the same layer names: one model, one directory, the mean of the five."""
    output = tmp_path / "spliceai_ensemble"
    command = [sys.executable, ROOT / "examples" / "spliceai_ensemble.py", output]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "largest difference" in done.stdout
    kipoi_test(output)

    arguments = {
        name: str(output / argument["example"])
        for name, argument in yaml.safe_load((output / "dataloader.yaml").read_text())["args"].items()
        if "example" in argument
    }
    written = [kipoi_predict(output, arguments, tmp_path / f"{n}.h5", workers=n) for n in (0, 2)]
    assert written[0].keys() == written[1].keys()
    for name, array in written[0].items():
        np.testing.assert_array_equal(array, written[1][name])

    sequence = written[0]["inputs/sequence"].astype("float32")
    parts = []
    for number in range(1, 6):
        path = files("spliceai").joinpath("models", f"spliceai{number}.h5")
        part = keras.saving.load_model(str(path), compile=False)([sequence])
        parts.append(np.asarray(part[0] if isinstance(part, list) else part))
    expected = np.mean(parts, axis=0)
    assert expected.shape == (2, 100, 3)
    assert np.abs(written[0]["preds"] - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())
