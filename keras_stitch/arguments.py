"""What the verbs of ``Graph`` are given, checked at the call: the mistakes that need no other submodel to be seen."""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import keras

from keras_stitch.errors import NamingError, StitchError, nearest
from keras_stitch.loading import layer_config
from keras_stitch.naming import check_name
from keras_stitch.spec import MERGES, FreezeRule, Merge, Shape

MergeLike: TypeAlias = "str | keras.Layer"
METHODS = ("predict", "predict_proba", "predict_log_proba")
_SHAPES = "a shape such as (7,), a list or a dict by name of them, or (shape, dtype) in place of a shape"


@dataclass(frozen=True)
class Shapes:
    """What an estimator or a module takes.

    Attributes:
        structure: ``"array"``, ``"list"`` or ``"dict"``.
        names: Of the inputs; ``None`` for those without one.
        shapes: Without the batch axis.
        dtypes: Keras dtypes; ``None`` where nothing was said.
    """

    structure: str
    names: tuple[str | None, ...]
    shapes: tuple[Shape, ...]
    dtypes: tuple[str | None, ...]


def path_of(given: object, where: str) -> Path:
    """A path from text or anything that is one.

    Example:
        >>> path_of("composed", "save").name
        'composed'
    """
    if not isinstance(given, (str, os.PathLike)) or "\0" in os.fspath(given) or not os.fspath(given):
        raise StitchError(f"{where} takes a path.", expected="text or a pathlib.Path", received=repr(given)[:200])
    return Path(given)


def flag_of(given: object, where: str) -> bool | None:
    """``True``, ``False`` or ``None``, and nothing that merely counts as one of them."""
    if given is not None and not isinstance(given, bool):
        raise StitchError(f"{where} is neither on nor off.", expected="True, False or None", received=repr(given)[:200])
    return given


def one_name(given: object, where: str) -> str:
    """Return ``given`` if it is text."""
    if not isinstance(given, str):
        raise StitchError(f"{where} takes one name.", expected="text", received=repr(given)[:200])
    return given


def new_name(name: object, what: str, taken: Sequence[str], *, fix: str) -> None:
    """Check a name that must be well-formed and not taken yet."""
    check_name(name, what)
    if name in taken:
        raise NamingError(f"There is already a {what} '{name}'.", fix=fix)


def names(given: object, where: str) -> tuple[str, ...]:
    """One name or several as a tuple.

    Example:
        >>> names("model1", "connect"), names(["model1", "input1"], "connect")
        (('model1',), ('model1', 'input1'))
    """
    listed = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    found = tuple(name for name in listed if isinstance(name, str))
    if not found or len(found) < len(listed):
        raise StitchError(
            f"{where} takes names." if listed else f"{where} names nothing.",
            expected="one name, or a list of names",
            received=repr(given)[:200],
        )
    return found


def rules(verb: str, patterns: tuple[object, ...], layers: object, *, frozen: bool) -> tuple[FreezeRule, ...]:
    """The rules of one call of ``freeze`` or ``unfreeze``."""
    pattern = None if layers is None else one_name(layers, f"{verb}(layers=...)")
    return tuple(FreezeRule(name, pattern, frozen) for name in names(patterns, f"{verb}(...)"))


def shape_of_input(name: str, shape: object) -> Shape | None:
    """The shape of a graph input, ``None`` where it was left out.

    Example:
        >>> shape_of_input("x", [None, 4])
        (None, 4)
    """
    try:
        if shape is None or isinstance(shape, str):
            sizes: Shape | None = None
        else:
            sizes = tuple(size if size is None else operator.index(size) for size in shape)  # type: ignore[attr-defined]
    except TypeError:
        sizes = None
    if shape is not None and (sizes is None or any(size is not None and size < 1 for size in sizes)):
        raise StitchError(
            f"shape= of the graph input '{name}' is not a shape.",
            expected="sizes without the batch axis, None for a variable one, such as (None, 4)",
            received=repr(shape)[:200],
        )
    return sizes


def dtype_of_input(name: str, dtype: object) -> str | None:
    """The dtype of a graph input by its Keras name, ``None`` where it was left out."""
    if dtype is None:
        return None
    try:
        return str(keras.backend.standardize_dtype(dtype))
    except (TypeError, ValueError):
        raise StitchError(
            f"dtype= of the graph input '{name}' is not a dtype.",
            expected="a dtype of Keras, such as 'float32' or 'int32'",
            received=repr(dtype)[:200],
        ) from None


