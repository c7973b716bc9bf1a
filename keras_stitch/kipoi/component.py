"""A component dataloader: what a Kipoi directory, an import path or a class says about itself."""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from keras_stitch.checks import path_of
from keras_stitch.errors import SourceError, StitchError, reason
from keras_stitch.files.parse_text import BadText, from_yaml
from keras_stitch.files.read_files import check_directory, find_yaml, is_directory, is_file, load_yaml
from keras_stitch.graphs.names import zoo_name
from keras_stitch.kipoi import schema
from keras_stitch.kipoi.dataloader import Dataloader, sources
from keras_stitch.kipoi.descriptions import BadDescription, Schema, dataloader_description
from keras_stitch.kipoi.optional_kipoi import FIX, has_kipoi, require_kipoi
from keras_stitch.kipoi.templates import template_module

if TYPE_CHECKING:
    from keras_stitch.kipoi.model_sources import Located

RANDOM_ACCESS = ("PreloadedDataset", "Dataset", "BatchDataset")
Given: TypeAlias = tuple[tuple[schema.Field, ...], dict[str, Any]]

FUNCTIONS = ("PreloadedDataset", "SampleGenerator", "BatchGenerator")


@dataclass(frozen=True)
class Component:
    """A dataloader of a part.

    Attributes:
        label: What messages call it: a directory or an import path.
        type: Kipoi's kind, such as ``"Dataset"`` or ``"SampleIterator"``.
        folder: The Kipoi directory, for one that is copied.
        file: The Python file in it.
        object: The class or function in the file, or its import path where there is no file.
        is_function: Whether ``object`` is a function that returns or generates the data.
        arguments: All arguments, in the order of the signature.
        metadata: Schema of the metadata as plain data; empty where there is none.
        info: As ``schema.read_info`` gives it, and the dependencies as ``schema.read_dependencies`` does.
    """

    label: str
    type: str
    folder: Path | None
    file: str | None
    object: str
    is_function: bool
    arguments: tuple[schema.Argument, ...]
    fields: tuple[schema.Field, ...]
    metadata: Mapping[str, Any]
    info: Mapping[str, Any]
    dependencies: Mapping[str, list[str]]

    def is_same_as(self, other: Component) -> bool:
        """Whether both are one dataloader with the same arguments."""
        return replace(self, label="") == replace(other, label="")


def resolve(dataloader: Dataloader) -> Component:
    """Read what a dataloader says about itself.

    Raises:
        SourceError: When there is no such dataloader, or it is not valid.
        StitchError: When ``args`` do not fit it.
    """
    source: Any = dataloader.source
    args = dict(dataloader.args or {})
    is_class = isinstance(source, type)  # by a name of its own: mypy would take it for a bare class
    if is_class:
        if "::" in (getattr(source, "defined_as", None) or "") and getattr(source, "source_dir", None):
            return _from_directory(Path(source.source_dir), args)
        return _from_import(f"{source.__module__}.{source.__qualname__}", args)
    path = path_of(source, "A dataloader")
    if is_directory(path):
        return _from_directory(path, args)
    if isinstance(source, str) and not is_file(path) and zoo_name(source):
        require_kipoi(f"'{source}', a dataloader of one of Kipoi's sources,")
        from keras_stitch.kipoi.model_sources import locate

        return _from_source(locate(source, "dataloader", "model"), args)
    if isinstance(source, str) and re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", source):
        return _from_import(source, args)
    raise SourceError(
        f"No dataloader '{source}'.",
        expected=sources(),
        received="a file" if is_file(path) else f"no directory, seen from '{Path.cwd().name}'",
    )


def default_dataloader(
    directory: Path, raw: Mapping[str, Any] | None = None, home: Path | None = None
) -> Dataloader | None:
    """The dataloader that a Kipoi directory names for its model, or its own; ``None`` where there is none.

    Args:
        directory: The directory.
        raw: What its ``model.yaml`` says; read where it is left out.
        home: The folder that relative names start from, by default the directory; members of a group have another.
    """
    if raw is None:
        model_yaml = find_yaml(directory, "model")
        raw = load_yaml(model_yaml) if model_yaml else {}
    named = raw.get("default_dataloader", ".")
    if isinstance(named, Mapping):
        return Dataloader(str(named["defined_as"]), args=named.get("default_args") or None)
    if isinstance(named, str) and zoo_name(named):
        return Dataloader(named)
    for start in (home or directory, directory):
        place = Path(os.path.normpath(start / str(named)))
        if find_yaml(place, "dataloader") is not None:
            return Dataloader(str(place))
    return Dataloader(str(directory)) if find_yaml(directory, "dataloader") is not None else None


