"""The examples of models in the dataloader run as a user would run them, and show what they say."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
import warm_python
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def run_example(name: str, output: Path) -> str:
    """Runs a script as a user would, without a warning; returns what it prints."""
    command = [sys.executable, ROOT / "examples" / f"{name}.py", output]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = warm_python.run(command, env=environment, certify_here=True)
    assert done.returncode == 0, done.stderr[-3000:]
    no_warnings(done.stdout + done.stderr)
    return done.stdout


def no_warnings(text: str) -> None:
    """No warning of Python, Keras, Kipoi or a logger in what was printed."""
    # TensorFlow's own: a line at its start, and a remark where several Keras models predict in one process.
    harmless = re.compile(r"All log messages before absl|triggered tf\.function retracing")
    found = [line for line in text.splitlines() if re.search(r"WARNING|Warning: |mismatch|don't match", line)]
    assert not [line for line in found if not harmless.search(line)], found


def places(printed: str) -> list[tuple[str, str]]:
    """Every line of the plans in what was printed: a submodel and where it runs."""
    return re.findall(r"^(\w+) {2,}(model|dataloader) {2,}\S", printed, re.MULTILINE)


def differences(printed: str) -> list[float]:
    return [float(number) for number in re.findall(r"largest difference[^\d:]*:? (\S+)$", printed, re.MULTILINE)]


def test_pack_other_frameworks(tmp_path):
    """scikit-learn, PyTorch, TensorFlow and a Keras model in the dataloader, another Keras model trained on them."""
    printed = run_example("pack_other_frameworks", tmp_path / "active_regions")
    packed = ["scan", "gata", "channels_first", "ctcf", "openness"]
    assert places(printed) == [*((name, "dataloader") for name in packed), ("activity", "model")]
    assert "feeds 'gata', which is scikit-learn, not Keras" in printed
    assert "its inputs: gata (2,), ctcf (1,), openness (1,)" in printed
    before, after = map(float, re.findall(r"^held-out loss: (\S+) before, (\S+) after", printed, re.MULTILINE)[0])
    assert after < before / 2
    workers, parts = differences(printed)
    assert workers == 0 and parts <= 1e-5
    assert re.search(r"^packed models: \d+ files, unchanged$", printed, re.MULTILINE)
    assert "20 batches: equal" in printed
    losses = re.findall(r"^loss in the last epoch: (\S+) from the dataloader, (\S+) from the file$", printed, re.M)
    assert len(losses) == 1 and abs(float(losses[0][0]) - float(losses[0][1])) <= 2e-4

    folder = tmp_path / "active_regions_data"
    assert (folder / "active_regions.svg").read_text().startswith("<?xml")
    said = (folder / "kipoi.log").read_text()
    no_warnings(said)
    assert said.count("Successfully ran test_predict") == 1 and said.count("Predictions stored in") == 2


def test_four_models_packed(tmp_path):
    """The four models of the README, of which three run in the dataloader, and one is trained."""
    printed = run_example("four_models_packed", tmp_path / "four_models")
    packed = ["model1", "model2", "model3"]
    assert places(printed) == [*((name, "dataloader") for name in packed), ("model4", "model")]
    assert "inputs of the final model: model2, model3\n" in printed
    first, last = map(float, re.findall(r"^loss: (\S+) in the first epoch, (\S+) in the last$", printed, re.M)[0])
    assert last < first / 10
    (difference,) = differences(printed)
    assert difference <= 1e-5


def test_trunk_and_heads(tmp_path):
    """Heads trained on stored features are put under their trunk again; trunk and heads predict the same."""
    printed = run_example("trunk_and_heads", tmp_path / "enhancer_tissues")
    heads = [(name, "model") for name in ("channel", "islet", "liver", "blood")]
    assert places(printed) == [("trunk", "dataloader"), *heads, ("trunk", "model"), *heads]
    assert "inputs: trunk (24,)\n" in printed
    assert len(re.findall(r"^(?:islet|liver|blood): (?:0\.9\d|1\.00) of 300 right$", printed, re.MULTILINE)) == 3
    (difference,) = differences(printed)
    assert difference <= 1e-5


def test_estimator_on_top(tmp_path):
    """A regression of scikit-learn is the directory's model, on what four models in the dataloader predict."""
    printed = run_example("estimator_on_top", tmp_path / "splicing_variants")
    parts = ["acceptor", "donor", "branch_point", "conservation"]
    in_the_dataloader = [(name, "dataloader") for name in parts]
    alone = [("acceptor", "model"), *in_the_dataloader[1:]]
    assert places(printed) == [*alone, *in_the_dataloader, ("splicing", "model")]
    assert "No Keras model remains: 'splicing' (scikit-learn) makes the predictions" in printed
    (difference,) = differences(printed)
    assert difference <= 1e-5
    assert yaml.safe_load((tmp_path / "splicing_variants" / "model.yaml").read_text())["defined_as"] == (
        "kipoi.model.SklearnModel"
    )

    said = (tmp_path / "splicing_variants_data" / "kipoi.log").read_text()
    no_warnings(said)
    assert said.count("Successfully ran test_predict") == 1 and said.count("Predictions stored in") == 1
