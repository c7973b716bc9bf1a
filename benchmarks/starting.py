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
# What a process says -> its unit, what it is multiplied by to be in it, targets.
SECTIONS: dict[str, tuple[str, float, dict[str, Target]]] = {
    "start": ("s", 1, {}),
    "memory": ("MiB", 2**-20, {}),
    "model's memory": ("MiB", 2**-20, MEMORY),
}
_PROGRAM = Path(peers.__file__)
_ROWS = 4


def starting(name: str, folder: Path, rounds: int) -> list[Figure]:
    """Ratios of seconds and of memory of one work, that of its model apart."""
    work = works.WORKS[name](folder)
    peers.saved_directory(work, folder)
    peers.merged_file(work, folder)
    found: dict[str, Times] = {section: defaultdict(list) for section in SECTIONS}
    order, names = random.Random(0), [*peers.PEERS, AGAIN[0]]
    for _ in track(range(rounds), f"starting {name}", transient=True):
        for peer in order.sample(names, len(names)):
            said = fresh(name, folder, AGAIN[1] if peer == AGAIN[0] else peer, _ROWS)
            for section, number in said.items():
                found[section][peer].append(number)
    figures: list[Figure] = []
    for section, (unit, scale, targets) in SECTIONS.items():
        figures += compared(
            section, work.name, _ROWS, found[section], PAIRS, again=AGAIN, unit=unit, scale=scale, targets=targets
        )
    return figures


def fresh(name: str, folder: Path, peer: str, rows: int) -> dict[str, float]:
    """What one peer needs in a process of its own."""
    command = [sys.executable, str(_PROGRAM), name, str(folder), peer, str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return said


if __name__ == "__main__":
    program.run(__doc__, starting, rounds=10)
