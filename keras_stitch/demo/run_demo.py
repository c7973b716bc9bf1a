"""The demo's steps, each as a user would write it, and the checks on what came out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import keras_stitch as ks
from keras_stitch import directory_layout as layout
from keras_stitch.demo.demo_data import LENGTH, DemoData, write_data
from keras_stitch.demo.demo_models import MODELS
from keras_stitch.errors import SaveError, StitchError
from keras_stitch.files.hdf5_files import open_hdf5
from keras_stitch.files.new_files import disk_errors
from keras_stitch.kipoi.run_directory import opened
from keras_stitch.verify.equality import TOLERANCE, compare

_MARK = ".keras-stitch-demo"
_STEPS = 7


def run_demo(output: Path) -> Path:
    """Stitch four saved models, write and test the Kipoi directory, train it on a new target.

    Args:
        output: A folder that does not exist, is empty, or was written by the demo before.

    Returns:
        The Kipoi directory.

    Raises:
        StitchError: If the folder holds something else, or a check fails.
    """
    output = _fresh(output.absolute())
    progress_console, passed = Console(stderr=True), list[str]()
    columns = (TextColumn("{task.description:<58}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=progress_console, disable=not progress_console.is_terminal) as progress:
        task = progress.add_task("", total=_STEPS)

        def step(text: str) -> None:
            progress.update(task, description=text)

        def check(text: str, holds: bool) -> None:
            if not holds:
                raise StitchError(f"The demo's check failed: {text}.")
            passed.append(text)
            progress.advance(task)

        step("saving four models in four processes")
        files = _save_models(output / "models")
        all_have_dense = all(map(_has_dense, files.values()))
        check("four models saved in four processes, each with a layer called 'dense'", all_have_dense)
        step("stitching them")
        data = write_data(output)
        graph = _stitch(files)
        stitched = graph.build()
        difference = _difference_from_parts(stitched, files)
        check(f"stitched = the parts one after another (largest difference {difference:.1e})", difference <= TOLERANCE)
        directory = _save(graph, output, data, lambda text: step(f"writing composed/: {text}"))
        picture = graph.plot(output / "composed.png")
        check("the Kipoi directory loads again and predicts the same", True)
        step("kipoi test")
        _kipoi(["test", "."], directory)
        check("kipoi test: the predictions match the expected ones", True)
        step("kipoi predict with 2 workers")
        check("kipoi predict -n 2 = Keras on the same inputs", _predict(directory, data, output / "predictions.h5"))
        step("training on a new target")
        before, after, kept = _train(stitched, directory, data)
        check(f"trained on a new target: loss {before:.3f} -> {after:.3f}, frozen weights untouched", kept)
        step("saving the trained model")
        trained = _save(graph, output, data, lambda text: step(f"writing trained/: {text}"), stitched)
        check("the trained model saved as a Kipoi directory of its own", (trained / layout.MODEL_YAML).is_file())
        step("done")
    written = {
        directory: "the Kipoi directory: cd into it, `kipoi test .`",
        trained: "the same after training",
        output / "predictions.h5": "what `kipoi predict` wrote",
        picture: "the picture",
    }
    _print_results(passed, output, written)
    return directory


def _print_results(passed: Sequence[str], output: Path, written: Mapping[Path, str]) -> None:
    where = os.path.relpath(output)
    lines = ["", "Checks that passed:", *(f"  ok  {text}" for text in passed), "", f"Written to {where}:"]
    lines += [f"  {path.relative_to(output).as_posix():<18}{text}" for path, text in written.items()]
    console = Console()
    for line in lines:
        console.print(line, markup=False, highlight=False)


def _fresh(output: Path) -> Path:
    if output.exists() and not output.is_dir():
        raise SaveError(f"'{output}' is a file.", expected="a folder for the demo")
    if output.is_dir() and any(output.iterdir()):
        if not (output / _MARK).exists():
            raise SaveError(
                f"'{output}' holds something that the demo did not write.", fix="Give an empty folder: -o FOLDER."
            )
        shutil.rmtree(output)
    with disk_errors(output):
        output.mkdir(parents=True, exist_ok=True)
        (output / _MARK).touch()
    return output


def _save_models(folder: Path) -> dict[str, Path]:
    folder.mkdir()
    files = {name: folder / f"{name}.h5" for name in MODELS}

    def save(name: str) -> None:
        _process([sys.executable, "-m", "keras_stitch.demo.demo_models", name, str(files[name])])

    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(save, MODELS))
    return files


def _stitch(files: dict[str, Path]) -> ks.Graph:
    """The graph of Kipoi's notebook on composing models, behind a DNA sequence."""
    graph = ks.Graph("composed")
    # How often A, C and G occur in a sequence is what model1 calls input1.
    graph.add("composition", keras.layers.GlobalAveragePooling1D())
    graph.add_input("sequence", "composition", shape=(LENGTH, 4))
    for name, path in files.items():
        graph.add(name, path)
    graph.connect("composition[0:3]", "model1")
    graph.connect(["model1", "model1.input1"], "model2")
    graph.connect(["model2", "model3"], "model4")
    return graph.freeze("model1", "model3")


