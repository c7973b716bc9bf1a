"""What was exported: its inputs and outputs, and by how much it differs from Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_stitch.errors import SaveError
from keras_stitch.export.exportable import EXAMPLE
from keras_stitch.graphs.spec import Port
from keras_stitch.placement.conflicts import listed
from keras_stitch.terminal import Shown, Table
from keras_stitch.verify.equality import Comparison, compare
from keras_stitch.verify.fresh_process import Arrays
from keras_stitch.verify.predict_program import plain

ONNX, SAVED_MODEL = "onnx", "saved_model"
FORMATS = {ONNX: "an ONNX file", SAVED_MODEL: "a TensorFlow SavedModel"}
_RUN_BY = {ONNX: "ONNX Runtime", SAVED_MODEL: "TensorFlow alone, in a fresh process"}


@dataclass(frozen=True)
class CheckedOutput:
    """One output of an exported model, held against Keras.

    Attributes:
        name: The graph output.
        shape: The shape, ``None`` for the rows and other open dimensions.
        dtype: The dtype.
        magnitude: The largest absolute value that Keras predicted.
        largest: The largest absolute difference; ``None`` where there was nothing to subtract.
        allowed: The largest difference that counts as equal.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    magnitude: float
    largest: float | None
    allowed: float

    def cells(self) -> tuple[str, ...]:
        """The row of a table."""
        largest = "-" if self.largest is None else f"{self.largest:.2g}"
        return self.name, _shape_text(self.shape), self.dtype, f"{self.magnitude:.3g}", largest, f"{self.allowed:.2g}"


@dataclass(frozen=True, repr=False)
class Exported(Shown):
    """A model that was exported.

    Attributes:
        path: The file or folder.
        format: ``"onnx"`` or ``"saved_model"``.
        size: The size in bytes.
        inputs: The inputs in their order, shapes without the rows.
        outputs: The outputs in their order.
        compared: The rows on which each output was compared, in words.
        before: The models that run before this one, and are not in the file.
    """

    path: Path
    format: str
    size: int
    inputs: tuple[Port, ...]
    outputs: tuple[CheckedOutput, ...]
    compared: tuple[str, ...]
    before: tuple[str, ...] = ()

    def _lines(self) -> list[str | Table]:
        inputs = [(port.name, _shape_text((None, *port.row)), port.dtype or "") for port in self.inputs]
        outputs = [output.cells() for output in self.outputs]
        lines: list[str | Table] = [
            f"{self.path.name}: {FORMATS[self.format]}, {_size_text(self.size)}",
            "",
            Table(("input", "shape", "dtype"), inputs),
            "",
            Table(("output", "shape", "dtype", "largest value", "largest difference", "allowed"), outputs),
            "",
            f"Run by {_RUN_BY[self.format]}, and compared with Keras on {listed(self.compared)}.",
        ]
        if self.before:
            one = len(self.before) == 1
            lines.append(
                f"This is the final model only: {listed(self.before)} run{'s' * one} before it, and "
                f"{'is' if one else 'are'} not in it. Its inputs are what the directory's dataloader gives."
            )
        return lines


def checked_output(
    name: str, tensor: Any, found: Mapping[str, Arrays], expected: Mapping[str, Arrays], sets: Mapping[str, Arrays]
) -> CheckedOutput:
    """One output on all kinds of inputs; an error if it differs, or has not one finite number."""
    compared: list[Comparison] = []
    for kind, predictions in expected.items():
        if name not in found[kind]:
            raise SaveError(f"The exported model has no output '{name}'.", received=", ".join(found[kind]))
        one = compare(plain(found[kind][name]), predictions[name])
        if not one.equal:
            raise SaveError(
                f"The exported model does not predict what Keras does: the output '{name}' differs on "
                f"{rows_text(kind, sets[kind])}.",
                expected=one.expected or f"a difference of at most {one.allowed:.3g}",
                received=one.problem or f"a difference of {one.largest:.3g}",
                fix="Nothing was written. The other format may do it.",
            )
        compared.append(one)
    if not any(one.finite for one in compared):
        raise SaveError(
            f"The output '{name}' has not one finite number to compare.",
            received="NaN or infinity, or nothing, for all inputs",
            fix="Nothing was written. Export a directory with examples on which it is finite.",
        )
    worst = max(compared, key=lambda one: (one.largest or 0.0) / one.allowed)
    return CheckedOutput(name, tuple(tensor.shape), str(tensor.dtype), worst.magnitude, worst.largest, worst.allowed)


def rows_text(kind: str, inputs: Arrays) -> str:
    """How many rows of a kind there are, such as ``1 random row``."""
    rows = len(next(iter(inputs.values())))
    word = EXAMPLE if kind == EXAMPLE else "random"
    return f"{rows} {word} row{'s' * (rows != 1)}"


def _shape_text(shape: tuple[int | None, ...]) -> str:
    sizes = ["rows", *("None" if size is None else str(size) for size in shape[1:])]
    return f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"


def _size_text(size: int) -> str:
    number, unit = float(size), 0
    while number >= 1000 and unit < 3:
        number, unit = number / 1000, unit + 1
    return f"{number:.3g} {('bytes', 'kB', 'MB', 'GB')[unit]}"
