"""Custom objects of the parts: the file that Kipoi loads them from, and a refusal of those that no file can have."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from keras_stitch import directory_layout as layout
from keras_stitch.errors import SaveError, StitchError
from keras_stitch.files import read_files
from keras_stitch.keras_private import layers_within
from keras_stitch.kipoi.templates import literal, render
from keras_stitch.models.custom_objects import CustomObjects, Origin, importable, registered_in, registered_name

_MODULES = ("activations", "constraints", "initializers", "losses", "metrics", "optimizers", "regularizers")


@dataclass(frozen=True)
class Carried:
    """What a directory carries so that others can load its model.

    Attributes:
        files: The content of every file, by its path in the directory; Kipoi is told of ``layout.CUSTOM_OBJECTS``.
        requirements: The distributions that the files import from.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()

    def write(self, directory: Path) -> None:
        """Writes the files."""
        for name, content in self.files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)


@dataclass(frozen=True)
class _Needed:
    """A custom object that a submodel needs: the object, and the file or module that others get it from."""

    submodel: str
    item: Any
    origin: Origin

    @property
    def source(self) -> Path | None:
        """The file that is copied; ``None`` for a module of an installed distribution."""
        if self.origin.is_file:
            return Path(self.origin.place)
        return None if distributions(self.origin.place) else _loose_file(self.origin.place)

    @property
    def content(self) -> bytes | None:
        """What is copied.

        Raises:
            SourceError: When the file is no longer what was loaded.
        """
        if self.source is None:
            return None
        if self.origin.is_file:
            read_files.check_unchanged(self.source, str(self.origin.sha256))
        return self.source.read_bytes() if self.source.exists() else b""


def carry(model: keras.Model, customs: Mapping[str, CustomObjects]) -> Carried:
    """The custom objects of a model, whose layers are the submodels, as files of its directory.

    One Python file of the user's, or of a part's, is copied. Classes and functions of installed distributions are
    imported from there; where there are several sources, the file that Kipoi is told of puts them together.

    Raises:
        SaveError: When nobody else could have a custom object, or two of one name are needed.
    """
    needed: dict[str, _Needed] = {}
    for layer in model.layers:
        try:
            config = keras.saving.serialize_keras_object(layer)
        except Exception:  # a layer without a config: Keras will say so when it saves the model
            continue
        for path, name in _custom(config):
            found = _find(layer, name, [customs[layer.name]] if layer.name in customs else customs.values())
            if found is None:
                raise _unavailable(layer.name, path, name, is_merge=layer.name not in customs)
            if name in needed and not _same(needed[name], found):
                raise _two_of_one_name(name, needed[name], found)
            needed.setdefault(name, found)
    return _carried(needed) if needed else Carried()


def _carried(needed: Mapping[str, _Needed]) -> Carried:
    contents: dict[bytes, str] = {}  # content -> what the file is called
    first: dict[bytes, _Needed] = {}
    modules, objects = set(), []
    requirements: list[str] = []
    for name, item in sorted(needed.items()):
        content = item.content
        if content is None:
            modules.add(item.origin.place)
            requirements += distributions(item.origin.place)
            place = item.origin.place
        else:
            if content not in contents:
                assert item.source is not None
                requirements += _imported(item.source, content)
                first[content] = item
            place = contents.setdefault(content, f"of_{item.submodel}")
        inner = f"OBJECTS[{literal(item.origin.name)}]" if item.origin.listed else item.origin.name
        objects.append((name, f"{place}.{inner}"))
    _check_registered(first.values())
    if len(contents) == 1 and not modules and all(_in_its_objects(name, item) for name, item in needed.items()):
        files = {layout.CUSTOM_OBJECTS: next(iter(contents))}
    else:
        values = {"files": sorted(contents.values()), "modules": sorted(modules), "objects": objects}
        files = {layout.CUSTOM_OBJECTS: render("kipoi/custom_objects.py.jinja", values).encode()}
        files |= {f"{layout.CUSTOM_OBJECTS_FOLDER}/{name}.py": content for content, name in contents.items()}
    return Carried(files, tuple(dict.fromkeys(requirements)))


def _check_registered(items: Iterable[_Needed]) -> None:
    """Refuses files that register one name: Keras would take what the last of them has."""
    known: dict[str, tuple[Any, _Needed]] = {}
    for item in items:
        for name, registered in registered_in(item.origin.place).items():
            other, owner = known.setdefault(name, (registered, item))
            if other is not registered:
                raise _two_of_one_name(name, owner, item)


def _in_its_objects(name: str, item: _Needed) -> bool:
    """Whether whoever loads the file finds the object under its name: in OBJECTS, or registered with Keras."""
    return item.origin.listed and (item.origin.name == name or ">" in name)


