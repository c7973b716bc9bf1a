"""Files that real Keras 1 and 2 wrote, with inputs and what that very version predicted for them.

``tests/repairs/old_keras.tar.xz`` has a folder for each Keras that wrote them, ``VERSION-BACKEND-ORDERING``: toy models
with random weights, each as a whole model, as an architecture with weights beside it, and ``CASE.npz``. ``tagged`` has
files of Keras 1.2.2 with Theano that say their backend, as some tools wrote them.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

import keras_stitch as ks

# Whether every file is looked at, in place of one kind of file for each model.
ALL_FILES = os.environ.get("OLD_FILES") == "all"
ARCHIVE = Path(__file__).parents[1] / "repairs" / "old_keras.tar.xz"
# Folder and case of what says nothing: that Keras cannot reload the one, and the other does not say its interpolation.
NO_JUDGE = {("1.0.8-theano-th", "deconv2d_same2"), ("tf1.13.2-keras-last", "upbilinear")}
_TAGGED = ("1.2.2-theano-th", "extra-1.2.2-theano-th")


@dataclass(frozen=True)
class OldFile:
    """A file, and where its inputs and predictions are.

    Attributes:
        path: A whole model, or weights.
        case: What the model has, such as ``conv1d_same``.
        arch: The architecture of weights.
        arrays: Inputs ``x0, x1, ...`` in the model's order and predictions ``y0, ...``.
    """

    path: Path
    case: str
    arch: Path | None
    arrays: Path

    @property
    def folder(self) -> str:
        return self.path.parent.name

    def __str__(self) -> str:
        return f"{self.folder}/{self.path.name}"


@dataclass(frozen=True)
class Verdict:
    """What became of a file: it is equal, or refused with a text, or differs."""

    file: OldFile
    difference: float | None = None
    refused: str = ""

    @property
    def kind(self) -> str:
        if self.refused:
            return "refused"
        assert self.difference is not None
        return "equal" if self.difference <= 1e-5 else "wrong"


def unpack(folder: Path) -> Path:
    """Where the folders of all Kerases are, in a folder for them."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "old_keras"


def folders() -> list[str]:
    """Which Kerases wrote files."""
    with tarfile.open(ARCHIVE) as archive:
        parts = (Path(name).parts for name in archive.getnames())
        return sorted({part[1] for part in parts if len(part) == 3})


def files(folder: Path) -> Iterator[OldFile]:
    """The files of one Keras that can be judged: a whole model or its weights, the other for the next; or all."""
    cases: dict[str, list[OldFile]] = {}
    for path in sorted(folder.glob("*.h5")):
        arch = path.with_name(f"{path.stem.removesuffix('_w')}.json")
        weights = path.stem.endswith("_w") and arch.exists()
        case = arch.stem if weights else path.stem
        homes = _TAGGED if folder.name == "tagged" else (folder.name,)
        arrays = [folder.parent / home / f"{case}.npz" for home in homes]
        if (folder.name, case) not in NO_JUDGE:
            file = OldFile(path, case, arch if weights else None, next(filter(Path.exists, arrays)))
            cases.setdefault(case, []).append(file)
    first = folders().index(folder.name)
    for number, found in enumerate(cases.values(), start=first):
        yield from found if ALL_FILES else [found[number % len(found)]]


def judge(file: OldFile, **arguments: object) -> Verdict:
    """Add a file to a graph, build it, and compare what the stitched model predicts."""
    try:
        model = ks.Graph("g").add("part", file.path, arch=file.arch, **arguments).build()
    except ks.StitchError as error:
        return Verdict(file, refused=str(error))
    with np.load(file.arrays) as arrays:
        given, expected = ([arrays[f"{end}{i}"] for i in range(sum(key[0] == end for key in arrays))] for end in "xy")
    found = keras.tree.flatten(model(given if len(given) > 1 else given[0], training=False))
    return Verdict(file, max(difference(np.asarray(a), b) for a, b in zip(found, expected, strict=True)))


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest of ``|a - b| / max(1, max|b|)``."""
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))
