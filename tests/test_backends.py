"""The same graphs on every backend of Keras: the tests of building run on each, and files go from one to another."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import toy_models
from backends import only_on

import keras_stitch as ks
from keras_stitch.models.save_keras import save_model

TESTS = Path(__file__).parent
BACKENDS = ("tensorflow", "jax", "torch")
ELSEWHERE = BACKENDS[1:]
on_tensorflow = only_on("tensorflow", why="these start the other backends themselves")
FEWEST = 290

STITCH = """
import keras, numpy as np
import keras_stitch as ks

graph = ks.Graph("stitched")
graph.add("words", "masked_tokens.h5").add("reads", "two_way.keras").add("before", "variable.h5")
graph.add("after", "recurrent.h5").add("norm", "functional.keras").add("pair", "two_inputs.h5")
graph.share("again", of="norm").add("mean", keras.layers.GlobalAveragePooling1D())
graph.connect(["words", "reads"], "before", merge="average").connect("before", "after").connect("after", "norm")
graph.connect(["norm"], "pair.a").connect("after[1:3]", "pair.b").connect("before", "mean")
graph.add_output("score", "pair").add_output("again", "again").add_output("means", "mean").freeze("reads")
"""
LOAD = """
import sys
from pathlib import Path
import keras, numpy as np

assert keras.backend.backend() == sys.argv[1]
with np.load("inputs.npz") as arrays:
    inputs = {name: arrays[name] for name in arrays.files}
for path in map(Path, sys.argv[2:]):
    model = keras.saving.load_model(path, compile=False)
    found = model([inputs[tensor.name] for tensor in model.inputs], training=False)
    np.savez(f"{path}.on_{sys.argv[1]}.npz", **{name: keras.ops.convert_to_numpy(one) for name, one in found.items()})
assert not any(name.startswith("keras_stitch") for name in sys.modules)
"""
# TensorFlow cannot be imported where this runs, by us or by Keras.
WITHOUT_TENSORFLOW = f"""
import importlib.machinery, sys


