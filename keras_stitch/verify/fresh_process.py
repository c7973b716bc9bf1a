"""A saved model that predicts in a process of its own: what goes in and comes out lies in a temporary folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np

from keras_stitch.files.new_files import disk_errors
from keras_stitch.files.scratch import MORE_ROOM, Scratch

Arrays = dict[str, np.ndarray[Any, Any]]


class Job:
    """A saved model and what it should predict; use it in a ``with`` block, which ends the process.

    Args:
        model: The saved model.
        sets: Kind of inputs -> input -> array of shape ``(rows, ...)``, in the model's order.
        more: What else the program reads in ``job.json``.

    Attributes:
        folder: Holds ``job.json`` and ``inputs.npz`` for the program, which leaves ``report.json`` and
            ``predictions.npz`` there.
    """

    def __init__(self, model: Path, sets: Mapping[str, Arrays], **more: Any):
        self._holder = Scratch()
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = self._holder.path
        job = {"model": str(model.absolute()), "sets": {kind: list(arrays) for kind, arrays in sets.items()}, **more}
        arrays: dict[str, Any] = {
            f"{kind}/{name}": array for kind, named in sets.items() for name, array in named.items()
        }
        with disk_errors(self.folder, MORE_ROOM):
            (self.folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
            np.savez(self.folder / "inputs.npz", **arrays)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._holder.close()

    def start(self, program: Path) -> None:
        """Start the program, a Python file whose ``main`` takes the folder."""
        self._process = start(program, self.folder)

    def wait(self) -> tuple[int, str]:
        """Wait for the program that was started; its exit status and the last line that it wrote on stderr."""
        assert self._process is not None
        lines = self._process.communicate()[1].decode(errors="replace").strip().splitlines()
        return self._process.returncode, lines[-1][:300] if lines else "no message"

    def report(self) -> dict[str, Any] | None:
        """What the program reported, ``None`` if it ended before that."""
        path = self.folder / "report.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def predictions(self) -> dict[str, Arrays]:
        """Kind of inputs -> output -> array of shape ``(rows, ...)``."""
        found: dict[str, Arrays] = {}
        with np.load(self.folder / "predictions.npz", allow_pickle=False) as stored:
            for key in stored.files:
                kind, _, name = key.partition("/")
                found.setdefault(kind, {})[name] = stored[key]
        return found


def start(program: Path, folder: Path) -> subprocess.Popen[bytes]:
    """A process that runs a Python file on a folder, with the Keras backend of this process."""
    own = {"KERAS_BACKEND": keras.backend.backend(), "TMPDIR": str(folder)}
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ, **own}
    # -P: no module of the working directory or beside the program is taken for a library's.
    return subprocess.Popen(
        [sys.executable, "-P", str(program), str(folder)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
