"""Asks uv whether requirements can be in one environment; it looks at the package index or at its cache."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

from keras_stitch.placement.requirements import TENSORFLOWS, is_early

# What uv says where it could not reach the index, and where it could and found nothing.
_UNREACHABLE = re.compile(r"Request failed after|Failed to fetch: |error sending request|could not be queried")

_IMPOSSIBLE = re.compile(
    r"No solution found|unsatisfiable|not found in the package registry|Failed to build `|backend returned an error"
)

# Without the network, what is not in uv's cache may exist all the same.
_UNSURE = re.compile(r"network|cache|offline|\b(?:is|are) available|no versions? of")


# Nobody builds them on the way: it takes hours, and old ones do not build for a Python of today.
_WHEELS_ONLY = ("h5py", "numpy", "pandas", "scikit-learn", "scipy", "torch", *TENSORFLOWS)


class Resolver(Protocol):
    """Knows which requirements can be in one environment."""

    def resolves(self, requirements: Collection[str], python: str = "") -> bool | None:
        """Whether these requirements can be met together; ``None`` where nobody knows.

        Args:
            requirements: As pip has them.
            python: The release of Python, such as "3.9"; by default this one.
        """


class Uv:
    """Asks the package index through uv, each question once.

    Args:
        arguments: Further arguments of ``uv pip compile``.
        env: Further environment variables.
        timeout: Seconds for each question.
    """

    def __init__(self, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 120):
        self._arguments, self._env, self._timeout = arguments, {**os.environ, **(env or {})}, timeout
        self._answers: dict[tuple[frozenset[str], str], bool | None] = {}
        self._offline = False

    def resolves(self, requirements: Collection[str], python: str = "") -> bool | None:
        """Whether these requirements can be met together; ``None`` without uv, without an index or in time."""
        asked = frozenset(requirements), python
        if asked not in self._answers:
            release = ["--python-version", python] if python else []
            # uv would take a release candidate of TensorFlow, as its Keras has another name.
            early = [] if any(map(is_early, requirements)) else ["--prerelease", "explicit"]
            self._answers[asked] = self._answer("\n".join(sorted(asked[0])), *release, *early)
        return self._answers[asked]

    def _answer(self, text: str, *options: str) -> bool | None:
        program = _uv()
        if program is None:
            return None
        said = None if self._offline else self._ask(program, text, *options)
        if self._offline or (said is not None and _UNREACHABLE.search(said)):
            self._offline = True  # once is enough: every try takes seconds
            said = self._ask(program, text, *options, "--offline")
            if said and _UNSURE.search(said):
                return None
        if not said:
            return None if said is None else True
        return False if _IMPOSSIBLE.search(said) else None

    def _ask(self, program: str, text: str, *more: str) -> str | None:
        """What uv objects to; empty if nothing, ``None`` where it takes too long."""
        command = [program, "pip", "compile", "-", "--quiet", "--python", sys.executable]
        command += [*(f"--only-binary={name}" for name in _WHEELS_ONLY), *self._arguments, *more]
        try:
            done = subprocess.run(
                command, input=text, capture_output=True, text=True, env=self._env, timeout=self._timeout, check=False
            )
        except (subprocess.TimeoutExpired, OSError):
            return None
        return (" ".join(done.stderr.split()) or "failed") if done.returncode else ""


def _uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    if beside.is_file():
        return str(beside)
    with contextlib.suppress(ImportError, FileNotFoundError):
        return str(importlib.import_module("uv").find_uv_bin())
    return shutil.which("uv")
