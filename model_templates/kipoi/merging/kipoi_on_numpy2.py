"""Two names that NumPy 2 removed and Kipoi 0.8.6 needs to write files: restored where Kipoi is there."""

from importlib.machinery import PathFinder

import numpy as np

if PathFinder.find_spec("kipoi") is not None:
    for name, kind in (("string_", np.bytes_), ("unicode_", np.str_)):
        if not hasattr(np, name):
            setattr(np, name, kind)
