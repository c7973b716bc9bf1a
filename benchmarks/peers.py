"""Ways to predict with the same saved models: stitched, and what people would use instead.

``python benchmarks/peers.py WORK FOLDER PEER ROWS`` runs one of them in this process alone and prints, as JSON, the
seconds until the first prediction and the peak memory.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import psutil
import works
from works import Arrays, Work

Predictor = Callable[[Arrays], np.ndarray]


def stitched(work: Work, folder: Path) -> Predictor:
    """The model that ``graph.build()`` gives, as Keras runs it."""
    del folder
    model = work.graph().build()
    return lambda rows: model.predict_on_batch(rows)


def by_hand(work: Work, folder: Path) -> Predictor:
    """The same model, written in plain Keras."""
    del folder
    model = works.wired_by_hand(work, works.loaded_by_hand(work))
    return lambda rows: model.predict_on_batch(rows)


def one_after_another(work: Work, folder: Path) -> Predictor:
    """Models as Keras loads them, ``predict_on_batch`` one by one, NumPy in between."""
    del folder
    models = works.loaded_by_hand(work)

    def predict(name: str, array: np.ndarray) -> np.ndarray:
        found = models[name].predict_on_batch(array)
        return found[0] if isinstance(found, list) else found  # as files of Keras 2 have it

    return lambda rows: work.one_after_another(predict, rows)


def directory(work: Work, folder: Path) -> Predictor:
    """The generated directory, by Kipoi's ``predict_on_batch``."""
    import kipoi

    model = kipoi.get_model(str(saved_directory(work, folder)), source="dir", with_dataloader=False)
    return lambda rows: model.predict_on_batch(rows)


def merged_onnx(work: Work, folder: Path) -> Predictor:
    """The parts exported to ONNX, merged by ``onnx.compose.merge_models``, in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(merged_file(work, folder), providers=["CPUExecutionProvider"])
    return lambda rows: session.run(None, rows)[0]


PEERS = {
    "stitched": stitched,
    "by hand": by_hand,
    "one after another": one_after_another,
    "directory": directory,
    "merged ONNX": merged_onnx,
}
# What each of them needs, so that a model's memory can be told from that of the code.
MODULES = {
    "stitched": ("keras", "keras_stitch.graph"),
    "by hand": ("keras",),
    "one after another": ("keras",),
    "directory": ("keras", "kipoi"),
    "merged ONNX": ("onnxruntime",),
}


def check_equal(peer: str, found: np.ndarray, expected: np.ndarray) -> None:
    """Stop where somebody predicts something else: its time would say nothing."""
    from keras_stitch.verify.equality import compare

    compared = compare(found, expected)
    if not compared.equal:
        wrong = compared.problem or f"off by {compared.largest}, {compared.allowed} is allowed"
        raise SystemExit(f"{peer} predicts something else: {wrong}")


# -- files that peers need, made once ----------------------------------------------------------------------------------


def saved_directory(work: Work, folder: Path) -> Path:
    """The Kipoi directory of the work's graph."""
    place = folder / "composed"
    return place if place.is_dir() else work.graph().save(place, examples=examples(work, folder))


def examples(work: Work, folder: Path) -> dict[str, str]:
    """A file of rows for every input."""
    found = {}
    for name, array in work.rows(2).items():
        np.save(folder / f"{name}.npy", array)
        found[f"{name}_file"] = str(folder / f"{name}.npy")
    return found


def merged_file(work: Work, folder: Path) -> Path:
    """One ONNX file of all parts, which are exported one by one."""
    place = folder / "merged.onnx"
    if place.is_file():
        return place
    import keras
    import onnx
    from onnx import compose

    parts = {}
    for name, file in work.files.items():
        exported = folder / f"{name}.onnx"
        model = keras.saving.load_model(file, compile=False)
        # Keras exports what was called before.
        model(np.zeros((1, *(size or work.length for size in model.inputs[0].shape[1:])), "float32"))
        with contextlib.redirect_stdout(io.StringIO()):
            model.export(exported, format="onnx", verbose=False)
        parts[name] = compose.add_prefix(onnx.load(exported), f"{name}/")
    onnx.save(work.merged(parts), place)
    return place


# -- one peer in a process of its own ----------------------------------------------------------------------------------


def main() -> None:
    """Run one peer from nothing to its first prediction."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=sorted(works.WORKS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("peer", choices=sorted(PEERS))
    parser.add_argument("rows", type=int)
    options = parser.parse_args()
    work = works.WORKS[options.work](options.folder)
    rows = work.rows(options.rows)
    start = time.perf_counter()
    for module in MODULES[options.peer]:
        importlib.import_module(module)
    imported = psutil.Process().memory_info().rss
    predict = PEERS[options.peer](work, options.folder)
    predict(rows)
    seconds, peak = time.perf_counter() - start, peak_bytes()
    print(json.dumps({"start": seconds, "memory": peak, "model's memory": peak - imported}))


def peak_bytes() -> int:
    """The peak of this process alone: what ``getrusage`` says on Linux counts the one that started it, too."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
