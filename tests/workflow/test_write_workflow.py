"""A directory of which some models run in environments of their own: as it is written, and what it accepts."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import warm_python
import yaml
from keras_stitch.model_templates.kipoi.merging import records
from reference import assert_equal

import keras_stitch as ks
from keras_stitch.errors import StitchError

GOLDEN = Path(__file__).parents[1] / "golden" / "workflow_directory"
MODELS = {"model1": ("input1", 3, 4), "model2": ("x", 7, 3), "model3": ("input2", 6, 4), "model4": ("x", 7, 1)}


def dense(port: str, size: int, units: int, seed: int) -> keras.Model:
    inputs = keras.Input((size,), name=port)
    kernel = keras.initializers.RandomNormal(seed=seed)
    return keras.Model(inputs, keras.layers.Dense(units, "tanh", kernel_initializer=kernel)(inputs))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, (name, how) in enumerate(MODELS.items()):
        dense(*how, seed).save(folder / f"{name}.keras")
    return folder


def seed_graph(files: Path, *beforehand: str) -> ks.Graph:
    """model1 -> model2 -> model4 <- model3, with model1's input taken by model2, too."""
    graph = ks.Graph("composed")
    for name in MODELS:
        graph.add(name, files / f"{name}.keras", placement="workflow" if name in beforehand else None)
    return graph.connect(["model1", "model1.input1"], "model2").connect(["model2", "model3"], "model4")


