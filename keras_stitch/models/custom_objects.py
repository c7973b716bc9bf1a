"""Custom objects: how users give them, and where each of them can be imported from later.

They are given as a dict, as a Python file with a dict ``OBJECTS`` (Kipoi's convention), as an importable module, or
as a list of files, modules and names in modules (``"package.module:Name"``).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import keras

from keras_stitch import checks
from keras_stitch.errors import StitchError, nearest, reason
from keras_stitch.files import read_files
from keras_stitch.files.read_files import load_python
from keras_stitch.graphs.names import names_file
from keras_stitch.keras_private import layers_within

_ACCEPTED = (
    "a dict of classes and functions by name, the path of a Python file with a dict OBJECTS, the name of a module, "
    "'package.module:Name', or a list of those"
)

# What Keras writes into configs by its class.
_SAVED = (keras.Layer, keras.Initializer, keras.Regularizer, keras.constraints.Constraint)

_OBJECTS = 'OBJECTS = {"Name": Name}, classes and functions by name'


@dataclass(frozen=True)
class Origin:
    """Where one custom object can be imported from later.

    Attributes:
        place: The absolute path of a Python file, or the name of a module.
        name: Its name there.
        listed: Whether the name is a key of ``OBJECTS``, not a name of the module.
        sha256: The sha256 of the file as it was loaded.
    """

    place: str
    name: str
    listed: bool = False
    sha256: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether the place is a file."""
        return names_file(self.place)


@dataclass(frozen=True)
class CustomObjects:
    """Classes and functions that a saved model needs and Keras does not have.

    Attributes:
        objects: The objects, by the name that the saved model has for each.
        origins: Where they can be imported from; objects in memory that are in no module are left out.
        said: How a ``stitch.yaml`` names them: absolute paths of files, names of modules and names in modules.
        live: The names of those that a ``stitch.yaml`` cannot name.
    """

    objects: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    live: tuple[str, ...] = ()

    def __or__(self, other: CustomObjects) -> CustomObjects:
        """Both; of two objects with one name, the one on the right."""
        return CustomObjects(
            {**self.objects, **other.objects},
            {**{name: origin for name, origin in self.origins.items() if name not in other.objects}, **other.origins},
            tuple(dict.fromkeys((*self.said, *other.said))),
            tuple(dict.fromkeys((*(name for name in self.live if name not in other.objects), *other.live))),
        )

    def for_keras(self) -> dict[str, Any]:
        """The objects for Keras: by name, and by the name under which they are registered."""
        return {**{registered_name(item, name): item for name, item in self.objects.items()}, **self.objects}

    def find(self, name: str) -> str | None:
        """The key of the object that Keras saves under a name."""
        if name in self.objects:
            return name
        return next((key for key, item in self.objects.items() if registered_name(item, key) == name), None)


Given: TypeAlias = (
    "Mapping[str, Any] | str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | CustomObjects | None"
)


def read(given: Given, where: str) -> CustomObjects:
    """Read custom objects in any of the ways in which users give them; messages call them ``where``.

    Raises:
        StitchError: If it names nothing that is there, or something that is no class or function.
    """
    if given is None:
        return CustomObjects()
    if isinstance(given, CustomObjects):
        return given
    if isinstance(given, Mapping):
        return _from_dict(given, where)
    found = CustomObjects()
    for item in given if isinstance(given, (list, tuple)) else [given]:
        one = _from_name(item, where)
        for name in one.objects:
            if name in found.objects and one.objects[name] is not found.objects[name]:
                raise StitchError(
                    f"{where}: two are called '{name}'.",
                    received=f"one of {_shown(found.origins[name].place)}, one of {_shown(one.origins[name].place)}",
                    fix="Name only the ones that the model needs, such as 'package.module:Name'.",
                )
        found |= one
    return found