def _find(layer: keras.Layer, name: str, given: Iterable[CustomObjects]) -> _Needed | None:
    for objects in given:
        key = objects.find(name)
        if key is not None:
            origin = objects.origins.get(key)
            return _available(layer.name, objects.objects[key], origin)
    # What a model in memory is made of may be in an installed distribution.
    known = {type(inner).__name__: type(inner) for inner in layers_within(layer)}
    item = keras.saving.get_registered_object(name) or known.get(name)
    if item is None or registered_name(item, "") != name:
        return None
    return _available(layer.name, item, importable(item), loose=False)


def _available(submodel: str, item: Any, origin: Origin | None, *, loose: bool = True) -> _Needed | None:
    if origin is None:
        return None
    needed = _Needed(submodel, item, origin)
    if origin.is_file or distributions(origin.place) or (loose and needed.source is not None):
        return needed
    return None


def _same(one: _Needed, other: _Needed) -> bool:
    if one.item is other.item or one.origin == other.origin:
        return True
    same_name = (one.origin.name, one.origin.listed) == (other.origin.name, other.origin.listed)
    return same_name and one.content is not None and one.content == other.content


def _unavailable(submodel: str, path: str, name: str, *, is_merge: bool) -> SaveError:
    inner = "" if path == submodel else f", in its layer '{path.removeprefix(submodel + '/')}'"
    call = "graph.connect(..., merge=...," if is_merge else f'graph.add("{submodel}", ...,'
    return SaveError(
        f"The {'merge' if is_merge else 'submodel'} '{submodel}' needs '{name}'{inner}, which is not in Keras: whoever "
        "downloads the directory could not load it.",
        expected="classes and functions of Keras, of an installed package, or of a Python file with a dict OBJECTS",
        fix=f'Put it into such a file, and give that: {call} custom_objects="layers.py").',
    )


def _two_of_one_name(name: str, one: _Needed, other: _Needed) -> StitchError:
    places = [
        f"'{Path(item.origin.place).parent.name}/{Path(item.origin.place).name}'"
        if item.origin.is_file
        else f"the module '{item.origin.place}'"
        for item in (one, other)
    ]
    return SaveError(
        f"The submodels '{one.submodel}' and '{other.submodel}' need two different custom objects called '{name}', and "
        "a saved model has one of a name.",
        received=f"{places[0]} for '{one.submodel}', {places[1]} for '{other.submodel}'",
        fix="Rename one of them, and save the model that needs it again.",
    )


def distributions(module: str) -> tuple[str, ...]:
    """The installed distributions that a module comes from, as requirements; none for a file that merely lies about."""
    top = module.partition(".")[0]
    names = importlib.metadata.packages_distributions().get(top, [])
    if not names and importlib.util.find_spec(top) is not None:
        try:  # an editable installation may not say which packages it has
            names = [importlib.metadata.distribution(top).name]
        except importlib.metadata.PackageNotFoundError:
            return ()
    versions = {name: importlib.metadata.version(name).partition("+")[0] for name in names}
    return tuple(f"{name}>={version}" for name, version in sorted(versions.items()))


def _loose_file(module: str) -> Path | None:
    """The file of a module that is one file, such as a ``layers.py`` beside the user's program."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file) if "." not in module and file and Path(file).name == f"{module}.py" else None


def _imported(file: Path, content: bytes) -> list[str]:
    """The distributions that a file imports from.

    Raises:
        SaveError: When it imports a file that lies beside it, or about: it is copied alone.
    """
    found: list[str] = []
    for node in ast.walk(ast.parse(content)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names = [node.module]
        for name in names:
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names or top in sys.builtin_module_names:
                continue
            wanted = distributions(top)
            if not wanted and importlib.util.find_spec(top) is not None:
                raise SaveError(
                    f"The custom objects of '{file}' import '{name}', which is in no installed package, so whoever "
                    "downloads the directory would not have it.",
                    fix="Put both into one file, or what is imported into a package.",
                )
            found += wanted
    return found


def _custom(config: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The layer's path and the registered name of all that is not Keras' own in what Keras would save."""
    if isinstance(config, list | tuple):
        for item in config:
            yield from _custom(item, path)
    elif isinstance(config, dict):
        kind, inner = config.get("class_name"), config.get("config")
        if kind is not None and isinstance(inner, dict) and isinstance(inner.get("name"), str):
            path = f"{path}/{inner['name']}".lstrip("/")
        if kind == "__lambda__":
            yield path, "a Python lambda"
        elif kind == "function" and isinstance(inner, str):
            if not any(hasattr(getattr(keras, module, None), inner) for module in _MODULES):
                yield path, inner
        elif kind is not None and "module" in config and not _is_keras(config["module"]):
            yield path, config.get("registered_name") or kind
        for key, item in config.items():
            if key not in ("build_config", "compile_config", "inbound_nodes"):
                yield from _custom(item, path)


def _is_keras(module: str | None) -> bool:
    return module is not None and (module in ("keras", "builtins") or module.startswith("keras."))
