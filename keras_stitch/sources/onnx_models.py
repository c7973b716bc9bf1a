"""An ONNX file as a submodel: read as data, described as a Kipoi directory, and run there by ONNX Runtime.

The directory links to the file and to those that hold its weights; nothing is copied before the graph is saved.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_stitch import directory_layout as layout
from keras_stitch.errors import SourceError, StitchError, nearest
from keras_stitch.files.onnx_contents import OnnxContents, Value, check_installed, in_one_file, read_onnx
from keras_stitch.files.scratch import Scratch
from keras_stitch.graphs.spec import Port, Shape, Source
from keras_stitch.kipoi.model_directory import CopiedPart, read_directory
from keras_stitch.kipoi.templates import template_module, template_text, write_yaml
from keras_stitch.models import file_formats
from keras_stitch.models.sample_rows import row_shape
from keras_stitch.placement import requirements
from keras_stitch.sources.added import Added, Request
from keras_stitch.sources.probing import ROWS, foreign_submodel, quiet, sizes_of
from keras_stitch.sources.snapshots import rows_for

Array = np.ndarray[Any, Any]

_FILE = f"{layout.MODEL_FILES}/model.onnx"
_DATA = f"{layout.MODEL_FILES}/data"
_MORE_ROWS = 7
# Each of them installs the module onnxruntime.
_PACKAGES = ("onnxruntime", "onnxruntime-gpu")
# The numbers of one row, or of one batch of a fixed size: random ones are made of them.
_LARGEST = 2**28
_ROWS = "tensors of numbers with the batch as their first axis"


def load_onnx(request: Request) -> Added:
    """An ONNX file as a submodel whose ports have the names of its inputs and outputs, or of the outputs asked for.

    Raises:
        SourceError: If it cannot be read, has inputs or outputs that are no arrays with a row for each row, or cannot
            be run by ONNX Runtime without more code.
        StitchError: If there is no such output, or a package is missing.
    """
    check_installed(("onnx", "onnxruntime"))
    file_formats.check_exists(Path(request.source))
    file = _OnnxModel(request.name, read_onnx(Path(request.source)), request.outputs)
    folder = Scratch()
    directory = folder.path / file.contents.path.name
    file.write(directory)
    part = read_directory(directory)
    assert isinstance(part, CopiedPart)  # its class is not Keras'
    part = replace(part, framework="onnx")
    path = file.contents.path
    source = Source("file", path.name, path=str(path.absolute()))
    dtypes = [port.dtype or "" for port in file.inputs]
    submodel = foreign_submodel(request.name, part, source, request.placement, dtypes=dtypes)
    submodel = replace(
        submodel,
        source=replace(source, sha256=file.contents.sha256),
        inner_outputs=None if request.outputs is None else tuple(dict.fromkeys(request.outputs)),
    )
    return Added(submodel, part=part, kept=folder, files=file.contents.files)


class _OnnxModel:
    """An ONNX file with the outputs that were asked for.

    Attributes:
        contents: What it says about itself.
        inputs: Its inputs as ports.
    """

    def __init__(self, name: str, contents: OnnxContents, outputs: Sequence[str] | None):
        self.contents = contents
        self._what = f"Submodel '{name}' ({contents.path.name})"
        self._check_operators()
        self._batch_size = self._read_batch_size()
        self.inputs = tuple(_port(value) for value in contents.inputs)
        self._chosen = self._read_outputs(outputs)

    def write(self, directory: Path) -> None:
        """Write the Kipoi directory, once it is known what the file gives for random rows."""
        (directory / _FILE).parent.mkdir(parents=True)
        (directory / _FILE).symlink_to(self.contents.path.absolute())
        data = {name: f"{_DATA}/{name}" for name in self.contents.data}
        for name, file in self.contents.data.items():
            (directory / data[name]).parent.mkdir(parents=True, exist_ok=True)
            (directory / data[name]).symlink_to(file.absolute())
        (directory / layout.MODEL_CODE).write_text(template_text("kipoi/onnx_model.py"), encoding="utf-8")
        positions = [self.contents.outputs.index(value) for value in self._chosen]
        args: dict[str, Any] = {"weights": _FILE, "outputs": positions}
        args |= {"batch_size": self._batch_size} if self._batch_size else {}
        args |= {"data": data} if data else {}
        shapes = self._output_shapes(self._loaded(directory, args))
        names = [value.name for value in self._chosen]
        about = f"{self.contents.path.name} of opset {self.contents.opset}, made by {self.contents.producer}."
        write_yaml(
            directory / layout.MODEL_YAML,
            {
                "defined_as": "model.OnnxModel",
                "args": args,
                "info": {"authors": [], "doc": about},
                "dependencies": {"pip": [_requirement()]},
                "schema": {
                    "inputs": _schema([(port.name, port.row) for port in self.inputs], "What the ONNX file takes."),
                    "targets": _schema(list(zip(names, shapes, strict=True)), "What the ONNX file gives."),
                },
            },
        )

    # -- what it declares ------------------------------------------------------

    def _check_operators(self) -> None:
        if self.contents.operators:
            raise SourceError(
                f"{self._what} needs operators that ONNX Runtime has only with a library of somebody else, which is "
                "code and is never loaded.",
                expected="operators of ONNX and of ONNX Runtime itself",
                received=", ".join(self.contents.operators)[:400],
                fix="Export it with operators of ONNX alone.",
            )

    def _read_batch_size(self) -> int | None:
        """The only number of rows that it takes; ``None`` where it takes any."""
        inputs = self.contents.inputs
        if not inputs:
            raise SourceError(f"{self._what} has no inputs: it gives the same for all rows.")
        bad = {value.name: why for value in inputs if (why := _why_not(value))}
        if bad:
            silent = [value for value in inputs if value.dtype and value.shape is None]
            raise SourceError(
                f"{self._what} has inputs that no rows of numbers can feed.",
                expected=_ROWS,
                received="; ".join(f"'{name}', {why}" for name, why in bad.items()),
                fix="Write the shape into the file: model.graph.input[...].CopyFrom(onnx.helper.make_tensor_value_info("
                f"{silent[0].name!r}, ..., ['rows', ...]))."
                if silent
                else "Cut it behind them: onnx.utils.extract_model(file, new_file, [tensors to feed], [outputs]).",
            )
        firsts = [value.shape[0] for value in inputs if value.shape]
        sizes = {size if isinstance(size, int) else None for size in firsts}
        if len(sizes) > 1:
            raise SourceError(
                f"{self._what} has inputs that do not take the same number of rows.",
                expected="a first axis that is open for all inputs, or of one size",
                received="; ".join(f"'{value.name}' {_sizes(value)}" for value in inputs),
                fix="Export it with open batches, torch.onnx.export(..., dynamic_axes={input: {0: 'rows'}}), and what "
                "is the same for all rows as an initializer.",
            )
        return sizes.pop()

    def _read_outputs(self, wanted: Sequence[str] | None) -> tuple[Value, ...]:
        """The outputs that were asked for, or all."""
        known = {value.name: value for value in self.contents.outputs}
        if wanted is not None and not wanted:
            raise StitchError(
                f"{self._what} would have no outputs.", expected=nearest("", known), received="outputs=[]"
            )
        for name in wanted or ():
            if name not in known:
                raise StitchError(
                    f"{self._what} has no output '{name}' to take.",
                    expected=nearest(name, known),
                    received=f"outputs={list(wanted or ())!r}"[:200],
                )
        chosen = self.contents.outputs if wanted is None else tuple(known[name] for name in dict.fromkeys(wanted))
        bad = {value.name: why for value in chosen if (why := _why_not(value, shaped=False))}
        if bad:
            raise self._no_rows(bad)
        return chosen

    def _no_rows(self, bad: dict[str, str]) -> SourceError:
        """The error about outputs, with what each of them is."""
        good = [it.name for it in self.contents.outputs if it.name not in bad and not _why_not(it, shaped=False)]
        return SourceError(
            f"{self._what} has outputs that are no arrays with a row for each row.",
            expected=_ROWS,
            received="; ".join(f"'{name}', {why}" for name, why in bad.items()),
            fix=f"Take others: outputs={good}."
            if good
            else "Cut it before them: onnx.utils.extract_model(file, new_file, [inputs], [tensors]).",
        )

    # -- what it gives ---------------------------------------------------------

    def _loaded(self, directory: Path, args: dict[str, Any]) -> Any:
        made = {**args, "weights": str(directory / _FILE)}
        if "data" in args:
            made["data"] = {name: str(directory / place) for name, place in args["data"].items()}
        try:
            return template_module("kipoi.onnx_model").OnnxModel(**made)
        except Exception as error:  # ONNX Runtime has no class of its own for all of its errors
            text = _reason(error)
            if re.search(r"opset|IR version", text, re.IGNORECASE):
                fix = "Install a newer one, pip install -U onnxruntime, or convert the file: onnx.version_converter."
            elif self.contents.data:
                fix = in_one_file(self.contents.path)
            else:
                fix = "Check it by onnx.checker.check_model(file, full_check=True), or export it again."
            message = f"{self._what} cannot be loaded by ONNX Runtime {_version()}."
            raise SourceError(message, received=text, fix=fix) from error

    def _output_shapes(self, model: Any) -> list[Shape]:
        """The shapes of the outputs without the batch axis; a size that differs from run to run is open."""
        found, problem = self._tried(model)
        if found is None:
            unknown = [value.name for value in self._chosen if value.shape is None]
            if unknown:
                raise SourceError(
                    f"{self._what} takes no random rows, and does not say which shape its outputs have.",
                    expected="shapes of " + " and ".join(map(repr, unknown)),
                    received=problem,
                    fix="Write them into the file: onnx.shape_inference.infer_shapes_path(file, new_file).",
                )
            return [_row(value) for value in self._chosen]
        (rows, first), (more_rows, second) = found
        bad = {}
        for value, one, other in zip(self._chosen, first, second, strict=True):
            if not one.ndim or (len(one), len(other)) != (rows, more_rows):
                bad[value.name] = f"of shape {one.shape} for {rows} rows"
        if bad:
            raise self._no_rows(bad)
        return [
            tuple(size if size == later else None for size, later in zip(one.shape[1:], other.shape[1:], strict=True))
            or (1,)
            for one, other in zip(first, second, strict=True)
        ]

    def _tried(self, model: Any) -> tuple[list[tuple[int, list[Array]]] | None, str]:
        """What it gives for some rows and for more and larger ones; or ``None``, and what was wrong first."""
        problem = ""
        for size in sizes_of(self.inputs):
            for bound in (None, 2):
                try:
                    return [
                        self._run(model, rows, of, bound) for rows, of in ((ROWS, size), (_MORE_ROWS, 2 * size))
                    ], ""
                except Exception as error:  # of ONNX Runtime, for rows that it does not take
                    problem = problem or _reason(error)
        return None, problem

    def _run(self, model: Any, rows: int, size: int, bound: int | None) -> tuple[int, list[Array]]:
        sized = [replace(port, shape=row_shape(port, size)) for port in self.inputs]
        with quiet():
            found = model.predict_on_batch(rows_for(sized, rows, bound))
        return rows, found if isinstance(found, list) else [found]


def _why_not(value: Value, *, shaped: bool = True) -> str:
    """Why rows of numbers cannot be given as an input or an output; empty where they can."""
    if value.dtype is None:
        return value.what
    if value.shape is None:
        return f"{value.what} of a shape that the file does not say" if shaped else ""
    if shaped and (size := math.prod(size for size in value.shape if isinstance(size, int))) > _LARGEST:
        return f"{value.what} of {size:,} numbers, more than {_LARGEST:,}"
    return "" if value.shape else f"{value.what} without any axis"


def _sizes(value: Value) -> str:
    return str(tuple(size if isinstance(size, int) else None for size in value.shape or ()))


def _row(value: Value) -> Shape:
    return tuple(size if isinstance(size, int) else None for size in (value.shape or ())[1:]) or (1,)


def _port(value: Value) -> Port:
    return Port(value.name, _row(value), value.dtype)


def _schema(arrays: Sequence[tuple[str, Shape]], doc: str) -> Any:
    """A schema of Kipoi's: of one array, or of a list of them."""
    schemas = [{"name": name, "shape": str(shape), "doc": doc} for name, shape in arrays]
    return schemas if len(schemas) > 1 else schemas[0]


def _reason(error: Exception) -> str:
    """What ONNX Runtime says, without its own numbers and places in its code."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    return re.sub(r"^(Exception during initialization: )?/onnxruntime_src/.*?\) (?=[A-Z])", "", text)[:400]


def _version() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)


def _requirement() -> str:
    """What runs the file, at least as new as here."""
    package = next(filter(requirements.installed, _PACKAGES), _PACKAGES[0])
    major, minor = _version().split(".")[:2]
    return f"{package}>={major}.{minor}"
