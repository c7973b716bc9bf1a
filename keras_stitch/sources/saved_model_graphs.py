"""A SavedModel that holds no Keras layers, or whose graph the user asked for: packed as it is, in a Kipoi directory."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_stitch import directory_layout as layout
from keras_stitch.errors import SourceError, nearest, reason
from keras_stitch.files import read_files
from keras_stitch.files.scratch import Scratch
from keras_stitch.graphs.spec import Source
from keras_stitch.kipoi.model_directory import CopiedPart, read_directory
from keras_stitch.kipoi.templates import template_module, template_text, write_yaml
from keras_stitch.repairs.read_saved_model import checkpoint
from keras_stitch.repairs.saved_objects import VARIABLES
from keras_stitch.sources.added import Added, Request
from keras_stitch.sources.probing import foreign_submodel
from keras_stitch.sources.saved_model_operations import check_operations, read_graphs

_FOLDER = f"{layout.MODEL_FILES}/saved_model"
_DEFAULT, _START = "serving_default", "__saved_model_init_op"
_SIGNED = (
    "Save it with a signature: tf.saved_model.save(model, directory, signatures=function.get_concrete_function(...))."
)


@dataclass(frozen=True)
class _Field:
    """An array that a signature takes or gives; ``name`` is ``None`` where it is known by its place alone."""

    name: str | None
    shape: tuple[int | None, ...]
    dtype: str


def load_graph(request: Request) -> Added:
    """Load a signature of a SavedModel, or a function of the object in it; the SavedModel is copied.

    Raises:
        SourceError: If it cannot be read, does more than compute, or has no such signature.
    """
    request.refuse_keras_options()
    name, path = request.name, Path(request.source).absolute()
    sha256 = read_files.sha256(path)
    folder = Scratch()
    directory = folder.path / (path.name or "saved_model")
    copy = directory / _FOLDER
    _copy(path, copy)
    if read_files.sha256(copy) != sha256:
        raise SourceError(f"'{path}' changed while it was read.", fix="Add it again, once nobody writes it any more.")
    if (path / f"{VARIABLES}.index").exists():
        checkpoint(path)  # TensorFlow's own reader ends the process where it is damaged
    graphs = read_graphs(copy, path)
    check_operations(path, graphs)
    signature = _chosen(name, path, graphs[0], request.signature)
    takes, gives = _described(path, copy, signature)
    (directory / layout.MODEL_CODE).write_text(template_text("kipoi/saved_signature.py"), encoding="utf-8")
    _describe(directory, signature, takes, gives)
    part = read_directory(directory)
    assert isinstance(part, CopiedPart)  # its class is one of TensorFlow
    source = Source(
        "saved model", f"{path.name} (SavedModel, {signature})", path=str(path), signature=request.signature
    )
    dtypes = [field.dtype for field in takes]
    submodel = foreign_submodel(name, part, source, request.placement, dtypes=dtypes)
    return Added(submodel, part=part, kept=folder, files={path: sha256})


def _copy(path: Path, copy: Path) -> None:
    """Copy all files of a SavedModel; links are followed where they stay in it."""
    inside = path.resolve()
    for place in read_files.places_in(path):
        file = path / place
        if not file.resolve().is_relative_to(inside):
            raise SourceError(
                f"'{file}' is a link that leads out of the SavedModel.",
                received=f"a link to '{file.resolve()}'",
                fix=f"Copy the directory with what its links lead to, cp -rL, if you trust '{path}'.",
            )
        (copy / place).parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(read_files.plain(file), copy / place)
        except OSError as error:
            raise SourceError(f"'{file}' cannot be read: {error.strerror}.") from error


def _chosen(name: str, path: Path, graph: Any, given: str | None) -> str:
    """The function that was asked for, or the usual or only one; signatures go before functions of the object."""
    signatures = sorted(key for key in graph.signature_def if key != _START)
    known = list(dict.fromkeys([*signatures, *_functions(graph)]))
    if given is not None and given in known:
        return given
    if given is not None:
        raise SourceError(
            f"signature= of submodel '{name}' is none of '{path}'.",
            expected=nearest(given, known),
            received=repr(given)[:200],
        )
    usual = [_DEFAULT] if _DEFAULT in signatures else signatures or known
    if len(usual) == 1:
        return usual[0]
    if not known:
        raise SourceError(f"'{path}' is a SavedModel without a function to call.", expected="a signature", fix=_SIGNED)
    raise SourceError(
        f"'{path}' is a SavedModel of several functions, so nothing says which one submodel '{name}' is.",
        expected=f"signature= one of {', '.join(known)}",
        fix=f'graph.add("{name}", directory, signature="{usual[0]}")',
    )


def _functions(meta_graph: Any) -> list[str]:
    """The functions that the object in a SavedModel has by a name of the user's."""
    nodes = meta_graph.object_graph_def.nodes
    children = nodes[0].children if nodes else ()
    return sorted(
        child.local_name
        for child in children
        if child.node_id < len(nodes)
        and nodes[child.node_id].HasField("function")
        and len(nodes[child.node_id].function.concrete_functions) == 1
        and not child.local_name.startswith(("_", "call_and_return"))
    )


