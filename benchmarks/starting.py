"""From nothing to the first prediction: seconds, and the peak of memory, each in a process of its own.

python benchmarks/starting.py WORK FOLDER FIGURES.json
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import peers
import program
import works
from figures import Figure, Target, compared
from rich.progress import track
from timing import Times

AGAIN = ("stitched again", "stitched")
PAIRS = (
    ("stitched", "by hand"),
    ("stitched", "one after another"),
    ("directory", "stitched"),
    ("merged ONNX", "stitched"),
)
MEMORY = {"stitched / by hand": Target("no more than noise from", 1)}
_PROGRAM = Path(peers.__file__)
_ROWS = 4


def starting(name: str, folder: Path, rounds: int) -> list[Figure]:
    """Ratios of seconds and of memory of one work."""
    work = works.WORKS[name](folder)
    peers.saved_directory(work, folder)
    peers.merged_file(work, folder)
    seconds: Times = defaultdict(list)
    memory: Times = defaultdict(list)
    order, names = random.Random(0), [*peers.PEERS, AGAIN[0]]
    for _ in track(range(rounds), f"starting {name}", transient=True):
        for peer in order.sample(names, len(names)):
            found = fresh(name, folder, AGAIN[1] if peer == AGAIN[0] else peer, _ROWS)
            seconds[peer].append(found["seconds"])
            memory[peer].append(found["bytes"])
    start = compared("start", work.name, _ROWS, seconds, PAIRS, again=AGAIN, unit="s", scale=1)
    peak = compared("memory", work.name, _ROWS, memory, PAIRS, again=AGAIN, unit="MiB", scale=2**-20, targets=MEMORY)
    return start + peak


def fresh(name: str, folder: Path, peer: str, rows: int) -> dict[str, float]:
    """What one peer needs in a process of its own."""
    command = [sys.executable, str(_PROGRAM), name, str(folder), peer, str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    program.run(__doc__, starting, rounds=6)
