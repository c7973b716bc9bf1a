"""Values as Python source, formatted as ruff and black would."""

from __future__ import annotations

import ast
import textwrap
from typing import Any

WIDTH = 120


def is_plain(value: Any) -> bool:
    """Whether a value survives as Python source: numbers, strings, None, and tuples, lists and dicts of them.

    Example:
        >>> is_plain([1, "a", None]), is_plain(float("nan")), is_plain(print)
        (True, False, False)
    """
    if isinstance(value, list | tuple):
        return type(value) in (list, tuple) and all(is_plain(item) for item in value)
    if isinstance(value, dict):
        return type(value) is dict and all(is_plain(item) for pair in value.items() for item in pair)
    if value is not None and type(value) not in (bool, int, float, str):
        return False
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (SyntaxError, ValueError):
        return False


def literal(value: Any, indent: int = 0, used: int = 0) -> str:
    """A plain value as Python source.

    Args:
        value: A value for which ``is_plain`` holds.
        indent: Columns by which the line is indented.
        used: Columns of the line that are taken, before and after the value.

    Returns:
        The source, on several lines where one would be too long.

    Example:
        >>> print(literal({"shape": (3,), "doc": "it's"}))
        {"shape": (3,), "doc": "it's"}
    """
    line = _inline(value)
    if indent + used + len(line) <= WIDTH or not isinstance(value, list | tuple | dict) or not value:
        return line
    inner = " " * (indent + 4)
    if isinstance(value, dict):
        items = [f"{_inline(key)}: {literal(item, indent + 4, len(_inline(key)) + 3)}" for key, item in value.items()]
    else:
        items = [literal(item, indent + 4, 1) for item in value]
    start, end = ("{", "}") if isinstance(value, dict) else ("(", ")") if isinstance(value, tuple) else ("[", "]")
    return f"{start}\n" + "".join(f"{inner}{item},\n" for item in items) + " " * indent + end


def docstring(text: str, indent: int, hanging: int = 0) -> str:
    r"""Any text as lines of a docstring: it cannot end the docstring or escape anything.

    Args:
        text: The text; its line breaks are not kept.
        indent: Columns by which every line is indented; the first is not.
        hanging: More columns, for all but the first line.

    Example:
        >>> print(docstring('a "quote" and a \\', 4))
        a "quote" and a \\
    """
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    clean = clean.replace("\\", "\\\\").replace('"""', "'''")
    lines = textwrap.wrap(
        clean, WIDTH - indent, subsequent_indent=" " * hanging, break_long_words=False, break_on_hyphens=False
    )
    return f"\n{' ' * indent}".join(lines) or "..."


def _inline(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_inline(key)}: {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_inline, value)) + ("," if len(value) == 1 else "") + ")"
    return repr(value).replace("e+", "e") if isinstance(value, float) else repr(value)


def _quoted(text: str) -> str:
    # repr() picks the quotes by its own rule; formatters want double ones unless single ones save escapes.
    quote = '"' if text.count('"') <= text.count("'") else "'"
    body = repr("'\"" + text)[1:-1].removeprefix("\\'\"").replace("\\'", "'")
    return quote + body.replace(quote, "\\" + quote) + quote
