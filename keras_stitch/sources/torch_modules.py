"""A module of PyTorch in memory, written to a Kipoi directory as a program of ``torch.export``."""

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

from keras_stitch import directory_layout as layout
from keras_stitch.errors import SourceError, reason
from keras_stitch.graphs.spec import Port
from keras_stitch.kipoi.templates import template_text
from keras_stitch.models.sample_rows import row_shape
from keras_stitch.sources.added import Added, Request
from keras_stitch.sources.probing import ROWS, quiet, sizes_of
from keras_stitch.sources.shapes_argument import Shapes, shapes_of
from keras_stitch.sources.snapshots import Array, Written, describe, load_snapshot, rows_for, tried

_FILE = f"{layout.MODEL_FILES}/module.pt2"
_DIRECTORY = "Write a Kipoi directory with kipoi.model.PyTorchModel, and add that."


def load_module(request: Request) -> Added:
    """Load a module of PyTorch, which is copied, and left in the mode that it is in.

    Floats have the dtype of the module's own parameters where nothing else is said.

    Raises:
        SourceError: If it does not take the shapes, or ``torch.export`` refuses it.
        StitchError: If ``shapes=`` is not valid.
    """
    shapes = shapes_of(request.name, request.shapes, "module")
    module = _Module(request.name, request.source, shapes)
    return load_snapshot(request, "module", module.write)


class _Module:
    """A copy of a ``torch.nn.Module``, for inference, which takes these shapes."""

    def __init__(self, name: str, module: Any, shapes: Shapes):
        self._name, self._what, self._shapes = name, type(module).__name__, shapes
        try:
            self._module = copy.deepcopy(module).cpu().eval()
            for parameter in self._module.parameters():
                parameter.requires_grad_(False)
        except Exception as error:  # the module's own code
            raise self._failed("copied", error) from error
        floats = (tensor.dtype for tensor in self._module.parameters() if tensor.is_floating_point())
        usual = str(next(floats, "torch.float32")).removeprefix("torch.")
        self._dtypes = tuple(dtype or usual for dtype in shapes.dtypes)

    def write(self, directory: Path) -> Written:
        """Write it to a Kipoi directory."""
        ports = tuple(
            Port(key or f"input{number}", shape, dtype)
            for number, (key, shape, dtype) in enumerate(
                zip(self._shapes.names, self._shapes.shapes, self._dtypes, strict=True), 1
            )
        )
        sized, bound, predicted, larger = self._sized(ports)
        open_axes = [[axis for axis, size in enumerate(shape, 1) if size is None] for shape in self._shapes.shapes]
        self._export(directory / _FILE, rows_for(sized, ROWS, bound), open_axes)
        (directory / layout.MODEL_CODE).write_text(template_text("kipoi/exported_module.py"), encoding="utf-8")
        describe(
            directory,
            self._what,
            self._shapes,
            predicted,
            larger,
            defined_as="model.ExportedModule",
            args={"weights": _FILE},
            pip=[f"torch=={importlib.metadata.version('torch').partition('+')[0]}"],
        )
        return Written(f"{self._what} of PyTorch", sized, bound, self._dtypes, self._predict, fix=_DIRECTORY)

    def _given(self, items: Sequence[Any]) -> dict[str, Any] | tuple[Any, ...]:
        """Something for each input: by name where the module is called by name, or else in order."""
        if self._shapes.structure == "dict":
            return dict(zip(map(str, self._shapes.names), items, strict=True))
        return tuple(items)

    def _predict(self, rows: Sequence[Array]) -> Any:
        import torch

        given = self._given([torch.from_numpy(row) for row in rows])
        with torch.no_grad():
            return _arrays(self._module(**given) if isinstance(given, dict) else self._module(*given))

    def _sized(self, ports: Sequence[Port]) -> tuple[tuple[Port, ...], int | None, Any, Any]:
        """Ports whose open dimensions have a size that it takes, and its predictions for that and a larger one."""

        def at(size: int) -> tuple[Port, ...]:
            return tuple(replace(port, shape=row_shape(port, size)) for port in ports)

        problems = []
        sizes = sizes_of(ports)
        for size in sizes:
            try:
                bound, predicted = tried(self._name, self._what, at(size), self._predict)
                is_open = len(sizes) > 1
                larger = tried(self._name, self._what, at(2 * size), self._predict)[1] if is_open else predicted
            except SourceError as error:
                problems.append(error)
                continue
            return at(size), bound, predicted, larger
        raise problems[0]

    def _export(self, file: Path, rows: Sequence[Array], open_axes: Sequence[Sequence[int]]) -> None:
        """Write the program that ``torch.export`` makes of it, for any number of rows."""
        import torch

        given = self._given([torch.from_numpy(row) for row in rows])
        ranges = self._given([dict.fromkeys([0, *axes], torch.export.Dim.DYNAMIC) for axes in open_axes])
        args, kwargs = ((), given) if isinstance(given, dict) else (given, None)
        try:
            with _no_remarks():
                torch.export.save(torch.export.export(self._module, args, kwargs, dynamic_shapes=ranges), file)
        except Exception as error:  # torch raises many kinds
            raise self._failed("exported by torch.export", error) from error

    def _failed(self, done: str, error: Exception) -> SourceError:
        return SourceError(
            f"Submodel '{self._name}' ({self._what}) cannot be {done}.",
            received=f"{type(error).__name__}: {reason(error)}",
            fix=_DIRECTORY,
        )


def _arrays(given: Any) -> Any:
    """The predictions of a module with arrays in place of tensors."""
    if isinstance(given, Mapping):
        return {key: _arrays(item) for key, item in given.items()}
    if isinstance(given, list | tuple):
        return [_arrays(item) for item in given]
    return given.numpy()


@contextlib.contextmanager
def _no_remarks() -> Iterator[None]:
    """Without warnings, log lines and printed listings of torch: the message of an error says enough."""
    before = logging.root.manager.disable
    with quiet(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
