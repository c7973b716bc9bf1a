"""Keras for a command: imported when the command turns out to need it, and without what no command uses of it."""

from __future__ import annotations

import importlib
import sys

# Keras and TensorFlow import them, where they are installed, for scikit-learn wrappers, galleries of pictures and data
# in DataFrames: a fifth of the time that Keras takes to start.
_UNUSED = ("matplotlib", "pandas", "sklearn")


def import_keras() -> None:
    """Import Keras as if these packages were not there; they can be imported afterwards."""
    if "keras" in sys.modules:
        return
    hidden = [name for name in _UNUSED if name not in sys.modules]
    # None makes an import fail as that of a package that is not installed.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        importlib.import_module("keras")
    finally:
        for name in hidden:
            del sys.modules[name]
