"""Which field of which dataloader feeds which graph input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from keras_stitch.checks import mapping_of
from keras_stitch.errors import StitchError, nearest
from keras_stitch.graphs.shapes import shape_fits
from keras_stitch.graphs.spec import Port, Wiring, shape_text
from keras_stitch.kipoi.component import Component, resolve
from keras_stitch.kipoi.dataloader import Dataloader, dataloader_of
from keras_stitch.kipoi.model_directory import KipoiPart
from keras_stitch.kipoi.schema import Field


@dataclass(frozen=True)
class FedByLoader:
    """A dataloader, as the user or the model's directory names it, and the field that feeds each graph input."""

    dataloader: Dataloader
    component: Component
    fields: dict[str, Field]

    def reads_the_same_as(self, other: FedByLoader) -> bool:
        """Whether both are the same loader with the same arguments, so that one reading does for both."""
        a, b = self.dataloader, other.dataloader
        return (
            self.component.is_same_as(other.component)
            and not a.separate
            and not b.separate
            and (a.align_on, a.missing, a.share, a.in_order) == (b.align_on, b.missing, b.share, b.in_order)
        )


def assign(
    wiring: Wiring, names: Sequence[str], dataloaders: Mapping[str, Any] | None, parts: Mapping[str, KipoiPart]
) -> tuple[list[FedByLoader], dict[str, Dataloader]]:
    """Finds the dataloader or the file of every graph input that has one.

    Returns:
        The dataloaders, each once, with fields in the order of the graph inputs; and the file of each other input.

    Raises:
        StitchError: When a key is unknown, an input is fed twice or a loader does not fit.
    """
    free = {name: _free_inputs(wiring, name) for name in names}
    loaders: list[FedByLoader] = []
    files: dict[str, Dataloader] = {}
    owners: dict[str, str] = {}
    for key, value in mapping_of(dataloaders, "dataloaders=", "{graph input or submodel: dataloader}").items():
        dataloader = dataloader_of(key, value)
        targets = _targets(key, free, wiring)
        if dataloader.table is not None:
            fed = [_file_input(key, dataloader, targets)]
            files |= dict.fromkeys(fed, dataloader)
        else:
            component = resolve(dataloader)
            fields = _assign(key, dataloader, component, targets, wiring)
            loaders.append(FedByLoader(dataloader, component, fields))
            fed = list(fields)
        for name in fed:
            if name in owners:
                raise StitchError(
                    f"The input '{name}' is fed by two dataloaders, those of '{owners[name]}' and '{key}'.",
                    fix="Leave one of them out, or say with ks.Dataloader(..., outputs=...) what each feeds.",
                )
            owners[name] = key
    for node, part in parts.items():
        direct = {name: port for name, port in _direct_inputs(wiring, node).items() if name not in owners}
        if part.dataloader is not None and direct:
            component = resolve(part.dataloader)
            fields = _assign_part(node, component, part, direct)
            owners |= dict.fromkeys(fields, node)
            loaders.append(FedByLoader(part.dataloader, component, fields))
    for loader in loaders:
        for port in wiring.inputs:
            if port.name in loader.fields:
                _check_shape(port, loader.component, loader.fields[port.name])
    return _merged(loaders, [port.name for port in wiring.inputs]), files


def _merged(loaders: list[FedByLoader], inputs: Sequence[str]) -> list[FedByLoader]:
    """One entry for each dataloader: those that read the same are one."""
    once: list[FedByLoader] = []
    for loader in loaders:
        twin = next((known for known in once if known.reads_the_same_as(loader)), None)
        if twin is None:
            once.append(loader)
        else:
            twin.fields.update(loader.fields)
    return [replace(it, fields={name: it.fields[name] for name in inputs if name in it.fields}) for it in once]


def _targets(key: str, free: Mapping[str, list[str]], wiring: Wiring) -> list[str]:
    inputs = [port.name for port in wiring.inputs]
    if key in inputs:
        return [key]
    if key not in free:
        raise StitchError(
            f"dataloaders= names '{key}', which is no graph input and no submodel.",
            expected=nearest(key, [*inputs, *free]),
        )
    if not free[key]:
        raise StitchError(f"The submodel '{key}' takes a dataloader, but none of its inputs is a graph input.")
    return free[key]


def _file_input(key: str, dataloader: Dataloader, targets: Sequence[str]) -> str:
    if len(targets) > 1:
        raise StitchError(
            f"The file '{dataloader.source}' holds the rows of one input, but '{key}' has several.",
            expected=f"one of {', '.join(targets)} as the key",
        )
    check_file_options(dataloader, f"the file '{dataloader.source}', which is no dataloader")
    return targets[0]


def check_file_options(dataloader: Dataloader, file: str) -> None:
    """Refuses options that only a dataloader has; ``file`` is what messages call the file."""
    for what in ("outputs", "args", "share", "separate", "in_order"):
        if getattr(dataloader, what):
            raise StitchError(f"{what}= has no meaning for {file}.")


def _free_inputs(wiring: Wiring, node: str) -> list[str]:
    return [port.name for port in wiring.inputs if node in {target for target, _ in wiring.input_targets(port.name)}]


def _direct_inputs(wiring: Wiring, node: str) -> dict[str, int]:
    """Graph inputs that are exactly what a port of the submodel takes, and the number of that port."""
    return {
        feed.taps[0].port: number
        for number, feed in enumerate(wiring.feeds.get(node, ()))
        if len(feed.taps) == 1 and feed.taps[0].node is None and not feed.taps[0].part
    }


def _assign(
    key: str, dataloader: Dataloader, component: Component, targets: Sequence[str], wiring: Wiring
) -> dict[str, Field]:
    inputs = [port.name for port in wiring.inputs]
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
        elif part.input_structure == "list" and len(component.fields) == len(part.inputs):
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
    if not shape_fits(found.shape, port.shape):
        raise StitchError(
            f"The dataloader '{component.label}' does not fit the input '{port.name}'.",
            expected=f"rows of shape {shape_text(port.shape)}",
            received=f"'{found.name}' {shape_text(found.shape)}",
            fix="Choose another field with ks.Dataloader(..., outputs=...), or set its arguments with args=.",
        )
