"""A standard error without TensorFlow's banner.

``TF_CPP_MIN_LOG_LEVEL`` alone does not do it: TensorFlow writes most of its banner while its libraries are loaded,
before it has read the variable, and tells of a missing GPU as an error. What C++ code writes cannot be caught from
Python either, so while a command runs, file descriptor 2 leads through a process that leaves such lines out. Being a
process of its own, it still shows what was written last where TensorFlow ends the program. Python's own
``sys.stderr`` goes around it, and stays a terminal where it was one.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_SEVERITIES = b"IWE"
# "I0000 00:00:1795967404.264828    7504 port.cc:153] ...", or, of TensorFlow before 2.17,
# "2024-01-01 00:00:00.000000: I tensorflow/core/util/port.cc:153] ..."
_LINE = re.compile(rb"(?:\d{4}-\d\d-\d\d [\d:.]+: )?([IWEF])(?:\d{4} [\d:.]+ +\d+)? [\w./-]+:\d+\] ")
_PREAMBLE = b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR"
# A library that several others register: TensorFlow 2.14 to 2.18 write it wherever they are built for GPUs.
_HARMLESS = re.compile(rb"Unable to register cu\w+ factory")
_NO_GPU = re.compile(rb"failed call to cuInit")
# What may become such a line, once its end is there.
_START = re.compile(rb"(?:[IWE](?:\d|$)|WA|\d{1,4}(?:-|$))[^\r]*$")
_WAIT = 1.0


class LogFilter:
    """Leaves lines of TensorFlow's log out of a stream of bytes, and passes on all others as they come.

    Args:
        level: As of ``TF_CPP_MIN_LOG_LEVEL``: 1 leaves out what is for information, 2 warnings, and 3 errors too.
        has_gpu: Whether this machine has a GPU, so that it matters when CUDA does not start.
    """

    def __init__(self, level: int, *, has_gpu: bool):
        self._dropped = _SEVERITIES[: max(level, 0)]
        self._has_gpu = has_gpu
        self._held = b""
        self._within = False

    def feed(self, data: bytes) -> bytes:
        """What is left of these bytes and of the start of a line that was held back."""
        *lines, rest = (self._held + data).split(b"\n")
        passed = b""
        for line in lines:
            if self._within or self._matters(line):
                passed += line + b"\n"
            self._within = False
        # Only what can become a line of a log waits for its end; a prompt or a progress bar does not.
        may_be_log = not self._within and _START.match(rest) is not None
        self._held = rest if may_be_log else b""
        if rest and not may_be_log:
            passed, self._within = passed + rest, True
        return passed

    def end(self) -> bytes:
        """What was still held back."""
        held, self._held = self._held, b""
        return held if self._matters(held) else b""

    def _matters(self, line: bytes) -> bool:
        if not self._dropped:
            return True
        found = _LINE.match(line)
        if found is None:
            return line.rstrip() != _PREAMBLE
        expected = _HARMLESS.search(line) or (not self._has_gpu and _NO_GPU.search(line))
        return found[1] not in self._dropped and not expected


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Leaves TensorFlow's banner out of the standard error of this process and of those that it starts.

    Warnings of TensorFlow are left out too, except on a machine with a GPU, where they say why it is not used; errors
    are shown. ``TF_CPP_MIN_LOG_LEVEL``, where it is set, says what is shown instead: 0 is all.
    """
    has_gpu = _has_gpu()
    level = os.environ.setdefault(_LEVEL, "1" if has_gpu else "2")
    try:
        shown = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    log_filter = LogFilter(int(level) if level.isdecimal() else 0, has_gpu=has_gpu)
    process = _start(log_filter, shown)
    before = sys.stderr
    sys.stderr = open(  # noqa: SIM115, PTH123 - of a descriptor, closed below
        os.dup(shown), "w", buffering=1, encoding=before.encoding, errors=before.errors
    )
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = before
        os.dup2(shown, 2)
        os.close(shown)
        _await(process)


def _has_gpu() -> bool:
    """Whether NVIDIA's driver runs here, also within WSL."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/dxg").exists()


def _start(log_filter: LogFilter, shown: int) -> int:
    """Leads file descriptor 2 through a new process, which writes what is left to another descriptor."""
    reading, writing = os.pipe()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        try:
            _pass_on(log_filter, reading, shown)
        finally:
            os._exit(0)
    os.dup2(writing, 2)
    os.close(writing)
    os.close(reading)
    return process


def _pass_on(log_filter: LogFilter, reading: int, shown: int) -> None:
    """The whole life of the process: it ends when nobody can write any more, whatever becomes of the others."""
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(stop, signal.SIG_IGN)
    # Nobody who reads the output, or waits for a lock, waits for this process.
    os.dup2(reading, 0)
    os.dup2(shown, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.closerange(3, 1024)
    while data := os.read(0, 65536):
        _write(log_filter.feed(data))
    _write(log_filter.end())


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(2, data) :]


def _await(process: int) -> None:
    """Waits until all is shown, but not for processes that outlive this one and could still write."""
    end = time.monotonic() + _WAIT
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(process, os.WNOHANG) == (0, 0) and time.monotonic() < end:
            time.sleep(0.005)
