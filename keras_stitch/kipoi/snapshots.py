"""What is written of an object in memory: random rows that it takes, what it predicts for them, its ``model.yaml``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_stitch.arguments import Shapes
from keras_stitch.errors import SourceError, reason
from keras_stitch.kipoi.probing import ROWS, quiet
from keras_stitch.kipoi.rendering import write_yaml
from keras_stitch.sampling import SIZES, random_rows
from keras_stitch.spec import Port, shape_text

Array = np.ndarray[Any, Any]
Predict = Callable[[Sequence[Array]], Any]


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        label: What tables call it.
        ports: Its inputs; open dimensions have the size that it took.
        bound: As ``sampling.random_rows`` takes it.
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
