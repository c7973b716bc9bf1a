"""Fuzzes one reader for a time: ``python tests/fuzzing/run.py READER --seconds 3600 --seed N``.

Prints how many inputs worked, were refused, or ended otherwise, and keeps each of the last kind, with as few changes as
do it, in a folder. A run that is started again with the same reader, seed and folder goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "helpers")]

from fuzzer import BAD, Process, examples, smallest  # noqa: E402
from readers import READERS  # noqa: E402

_AT_ONCE = 200


@dataclass
class Run:
    """What was tried so far."""

    reader: str
    seed: int
    batches: int = 0
    seconds: float = 0.0
    processor: float = 0.0  # seconds that the reader took
    slowest: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    found: dict[str, int] = field(default_factory=dict)

    def line(self) -> str:
        """The counts in one line."""
        counted = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(self.counts.items()))
        return (
            f"{self.reader}, seed {self.seed}: {sum(self.counts.values()):,} inputs in {self.seconds:,.0f} s "
            f"({self.processor:,.0f} s of them read): "
            f"{counted}; slowest {self.slowest:.1f} s; {len(self.found)} kinds of foreign errors"
        )


def fuzz(name: str, seed_number: int, seconds: float, folder: Path, say: Callable[[str], None] = print) -> Run:
    """Fuzz a reader until it was read for so many seconds in all, also in earlier runs into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / f"{name}-{seed_number}.json"
    run = Run(name, seed_number)
    if state.exists():
        known = json.loads(state.read_text())
        run = Run(**{**known, "counts": Counter(known["counts"])})
    process, said = Process([name]), time.monotonic()

    def use(case: Any) -> None:
        answer = process.ask(name, case)
        run.counts[answer["outcome"]] += 1
        run.processor += answer["seconds"]
        run.slowest = max(run.slowest, answer["seconds"])
        if answer["outcome"] in BAD:
            kind = f"{answer['outcome']}: {answer['what']}"
            run.found[kind] = run.found.get(kind, 0) + 1
            if run.found[kind] == 1 or (answer["outcome"] != "foreign" and run.found[kind] < 4):
                keep(case, kind, answer)

    def keep(case: Any, kind: str, answer: dict[str, Any]) -> None:
        def is_same(other: Any) -> bool:
            again = process.ask(name, other)
            return f"{again['outcome']}: {again['what']}" == kind

        case = smallest(case, is_same)
        text = json.dumps({"reader": name, "kind": kind, **answer, "case": case}, indent=1)
        file = folder / f"{name}-{seed_number}-found-{len(run.found):03}-{run.found[kind]}.json"
        file.write_text(text)
        say(f"  {kind}\n    {answer.get('text', '')[:300]}\n    {file}")

    try:
        while run.seconds < seconds:
            started = time.monotonic()
            examples(READERS[name], seed_number * 1_000_003 + run.batches, _AT_ONCE, use)
            run.batches += 1
            run.seconds += time.monotonic() - started
            new = state.with_suffix(".new")
            new.write_text(json.dumps({**vars(run)}))
            new.replace(state)
            if time.monotonic() - said > 60:
                said = time.monotonic()
                say(run.line())
    finally:
        process.end()
    say(run.line())
    for kind, count in sorted(run.found.items(), key=lambda item: -item[1]):
        say(f"  {count:,} x {kind}")
    return run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path(".fuzzing"), help="of the counts and of what was found")
    options = parser.parse_args()
    run = fuzz(options.reader, options.seed, options.seconds, options.folder, lambda text: print(text, flush=True))
    return 1 if run.found else 0


if __name__ == "__main__":
    sys.exit(main())
