"""An ONNX file as a submodel: described as a Kipoi directory, in which ONNX Runtime runs it.

The directory links to the file and to those that hold its weights; nothing is copied before the graph is saved.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_stitch import directory_layout as layout
from keras_stitch.errors import SourceError
from keras_stitch.files.onnx_contents import OnnxContents, Value, check_installed, in_one_file, read_onnx
from keras_stitch.files.scratch import Scratch
from keras_stitch.graphs.spec import Port, Shape, Source
from keras_stitch.kipoi.model_directory import CopiedPart, read_directory
from keras_stitch.kipoi.templates import template_module, template_text, write_yaml
from keras_stitch.models import file_formats
from keras_stitch.models.sample_rows import row_shape
from keras_stitch.placement import requirements
from keras_stitch.sources.added import Added, Request
from keras_stitch.sources.onnx_ports import OnnxPorts, no_rows, read_ports, row_of
from keras_stitch.sources.probing import ROWS, foreign_submodel, quiet, sizes_of
from keras_stitch.sources.snapshots import rows_for

Array = np.ndarray[Any, Any]

_FILE = f"{layout.MODEL_FILES}/model.onnx"
_DATA = f"{layout.MODEL_FILES}/data"
_MORE_ROWS = 7
_ONE_BY_ONE = "the file says that it takes any number of rows, and takes one: rows run one by one"
# Each of them installs the module onnxruntime.
_PACKAGES = ("onnxruntime", "onnxruntime-gpu")


def load_onnx(request: Request) -> Added:
    """An ONNX file as a submodel whose ports have the names of its inputs and outputs, or of the outputs asked for.

    Raises:
        SourceError: If it cannot be read, has inputs or outputs that are no arrays with a row for each row, or cannot
            be run by ONNX Runtime without more code.
        StitchError: If there is no such output, or a package is missing.
    """
    check_installed(("onnx", "onnxruntime"))
    path = Path(request.source)
    file_formats.check_exists(path)
    contents = read_onnx(path)
    what = f"Submodel '{request.name}' ({path.name})"
    wanted = None if request.outputs is None else tuple(dict.fromkeys(request.outputs))
    ports, folder = read_ports(what, contents, wanted), Scratch()
    directory = folder.path / path.name
    args = _put_files(contents, directory)
    args["outputs"] = [contents.outputs.index(value) for value in ports.outputs]
    run = _tried(_loaded(what, contents, directory, {**args, "batch_size": ports.batch_size}), ports)
    shapes = _output_shapes(what, contents, ports, run)
    args |= {"batch_size": run.batch_size} if run.batch_size else {}
    _describe(directory, contents, args, ports, shapes)
    part = read_directory(directory)
    assert isinstance(part, CopiedPart)  # its class is not Keras'
    part = replace(part, framework="onnx")
    source = Source("file", path.name, path=str(path.absolute()))
    dtypes = [str(port.dtype) for port in ports.inputs]
    submodel = foreign_submodel(request.name, part, source, request.placement, dtypes=dtypes)
    submodel = replace(
        submodel,
        source=replace(source, sha256=contents.sha256),
        inner_outputs=wanted,
        repairs=(_ONE_BY_ONE,) if run.batch_size != ports.batch_size else (),
    )
    return Added(submodel, part=part, kept=folder, files=contents.files)


# -- its Kipoi directory --------------------------------------------------------------------------------------------
def _put_files(contents: OnnxContents, directory: Path) -> dict[str, Any]:
    """Link to the files in a new Kipoi directory; returns the arguments of the model's class that name them."""
    places = {name: f"{_DATA}/{name}" for name in contents.data}
    for place, file in [(_FILE, contents.path), *((places[name], file) for name, file in contents.data.items())]:
        (directory / place).parent.mkdir(parents=True, exist_ok=True)
        (directory / place).symlink_to(file.absolute())
    (directory / layout.MODEL_CODE).write_text(template_text("kipoi/onnx_model.py"), encoding="utf-8")
    return {"weights": _FILE, **({"data": places} if places else {})}


def _describe(
    directory: Path, contents: OnnxContents, args: dict[str, Any], ports: OnnxPorts, shapes: Sequence[Shape]
) -> None:
    names = [value.name for value in ports.outputs]
    write_yaml(
        directory / layout.MODEL_YAML,
        {
            "defined_as": "model.OnnxModel",
            "args": args,
            "info": {
                "authors": [],
                "doc": f"{contents.path.name} of opset {contents.opset}, made by {contents.producer}.",
            },
            "dependencies": {"pip": [_requirement()]},
            "schema": {
                "inputs": _schema([(port.name, port.row) for port in ports.inputs], "What the ONNX file takes."),
                "targets": _schema(list(zip(names, shapes, strict=True)), "What the ONNX file gives."),
            },
        },
    )


def _schema(arrays: Sequence[tuple[str, Shape]], doc: str) -> Any:
    """A schema of Kipoi's: of one array, or of a list of them."""
    schemas = [{"name": name, "shape": str(shape), "doc": doc} for name, shape in arrays]
    return schemas if len(schemas) > 1 else schemas[0]


