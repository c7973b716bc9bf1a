"""Merges the dataloaders of several parts so that no row gets out of step, and runs models on what they give.

These files are the same in every directory. They need Kipoi, NumPy, pandas and h5py.
"""

from .connections import Cast, Merge, Take
from .loading import from_function, load_dataloader
from .merged import MergedDataset, MergedIterator
from .models import Model, Packed
from .parts import Part
from .predictions import Predictions
from .problems import DataError
from .tables import Table, Targets

__all__ = [
    "Cast",
    "DataError",
    "Merge",
    "MergedDataset",
    "MergedIterator",
    "Model",
    "Packed",
    "Part",
    "Predictions",
    "Table",
    "Take",
    "Targets",
    "from_function",
    "load_dataloader",
]