def merge_of(merge: object, axis: object) -> Merge:
    """How the sources of a connection become one tensor."""
    if isinstance(merge, keras.Layer):
        if merge.built and merge.weights:
            raise StitchError(
                f"A merge has no weights of its own, which this {type(merge).__name__} has.",
                fix="Wrap it in a keras.Model with several inputs and add that as a submodel.",
            )
        return Merge("layer", layer=layer_config(merge))
    if not isinstance(merge, str) or merge not in MERGES:
        raise StitchError(f"There is no merge {merge!r}.", expected=f"{nearest(str(merge), MERGES)}, or a Keras layer")
    if not isinstance(axis, int) or isinstance(axis, bool):
        raise StitchError("axis= is not a whole number.", expected="a number such as -1", received=repr(axis)[:200])
    return Merge(merge, axis)


def in_memory(source: object) -> str | None:
    """Whether a source is an ``"estimator"`` of scikit-learn or a ``"module"`` of PyTorch; neither is imported.

    Example:
        >>> in_memory("m1.h5") is None
        True
    """
    # On its PyTorch backend, every layer of Keras is a module, too.
    if isinstance(source, keras.Layer):
        return None
    for package, name, kind in (("sklearn.base", "BaseEstimator", "estimator"), ("torch.nn", "Module", "module")):
        base = getattr(sys.modules.get(package), name, None)
        if base is not None and isinstance(source, base):
            return kind
    return None


def shapes_of(name: str, given: object, kind: str | None) -> Shapes | None:
    """What was said of the inputs of an estimator or a module.

    Args:
        name: The submodel.
        given: One shape, a list or a dict of them; each may be a pair of a shape and a dtype.
        kind: What ``in_memory`` says of the source.

    Raises:
        StitchError: If it is none of those, is missing, or belongs to a source that says it itself.

    Example:
        >>> shapes_of("net", {"tokens": ((20,), "int64")}, "module").dtypes
        ('int64',)
    """
    if kind is None:
        if given is not None:
            raise StitchError(
                f"shapes= of submodel '{name}' is for estimators of scikit-learn and modules of PyTorch alone.",
                fix="Leave it out: the source says what it takes.",
            )
        return None
    if given is None:
        raise StitchError(
            f"Nothing says what submodel '{name}' takes: its shapes= are missing.",
            expected=_SHAPES,
            fix=f'graph.add("{name}", {kind}, shapes=(7,)), without the batch axis.',
        )
    items: list[tuple[str | None, Any]]
    if isinstance(given, Mapping):
        # A name for the only input is the port's: it is passed by position.
        structure, items = "array" if len(given) == 1 else "dict", list(given.items())
        for key in given:
            # Kipoi's schemas end where they find the word.
            if not isinstance(key, str) or not key.isidentifier() or key in ("shape", "doc"):
                raise StitchError(
                    f"shapes= of submodel '{name}' has a name that no input can have.", received=repr(key)
                )
    elif isinstance(given, list) and not (given and all(size is None or isinstance(size, int) for size in given)):
        structure, items = "list", [(None, item) for item in given]
    else:
        structure, items = "array", [(None, given)]
    found = [(key, *_shape_and_dtype(name, item)) for key, item in items]
    if not found or any(size is not None and size < 1 for _, shape, _ in found for size in shape):
        raise _no_shapes(name, given)
    return Shapes(structure, *zip(*found, strict=True))


def method_of(name: str, given: object, kind: str | None) -> str | None:
    """The method of an estimator that predicts, ``None`` where it was left out.

    Raises:
        StitchError: If there is no such method, or the source is no estimator.

    Example:
        >>> method_of("forest", "predict", "estimator")
        'predict'
    """
    if given is None:
        return None
    if kind != "estimator":
        raise StitchError(f"method= of submodel '{name}' is for estimators of scikit-learn alone.", fix="Leave it out.")
    if not isinstance(given, str) or given not in METHODS:
        raise StitchError(
            f"method= of submodel '{name}' is none that Kipoi calls.",
            expected=" or ".join(map(repr, METHODS)),
            received=repr(given)[:200],
        )
    return given


def _shape_and_dtype(name: str, given: Any) -> tuple[Shape, str | None]:
    dtype = None
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], (tuple, list)):
        given, dtype = given
        try:
            dtype = str(keras.backend.standardize_dtype(dtype))
        except (TypeError, ValueError):
            raise StitchError(
                f"shapes= of submodel '{name}' has a dtype that is none.",
                expected="a dtype of Keras, such as 'float32' or 'int64'",
                received=repr(dtype)[:200],
            ) from None
    try:
        if isinstance(given, (tuple, list)) and not any(isinstance(size, bool) for size in given):
            return tuple(None if size is None else operator.index(size) for size in given), dtype
    except TypeError:
        pass
    raise _no_shapes(name, given)


def _no_shapes(name: str, given: object) -> StitchError:
    return StitchError(f"shapes= of submodel '{name}' are no shapes.", expected=_SHAPES, received=repr(given)[:200])