def _requirement() -> str:
    """What runs the file, at least as new as here."""
    package = next(filter(requirements.installed, _PACKAGES), _PACKAGES[0])
    major, minor = _version().split(".")[:2]
    return f"{package}>={major}.{minor}"


def _version() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)


# -- what it gives for random rows ----------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Run:
    """What a file gave for some random rows, and for more of them.

    Attributes:
        batch_size: The only number of rows that it takes; ``None`` where it takes any.
        few: The outputs for ``ROWS`` rows; ``None`` where it takes no random ones.
        more: The outputs for ``_MORE_ROWS`` rows.
        resized: Whether open dimensions had another size then, or there are none.
        problem: What was wrong first.
    """

    batch_size: int | None
    few: list[Array] | None = None
    more: list[Array] | None = None
    resized: bool = True
    problem: str = ""


def _loaded(what: str, contents: OnnxContents, directory: Path, args: dict[str, Any]) -> Any:
    data = {name: str(directory / place) for name, place in args.get("data", {}).items()}
    try:
        made = {**args, "weights": str(directory / _FILE), "data": data}
        return template_module("kipoi.onnx_model").OnnxModel(**made)
    except Exception as error:  # ONNX Runtime has no class of its own for all of its errors
        text = _reason(error)
        if re.search(r"opset|IR version", text, re.IGNORECASE):
            fix = "Install a newer one, pip install -U onnxruntime, or convert the file: onnx.version_converter."
        elif contents.data:
            fix = in_one_file(contents.path)
        else:
            fix = "Check it by onnx.checker.check_model(file, full_check=True), or export it again."
        message = f"{what} cannot be loaded by ONNX Runtime {_version()}."
        raise SourceError(message, received=text, fix=fix) from error


def _tried(model: Any, ports: OnnxPorts) -> _Run:
    """What a model gives for random rows; where it takes no batch of several, for one row at a time."""
    problem = ""
    for batch_size in (ports.batch_size,) if ports.batch_size else (None, 1):
        model.batch_size = batch_size
        for size in sizes_of(ports.inputs):
            for bound in (None, 2):
                try:
                    few = _predicted(model, ports.inputs, ROWS, size, bound)
                except Exception as error:  # of ONNX Runtime, for rows that it does not take
                    problem = problem or _reason(error)
                    continue
                for other in (2 * size, size // 2, size):
                    try:
                        more = _predicted(model, ports.inputs, _MORE_ROWS, other, bound)
                    except Exception:  # a length that it does not take
                        continue
                    return _Run(batch_size, few, more, other != size or not any(port.is_open for port in ports.inputs))
    return _Run(ports.batch_size, problem=problem)


def _predicted(model: Any, inputs: Sequence[Port], rows: int, size: int, bound: int | None) -> list[Array]:
    sized = [replace(port, shape=row_shape(port, size)) for port in inputs]
    with quiet():
        found = model.predict_on_batch(rows_for(sized, rows, bound))
    return found if isinstance(found, list) else [found]


def _output_shapes(what: str, contents: OnnxContents, ports: OnnxPorts, run: _Run) -> list[Shape]:
    """The shapes of the outputs without the batch axis, as they were seen: what the file declares may be wrong."""
    if run.few is None or run.more is None:
        unknown = [value.name for value in ports.outputs if value.shape is None]
        if unknown:
            raise SourceError(
                f"{what} takes no random rows, and does not say which shape its outputs have.",
                expected="shapes of " + " and ".join(map(repr, unknown)),
                received=run.problem,
                fix="Write them into the file: onnx.shape_inference.infer_shapes_path(file, new_file).",
            )
        return [row_of(value) for value in ports.outputs]
    seen = list(zip(ports.outputs, run.few, run.more, strict=True))
    bad = {
        value.name: f"of shape {few.shape} for {ROWS} rows"
        for value, few, more in seen
        if not few.ndim or (len(few), len(more)) != (ROWS, _MORE_ROWS)
    }
    if bad:
        raise no_rows(what, contents, bad)
    return [_output_shape(value, few, more, run.resized) for value, few, more in seen]


def _output_shape(value: Value, few: Array, more: Array, resized: bool) -> Shape:
    """One of them; a size is open that differs, or that no other length of the inputs was seen to leave as it is."""
    if few.ndim == 1:
        return (1,)
    sizes, said = few.shape[1:], row_of(value)
    declared = said if len(said) == len(sizes) and not resized else sizes
    later = more.shape[1:]
    return tuple(
        None if size != after or known is None else size
        for size, after, known in zip(sizes, later, declared, strict=True)
    )


def _reason(error: Exception) -> str:
    """What ONNX Runtime says, without its own numbers and places in its code."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    return re.sub(r"^(Exception during initialization: )?/onnxruntime_src/.*?\) (?=[A-Z])", "", text)[:400]
