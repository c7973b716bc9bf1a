"""Merges the dataloaders of several parts so that no row gets out of step.

These files are the same in every directory. They need Kipoi, NumPy, pandas and h5py.
"""

from .loading import from_function, load_dataloader
from .merged import MergedDataset, MergedIterator
from .parts import Part
from .problems import DataError
from .tables import Table, Targets

__all__ = [
    "DataError",
    "MergedDataset",
    "MergedIterator",
    "Part",
    "Table",
    "Targets",
    "from_function",
    "load_dataloader",
]
