"""Which inputs and outputs of an ONNX file can be ports: arrays of numbers with the batch as their first axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keras_stitch.errors import SourceError, StitchError, nearest
from keras_stitch.files.onnx_contents import OnnxContents, Value
from keras_stitch.graphs.spec import Port, Shape

# The numbers of one row, or of one batch of a fixed size: random ones are made of them.
_LARGEST = 2**26
_ROWS = "tensors of numbers with the batch as their first axis"


@dataclass(frozen=True)
class OnnxPorts:
    """The ports of an ONNX file.

    Attributes:
        inputs: Its inputs as ports; sizes to which the file gives a name, or none, are open.
        outputs: The outputs that were asked for, as the file declares them.
        batch_size: The only number of rows that it takes; ``None`` where it takes any.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Value, ...]
    batch_size: int | None


def read_ports(what: str, contents: OnnxContents, wanted: Sequence[str] | None) -> OnnxPorts:
    """The ports of an ONNX file, all of its outputs or those that were asked for.

    Raises:
        SourceError: If it needs operators of somebody else, or inputs or outputs are no arrays with a row for each row.
        StitchError: If there is no such output.
    """
    if contents.operators:
        raise SourceError(
            f"{what} needs operators that ONNX Runtime has only with a library of somebody else, which is code and is "
            "never loaded.",
            expected="operators of ONNX and of ONNX Runtime itself",
            received=", ".join(contents.operators)[:400],
            fix="Export it with operators of ONNX alone.",
        )
    _check_inputs(what, contents.inputs)
    batch_size, outputs = _batch_size(what, contents.inputs), _outputs(what, contents, wanted)
    inputs = tuple(Port(value.name, row_of(value), value.dtype) for value in contents.inputs)
    return OnnxPorts(inputs, outputs, batch_size)


def row_of(value: Value) -> Shape:
    """The shape of a row as the file declares it; a number for each row is a row with one number."""
    return _sizes(value)[1:] or (1,)


def no_rows(what: str, contents: OnnxContents, bad: Mapping[str, str]) -> SourceError:
    """The error about outputs that are no arrays with a row for each row; ``bad`` has what each of them is."""
    good = [value.name for value in contents.outputs if value.name not in bad and not _why_not(value, shaped=False)]
    cut = "Cut it before them: onnx.utils.extract_model(file, new_file, [inputs], [tensors])."
    return SourceError(
        f"{what} has outputs that are no arrays with a row for each row.",
        expected=_ROWS,
        received="; ".join(f"'{name}', {why}" for name, why in bad.items()),
        fix=f"Take others: outputs={good}." if good else cut,
    )


def _check_inputs(what: str, inputs: Sequence[Value]) -> None:
    if not inputs:
        raise SourceError(f"{what} has no inputs: it gives the same for all rows.")
    bad = {value.name: why for value in inputs if (why := _why_not(value))}
    if not bad:
        return
    fix = "Cut it behind them: onnx.utils.extract_model(file, new_file, [tensors to feed], [outputs])."
    silent = [value.name for value in inputs if value.dtype and value.shape is None]
    if silent:
        made = f"onnx.helper.make_tensor_value_info({silent[0]!r}, ..., ['rows', ...])"
        fix = f"Write the shape into the file: model.graph.input[...].CopyFrom({made})."
    raise SourceError(
        f"{what} has inputs that no rows of numbers can feed.",
        expected=_ROWS,
        received="; ".join(f"'{name}', {why}" for name, why in bad.items()),
        fix=fix,
    )


def _batch_size(what: str, inputs: Sequence[Value]) -> int | None:
    sizes = {_sizes(value)[0] for value in inputs}
    if len(sizes) > 1:
        raise SourceError(
            f"{what} has inputs that do not take the same number of rows.",
            expected="a first axis that is open for all inputs, or of one size",
            received="; ".join(f"'{value.name}' {_sizes(value)}" for value in inputs),
            fix="Export it with open batches, torch.onnx.export(..., dynamic_axes={input: {0: 'rows'}}), and what is "
            "the same for all rows as an initializer.",
        )
    return sizes.pop()


def _outputs(what: str, contents: OnnxContents, wanted: Sequence[str] | None) -> tuple[Value, ...]:
    known = {value.name: value for value in contents.outputs}
    if wanted is not None and not wanted:
        raise StitchError(f"{what} would have no outputs.", expected=nearest("", known), received="outputs=[]")
    for name in wanted or ():
        if name not in known:
            raise StitchError(
                f"{what} has no output '{name}' to take.",
                expected=nearest(name, known),
                received=f"outputs={list(wanted or ())!r}"[:200],
            )
    chosen = contents.outputs if wanted is None else tuple(known[name] for name in wanted)
    bad = {value.name: why for value in chosen if (why := _why_not(value, shaped=False))}
    if bad:
        raise no_rows(what, contents, bad)
    return chosen


def _why_not(value: Value, *, shaped: bool = True) -> str:
    """Why an input or an output is no port; empty where it is. A shape has to be declared where ``shaped``."""
    if value.dtype is None:
        return value.what
    if value.shape is None:
        return f"{value.what} of a shape that the file does not say" if shaped else ""
    if not value.shape:
        return f"{value.what} without any axis"
    size = math.prod(size for size in value.shape if isinstance(size, int))
    return f"{value.what} of {size:,} numbers, more than {_LARGEST:,}" if size > _LARGEST else ""


def _sizes(value: Value) -> Shape:
    return tuple(size if isinstance(size, int) else None for size in value.shape or ())
