"""The schemas of ``model.yaml``: what the model takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_stitch.directory.dataloader_plan import Merged
from keras_stitch.directory.feeders import TargetsFeeder
from keras_stitch.errors import NamingError, StitchError
from keras_stitch.graphs.spec import Port, Shape, Tap, Wiring
from keras_stitch.graphs.subgraph import tensor_name
from keras_stitch.kipoi.model_directory import KipoiPart
from keras_stitch.kipoi.schema import Field
from keras_stitch.kipoi.templates import template_module
from keras_stitch.placement.cut_into_stages import Connected, Stages, tensors


def check_names(stages: Stages, merged: Merged) -> None:
    """Refuses names by which Kipoi tells the end of a nested schema.

    Raises:
        NamingError: For an input or output called ``shape``, or a component called ``doc``.
    """
    wiring = stages.whole
    outputs = [output.port.name for output in wiring.outputs] if len(wiring.outputs) > 1 else []
    inputs = [*(port.name for port in wiring.inputs), *(port.name for port in stages.inputs)]
    for word, names, what in (
        ("shape", [*inputs, *outputs], "A graph input or output"),
        ("doc", [feeder.name for feeder in merged.feeders], "A submodel with a dataloader, or an input without one,"),
    ):
        if word in names:
            raise NamingError(f"{what} cannot be called '{word}': Kipoi's schemas use the word.", fix="Rename it.")


def input_schemas(stages: Stages, merged: Merged, parts: Mapping[str, KipoiPart]) -> dict[str, dict[str, Any]]:
    """The schema of every input of the model, with what a component or the Kipoi models about it say."""
    wiring = stages.whole
    fields = {name: field for feeder in merged.feeders for name, field in feeder.fields.items()}
    own = {port.name for port in wiring.inputs}
    found = {}
    for port in stages.inputs:
        source = stages.delivered.get(port.name, port.name)
        if source not in own:
            found[port.name] = array_schema(port, _delivered(source, stages, parts), _made_of(source))
            continue
        about = fields.get(str(source)) or _part_field(str(source), wiring, parts)
        feeds = " and ".join(f"{node}.{target}" for node, target in wiring.input_targets(str(source)))
        found[port.name] = array_schema(port, about, f"Input of {feeds}." if feeds else "Input that is an output.")
    return found


def target_schemas(wiring: Wiring, parts: Mapping[str, KipoiPart], merged: Merged) -> dict[str, Any]:
    """The schema of the only output, with its name, or those of several by their names.

    Column labels are those of the file with targets, or else of the model that makes the output.

    Raises:
        StitchError: When both have the same labels in another order.
    """
    said = _target_labels(merged)
    found = {}
    for output in wiring.outputs:
        node, about = output.tap.node, None
        if node is not None and node in parts and not output.tap.part and not output.tap.merged:
            ports = [port.name for port in wiring.node_outputs.get(node, ())]
            outputs = parts[node].outputs
            if len(ports) == len(outputs) and output.tap.port in ports:
                about = outputs[ports.index(output.tap.port)]
        name = output.port.name
        schema = array_schema(output.port, about, f"Output of {node}." if node else "A graph input.")
        own = list(about.column_labels) if about is not None else []
        labels = said.get(name, own)
        if labels != own and sorted(labels) == sorted(own):
            raise StitchError(
                f"The columns of the targets for '{name}' are in another order than those of the model.",
                expected=", ".join(own),
                received=", ".join(labels),
                fix="Put the columns in the model's order.",
            )
        if labels and output.port.row in ((len(labels),), (None,)):
            schema["column_labels"] = labels
        found[name] = schema
    return named_schemas(found)


def named_schemas(schemas: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The schemas of several arrays by their names, or the schema of a single array with its name."""
    if len(schemas) > 1:
        return dict(schemas)
    ((name, schema),) = schemas.items()
    return {"name": name, **schema}


def _target_labels(merged: Merged) -> dict[str, list[str]]:
    """The labels of columns in the file with the targets, by output."""
    targets = next((feeder for feeder in merged.feeders if isinstance(feeder, TargetsFeeder)), None)
    if targets is None:
        return {}
    try:
        labels = template_module("kipoi.merging.tables").Targets(targets.example, dict(targets.arrays)).file.labels
    except ValueError as error:
        raise StitchError("The targets cannot be read.", received=str(error)) from error
    return {name: list(columns) for name, columns in labels.items()}


def array_schema(port: Port, about: Field | None, doc: str) -> dict[str, Any]:
    """One array schema as plain data; ``doc`` is what is said where the part, ``about``, says nothing.

    Example:
        >>> array_schema(Port("x", (None, 4)), Field("seq", (), (51, 4), "DNA", "DNASeq"), "")
        {'shape': '(51, 4)', 'doc': 'DNA', 'special_type': 'DNASeq'}
    """
    shape: Shape = port.row
    if about is not None and len(about.shape) == len(shape):
        shape = tuple(known if size is None else size for size, known in zip(shape, about.shape, strict=True))
    schema: dict[str, Any] = {"shape": str(tuple(shape)), "doc": (about.doc if about else "") or doc}
    if about is not None and about.special_type is not None:
        schema["special_type"] = about.special_type
    return schema


def _delivered(source: Connected, stages: Stages, parts: Mapping[str, KipoiPart]) -> Field | None:
    """What the part that makes a tensor in the dataloader says about it."""
    for step in stages.steps:
        for node in step.submodels:
            ports = [port.name for port in stages.whole.node_outputs[node]]
            for number, name in enumerate(ports):
                if node in parts and tensor_name(stages.whole, Tap(node, name)) == source:
                    return parts[node].outputs[number] if len(parts[node].outputs) == len(ports) else None
    return None


def _made_of(source: Connected) -> str:
    names = " and ".join(dict.fromkeys(tensors(source)))
    return f"What {names} gives." if isinstance(source, str) else f"Made of {names}."


def _part_field(name: str, wiring: Wiring, parts: Mapping[str, KipoiPart]) -> Field | None:
    for node, target in wiring.input_targets(name):
        if node in parts:
            for number, feed in enumerate(wiring.feeds[node]):
                if feed.port.name == target and len(feed.taps) == 1 and number < len(parts[node].inputs):
                    return parts[node].inputs[number]
    return None
