"""The objects in a SavedModel that Keras wrote: which layer holds which, and which variables, by which names.

``saved_model.pb`` has the objects as a graph, ``keras_metadata.pb`` a JSON text for each layer; before TensorFlow 2.5
both were in the first. The checkpoint has the same objects and, for the variables, the keys of its tensors.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_stitch.errors import SourceError
from keras_stitch.files import read_files
from keras_stitch.files.parse_text import BadText, from_json
from keras_stitch.files.protobuf_fields import BadProtobuf, fields, first, messages, text, whole_number
from keras_stitch.files.read_files import LARGEST_TEXT, is_file
from keras_stitch.files.tensor_bundle import TensorBundle
from keras_stitch.repairs.read_file import AGAIN

GRAPH, METADATA, VARIABLES = "saved_model.pb", "keras_metadata.pb", "variables/variables"
_KEYS = "_CHECKPOINTABLE_OBJECT_GRAPH"
_MOST_OBJECTS = 1 << 20


@dataclass(frozen=True)
class Variable:
    """A variable of a layer; ``name`` is what Keras 2 called it: ``"dense/kernel"``."""

    name: str
    trains: bool


@dataclass(frozen=True)
class SavedObjects:
    """The objects in a SavedModel, by their numbers; 0 is the model.

    Attributes:
        path: The file with the JSON texts, for messages.
        tensorflow_version: The version of the TensorFlow that wrote it.
        texts: The JSON text of each object of Keras.
    """

    path: Path
    tensorflow_version: str
    texts: dict[int, str]
    _nodes: list[memoryview] = field(repr=False)

    def children(self, number: int) -> dict[str, int]:
        """The objects that one holds, by the names under which it holds them."""
        return _children(self._nodes, number)

    def is_layer(self, number: int) -> bool:
        """Whether an object is a layer of Keras, or a model."""
        kind = text(first(self._nodes[number], 4), 1)
        return kind.startswith("_tf_keras_") and kind != "_tf_keras_metric"

    def is_container(self, number: int) -> bool:
        """Whether an object is a list or a dict of others."""
        return text(first(self._nodes[number], 4), 1).startswith("trackable_")

    def variable(self, number: int) -> Variable | None:
        """The variable that an object is; ``None`` where it is something else."""
        for kind, value in fields(self._nodes[number]):
            if kind == 7 and isinstance(value, memoryview):
                return Variable(text(value, 6), bool(whole_number(value, 3)))
        return None

    def said(self, number: int) -> dict[str, Any]:
        """What Keras wrote of an object; nothing where it wrote nothing.

        Raises:
            SourceError: If that cannot be read.
        """
        try:
            found = from_json(self.texts.get(number, "{}"))
        except BadText as error:
            raise SourceError(f"The architecture in '{self.path}' is damaged: {error}.", fix=AGAIN) from error
        return found if isinstance(found, dict) else {}


def read_objects(directory: Path) -> SavedObjects:
    """The objects in a SavedModel.

    Raises:
        SourceError: If they cannot be read.
    """
    path = directory / GRAPH
    try:
        meta_graph = first(_message(path), 2)
        nodes = _limited(messages(first(meta_graph, 7), 1))
        texts = {number: text(first(node, 4), 3) for number, node in enumerate(nodes)}
        if is_file(directory / METADATA):
            path = directory / METADATA
            texts = {whole_number(node, 2): text(node, 5) for node in _limited(messages(_message(path), 1))}
            if not texts.get(0):
                raise BadProtobuf("it says nothing of the model")
            if not nodes:
                path = directory / GRAPH
                raise BadProtobuf("it holds no objects")
        version = text(first(meta_graph, 1), 5)
    except BadProtobuf as error:
        raise damaged(path, error) from error
    return SavedObjects(path, version, {number: said for number, said in texts.items() if said}, nodes)


def keys_of_variables(objects: SavedObjects, bundle: TensorBundle) -> dict[int, str]:
    """The key that each variable has in the checkpoint, by the number of its object.

    Raises:
        BadProtobuf: If the checkpoint does not say it.
    """
    nodes = _limited(messages(memoryview(bundle.text(_KEYS)), 1))
    children = functools.partial(_children, nodes)
    found, waiting = {0: 0} if nodes else {}, [0] if nodes else []
    for number in waiting:
        held = children(found[number])
        for name, child in objects.children(number).items():
            if name in held and child not in found:
                found[child] = held[name]
                waiting.append(child)
    stored = ((number, message) for number, other in found.items() for message in messages(nodes[other], 2))
    return {number: text(message, 3) for number, message in stored if text(message, 1) == "VARIABLE_VALUE"}


def damaged(path: Path, error: BadProtobuf) -> SourceError:
    """The error of a file that is no longer what it was."""
    return SourceError(f"'{path}' is damaged: {error}.", fix=AGAIN)


def _children(nodes: list[memoryview], number: int) -> dict[str, int]:
    found = {text(child, 2): whole_number(child, 1) for child in messages(nodes[number], 1)}
    if any(child >= len(nodes) for child in found.values()):
        raise BadProtobuf("it names an object that is not there")
    return found


def _limited(found: Iterator[memoryview]) -> list[memoryview]:
    items: list[memoryview] = []
    for item in found:
        if len(items) == _MOST_OBJECTS:
            raise BadProtobuf(f"it has more than {_MOST_OBJECTS:,} objects")
        items.append(item)
    return items


def _message(path: Path) -> memoryview:
    try:
        return memoryview(read_files.plain(path, LARGEST_TEXT).read_bytes())
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read: {error.strerror}.") from error
