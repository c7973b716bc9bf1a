"""A program in a process of its own: what it gets, what it leaves, and what is said where it dies."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pytest

from keras_stitch.verify.fresh_process import Job

pytestmark = pytest.mark.fresh_process

DOUBLES = """
    import json, sys
    from pathlib import Path
    import numpy as np

    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text())
    inputs = np.load(folder / "inputs.npz")
    keys = [f"{kind}/{name}" for kind, names in job["sets"].items() for name in names]
    made = {key: inputs[key] * job["factor"] for key in keys}
    np.savez(folder / "predictions.npz", **made)
    (folder / "report.json").write_text(json.dumps({"model": job["model"]}))
"""
DIES = """
    import sys

    print("what is wrong\\n", file=sys.stderr)
    sys.exit(3)
"""
WAITS = "import time; time.sleep(600)"


def program(folder: Path, text: str) -> Path:
    path = folder / "program.py"
    path.write_text(textwrap.dedent(text))
    return path


def test_a_program_gets_a_job_and_leaves_predictions(tmp_path: Path) -> None:
    sets = {kind: {"x": np.arange(3.0), "y": np.ones((3, 2))} for kind in ("random", "given")}
    with Job(tmp_path / "m.keras", sets, factor=2) as job:
        assert job.report() is None
        job.start(program(tmp_path, DOUBLES))
        assert job.wait() == (0, "no message")
        assert job.report() == {"model": str(tmp_path / "m.keras")}
        found = job.predictions()
        folder = job.folder
    assert {kind: list(named) for kind, named in found.items()} == {"random": ["x", "y"], "given": ["x", "y"]}
    np.testing.assert_array_equal(found["given"]["x"], [0.0, 2.0, 4.0])
    assert not folder.exists()


def test_a_program_that_dies_says_why(tmp_path: Path) -> None:
    with Job(tmp_path / "m.keras", {}) as job:
        job.start(program(tmp_path, DIES))
        assert job.wait() == (3, "what is wrong")
        assert job.report() is None


def test_the_end_of_the_block_ends_the_process(tmp_path: Path) -> None:
    with Job(tmp_path / "m.keras", {}) as job:
        job.start(program(tmp_path, WAITS))
        process = job._process
        assert process.poll() is None
    assert process.poll() is not None
