"""What a Kipoi model of another framework takes and predicts, as a run on random rows shows.

Kipoi's schemas have no dtypes, and nobody checks the shapes in them. So a model is run once on a few random rows, from
a copy like the one that it will run from later.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_stitch.errors import SourceError, reason
from keras_stitch.files.scratch import Scratch
from keras_stitch.graphs.names import unique_names
from keras_stitch.graphs.shapes import shape_fits
from keras_stitch.graphs.spec import Port, Source, Submodel, shape_text
from keras_stitch.kipoi.framework import to_install
from keras_stitch.kipoi.model_directory import CopiedPart
from keras_stitch.kipoi.packed_copy import fingerprint, flattened, load_packed, nested, write_packed
from keras_stitch.kipoi.schema import Field
from keras_stitch.models.sample_rows import SIZES, random_rows, row_shape
from keras_stitch.verify.equality import compare

Array = np.ndarray[Any, Any]
ROWS = 3
_TYPED = ("float32", "float64", "int64", "int32")
_MOST_TRIES = 256
_LARGE_ROW = 2**24


def foreign_submodel(
    name: str,
    part: CopiedPart,
    source: Source,
    placement: str | None,
    *,
    dtypes: Sequence[str] | None = None,
) -> Submodel:
    """A Kipoi model of another framework as a submodel; it is run once to see what it takes and gives.

    Returns:
        Ports with the names and shapes of the schema. Inputs have the given dtypes or the first that a model of PyTorch
        or TensorFlow takes, and any for all others; outputs have that of the prediction. A model that takes no random
        numbers is believed to be what its schema says, in float32.

    Raises:
        SourceError: When it cannot be loaded, or predicts something else than its schema says.
    """
    believed = believed_submodel(name, part, source, placement)
    with Scratch() as temporary:
        folder = temporary / "model"
        write_packed(part, folder, link=True)
        model = _loaded(name, part, folder)
        found, given = _probed(name, model, part, believed.inputs, dtypes)
    inputs = tuple(replace(port, dtype=dtype) for port, dtype in zip(believed.inputs, found, strict=True))
    if given is None:
        return replace(believed, inputs=inputs)
    pairs = zip(believed.outputs, flattened(name, part, given), strict=True)
    outputs = tuple(_checked(name, part, source, port, array) for port, array in pairs)
    return replace(believed, inputs=inputs, outputs=outputs)


def believed_submodel(name: str, part: CopiedPart, source: Source, placement: str | None) -> Submodel:
    """A Kipoi model that cannot run here as a submodel: ports as the schema says, and float32 outputs."""
    return Submodel(
        name,
        replace(source, sha256=fingerprint(part)),
        inputs=tuple(_ports(part.inputs, "input")),
        outputs=tuple(
            # A number for each row is a row with one number: Keras has no arrays without an axis.
            replace(port, shape=port.row or (1,), dtype="float32")
            for port in _ports(part.outputs, "output")
        ),
        placement=placement,
        framework=part.framework,
    )


def _loaded(name: str, part: CopiedPart, folder: Path) -> Any:
    try:
        return load_packed(folder)
    except (Exception, SystemExit) as error:  # Kipoi, the framework and the model's own code raise whatever they meet
        text = str(error)
        fix = to_install(text)
        if isinstance(error, FileNotFoundError):
            fix = "Name every file that the model reads in the args: of its model.yaml, so that it is copied, too."
        if isinstance(error, AssertionError) and part.framework == "scikit-learn" and not text:
            text = f"it has no predict_method '{part.args.get('predict_method', 'predict')}'"
            fix = "Correct predict_method: in the args: of its model.yaml."
        raise SourceError(
            f"Submodel '{name}' ({part.label}), a model of {part.framework}, cannot be loaded.",
            received=f"{type(error).__name__}: {reason(error) if text == str(error) else text}",
            fix=fix,
        ) from error


def _ports(fields: Sequence[Field], what: str) -> list[Port]:
    own = [field.name if field.named else what if len(fields) == 1 else f"{what}{number}" for number, field in
           enumerate(fields, 1)]  # fmt: skip
    return [
        Port(name, field.shape, None, generated=not field.named)
        for name, field in zip(unique_names(own), fields, strict=True)
    ]


def _probed(
    name: str, model: Any, part: CopiedPart, ports: Sequence[Port], dtypes: Sequence[str] | None
) -> tuple[Sequence[str | None], Any]:
    """The dtypes that a model takes, and what it predicts for random rows; ``None`` where it refuses all of them."""
    typed = part.framework in ("pytorch", "tensorflow", "onnx")
    for size, made in itertools.product(sizes_of(ports), _kinds(part.framework)):
        for bound, tried in itertools.product((None, 2), _tries(len(ports), typed, dtypes)):
            rows = [
                made(random_rows(replace(port, dtype=dtype), ROWS, size, number, bound))
                for number, (port, dtype) in enumerate(zip(ports, tried, strict=True))
            ]
            try:
                with quiet():
                    given = model.predict_on_batch(nested(part, _copies(rows)))
            except ImportError as error:
                raise SourceError(
                    f"Submodel '{name}' ({part.label}) imports a module when it predicts, and does not find it.",
                    received=reason(error),
                    fix="Import it at the top of the Python file, where its neighbours are found, or install it.",
                ) from error
            except (Exception, SystemExit):  # whatever it does with numbers that it does not take
                continue
            _check_row_by_row(name, model, part, rows, given)
            return (tried if typed else [None] * len(ports)), given
    _check_features(name, model, part, ports)
    return dtypes or (["float32"] if typed else [None]) * len(ports), None


def _check_row_by_row(name: str, model: Any, part: CopiedPart, rows: Sequence[Any], given: Any) -> None:
    """Refuse a model that predicts something else for the same rows, again or in a smaller batch."""
    known = [np.array(array) for array in flattened(name, part, given)]
    for what, count in (("when it is asked once more", ROWS), ("when it is asked for one of them alone", 1)):
        try:
            with quiet():
                again = model.predict_on_batch(nested(part, _copies([row[:count] for row in rows])))
                arrays = flattened(name, part, again)
        except (Exception, SystemExit):  # one row may be too few for it, which is said when that happens
            continue
        for field, array, expected in zip(part.outputs, arrays, known, strict=True):
            numbers = expected.dtype.kind in "biuf" and array.dtype.kind in "biuf"
            if not numbers or expected.ndim == 0 or len(expected) != ROWS or array.shape != expected[:count].shape:
                continue  # said elsewhere
            message = f"Submodel '{name}' ({part.label}) predicts something else for the same rows {what}."
            fix = "Make what it predicts for a row depend on that row alone."
            check_equal(field.name, array, expected[:count], message, fix)


def check_equal(output: str, found: Array, expected: Array, message: str, fix: str) -> None:
    """Raise where an output of a model is not what is expected."""
    result = compare(found, expected)
    if not result.equal:
        raise SourceError(
            message,
            expected=result.expected or f"differences of '{output}' up to {result.allowed:.3g}",
            received=result.problem or f"{result.largest:.3g}",
            fix=fix,
        )


def _copies(rows: Sequence[Any]) -> list[Any]:
    """Arrays that a model may change."""
    return [row.copy() if isinstance(row, np.ndarray) else row for row in rows]


def _check_features(name: str, model: Any, part: CopiedPart, ports: Sequence[Port]) -> None:
    """Refuse a schema for rows of another length than an estimator of scikit-learn was fitted on."""
    expected = getattr(getattr(model, "model", None), "n_features_in_", None)
    shape = ports[0].row
    if part.framework == "scikit-learn" and expected is not None and len(shape) == 1 and shape[0] != expected:
        raise SourceError(
            f"The schema of '{part.label}' does not fit what submodel '{name}' takes as '{ports[0].name}'.",
            expected=f"({expected},), which it was fitted on",
            received=f"{shape_text(shape)}, which model.yaml says",
            fix="Correct the inputs of the schema in model.yaml.",
        )


def _kinds(framework: str) -> Sequence[Callable[[Array], Any]]:
    """What random rows are converted to. TensorFlow refuses tensors of another dtype, and truncates floats of NumPy."""
    if framework != "tensorflow":
        return (np.asarray,)
    import tensorflow as tf

    return (tf.convert_to_tensor, np.asarray)


def _tries(count: int, typed: bool, dtypes: Sequence[str] | None) -> Iterator[Sequence[str]]:
    if dtypes is not None:
        yield dtypes
    elif not typed:
        yield from ([dtype] * count for dtype in ("float32", "int64"))
    elif len(_TYPED) ** count <= _MOST_TRIES:
        yield from itertools.product(_TYPED, repeat=count)
    else:  # for many inputs: all the same, or all but one
        yield from ([dtype] * count for dtype in _TYPED)
        for most, other, number in itertools.product(_TYPED, _TYPED, range(count)):
            yield [other if number == at else most for at in range(count)]


def sizes_of(ports: Sequence[Port]) -> Sequence[int]:
    """The sizes to try for open dimensions, as long as rows do not become large; one where there are none."""
    if not any(port.is_open for port in ports):
        return SIZES[:1]
    small = [size for size in SIZES if all(math.prod(row_shape(port, size)) <= _LARGE_ROW for port in ports)]
    return small or SIZES[:1]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of models about random numbers."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _checked(name: str, part: CopiedPart, source: Source, port: Port, array: Array) -> Port:
    """An output port with the dtype of a prediction, which has to fit it."""
    if array.dtype.kind not in "biuf":
        in_yaml = "predict_method: predict_proba in the args: of its model.yaml"
        proba = 'method="predict_proba"' if source.in_memory else in_yaml
        raise SourceError(
            f"Submodel '{name}' ({part.label}) predicts no numbers, but class labels or other objects.",
            expected="numbers",
            received=f"{array.dtype} for '{port.name}'",
            fix=f"Take the probabilities, {proba}." if part.framework == "scikit-learn" else None,
        )
    if array.ndim == 0 or len(array) != ROWS:
        raise SourceError(
            f"Submodel '{name}' ({part.label}) does not predict row by row.",
            expected=f"{ROWS} rows for {ROWS} rows",
            received=f"'{port.name}' of shape {array.shape}",
        )
    said, made = port.row, array.shape[1:] or (1,)
    if not shape_fits(made, said):
        raise SourceError(
            f"The schema of '{part.label}' does not fit what submodel '{name}' predicts for '{port.name}'.",
            expected=f"{shape_text(made)}, which the model gives",
            received=f"{shape_text(said)}, which model.yaml says",
            fix="Correct the targets of the schema in model.yaml.",
        )
    return replace(port, dtype=array.dtype.name)
