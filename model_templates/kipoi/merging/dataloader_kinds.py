"""The kinds of dataloaders: Kipoi's own classes where it is installed, as it asks for them, and ours where it is not.

A directory that is loaded as a component of another finds the other's classes, under Kipoi's names (``kipoi_names``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .own_dataloaders import (
    AVAILABLE_DATALOADERS,
    BaseDataLoader,
    BatchDataset,
    BatchGenerator,
    BatchIterator,
    Dataset,
    GenomicRanges,
    PreloadedDataset,
    SampleGenerator,
    SampleIterator,
    numpy_collate,
)

if not TYPE_CHECKING:
    try:
        from kipoi.data import (
            AVAILABLE_DATALOADERS,
            BaseDataLoader,
            BatchDataset,
            BatchGenerator,
            BatchIterator,
            Dataset,
            PreloadedDataset,
            SampleGenerator,
            SampleIterator,
        )
        from kipoi.metadata import GenomicRanges
        from kipoi_utils.data_utils import numpy_collate
    except ImportError:
        pass

HAS_KIPOI = Dataset.__module__ == "kipoi.data"

__all__ = [
    "AVAILABLE_DATALOADERS",
    "HAS_KIPOI",
    "BaseDataLoader",
    "BatchDataset",
    "BatchGenerator",
    "BatchIterator",
    "Dataset",
    "GenomicRanges",
    "PreloadedDataset",
    "SampleGenerator",
    "SampleIterator",
    "numpy_collate",
]
