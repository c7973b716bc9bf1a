"""Directories in an environment that has neither Kipoi nor keras_stitch: they give what Kipoi gives here.

The environment is a real one, made once in a session. It has kipoiseq without what pip would bring along with it.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import h5py
import keras
import kipoi
import numpy as np
import pytest
import tensorflow as tf
from kipoi_cases import make_case, write_kind, write_loader
from kipoi_runner import read_h5
from sklearn.linear_model import LinearRegression

import keras_stitch as ks
from keras_stitch.demo import run_demo
from keras_stitch.demo.demo_data import LENGTH, MEASUREMENTS, write_data
from keras_stitch.demo.demo_models import MODELS
from keras_stitch.kipoi.templates import template_module

pytestmark = [pytest.mark.slow, pytest.mark.environments]
EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS = 37
PACKAGES = ["h5py", "pyyaml", "pandas", "joblib", "pyfaidx", "pybedtools", "pyranges", "gffutils", "six", "tqdm"]
PACKAGES += ["deprecation", "kipoi_utils", "kipoi_conda"]
PINNED = [f"{name}=={importlib.metadata.version(name)}" for name in ("keras", "scikit-learn")]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of the environment; processes that test at the same time share it."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    folder, uv = shared / "alone", [sys.executable, "-m", "uv", "-q"]
    python = folder / "bin" / "python"
    with (shared / "alone.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "whole").exists():
            subprocess.run([*uv, "venv", "--clear", "--python", sys.executable, str(folder)], check=True)
            install = [*uv, "pip", "install", "--python", str(python)]
            subprocess.run([*install, f"tensorflow-cpu=={tf.__version__}", *PINNED, *PACKAGES], check=True)
            subprocess.run([*install, "--no-deps", "kipoiseq"], check=True)
            (folder / "whole").touch()
    absent = "import importlib.util as u; print([n for n in ('kipoi', 'keras_stitch') if u.find_spec(n)])"
    assert run(python, "-c", absent).stdout == "[]\n"
    return python


def run(python: Path, *arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    """What a program printed; it starts elsewhere, and no PYTHONPATH leads to this repository."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "KERAS", "TF_"))}
    done = subprocess.run(
        [str(python), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=python.parent,
        timeout=300,
        check=False,
    )
    assert done.returncode == status, f"{done.stdout}\n{done.stderr[-4000:]}"
    return done


def close(found: Any, expected: Any) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape and found.size
    assert np.abs(found - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())


def by_kipoi(directory: Path, arguments: dict[str, Any]) -> dict[str, np.ndarray]:
    """What Kipoi reads and predicts in this process, by the names of the datasets in a file."""
    model = kipoi.get_model(str(directory), source="dir")
    found: dict[str, list[np.ndarray]] = {}
    for batch in model.default_dataloader(**arguments).batch_iter(batch_size=8):
        batch["preds"] = model.predict_on_batch(batch["inputs"])
        for name, array in template_module("kipoi.merging.prediction_file").flat(batch):
            found.setdefault(name, []).append(np.asarray(array))
    return {name: np.concatenate(arrays) for name, arrays in found.items()}


def check_file(file: Path, expected: dict[str, np.ndarray]) -> None:
    """The file has the same datasets; numbers are close, and everything else is equal."""
    found = read_h5(file)
    assert found.keys() == expected.keys()
    for name, array in found.items():
        if array.dtype.kind in "fc":
            close(array, expected[name])
        elif array.dtype.kind == "O":
            assert [text.decode() for text in array.tolist()] == expected[name].astype("U").tolist(), name
        else:
            np.testing.assert_array_equal(array, expected[name])


FIT = """
import importlib, json, sys
import numpy as np

sys.path.insert(0, sys.argv[1])
directory, arguments = importlib.import_module(sys.argv[2]), json.loads(sys.argv[3])
model = directory.model().model
model.compile("sgd", "mse")
losses = []
for workers in (2, 0):
    data = directory.training_data(arguments, batch_size=10, seed=1, workers=workers)
    losses.append(model.fit(data, epochs=1, verbose=0, shuffle=False).history["loss"])
batches = list(directory.predict(arguments, batch_size=10, workers=2))
assert {"preds", "inputs", "metadata"} <= batches[0].keys()
print(json.dumps([losses, [len(batch["preds"]) for batch in batches]]))
"""


def check_training(alone: Path, directory: Path, arguments: dict[str, Any]) -> None:
    """An epoch with two workers and one without, as here by ``ks.training_data``; and the last batch is a short one."""
    printed = run(alone, "-c", FIT, directory.parent, directory.name, json.dumps(arguments)).stdout
    losses, sizes = json.loads(printed.splitlines()[-1])
    model = kipoi.get_model(str(directory), source="dir").model
    model.compile("sgd", "mse")
    for workers, own in zip((2, 0), losses, strict=True):
        data = ks.training_data(directory, arguments, batch_size=10, seed=1, workers=workers)
        close(own, model.fit(data, epochs=1, verbose=0, shuffle=False).history["loss"])
    assert all(size == 10 for size in sizes[:-1]) and 0 < sizes[-1] < 10


def targets(file: Path, ids: list[str] | None, rows: int) -> Path:
    values = np.random.default_rng(0).normal(size=rows)
    names = ids or [f"row{row}" for row in range(rows)]
    lines = [f"{name}\t{value:.4f}\n" for name, value in zip(names, values, strict=True)]
    file.write_text("id\tscore\n" + "".join(lines))
    return file


def test_the_demo(alone: Path, tmp_path: Path) -> None:
    """Sequences by kipoiseq, which takes our classes for those of Kipoi; a table by its ids; four models."""
    data = write_data(tmp_path)
    files = {}
    for name, (called, size, units) in MODELS.items():
        keras.utils.set_random_seed(size)
        x = keras.Input((size,), name=called)
        files[name] = tmp_path / f"{name}.h5"
        keras.Model(x, keras.layers.Dense(units)(x)).save(files[name])
    sequence = ks.Dataloader(
        "kipoiseq.dataloaders.SeqIntervalDl",
        args={"auto_resize_len": LENGTH, "label_dtype": "str", "ignore_targets": True},
    )
    loaders = {"sequence": sequence, "input2": ks.Dataloader(data.loader, outputs={"measurements": "input2"})}
    ids = [line.split("\t")[3].strip() for line in data.intervals.read_text().splitlines()]
    table = targets(tmp_path / "targets.tsv", ids, len(ids))
    directory = run_demo._stitch(files).save(
        tmp_path / "composed", dataloaders=loaders, examples=data.arguments, targets=table
    )
    arguments = {**data.arguments, "targets_file": str(table)}
    expected = by_kipoi(directory, arguments)
    assert {name for name in expected if name.startswith("metadata/")} >= {"metadata/targets/id"}
    assert len(expected["inputs/input2"][0]) == len(MEASUREMENTS)
    given = [f"--{name}={value}" for name, value in arguments.items()]
    for workers in (0, 2):
        output = tmp_path / f"{workers}.h5"
        said = run(alone, directory / "predict.py", *given, "--workers", str(workers), "-o", output, "--keep-inputs")
        assert said.stdout == f"{len(ids)} rows in {output}\n"
        check_file(output, expected)
    check_training(alone, directory, arguments)


def test_a_packed_directory(alone: Path, tmp_path: Path) -> None:
    """scikit-learn on top of Keras; and models of both kinds within the dataloader of a Keras model."""
    loader = write_kind(tmp_path / "zoo", "Dataset", "array")
    keras.utils.set_random_seed(0)
    x = keras.Input((3,), name="x")
    front = keras.Model(x, keras.layers.Dense(4, activation="tanh")(x))
    rng = np.random.default_rng(0)
    line = LinearRegression().fit(rng.normal(size=(20, 4)), rng.normal(size=20))
    graph = ks.Graph("ontop")
    graph.add("front", front)
    graph.add("line", line, shapes=(4,))
    graph.connect("front", "line")
    directory = graph.save(tmp_path / "ontop", dataloaders={"x": loader})
    output = tmp_path / "ontop.h5"
    run(alone, directory / "predict.py", "--count", str(ROWS), "--workers", "2", "-o", output, "--keep-inputs")
    check_file(output, by_kipoi(directory, {"count": ROWS}))

    top = keras.Input((1,), name="top")
    graph.add("top", keras.Model(top, keras.layers.Dense(1)(top)))
    graph.connect("line", "top")
    table = targets(tmp_path / "t.tsv", None, ROWS)
    directory = graph.save(
        tmp_path / "within", dataloaders={"x": loader}, targets=targets(tmp_path / "example.tsv", None, 10)
    )
    arguments = {"count": ROWS, "targets_file": str(table)}
    for workers in (0, 2):
        given = [f"--{name}={value}" for name, value in arguments.items()]
        output = tmp_path / f"within{workers}.h5"
        run(alone, directory / "predict.py", *given, "--workers", str(workers), "-o", output, "--keep-inputs")
        check_file(output, by_kipoi(directory, arguments))
    check_training(alone, directory, arguments)


def test_spliceai(alone: Path, tmp_path: Path) -> None:
    """One of the five published networks, on sequences of 10,100 bases; the targets have no ids."""
    example = runpy.run_path(str(EXAMPLES / "spliceai_ensemble.py"))
    arguments = example["write_example"](tmp_path / "data")
    table = tmp_path / "targets.npy"
    np.save(table, np.eye(3, dtype="float32")[np.random.default_rng(0).integers(3, size=(2, 100))])
    network = files("spliceai").joinpath("models", "spliceai1.h5")
    graph = ks.Graph("spliceai").add("spliceai1", network)
    (port,) = (port.name for port in graph.spec.submodel("spliceai1").inputs)
    graph.add_input("sequence", f"spliceai1.{port}")
    loaders = {"sequence": "kipoiseq.dataloaders.SeqIntervalDl"}
    directory = graph.save(tmp_path / "spliceai", dataloaders=loaders, examples=arguments, targets=str(table))
    arguments["targets_file"] = str(table)
    expected = by_kipoi(directory, arguments)
    assert expected["preds"].shape == (2, 100, 3)
    output = tmp_path / "out.h5"
    given = [f"--{name}={value}" for name, value in arguments.items()]
    run(alone, directory / "predict.py", *given, "--workers", "2", "-o", output, "--keep-inputs")
    check_file(output, expected)
    check_training(alone, directory, arguments)


KILLED = """
import importlib, os, signal, sys, threading, time
import multiprocessing

sys.path.insert(0, sys.argv[1])
directory = importlib.import_module(sys.argv[2])
model = directory.model().model
model.compile("sgd", "mse")
data = directory.training_data(batch_size=1, workers=2)
for child in multiprocessing.active_children():
    os.kill(child.pid, signal.SIGKILL)
try:
    model.fit(data, epochs=1, verbose=0)
except Exception as error:
    print("A worker process that reads rows has died." in str(error))
"""


def test_a_killed_worker_ends_the_training_and_files_of_urls_are_downloaded(alone: Path, tmp_path: Path) -> None:
    loader = write_loader(tmp_path / "zoo", metadata={})
    table = targets(tmp_path / "t.tsv", [str(row) for row in range(5)], 5)
    uploads = tmp_path / "uploads"
    case = make_case(feeds={"model1": {"input1": "input1"}}, inputs={"input1": ((3,), "float32")})
    case.write(
        tmp_path / "composed",
        dataloaders={"input1": loader},
        targets=table,
        hosting=uploads.as_uri(),
    )
    directory = tmp_path / "composed"
    expected = case.model(np.asarray([[row, row / 2, row % 2] for row in range(5)], "float32") + 3)
    for folder in ("model_files", "example_files"):
        (uploads / folder).parent.mkdir(exist_ok=True)
        shutil.move(directory / folder, uploads / folder)
    output = tmp_path / "out.h5"
    assert "the examples" in run(alone, directory / "predict.py", "-o", output).stderr
    with h5py.File(output) as file:
        close(file["preds"][:], expected)
    assert run(alone, "-c", KILLED, tmp_path, "composed").stdout == "True\n"


def test_packages_that_need_kipoi_for_real_say_so(alone: Path, tmp_path: Path) -> None:
    loader = write_kind(tmp_path / "zoo", "Dataset", "array")
    case = make_case(feeds={"model1": {"x": "x"}}, inputs={"x": ((3,), "float32")})
    directory = case.write(tmp_path / "composed", dataloaders={"x": loader})
    (code,) = (directory / "components").glob("*/dataloader.py")
    code.write_text("import kipoi.sources\n" + code.read_text())
    said = run(alone, directory / "predict.py", status=1).stderr
    assert "needs Kipoi, which is not installed" in said and "Fix: pip install kipoi\n" in said
    assert "Traceback" not in said


def test_ctrl_c_leaves_no_file_and_no_worker(alone: Path, tmp_path: Path) -> None:
    loader = write_kind(tmp_path / "zoo", "Dataset", "array")
    case = make_case(feeds={"model1": {"x": "x"}}, inputs={"x": ((3,), "float32")})
    directory = case.write(tmp_path / "composed", dataloaders={"x": loader})
    (code,) = (directory / "components").glob("*/dataloader.py")
    slow = "import os, time\n" + code.read_text().replace("def __getitem__(self, index):\n", SLOW)
    assert slow.count("time.sleep") == 1
    code.write_text(slow)
    command = [str(alone), str(directory / "predict.py"), "--count=9", "--workers=2", "--batch-size=1"]
    folder = tmp_path / "out"
    folder.mkdir()
    running = subprocess.Popen([*command, "-o", str(folder / "x.h5")], stderr=subprocess.PIPE, start_new_session=True)
    noted = directory / "started"
    while not noted.exists() and running.poll() is None:
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130 and b"interrupted" in said and b"Traceback" not in said
    assert not list(folder.iterdir())
    with pytest.raises(ProcessLookupError):  # soon nothing of its session is left
        for _ in range(100):
            os.killpg(running.pid, 0)
            time.sleep(0.1)


SLOW = """def __getitem__(self, index):
        if index == 5:
            open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "started"), "w").close()
            time.sleep(1000)
"""
