"""Plain-text tables for people."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def render(headers: Sequence[str], rows: Sequence[Sequence[str]], *, width: int = 200) -> str:
    """A table as text, at most ``width`` characters wide; longer cells are folded.

    Example:
        >>> print(render(("submodel", "frozen"), [("m1", "yes")]))
        submodel   frozen
        ─────────────────
        m1         yes
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        # Text, not str: brackets in names and shapes are no markup.
        table.add_row(*(Text(cell) for cell in row))
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())
