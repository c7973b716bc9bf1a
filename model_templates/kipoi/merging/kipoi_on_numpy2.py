"""Two names that NumPy 2 removed and Kipoi 0.8.6 needs to write files: restored where Kipoi is there."""

import importlib.util

import numpy as np

if importlib.util.find_spec("kipoi") is not None:
    for name, kind in (("string_", np.bytes_), ("unicode_", np.str_)):
        if not hasattr(np, name):
            setattr(np, name, kind)
