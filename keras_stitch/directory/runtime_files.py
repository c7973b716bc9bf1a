"""The runtime of a generated directory: the files of ``merging/`` that it uses, and no others; its two ways in."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from keras_stitch import directory_layout as layout
from keras_stitch.kipoi.templates import template_files, template_text

_INIT = "__init__"
_COMMAND_LINE = "command_line"


def write_entrances(directory: Path) -> None:
    """Writes the program that predicts with a directory, and what makes it a package; ``write_runtime`` comes later."""
    for name, template in (
        (layout.PREDICT_CODE, "directory_program.py"),
        (layout.PACKAGE_CODE, "directory_package.py"),
    ):
        (directory / name).write_text(template_text(f"kipoi/{template}"), encoding="utf-8")


def write_runtime(directory: Path, *modules: str) -> None:
    """Writes ``merging/`` for ``dataloader.py`` and ``model.py`` in a directory, and the modules that others need."""
    texts = {
        name.removesuffix(".py"): template_text(f"kipoi/{layout.RUNTIME}/{name}")
        for name in template_files(f"kipoi/{layout.RUNTIME}")
    }
    trees = {name: ast.parse(text) for name, text in texts.items()}
    files = [directory / name for name in (layout.DATALOADER_CODE, layout.MODEL_CODE) if (directory / name).is_file()]
    code = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    always = [alias.name for module, names in _imports(trees[_INIT]) if not module for alias in names]
    entrance = [_COMMAND_LINE] if (directory / layout.PREDICT_CODE).is_file() else []
    needed = sorted(_reached([*always, *entrance, *modules, *_used(code, trees)], trees))
    (directory / layout.RUNTIME).mkdir(exist_ok=True)
    for name in needed:
        (directory / layout.RUNTIME / f"{name}.py").write_text(texts[name], encoding="utf-8")
    (directory / layout.RUNTIME / f"{_INIT}.py").write_text(_init(texts[_INIT], trees[_INIT], needed), encoding="utf-8")


def _used(code: Iterable[ast.AST], trees: Mapping[str, ast.Module]) -> Iterator[str]:
    """Yields the modules that code uses: as ``merging.Name``, or by a text that is the name of a file."""
    homes = {alias.name: module for module, names in _imports(trees[_INIT]) for alias in names}
    files = {f"{module}.py": module for module in trees if module != _INIT}
    for node in (node for tree in code for node in ast.walk(tree)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == layout.RUNTIME:
            yield homes[node.attr]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in files:
            yield files[node.value]


def _reached(modules: Iterable[str], trees: Mapping[str, ast.Module]) -> set[str]:
    """The modules, all that they import, and all that those import."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [module or alias.name for module, names in _imports(trees[name]) for alias in names]
    return found


def _imports(tree: ast.Module) -> Iterator[tuple[str, list[ast.alias]]]:
    """Yields module and names of every relative import; no module for ``from . import name``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            yield node.module or "", node.names


def _init(text: str, tree: ast.Module, needed: Collection[str]) -> str:
    """The text of ``__init__.py`` with those of its imports whose modules are there."""
    head, *_ = tree.body
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    kept = [node for node in imports if not node.module or node.module in needed]
    names = sorted(alias.name for node in kept if node.module for alias in node.names)
    pieces = [
        ast.get_source_segment(text, head) or "",
        "\n".join(ast.unparse(node) for node in kept),
        "__all__ = [\n" + "".join(f'    "{name}",\n' for name in names) + "]",
    ]
    return "\n\n".join(pieces) + "\n"
