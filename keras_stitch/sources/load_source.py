"""A submodel of any source: also of a Kipoi directory, or of a name such as ``kipoi:DeepSEA/predict``.

Kipoi is imported only where there is one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from keras_stitch.checks import path_of
from keras_stitch.errors import SourceError, StitchError
from keras_stitch.graphs.names import unique_names, zoo_name
from keras_stitch.graphs.read_stitch_yaml import ModelEntry
from keras_stitch.graphs.spec import Port, Shape, Source, Submodel, shape_text
from keras_stitch.models import custom_objects, layer_config, load_keras
from keras_stitch.models import custom_objects as customs
from keras_stitch.models.build import KerasInference
from keras_stitch.models.custom_objects import CustomObjects, Given
from keras_stitch.models.file_formats import is_kipoi_directory
from keras_stitch.models.load_keras import Blueprint
from keras_stitch.placement import requirements
from keras_stitch.sources.snapshots import Shapes, method_of, shapes_of

if TYPE_CHECKING:
    from keras_stitch.kipoi.model_directory import KipoiPart
    from keras_stitch.kipoi.schema import Field


@dataclass(frozen=True)
class Added:
    """A submodel with all that was read for it.

    Attributes:
        submodel: The plain data.
        blueprint: Makes the Keras object; ``None`` for a model of another framework.
        customs: The custom objects that were given for it, and those that its Kipoi directory brings along.
        part: What its Kipoi directory says, with the fields of its schema in the order of the ports.
        kept: Whatever has to live as long as this, such as a temporary folder.
    """

    submodel: Submodel
    blueprint: Blueprint | None
    customs: CustomObjects
    part: KipoiPart | None = None
    kept: object = None


def load(
    name: str,
    source: Any,
    *,
    custom_objects: Given = None,
    arch: Any = None,
    shapes: Any = None,
    method: Any = None,
    **options: Any,
) -> Added:
    """Load what ``Graph.add`` is given, of whatever kind it is.

    Args:
        name: The user's name.
        source: See ``Graph.add``.
        custom_objects: See ``Graph.add``.
        arch: See ``Graph.add``.
        shapes: See ``Graph.add``.
        method: See ``Graph.add``.
        options: Those of ``loading.load``.

    Raises:
        SourceError: If the source cannot be used.
        StitchError: If the custom objects cannot be had, or an option does not go with the source.

    Example:
        >>> import keras
        >>> load("head", keras.layers.Dense(1)).submodel.source.label
        'Dense'
    """
    kind = in_memory(source)
    taken, method = shapes_of(name, shapes, kind), method_of(name, method, kind)
    keras_options = {"custom_objects": custom_objects, "arch": arch, **options}
    try:
        added = _load(name, source, kind, taken, method, **keras_options)
    except SourceError as problem:
        return _elsewhere(name, source, kind, problem, keras_options)
    if added.part is None:
        return added
    requires = requirements.declared(added.part.dependencies)
    submodel = replace(added.submodel, requires=requires, unmet=requirements.unmet(requires))
    return replace(added, submodel=submodel)


def _load(
    name: str,
    source: Any,
    kind: str | None,
    taken: Shapes | None,
    method: str | None,
    *,
    custom_objects: Given,
    arch: Any,
    **options: Any,
) -> Added:
    source, part = (source, None) if kind else find(source, f"The source of submodel '{name}'")
    if kind or (part is not None and not part.is_keras):
        placement = options.pop("placement", None)
        _check_options(name, {"custom_objects": custom_objects, "arch": arch, **options})
        if taken is not None:
            return _from_memory(name, source, taken, method, placement)
        assert part is not None
        return _foreign(name, source, part, placement)
    given = customs.read(custom_objects, f"custom_objects= of submodel '{name}'")
    arch = None if arch is None else path_of(arch, f"arch= of submodel '{name}'")
    objects = given if part is None else part.customs | given
    with customs.in_registry(objects.for_keras()):
        loaded = load_keras.load(name, source, part=part, custom_objects=objects.for_keras(), arch=arch, **options)
    said = replace(loaded.submodel.source, custom_objects=given.said, live_objects=given.live)
    added = Added(replace(loaded.submodel, source=said), loaded.blueprint, objects)
    return added if part is None else described_by(part, added)


def _check_options(
    name: str, options: Mapping[str, Any], what: str = "of another framework", where: str = "in the dataloader "
) -> None:
    for option, value in options.items():
        if value is not None and not isinstance(value, CustomObjects):  # which a stitch.yaml is read with, for all
            raise StitchError(
                f"{option}= of submodel '{name}' is for Keras models, and this is a model {what}.",
                received=f"{option}={value!r}"[:200],
                fix=f"Leave it out: such a model runs {where}as it is.",
            )


def _foreign(name: str, path: Path, part: KipoiPart, placement: str | None) -> Added:
    from keras_stitch.sources.probing import foreign_submodel

    source = Source("kipoi", part.label, path=str(path.absolute()), zoo=part.zoo)
    return Added(foreign_submodel(name, part, source, placement), None, CustomObjects(), part)


def _from_memory(name: str, source: Any, shapes: Shapes, method: str | None, placement: str | None) -> Added:
    from keras_stitch.sources.estimators import snapshot
    from keras_stitch.sources.probing import foreign_submodel

    taken = snapshot(name, source, shapes, method)
    submodel = foreign_submodel(name, taken.part, taken.source, placement, dtypes=taken.dtypes)
    return Added(submodel, None, CustomObjects(), taken.part, kept=taken.folder)


def _elsewhere(name: str, source: Any, kind: str | None, problem: SourceError, options: Mapping[str, Any]) -> Added:
    """A Kipoi model that cannot be loaded here, if it may run in an environment of its own; or else the problem."""
    options = dict(options)
    placement = options.pop("placement", None)
    try:
        path, part = (source, None) if kind else find(source, f"The source of submodel '{name}'", copied=True)
    except SourceError:
        raise problem from problem.__cause__
    requires = () if part is None else requirements.declared(part.dependencies)
    unmet = requirements.unmet(requires)
    if part is None or not (unmet or placement == "workflow"):
        raise problem
    _check_options(name, options, "that cannot be loaded here", "")
    from keras_stitch.sources.probing import believed_submodel

    here = " ".join((problem.received or problem.message).split())[:200]
    why = f"needs {', '.join(unmet)} (here: {here})" if unmet else f"cannot be loaded here: {here}"
    said = Source("kipoi", part.label, path=str(Path(path).absolute()), zoo=part.zoo)
    submodel = believed_submodel(name, part, said, placement)
    submodel = replace(submodel, requires=requires, unmet=unmet, elsewhere=why)
    return Added(submodel, None, CustomObjects(), part)


def find(source: Any, where: str, *, copied: bool = False) -> tuple[Any, KipoiPart | None]:
    """The path that a source has here, and what Kipoi says of it; what is no path is left as it is.

    Args:
        source: A path, a name in a source of Kipoi's, or a Keras object.
        where: What messages call it.
        copied: Whether a Kipoi model is not to be loaded here, but copied as it is.

    Raises:
        SourceError: When a Kipoi directory cannot be read, or Kipoi cannot run its model.

    Example:
        >>> find("m1.h5", "the source")[1] is None
        True
    """
    if not isinstance(source, (str, os.PathLike)):
        return source, None
    if isinstance(source, str) and is_in_zoo(source):
        from keras_stitch.kipoi.model_directory import read_source

        part = read_source(source, copied=copied)
        return part.path, part
    path = path_of(source, where)
    if not is_kipoi_directory(path):
        return path, None
    from keras_stitch.kipoi.model_directory import read_directory

    return path, read_directory(path, copied=copied)


def placed(entry: ModelEntry, folder: Path, given: CustomObjects) -> tuple[Any, dict[str, Any]]:
    """The source and the options of ``Graph.add`` for an entry of a ``stitch.yaml``.

    Args:
        entry: Not one that shares another's weights.
        folder: Where the file lies.
        given: Custom objects beside those that the entry names.

    Raises:
        StitchError: If there is no such layer, or the custom objects cannot be had.
    """
    options = dict(entry.options)
    named = custom_objects.placed(options.get("custom_objects"), folder)
    objects = given | custom_objects.read(named, f"custom_objects of models.{entry.name}")
    options["custom_objects"] = objects
    if "arch" in options:
        options["arch"] = folder / options["arch"]
    if entry.layer is not None:
        return layer_config.layer_from_config(entry.layer, objects.for_keras()), options
    assert entry.source is not None
    return entry.source if is_in_zoo(entry.source, folder) else folder / entry.source, options


def is_in_zoo(text: str, folder: Path = Path()) -> bool:
    """Whether text is a name in a source of Kipoi's, and no file of a folder has it."""
    return zoo_name(text) is not None and not (folder / text).exists()