def read_file(path: Path, where: str) -> CustomObjects:
    """The dict ``OBJECTS`` of a Python file, which is loaded by its path, alone, as Kipoi does it.

    Raises:
        StitchError: If there is no such file, it cannot be loaded, or ``OBJECTS`` is no dict of classes and functions.
    """
    if path.suffix != ".py":
        raise StitchError(f"{where}: '{path}' is not a Python file.", expected="a name that ends in .py")
    try:
        content = read_files.plain(path, read_files.LARGEST_TEXT).read_bytes()
    except FileNotFoundError:
        beside = sorted(file.name for file in path.absolute().parent.glob("*.py"))
        raise StitchError(
            f"{where}: there is no file '{path}'.",
            expected=nearest(path.name, beside) if beside else f"a Python file with {_OBJECTS}",
        ) from None
    except OSError as error:
        raise StitchError(f"{where}: '{path}' cannot be read: {error.strerror}.") from error
    absolute = str(path.absolute())
    try:
        module = _run(absolute, content)
    except Exception as error:  # whatever the file does
        name = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        neighbour = name is not None and (path.parent / f"{name.partition('.')[0]}.py").exists()
        raise StitchError(
            f"{where}: '{path}' cannot be loaded.",
            received=f"{type(error).__name__}: {reason(error)}",
            fix="Put both into one file: it is loaded alone, as Kipoi loads it." if neighbour else None,
        ) from error
    objects = _objects_of(module, where, f"'{path}'")
    sha256 = hashlib.sha256(content).hexdigest()
    origins = {name: Origin(absolute, name, listed=True, sha256=sha256) for name in objects}
    return CustomObjects(objects, origins, said=(absolute,))


def placed(given: Any, folder: Path) -> Any:
    """Custom objects as a ``stitch.yaml`` names them, with the paths of files made relative to its folder."""
    if isinstance(given, list):
        return [placed(item, folder) for item in given]
    return folder / given if isinstance(given, str) and names_file(given) else given


def held_by(layer: keras.Layer) -> CustomObjects:
    """The custom objects that a layer or model in memory is made of, registered or not.

    They are the classes of its layers, and functions, initializers and the like among the attributes of these.
    """
    found = dict(needed_by(layer))
    return CustomObjects(found, {name: origin for name, item in found.items() if (origin := importable(item))})


def of_layer(layer: keras.Layer, given: CustomObjects) -> CustomObjects:
    """The custom objects that were given for a layer in memory, and those that it is made of, by their own names."""
    needed = {item.__name__: item for name, item in needed_by(layer) if given.find(name) is None}
    return _from_dict({name: item for name, item in needed.items() if name not in given.objects}, "it") | given


def needed_by(layer: keras.Layer) -> Iterator[tuple[str, Any]]:
    """The custom objects that a layer is made of, each with the name under which Keras saves it."""
    for inner in layers_within(layer):
        own = [value for key, value in vars(inner).items() if not hasattr(keras.Layer, key)]
        for item in (inner, *own):
            known = item if inspect.isfunction(item) else type(item)
            named = known.__name__.isidentifier() and not f"{known.__module__}.".startswith("keras.")
            if named and (known is item or isinstance(item, _SAVED)):
                yield registered_name(known, known.__name__), known


@contextlib.contextmanager
def in_registry(objects: Mapping[str, Any]) -> Iterator[None]:
    """Put these objects into Keras' registry during the block.

    Keras looks there first, and another file may have registered other objects under the same names.
    """
    registry = keras.saving.get_custom_objects()
    before = {name: registry[name] for name in objects if name in registry}
    registry.update(objects)
    try:
        yield
    finally:
        for name in objects:
            registry.pop(name, None)
        registry.update(before)


def registered_in(place: str) -> dict[str, Any]:
    """What the classes and functions of a file or module that was loaded are called in Keras' registry."""
    module = _run(place, Path(place).read_bytes()) if names_file(place) else sys.modules[place]
    found = {registered_name(item, ""): item for item in vars(module).values()}
    return {name: item for name, item in found.items() if ">" in name}


def registered_name(item: Any, default: str) -> str:
    """The name under which Keras saves a class or function."""
    try:
        return str(keras.saving.get_registered_name(item))
    except (AttributeError, TypeError):  # a callable without a name, or that cannot be hashed
        return default


def _from_dict(given: Mapping[str, Any], where: str) -> CustomObjects:
    objects = _checked(given, where)
    origins = {name: origin for name, item in objects.items() if (origin := importable(item)) is not None}
    said = {name: f"{it.place}:{it.name}" for name, it in origins.items() if it.name.rpartition(".")[2] == name}
    return CustomObjects(objects, origins, tuple(said.values()), tuple(name for name in objects if name not in said))


