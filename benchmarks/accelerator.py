"""The same works on a GPU: seconds for each batch, stitched and one model after another.

    python benchmarks/accelerator.py [--works seed spliceai ...] [--rounds 25]

Needs TensorFlow with CUDA (``pip install 'tensorflow[and-cuda]'``), or another backend of Keras that sees the GPU
(``KERAS_BACKEND=jax``, ``torch``). Absolute times are those of one machine, so they are printed and not kept. On a GPU
the model class of generated directories reads the weights where they are, so it is measured, too.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import peers
import works
from timing import LEAST_SECONDS, Ratio, measure

from keras_stitch.terminal import render

WORKS = ("seed", "deepbind100", "trednet", "images", "spliceai")
_BATCHES = {"spliceai": (1, 4, 32, 128)}


def devices() -> list[str]:
    """The accelerators that Keras' backend sees."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_physical_devices("GPU")
        return [str(tf.config.experimental.get_device_details(device).get("device_name", device)) for device in found]
    if backend == "jax":
        import jax

        return [str(device) for device in jax.devices() if device.platform != "cpu"]
    import torch

    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def rows_of(name: str, folder: Path, rounds: int) -> list[tuple[str, ...]]:
    """A row of the table for each batch size of a work."""
    work = works.WORKS[name](folder)
    ways = {"stitched": peers.stitched, "one after another": peers.one_after_another}
    if keras.backend.backend() == "tensorflow":
        ways["directory"] = peers.directory
    predictors = {way: make(work, folder) for way, make in ways.items()}
    table = []
    for batch in _BATCHES.get(name, work.batches):
        given = work.rows(batch)
        expected = predictors["one after another"](given)
        # Matrix products in TensorFloat-32 are off by 1e-3; that is the device's affair, and shown.
        error = max(float(np.abs(predict(given) - expected).max()) for predict in predictors.values())
        runs = {way: lambda predict=predict, given=given: predict(given) for way, predict in predictors.items()}
        runs["stitched again"] = runs["stitched"]
        times = measure(runs, rounds, f"{name}, {batch}", least=LEAST_SECONDS)
        milliseconds = [f"{1000 * float(np.median(times[way])):.3g}" if way in times else "" for way in peers.PEERS]
        shown = [value for value in milliseconds if value]
        ratio, noise = (Ratio.of(times[one], times["stitched"]) for one in ("one after another", "stitched again"))
        table.append((f"{work.name}, batch {batch}", *shown, str(ratio), str(noise), f"{error:.1e}"))
    return table


def main() -> None:
    """Print the table, or say that there is nothing to measure on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", nargs="+", choices=sorted(works.WORKS), default=WORKS)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--anyway", action="store_true", help="measure without a GPU, to try this program")
    options = parser.parse_args()
    found = devices()
    if not found and not options.anyway:
        raise SystemExit(f"Keras' backend, {keras.backend.backend()}, sees no GPU here.")
    print(f"{keras.backend.backend()} on {', '.join(found) or 'the CPU'}, Keras {keras.__version__}")
    ways = [way for way in peers.PEERS if way in ("stitched", "one after another")]
    ways += ["directory"] if keras.backend.backend() == "tensorflow" else []
    header = ("work", *(f"{way}, ms" for way in ways), "one after another / stitched", "noise", "difference")
    table = []
    with tempfile.TemporaryDirectory() as place:
        for name in options.works:
            folder = Path(place) / name
            folder.mkdir()
            table += rows_of(name, folder, options.rounds)
    print(render(header, table))


if __name__ == "__main__":
    main()
