"""The generated dataloader: ``dataloader.py``, ``dataloader.yaml``, ``merging/`` and ``components/``."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_stitch import directory_layout as layout
from keras_stitch.directory.dataloader_plan import Merged
from keras_stitch.directory.feeders import ComponentFeeder, TargetsFeeder
from keras_stitch.directory.packed_models import Packing
from keras_stitch.directory.runtime_files import write_runtime
from keras_stitch.kipoi.component import Component
from keras_stitch.kipoi.schema import Argument
from keras_stitch.kipoi.templates import WIDTH, literal, render, write_yaml

# Folders of a component that are copied whole.
_WHOLE = {layout.DATALOADER_FILES, layout.COMPONENTS}
_LEFT_BEHIND = {layout.DOWNLOADS, layout.COMPILED}


def copy_components(directory: Path, merged: Merged) -> None:
    """Copies what the dataloaders of the parts need."""
    for feeder in merged.components:
        for file, place in {**_own_files(feeder.component), **feeder.default_files()}.items():
            copy = directory / layout.component_folder(feeder.name) / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


@dataclass(frozen=True)
class GeneratedDataloader:
    """What is written about the merged dataloader of a directory; ``inputs`` and ``targets`` are schemas."""

    graph: str
    merged: Merged
    inputs: Any
    targets: Mapping[str, Any]
    info: Mapping[str, Any]
    dependencies: Mapping[str, Any]
    packing: Packing | None = None

    def write(self, directory: Path, examples: Mapping[str, Any]) -> None:
        """Writes ``dataloader.py`` with the runtime that it uses, and ``dataloader.yaml`` with these examples."""
        (directory / layout.DATALOADER_CODE).write_text(self._code(examples), encoding="utf-8")
        write_runtime(directory)
        write_yaml(directory / layout.DATALOADER_YAML, self._description(examples))

    def _code(self, examples: Mapping[str, Any]) -> str:
        merged, labels = self.merged, self._labels()

        def described(argument: Argument) -> str:
            example = examples.get(argument.name)
            example = example.get("url") if isinstance(example, Mapping) and "url" in example else example
            more = "" if example is None else f" Example: {example}"
            return f"{argument.name}{_signature(argument)}: {argument.doc}{more}"

        values = {
            "graph": self.graph,
            "class_name": class_name(self.graph),
            "base": "MergedDataset" if merged.random_access else "MergedIterator",
            "imports": sorted({feeder.imported for feeder in merged.components if feeder.imported is not None}),
            "loaders": [(feeder.name, feeder.loader()) for feeder in merged.components],
            "arguments": [(argument, _default(argument, merged)) for argument in merged.arguments],
            "parts": [feeder.call(labels) for feeder in merged.feeders],
            "described": described,
            "packed": self.packing.calls() if self.packing is not None else None,
            "require_ids": merged.require_ids,
        }
        return render("kipoi/dataloader.py.jinja", values)

    def _labels(self) -> dict[str, Sequence[str]]:
        """The names of the columns of the targets, by output."""
        schemas = {self.targets["name"]: self.targets} if isinstance(self.targets.get("name"), str) else self.targets
        return {name: schema["column_labels"] for name, schema in schemas.items() if "column_labels" in schema}

    def _description(self, examples: Mapping[str, Any]) -> dict[str, Any]:
        merged = self.merged
        metadata = {feeder.name: feeder.metadata for feeder in merged.feeders if feeder.metadata}
        has_targets = any(isinstance(feeder, TargetsFeeder) for feeder in merged.feeders)
        by_models = ", by the models that run in it" if self.packing is not None else ""
        return {
            "type": merged.kind,
            "defined_as": f"{layout.DATALOADER_CODE}::{class_name(self.graph)}",
            "args": {argument.name: _described(argument, examples) for argument in merged.arguments},
            "info": {
                "authors": self.info["authors"],
                "doc": f"The inputs of {self.graph}, merged from the dataloaders of its parts{by_models}.",
                "license": self.info["license"],
            },
            "dependencies": self.dependencies,
            "output_schema": {
                "inputs": self.inputs,
                **({"targets": self.targets} if has_targets else {}),
                **({"metadata": metadata} if metadata else {}),
            },
        }


def class_name(graph: str) -> str:
    """The name of the generated class, such as ``MyGraphDataloader`` for ``my-graph``."""
    words = "".join(word[0].upper() + word[1:] for word in re.findall("[A-Za-z0-9]+", graph))
    return f"{words if words[:1].isalpha() else 'Stitched' + words}Dataloader"


def _own_files(component: Component) -> dict[Path, str]:
    """The files of a Kipoi directory that its dataloader needs: no weights, no downloads."""
    found: dict[Path, str] = {}
    folder = component.folder
    if folder is None:
        return found
    entrances = {layout.PREDICT_CODE, layout.PACKAGE_CODE} if (folder / layout.RECORD).is_file() else set()

    def visit(current: Path, whole: bool) -> None:
        for path in sorted(current.iterdir()):
            relative = path.relative_to(folder)
            if path.name.startswith(".") or not path.resolve().is_relative_to(folder):
                continue
            if path.is_dir():
                if not path.is_symlink() and path.name not in (_LEFT_BEHIND if whole else layout.WITHOUT_CODE):
                    visit(path, whole or (current == folder and path.name in _WHOLE))
            elif not whole and path.name in entrances and current == folder:
                continue
            elif whole or path.suffix == ".py" or relative.as_posix() in layout.DATALOADER_YAMLS:
                found[path] = relative.as_posix()

    visit(folder, False)
    return found


def shown_default(argument: Argument, merged: Merged) -> str:
    """An argument's default for people: a path in the directory, a URL or a value; empty for a required one."""
    if argument.required:
        return ""
    if isinstance(argument.default, Path):
        return _default_path(argument, merged)
    return str(argument.default["url"]) if _remote(argument) else literal(argument.default, used=-WIDTH * WIDTH)


def _default_path(argument: Argument, merged: Merged) -> str:
    """Where the file lies that an argument has by default, as a path in the directory."""
    owner = next(feeder for feeder in merged.owners[argument.name] if isinstance(feeder, ComponentFeeder))
    return owner.place(argument.default)


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
    return {
        "doc": argument.doc,
        **({"type": argument.type} if argument.type is not None else {}),
        **({"example": examples[argument.name]} if argument.name in examples else {}),
        **({"optional": True} if not argument.required else {}),
        **({"default": argument.default} if _remote(argument) else {}),
    }