def described_by(part: KipoiPart, added: Added) -> Added:
    """A submodel with the names and shapes that the schema of its Kipoi directory has for its ports.

    A schema that is a dict goes by the names of the model's inputs, any other by position. A size that the model
    leaves open becomes known; the inputs in the Keras file keep their names.

    Args:
        part: What the directory says.
        added: The submodel as the file has it.

    Raises:
        SourceError: When the schema is one of another model.
    """
    submodel = added.submodel
    assert added.blueprint is not None  # a Keras model
    inputs, fields = _matched(submodel.inputs, part.inputs, "input", part.label)
    # Sizes of the outputs follow from those of the inputs.
    outputs = KerasInference({submodel.name: added.blueprint}).outputs(submodel, inputs)
    targets: tuple[Field, ...] = ()
    if submodel.inner_outputs is None:
        outputs, targets = _matched(outputs, part.outputs, "output", part.label)
    source = replace(submodel.source, label=part.label, zoo=part.zoo)
    submodel = replace(submodel, source=source, inputs=inputs, outputs=outputs)
    return replace(added, submodel=submodel, part=replace(part, inputs=fields, outputs=targets))


def _matched(
    ports: Sequence[Port], fields: Sequence[Field], what: str, label: str
) -> tuple[tuple[Port, ...], tuple[Field, ...]]:
    """Ports with names and shapes of the fields of a schema, and the fields in the order of the ports."""
    by_name = len(ports) > 1 and all(isinstance(field.path[0] if field.path else 0, str) for field in fields)
    names, known = {field.name: field for field in fields}, {port.name for port in ports}
    if by_name and what == "output" and set(names) != known:
        return tuple(ports), ()  # a dict of names for what the model gives as a list: nobody knows in which order
    if len(fields) != len(ports) or (by_name and set(names) != known):
        raise SourceError(
            f"The schema of '{label}' is not that of its Keras model: the {what}s differ.",
            expected=f"{_listed(ports)}, which the model has",
            received=f"{_listed(fields)}, which model.yaml says",
            fix="Correct the schema in model.yaml, or add the file of the model itself.",
        )
    ordered = tuple(names[port.name] for port in ports) if by_name else tuple(fields)
    pairs = list(zip(ports, ordered, strict=True))
    called = unique_names(field.name if field.named else port.name for port, field in pairs)
    found = [
        replace(
            port,
            name=name,
            shape=_shape(port, field, what, label),
            generated=port.generated and not field.named,
        )
        for (port, field), name in zip(pairs, called, strict=True)
    ]
    return tuple(found), ordered


