"""What is shown to whoever waits: tables, and progress."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
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


Step = Callable[[str], None]


@contextlib.contextmanager
def steps(report: Step | None = None) -> Iterator[Step]:
    """A function to call with a few words at every step of something long.

    Args:
        report: Gets the words instead of the terminal.

    Yields:
        By default, a function that shows the words and the time gone by on one line, which disappears in the
        end; nothing where the standard error is no terminal.

    Example:
        >>> with steps() as step:
        ...     step("counting")
    """
    if report is not None:
        yield report
        return
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("starting", total=None)

        def show(text: str) -> None:
            progress.update(task, description=text)

        yield show


@contextlib.contextmanager
def rows_done(done: int, rows: int | None, report: Step | None = None) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of rows that are done.

    Args:
        done: How many are done at the start.
        rows: How many there will be, if that is known.
        report: Gets the numbers in words instead of the terminal, where a bar is shown that disappears in the end.
    """

    def words(done: int) -> str:
        return f"{done:,} rows" if rows is None else f"{done:,} of {rows:,} rows"

    if report is not None:
        yield lambda done: report(words(done))
        return
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(words(done), total=rows, completed=done)
        yield lambda done: shown.update(task, description=words(done), completed=done)
