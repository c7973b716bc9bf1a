"""The example of two versions of Keras: two real environments, Snakemake, and one model trained on what they predict.

Beside ``test_examples_workflow``, so that both can run at the same time.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from test_examples_packing import differences, run_example
from test_examples_workflow import kipoi_test, places

pytestmark = [pytest.mark.environments, pytest.mark.slow]


def steps(log: Path) -> list[str]:
    """The rules that Snakemake ran, in their order."""
    return re.findall(r"^(?:local)?rule (\w+):", log.read_text(), re.MULTILINE)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="TensorFlow 2.15 has no package for Python 3.12 and later")
def test_incompatible_environments(tmp_path: Path) -> None:
    """Keras 2.15 and Keras 3 on one FASTA and BED, two environments, a Keras model trained on the joined files."""
    output = tmp_path / "pair_binding"
    printed = run_example("incompatible_environments", output)
    assert places(printed) == [
        ("gata", "workflow", "gata"),
        ("ctcf", "workflow", "ctcf"),
        ("both", "model", "-"),
    ]
    assert "its keras==2.15.0 and keras>=3." in printed
    first, last = map(float, re.findall(r"^loss: (\S+) in the first epoch, (\S+) in the last$", printed, re.M)[0])
    assert last < first / 4
    (right,) = re.findall(r"^right in (\d+)% of 64 regions", printed, re.MULTILINE)
    assert int(right) >= 90
    (difference,) = differences(printed)
    assert difference <= 1e-5
    work = tmp_path / "pair_binding_work"
    frozen = {name: (work / "results" / "environments" / f"{name}.txt").read_text() for name in ("gata", "ctcf")}
    assert "keras==2.15.0\n" in frozen["gata"] and "keras==3." in frozen["ctcf"]
    # The second run had the environments, and other data.
    assert steps(work / "workflow.log").count("environment") == 2
    assert steps(work / "workflow.log").count("predict") == 4
    kipoi_test(output)
