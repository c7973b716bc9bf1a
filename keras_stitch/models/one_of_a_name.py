"""Keras finds functions and classes by their names alone, so a saved model has one of a name: two are refused."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Iterable
from types import CodeType, SimpleNamespace
from typing import Any

import keras
import numpy as np

from keras_stitch.errors import SourceError, StitchError
from keras_stitch.models.changed_layers import pairs
from keras_stitch.models.custom_objects import needed_by

# Where Keras looks for a function by its name before it asks for custom objects.
_OF_KERAS = (keras.activations, keras.initializers, keras.regularizers, keras.constraints)


def check_objects(model: keras.Layer, copied: keras.Layer, what: str) -> None:
    """Raise where a copy has another function or class of the same name.

    Raises:
        SourceError: With the name, and the layer that needs it.
    """
    for old, new in pairs(model, copied):
        named: list[tuple[Any, Any]] = [(type(old), type(new))]
        for key, value in vars(old).items():
            for one, other in zip(_each(value), _each(vars(new).get(key)), strict=False):
                if inspect.isfunction(one) and one is not other and key in old.get_config():
                    named.append((one, other))
        for one, other in named:
            if not _are_same(one, other):
                raise SourceError(
                    f"{what} cannot be copied: its layer '{old.name}' needs '{one.__name__}', and another one has the "
                    "same name, in the model or in Keras. Keras knows functions and classes by their names alone.",
                    expected="a name of its own for each function and class",
                    fix="Rename it, or register it with keras.saving.register_keras_serializable(package=...).",
                )


def check_together(layers: Iterable[keras.Layer]) -> None:
    """Raise where layers of one stitched model need different functions or classes of one name.

    Raises:
        StitchError: With the names of both layers, and that of what they need.
    """
    known: dict[str, tuple[keras.Layer, Any]] = {}
    for layer in layers:
        for name, item in needed_by(layer):
            if inspect.isfunction(item) and not all(_are_same(item, own) for own in _called_alike(item)):
                raise StitchError(
                    f"'{layer.name}' needs the function '{name}' of {_place(item)}, and Keras has another one of that "
                    "name: a saved model would have Keras' one.",
                    fix=_renamed(layer, name),
                )
            other, before = known.setdefault(name, (layer, item))
            if not _are_same(before, item):
                both = f"'{other.name}' and '{layer.name}' need" if other is not layer else f"'{layer.name}' needs"
                raise StitchError(
                    f"{both} two different custom objects called '{name}', and a saved model has one of a name.",
                    received=f"one of {_place(before)}, one of {_place(item)}",
                    fix=_renamed(layer, name),
                )


def _each(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _place(item: Any) -> str:
    """The file or module that a function or class is defined in, and the line of a function."""
    code = getattr(item, "__code__", None)
    if code is None:
        codes = [value.__code__ for value in vars(item).values() if inspect.isfunction(value)]
        code = codes[0] if codes else None
    return f"'{code.co_filename}', line {code.co_firstlineno}" if code is not None else f"'{item.__module__}'"


def _renamed(layer: keras.Layer, name: str) -> str:
    plain = name.rpartition(">")[2]
    return (
        f"Rename the one of '{layer.name}' in its Python code. For a model in a file, give it under the old name: "
        f'custom_objects={{"{plain}": {plain}_of_{layer.name}}}.'
    )


def _called_alike(function: Any) -> list[Any]:
    """The functions of Keras that have the name of another one."""
    return [getattr(module, function.__name__) for module in _OF_KERAS if hasattr(module, function.__name__)]


def _are_same(one: Any, other: Any) -> bool:
    """Whether two functions or classes are one, or do the same."""
    return _Comparison().same(one, other) or _compute_the_same(one, other)


def _compute_the_same(one: Any, other: Any) -> bool:
    """Whether two activations give the same numbers: ``tf.nn.relu`` is saved as ``relu``, which is that of Keras."""
    if not inspect.isfunction(one) or not inspect.isfunction(other):
        return False
    far = np.geomspace(10, 1e6, 30)
    given = keras.ops.convert_to_tensor(np.array([*np.linspace(-8, 8, 60), *far, *-far], "float32").reshape(10, 12))
    try:
        found, expected = (np.asarray(keras.ops.convert_to_numpy(function(given))) for function in (one, other))
    except Exception:  # something else than activations
        return False
    return found.shape == expected.shape and np.allclose(found, expected)


class _Comparison:
    """Compares functions and classes made by code that may name itself."""

    def __init__(self) -> None:
        self._met: set[tuple[int, int]] = set()

    def same(self, one: Any, other: Any) -> bool:
        if one is other or type(one) is not type(other):
            return one is other
        if (id(one), id(other)) in self._met:
            return True
        self._met.add((id(one), id(other)))
        if inspect.isfunction(one):
            return _code(one.__code__) == _code(other.__code__) and self._alike(_values(one), _values(other))
        if one.__name__ != other.__name__ or not self._alike(one.__bases__, other.__bases__):
            return False
        return self._alike(*({key: vars(kind)[key] for key in vars(kind) if _is_own(key)} for kind in (one, other)))

    def _alike(self, one: Any, other: Any) -> bool:
        if one is other:
            return True
        if type(one) is not type(other) and not self.same(type(one), type(other)):
            return False
        if inspect.isfunction(one) or inspect.isclass(one):
            return self.same(one, other)
        if hasattr(one, "__wrapped__"):  # such as tf.function makes, or staticmethod
            return self._alike(one.__wrapped__, other.__wrapped__)
        if isinstance(one, list | tuple):
            return len(one) == len(other) and all(map(self._alike, one, other))
        if isinstance(one, dict):
            return one.keys() == other.keys() and all(self._alike(one[key], other[key]) for key in one)
        if isinstance(one, np.ndarray | np.generic) or keras.ops.is_tensor(one):
            return _are_equal(*map(keras.ops.convert_to_numpy, (one, other)))
        if isinstance(one, int | float | complex | str | bytes | set | frozenset | range):
            return bool(one == other or (one != one and other != other))
        if isinstance(one, property):
            return self._alike([one.fget, one.fset], [other.fget, other.fset])
        if isinstance(one, functools.partial):
            return self._alike(*([it.func, it.args, it.keywords] for it in (one, other)))
        own = type(one) is not type(other) or isinstance(one, SimpleNamespace) or dataclasses.is_dataclass(one)
        if own and not isinstance(one, keras.Layer) and hasattr(one, "__dict__"):
            met = (id(one), id(other)) in self._met
            self._met.add((id(one), id(other)))
            return met or self._alike(vars(one), vars(other))
        return True  # such as a layer, of which the copy is another one


def _are_equal(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f" == other.dtype.kind)


def _code(code: CodeType) -> list[Any]:
    """What a code object does, wherever it stands."""
    inner = [_code(item) if isinstance(item, CodeType) else repr(item) for item in code.co_consts]
    return [code.co_code, code.co_names, code.co_varnames, code.co_argcount, code.co_kwonlyargcount, inner]


def _names(code: CodeType) -> set[str]:
    """The names that a code object asks for, and the functions in it."""
    inner = [item for item in code.co_consts if isinstance(item, CodeType)]
    return {*code.co_names, *(name for item in inner for name in _names(item))}


def _values(function: Any) -> list[Any]:
    """What the code of a function computes with: closure, defaults and the globals that it names."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    used = {name: function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__}
    return [cells, list(function.__defaults__ or ()), function.__kwdefaults__ or {}, used]


def _is_own(key: str) -> bool:
    return key in ("__init__", "__call__") or not (key.startswith("__") and key.endswith("__"))
