"""Fuzzes one reader for a time: ``python tests/fuzzing/run.py READER --seconds 3600 --seed N``.

Prints how many inputs worked, were refused, or ended otherwise, and keeps each of the last kind, with as few changes as
do it, in a folder. A run that is started again with the same reader, seed and folder goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "helpers")]

import psutil  # noqa: E402
from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from readers import READERS, Reader  # noqa: E402

SECONDS = 5.0  # of processor time, which a machine with other work to do does not lengthen
_PATIENCE = 120.0
_AT_ONCE = 200
_PROCESS_LASTS = 4000
_BAD = ("foreign", "slow", "died")


class Process:
    """A process that reads, started when it is needed, and again when it has died."""

    def __init__(self, reader: Reader) -> None:
        self._reader, self._running, self._answered = reader, None, 0
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - until it is ready

    def ask(self, case: Any) -> dict[str, Any]:
        """What reading one case came to: ``outcome``, and ``what`` happened, in few words."""
        if self._running is None or self._answered >= _PROCESS_LASTS:
            self.end()
            self._start()
        assert self._running is not None
        self._answered += 1
        try:
            self._running.stdin.write(json.dumps(case).encode() + b"\n")
            self._running.stdin.flush()
            return json.loads(self._line(SECONDS))
        except TimeoutError as error:
            self.end()
            return {"outcome": "slow", "what": str(error), "seconds": SECONDS}
        except (BrokenPipeError, EOFError):
            status = self._running.wait()
            self.end()
            return {"outcome": "died", "what": f"exit status {status}", "seconds": 0.0}

    def end(self) -> None:
        """End the process; the next case gets a new one."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._running = None

    def _start(self) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent / "helpers")]),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "-1",
            "OMP_NUM_THREADS": "1",
            "TF_NUM_INTRAOP_THREADS": "1",
        }
        command = [sys.executable, str(HERE / "worker.py"), self._reader.module, self._reader.read]
        self._running = subprocess.Popen(
            [*command, str(self._reader.most_text)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=environment,
            cwd="/",
            bufsize=0,
        )
        self._answered = 0
        try:
            self._line(120.0)
        except (EOFError, TimeoutError):
            self._said.seek(0)
            said = self._said.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"The process of {self._reader.module} does not start:\n{said}") from None

    def _line(self, seconds: float) -> str:
        assert self._running is not None and self._running.stdout is not None
        measured, found = psutil.Process(self._running.pid), b""
        before, started = sum(measured.cpu_times()[:2]), time.monotonic()
        while not found.endswith(b"\n"):
            if select.select([self._running.stdout], [], [], 0.5)[0]:
                piece = os.read(self._running.stdout.fileno(), 65536)
                if not piece:
                    raise EOFError
                found += piece
                continue
            used = sum(measured.cpu_times()[:2]) - before
            if used > seconds or time.monotonic() - started > _PATIENCE:
                raise TimeoutError(f"over {min(used, seconds):.0f} seconds")
        return found.decode().strip()


def smallest(case: Any, is_same: Callable[[Any], bool]) -> Any:
    """The case with as few of its changes as come to the same."""
    for path in _lists(case):
        number = 0
        while number < len(_at(case, path)):
            shorter = json.loads(json.dumps(case))
            del _at(shorter, path)[number]
            if is_same(shorter):
                case = shorter
            else:
                number += 1
    return case


def _lists(item: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(item, list):
        return [path]
    return [found for key in item for found in _lists(item[key], (*path, key))] if isinstance(item, dict) else []


def _at(item: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        item = item[key]
    return item


def examples(reader: Reader, number: int, count: int, use: Callable[[Any], None]) -> None:
    """Give some cases to a function: the same ones for the same number."""

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @seed(number)
    @given(reader.cases())
    def draw(case: Any) -> None:
        use(case)

    draw()


@dataclass
class Run:
    """What was tried so far."""

    reader: str
    seed: int
    batches: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    found: dict[str, int] = field(default_factory=dict)

    def line(self) -> str:
        """The counts in one line."""
        counted = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(self.counts.items()))
        return (
            f"{self.reader}, seed {self.seed}: {sum(self.counts.values()):,} inputs in {self.seconds:,.0f} s: "
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
    reader, process, said = READERS[name], Process(READERS[name]), time.monotonic()

    def use(case: Any) -> None:
        answer = process.ask(case)
        run.counts[answer["outcome"]] += 1
        run.slowest = max(run.slowest, answer["seconds"])
        if answer["outcome"] in _BAD:
            kind = f"{answer['outcome']}: {answer['what']}"
            run.found[kind] = run.found.get(kind, 0) + 1
            if run.found[kind] == 1 or (answer["outcome"] != "foreign" and run.found[kind] < 4):
                keep(case, kind, answer)

    def keep(case: Any, kind: str, answer: dict[str, Any]) -> None:
        def is_same(other: Any) -> bool:
            again = process.ask(other)
            return f"{again['outcome']}: {again['what']}" == kind

        case = smallest(case, is_same)
        text = json.dumps({"reader": name, "kind": kind, **answer, "case": case}, indent=1)
        file = folder / f"{name}-{seed_number}-found-{len(run.found):03}-{run.found[kind]}.json"
        file.write_text(text)
        say(f"  {kind}\n    {answer.get('text', '')[:300]}\n    {file}")

    try:
        while run.seconds < seconds:
            started = time.monotonic()
            examples(reader, seed_number * 1_000_003 + run.batches, _AT_ONCE, use)
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
