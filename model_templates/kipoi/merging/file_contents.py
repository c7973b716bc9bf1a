"""What a file with rows holds, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Contents:
    """Arrays, and what names their rows.

    Attributes:
        rows: For every array something that has a shape and gives rows by their numbers.
        ids: The same for the names of the rows; None where they have none.
        ranges: The columns of a genomic range, with one entry for each row.
        labels: The names of the columns of an array, where the file has some.
    """

    rows: dict[str, Any]
    ids: Any = None
    ranges: dict[str, np.ndarray] = field(default_factory=dict)
    labels: dict[str, list[str]] = field(default_factory=dict)
