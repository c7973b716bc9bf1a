"""An object in memory as a Kipoi directory: it has to predict the same there, and is loaded from there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_stitch import directory_layout as layout
from keras_stitch.errors import SourceError, reason
from keras_stitch.files.scratch import Scratch
from keras_stitch.graphs.spec import Port, Source, shape_text
from keras_stitch.kipoi.model_directory import CopiedPart, read_directory
from keras_stitch.kipoi.packed_copy import flattened, load_packed, nested
from keras_stitch.kipoi.templates import write_yaml
from keras_stitch.models.sample_rows import SIZES, random_rows
from keras_stitch.sources.added import Added, Request
from keras_stitch.sources.probing import ROWS, check_equal, foreign_submodel, quiet
from keras_stitch.sources.shapes_argument import Shapes

Array = np.ndarray[Any, Any]
Predict = Callable[[Sequence[Array]], Any]


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        label: What tables call it.
        ports: Its inputs; open dimensions have the size that it took.
        bound: The bound of the whole numbers that it took, as for ``sample_rows.random_rows``.
        dtypes: The dtypes of its inputs; ``None`` where it takes any.
        predict: What the object itself predicts for the arrays of its inputs.
        fix: What a message suggests where it does not take a batch of some size.
    """

    label: str
    ports: tuple[Port, ...]
    bound: int | None
    dtypes: tuple[str, ...] | None
    predict: Predict
    fix: str | None = None


def load_snapshot(request: Request, kind: str, write: Callable[[Path], Written]) -> Added:
    """Write what the user has in memory to a Kipoi directory, see that it predicts the same there, and load that.

    Args:
        request: What was asked for.
        kind: What its ``Source`` says.
        write: Writes it to a folder.

    Raises:
        SourceError: If it cannot be written, or predicts something else afterwards.
    """
    folder = Scratch()
    directory = folder.path / type(request.source).__name__
    (directory / layout.MODEL_FILES).mkdir(parents=True)
    written = write(directory)
    part = read_directory(directory)
    assert isinstance(part, CopiedPart)  # no kind in memory becomes a Keras model
    _check_same(request.name, part, written)
    source = Source(kind, written.label)
    submodel = foreign_submodel(request.name, part, source, request.placement, dtypes=written.dtypes)
    return Added(submodel, part=part, kept=folder)


def _check_same(name: str, part: CopiedPart, written: Written) -> None:
    try:
        model = load_packed(part.path)
    except Exception as error:  # whatever the object's own code does when it is loaded
        raise SourceError(
            f"Submodel '{name}' ({written.label}) was written, and cannot be loaded again.",
            received=f"{type(error).__name__}: {reason(error)}",
        ) from error
    for count in (ROWS, 1, 7):
        rows = rows_for(written.ports, count, written.bound)
        try:
            with quiet():
                # Copies, as both may change what they are given.
                expected = flattened(name, part, written.predict([row.copy() for row in rows]))
                found = flattened(name, part, model.predict_on_batch(nested(part, [row.copy() for row in rows])))
        except SourceError:
            raise
        except Exception as error:  # the framework's
            raise SourceError(
                f"Submodel '{name}' ({written.label}) does not take a batch of {count}.",
                received=f"{type(error).__name__}: {reason(error)}",
                fix=written.fix,
            ) from error
        for field, one, other in zip(part.outputs, found, expected, strict=True):
            if other.dtype.kind not in "biuf":
                continue  # text, which is refused later
            message = f"Submodel '{name}' ({written.label}) predicts something else once it was written."
            fix = "Make its predictions the same for the same rows, in inference."
            check_equal(field.name, one, other, message, fix)


def rows_for(ports: Sequence[Port], count: int, bound: int | None) -> list[Array]:
    """Random rows for every input; another number of rows gives other rows."""
    return [random_rows(port, count, SIZES[0], (number, count), bound) for number, port in enumerate(ports)]


def tried(name: str, what: str, ports: tuple[Port, ...], predict: Predict) -> tuple[int | None, Any]:
    """The bound of the random rows that an object takes, and what it predicts for them."""
    problems = []
    for bound in (None, 2):
        try:
            with quiet():
                return bound, predict(rows_for(ports, ROWS, bound))
        except Exception as error:  # of whatever kind
            problems.append(error)
    taken = " and ".join(f"{shape_text(port.shape)} {port.dtype or ''}".strip() for port in ports)
    raise SourceError(
        f"Submodel '{name}' ({what}) does not take rows of shapes={taken}.",
        expected="the shapes that it was trained on, without the batch axis",
        received=f"{type(problems[0]).__name__}: {reason(problems[0])}",
        fix="Correct shapes=.",
    ) from problems[0]


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
    """Write the ``model.yaml`` of something that predicts arrays, or lists and dicts of them.

    ``larger`` is what it predicts for larger open dimensions. ``args`` are those of Kipoi's class ``defined_as``, and
    ``pip`` what has to be installed.
    """
    what = label.partition(",")[0]
    inputs = [
        {**({"name": name} if name else {}), "shape": str(shape), "doc": f"What the {what} takes."}
        for name, shape in zip(shapes.names, shapes.shapes, strict=True)
    ]
    taken: Any = inputs[0] if shapes.structure == "array" else inputs
    if shapes.structure == "dict":
        taken = dict(zip(map(str, shapes.names), inputs, strict=True))
    write_yaml(
        directory / layout.MODEL_YAML,
        {
            "defined_as": defined_as,
            "args": args,
            "info": {"authors": [], "doc": label},
            "dependencies": {"pip": list(pip)},
            "schema": {"inputs": taken, "targets": _targets(predicted, larger, f"What the {what} predicts.")},
        },
    )


def _targets(predicted: Any, larger: Any, doc: str) -> Any:
    """The schema of predictions; a size that differs in the larger ones is that of an open dimension."""
    if isinstance(predicted, Mapping):
        return {str(key): _targets(item, larger[key], doc) for key, item in predicted.items()}
    if isinstance(predicted, list | tuple):
        return [_targets(*items, doc) for items in zip(predicted, larger, strict=True)]
    sizes = zip(np.shape(predicted)[1:], np.shape(larger)[1:], strict=True)
    shape = tuple(size if size == other else None for size, other in sizes)
    return {"shape": str(shape or (1,)), "doc": doc}
