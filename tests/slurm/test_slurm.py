"""A generated workflow on a real Slurm of one node. It starts daemons, and so runs only where it is asked for:

KERAS_STITCH_SLURM=1 python -m pytest tests/slurm
"""

from __future__ import annotations

import os

import pytest
import run_on_slurm


def test_a_workflow_runs_on_slurm(capsys):
    reason = run_on_slurm.why_skipped()
    if reason is not None:
        pytest.skip(reason)
    if os.environ.get("KERAS_STITCH_SLURM") != "1":
        pytest.skip("starts Slurm on this machine: KERAS_STITCH_SLURM=1 python -m pytest tests/slurm")
    status = run_on_slurm.main()
    said = capsys.readouterr()
    assert status == 0, said.err
    assert said.out.count("completed after") == run_on_slurm.JOBS
    assert "model2: the same bytes" in said.out
    assert not run_on_slurm.CONFIGURATION.exists()
