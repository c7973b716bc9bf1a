"""The one Jinja environment, Python literals for it, and files that are copied from the templates as they are."""

from __future__ import annotations

import ast
import importlib.resources
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2
import yaml

from keras_stitch import directory_layout as layout

# The class of Keras models in generated directories: a file beside their model.yaml.
STITCHED_MODEL = "stitched_model.StitchedModel"
_PACKAGE = "keras_stitch.model_templates"


def render(name: str, values: Mapping[str, Any]) -> str:
    """The text that a template of ``model_templates`` gives; a value that it lacks is an error.

    Templates quote values with the filters ``literal`` (Python source), ``docstring`` and ``cell`` (Markdown): no text
    of a user's is inserted as it is.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(template_text),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # these are no HTML pages: the filters quote for Python and Markdown
    )
    environment.filters.update(literal=literal, docstring=docstring, cell=markdown)
    return environment.get_template(name).render(values)


def template_text(name: str) -> str:
    """The text of a file in ``model_templates``."""
    return importlib.resources.files(_PACKAGE).joinpath(*name.split("/")).read_text(encoding="utf-8")


def template_files(folder: str) -> list[str]:
    """The names of the Python files in a folder of ``model_templates``."""
    place = importlib.resources.files(_PACKAGE).joinpath(*folder.split("/"))
    return sorted(file.name for file in place.iterdir() if file.name.endswith(".py"))


def template_module(name: str) -> ModuleType:
    """A plain Python file of ``model_templates`` as a module: the code that generated directories run, too."""
    return importlib.import_module(f"{_PACKAGE}.{name}")


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain data as YAML, in the order given."""
    text = yaml.safe_dump(_plain(content), sort_keys=False, allow_unicode=True, width=100)
    path.write_text(text, encoding="utf-8")


def markdown(text: Any) -> str:
    r"""Any text on one line of Markdown, also in a cell of a table.

    Example:
        >>> print(markdown("a|b\n<c>"))
        a\|b &lt;c>
    """
    line = " ".join(str(text).split())
    for character in "\\`*[]|":
        line = line.replace(character, "\\" + character)
    return line.replace("&", "&amp;").replace("<", "&lt;")


def _plain(value: Any) -> Any:
    """The same data without subclasses of str, dict and list, and without shared parts, which YAML would alias."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def write_stitched_model(folder: Path) -> str:
    """Write the class of stitched models into a directory; returns its name for ``defined_as``."""
    (folder / layout.STITCHED_MODEL_CODE).write_text(
        template_text(f"kipoi/{layout.STITCHED_MODEL_CODE}"), encoding="utf-8"
    )
    return STITCHED_MODEL


WIDTH = 120


def is_plain(value: Any) -> bool:
    """Whether a value survives as Python source: numbers, strings, None, and tuples, lists and dicts of them."""
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
    """A plain value as Python source, on several lines where one would be too long.

    Args:
        value: A value for which ``is_plain`` holds.
        indent: Columns by which the line is indented.
        used: Columns of the line that are taken, before and after the value.

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
    """Any text as lines of a docstring: it cannot end the docstring or escape anything.

    Args:
        text: The text; its line breaks are not kept.
        indent: Columns by which every line is indented; the first is not.
        hanging: More columns, for all but the first line.
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
