"""Kipoi directories and models of Kipoi's sources as submodels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_stitch.errors import DownloadError, SourceError
from keras_stitch.graphs.names import unique_names
from keras_stitch.graphs.shapes import unify
from keras_stitch.graphs.spec import Port, Shape, Source, Submodel, shape_text
from keras_stitch.kipoi.model_directory import CopiedPart, KerasPart, ModelDirectory, model_directory, zoo_model
from keras_stitch.kipoi.schema import Field
from keras_stitch.models import load_keras
from keras_stitch.models.check_graph import KerasInference
from keras_stitch.models.custom_objects import in_registry
from keras_stitch.models.load_keras import Blueprint
from keras_stitch.placement import requirements
from keras_stitch.repairs.rule import Repair
from keras_stitch.sources.added import Added, Request
from keras_stitch.sources.probing import believed_submodel, foreign_submodel


def load_zoo_model(request: Request) -> Added:
    """A model of a source that Kipoi knows, such as ``"kipoi:DeepSEA/predict"``."""
    model = zoo_model(request.source)
    return _load(request, model, model.path)


def load_directory(request: Request) -> Added:
    """A Kipoi directory."""
    return _load(request, model_directory(request.source), Path(request.source).absolute())


def _load(request: Request, directory: ModelDirectory, path: Path) -> Added:
    """A Kipoi model that runs here or, where it cannot be loaded here, in an environment of its own."""
    try:
        part = directory.part()
        source = Source("kipoi", part.label, path=str(path), zoo=part.zoo)
        if isinstance(part, CopiedPart):
            request.refuse_keras_options()
            return Added(foreign_submodel(request.name, part, source, request.placement), part=part)
        given = request.objects()
        objects = (part.customs | given).for_keras()
        with in_registry(objects):
            submodel, blueprint = _load_keras(request, part, source, objects)
    except DownloadError:  # an environment of its own would lack the file, too
        raise
    except SourceError as problem:
        return _elsewhere(request, directory, path, problem)
    with in_registry(objects):  # a schema of another model is wrong in any environment
        submodel, described = described_by(part, submodel, blueprint)
    added = Added.of_keras(request, submodel, blueprint, given)
    return replace(added, customs=part.customs | given, part=described, arch=part.arch)


def _load_keras(
    request: Request, part: KerasPart, source: Source, objects: Mapping[str, Any]
) -> tuple[Submodel, Blueprint]:
    return load_keras.load_file(
        request.name,
        source,
        part.weights,
        arch=part.arch,
        custom_objects=objects,
        replace=request.replacements(),
        **request.options_of_file(),
    )


def _elsewhere(request: Request, directory: ModelDirectory, path: Path, problem: SourceError) -> Added:
    """A model that cannot be loaded here and may run in an environment of its own; raises the problem if it may not."""
    try:
        part = directory.copied()
    except SourceError:
        raise problem from problem.__cause__
    unmet = requirements.unmet(requirements.declared(part.dependencies))
    if not unmet and request.placement != "workflow":
        raise problem
    request.refuse_keras_options("that cannot be loaded here", "")
    here = " ".join((problem.received or problem.message).split())[:200]
    why = f"needs {', '.join(unmet)} (here: {here})" if unmet else f"cannot be loaded here: {here}"
    source = Source("kipoi", part.label, path=str(path), zoo=part.zoo)
    return Added(replace(believed_submodel(request.name, part, source, request.placement), elsewhere=why), part=part)


# -- the schema and the ports of a Keras model ----------------------------------------------------------------------
def described_by(part: KerasPart, submodel: Submodel, blueprint: Blueprint) -> tuple[Submodel, KerasPart]:
    """A submodel with the names and shapes that the schema of its Kipoi directory has for its ports.

    A schema that is a dict goes by the names of the model's inputs, any other by position. A size that the model
    leaves open becomes known; the inputs in the Keras file keep their names. A schema may have a batch axis, and other
    names for several outputs than the model has.

    Returns:
        The submodel, which says what was read in another way than it is written, and the part with the fields of its
        schema in the order of the ports.

    Raises:
        SourceError: When the schema is one of another model.
    """
    inputs, fields = _matched(submodel.inputs, part.inputs, "input", part.label)
    # Sizes of the outputs follow from those of the inputs.
    outputs = KerasInference({submodel.name: blueprint}).outputs(submodel, inputs)
    targets: tuple[Field, ...] = ()
    if submodel.inner_outputs is None:
        outputs, targets = _matched(outputs, part.outputs, "output", part.label)
    read = [*_batch_axes(part.inputs, fields), *_batch_axes(part.outputs, targets)]
    if submodel.inner_outputs is None and not targets:
        read.append(Repair("names of outputs", f"the model's own, as model.yaml has others: {_listed(part.outputs)}"))
    known = replace(submodel, inputs=inputs, outputs=outputs, repairs=(*submodel.repairs, *map(str, read)))
    return known, replace(part, inputs=fields, outputs=targets)


def _matched(
    ports: Sequence[Port], fields: Sequence[Field], what: str, label: str
) -> tuple[tuple[Port, ...], tuple[Field, ...]]:
    """Ports with names and shapes of the fields of a schema, and the fields in the order of the ports."""
    by_name = len(ports) > 1 and all(isinstance(field.path[0] if field.path else 0, str) for field in fields)
    names, known = {field.name: field for field in fields}, {port.name for port in ports}
    if by_name and what == "output" and set(names) != known:
        return tuple(ports), ()  # a dict of names for what the model gives as a list: nobody knows in which order
    if len(fields) != len(ports) or (by_name and set(names) != known):
        raise _other_schema(
            f"The schema of '{label}' is not that of its Keras model: the {what}s differ.",
            f"{_listed(ports)}, which the model has",
            _listed(fields),
        )
    ordered = tuple(names[port.name] for port in ports) if by_name else tuple(fields)
    ordered = tuple(_of_rows(port, field) for port, field in zip(ports, ordered, strict=True))
    pairs = list(zip(ports, ordered, strict=True))
    called = unique_names(field.name if field.named else port.name for port, field in pairs)
    found = [
        replace(port, name=name, shape=_shape(port, field, what, label), generated=port.generated and not field.named)
        for (port, field), name in zip(pairs, called, strict=True)
    ]
    return tuple(found), ordered


def _of_rows(port: Port, field: Field) -> Field:
    """A field without a batch axis, if the shape of the port explains an open first size as one."""
    first, rows = field.shape[:1], field.shape[1:]
    batched = port.shape is not None and first == (None,) and unify(port.shape, rows) is not None
    return replace(field, shape=rows) if batched else field


def _batch_axes(written: Sequence[Field], read: Sequence[Field]) -> list[Repair]:
    """What was read without the batch axis that it is written with."""
    shapes = {field.path: field.shape for field in written}
    return [
        Repair("schema", f"{shape_text(shapes[field.path])} has a batch axis", (field.name,))
        for field in read
        if field.shape != shapes[field.path]
    ]


def _shape(port: Port, field: Field, what: str, label: str) -> Shape | None:
    if port.shape is None:
        return field.shape
    both = unify(port.shape, field.shape)
    if both is None:
        raise _other_schema(
            f"The schema of '{label}' does not fit its Keras model: the {what} '{field.name}' has another shape.",
            f"{shape_text(port.shape)}, which the model has for '{port.name}'",
            shape_text(field.shape),
        )
    return port.shape if what == "output" else both  # an output is what Keras makes of the inputs


def _other_schema(message: str, expected: str, said: str) -> SourceError:
    fix = "Correct the schema in model.yaml, or add the file of the model itself."
    return SourceError(message, expected=expected, received=f"{said}, which model.yaml says", fix=fix)


def _listed(items: Sequence[Port] | Sequence[Field]) -> str:
    return " and ".join(f"'{item.name}' {shape_text(item.shape)}" for item in items) or "none"