def _difference_from_parts(stitched: keras.Model, files: dict[str, Path]) -> float:
    """Run the four files one after another in NumPy, and compare."""
    rng = np.random.default_rng(1)
    sequence = np.eye(4, dtype="float32")[rng.integers(4, size=(16, LENGTH))]
    input2 = rng.normal(size=(16, 6)).astype("float32")
    parts = {name: keras.saving.load_model(path, compile=False) for name, path in files.items()}

    def run(name: str, x: np.ndarray) -> np.ndarray:
        result = parts[name](x)
        return np.asarray(result[0] if isinstance(result, list) else result)

    input1 = sequence.mean(axis=1)[:, :3]
    model2 = run("model2", np.concatenate([run("model1", input1), input1], axis=-1))
    expected = run("model4", np.concatenate([model2, run("model3", input2)], axis=-1))
    return float(np.abs(np.asarray(stitched({"sequence": sequence, "input2": input2})) - expected).max())


def _save(
    graph: ks.Graph, output: Path, data: DemoData, step: Callable[[str], None], trained: keras.Model | None = None
) -> Path:
    return graph.save(
        output / ("composed" if trained is None else "trained"),
        model=trained,
        dataloaders={
            "sequence": ks.Dataloader(
                "kipoiseq.dataloaders.SeqIntervalDl",
                # kipoiseq would read the names in the BED file as targets.
                args={"auto_resize_len": LENGTH, "label_dtype": "str", "ignore_targets": True},
            ),
            "input2": ks.Dataloader(data.loader, outputs={"measurements": "input2"}),
        },
        examples=data.arguments,
        info={"authors": [{"name": "keras_stitch contributors"}], "doc": "Four models, stitched by the demo."},
        progress=step,
    )


def _has_dense(path: Path) -> bool:
    with open_hdf5(path) as file:
        return "dense" in file["model_weights"]


def _predict(directory: Path, data: DemoData, output: Path) -> bool:
    arguments = json.dumps(data.arguments)
    command = ["predict", ".", "--source", "dir", "--dataloader_args", arguments, "-n", "2", "-k", "-o", str(output)]
    _kipoi(command, directory)
    model = keras.saving.load_model(directory / layout.model_file("keras"), compile=False)
    with open_hdf5(output) as file:
        inputs = {name: file["inputs"][name][:] for name in file["inputs"]}
        predicted = file["preds"][:]
    expected = model.predict(inputs, verbose=0)
    return compare(predicted, expected).equal


def _train(model: keras.Model, directory: Path, data: DemoData) -> tuple[float, float, bool]:
    """Fit the stitched model to the share of G and C in each sequence, through the written dataloader."""
    inputs = _load_inputs(directory, data)
    target = inputs["sequence"][:, :, 1:3].sum(axis=(1, 2)) / LENGTH
    frozen = [weights for name in ("model1", "model3") for weights in model.get_layer(name).get_weights()]
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
    history = model.fit(inputs, target[:, None], batch_size=16, epochs=30, verbose=0).history["loss"]
    now = [weights for name in ("model1", "model3") for weights in model.get_layer(name).get_weights()]
    same = all(np.array_equal(old, new) for old, new in zip(frozen, now, strict=True))
    return history[0], history[-1], same and history[-1] < history[0]


def _load_inputs(directory: Path, data: DemoData) -> dict[str, Any]:
    loader = opened(directory).dataloader(**data.arguments)
    batches = list(loader.batch_iter(batch_size=16))
    return {name: np.concatenate([batch["inputs"][name] for batch in batches]) for name in ("sequence", "input2")}


def _kipoi(arguments: Sequence[str], directory: Path) -> None:
    _process([sys.executable, "-m", "keras_stitch.kipoi.kipoi_command", *arguments], cwd=directory)


def _process(command: Sequence[str], cwd: Path | None = None) -> None:
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise StitchError(f"'{' '.join(command[1:4])} ...' failed:\n{done.stderr[-2000:]}")
