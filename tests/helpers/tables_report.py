"""Tables that tests fill row by row and that are printed at the end of the run, with pytest-xdist too.

A test calls ``record(request, table, row)``; its rows travel with its report, as ``user_properties`` do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from rich.console import Console
from rich.table import Table

_KEY = "table row"


def record(request: pytest.FixtureRequest, table: str, row: dict[str, str]) -> None:
    """Add a row, a text for each column by name, to a table."""
    request.node.user_properties.append((_KEY, [table, row]))


def collected(reports: Iterable[pytest.TestReport]) -> dict[str, list[dict[str, str]]]:
    """The rows of every table, in the order of their texts."""
    tables: dict[str, list[dict[str, str]]] = {}
    for report in reports:
        for key, value in report.user_properties:
            if key == _KEY and report.when == "call":
                tables.setdefault(value[0], []).append(value[1])
    return {name: sorted(rows, key=lambda row: list(row.values())) for name, rows in sorted(tables.items())}


def printed(name: str, rows: Sequence[dict[str, str]], width: int) -> str:
    """One table as text."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = Table(title=f"{name}: {len(rows)}", title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(row.get(column, "") for column in columns))
    console = Console(width=max(width, 120), no_color=True, highlight=False, markup=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
