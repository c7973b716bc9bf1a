"""How long building, saving and loading take for 10, 50 and 100 submodels.

    python benchmarks/scaling.py

Prints seconds, the smallest of three runs for each step, and beside them the time for each submodel as a
ratio to that at 10 submodels: 1.0 throughout is linear. The submodels are saved files, all with the same
layer names, that share one graph input; their outputs are averaged.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
from rich.progress import track

import keras_stitch as ks
from keras_stitch.tables import render

STEPS = ("add", "build", "save .keras", "load .keras", "save .h5", "load .h5")


def write_models(folder: Path, count: int) -> list[Path]:
    """Small convolutional networks of four layers, every one with the same names."""
    paths = []
    for number in range(count):
        inputs = keras.Input((100, 4), name="sequence")
        x = keras.layers.Conv1D(16, 8, activation="relu", name="conv")(inputs)
        x = keras.layers.GlobalMaxPooling1D(name="pool")(x)
        outputs = keras.layers.Dense(1, name="dense")(x)
        path = folder / f"part{number}.h5"
        keras.Model(inputs, outputs, name="model").save(path)
        paths.append(path)
    return paths


def measure(paths: list[Path], folder: Path) -> dict[str, float]:
    """Seconds of every step, once."""
    keras.utils.clear_session()
    gc.collect()
    seconds: dict[str, float] = {}

    def timed(step: str, run: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = run()
        seconds[step] = time.perf_counter() - start
        return result

    graph = timed("add", lambda: ks.ensemble({path.stem: path for path in paths}))
    model = timed("build", graph.build)
    for ending in (".keras", ".h5"):
        path = folder / f"stitched{ending}"
        timed(f"save {ending}", lambda path=path: model.save(path))
        timed(f"load {ending}", lambda path=path: keras.saving.load_model(path, compile=False))
    return seconds


def main(counts: list[int], repeats: int) -> str:
    """Measure, and return the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_models(folder, max(counts))
        measure(paths[: min(counts)], folder)  # warms up
        runs = [count for _ in range(repeats) for count in counts]
        best: dict[int, dict[str, float]] = {}
        for count in track(runs, description="measuring", transient=True):
            seconds = measure(paths[:count], folder)
            old = best.get(count, seconds)
            best[count] = {step: min(old[step], seconds[step]) for step in STEPS}
    rows = []
    for step in STEPS:
        unit = best[counts[0]][step] / counts[0]
        cells = [f"{best[count][step]:.2f} ({best[count][step] / count / unit:.2f})" for count in counts]
        rows.append((step, *cells))
    return render(("seconds (for each submodel, ratio)", *map(str, counts)), rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 50, 100])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(main(options.counts, options.repeats))
