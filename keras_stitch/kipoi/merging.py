"""Which component feeds which graph input, and the arguments that the merged dataloader takes."""

from __future__ import annotations

import filecmp
import keyword
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_stitch.errors import StitchError, nearest
from keras_stitch.kipoi.components import Component, resolve
from keras_stitch.kipoi.dataloaders import Dataloader, dataloader_of, mapping_of
from keras_stitch.kipoi.describing import Argument, Field, Missing
from keras_stitch.kipoi.reading import KipoiPart
from keras_stitch.spec import GraphSpec, Port, Wiring, shape_text

# Names that the generated __init__ uses itself.
_RESERVED = {"self", "LOADERS", "parts", "tables"}


@dataclass(frozen=True)
class Feeder:
    """One component of the merged dataloader, and the graph inputs it feeds.

    Attributes:
        name: Its name in the merged dataloader: a submodel's or a graph input's.
        component: The dataloader; ``None`` for a reader of a table.
        fields: The field that feeds each graph input.
        port: The graph input that a table is read for.
        arguments: The name in the merged dataloader for every argument that is passed on.
    """

    name: str
    component: Component | None
    fields: Mapping[str, Field] = field(default_factory=dict)
    port: Port | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Schema of the metadata; empty where there is none."""
        if self.component is not None:
            return self.component.metadata
        return {"id": {"doc": f"Name of the row in the file for {self.name}: its column id, or its number."}}


@dataclass(frozen=True)
class Merged:
    """The merged dataloader.

    Attributes:
        feeders: The components, in the order of the graph inputs.
        arguments: Its arguments, required ones first, with the default and example of the part they come from.
        owners: For every argument the feeders that take it.
    """

    feeders: tuple[Feeder, ...]
    arguments: tuple[Argument, ...]
    owners: Mapping[str, tuple[Feeder, ...]]


def merge(
    spec: GraphSpec,
    wiring: Wiring,
    dataloaders: Mapping[str, Any] | None = None,
    parts: Mapping[str, KipoiPart] | None = None,
) -> Merged:
    """Plans the merged dataloader.

    Args:
        spec: The graph.
        wiring: The same, checked.
        dataloaders: Graph input or submodel -> ``Dataloader``, path, import path or class.
        parts: For submodels that are Kipoi directories, what was read there.

    Raises:
        StitchError: When a key is unknown, an input is fed twice, a loader does not fit or arguments collide.
    """
    free = {submodel.name: _free_inputs(wiring, submodel.name) for submodel in spec.submodels}
    fed: dict[str, tuple[str, Component, Field]] = {}
    for key, value in mapping_of(dataloaders, "dataloaders=", "{graph input or submodel: dataloader}").items():
        dataloader = dataloader_of(key, value)
        component = resolve(dataloader)
        for name, found in _assign(key, component, dataloader, free, wiring).items():
            if name in fed:
                raise StitchError(
                    f"The input '{name}' is fed by two dataloaders, those of '{fed[name][0]}' and '{key}'.",
                    fix="Leave one of them out, or say with ks.Dataloader(..., outputs=...) what each feeds.",
                )
            fed[name] = (key, component, found)
    for node, part in (parts or {}).items():
        targets = {name: port for name, port in _direct_inputs(wiring, node).items() if name not in fed}
        if part.dataloader is not None and targets:
            component = resolve(part.dataloader)
            for name, found in _assign_part(node, component, part, targets).items():
                fed[name] = (node, component, found)
    for port in wiring.inputs:
        if port.name in fed:
            _check_shape(port, fed[port.name][1], fed[port.name][2])
    return _named(spec, wiring, fed)


def _free_inputs(wiring: Wiring, node: str) -> list[str]:
    return [port.name for port in wiring.inputs if node in {target for target, _ in wiring.input_targets(port.name)}]


def _direct_inputs(wiring: Wiring, node: str) -> dict[str, int]:
    """Graph inputs that are exactly what a port of the submodel takes, and the number of that port."""
    return {
        feed.taps[0].port: number
        for number, feed in enumerate(wiring.feeds.get(node, ()))
        if len(feed.taps) == 1 and feed.taps[0].node is None and feed.taps[0].part is None
    }


def _assign(
    key: str, component: Component, dataloader: Dataloader, free: Mapping[str, list[str]], wiring: Wiring
) -> dict[str, Field]:
    inputs = [port.name for port in wiring.inputs]
    if key in inputs:
        targets = [key]
    elif key in free:
        targets = free[key]
        if not targets:
            raise StitchError(f"The submodel '{key}' takes a dataloader, but none of its inputs is a graph input.")
    else:
        raise StitchError(
            f"dataloaders= names '{key}', which is no graph input and no submodel.",
            expected=nearest(key, [*inputs, *free]),
        )
    found: dict[str, Field] = {}
    for name, outputs in (dataloader.outputs or {}).items():
        chosen = next((item for item in component.fields if item.name == name), None)
        if chosen is None and len(component.fields) == 1 and name == "inputs":
            chosen = component.fields[0]
        if chosen is None:
            raise StitchError(
                f"The dataloader '{component.label}' has no field '{name}'.",
                expected=nearest(name, [item.name for item in component.fields]),
            )
        for target in [outputs] if isinstance(outputs, str) else outputs:
            if target not in inputs:
                raise StitchError(
                    f"outputs= of the dataloader '{component.label}' names the graph input '{target}'; there is none.",
                    expected=nearest(target, inputs),
                )
            if target in found:
                raise StitchError(f"outputs= of the dataloader '{component.label}' feeds '{target}' twice.")
            found[target] = chosen
    open_targets = [name for name in targets if name not in found]
    for target in open_targets:
        if len(component.fields) == 1 and len(targets) == 1:
            found[target] = component.fields[0]
            continue
        names = {target, *(port for node, port in wiring.input_targets(target) if key in (target, node))}
        matching = [item for item in component.fields if item.name in names]
        if len(matching) != 1:
            raise _unclear(key, component, open_targets)
        found[target] = matching[0]
    return found


def _assign_part(node: str, component: Component, part: KipoiPart, targets: Mapping[str, int]) -> dict[str, Field]:
    """The fields for a Kipoi model's own dataloader: by name, or by position where the model's schema is a list."""
    found = {}
    for name, number in targets.items():
        port = part.inputs[number].name if number < len(part.inputs) else None
        by_name = [item for item in component.fields if item.name in (port, name)]
        if len(component.fields) == 1 == len(part.inputs):
            found[name] = component.fields[0]
        elif len(by_name) == 1:
            found[name] = by_name[0]
        elif part.is_list and len(component.fields) == len(part.inputs):
            found[name] = component.fields[number]
        else:
            raise _unclear(node, component, list(targets))
    return found


def _unclear(key: str, component: Component, targets: Sequence[str]) -> StitchError:
    fields = ", ".join(f"'{item.name}' {shape_text(item.shape)}" for item in component.fields)
    pairs = ", ".join(f"<field>: {target!r}" for target in targets)
    return StitchError(
        f"It is not clear which field of the dataloader '{component.label}' feeds which input of '{key}'.",
        expected=f"fields for {', '.join(repr(target) for target in targets)}",
        received=fields,
        fix=f"dataloaders={{{key!r}: ks.Dataloader(..., outputs={{{pairs}}})}}",
    )


def _check_shape(port: Port, component: Component, found: Field) -> None:
    if port.shape is None:
        return
    same = len(port.shape) == len(found.shape) and all(
        a is None or b is None or a == b for a, b in zip(port.shape, found.shape, strict=True)
    )
    if not same:
        raise StitchError(
            f"The dataloader '{component.label}' does not fit the input '{port.name}'.",
            expected=f"rows of shape {shape_text(port.shape)}",
            received=f"'{found.name}' {shape_text(found.shape)}",
            fix="Choose another field with ks.Dataloader(..., outputs=...), or set its arguments with args=.",
        )


def _named(spec: GraphSpec, wiring: Wiring, fed: Mapping[str, tuple[str, Component, Field]]) -> Merged:
    """Groups inputs by component, gives the components their names, and merges the arguments."""
    groups: list[tuple[Component | None, list[str]]] = []
    for port in wiring.inputs:
        component = fed[port.name][1] if port.name in fed else None
        for known, names in groups:
            if component is not None and known is component:
                names.append(port.name)
                break
        else:
            groups.append((component, [port.name]))
    order = [submodel.name for submodel in spec.submodels]
    wanted = []
    for component, names in groups:
        nodes = sorted((node for node, _ in wiring.input_targets(names[0])), key=order.index)
        wanted.append(nodes[0] if component is not None and nodes else names[0])
    ports = {port.name: port for port in wiring.inputs}
    feeders = []
    for (component, names), name in zip(groups, wanted, strict=True):
        if wanted.count(name) > 1:
            name = names[0]
        if component is None:
            feeders.append(Feeder(name, None, port=ports[name], arguments={"path": f"{name}_file"}))
        else:
            passed = {
                argument.name: argument.name if argument.required else f"{name}_{argument.name}"
                for argument in component.arguments
                if argument.exposed
            }
            feeders.append(Feeder(name, component, {item: fed[item][2] for item in names}, arguments=passed))
    return _with_arguments(tuple(feeders))


def _with_arguments(feeders: tuple[Feeder, ...]) -> Merged:
    found: dict[str, tuple[Argument, list[tuple[Feeder, Argument]]]] = {}
    for feeder in feeders:
        for own, name in feeder.arguments.items():
            argument = _argument(feeder, own)
            if not name.isidentifier() or keyword.iskeyword(name) or name in _RESERVED:
                raise StitchError(
                    f"The argument '{own}' of '{feeder.name}' cannot be one of the merged dataloader, as '{name}'.",
                    expected="a Python name that is no keyword and not one of " + ", ".join(sorted(_RESERVED)),
                    fix=f"Give it a value with ks.Dataloader(..., args={{{own!r}: ...}}).",
                )
            known = found.setdefault(name, (argument, []))
            known[1].append((feeder, argument))
    arguments = []
    for name, (first, owners) in found.items():
        shared = all(argument.required and feeder.component is not None for feeder, argument in owners)
        if len(owners) > 1 and not shared:
            listed = " and ".join(f"'{argument.name}' of '{feeder.name}'" for feeder, argument in owners)
            raise StitchError(
                f"Two arguments of the merged dataloader would be called '{name}': {listed}.",
                fix="Give one of the submodels or inputs another name.",
            )
        types = {argument.type: feeder.name for feeder, argument in reversed(owners) if argument.type is not None}
        if len(types) > 1:
            listed = ", ".join(f"{kind} in '{owner}'" for kind, owner in reversed(types.items()))
            raise StitchError(
                f"The parts do not agree on the type of the argument '{name}', which they share: {listed}.",
                fix=f"Give one of them a value of its own: ks.Dataloader(..., args={{{name!r}: ...}}).",
            )
        docs = list(dict.fromkeys(argument.doc for _, argument in owners if argument.doc))
        whose = " and ".join(feeder.name for feeder, _ in owners)
        examples = [argument.example for _, argument in owners if argument.example is not Missing]
        arguments.append(
            Argument(
                name=name,
                doc=" / ".join(docs) or f"Argument {first.name} of {whose}.",
                type=next(iter(types), None) or ("str" if first.required else _type_of(first.default)),
                required=first.required,
                default=first.default,
                example=examples[0] if examples else Missing,
            )
        )
    return Merged(
        feeders,
        tuple(sorted(arguments, key=lambda argument: not argument.required)),
        {name: tuple(feeder for feeder, _ in owners) for name, (_, owners) in found.items()},
    )


def own_examples(merged: Merged, name: str) -> list[tuple[Feeder, Any]]:
    """The examples that the parts have for an argument, those that are equal or equal files once."""
    found: list[tuple[Feeder, Any]] = []
    for feeder in merged.owners[name]:
        for own in (own for own, passed in feeder.arguments.items() if passed == name):
            example = _argument(feeder, own).example
            if example is not Missing and not any(_equal(example, known) for _, known in found):
                found.append((feeder, example))
    return found


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Path) and isinstance(b, Path):
        return a == b or filecmp.cmp(a, b, shallow=False)
    return bool(a == b)


def _argument(feeder: Feeder, name: str) -> Argument:
    if feeder.component is None:
        assert feeder.port is not None
        doc = (
            f"File for the input {feeder.name}, rows of shape {shape_text(feeder.port.shape)}: NPY, TSV or CSV with a "
            "header, or HDF5."
        )
        return Argument("path", doc, "str")
    return next(argument for argument in feeder.component.arguments if argument.name == name)


def _type_of(default: Any) -> str | None:
    """The type of a default; ``None`` where it says nothing."""
    if isinstance(default, bool | int | float):
        return type(default).__name__
    return "str" if isinstance(default, str | Path) else None
