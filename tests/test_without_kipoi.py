"""The package in an environment that has no Kipoi: what works there, equal to what Kipoi gives, and what says so."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import keras
import kipoi
import kipoi_runner
import pytest
from kipoi_cases import write_loader
from python_without import ROOT, PythonWithout

from keras_stitch.verify.equality import compare

# Writes two directories, trains on one, stores its rows, and says what cannot be had.
PROGRAM = """
import importlib.util
import json

import numpy as np
from sklearn.linear_model import LinearRegression

import keras_stitch as ks

assert importlib.util.find_spec("kipoi") is None
found = {}
graph = ks.Graph("composed").add("a", "a.keras").add("b", "b.h5").connect("a", "b")
assert graph.verify().passed
found["plan"] = [place.placement for place in graph.plan()]
model = graph.build()
graph.plot("graph.svg")
np.save("y.npy", np.arange(5.0, dtype="float32")[:, None])
graph.save("composed", dataloaders={"x": "numbers"}, targets="y.npy")
estimator = LinearRegression().fit(np.eye(2), [1.0, 2.0])
ks.Graph("packed").add("a", "a.keras").add("e", estimator, shapes=(2,)).connect("a", "e").save(
    "packed", dataloaders={"x": "numbers"}
)
found["run_by"] = json.load(open("composed/certificate.json"))["run_by"]

arguments = {"numbers_file": "numbers/example.tsv", "targets_file": "y.npy"}
data = ks.training_data("composed", arguments, batch_size=2, shuffle=False, workers=1)
stored = ks.training_data(ks.precompute("composed", arguments, "rows.h5"), batch_size=2, shuffle=False)
for key, rows in (("batches", data), ("stored", stored)):
    found[key] = [[inputs["x"].tolist(), targets.tolist()] for inputs, targets in (rows[step] for step in range(3))]
model.compile("adam", "mse")
model.fit(data, verbose=0)

for name, call in {
    "zoo": lambda: ks.Graph("zoo").add("m", "kipoi:DeepSEA/predict"),
    "loader": lambda: graph.save("other", dataloaders={"x": "kipoi:DeepSEA"}),
    "rows": lambda: ks.training_data("kipoi:DeepSEA", {}),
    "class": lambda: graph.save("other", dataloaders={"x": "kipoiseq.dataloaders.SeqIntervalDl"}),
}.items():
    try:
        call()
    except ks.StitchError as error:
        found[name] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> PythonWithout:
    return PythonWithout(tmp_path_factory.mktemp("environments") / "no_kipoi")


@pytest.fixture(scope="module")
def made(tmp_path_factory, python) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("without")
    keras.utils.set_random_seed(0)
    x, y = keras.Input((3,), name="x"), keras.Input((2,), name="y")
    keras.Model(x, keras.layers.Dense(2, name="first")(x)).save(folder / "a.keras")
    keras.Model(y, keras.layers.Dense(1, name="second")(y)).save(folder / "b.h5")
    write_loader(folder / "numbers")
    (folder / "program.py").write_text(PROGRAM)
    done = python.run(["program.py"], folder)
    return folder, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_directories_that_are_written_without_kipoi_are_its_own(made):
    folder, found = made
    assert found["plan"] == ["model", "model"]
    assert found["run_by"] == ["its own code"]
    for name in ("composed", "packed"):
        predicted = kipoi_runner.in_process(folder / name)[""]
        stored = kipoi_runner.read_h5(folder / name / "model_files" / "expected.h5")["preds"]
        assert compare(predicted.reshape(stored.shape), stored).equal


@pytest.mark.slow
def test_the_command_predicts_the_same(made, python):
    folder, _ = made
    arguments = ["-a", "numbers_file=numbers/example.tsv"]
    command = ["-c", "from keras_stitch.cli import main; main()", "predict", "composed", *arguments, "-o", "own.h5"]
    python.run(command, folder)
    given = {"numbers_file": str(folder / "numbers/example.tsv")}
    expected = kipoi_runner.kipoi_predict(folder / "composed", given, folder / "kipois.h5")
    found = kipoi_runner.read_h5(folder / "own.h5")
    assert compare(found["preds"], expected["preds"]).equal
    assert [row.decode() for row in found["metadata/a/row"]] == ["0", "1", "2", "3", "4"]


@pytest.mark.slow
def test_rows_to_train_on_are_those_that_kipoi_gives(made):
    folder, found = made
    loader = kipoi.get_dataloader_factory(str(folder / "composed"), source="dir")
    arguments = {"numbers_file": str(folder / "numbers/example.tsv"), "targets_file": str(folder / "y.npy")}
    batches = list(loader(**arguments).batch_iter(batch_size=2))
    expected = [[batch["inputs"]["x"].tolist(), batch["targets"].tolist()] for batch in batches]
    assert found["batches"] == found["stored"] == expected


@pytest.mark.slow
def test_what_needs_kipoi_says_so(made):
    _, found = made
    fix = "  Fix: pip install 'keras_stitch[kipoi]'"
    missing = f"  Expected: the package kipoi\n  Received: it is not installed\n{fix}"
    assert found["zoo"] == f"'kipoi:DeepSEA/predict', a model of one of Kipoi's sources, needs Kipoi.\n{missing}"
    for name in ("loader", "rows"):
        assert found[name] == f"'kipoi:DeepSEA', a dataloader of one of Kipoi's sources, needs Kipoi.\n{missing}"
    assert found["class"] == (
        "The dataloader 'kipoiseq.dataloaders.SeqIntervalDl' cannot be imported.\n"
        f"  Received: No module named 'kipoiseq'\n{fix}"
    )


@pytest.mark.parametrize("folder", ["keras_stitch", "model_templates"])
def test_only_one_package_imports_kipoi(folder):
    """What generated directories hold takes Kipoi's classes in two places, where Kipoi is there."""
    allowed = {
        "keras_stitch": {
            "kipoi/component.py",
            "kipoi/kipoi_command.py",
            "kipoi/model_sources.py",
            "kipoi/run_kipoi.py",
        },
        "model_templates": {"kipoi/merging/dataloader_kinds.py", "kipoi/merging/model_kinds.py"},
    }
    # The classes beside merging/ are loaded by Kipoi, or find stand-ins under its names.
    importing = {
        path.relative_to(ROOT / folder).as_posix()
        for path in (ROOT / folder).rglob("*.py")
        if {"kipoi", "kipoi_utils"} & set(_imported(path))
    }
    loaded_by_name = {name for name in importing if name.count("/") == 1 and name.startswith("kipoi/")}
    assert (
        importing - (loaded_by_name if folder == "model_templates" else set()) - {"demo/dataloader.py"}
        == allowed[folder]
    )


@pytest.mark.slow
def test_a_graph_does_not_import_it(tmp_path):
    code = "import sys, keras_stitch as ks; ks.Graph('g').add('m', 'm.keras').build(); print('kipoi' in sys.modules)"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "m.keras")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def _imported(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append((node.module or "").partition(".")[0])
    return found
