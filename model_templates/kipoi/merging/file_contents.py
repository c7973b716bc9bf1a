"""What a file with rows holds, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .row_names import NamingFields


@dataclass
class Contents:
    """Arrays, and what names their rows.

    Attributes:
        rows: For every array something that has a shape and gives rows by their numbers.
        naming: Which fields name the rows.
        names: The same as ``rows`` for every such field that is compared.
        labels: The names of the columns of an array, where the file has some.
    """

    rows: dict[str, Any]
    naming: NamingFields = field(default_factory=NamingFields)
    names: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, list[str]] = field(default_factory=dict)
