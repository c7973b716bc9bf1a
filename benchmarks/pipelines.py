"""Kipoi's own ``pipeline.predict``: a stitched directory, against its parts' directories one after another.

    python benchmarks/pipelines.py WORK FOLDER FIGURES.json

Reading is included: the rows lie in an NPY file, which each part reads for itself.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import kipoi
import numpy as np
import peers
import program
import works
from figures import Figure, compared
from timing import measure
from zoo import write_kipoi

PAIRS = (("parts by Kipoi", "stitched directory"),)
AGAIN = ("stitched directory again", "stitched directory")
_BATCHES = 16


def pipelines(name: str, folder: Path, rounds: int) -> list[Figure]:
    """The ratio for a work whose parts all take the one graph input."""
    work = works.WORKS[name](folder)
    batch = work.batches[1]
    (rows,) = work.rows(batch * (_BATCHES if batch > 4 else 2)).values()
    np.save(folder / "many.npy", rows)
    directory = peers.saved_directory(work, folder)
    loaded = {
        part: kipoi.get_model(str(_directory(folder, part, file)), source="dir") for part, file in work.files.items()
    }
    composed = kipoi.get_model(str(directory), source="dir")

    def parts() -> np.ndarray:
        def predict(part: str, array: np.ndarray) -> np.ndarray:
            del array  # each reads it itself
            found = loaded[part].pipeline.predict({"rows_file": str(folder / "many.npy")}, batch_size=batch)
            return found[0] if isinstance(found, list) else found

        return work.one_after_another(predict, {"x": rows})

    def stitched() -> np.ndarray:
        return composed.pipeline.predict({"x_file": str(folder / "many.npy")}, batch_size=batch)

    expected, found = parts(), stitched()
    peers.check_equal("the stitched directory", found, expected)
    times = measure({"parts by Kipoi": parts, AGAIN[1]: stitched, AGAIN[0]: stitched}, rounds, f"Kipoi, {name}")
    return compared("pipelines", work.name, batch, times, PAIRS, again=AGAIN, unit="s", scale=1)


def _directory(folder: Path, part: str, file: Path) -> Path:
    place = folder / f"{part}_kipoi"
    if not place.is_dir():
        place.mkdir()
        model = keras.saving.load_model(file, compile=False)
        model.save(place / "model.keras")
        size, units = model.inputs[0].shape[1:], model.outputs[0].shape[1:]
        write_kipoi(place, tuple(size), tuple(units), "kipoi.model.KerasModel", {"weights": "model.keras"})
    return place


if __name__ == "__main__":
    program.run(__doc__, pipelines, rounds=9)
