"""Cases for readers, the process that reads them, and the same case with fewer changes."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from hypothesis import HealthCheck, Phase, given, seed, settings
from readers import Reader

HERE = Path(__file__).parent
BAD = ("foreign", "slow", "died")
SECONDS = 5.0  # of processor time, which a machine with other work to do does not lengthen
_PATIENCE = 120.0
_PROCESS_LASTS = 4000


class Process:
    """A process that reads, started when it is needed, and again when it has died."""

    def __init__(self, readers: Sequence[str]) -> None:
        self._readers, self._answered = readers, 0
        self._running: subprocess.Popen[bytes] | None = None
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - until it is ready

    def ask(self, reader: str, case: Any) -> dict[str, Any]:
        """What reading one case came to: ``outcome``, and ``what`` happened, in few words."""
        if self._running is None or self._answered >= _PROCESS_LASTS:
            self.end()
            self._start()
        assert self._running is not None
        self._answered += 1
        try:
            self._running.stdin.write(json.dumps([reader, case]).encode() + b"\n")
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
        self._running = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), *self._readers],
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
            raise RuntimeError(f"The process that reads does not start:\n{said}") from None

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
