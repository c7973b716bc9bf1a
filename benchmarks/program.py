"""The command line that the programs which measure one work share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import works
from figures import Figure, write


def run(about: str | None, measure: Callable[[str, Path, int], list[Figure]], rounds: int) -> None:
    """Measure the work that is named, and write what was found.

    Args:
        about: The program's docstring.
        measure: Takes the work's name, the folder of its files, and rounds.
        rounds: How many, unless the user says so; below six there is no interval.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=sorted(works.WORKS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("figures", type=Path)
    parser.add_argument("--rounds", type=int, default=rounds)
    options = parser.parse_args()
    write(options.figures, measure(options.work, options.folder, options.rounds))
