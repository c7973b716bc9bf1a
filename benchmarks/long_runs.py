"""Runs of 100,000 batches: whether memory, open files and threads stay as they are, and how time grows.

    python benchmarks/long_runs.py NAME FOLDER FIGURES.json

Each run has a process of its own; what it starts counts as well. Batches have four rows, so that what comes with each
batch shows. A run of a quarter of the batches comes first, with which the time is compared.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import psutil

BATCHES = 100_000
ROWS = 4
_WIDTHS = {"a": 3, "b": 2, "targets": 1}
_SECONDS = 0.5
# What is opened, traced and filled before a run is under way is no growth.
_WARM = 0.2
_SCRIPTS = Path(__file__).parents[1] / "model_templates" / "workflow" / "scripts"
Inputs = dict[str, str]


def directory(folder: Path) -> Path:
    """A generated directory with two inputs, of which one has a frozen part behind it."""
    import keras

    import keras_stitch as ks

    made = folder / "composed"
    if not made.is_dir():

        def model(width: int) -> keras.Model:
            return keras.Sequential([keras.Input((width,)), keras.layers.Dense(2)])

        graph = ks.Graph("composed").add("one", model(_WIDTHS["a"])).add("other", model(_WIDTHS["b"]))
        graph.add("last", model(4)).connect(["one", "other"], "last").freeze("one")
        graph.add_input("a", "one").add_input("b", "other")
        np.save(folder / "targets.npy", np.zeros((32, 2), "float32"))
        graph.save(made, targets=folder / "targets.npy")
    return made


def inputs(folder: Path, batches: int) -> Inputs:
    """The dataloader arguments: files with four rows for each batch."""
    found = {}
    for name, width in _WIDTHS.items():
        path = folder / f"{name}_{batches}.npy"
        if not path.is_file():
            width = 2 if name == "targets" else width
            np.save(path, np.random.default_rng(0).random((batches * ROWS, width), "float32"))
        found[f"{name}_file"] = str(path)
    return found


def dataloader(folder: Path, batches: int) -> None:
    """The generated dataloader's own batches, as Kipoi reads them with two workers."""
    import kipoi

    loader = kipoi.get_dataloader_factory(str(directory(folder)), source="dir")(**inputs(folder, batches))
    read = sum(1 for _ in loader.batch_iter(batch_size=ROWS, num_workers=2))
    assert read == batches, read


def training(folder: Path, batches: int) -> None:
    """``model.fit`` on a directory's dataloader, with two processes that read."""
    import keras

    import keras_stitch as ks

    made = directory(folder)
    data = ks.training_data(made, inputs(folder, batches), batch_size=ROWS, workers=2)
    _fit(keras.saving.load_model(made / "model_files" / "model.keras"), data, batches)


def precomputing(folder: Path, batches: int) -> None:
    """``ks.precompute`` of a directory's dataloader, with two processes that read."""
    import keras_stitch as ks

    path = _features(folder, batches)
    path.unlink(missing_ok=True)
    ks.precompute(directory(folder), inputs(folder, batches), path, batch_size=ROWS, workers=2, progress=_silent)


def training_on_features(folder: Path, batches: int) -> None:
    """``model.fit`` on rows that were precomputed, with two threads that read."""
    import keras

    import keras_stitch as ks

    path = _features(folder, batches)
    if not path.is_file():
        options: dict[str, Any] = {"batch_size": 1024, "progress": _silent}
        ks.precompute(directory(folder), inputs(folder, batches), path, **options)
    data = ks.training_data(path, batch_size=ROWS, workers=2)
    _fit(keras.saving.load_model(directory(folder) / "model_files" / "model.keras"), data, batches)


def predicting(folder: Path, batches: int) -> None:
    """``keras-stitch predict`` of a directory into an HDF5 file."""
    _predict(folder, batches, 0)


def predicting_with_workers(folder: Path, batches: int) -> None:
    """The same with two processes that read."""
    _predict(folder, batches, 2)


def joining_pieces(folder: Path, batches: int) -> None:
    """A workflow's script that joins two files with predictions: 32 rows for each batch, as it takes few seconds."""
    command = [sys.executable, str(_SCRIPTS / "combine.py"), "--model", str(folder / "model")]
    pieces = map(str, _pieces(folder, batches))
    subprocess.run([*command, "--pieces", *pieces, "--output", str(folder / "joined.h5")], check=True)


_RUNS = (dataloader, training, precomputing, training_on_features, predicting, predicting_with_workers, joining_pieces)
RUNS: dict[str, Callable[[Path, int], None]] = {run.__name__: run for run in _RUNS}


def _features(folder: Path, batches: int) -> Path:
    return folder / f"features_{batches}.h5"


