"""Kipoi models of other frameworks: what runs them, a copy of their own for each, what they are given and give."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kipoi
import kipoi.model
import numpy as np

from keras_stitch.errors import SourceError, reason
from keras_stitch.files import sha256 as sha256_of
from keras_stitch.kipoi.describing import Field, read_fields
from keras_stitch.kipoi.fetching import NamedFiles, gone, python_files
from keras_stitch.kipoi.rendering import STITCHED_MODEL, template_module, write_yaml
from keras_stitch.spec import shape_text

if TYPE_CHECKING:
    from keras_stitch.kipoi.reading import KipoiPart

Array = np.ndarray[Any, Any]
_KINDS = {
    "kipoi.model.KerasModel": "keras",
    STITCHED_MODEL: "keras",  # its class predicts what its Keras model predicts
    "kipoi.model.SklearnModel": "scikit-learn",
    "kipoi.model.PyTorchModel": "pytorch",
    "kipoi.model.OldPyTorchModel": "pytorch",
    "kipoi.model.TensorFlow2Model": "tensorflow",
    "keras": "keras",
    "sklearn": "scikit-learn",
    "pytorch": "pytorch",
    "tensorflow2": "tensorflow",
}
_BASES = (("SklearnModel", "scikit-learn"), ("PyTorchModel", "pytorch"), ("TensorFlow2Model", "tensorflow"))
# Arguments of Kipoi's own classes that are files.
_FILES = ("pkl_file", "weights", "savedmodel_path", "module_file", "file")


# -- what a directory has ---------------------------------------------------------------------------------------


def framework_of(label: str, directory: Path, description: Any, *, load: bool = True) -> str:
    """What runs a model, one of ``spec.FRAMEWORKS``.

    Args:
        label: What messages call it.
        directory: The Kipoi directory.
        description: As Kipoi has parsed it.
        load: Whether its own class is looked at, which may need packages that are not here.

    Raises:
        SourceError: When Kipoi could not run it, or only at the cost of all other models.
    """
    kind = description.defined_as or description.type
    if kind in _KINDS:
        return _KINDS[kind]
    if kind in ("tensorflow", "kipoi.model.TensorFlowModel"):
        raise SourceError(
            f"The model of '{label}' is a graph of TensorFlow 1, for which Kipoi switches TensorFlow 2 off everywhere.",
            expected="kipoi.model.TensorFlow2Model, or another of Kipoi's classes",
            received=kind,
            fix="Save it with tf.saved_model.save and describe it as kipoi.model.TensorFlow2Model.",
        )
    if description.type == "custom" and not description.defined_as:
        file, name = str(description.args.get("file")), str(description.args.get("object"))
        if not (directory / file).is_file():
            raise gone(label, "file", file)
    elif kind.startswith("kipoi.model.") or "." not in kind:
        raise SourceError(
            f"The model of '{label}' is nothing that Kipoi runs.",
            expected="defined_as: kipoi.model.KerasModel, SklearnModel, PyTorchModel or TensorFlow2Model, or a class "
            "in the directory",
            received=kind,
        )
    else:
        module, _, name = kind.partition(".")
        file = f"{module}.py"
    if not load:
        return "kipoi"
    found = _class(label, directory / file, kind, name)
    if not inspect.isclass(found) or not issubclass(found, kipoi.model.BaseModel):
        raise SourceError(
            f"The model class of '{label}' is none of Kipoi's.",
            expected="a subclass of kipoi.model.BaseModel",
            received=kind if kind != "custom" else name,
        )
    if issubclass(found, kipoi.model.KerasModel):
        same = getattr(found, "predict_on_batch", None) is kipoi.model.KerasModel.predict_on_batch
        return "keras" if same and kind != "custom" else "kipoi"
    return next((name for base, name in _BASES if issubclass(found, getattr(kipoi.model, base))), "kipoi")


def _class(label: str, file: Path, kind: str, name: str) -> Any:
    try:
        if file.is_file():
            return template_module("kipoi.merging.python_files").load_object(file, name)
        return getattr(importlib.import_module(kind.rpartition(".")[0]), kind.rpartition(".")[2])
    except Exception as error:  # whatever the module does
        raise SourceError(
            f"The model class of '{label}' cannot be loaded.",
            received=f"{type(error).__name__}: {error}",
            fix=to_install(str(error)),
        ) from error


def structure_of(schema: Any) -> str:
    """Whether a parsed schema is that of an ``"array"``, a ``"list"`` or a ``"dict"``.

    Example:
        >>> structure_of([])
        'list'
    """
    return "list" if isinstance(schema, list) else "dict" if isinstance(schema, Mapping) else "array"


def plain_schema(schema: Any) -> Any:
    """A parsed schema as ``model.yaml`` has it, with the column labels themselves and not the file that has them."""
    if isinstance(schema, Mapping):
        return {key: plain_schema(item) for key, item in schema.items()}
    if isinstance(schema, list):
        return [plain_schema(item) for item in schema]
    (field,) = read_fields(schema)
    said = {"name": schema.name, "shape": str(field.shape), "doc": field.doc, "special_type": field.special_type}
    labels = {"column_labels": list(field.column_labels)} if field.column_labels else {}
    return {key: value for key, value in said.items() if value is not None} | labels


def packed_files(
    label: str, framework: str, directory: Path, root: Path, downloads: Path, description: Any
) -> tuple[dict[str, Path], dict[str, Any]]:
    """The files that a copy of a model consists of, by their places in it, and the arguments that name them there.

    Args:
        label: What messages call it.
        framework: As ``framework_of`` says.
        directory: The Kipoi directory.
        root: What its files may lie in.
        downloads: Where Kipoi puts what it downloads.
        description: As Kipoi has parsed it.

    Raises:
        SourceError: When a file cannot be had.
    """
    named = NamedFiles(label, directory, root, downloads)
    args = named.args(description.args)
    for name in _FILES if framework != "kipoi" else ():
        value = args.get(name)
        if isinstance(value, str) and not any(place == value or place.startswith(f"{value}/") for place in named.files):
            raise gone(label, name, value)
    # A SavedModel has no Python of its own; pickles and modules may.
    code = {} if description.defined_as == "kipoi.model.TensorFlow2Model" else python_files(directory)
    return {**code, **named.files}, args


# -- a copy of its own ------------------------------------------------------------------------------------------


def write_packed(part: KipoiPart, folder: Path, *, sha256: str | None = None, link: bool = False) -> None:
    """Writes a Kipoi directory of the model alone: ``model.yaml`` and the files that it needs, no dataloader.

    Args:
        part: A model of another framework.
        folder: Where to; made if it is not there.
        sha256: What ``fingerprint`` said when the model was added, to be sure that it is still the same.
        link: Whether links to large files are enough.

    Raises:
        SourceError: When the files are no longer those that were added.
    """
    if sha256 is not None and fingerprint(part) != sha256:
        raise SourceError(
            f"'{part.path}' has changed since it was added.", received="another sha256", fix="Add it to a new Graph."
        )
    for place, file in part.files.items():
        copy = folder / place
        copy.parent.mkdir(parents=True, exist_ok=True)
        if link and file.suffix != ".py":
            copy.symlink_to(file.resolve())
        else:
            shutil.copyfile(file, copy)
    folder.mkdir(parents=True, exist_ok=True)
    dependencies = {key: list(value) for key, value in part.dependencies.items() if value}
    write_yaml(
        folder / "model.yaml",
        {
            **_defined(part),
            "info": part.description.get("info") or {"doc": part.label},
            **({"dependencies": dependencies} if dependencies else {}),
            "schema": part.description["schema"],
        },
    )


def load_packed(folder: Path) -> Any:
    """The Kipoi model in a directory that ``write_packed`` made.

    Args:
        folder: The directory.

    Raises:
        Exception: Whatever Kipoi and the model's own code raise.
    """
    folder = folder.resolve()
    with template_module("kipoi.merging.python_files").neighbours_first(folder):
        return kipoi.get_model(str(folder), source="dir", with_dataloader=False)


def fingerprint(part: KipoiPart) -> str:
    """The sha256 of all files of a model by their names, and of how it is made of them.

    Raises:
        SourceError: When a file cannot be read any more.
    """
    said = {place: sha256_of(file) for place, file in sorted(part.files.items())}
    return hashlib.sha256(json.dumps([said, _defined(part)], sort_keys=True, default=str).encode()).hexdigest()


def _defined(part: KipoiPart) -> dict[str, Any]:
    stated = {key: part.description[key] for key in ("defined_as", "type") if part.description.get(key)}
    return {**stated, "args": dict(part.args)}


# -- batches and predictions ------------------------------------------------------------------------------------------


def nested(part: KipoiPart, arrays: Sequence[Any]) -> Any:
    """What the model is to be given: one array for each input of the schema, as an array, a list or a dict.

    Args:
        part: What its directory says.
        arrays: In the order of ``part.inputs``.

    Example:
        >>> from keras_stitch.kipoi import KipoiPart
        >>> part = KipoiPart(Path("zoo"), inputs=(Field("a", ("a",), (2,)), Field("b", ("b",), (3,))))
        >>> {name: array.shape for name, array in nested(part, [np.ones((4, 2)), np.ones((4, 3))]).items()}
        {'a': (4, 2), 'b': (4, 3)}
    """
    made: Any = {}
    for field, array in zip(part.inputs, arrays, strict=True):
        at = made
        for key in ("root", *field.path)[:-1]:
            at = at.setdefault(key, {})
        at[("root", *field.path)[-1]] = array

    def listed(found: Any) -> Any:
        if not isinstance(found, dict):
            return found
        items = {key: listed(item) for key, item in found.items()}
        return list(items.values()) if all(isinstance(key, int) for key in items) else items

    return listed(made["root"])


def flattened(name: str, part: KipoiPart, given: Any) -> list[Array]:
    """The arrays in a prediction, in the order of ``part.outputs``.

    Args:
        name: The submodel, for messages.
        part: What its directory says.
        given: What the model predicted.

    Raises:
        SourceError: When there are others than the schema says.

    Example:
        >>> from keras_stitch.kipoi import KipoiPart
        >>> part = KipoiPart(Path("zoo"), outputs=(Field("p", ("p",), (1,)), Field("q", ("q",), (1,))))
        >>> flattened("m", part, {"q": [[2.0]], "p": [[1.0]]})
        [array([[1.]]), array([[2.]])]
    """

    def problem(received: str) -> SourceError:
        return SourceError(
            f"Submodel '{name}' ({part.label}) predicts other things than its schema says.",
            expected=f"{_listed(part.outputs)}, as {part.output_structure}",
            received=received,
            fix="Correct the targets of the schema in model.yaml.",
        )

    arrays = []
    for field in part.outputs:
        at = given
        for depth, key in enumerate(field.path):
            beside = {other.path[depth] for other in part.outputs if other.path[:depth] == field.path[:depth]}
            if isinstance(key, str):
                there = isinstance(at, Mapping) and key in at
            else:
                there = isinstance(at, list | tuple) and len(at) == len(beside)
            if not there:
                raise problem(_described(at))
            at = at[key]
        if isinstance(at, Mapping):
            raise problem(_described(given))
        try:
            arrays.append(np.asarray(at))
        except Exception as error:  # arrays of other libraries, lists of arrays of several lengths
            raise problem(f"{_described(at)}: {reason(error)}") from error
    return arrays


def _listed(fields: Sequence[Field]) -> str:
    return " and ".join(f"'{field.name}' {shape_text(field.shape)}" for field in fields) or "nothing"


def _described(given: Any) -> str:
    if isinstance(given, Mapping):
        return f"a dict of {', '.join(map(repr, given)) or 'nothing'}"
    if isinstance(given, list | tuple):
        return f"a {type(given).__name__} of {len(given)}"
    return f"an array of shape {given.shape}" if isinstance(given, np.ndarray) else f"a {type(given).__name__}"


def to_install(text: str) -> str | None:
    """What to do about an error that says which module is missing; ``None`` for any other text.

    Example:
        >>> to_install("No module named 'torch'")
        "Install what 'torch' is a part of."
    """
    missing = re.search(r"No module named '([\w.]+)'", text)
    return f"Install what '{missing[1]}' is a part of." if missing else None
