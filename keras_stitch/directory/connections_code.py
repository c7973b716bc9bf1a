"""Python source of what arrives at a model: tensors, and merges and parts of them."""

from __future__ import annotations

from typing import Any

from keras_stitch.kipoi.templates import WIDTH, literal
from keras_stitch.placement.cut_into_stages import Cast, Merged, Take


def source(value: Any, indent: int = 0, used: int = 0) -> str:
    """Connections, and dicts and lists of them, as Python source that makes them; indent and used are columns.

    Example:
        >>> from keras_stitch.graphs.slices import Span
        >>> print(source({"x": Merged("stack", ("model1", Take("input1", Span(0, 1))), "float32", {"axis": 1})}))
        {"x": merging.Merge("stack", ["model1", merging.Take("input1", 0, 1)], "float32", axis=1)}
    """
    start, end, items = _pieces(value)
    if not items:
        return start + end
    line = _in_one_line(value)
    if indent + used + len(line) <= WIDTH and "\n" not in line:
        return line
    inner = " " * (indent + 4)
    lines = [f"{inner}{before}{source(item, indent + 4, len(before) + 1)},\n" for before, item in items]
    return f"{start}\n{''.join(lines)}{' ' * indent}{end}"


def _in_one_line(value: Any) -> str:
    start, end, items = _pieces(value)
    return start + ", ".join(f"{before}{_in_one_line(item)}" for before, item in items) + end


def _pieces(value: Any) -> tuple[str, str, list[tuple[str, Any]]]:
    """How the source of something starts and ends, and what comes between, each with what is written before it."""
    if isinstance(value, dict):
        return "{", "}", [(f"{literal(key)}: ", item) for key, item in value.items()]
    if isinstance(value, list):
        return "[", "]", [("", item) for item in value]
    if isinstance(value, Take):
        return "merging.Take(", ")", [("", value.source), *value.span.arguments]
    if isinstance(value, Cast):
        return "merging.Cast(", ")", [("", value.source), ("", value.dtype)]
    if isinstance(value, Merged):
        options = [(f"{name}=", option) for name, option in value.options.items()]
        return "merging.Merge(", ")", [("", value.kind), ("", list(value.sources)), ("", value.dtype), *options]
    return literal(value), "", []
