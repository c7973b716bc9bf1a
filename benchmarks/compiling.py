"""Whether ``jit_compile`` makes a stitched model faster.

    python benchmarks/compiling.py WORK FOLDER FIGURES.json

XLA compiles anew for every batch size; that is not in these figures.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import program
import works
from figures import Figure, compared
from peers import check_equal
from timing import LEAST_SECONDS, measure

AGAIN = ("stitched again", "stitched")
PAIRS = (("with jit_compile", "stitched"),)
_ROWS = 32


def compiling(name: str, folder: Path, rounds: int) -> list[Figure]:
    """The ratio of one work, at batches of 32."""
    work = works.WORKS[name](folder)
    graph, given = work.graph(), work.rows(_ROWS)
    model, compiled = graph.build(), graph.build()
    compiled.compile(jit_compile=True)
    runs = {
        AGAIN[1]: lambda: model.predict_on_batch(given),
        "with jit_compile": lambda: compiled.predict_on_batch(given),
    }
    runs[AGAIN[0]] = runs[AGAIN[1]]
    check_equal("jit_compile", compiled.predict_on_batch(given), model.predict_on_batch(given))
    times = measure(runs, rounds, f"compiling {name}", least=LEAST_SECONDS)
    return compared("compiling", work.name, _ROWS, times, PAIRS, again=AGAIN, unit="ms", scale=1000)


if __name__ == "__main__":
    program.run(__doc__, compiling, rounds=9)