def _pieces(folder: Path, batches: int) -> list[Path]:
    """Files as the script that predicts writes them: numbers and ids of rows, and 16 numbers for each."""
    import h5py

    from keras_stitch.files.read_files import load_python

    results = load_python(_SCRIPTS / "results.py")
    made, rows, paths = folder / "model", 32 * batches, []
    if not made.is_dir():  # what the scripts need of the directory of a model
        shutil.copytree(_SCRIPTS.parents[1] / "kipoi" / "merging", made / "merging")
        (made / "sha256.json").write_text("{}", encoding="utf-8")
    for begin, end in ((0, rows // 2), (rows // 2, rows)):
        paths.append(folder / f"piece_{begin}_{end}.h5")
        if paths[-1].is_file():
            continue
        with h5py.File(paths[-1], "w") as file:
            for name, shape, dtype in (("number", (), "int64"), ("id", (), "S8"), ("y", (16,), "float32")):
                path = f"preds/{name}" if shape else f"rows/{name}"
                results.create(file, path, end - begin, shape, np.dtype(dtype))
            for start, stop in results.blocks(end - begin, 80):
                numbers = np.arange(begin + start, begin + stop)
                file["rows/number"][start:stop], file["rows/id"][start:stop] = numbers, numbers.astype("S8")
                file["preds/y"][start:stop] = np.random.default_rng(start).random((stop - start, 16), "float32")
            piece = results.made_from(made, {}, {}) | {"start": begin, "stop": end, "rows": rows}
            file.attrs["piece"] = json.dumps(piece)
    return paths


def _fit(model: Any, data: Any, batches: int) -> None:
    model.compile("sgd", "mse")
    assert len(data) == batches, len(data)
    model.fit(data, verbose=0)


def _predict(folder: Path, batches: int, workers: int) -> None:
    from keras_stitch.workflow.predict_directory import predict

    arguments = {name: path for name, path in inputs(folder, batches).items() if name != "targets_file"}
    predict(directory(folder), folder / "predicted.h5", arguments=arguments, batch_size=ROWS, workers=workers)


def _silent(words: str) -> None:
    del words


# -- measuring ---------------------------------------------------------------


class Watch:
    """Looks at this process and those that it started, twice a second.

    Attributes:
        samples: Processes, memory in MiB (that of mapped files included), open files and threads, each time.
        seconds: Of the processor, by process, at last.
    """

    def __init__(self) -> None:
        self.samples: list[tuple[int, float, int, int]] = []
        self.seconds: dict[int, float] = {}
        self._own = psutil.Process()

    def look(self) -> None:
        """Take a sample."""
        memory, files, threads = 0.0, 0, 0
        processes = [self._own, *self._own.children(recursive=True)]
        for process in processes:
            with contextlib.suppress(psutil.Error):
                memory += process.memory_info().rss / 2**20
                files += process.num_fds()
                threads += process.num_threads()
                self.seconds[process.pid] = sum(process.cpu_times()[:2])
        self.samples.append((len(processes), memory, files, threads))

    @contextlib.contextmanager
    def during(self) -> Iterator[None]:
        """Look as long as this lasts."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_SECONDS):
                self.look()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.seconds[self._own.pid] = sum(self._own.cpu_times()[:2])


def growth(values: list[float]) -> float:
    """How much more there is in the last fifth of a run than in the first one after the start; medians."""
    start, fifth = int(len(values) * _WARM), max(1, len(values) // 5)
    return statistics.median(values[-fifth:]) - statistics.median(values[start : start + fifth])


def measured(name: str, folder: Path, batches: int) -> dict[str, float]:
    """Runs it here: seconds of the processor, and how memory, open files and threads grew."""
    if name == "joining_pieces":
        _pieces(folder, batches)
    else:
        directory(folder)
        inputs(folder, batches)
    before, start, watch = sum(psutil.Process().cpu_times()[:2]), time.monotonic(), Watch()
    with watch.during():
        RUNS[name](folder, batches)
    elapsed = time.monotonic() - start
    # Not while processes that read are started or have ended.
    most = statistics.mode(processes for processes, *_ in watch.samples)
    samples = [found for processes, *found in watch.samples if processes == most]
    memory, files, threads = (list(map(float, values)) for values in zip(*samples, strict=True))
    return {
        "seconds": sum(watch.seconds.values()) - before,
        "batches per second": batches / elapsed,
        "memory": statistics.median(memory),
        "memory growth": growth(memory),
        "files growth": growth(files),
        "threads growth": growth(threads),
    }


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=RUNS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("figures", type=Path)
    parser.add_argument("--batches", type=int, default=BATCHES)
    parser.add_argument("--here", action="store_true", help="one run of so many batches, in this process")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    if options.here:
        found = measured(options.work, options.folder, options.batches)
    else:
        for batches in (options.batches // 4, options.batches):
            command = [sys.executable, __file__, options.work, str(options.folder), str(options.figures)]
            subprocess.run([*command, f"--batches={batches}", "--here"], check=True)
            found[str(batches)] = json.loads(options.figures.read_text(encoding="utf-8"))
    options.figures.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