def _from_source(located: Located, args: dict[str, Any]) -> Component:
    """A dataloader that was named in a source of Kipoi's: by its own name, or by that of its model."""
    if located.kind == "model":
        default = default_dataloader(located.directory, located.raw, located.root / located.inner)
        if default is None:
            raise SourceError(f"The model '{located.name}' names no dataloader.")
        return resolve(replace(default, args={**(default.args or {}), **args}))
    if located.of_group:
        raise SourceError(
            f"The dataloader '{located.name}' is one of a group that shares a template.",
            expected="a dataloader with a dataloader.yaml of its own",
        )
    return replace(_from_directory(located.directory, args), label=located.name)


def _from_directory(directory: Path, args: dict[str, Any]) -> Component:
    found = find_yaml(directory, "dataloader")
    if found is None:
        default = default_dataloader(directory)
        if default is None:
            raise SourceError(f"No dataloader.yaml in '{directory}'.", expected="a Kipoi directory with a dataloader")
        return resolve(replace(default, args={**(default.args or {}), **args}))
    check_directory(directory)
    raw = load_yaml(found)
    schema.check_read_files(found, raw)
    try:
        description = dataloader_description(raw, directory)
    except BadDescription as error:
        raise SourceError(f"'{found}' is not valid.", received=str(error)) from error
    file, name = _defined_in(directory, description.defined_as)
    label = str(directory)
    python_files = template_module("kipoi.merging.python_files")
    kind = description.type or "PreloadedDataset"  # of a function
    if file is not None:
        try:
            loader = python_files.load_dataloader(directory / file, name, kind)
        except Exception as error:  # whatever the module does
            raise SourceError(
                f"The dataloader of '{directory}' cannot be loaded.", received=f"{type(error).__name__}: {error}"
            ) from error
        _check_loads(label, loader)
        is_function = bool({"data_fn", "generator_fn"} & vars(loader).keys())
    else:
        loader = _import(name)
        _check_loads(label, loader)
        is_function = inspect.isfunction(loader)
        # The description below is of this directory alone.
        loader = python_files.from_function(loader, kind) if is_function else type(loader.__name__, (loader,), {})
    kind = _check_type(label, description.type, loader, is_function)
    called = (getattr(loader, "data_fn", None) or loader.generator_fn) if is_function else loader
    signature = inspect.signature(called)
    return Component(
        label=label,
        type=kind,
        folder=directory.resolve(),
        file=file,
        object=name,
        is_function=is_function,
        arguments=schema.read_arguments(label, signature, description.args, raw.get("args") or {}, directory, args),
        **_statements(_schema_in(directory, loader, description.output_schema), description, raw),
    )


def _defined_in(directory: Path, defined_as: str) -> tuple[str | None, str]:
    """The file of a directory that ``defined_as`` names, and the name in it; no file for an import path."""
    file, separator, name = defined_as.partition("::")
    if separator:
        return file, name
    module, _, attribute = defined_as.partition(".")
    if is_file(directory / f"{module}.py"):
        return f"{module}.py", attribute
    return None, defined_as


def _from_import(path: str, args: dict[str, Any]) -> Component:
    loader = _import(path)
    is_class = inspect.isclass(loader)
    if not is_class or getattr(loader, "output_schema", None) is None:
        raise SourceError(
            f"'{path}' is not a Kipoi dataloader.",
            expected="a class decorated with kipoi.data.kipoi_dataloader, or a Kipoi directory",
            received=type(loader).__name__,
        )
    kind = _check_type(path, loader.type, loader, False)
    try:
        raw = from_yaml(inspect.cleandoc(loader.__doc__ or ""))
    except BadText:
        raw = None
    raw = raw if isinstance(raw, dict) else {}
    signature = inspect.signature(loader)
    return Component(
        label=path,
        type=kind,
        folder=None,
        file=None,
        object=path,
        is_function=False,
        arguments=schema.read_arguments(path, signature, loader.args, raw.get("args") or {}, None, args),
        **_statements(_schema_of(path, loader, args), loader, raw),
    )


