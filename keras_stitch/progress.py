"""What is under way, on the terminal of whoever waits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

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
