"""Rows per second of a stitched model, against what people would use instead.

    python benchmarks/throughput.py WORK FOLDER FIGURES.json

All ways to predict take turns on the same rows, in one process, and give the same numbers, which is checked.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import peers
import program
import works
from figures import Figure, Target, compared
from timing import LEAST_SECONDS, measure

AGAIN = ("stitched again", "stitched")
PAIRS = (
    ("one after another", "stitched"),
    ("one after another", "directory"),
    ("one after another", "merged ONNX"),
    ("stitched", "by hand"),
    ("stitched", "merged ONNX"),
    ("directory", "merged ONNX"),
)
BY_HAND = {"stitched / by hand": Target("no more than noise from", 1)}
AHEAD = {"stitched / merged ONNX": Target("at most", 1), "directory / merged ONNX": Target("at most", 1)}


def faster(times: float) -> dict[str, Target]:
    """Than one after another, by Keras and by the class of the directory."""
    return dict.fromkeys(("one after another / stitched", "one after another / directory"), Target("at least", times))


TARGETS = {
    ("spliceai", 1): faster(1.15) | AHEAD,
    ("spliceai", 4): faster(1) | AHEAD,
    ("deepbind100", 256): faster(3),
    ("seed", 32): faster(2.5) | {"directory / merged ONNX": Target("at most", 3)},
}
_LASTING = 240.0  # seconds for a batch size of a work, so that what is fast is measured often


def throughput(name: str, folder: Path, rounds: int) -> list[Figure]:
    """All ratios of one work."""
    work = works.WORKS[name](folder)
    predictors = {peer: make(work, folder) for peer, make in peers.PEERS.items()}
    predictors[AGAIN[0]] = predictors[AGAIN[1]]
    found = []
    for rows in work.batches:
        given = work.rows(rows)
        expected = predictors["one after another"](given)
        for peer, predict in predictors.items():
            peers.check_equal(peer, predict(given), expected)
        runs = {peer: lambda predict=predict, given=given: predict(given) for peer, predict in predictors.items()}
        times = measure(runs, rounds, f"{name}, {rows}", least=LEAST_SECONDS, lasting=_LASTING)
        targets = BY_HAND | TARGETS.get((name, rows), {})
        found += compared(
            "throughput", work.name, rows, times, PAIRS, again=AGAIN, unit="ms", scale=1000, targets=targets
        )
    return found


if __name__ == "__main__":
    program.run(__doc__, throughput, rounds=15)
