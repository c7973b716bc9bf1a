"""What an estimator or a module in memory takes, and its predictions to compare with."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_stitch.errors import SourceError, StitchError, reason
from keras_stitch.graphs.spec import Port, Shape, shape_text
from keras_stitch.kipoi.templates import write_yaml
from keras_stitch.models.sample_rows import SIZES, random_rows
from keras_stitch.sources.probing import ROWS, quiet

Array = np.ndarray[Any, Any]


Predict = Callable[[Sequence[Array]], Any]


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        label: What tables call it.
        ports: Its inputs; open dimensions have the size that it took.
        bound: As ``sample_rows.random_rows`` takes it.
        dtypes: Of its inputs, for a module.
        predict: What the object itself predicts for the arrays of its inputs.
    """

    label: str
    ports: tuple[Port, ...]
    bound: int | None
    dtypes: tuple[str, ...] | None
    predict: Predict


def rows_for(ports: Sequence[Port], count: int, bound: int | None) -> list[Array]:
    """Random rows for every input, others for every number of rows."""
    return [random_rows(port, count, SIZES[0], (number, count), bound) for number, port in enumerate(ports)]


def tried(name: str, what: str, ports: tuple[Port, ...], predict: Predict) -> tuple[int | None, Any]:
    """What random rows an object takes, by their bound, and what it predicts for them."""
    problem: Exception | None = None
    for bound in (None, 2):
        try:
            with quiet():
                return bound, predict(rows_for(ports, ROWS, bound))
        except Exception as error:  # of whatever kind
            problem = problem or error
    assert problem is not None
    taken = " and ".join(f"{shape_text(port.shape)} {port.dtype or ''}".strip() for port in ports)
    raise SourceError(
        f"Submodel '{name}' ({what}) does not take rows of shapes={taken}.",
        expected="the shapes that it was trained on, without the batch axis",
        received=f"{type(problem).__name__}: {reason(problem)}",
        fix="Correct shapes=.",
    ) from problem


def describe(
    directory: Path,
    label: str,
    shapes: Shapes,
    predicted: Any,
    larger: Any,
    *,
    defined_as: str,
    args: Mapping[str, Any],
    pip: Sequence[str],
) -> None:
    """Writes the ``model.yaml``.

    Args:
        directory: Where to.
        label: What the object is.
        shapes: What it takes.
        predicted: What it predicts: arrays, or lists and dicts of them.
        larger: The same where open dimensions are larger: what differs is an open dimension, too.
        defined_as: Kipoi's class.
        args: Its arguments.
        pip: What has to be installed.
    """
    what = label.partition(",")[0]
    inputs = [
        {**({"name": name} if name else {}), "shape": str(shape), "doc": f"What the {what} takes."}
        for name, shape in zip(shapes.names, shapes.shapes, strict=True)
    ]
    taken: Any = inputs[0] if shapes.structure == "array" else inputs
    if shapes.structure == "dict":
        taken = dict(zip(map(str, shapes.names), inputs, strict=True))

    def given(one: Any, other: Any) -> Any:
        if isinstance(one, Mapping):
            return {str(key): given(item, other[key]) for key, item in one.items()}
        if isinstance(one, list | tuple):
            return [given(*items) for items in zip(one, other, strict=True)]
        sizes = zip(np.shape(one)[1:], np.shape(other)[1:], strict=True)
        shape = tuple(size if size == second else None for size, second in sizes)
        return {"shape": str(shape or (1,)), "doc": f"What the {what} predicts."}

    write_yaml(
        directory / "model.yaml",
        {
            "defined_as": defined_as,
            "args": args,
            "info": {"authors": [], "doc": label},
            "dependencies": {"pip": list(pip)},
            "schema": {"inputs": taken, "targets": given(predicted, larger)},
        },
    )


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
