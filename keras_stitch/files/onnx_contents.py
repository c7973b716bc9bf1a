"""ONNX files as data: the inputs and outputs that they declare, and the files beside them that hold their weights.

Nothing is run here. The package onnx comes with the extra ``onnx`` and is imported only where it is needed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

from keras_stitch.errors import SourceError, StitchError, reason
from keras_stitch.files import read_files

# Protobuf's own bound for one message, which an ONNX file is.
LARGEST = 2**31 - 1

# Sets of operators that ONNX Runtime brings along; all others come from libraries of somebody else.
_BUILT_IN = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc")
# By the numbers that onnx.proto has for them; other types are none of NumPy's.
_DTYPES = {
    **{1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool"},
    **{10: "float16", 11: "float64", 12: "uint32", 13: "uint64"},
}
_KINDS = {"sequence_type": "a sequence", "map_type": "a map", "optional_type": "an optional value"}


@dataclass(frozen=True)
class Value:
    """An input or an output of an ONNX file.

    Attributes:
        dtype: NumPy's name for the dtype of a tensor of numbers, or of those in a sequence of maps, which is what the
            operator ``ZipMap`` makes of probabilities: a dict for each row. ``None`` for anything else.
        what: What it is, in words: ``"a tensor of float32"``, ``"a sequence"``.
        shape: Its sizes, the batch axis first: a number, the name that the file has for a size, or ``None``; ``None``
            as a whole where the file says nothing.
    """

    name: str
    dtype: str | None
    what: str
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class OnnxContents:
    """What an ONNX file says about itself.

    Attributes:
        inputs: What it has to be given; initializers have a value already.
        outputs: What it gives.
        opset: The version of ONNX's own operators.
        producer: What made it, by its own words.
        operators: The operators that ONNX Runtime has only from libraries of others, ``"domain::Operator"``.
        data: The files that hold weights, by the names that it has for them.
    """

    path: Path
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    opset: int
    producer: str
    operators: tuple[str, ...]
    data: dict[str, Path]

    @cached_property
    def files(self) -> dict[Path, str]:
        """The sha256 of the file and of those that hold its weights, by their absolute paths."""
        return {path.absolute(): read_files.sha256(path) for path in (self.path, *self.data.values())}

    @property
    def sha256(self) -> str:
        """That of the file; where others hold weights, one of all of theirs by their names."""
        own = self.files[self.path.absolute()]
        if not self.data:
            return own
        said = {"": own, **{name: self.files[path.absolute()] for name, path in sorted(self.data.items())}}
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def check_installed(packages: Sequence[str]) -> None:
    """Raise where a package is missing, with the command that installs it."""
    for package in packages:
        try:
            import_module(package)
        except ImportError as error:
            raise StitchError(
                f"ONNX files need the package '{package}', which cannot be imported.",
                received=reason(error),
                fix="pip install 'keras_stitch[onnx]'",
            ) from error


def read_onnx(path: Path) -> OnnxContents:
    """What an ONNX file says about itself; its weights are not looked at.

    Raises:
        SourceError: If it cannot be read, is no ONNX file, or has weights in a file that lies elsewhere.
    """
    try:
        content = read_files.plain(path, LARGEST).read_bytes()
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read: {error.strerror}.") from error
    return _contents(path, _parsed(content))


def _parsed(content: bytes) -> Any:
    from google.protobuf.message import DecodeError
    from onnx import ModelProto

    try:
        return ModelProto.FromString(content)
    except DecodeError:
        return ModelProto()


def _damaged(path: Path, received: str) -> SourceError:
    return SourceError(
        f"'{path}' is not an ONNX file, or a damaged one.",
        expected="what onnx.save writes, or an exporter such as torch.onnx, tf2onnx or skl2onnx",
        received=received,
        fix="Download or export it again.",
    )


def _contents(path: Path, model: Any) -> OnnxContents:
    graph = model.graph
    opsets = {item.domain: item.version for item in model.opset_import}
    if not graph.output or not opsets:
        raise _damaged(path, f"{path.stat().st_size:,} bytes that declare no graph with outputs")
    for item in (*graph.input, *graph.output):
        if not isinstance(item.name, str):
            raise _damaged(path, f"the name {item.name!r}, which is not UTF-8")
    held = {tensor.name for tensor in graph.initializer} | {tensor.values.name for tensor in graph.sparse_initializer}
    return OnnxContents(
        path,
        tuple(_value(item) for item in graph.input if item.name not in held),
        tuple(_value(item) for item in graph.output),
        opsets.get("", opsets.get("ai.onnx", 0)),
        f"{model.producer_name} {model.producer_version}".strip() or "an unnamed program",
        _foreign_operators(model),
        _data_files(path, model),
    )


def _value(item: Any) -> Value:
    from onnx import TensorProto

    kind = item.type.WhichOneof("value")
    inner = item.type.sequence_type.elem_type if kind == "sequence_type" else None
    if inner is not None and inner.map_type.value_type.tensor_type.elem_type == TensorProto.FLOAT:
        return Value(item.name, "float32", "a sequence of maps", None)
    if kind != "tensor_type":
        return Value(item.name, None, _KINDS.get(str(kind), "no tensor"), None)
    tensor = item.type.tensor_type
    number, shape = tensor.elem_type, None
    if tensor.HasField("shape"):
        sizes = (axis.dim_value if axis.HasField("dim_value") else axis.dim_param or None for axis in tensor.shape.dim)
        # Some exporters write -1 or 0 for a size that they do not know.
        shape = tuple(None if isinstance(size, int) and size < 1 else size for size in sizes)
    known = number in TensorProto.DataType.values()
    name = TensorProto.DataType.Name(number).lower() if known else f"the unknown type {number}"
    dtype = _DTYPES.get(number)
    return Value(item.name, dtype, f"a tensor of {dtype or name}", shape)


def _foreign_operators(model: Any) -> tuple[str, ...]:
    """The operators that neither ONNX Runtime nor a function of the file explains."""
    from onnx import NodeProto

    functions = {(function.domain, function.name) for function in model.functions}
    nodes = (node for node in _messages(model, NodeProto) if node.domain not in _BUILT_IN)
    found = {(node.domain, node.op_type): None for node in nodes if (node.domain, node.op_type) not in functions}
    return tuple(f"{domain}::{name}" for domain, name in found)


def _messages(message: Any, kind: type) -> Iterator[Any]:
    """All messages of a kind in a message, in the order of the file; none is looked for in tensors."""
    from onnx import TensorProto

    for field, found in message.ListFields():
        if field.message_type is None:
            continue
        for item in [found] if hasattr(found, "ListFields") else found:
            if isinstance(item, kind):
                yield item
            if not isinstance(item, TensorProto):
                yield from _messages(item, kind)


# -- weights beside the file ------------------------------------------------------------------------------------
def _data_files(path: Path, model: Any) -> dict[str, Path]:
    """The files that hold weights, by the names that the ONNX file has for them; ONNX Runtime checks their sizes.

    Raises:
        SourceError: If one is not there or lies elsewhere, or if a node has its own tensor in one.
    """
    from onnx import TensorProto

    held = [tensor for tensor in model.graph.initializer if tensor.data_location == TensorProto.EXTERNAL]
    everywhere = sum(tensor.data_location == TensorProto.EXTERNAL for tensor in _messages(model, TensorProto))
    if everywhere > len(held):
        raise SourceError(
            f"'{path}' has tensors of nodes in another file, which ONNX Runtime cannot be given.",
            expected="only initializers of the graph in other files",
            received=f"{everywhere - len(held)} more",
            fix=in_one_file(path),
        )
    found: dict[str, Path] = {}
    for tensor in held:
        name = str(next((entry.value for entry in tensor.external_data if entry.key == "location"), ""))
        found[name] = found.get(name) or _beside(path, tensor.name, name)
    return found


def in_one_file(path: Path) -> str:
    """What a message suggests where weights in other files are in the way."""
    return f"Write it as one file: onnx.save(onnx.load({path.name!r}), 'whole.onnx')."


def _beside(path: Path, tensor: str, name: str) -> Path:
    """The file of a name in an ONNX file, which has to lie in its folder, or in that which a link to it leads to."""
    place = PurePosixPath(name)
    inside = bool(name) and not place.is_absolute() and ".." not in place.parts and not set("*\\:\0") & set(name)
    file = path.parent / name if inside else path
    folders = (path.parent.resolve(), path.resolve().parent)
    if not inside or not any(file.resolve().is_relative_to(folder) for folder in folders):
        raise SourceError(
            f"'{path}' names a file outside of its folder for the weights of '{tensor}'.",
            expected=f"a file in '{path.parent}' or below it",
            received=repr(name)[:200],
            fix="Ask its authors for a file that has its weights in it or beside it.",
        )
    try:
        return read_files.plain(file)
    except OSError as error:
        raise SourceError(
            f"The weights of '{path}' cannot be read: {error.strerror}.",
            expected=f"the file {name!r} beside it, with the weights of '{tensor}'",
            fix="Put that file there: both belong together.",
        ) from error
