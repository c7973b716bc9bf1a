"""The generated dataloader: ``dataloader.py``, ``dataloader.yaml``, ``merging/`` and ``components/``."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_stitch.directory.dataloader_plan import Feeder, Merged
from keras_stitch.directory.model_yaml import target_arrays
from keras_stitch.directory.packed_models import Packing
from keras_stitch.directory.runtime_files import write_runtime
from keras_stitch.graphs.spec import GraphOutput
from keras_stitch.kipoi.component import Component
from keras_stitch.kipoi.schema import Argument
from keras_stitch.kipoi.templates import WIDTH, literal, render, write_yaml
from keras_stitch.models.sample_rows import table_dtype

FOLDER = "components"

_WHOLE = {"dataloader_files", "components"}


_LEFT_BEHIND = {"downloaded", "__pycache__"}


_SKIPPED = {*_LEFT_BEHIND, "model_files", "example_files", "workflow"}


def copy_components(directory: Path, merged: Merged) -> None:
    """Copies what the dataloaders of the parts need."""
    folder = directory / FOLDER
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
    targets: Mapping[str, Any],
    outputs: Sequence[GraphOutput],
    info: Mapping[str, Any],
    dependencies: Mapping[str, Any],
    examples: Mapping[str, Any],
    packing: Packing | None = None,
) -> None:
    """Writes ``dataloader.py`` with the runtime that it uses, and ``dataloader.yaml``.

    Args:
        directory: Where to.
        graph: The name of the graph.
        merged: The merged dataloader.
        inputs: The schema of what the model takes.
        targets: The schema of the targets.
        outputs: The graph outputs, which targets are for.
        info: The info section of the model.
        dependencies: The dependencies section.
        examples: The example of every argument that has one, as it is to be written.
        packing: The models that run in the dataloader, if any do.
    """
    name = class_name(graph)

    def described(argument: Argument) -> str:
        example = examples.get(argument.name)
        example = example.get("url") if isinstance(example, Mapping) and "url" in example else example
        more = "" if example is None else f" Example: {example}"
        return f"{argument.name}{_signature(argument)}: {argument.doc}{more}"

    values = {
        "graph": graph,
        "class_name": name,
        "base": "MergedDataset" if merged.random_access else "MergedIterator",
        "imports": sorted({_module(feeder.component) for feeder in merged.feeders if _imported(feeder)}),
        "loaders": [
            (feeder.name, _loader(feeder)) for feeder in merged.feeders if feeder.component is not None
        ],
        "arguments": [
            (argument, _default(argument, merged)) for argument in merged.arguments
        ],
        "parts": [part_call(feeder, targets, outputs) for feeder in merged.feeders],
        "described": described,
        "packed": packing.calls() if packing is not None else None,
    }  # fmt: skip
    (directory / "dataloader.py").write_text(render("kipoi/dataloader.py.jinja", values), encoding="utf-8")
    write_runtime(directory)
    metadata = {feeder.name: feeder.metadata for feeder in merged.feeders if feeder.metadata}
    has_targets = any(feeder.is_targets for feeder in merged.feeders)
    write_yaml(
        directory / "dataloader.yaml",
        {
            "type": merged.kind,
            "defined_as": f"dataloader.py::{name}",
            "args": {argument.name: _described(argument, examples) for argument in merged.arguments},
            "info": {
                "authors": info["authors"],
                "doc": f"The inputs of {graph}, merged from the dataloaders of its parts"
                + (", by the models that run in it." if packing is not None else "."),
                "license": info["license"],
            },
            "dependencies": dependencies,
            "output_schema": {
                "inputs": inputs,
                **({"targets": targets} if has_targets else {}),
                **({"metadata": metadata} if metadata else {}),
            },
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


def part_call(feeder: Feeder, targets: Mapping[str, Any], outputs: Sequence[GraphOutput]) -> tuple[str, list[str]]:
    """Python source of one part of the merged dataloader: what is called, and its arguments, one for each line."""
    alignment = feeder.alignment
    joined = [] if alignment.align_on is None else [f"align_on={literal(alignment.align_on)}"]
    joined += [] if alignment.compared or feeder.component is not None else ["compared=False"]
    joined += [] if alignment.missing == "error" else [f"missing={literal(alignment.missing)}"]
    path = next(iter(feeder.arguments.values()), "")
    if feeder.is_targets:
        arrays = target_arrays(outputs)
        schemas = {targets["name"]: targets} if len(outputs) == 1 else targets
        labels = {name: schemas[name]["column_labels"] for name in arrays if "column_labels" in schemas[name]}
        lines = [path, literal(arrays, indent=16, used=1)]
        return "merging.Targets", [*lines, *([f"labels={literal(labels, 16, 8)}"] if labels else []), *joined]
    if feeder.predicted is not None:
        found = feeder.predicted
        lines = [literal(feeder.name), path, literal(dict(found.tensors), 16, 1), f"made_by={literal(found.made_by)}"]
        given = ", ".join(f"{literal(name)}: {name}" for name in found.given)
        lines += [f"model={literal(found.model)}"] if found.model != feeder.name else []
        return "merging.Predictions", [*lines, *([f"given={{{given}}}"] if given else []), *joined]
    if feeder.port is not None:
        port = feeder.port
        lines = [literal(port.name), path, f"shape={literal(port.shape)}", f"dtype={literal(table_dtype(port))}"]
        return "merging.Table", [*lines, *joined]
    name = literal(feeder.name)
    passed = "".join(f"{' ' * 20}{literal(own)}: {outer},\n" for own, outer in feeder.arguments.items())
    lines = [name, f"LOADERS[{name}]", f"{{\n{passed}{' ' * 16}}}" if passed else "{}"]
    inputs = {target: field.path for target, field in feeder.fields.items()}
    lines.append(f"inputs={literal(inputs, indent=16, used=8)}")
    lines += ["metadata=True"] if feeder.metadata else []
    lines += [f"{kind}={literal(path)}" for kind in ("ids", "ranges") if (path := getattr(alignment, kind)) is not None]
    lines += [f"resized_by={literal(alignment.resized_by)}"] if alignment.resized_by and alignment.ranges else []
    in_order = feeder.dataloader is not None and feeder.dataloader.in_order
    return "merging.Part", [*lines, *joined, *(["in_order=True"] if in_order else [])]


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
                if not path.is_symlink() and path.name not in (_LEFT_BEHIND if whole else _SKIPPED):
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
        place = f"HERE / {literal(f'{FOLDER}/{feeder.name}/{component.file}')}"
        kind = [literal(component.type)] if component.is_function and component.type != "PreloadedDataset" else []
        return [place, literal(component.object), *kind]
    if not component.is_function:
        return [component.object]
    return [f"merging.from_function({component.object}, {literal(component.type)})"]


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
