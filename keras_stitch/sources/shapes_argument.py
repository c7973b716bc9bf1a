"""``shapes=`` of ``Graph.add``: what an estimator or a module in memory takes."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_stitch.errors import StitchError
from keras_stitch.graphs.spec import Shape

_SHAPES = "a shape such as (7,), a list or a dict by name of them, or (shape, dtype) in place of a shape"


@dataclass(frozen=True)
class Shapes:
    """What an estimator or a module takes.

    Attributes:
        structure: ``"array"``, ``"list"`` or ``"dict"``.
        names: The names of the inputs; ``None`` for those without one.
        shapes: Their shapes without the batch axis.
        dtypes: Keras dtypes; ``None`` where nothing was said.
    """

    structure: str
    names: tuple[str | None, ...]
    shapes: tuple[Shape, ...]
    dtypes: tuple[str | None, ...]


def shapes_of(name: str, given: object, source: str) -> Shapes:
    """Read what the user says about the inputs of an estimator or a module.

    Args:
        name: The submodel.
        given: One shape, a list or a dict of them; each may be a pair of a shape and a dtype.
        source: What the example in a message calls the source.

    Raises:
        StitchError: If it is missing, or nothing of that kind.
    """
    if given is None:
        raise StitchError(
            f"Nothing says what submodel '{name}' takes: its shapes= are missing.",
            expected=_SHAPES,
            fix=f'graph.add("{name}", {source}, shapes=(7,)), without the batch axis.',
        )
    items: list[tuple[str | None, Any]]
    if isinstance(given, Mapping):
        # A name for the only input is the port's: it is passed by position.
        structure, items = "array" if len(given) == 1 else "dict", list(given.items())
        for key in given:
            # Kipoi takes a dict with one of these keys for a single array.
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