def importable(item: Any) -> Origin | None:
    """The module and the name that a class or function is imported by; ``None`` where nobody else could."""
    module, name = getattr(item, "__module__", None), getattr(item, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__":
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return Origin(module, name) if found is item else None


def _from_name(item: object, where: str) -> CustomObjects:
    if not isinstance(item, (str, os.PathLike)):
        raise StitchError(f"{where} takes no {type(item).__name__}.", expected=_ACCEPTED, received=repr(item)[:200])
    text = os.fspath(item)
    if isinstance(item, os.PathLike) or names_file(text):
        return read_file(checks.path_of(text, where), where)
    module, colon, name = text.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), *(name.split(".") if colon else ())]):
        raise StitchError(f"{where}: {text!r} is neither a Python file nor the name of a module.", expected=_ACCEPTED)
    return _from_module(module, name or None, where)


def _from_module(name: str, wanted: str | None, where: str) -> CustomObjects:
    try:
        module = importlib.import_module(name)
    except Exception as error:  # whatever the module does
        file = Path(*name.split(".")).with_suffix(".py")
        raise StitchError(
            f"{where}: the module '{name}' cannot be imported.",
            received=f"{type(error).__name__}: {reason(error)}",
            fix=f"Give the file: custom_objects='{file}'." if os.path.exists(file) else "Install its package.",  # noqa: PTH110 - any text may be one
        ) from error
    what = f"the module '{name}'"
    if wanted is not None:
        found: Any = module
        for part in wanted.split("."):
            if not hasattr(found, part):
                names = [known for known in getattr(found, "__dict__", {}) if not known.startswith("_")]
                raise StitchError(f"{where}: {what} has no '{wanted}'.", expected=nearest(part, names))
            found = getattr(found, part)
        key = wanted.rpartition(".")[2]
        objects = _checked({key: found}, f"{where}: {what}")
        return CustomObjects(objects, {key: Origin(name, wanted)}, said=(f"{name}:{wanted}",))
    if hasattr(module, "OBJECTS"):
        objects = _objects_of(module, where, what)
        return CustomObjects(objects, {key: Origin(name, key, listed=True) for key in objects}, said=(name,))
    objects = {key: item for key, item in vars(module).items() if _offered(key, item, name)}
    if not objects:
        raise StitchError(f"{where}: {what} has no custom objects.", expected=f"classes or functions, or {_OBJECTS}")
    return CustomObjects(objects, {key: Origin(name, key) for key in objects}, said=(name,))


def _offered(key: str, item: Any, module: str) -> bool:
    """Whether a module without OBJECTS offers a class or function: it is public and its own, or registered."""
    if not (inspect.isclass(item) or inspect.isfunction(item)):
        return False
    own = f"{item.__module__}.".startswith(f"{module}.")
    return (own and not key.startswith("_")) or ">" in registered_name(item, key)


def _objects_of(module: ModuleType, where: str, what: str) -> dict[str, Any]:
    if not hasattr(module, "OBJECTS"):
        raise StitchError(f"{where}: {what} has no OBJECTS.", expected=_OBJECTS)
    if not isinstance(module.OBJECTS, Mapping):
        raise StitchError(
            f"{where}: OBJECTS of {what} is not a dict.", expected=_OBJECTS, received=repr(module.OBJECTS)[:200]
        )
    return _checked(module.OBJECTS, f"{where}: OBJECTS of {what}")


def _checked(objects: Mapping[str, Any], where: str) -> dict[str, Any]:
    for name, item in objects.items():
        if not isinstance(name, str):
            raise StitchError(f"{where}: {name!r} is not a name.", expected="text")
        if not callable(item):
            raise StitchError(
                f"{where}: '{name}' is neither a class nor a function.",
                expected="a class such as a keras.Layer, or a function",
                received=repr(item)[:200],
            )
    return dict(objects)


@functools.cache
def _run(path: str, content: bytes) -> ModuleType:
    """The module in a file, loaded once for the same content: submodels that name one file share its classes."""
    return load_python(Path(path), content, name="custom_objects")  # a neutral name, which a saved model keeps


def _shown(place: str) -> str:
    return f"'{Path(place).name}'" if names_file(place) else f"'{place}'"