@pytest.fixture(scope="module")
def composed(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model1 and model3 run beforehand, in one environment; nobody says where the data come from."""
    graph = seed_graph(files, "model1", "model3")
    return graph.save(tmp_path_factory.mktemp("saved") / "composed", info={"authors": "Ada"})


def job(directory: Path, name: str = "model1_model3") -> Path:
    return directory / "workflow" / "models" / name


def described(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


# -- what is written ---------------------------------------------------------------------------------------------------

LASTING = [
    "dataloader.py",
    "dataloader.yaml",
    "workflow/config.yaml",
    "workflow/envs/model1_model3/requirements.txt",
    "workflow/envs/model1_model3/environment.yaml",
    "workflow/envs/model1_model3/Dockerfile",
    "workflow/envs/model1_model3/apptainer.def",
    "workflow/models/model1_model3/dataloader.py",
    "workflow/models/model1_model3/dataloader.yaml",
    "workflow/models/model1_model3/model.yaml",
    "workflow/models/model1_model3/model.py",
]


def test_golden_workflow(composed: Path) -> None:
    """What a reviewer of a zoo reads; versions and sha256 apart."""
    for name in LASTING:
        text = (composed / name).read_text()
        text = re.sub(r"[0-9a-f]{64}", "SHA256", text)
        text = re.sub(r"((?:keras|tensorflow)(?:==|>=))[\d.]+", r"\1VERSION", text)
        text = re.sub(r"(python[=:]|model1_model3: ')3\.1\d", r"\g<1>VERSION", text)
        golden = GOLDEN / f"{name}.txt"
        if os.environ.get("UPDATE_GOLDEN"):
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_text(text)
        assert text == golden.read_text(), f"{name} differs; UPDATE_GOLDEN=1 accepts it"


def test_generated_code_is_formatted(composed: Path) -> None:
    pytest.importorskip("ruff")
    paths = [composed / "dataloader.py", *job(composed).glob("*.py")]
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--no-cache", "--line-length", "120", "--check"]
    done = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_job_is_known_by_the_sha256_of_all_its_files(composed: Path) -> None:
    text = (job(composed) / "sha256.json").read_text()
    known = json.loads(text)
    for name, sha256 in known.items():
        assert hashlib.sha256((job(composed) / name).read_bytes()).hexdigest() == sha256, name
    there = {path.relative_to(job(composed)).as_posix() for path in job(composed).rglob("*") if path.is_file()}
    assert {name for name in there - known.keys() if not name.startswith("example_files/")} == {"sha256.json"}
    assert hashlib.sha256(text.encode()).hexdigest() in (composed / "dataloader.py").read_text()


def test_the_examples_are_what_the_parts_predict(composed: Path, files: Path) -> None:
    examples = job(composed) / "example_files"
    inputs = {name: np.load(examples / f"{name}.npy") for name in ("input1", "input2")}
    expected = {
        name: np.asarray(keras.saving.load_model(files / f"{name}.keras")(inputs[MODELS[name][0]]))
        for name in ("model1", "model3")
    }
    with h5py.File(composed / "example_files" / "model1_model3.h5") as file:
        assert_equal({name: file[f"preds/{name}"][:] for name in expected}, expected)
        assert file["rows/number"][:].tolist() == list(range(len(inputs["input1"])))
    np.testing.assert_array_equal(np.load(composed / "example_files" / "input1.npy"), inputs["input1"])


def test_the_card_says_how_to_run_it(composed: Path) -> None:
    card = (composed / "README.md").read_text()
    assert "| model1 | an environment of its own | placement='workflow' asks for it |" in card
    assert "| model2 | the model | a saved Keras model |" in card
    assert "keras-stitch run . --cores 2 -o ../results" in card
    assert "- Without 'model1' and 'model3', which run in environments of their own." in card
    assert "Kipoi runs the models in the dataloader" not in card


def test_saved_again_it_takes_the_same_files(composed: Path, files: Path, tmp_path: Path) -> None:
    """What was predicted for one directory is good for the next, so that training does not need another run."""
    graph = seed_graph(files, "model1", "model3")
    model = graph.build()
    model.compile("sgd", "mse")
    example = composed / "example_files" / "model1_model3.h5"
    with h5py.File(example) as file:
        batch = {name: file[f"preds/{name}"][:] for name in ("model1", "model3")}
    batch["input1"] = np.load(composed / "example_files" / "input1.npy")
    model.fit(batch, np.ones((len(batch["input1"]), 1)), epochs=1, verbose=0)
    again = graph.save(tmp_path / "again", model=model, examples={"model1_model3_file": example})
    assert (job(again) / "sha256.json").read_text() == (job(composed) / "sha256.json").read_text()
    with h5py.File(again / "model_files" / "expected.h5") as file:
        assert_equal({"model4": file["preds"][:]}, {"model4": np.asarray(model(batch))})


@pytest.mark.slow
def test_examples_for_all_stages(files: Path, tmp_path: Path) -> None:
    graph = seed_graph(files, "model1")
    with pytest.raises(
        StitchError, match="examples= names 'input3_file', which is no argument of the merged dataloader"
    ):
        graph.save(tmp_path / "composed", examples={"input3_file": "x"})
    rows = {"input1": np.ones((4, 3), "float32"), "input2": np.zeros((4, 6), "float32")}
    for name, array in rows.items():
        np.save(tmp_path / f"{name}.npy", array)
    directory = graph.save(
        tmp_path / "composed", examples={f"{name}_file": tmp_path / f"{name}.npy" for name in rows}, format="h5"
    )
    with h5py.File(directory / "example_files" / "model1.h5") as file:
        assert file["preds/model1"].shape == (4, 4)
    assert sorted(described(directory / "dataloader.yaml")["args"]) == ["input1_file", "input2_file", "model1_file"]
    assert sorted(described(job(directory, "model1") / "dataloader.yaml")["args"]) == ["input1_file"]
    seed_graph(files).save(directory, overwrite=True)
    assert not (directory / "workflow").exists()


@pytest.mark.slow
def test_targets_are_read_with_the_files(files: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "targets.npy", np.ones((10, 1), "float32"))
    graph = seed_graph(files, "model1", "model3")
    directory = graph.save(tmp_path / "composed", targets=tmp_path / "targets.npy")
    arguments = {
        "model1_model3_file": str(directory / "example_files" / "model1_model3.h5"),
        "input1_file": str(directory / "example_files" / "input1.npy"),
        "targets_file": str(tmp_path / "targets.npy"),
    }
    data = ks.training_data(directory, arguments, batch_size=4)
    model = graph.build()
    model.compile("sgd", "mse")
    assert len(model.fit(data, epochs=2, verbose=0).history["loss"]) == 2
    assert "targets_file" not in described(job(directory) / "dataloader.yaml")["args"]


def test_the_whole_graph_is_verified_where_it_can_run_here(files: Path) -> None:
    certificate = seed_graph(files, "model1", "model3").verify()
    assert certificate.passed and [check.output for check in certificate.checks] == ["model4"]
    assert "input1 (3,) float32 normal, input2 (6,) float32 normal" in str(certificate)
    assert not certificate.notes


def test_the_picture_has_a_box_for_each_stage(composed: Path) -> None:
    svg = (composed / "graph.svg").read_text()
    assert "workflow" in svg and "model1" in svg


# -- Kipoi -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_kipoi_test(composed: Path) -> None:
    done = warm_python.run([sys.executable, Path(sys.executable).with_name("kipoi"), "test", "."], composed)
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "Successfully ran test_predict" in said, said[-2000:]
    warned = [line for line in said.splitlines() if re.search("WARNING|Warning:|mismatch", line)]
    assert not [line for line in warned if "All log messages before absl" not in line], warned


def test_a_changed_example_is_noticed(composed: Path, tmp_path: Path) -> None:
    """The rows that Kipoi reads for its test are those that were predicted."""
    with h5py.File(composed / "example_files" / "model1_model3.h5") as file:
        record = records.read_record(file)
    assert record["model"] == "model1_model3" and record["rows"] == 10
    assert set(record["arguments"]) == {"input1_file", "input2_file"}
