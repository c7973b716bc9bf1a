"""Inputs for real model files, the same each time: what is stored of them is how they are made."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Wanted:
    """How one input is made.

    Attributes:
        shape: Its shape, with the rows.
        kind: ``indices`` for an embedding, one-hot ``bases``, ``beats`` in a spectrogram, or ``normal`` numbers. Plain
            noise saturates the softmax of most models for sounds, so that any other model would predict the same.
        vocabulary: How many indices there are.
    """

    shape: tuple[int, ...]
    kind: str
    vocabulary: int = 0

    def to_json(self) -> dict:
        """What the constructor takes."""
        return asdict(self)


def make_inputs(name: str, wanted: list[Wanted]) -> list[np.ndarray]:
    """All inputs of the model in the file of a name, float32."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    return [_make(random, each).astype("float32") for each in wanted]


def _make(random: np.random.Generator, wanted: Wanted) -> np.ndarray:
    shape = wanted.shape
    if wanted.kind == "indices":
        return random.integers(0, wanted.vocabulary, shape)
    if wanted.kind == "bases":
        return np.eye(4)[random.integers(0, 4, shape[:-1])]
    if wanted.kind == "beats":
        period = random.uniform(8, 25, (shape[0], 1, 1, 1))
        since_beat = np.arange(shape[2])[:, None] % period
        return np.exp(-since_beat / 3) * random.random((*shape[:2], 1, shape[3]))
    return random.normal(size=shape)
