"""What stitching costs beside loading the files, and writing what Keras would write.

python benchmarks/building.py WORK FOLDER FIGURES.json
"""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import program
import works
from figures import Figure, Target, compared
from rich.progress import track
from timing import Times, timed

LOAD, AGAIN = "load_model of the parts", "load_model again"
PAIRS = (
    ("graph.build()", LOAD),
    ("wiring by hand", LOAD),
    ("graph.build()", "wiring by hand"),
    ("adding and building", LOAD),
    ("by hand", LOAD),
    ("adding and building", "by hand"),
    ("saving it", "saving by hand"),
    ("loading it", LOAD),
)
TARGETS = {f"graph.build() / {LOAD}": Target("at most", 0.05)}


def building(name: str, folder: Path, rounds: int) -> list[Figure]:
    """All ratios of one work."""
    work = works.WORKS[name](folder)
    times: Times = defaultdict(list)
    order = random.Random(0)
    file = folder / "built.keras"

    def stitch() -> None:
        graph, added = timed(work.graph)
        model, built = timed(graph.build)
        times["graph.build()"].append(built)
        times["adding and building"].append(added + built)
        times["saving it"].append(timed(lambda: model.save(file))[1])
        times["loading it"].append(timed(lambda: keras.saving.load_model(file, compile=False))[1])

    def by_hand() -> None:
        loaded, took = timed(lambda: works.loaded_by_hand(work))
        model, wired = timed(lambda: works.wired_by_hand(work, loaded))
        times["wiring by hand"].append(wired)
        times["by hand"].append(took + wired)
        times["saving by hand"].append(timed(lambda: model.save(file))[1])

    for number in track(range(rounds + 1), f"building {name}", transient=True):
        steps: list[Callable[[], None]] = [
            lambda: times[LOAD].append(timed(lambda: works.loaded_by_hand(work))[1]),
            lambda: times[AGAIN].append(timed(lambda: works.loaded_by_hand(work))[1]),
            stitch,
            by_hand,
        ]
        for step in order.sample(steps, len(steps)):
            keras.utils.clear_session()
            step()
        if not number:  # the first round imports and compiles
            times.clear()
    return compared("building", work.name, 0, times, PAIRS, again=(AGAIN, LOAD), unit="ms", scale=1000, targets=TARGETS)


if __name__ == "__main__":
    program.run(__doc__, building, rounds=15)
