"""The generated dataloader: ``dataloader.py``, ``dataloader.yaml`` and ``components/``."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keras_stitch.kipoi.components import Component
from keras_stitch.kipoi.describing import Argument
from keras_stitch.kipoi.examples import table_dtype
from keras_stitch.kipoi.literals import WIDTH, literal
from keras_stitch.kipoi.merging import Feeder, Merged
from keras_stitch.kipoi.rendering import render, template_text, write_yaml

FOLDER = "components"
_WHOLE = {"dataloader_files", "components"}
_SKIPPED = {"downloaded", "model_files", "example_files", "__pycache__", "workflow"}


def copy_components(directory: Path, merged: Merged) -> None:
    """Copies what the dataloaders of the parts need, and the helpers of the generated one."""
    folder = directory / FOLDER
    folder.mkdir()
    names = ["parts.py"] + (["tables.py"] if any(feeder.component is None for feeder in merged.feeders) else [])
    for name in names:
        (folder / name).write_text(template_text(f"kipoi/components/{name}"), encoding="utf-8")
    for feeder in merged.feeders:
        if feeder.component is None:
            continue
        for file, place in {**_own_files(feeder.component), **_default_files(feeder.component)}.items():
            copy = folder / feeder.name / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


def write_dataloader(
    directory: Path,
    graph: str,
    merged: Merged,
    inputs: Mapping[str, Any],
    info: Mapping[str, Any],
    dependencies: Mapping[str, Any],
    examples: Mapping[str, Any],
) -> None:
    """Writes ``dataloader.py`` and ``dataloader.yaml``.

    Args:
        directory: Where to.
        graph: The name of the graph.
        merged: The merged dataloader.
        inputs: The schema of every graph input.
        info: The info section of the model.
        dependencies: The dependencies section.
        examples: The example of every argument that has one, as it is to be written.
    """
    name = class_name(graph)
    values = {
        "graph": graph,
        "class_name": name,
        "imports": sorted({_module(feeder.component) for feeder in merged.feeders if _imported(feeder)}),
        "loaders": [
            (feeder.name, _loader(feeder)) for feeder in merged.feeders if feeder.component is not None
        ],
        "tables": [feeder for feeder in merged.feeders if feeder.component is None],
        "arguments": [
            (argument, _default(argument, merged)) for argument in merged.arguments
        ],
        "feeders": merged.feeders,
        "table_dtype": table_dtype,
        "signature": _signature,
        "rows": [(name, row_expression(feeder, name)) for name, feeder in _by_input(merged, inputs)],
    }  # fmt: skip
    (directory / "dataloader.py").write_text(render("kipoi/dataloader.py.jinja", values), encoding="utf-8")
    metadata = {feeder.name: feeder.metadata for feeder in merged.feeders if feeder.metadata}
    write_yaml(
        directory / "dataloader.yaml",
        {
            "type": "Dataset",
            "defined_as": f"dataloader.py::{name}",
            "args": {argument.name: _described(argument, examples) for argument in merged.arguments},
            "info": {
                "authors": info["authors"],
                "doc": f"The inputs of {graph}, merged from the dataloaders of its parts.",
                "license": info["license"],
            },
            "dependencies": dependencies,
            "output_schema": {"inputs": inputs, **({"metadata": metadata} if metadata else {})},
        },
    )


def class_name(graph: str) -> str:
    """The name of the generated class.

    Example:
        >>> class_name("my composed-model"), class_name("2")
        ('MyComposedModelDataloader', 'Stitched2Dataloader')
    """
    words = "".join(word[0].upper() + word[1:] for word in re.findall("[A-Za-z0-9]+", graph))
    return f"{words if words[:1].isalpha() else 'Stitched' + words}Dataloader"


def row_expression(feeder: Feeder, name: str) -> str:
    """Python source for the array that feeds a graph input, from the rows of the components."""
    path = feeder.fields[name].path if feeder.component is not None else ()
    return f'rows[{literal(feeder.name)}]["inputs"]' + "".join(f"[{literal(key)}]" for key in path)


def _by_input(merged: Merged, inputs: Mapping[str, Any]) -> Iterator[tuple[str, Feeder]]:
    for name in inputs:
        for feeder in merged.feeders:
            if name in feeder.fields or (feeder.port is not None and feeder.port.name == name):
                yield name, feeder


def _own_files(component: Component) -> dict[Path, str]:
    """The files of a Kipoi directory that its dataloader needs: no weights, no downloads."""
    found: dict[Path, str] = {}
    folder = component.folder
    if folder is None:
        return found

    def visit(current: Path, whole: bool) -> None:
        for path in sorted(current.iterdir()):
            relative = path.relative_to(folder)
            if path.name.startswith(".") or not path.resolve().is_relative_to(folder):
                continue
            if path.is_dir():
                if not path.is_symlink() and path.name not in _SKIPPED:
                    visit(path, whole or (current == folder and path.name in _WHOLE))
            elif whole or path.suffix == ".py" or relative.as_posix() in ("dataloader.yaml", "dataloader.yml"):
                found[path] = relative.as_posix()

    visit(folder, False)
    return found


def _default_files(component: Component) -> dict[Path, str]:
    return {
        argument.default: _place(argument.default, component)
        for argument in component.arguments
        if isinstance(argument.default, Path)
    }


def _place(file: Path, component: Component) -> str:
    if component.folder is not None and file.is_relative_to(component.folder):
        return file.relative_to(component.folder).as_posix()
    return f"dataloader_files/{file.name}"


def _imported(feeder: Feeder) -> bool:
    return feeder.component is not None and feeder.component.file is None


def _module(component: Component | None) -> str:
    assert component is not None
    return component.object.rpartition(".")[0]


def _loader(feeder: Feeder) -> list[str]:
    """Python source of the class of a component: one expression, or the arguments of ``load_dataloader``."""
    component = feeder.component
    assert component is not None
    if component.file is not None:
        return [f"HERE / {literal(f'{FOLDER}/{feeder.name}/{component.file}')}", literal(component.object)]
    return [f"parts.from_function({component.object})" if component.is_function else component.object]


def shown_default(argument: Argument, merged: Merged) -> str:
    """An argument's default for people: a path in the directory, a URL or a value; empty for a required one."""
    if argument.required:
        return ""
    if isinstance(argument.default, Path):
        return _default_path(argument, merged)
    return str(argument.default["url"]) if _remote(argument) else literal(argument.default, used=-WIDTH * WIDTH)


def _default_path(argument: Argument, merged: Merged) -> str:
    feeder = merged.owners[argument.name][0]
    assert feeder.component is not None
    return f"{FOLDER}/{feeder.name}/{_place(argument.default, feeder.component)}"


def _default(argument: Argument, merged: Merged) -> str | None:
    """Python source of an argument's default; ``None`` for a required one."""
    if argument.required:
        return None
    if isinstance(argument.default, Path):
        return f"str(HERE / {literal(_default_path(argument, merged))})"
    if _remote(argument):
        return "None"  # Kipoi downloads the file that dataloader.yaml names
    return literal(argument.default, indent=8, used=len(argument.name) + 2)


def _signature(argument: Argument) -> str:
    words = [*([argument.type] if argument.type else []), *([] if argument.required else ["optional"])]
    return f" ({', '.join(words)})" if words else ""


def _remote(argument: Argument) -> bool:
    return isinstance(argument.default, dict) and "url" in argument.default


def _described(argument: Argument, examples: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"doc": argument.doc}
    if argument.type is not None:
        described["type"] = argument.type
    if argument.name in examples:
        described["example"] = examples[argument.name]
    if not argument.required:
        described["optional"] = True
    if _remote(argument):
        described["default"] = argument.default
    return described
