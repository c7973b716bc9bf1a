"""What Keras 2 predicted with the real model files: kept in ``tests/repairs/real_files.tar.xz``, or made now.

Keras 2 takes a minute for all files. ``UPDATE_GOLDEN=1`` lets it run for all, and keeps what it predicts; it always
runs for ``QUICK``, and for files of many rows, of which nothing is kept.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from real_files import QUICK, RealFile
from seeded_inputs import Wanted, make_inputs

ARCHIVE = Path(__file__).parents[1] / "repairs" / "real_files.tar.xz"
ORACLE = "tf_keras_oracle.py"
_DIGEST = "made_by.sha256"
_MAKERS = (ORACLE, "published_models.py", "seeded_inputs.py", "keras2_on_cpu.py")


def is_made_now(file: RealFile) -> bool:
    """Whether Keras 2 has to run for a file."""
    return "UPDATE_GOLDEN" in os.environ or file is QUICK or file.model.float64


def digest() -> str:
    """Of the code that makes the predictions."""
    return hashlib.sha256(b"".join(Path(__file__).with_name(name).read_bytes() for name in _MAKERS)).hexdigest()


def job(file: RealFile, folder: Path) -> dict:
    """What ``ORACLE`` needs to know of a file; it writes into the folder."""
    return {
        "model": str(file.path),
        "arch": str(folder / "arch.json" if file.model.made else file.beside or ""),
        "made": file.model.made,
        "custom": file.model.custom,
        "arrays": str(folder / "keras2.npz"),
        "length": file.release.length,
        "float64": file.model.float64,
        "rows": 1024 if file.model.float64 else 2,
    }


def keep(files: Iterable[RealFile], folder: Path) -> None:
    """Write what Keras 2 made into the archive, with the inputs as they are made."""
    with tarfile.open(ARCHIVE, "w:xz") as archive:
        _put(archive, _DIGEST, digest().encode())
        for file in files:
            if file.model.float64:
                continue
            if file.model.made:
                _put(archive, f"{file}/arch.json", (folder / str(file) / "arch.json").read_bytes())
            with np.load(folder / str(file) / "keras2.npz") as arrays:
                kept = {name: array for name, array in arrays.items() if not name.startswith("input")}
            stored = io.BytesIO()
            np.savez(stored, **kept)
            _put(archive, f"{file}/keras2.npz", stored.getvalue())


def _put(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def unpack(files: Iterable[RealFile], folder: Path) -> None:
    """Write what is kept of files into a folder, as if Keras 2 had made it."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    assert (folder / _DIGEST).read_text() == digest(), "UPDATE_GOLDEN=1 makes the predictions again"
    for file in files:
        path = folder / str(file) / "keras2.npz"
        with np.load(path) as arrays:
            found = dict(arrays)
        wanted = [Wanted(**each) for each in json.loads(str(found["wanted"]))]
        inputs = make_inputs(file.path.name, wanted)
        np.savez(path, **found, **{f"input{number}": array for number, array in enumerate(inputs)})