def _schema_in(directory: Path, loader: Any, described: Schema) -> Given:
    """Arrays and metadata of a dataloader in a directory: as described, unless its class changes what Kipoi parsed."""
    own, kipois = (getattr(kind, "get_output_schema", None) for kind in (loader, _kinds().BaseDataLoader))
    if own is None or getattr(own, "__func__", None) is getattr(kipois, "__func__", None):
        return schema.read_fields(described.inputs), schema.read_metadata(described.metadata)
    import kipoi

    loader._add_description_factory(kipoi.get_source("dir").get_dataloader_descr(str(directory.resolve())))
    return _schema_of(str(directory), loader, {})


def _schema_of(label: str, loader: Any, args: Mapping[str, Any]) -> Given:
    """Arrays and metadata of a class that has a schema, with the arguments that the user gives it."""
    try:
        if args and loader.__init__.__defaults__:
            from kipoi_utils.utils import override_default_kwargs

            # kipoiseq's loaders compute their schema from the defaults.
            loader = override_default_kwargs(loader, args)
        said = loader.get_output_schema()
        return schema.read_fields(said.inputs), schema.read_metadata(said.metadata)
    except Exception as error:  # whatever the loader does with its arguments
        given = f" with args={dict(args)!r}" if args else ""
        raise StitchError(
            f"The dataloader '{label}' cannot say which arrays it gives{given}.",
            received=f"{type(error).__name__}: {reason(error)}",
            fix="Give arguments that it takes." if args else None,
        ) from error


def _statements(given: Given, description: Any, raw: Mapping[str, Any]) -> dict[str, Any]:
    """What a dataloader gives and its description says, as the fields of a ``Component``."""
    return {
        "fields": given[0],
        "metadata": given[1],
        "info": schema.read_info(description.info, raw),
        "dependencies": schema.read_dependencies(description.dependencies),
    }


def _import(path: str) -> Any:
    parts = path.split(".")
    problem = "it is not at the top of a module"
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError as error:
            problem = str(error)
            continue
        except Exception as error:  # whatever the module does
            problem = f"{type(error).__name__}: {error}"
            break
        for part in parts[cut:]:
            if not hasattr(found, part):
                problem = f"{found.__name__} has no {part!r}"
                break
            found = getattr(found, part)
        else:
            if parts[0] != "__main__":
                return found
            problem = "it is in the program itself, which the saved directory will not have"
        break
    raise SourceError(
        f"The dataloader '{path}' cannot be imported.",
        received=problem,
        fix=FIX
        if "'kipoi" in problem and not has_kipoi()
        else "Install its package, or put it into a Kipoi directory and name that.",
    )


def _check_loads(label: str, loader: object) -> None:
    if not inspect.isclass(loader) and not inspect.isfunction(loader):
        raise SourceError(
            f"The dataloader '{label}' is neither a class nor a Python function.", received=type(loader).__name__
        )


def _check_type(label: str, stated: str | None, loader: type, is_function: bool) -> str:
    known = _kinds().AVAILABLE_DATALOADERS
    own = next((name for name, base in reversed(known.items()) if issubclass(loader, base)), None)
    kind = stated or ("PreloadedDataset" if is_function else own) or "class of its own"
    if kind not in known:
        raise SourceError(
            f"The dataloader '{label}' is a {kind}, which is none of Kipoi's kinds.",
            expected=" or ".join(known),
        )
    if is_function and kind not in FUNCTIONS:
        raise SourceError(
            f"The dataloader '{label}' is a function, which cannot be a {kind}.", expected=" or ".join(FUNCTIONS)
        )
    if not issubclass(loader, known[kind]):
        raise SourceError(
            f"The dataloader '{label}' is not what it says it is.",
            expected=f"a {kind}",
            received=f"the class {loader.__name__}, a {own}",
        )
    return kind


def _kinds() -> ModuleType:
    return template_module("kipoi.merging.dataloader_kinds")
