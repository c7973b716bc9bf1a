"""The objects in a SavedModel that Keras wrote: which layer holds which, and which variables, by which names.

``saved_model.pb`` has the objects as a graph, ``keras_metadata.pb`` a JSON text for each layer; before TensorFlow 2.5
both were in the first. The checkpoint has the same objects and, for the variables, the keys of its tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_MOST_OBJECTS = 1 << 19


@dataclass(frozen=True)
class SavedObject:
    """An object in a SavedModel.

    Attributes:
        children: The numbers of the objects that it holds, by the names under which it holds them.
        kind: What it is, where it has something to say: ``"_tf_keras_layer"``, ``"trackable_list_wrapper"``.
        name: What Keras 2 called it, if it is a variable: ``"dense/kernel"``; else ``None``.
        trains: Whether it is a variable that trains.
        text: What Keras wrote of it, before TensorFlow 2.5.
    """

    children: Mapping[str, int]
    kind: str = ""
    name: str | None = None
    trains: bool = False
    text: str = ""

    @property
    def is_layer(self) -> bool:
        """Whether it is a layer of Keras, or a model."""
        return self.kind.startswith("_tf_keras_") and self.kind != "_tf_keras_metric"

    @property
    def is_container(self) -> bool:
        """Whether it is a list or a dict of objects."""
        return self.kind.startswith("trackable_")


@dataclass(frozen=True)
class SavedObjects:
    """The objects in a SavedModel that Keras wrote, by their numbers; 0 is the model.

    Attributes:
        path: The file with the JSON texts, for messages.
        tensorflow_version: The version of the TensorFlow that wrote it.
        texts: The JSON text of each object of Keras.
    """

    path: Path
    tensorflow_version: str
    texts: Mapping[int, str]
    _objects: Sequence[SavedObject] = field(repr=False)

    def __getitem__(self, number: int) -> SavedObject:
        return self._objects[number]

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


def is_saved_model(path: Path) -> bool:
    """Whether a path is the directory of a SavedModel, of Keras or not."""
    return is_file(path / GRAPH)


def is_of_keras(directory: Path) -> bool:
    """Whether Keras wrote its layers into a SavedModel.

    Raises:
        SourceError: If that cannot be read.
    """
    path = directory / GRAPH
    if is_file(directory / METADATA):
        return True
    try:
        return bool(text(first(first(first(first(_message(path), 2), 7), 1), 4), 3))
    except BadProtobuf as error:
        raise damaged(path, error) from error


def read_objects(directory: Path) -> SavedObjects:
    """The objects in a SavedModel that Keras wrote.

    Raises:
        SourceError: If they cannot be read.
    """
    path = directory / GRAPH
    try:
        meta_graph = first(_message(path), 2)
        objects = [_object(node) for node in _limited(messages(first(meta_graph, 7), 1))]
        _check(objects)
        texts = {number: item.text for number, item in enumerate(objects)}
        version = text(first(meta_graph, 1), 5)
        if is_file(directory / METADATA):
            path = directory / METADATA
            texts = {whole_number(node, 2): text(node, 5) for node in _limited(messages(_message(path), 1))}
        if not texts.get(0):
            raise BadProtobuf("it says nothing of the model")
    except BadProtobuf as error:
        raise damaged(path, error) from error
    return SavedObjects(path, version, {number: said for number, said in texts.items() if said}, objects)


def keys_of_variables(directory: Path, objects: SavedObjects, bundle: TensorBundle) -> dict[int, str]:
    """The key that each variable has in the checkpoint, by the number of its object.

    Raises:
        SourceError: If the checkpoint does not say it.
    """
    stored = stored_objects(directory / VARIABLES, bundle)
    found, waiting = {0: 0}, [0]
    for number in waiting:
        held = stored[found[number]].children
        for name, child in objects[number].children.items():
            if name in held and child not in found:
                found[child] = held[name]
                waiting.append(child)
    return {number: key for number, other in found.items() if (key := stored[other].key) is not None}


@dataclass(frozen=True)
class StoredObject:
    """An object in a checkpoint.

    Attributes:
        children: The numbers of the objects that it holds, by the names under which it holds them.
        key: The key of its tensor, if it is a variable; else ``None``.
        name: What Keras 2 called that variable: ``"dense/kernel"``; empty where the checkpoint does not say.
    """

    children: Mapping[str, int]
    key: str | None = None
    name: str = ""


def stored_objects(prefix: Path, bundle: TensorBundle) -> list[StoredObject]:
    """The objects in a checkpoint by their numbers; 0 holds all others.

    Raises:
        SourceError: If they cannot be read.
    """
    try:
        nodes = _limited(messages(memoryview(bundle.text(OBJECT_GRAPH)), 1))
        stored = [_stored(node) for node in nodes]
        _check(stored)
    except BadProtobuf as error:
        raise damaged(prefix.with_name(f"{prefix.name}.index"), error) from error
    return stored


def _stored(node: memoryview) -> StoredObject:
    children = {text(child, 2): whole_number(child, 1) for child in messages(node, 1)}
    for item in messages(node, 2):
        if text(item, 1) == "VARIABLE_VALUE":
            return StoredObject(children, text(item, 3), text(item, 2))
    return StoredObject(children)


def damaged(path: Path, error: object) -> SourceError:
    """The error of a file that is no longer what it was."""
    return SourceError(f"'{path}' is damaged: {error}.", fix=AGAIN)


def _object(node: memoryview) -> SavedObject:
    children, of_user, variable = {}, memoryview(b""), None
    for kind, value in fields(node):
        if isinstance(value, int):
            continue
        if kind == 1:
            children[text(value, 2)] = whole_number(value, 1)
        elif kind == 4:
            of_user = value
        elif kind == 7:
            variable = value
    name = None if variable is None else text(variable, 6)
    trains = variable is not None and bool(whole_number(variable, 3))
    return SavedObject(children, text(of_user, 1), name, trains, text(of_user, 3))


def _check(objects: Sequence[SavedObject | StoredObject]) -> None:
    if not objects:
        raise BadProtobuf("it holds no objects")
    if any(child >= len(objects) for item in objects for child in item.children.values()):
        raise BadProtobuf("it names an object that is not there")


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
