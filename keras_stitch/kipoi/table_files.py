"""The formats of files with rows, as the runtime of generated directories has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_stitch.kipoi.templates import template_module


def _formats() -> Any:
    return template_module("kipoi.merging.table_formats")


def listed() -> str:
    """The names of all formats, for messages."""
    return str(_formats().listed())


def documented() -> str:
    """The names of all formats, with what their files need."""
    return str(_formats().documented())


def requirement_of(file: Path) -> str | None:
    """What has to be installed to read a file; ``None`` where every generated directory has it."""
    with file.open("rb") as opened:
        requirement = _formats().format_of(opened.read(8), file.name).requirement
    return None if requirement is None else str(requirement)
