"""Random graphs of ten steps, with functions of TensorFlow: Keras 2 makes them beside, Keras 3 predicts the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_stitch as ks
from keras_stitch.files.scratch import Scratch
from keras_stitch.models.save_keras import save_model
from keras_stitch.verify.equality import compare

ORACLE = Path(__file__).parents[1] / "helpers" / "operator_oracle.py"
STEPS = 12  # as many as the oracle has; a larger number would end it


@pytest.fixture(scope="module")
def oracle() -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"TF_USE_LEGACY_KERAS": "1"}
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, ORACLE], env=environment, **options) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()


steps = st.lists(st.tuples(st.integers(0, STEPS - 1), st.integers(0, 11), st.integers(0, 11)), min_size=10, max_size=10)


@pytest.mark.slow
@settings(max_examples=30)
@given(steps=steps, ending=st.sampled_from(["h5", "keras"]))
def test_compositions(oracle: subprocess.Popen[str], steps: list[tuple[int, int, int]], ending: str) -> None:
    with Scratch() as folder:
        oracle.stdin.write(json.dumps({"folder": str(folder), "steps": steps}) + "\n")
        oracle.stdin.flush()
        assert oracle.stdout.readline() == "done\n"
        graph = ks.Graph("g").add("m", folder / f"m.{ending}")
        for number, port in enumerate(graph.spec.submodel("m").outputs):
            graph.add_output(f"output{number}", f"m.{port.name}")
        save_model(graph.build(), folder / "stitched.keras")
        model = keras.saving.load_model(folder / "stitched.keras", compile=False)
        with np.load(folder / "m.npz") as arrays:
            found = model(arrays["x"], training=False)
            assert len(found) == 3
            for name, array in found.items():
                assert compare(np.asarray(array), arrays[name]).equal
