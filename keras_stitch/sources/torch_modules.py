"""A module of PyTorch in memory as the files of a Kipoi directory: the program that ``torch.export`` makes of it."""

from __future__ import annotations

import contextlib
import copy
import importlib.metadata
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_stitch.errors import SourceError, reason
from keras_stitch.graphs.spec import Port, Shape
from keras_stitch.kipoi.templates import template_text
from keras_stitch.models.sample_rows import SIZES
from keras_stitch.sources.probing import ROWS, quiet
from keras_stitch.sources.snapshots import Array, Predict, Shapes, Written, describe, rows_for, tried

DIRECTORY = "Write a Kipoi directory with kipoi.model.PyTorchModel, and add that."


def write_module(name: str, module: Any, shapes: Shapes, directory: Path) -> Written:
    """Write a module to a Kipoi directory; it is copied, and left in the mode that it is in.

    Args:
        name: The submodel.
        module: A ``torch.nn.Module``.
        shapes: What it takes; floats have the dtype of its own parameters where nothing else is said.
        directory: Where to.

    Raises:
        SourceError: If it does not take the shapes, or ``torch.export`` refuses it.
    """
    import torch

    what = type(module).__name__
    try:
        copied = copy.deepcopy(module).cpu().eval()
        for parameter in copied.parameters():
            parameter.requires_grad_(False)
    except Exception as error:  # the module's own code
        raise _unexportable(name, what, error, "copied") from error
    usual = next((str(tensor.dtype)[6:] for tensor in copied.parameters() if tensor.is_floating_point()), "float32")
    dtypes = tuple(dtype or usual for dtype in shapes.dtypes)
    open_ports = tuple(
        Port(key or f"input{number}", shape, dtype)
        for number, (key, shape, dtype) in enumerate(zip(shapes.names, shapes.shapes, dtypes, strict=True), 1)
    )

    def predict(rows: Sequence[Array]) -> Any:
        tensors = [torch.from_numpy(row) for row in rows]
        with torch.no_grad():
            if shapes.structure == "dict":
                return _arrays(copied(**dict(zip(map(str, shapes.names), tensors, strict=True))))
            return _arrays(copied(*tensors))

    ports, bound, predicted, larger = _sized(name, what, open_ports, predict)
    tensors = [torch.from_numpy(row) for row in rows_for(ports, ROWS, bound)]
    free = [dict.fromkeys([0, *_open(port.shape)], torch.export.Dim.DYNAMIC) for port in open_ports]
    try:
        with _no_remarks():
            if shapes.structure == "dict":
                named = dict(zip(map(str, shapes.names), tensors, strict=True))
                ranges = dict(zip(map(str, shapes.names), free, strict=True))
                program = torch.export.export(copied, (), kwargs=named, dynamic_shapes=ranges)
            else:
                program = torch.export.export(copied, tuple(tensors), dynamic_shapes=tuple(free))
            torch.export.save(program, directory / "model_files" / "module.pt2")
    except Exception as error:  # torch raises many kinds
        raise _unexportable(name, what, error, "exported by torch.export") from error
    (directory / "model.py").write_text(template_text("kipoi/exported_module.py"), encoding="utf-8")
    describe(
        directory,
        what,
        shapes,
        predicted,
        larger,
        defined_as="model.ExportedModule",
        args={"weights": "model_files/module.pt2"},
        pip=[f"torch=={importlib.metadata.version('torch').partition('+')[0]}"],
    )
    return Written(f"{what} of PyTorch", ports, bound, dtypes, predict)


def _arrays(given: Any) -> Any:
    """The tensors that a module gave as arrays."""
    if isinstance(given, Mapping):
        return {key: _arrays(item) for key, item in given.items()}
    if isinstance(given, list | tuple):
        return [_arrays(item) for item in given]
    return given.numpy()


def _sized(
    name: str, what: str, ports: tuple[Port, ...], predict: Predict
) -> tuple[tuple[Port, ...], int | None, Any, Any]:
    """Ports whose open dimensions have a size that the module takes, and its predictions for that and a larger one."""

    def at(size: int) -> tuple[Port, ...]:
        return tuple(
            replace(port, shape=tuple(size if known is None else known for known in port.shape or ())) for port in ports
        )

    problem: SourceError | None = None
    is_open = any(_open(port.shape) for port in ports)
    for size in SIZES if is_open else SIZES[:1]:
        try:
            bound, predicted = tried(name, what, at(size), predict)
            larger = tried(name, what, at(2 * size), predict)[1] if is_open else predicted
        except SourceError as error:
            problem = problem or error
            continue
        return at(size), bound, predicted, larger
    assert problem is not None
    raise problem


def _open(shape: Shape | None) -> list[int]:
    return [axis for axis, size in enumerate(shape or (), 1) if size is None]


def _unexportable(name: str, what: str, error: Exception, done: str) -> SourceError:
    return SourceError(
        f"Submodel '{name}' ({what}) cannot be {done}.",
        received=f"{type(error).__name__}: {reason(error)}",
        fix=DIRECTORY,
    )


@contextlib.contextmanager
def _no_remarks() -> Iterator[None]:
    """Without warnings, log lines and listings of torch, all of which go into the message of an error."""
    before = logging.root.manager.disable
    with quiet(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