def _described(path: Path, copy: Path, signature: str) -> tuple[list[_Field], list[_Field]]:
    """What a signature takes and gives."""
    import tensorflow as tf

    try:
        function = template_module("kipoi.saved_signature").SavedSignature(str(copy), signature).function
        takes, gives = function.structured_input_signature, function.structured_outputs
    except Exception as error:  # TensorFlow raises whatever it meets
        said = reason(error).replace(str(copy), str(path))
        raise SourceError(
            f"TensorFlow {tf.__version__} cannot load '{path}': {type(error).__name__}, {said}.",
            fix="It may be damaged, or need operations that are not part of TensorFlow.",
        ) from error
    where = f"The function '{signature}' of '{path}'"
    specs, results = tf.nest.flatten(takes), tf.nest.flatten(gives)
    names = sorted(gives) if isinstance(gives, dict) and len(gives) == len(results) else [None] * len(results)
    given = [_field(f"{where} takes", spec, getattr(spec, "name", None)) for spec in specs]
    made = [_field(f"{where} gives", spec, label) for label, spec in zip(names, results, strict=True)]
    for field, spec in zip(given, specs, strict=True):
        if spec.shape[0] is not None:
            raise _unfit(f"{where} takes a fixed number of rows", field.name, "an open first size", spec.shape)
    if not given or not made:
        raise SourceError(f"{where} {'gives' if given else 'takes'} nothing.", expected="arrays", fix=_SIGNED)
    return given, made


def _field(where: str, spec: Any, name: str | None) -> _Field:
    dtype, shape = getattr(spec, "dtype", None), getattr(spec, "shape", None)
    if dtype is None or shape is None or not (dtype.is_floating or dtype.is_integer or dtype.is_bool):
        kind = type(spec).__name__ if dtype is None else dtype.name
        raise _unfit(f"{where} something else than an array of numbers", name, "numbers", kind)
    if not shape.rank:
        raise _unfit(f"{where} an array of unknown shape, or a single number", name, "rows of a known shape", shape)
    return _Field(name, tuple(shape[1:].as_list()), dtype.name)


def _unfit(message: str, name: str | None, expected: str, received: object) -> SourceError:
    return SourceError(
        f"{message}{f', {name!r}' if name else ''}.",
        expected=expected,
        received=str(received),
        fix="Choose another one of its functions, signature=, or save it with a signature that fits.",
    )


def _describe(directory: Path, signature: str, takes: list[_Field], gives: list[_Field]) -> None:
    write_yaml(
        directory / layout.MODEL_YAML,
        {
            "defined_as": "model.SavedSignature",
            "args": {"folder": _FOLDER, "signature": signature},
            "info": {"authors": [], "doc": f"The function '{signature}' of a SavedModel."},
            "dependencies": {"pip": ["tensorflow"]},
            "schema": {
                "inputs": _schema(takes, "What the signature takes."),
                "targets": _schema(gives, "What the signature gives."),
            },
        },
    )


def _schema(fields: list[_Field], doc: str) -> Any:
    """The schema of arrays: a single one, or a list."""
    said = [{"shape": str(field.shape or (1,)), "doc": doc} for field in fields]
    named = [{**({"name": field.name} if field.name else {}), **one} for field, one in zip(fields, said, strict=True)]
    return named[0] if len(named) == 1 else named
