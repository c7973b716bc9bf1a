"""Make one Keras model of several saved ones, with the data that goes with it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from keras_stitch.errors import StitchError

if TYPE_CHECKING:
    from keras_stitch.addresses.push_directory import push
    from keras_stitch.graph import Graph
    from keras_stitch.kipoi.dataloader import Dataloader
    from keras_stitch.recipes import chain, ensemble, siamese
    from keras_stitch.training.precompute_dataloader import precompute
    from keras_stitch.training.training_data import training_data

__version__ = "0.1.0"
__all__ = ["Dataloader", "Graph", "StitchError", "chain", "ensemble", "precompute", "push", "siamese", "training_data"]

_HOMES = {
    "Dataloader": "keras_stitch.kipoi.dataloader",
    "Graph": "keras_stitch.graph",
    "chain": "keras_stitch.recipes",
    "ensemble": "keras_stitch.recipes",
    "precompute": "keras_stitch.training.precompute_dataloader",
    "push": "keras_stitch.addresses.push_directory",
    "siamese": "keras_stitch.recipes",
    "training_data": "keras_stitch.training.training_data",
}


def __getattr__(name: str) -> Any:
    # Keras takes seconds to import; `keras-stitch --help` and the spec-level modules do without.
    if name not in _HOMES:
        raise AttributeError(f"module 'keras_stitch' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
