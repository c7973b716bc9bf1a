"""What a user says about one component dataloader."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Dataloader:
    """One component dataloader, with what is special about it.

    Required arguments that have the same name in several dataloaders are one argument of the merged dataloader, so
    that all of them read the same ``fasta_file``; ``args`` gives one of them a value of its own. Optional arguments
    stay apart: their names start with that of the submodel or input.

    Args:
        source: A Kipoi directory, an import path such as ``"kipoiseq.dataloaders.SeqIntervalDl"`` or a Kipoi
            dataloader class. Random access is needed: Kipoi's ``Dataset`` or ``PreloadedDataset``.
        outputs: Which field of the loader feeds which graph input, or inputs. Without it a single array feeds the
            one input it stands for, and the fields of a dict or list go by name: that of the graph input, or of the
            port that it feeds.
        args: New defaults for arguments of the loader. A required argument that is given here becomes optional, and
            an example that the loader has for it is dropped. A path of an existing file is copied into the directory.

    Example:
        >>> Dataloader("kipoiseq.dataloaders.SeqIntervalDl", args={"auto_resize_len": 101}).args
        {'auto_resize_len': 101}
    """

    source: str | os.PathLike[str] | type
    outputs: Mapping[str, str | Sequence[str]] | None = None
    args: Mapping[str, Any] | None = None