def _shape(port: Port, field: Field, what: str, label: str) -> Shape | None:
    shape = port.shape
    if shape is None:
        return field.shape
    fits = len(shape) == len(field.shape) and all(
        mine is None or said is None or mine == said for mine, said in zip(shape, field.shape, strict=True)
    )
    if not fits:
        raise SourceError(
            f"The schema of '{label}' does not fit its Keras model: the {what} '{field.name}' has another shape.",
            expected=f"{shape_text(shape)}, which the model has for '{port.name}'",
            received=f"{shape_text(field.shape)}, which model.yaml says",
            fix="Correct the schema in model.yaml, or add the file of the model itself.",
        )
    if what == "output":
        return shape  # what Keras makes of the inputs
    return tuple(said if mine is None else mine for mine, said in zip(shape, field.shape, strict=True))


def _listed(items: Sequence[Port] | Sequence[Field]) -> str:
    return " and ".join(f"'{item.name}' {shape_text(item.shape)}" for item in items) or "none"


def in_memory(source: object) -> str | None:
    """Whether a source is an ``"estimator"`` of scikit-learn or a ``"module"`` of PyTorch; neither is imported.

    Example:
        >>> in_memory("m1.h5") is None
        True
    """
    # On its PyTorch backend, every layer of Keras is a module, too.
    if isinstance(source, keras.Layer):
        return None
    for package, name, kind in (("sklearn.base", "BaseEstimator", "estimator"), ("torch.nn", "Module", "module")):
        base = getattr(sys.modules.get(package), name, None)
        if base is not None and isinstance(source, base):
            return kind
    return None
