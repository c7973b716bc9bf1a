"""The examples of models in environments of their own: real environments, Snakemake, files, one dataloader.

They take minutes, and packages that uv has to have or to download: ``make test ARGS="-m 'not environments'"`` leaves
them out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import warm_python
import yaml
from test_examples_packing import differences, no_warnings, run_example

pytestmark = [pytest.mark.environments, pytest.mark.slow]


def places(printed: str) -> list[tuple[str, str, str]]:
    """Every line of the plan in what was printed: a submodel, where it runs, and in which environment."""
    return re.findall(r"^(\w+) +(model|dataloader|workflow) +(\S+) {2,}", printed, re.MULTILINE)


def kipoi_test(directory: Path) -> None:
    command = [sys.executable, Path(sys.executable).with_name("kipoi"), "test", "."]
    done = warm_python.run(command, directory)
    assert done.returncode == 0, done.stderr[-3000:]
    no_warnings(done.stdout + done.stderr)
    assert "Successfully ran test_predict" in done.stdout + done.stderr


@pytest.fixture(scope="module")
def four_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The directory of the example, and what it printed."""
    output = tmp_path_factory.mktemp("workflow") / "four_models"
    return output, run_example("four_models_workflow", output)


def test_four_models_workflow(four_models: tuple[Path, str]) -> None:
    """Two versions of scikit-learn that cannot read each other's files; the second model reads what the first wrote."""
    output, printed = four_models
    assert places(printed) == [
        ("model1", "workflow", "model1"),
        ("model2", "workflow", "model2"),
        ("model3", "model", "-"),
        ("model4", "model", "-"),
    ]
    for name, version in (("model1", "1.3.2"), ("model2", "1.5.2")):
        assert re.search(rf"^{name} .* needs scikit-learn=={version} \(here: ", printed, re.MULTILINE)
    assert "predicted: 300 rows, with 2 environments beside this one" in printed
    (difference,) = differences(printed)
    assert difference <= 1e-5
    configured = yaml.safe_load((output / "workflow" / "config.yaml").read_text())
    assert configured["models"]["model2"]["predictions"] == {"model1_file": "model1"}
    kipoi_test(output)


def stitch(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "keras_stitch", *map(str, arguments)]
    return warm_python.run(command)


def test_what_another_argument_runs_again(four_models: tuple[Path, str], tmp_path: Path) -> None:
    """Another file for model3, which remains, runs no model again; one for model1 runs both."""
    output, _ = four_models
    work = output.with_name("four_models_work")
    # Beside the others: Snakemake knows the workflow by its way from there.
    results = work / "results_again"
    shutil.copytree(work / "results", results, symlinks=True)
    files = {f"{name}_file": str(work / f"{name}.npy") for name in ("input1", "input2")}

    def run(chunks: int, **changed: str) -> tuple[list[str], np.ndarray]:
        given, config = json.dumps({**files, **changed}), f"chunks={chunks}"
        done = stitch("run", output, "-o", results, "--config", config, "--cores", 2, "--dataloader_args", given)
        assert done.returncode == 0, done.stderr[-3000:]
        with h5py.File(results / "four_models.h5") as file:
            return re.findall(r"^(?:local)?rule (\w+):", done.stdout + done.stderr, re.MULTILINE), file["preds"][:]

    with h5py.File(work / "results" / "four_models.h5") as file:
        before = file["preds"][:]
    for name in ("input1", "input2"):
        np.save(tmp_path / f"{name}.npy", np.load(work / f"{name}.npy") * 0.5)
    ran, after = run(2, input2_file=str(tmp_path / "input2.npy"))
    assert ran == [] and not np.allclose(before, after)
    ran, after = run(1, input1_file=str(tmp_path / "input1.npy"))
    assert (ran.count("predict"), ran.count("combine"), ran.count("environment")) == (2, 2, 0)
    assert not np.allclose(before, after)


def test_a_file_that_is_not_as_the_workflow_made_it(four_models: tuple[Path, str], tmp_path: Path) -> None:
    """``keras-stitch predict`` makes it anew; Kipoi, which cannot, stops with the file and the row."""
    output, _ = four_models
    work = output.with_name("four_models_work")
    broken = tmp_path / "model2.h5"
    shutil.copyfile(work / "results" / "predictions" / "model2.h5", broken)
    with h5py.File(broken, "r+") as file:
        file["preds/model2"][[10, 11]] = file["preds/model2"][:][[11, 10]]
    given = {"model2_file": str(broken), "input2_file": str(work / "input2.npy")}
    command = [sys.executable, "-c", "import sys; from kipoi.__main__ import main; sys.exit(main())", "predict"]
    options = ["--source=dir", f"--dataloader_args={json.dumps(given)}", "-o", str(tmp_path / "out.h5")]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = warm_python.run([*command, output, *options], env=environment)
    assert done.returncode != 0
    assert f"The file '{broken}' with the predictions of 'model2' was changed at row 10." in done.stderr
