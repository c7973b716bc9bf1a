"""The one Jinja environment, and files that are copied from the templates as they are."""

from __future__ import annotations

import importlib
import importlib.resources
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2
import yaml

from keras_stitch.kipoi.literals import docstring, literal

# The class of Keras models in generated directories: a file beside their model.yaml.
STITCHED_MODEL = "stitched_model.StitchedModel"
_PACKAGE = "keras_stitch.model_templates"


def render(name: str, values: Mapping[str, Any]) -> str:
    """The text that a template gives; a value that it lacks is an error.

    Args:
        name: The template, relative to ``model_templates``.
        values: What its variables stand for. Templates quote them with the filters ``literal`` (Python source),
            ``docstring`` and ``cell`` (Markdown): no text of a user's is inserted as it is.
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
    """Writes plain data as YAML, in the order given."""
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
    """Writes the class of stitched models into a directory; returns it as ``defined_as`` names it."""
    (folder / "stitched_model.py").write_text(template_text("kipoi/stitched_model.py"), encoding="utf-8")
    return STITCHED_MODEL
