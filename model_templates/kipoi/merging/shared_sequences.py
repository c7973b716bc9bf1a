"""Sequence dataloaders of kipoiseq that differ in length only read intervals and genome once for all of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from .blocks import as_text

_SETTINGS = ("intervals_file", "fasta_file", "num_chr_fasta", "use_strand", "force_upper")
_BED_SETTINGS = ("bed_columns", "num_chr", "ambiguous_mask", "incl_chromosomes", "excl_chromosomes", "ignore_targets")


def same_extraction(one: Any, other: Any) -> bool:
    """Whether two dataloaders read the same intervals of the same genome, perhaps with other lengths."""
    one, other = _inner(one), _inner(other)
    if one is None or other is None:
        return False
    # A subclass may have put something of its own in their place.
    if any(
        loader.fasta_extractors is not None and type(loader.fasta_extractors) is not _Genome for loader in (one, other)
    ):
        return False
    try:
        return bool(
            all(getattr(one, name) == getattr(other, name) for name in _SETTINGS)
            and all(getattr(one.bed, name) == getattr(other.bed, name) for name in _BED_SETTINGS)
            and one.bed.label_dtype == other.bed.label_dtype
            and type(_bare(one.bed)) is type(_bare(other.bed))
            and one.bed.df.equals(other.bed.df)
        )
    except AttributeError:  # another version of kipoiseq
        return False


def share_extraction(loaders: Sequence[Any]) -> None:
    """Lets dataloaders for which ``same_extraction`` holds look up each interval and sequence once.

    They have to be asked for the same row one after another. Each of them still resizes and encodes by its own code; a
    sequence is cut out of a longer one only where it lies within it, and the longer one was read in full.
    """
    inner = [_inner(loader) for loader in loaders]
    bed, genome = _Bed(_bare(inner[0].bed)), _Genome(inner[0])
    for loader in inner:
        loader.bed, loader.fasta_extractors = bed, genome


def length_of(loader: Any) -> int:
    """Returns the length of its sequences; 0 if that is the interval's."""
    return _inner(loader).auto_resize_len or 0


def bed_names(loader: Any) -> np.ndarray | None:
    """Returns the names of all rows of the BED file of a dataloader, which kipoiseq does not pass on.

    They are the fourth column, unless that has only numbers and kipoiseq takes it for a label.
    """
    inner = _inner(loader)
    table = None if inner is None else getattr(inner.bed, "df", None)
    if table is None or table.shape[1] < 4:
        return None
    texts = as_text(table.iloc[:, 3].fillna("").to_numpy(dtype="O"))
    if inner.bed.bed_columns < 4 and all(_is_number(text) for text in texts.tolist()):
        return None
    return texts


def _is_number(text: str) -> bool:
    try:
        return float(text) is not None
    except ValueError:
        return text in ("", ".")


def _bare(bed: Any) -> Any:
    return bed.bed if isinstance(bed, _Bed) else bed


def _inner(loader: Any) -> Any:
    """Returns the dataloader of strings in it; None if it is not one of kipoiseq's own."""
    module = sys.modules.get("kipoiseq.dataloaders.sequence")
    if module is None:
        return None
    if _getter(loader) is module.SeqIntervalDl.__getitem__:
        loader = loader.seq_dl
    return loader if _getter(loader) is module.StringSeqIntervalDl.__getitem__ else None


def _getter(loader: Any) -> Any:
    return getattr(type(loader), "__getitem__", None)


class _Bed:
    """Intervals; the last one is kept."""

    def __init__(self, bed: Any) -> None:
        self.bed, self.row, self.item = bed, None, None

    def __len__(self) -> int:
        return len(self.bed)

    def __getitem__(self, row: Any) -> Any:
        if row != self.row:
            self.item, self.row = self.bed[row], row
        return self.item

    def __getattr__(self, name: str) -> Any:
        if name == "bed":  # while it is being copied
            raise AttributeError(name)
        return getattr(self.bed, name)


class _Genome:
    """Sequences; the last one is kept, as others may lie within it."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.extractor: Any = None
        self.kept: tuple[Any, int, int, str] | None = None

    def extract(self, interval: Any) -> Any:
        """Returns the sequence of an interval."""
        if self.extractor is None:  # files are opened where they are read
            from kipoiseq.extractors import FastaStringExtractor

            self.extractor = FastaStringExtractor(
                self.loader.fasta_file, use_strand=self.loader.use_strand, force_upper=self.loader.force_upper
            )
        key = (interval.chrom, interval.strand)
        if self.kept is not None:
            kept_key, start, stop, sequence = self.kept
            if kept_key == key and start <= interval.start <= interval.stop <= stop:
                reverse = self.loader.use_strand and interval.strand == "-"
                first = stop - interval.stop if reverse else interval.start - start
                return sequence[first : first + interval.stop - interval.start]
        sequence = self.extractor.extract(interval)
        if interval.start >= 0 and len(sequence) == interval.stop - interval.start:
            self.kept = (key, interval.start, interval.stop, sequence)
        return sequence
