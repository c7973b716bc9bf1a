"""Merges the dataloaders of several parts so that no row gets out of step, and runs models on what they give.

A directory has those of these files that its dataloader uses. They need Kipoi, NumPy, pandas and h5py.
"""

from . import kipoi_on_numpy2 as kipoi_on_numpy2
from .data_errors import DataError
from .dataloader_part import Part
from .directory import Directory
from .merged import MergedDataset
from .merged_iterator import MergedIterator
from .numpy_merges import Cast, Merge, Take
from .prediction_file import PredictionFile
from .predictions import Predictions
from .python_files import from_function, load_dataloader
from .run_packed import Model, Packed
from .tables import Table, Targets

__all__ = [
    "Cast",
    "DataError",
    "Directory",
    "Merge",
    "MergedDataset",
    "MergedIterator",
    "Model",
    "Packed",
    "Part",
    "PredictionFile",
    "Predictions",
    "Table",
    "Take",
    "Targets",
    "from_function",
    "load_dataloader",
]
