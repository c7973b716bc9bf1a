"""What is shown to people: tables, in terminals and notebooks, and progress."""

from __future__ import annotations

import contextlib
import html
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich import box, progress
from rich import table as rich_table
from rich.console import Console
from rich.text import Text


def render(headers: Sequence[str], rows: Sequence[Sequence[str]], *, width: int = 200) -> str:
    """A table as text, at most ``width`` characters wide; longer cells are folded.

    Example:
        >>> print(render(("submodel", "frozen"), [("m1", "yes")]))
        submodel   frozen
        ─────────────────
        m1         yes
    """
    table = rich_table.Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        # Text, not str: brackets in names and shapes are no markup.
        table.add_row(*(Text(cell) for cell in row))
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


@dataclass(frozen=True)
class Table:
    """A table as data: what its columns are called, and its cells."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        return render(self.headers, self.rows)

    def _repr_html_(self) -> str:
        def row(cells: Sequence[str], tag: str) -> str:
            aligned = (f'<{tag} style="text-align: left">{html.escape(cell)}</{tag}>' for cell in cells)
            return f"<tr>{''.join(aligned)}</tr>"

        body = "".join(row(cells, "td") for cells in self.rows)
        return f"<table><thead>{row(self.headers, 'th')}</thead><tbody>{body}</tbody></table>"


class Shown:
    """What shows as text and tables: with ``print``, at a Python prompt, and as HTML in a notebook."""

    def _lines(self) -> Sequence[str | Table]:
        """Lines of text and tables, one below the other; an empty line is for text alone."""
        raise NotImplementedError

    def __str__(self) -> str:
        return "\n".join(map(str, self._lines()))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return "\n".join(
            line._repr_html_()
            if isinstance(line, Table)
            else f'<p style="white-space: pre-wrap">{html.escape(line.strip())}</p>'
            for line in self._lines()
            if line != ""
        )


Step = Callable[[str], None]


# What is shown now, the inner one last: a terminal has one place for bars.
_shown: list[progress.Progress] = []


@contextlib.contextmanager
def others_show() -> Iterator[None]:
    """Take away what is shown while something else, such as the bars of another package, is on the terminal."""
    outer = _shown[-1] if _shown else None
    if outer is not None:
        outer.stop()
    try:
        yield
    finally:
        if outer is not None:
            outer.start()


@contextlib.contextmanager
def _progress(*columns: progress.ProgressColumn) -> Iterator[progress.Progress]:
    console = Console(stderr=True)
    bar = progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    if not console.is_terminal:  # rich before 14.3 leaves an empty line of a bar that is off
        yield bar
        return
    with others_show(), bar:
        _shown.append(bar)
        try:
            yield bar
        finally:
            _shown.remove(bar)


@contextlib.contextmanager
def steps(report: Step | None = None) -> Iterator[Step]:
    """A function to call with a few words at every step of something long.

    By default it shows the words and the time gone by on one line, which disappears in the end; nothing where the
    standard error is no terminal.
    """
    if report is not None:
        yield report
        return
    words = progress.TextColumn("{task.description}", markup=False)
    with _progress(progress.SpinnerColumn(), words, progress.TimeElapsedColumn()) as shown:
        task = shown.add_task("starting", total=None)
        yield lambda text: shown.update(task, description=text)


@contextlib.contextmanager
def rows_done(done: int, rows: int | None, report: Step | None = None) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of rows that are done, of as many as there will be, if that is known.

    By default a bar is shown that disappears in the end; ``report`` gets the numbers in words instead.
    """

    def words(done: int) -> str:
        return f"{done:,} rows" if rows is None else f"{done:,} of {rows:,} rows"

    if report is not None:
        yield lambda done: report(words(done))
        return
    text = progress.TextColumn("{task.description}", markup=False)
    times = (progress.TimeElapsedColumn(), progress.TimeRemainingColumn())
    with _progress(text, progress.BarColumn(), *times) as shown:
        task = shown.add_task(words(done), total=rows, completed=done)
        yield lambda done: shown.update(task, description=words(done), completed=done)


@contextlib.contextmanager
def bytes_done(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A function to call with the number of bytes that have come, of as many as there will be, if that is known.

    It shows a bar behind ``what``, which disappears in the end; nothing where the standard error is no terminal.
    """
    sizes = (progress.DownloadColumn(), progress.TransferSpeedColumn(), progress.TimeRemainingColumn())
    with _progress(progress.TextColumn("{task.description}", markup=False), progress.BarColumn(), *sizes) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