class Missing:
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name == "tensorflow" else None

    def create_module(self, spec):
        raise ImportError(spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.insert(0, Missing())
{STITCH}
from pathlib import Path

from kipoi.data import Dataset

from keras_stitch.models.save_keras import save_model

model = graph.build()
for ending in ("keras", "h5"):
    save_model(model, Path(f"{{sys.argv[1]}}.{{ending}}"))
frozen = model.get_layer("reads").get_weights()
with np.load("inputs.npz") as arrays:
    inputs = {{name: arrays[name] for name in arrays.files}}


class Rows(Dataset):
    def __len__(self):
        return len(inputs["tokens"])

    def __getitem__(self, index):
        targets = {{name: np.ones(one.shape[1:], "float32") for name, one in model.output.items()}}
        return {{"inputs": {{name: array[index] for name, array in inputs.items()}}, "targets": targets}}

model.compile(keras.optimizers.Adam(0.01), dict.fromkeys(model.output, "mse"))
history = model.fit(ks.training_data(Rows, batch_size=2, seed=0), epochs=5, verbose=0).history["loss"]
assert history[-1] < history[0]
assert all(map(np.array_equal, frozen, model.get_layer("reads").get_weights()))
certificate = graph.verify(inputs, model=model)
print(graph.summary(), graph.plan(), certificate, sep="\\n", file=sys.stderr)
assert certificate.passed
graph.plot("graph.svg")
graph.to_yaml("stitch.yaml")
assert ks.Graph.from_yaml("stitch.yaml").build().count_params() == model.count_params()
save_model(model, Path(f"{{sys.argv[1]}}_trained.keras"))
try:
    graph.save("composed", model=model)
except ks.StitchError as error:
    print(error)
assert not Path("composed").exists()
"""
NAMES = {"jax": "JAX", "torch": "PyTorch"}


def environment(backend: str, folder: Path) -> dict[str, str]:
    """What a process on a backend is started with: nothing of the pytest that runs this.

    JAX keeps in the folder what it compiled: most models are of the same few operations.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "HYPOTHESIS_"))}
    # Most of JAX's time would go into compiling what then runs once.
    own |= {"KERAS_BACKEND": backend, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    own |= {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return {**own, "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}


def python(backend: str, folder: Path, script: str, *args: Any) -> str:
    """What a script prints in a process of its own."""
    command = [sys.executable, "-c", script, *map(str, args)]
    done = subprocess.run(
        command, cwd=folder, env=environment(backend, folder), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parts that ``STITCH`` takes, and inputs for it."""
    place = tmp_path_factory.mktemp("backends")
    kinds = {"masked_tokens": "h5", "two_way": "keras", "variable": "h5", "recurrent": "h5", "functional": "keras"}
    for seed, (kind, ending) in enumerate({**kinds, "two_inputs": "h5"}.items()):
        toy_models.save(toy_models.in_memory(kind, seed), place / f"{kind}.{ending}")
    rng = np.random.default_rng(0)
    rows = {"tokens": rng.integers(0, toy_models.TOKENS, (6, toy_models.STEPS)).astype("int32")}
    rows["sequence"] = rng.normal(0, 1, (6, toy_models.STEPS, 3)).astype("float32")
    rows["x"] = rng.normal(0, 1, (6, 4)).astype("float32")
    np.savez(place / "inputs.npz", **rows)
    return place


@contextmanager
def stitched(folder: Path) -> Iterator[ks.Graph]:
    """The graph that ``STITCH`` makes, in this process and in the folder, where its parts are."""
    namespace: dict[str, Any] = {}
    with chdir(folder):
        exec(STITCH, namespace)
        yield namespace["graph"]


@pytest.fixture(scope="module")
def said(folder: Path) -> dict[str, str]:
    """What each backend prints while it does all that it can; the files that every one built are in the folder."""
    with stitched(folder) as graph:
        for ending in ("keras", "h5"):
            save_model(graph.build(), Path(f"tensorflow.{ending}"))
    return {backend: python(backend, folder, WITHOUT_TENSORFLOW, backend) for backend in ELSEWHERE}


@pytest.mark.backends
def test_the_backend_is_the_one_that_was_asked_for() -> None:
    assert keras.backend.backend() == os.environ.get("KERAS_BACKEND", "tensorflow")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ELSEWHERE)
def test_what_has_to_hold_everywhere_holds(backend: str, tmp_path: Path) -> None:
    """The tests that are marked with ``backends``, by a pytest of their own; their parameters take turns."""
    files = [file for file in sorted(TESTS.glob("**/test_*.py")) if "mark.backends" in file.read_text(encoding="utf-8")]
    report, turn = tmp_path / "report.xml", f"{ELSEWHERE.index(backend)}/{len(ELSEWHERE)}"
    command = [sys.executable, "-m", "pytest", "-m", "backends and not fresh_process", "-p", "no:cacheprovider"]
    command += ["-p", "no:xdist", "-q", "--tb=short", f"--junitxml={report}", *map(str, files)]
    done = subprocess.run(
        command,
        cwd=TESTS.parent,
        env=environment(backend, tmp_path) | {"HYPOTHESIS_PROFILE": "few", "TESTS_IN_TURN": turn},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    cases = list(ET.parse(report).getroot().iter("testcase"))
    passed = {case.get("name") for case in cases if not len(case.findall("*"))}
    assert "test_the_backend_is_the_one_that_was_asked_for" in passed
    assert "test_predicts_what_the_parts_predict" in passed
    assert sum(not len(case.findall("*")) for case in cases) >= FEWEST


@pytest.mark.slow
@on_tensorflow
@pytest.mark.usefixtures("said")
def test_a_file_predicts_the_same_on_every_backend(folder: Path) -> None:
    files = [f"{backend}.{ending}" for backend in BACKENDS for ending in ("keras", "h5")]
    for backend in BACKENDS:
        python(backend, folder, LOAD, backend, *files)
    with np.load(folder / "tensorflow.keras.on_tensorflow.npz") as stored:
        wanted = {name: stored[name] for name in stored.files}
    assert set(wanted) == {"score", "again", "means"} and all(np.ptp(array) > 0.01 for array in wanted.values())
    for file in files:
        for backend in BACKENDS:
            with np.load(folder / f"{file}.on_{backend}.npz") as found:
                assert set(found.files) == set(wanted)
                for name, want in wanted.items():
                    difference = np.max(np.abs(found[name] - want))
                    assert difference <= 1e-5 * max(1, np.max(np.abs(want))), (file, backend, name, difference)


@pytest.mark.slow
@on_tensorflow
@pytest.mark.parametrize("backend", ELSEWHERE)
def test_everything_but_a_directory_without_tensorflow(backend: str, folder: Path, said: dict[str, str]) -> None:
    """Built, verified, trained, drawn, written down and saved; ``graph.save`` says what it needs, before it writes."""
    assert said[backend] == (
        "The Kipoi directory 'composed' cannot be written: Kipoi runs Keras models on TensorFlow, and here Keras runs "
        f"on {NAMES[backend]}.\n"
        "  Expected: KERAS_BACKEND=tensorflow\n"
        f"  Received: KERAS_BACKEND={backend}\n"
        "  Fix: Write it in a process with KERAS_BACKEND=tensorflow; for a trained model, "
        'model.save("trained.keras") here, and there graph.save(..., '
        'model=keras.saving.load_model("trained.keras")).\n'
    )
    # What was trained there is a model of the same graph on TensorFlow.
    with stitched(folder) as graph:
        assert graph.verify(model=keras.saving.load_model(f"{backend}_trained.keras")).passed
