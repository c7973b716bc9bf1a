"""Imports Keras faster, in a process that does one thing."""

from __future__ import annotations

import gc
import importlib
import signal
import sys

# Keras and TensorFlow import them, where they are installed, for scikit-learn wrappers, galleries of pictures and data
# in DataFrames: a fifth of the time that Keras takes to start.
_UNUSED = ("matplotlib", "pandas", "sklearn")


def import_keras() -> None:
    """Import Keras as if packages that it hardly uses were not there; they can be imported afterwards.

    A signal that stops the process waits for the end: libraries below Keras abort at an error while they start.
    """
    if "keras" in sys.modules:
        return
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    hidden = [name for name in _UNUSED if name not in sys.modules]
    # None makes an import fail as that of a package that is not installed.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        importlib.import_module("keras")
    finally:
        for name in hidden:
            del sys.modules[name]
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    # Python would take a second at the end to look for garbage in all of Keras.
    gc.freeze()
