"""The error of a file with Lambda layers: each with what it is between, and the ways past it that need no author."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_stitch import keras_private
from keras_stitch.errors import SourceError
from keras_stitch.repairs import cut, keras3_config, lambdas, rebuild, repair, unsafe_config
from keras_stitch.repairs.architecture import Layer, Saved, inner_layers, is_functional, is_model, name_of, references
from keras_stitch.repairs.structure import shape_of_first

Shape = tuple[int | None, ...]
# What a Lambda takes: the shape of a tensor and its dtype.
_Taken = tuple[Shape, str]
_SHOWN = 8


def refuse(path: Path, saved: Saved, custom_objects: Mapping[str, Any]) -> None:
    """Refuse an architecture with Lambda layers that hold code.

    Raises:
        SourceError: With each of them, and how the rest of the file can be used.
    """
    found = lambdas.with_code(saved)
    if not found:
        return
    many = len(found) > 1
    told = [_told(path, saved, one, custom_objects) for one in found[:_SHOWN]]
    more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    raise SourceError(
        f"'{path}' holds {f'{len(found)} Lambda layers' if many else 'a Lambda layer'}, that is Python code, and "
        f"loading {'them' if many else 'it'} would run whatever its author wrote.",
        expected="a model without Python lambdas",
        received="; ".join([*(one.text for one in told), *more]),
        fix="\n    ".join(_ways(saved, found, told)),
    )


@dataclass(frozen=True)
class _Told:
    """What is said of one Lambda, with what it takes, where that is known."""

    text: str
    takes: list[_Taken] | None


def _told(path: Path, saved: Saved, one: lambdas.Lambda, custom_objects: Mapping[str, Any]) -> _Told:
    before, behind = _neighbours(one)
    takes = _takes(path, saved, one, custom_objects)
    taken = " and ".join(str(shape) for shape, _ in takes) if takes else "something of an unknown shape"
    source = f" from {_listed(before)}" if before else ""
    declared = one.layer["config"].get("output_shape")
    size = f" with {tuple(declared)}" if isinstance(declared, list) and declared and not _is_code(declared) else ""
    target = f"feeds {_listed(behind)}{size}" if behind else f"is an output of the model{size}"
    names = lambdas.code_names(one.layer)
    code = f" (names in its code: {', '.join(names)})" if names else ""
    mask = " and gives a mask of its own" if one.layer["config"].get("mask") is not None else ""
    return _Told(f"'{one.path}' takes {taken}{source} and {target}{mask}{code}", takes)


def _is_code(declared: list[Any]) -> bool:
    return any(isinstance(item, str) for item in declared)


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _neighbours(one: lambdas.Lambda) -> tuple[list[str], list[str]]:
    """The names of the layers before a Lambda and behind it."""
    name, layers = name_of(one.layer), inner_layers(one.model)
    if is_functional(one.model):
        before = [item[0] for item in references(one.layer.get("inbound_nodes"))]
        behind = [
            name_of(layer) for layer in layers if name in {item[0] for item in references(layer.get("inbound_nodes"))}
        ]
        return list(dict.fromkeys(before)), behind
    names = [name_of(layer) for layer in layers]
    at = next((number for number, layer in enumerate(layers) if layer is one.layer), 0)
    return names[max(at - 1, 0) : at], names[at + 1 : at + 2]


def _takes(path: Path, saved: Saved, one: lambdas.Lambda, custom_objects: Mapping[str, Any]) -> list[_Taken] | None:
    """What a Lambda takes, by a model of all that is before it; ``None`` where nothing tells."""
    model = copy.deepcopy(one.model)
    layers = inner_layers(model)
    try:
        if is_functional(model):
            node = next(layer for layer in layers if name_of(layer) == name_of(one.layer))["inbound_nodes"][0]
            ends = [item[:3] for item in references(node)]
            needed = cut.upstream(model, [end[0] for end in ends])
            model["config"]["layers"] = [layer for layer in layers if name_of(layer) in needed]
            model["config"]["output_layers"] = ends
            model["config"]["input_layers"] = [
                end[:3] for end in references(model["config"]["input_layers"]) if end[0] in needed
            ]
        elif not is_model(model):
            return None
        else:
            at = [name_of(layer) for layer in layers].index(name_of(one.layer))
            if all(layer["class_name"] == "InputLayer" for layer in layers[:at]):
                declared, dtype = shape_of_first(layers[0])
                return [(tuple(declared), dtype)] if declared else None
            model["config"]["layers"] = layers[:at]
        trial = Saved(model, saved.version, saved.backend, saved.is_tf_keras, custom=saved.custom)
        return [(tuple(tensor.shape), str(tensor.dtype)) for tensor in _built(path, trial, custom_objects).outputs]
    except Exception:  # whatever else is wrong with the file: what is known of the Lambda is said without it
        return None


def _built(path: Path, trial: Saved, custom_objects: Mapping[str, Any]) -> keras.Model:
    if lambdas.with_code(trial):
        raise ValueError("a Lambda before it")
    unsafe_config.refuse(path, trial)
    repair(trial)
    if trial.is_legacy:
        keras3_config.fit_arguments(trial)
    rebuild.rebuild(trial, custom_objects)
    keras3_config.modernise(trial)
    with keras_private.quiet_keras():
        return keras.saving.deserialize_keras_object(trial.model, custom_objects=dict(custom_objects))


def _ways(saved: Saved, found: list[lambdas.Lambda], told: list[_Told]) -> list[str]:
    """What a user can do who is not the author, a line each."""
    takes = told[0].takes or []
    given = ", ".join(map(_input, takes)) or "keras.Input(...)"
    made = f"x = [{given}]" if len(takes) > 1 else f"x = {given}"
    entry = f'"{found[0].path}": keras.Model(x, f(x))'
    if len(found) > 1:
        made, entry = "", ", ".join(f'"{one.path}": ...' for one in found)
    add = "graph.add(name, source, " + (f"part={_quoted(saved.part.name)}, " if saved.part else "")
    ways = [
        "Give layers or functional models that compute the same (with f in keras.ops), or take what does without:",
        f"{made}{'; ' if made else ''}{add}replace={{{entry}}})",
    ]
    if outputs := _outputs_without(saved, found):
        ways.append(f"{add}outputs=[{', '.join(map(_quoted, outputs))}])")
    if parts := [] if saved.part else _parts_without(saved):
        others = f"  # or {', '.join(map(_quoted, parts[1:]))}" if len(parts) > 1 else ""
        ways.append(f"graph.add(name, source, part={_quoted(parts[0])}){others}")
    return ways


def _input(taken: _Taken) -> str:
    (_, *sizes), dtype = taken
    return f"keras.Input({tuple(sizes)}{f', dtype={_quoted(dtype)}' if dtype != 'float32' else ''})"


def _quoted(name: str) -> str:
    return f'"{name}"'


def _outputs_without(saved: Saved, found: list[lambdas.Lambda]) -> list[str]:
    """The outputs of the model that need nothing of a Lambda or, where there are none, the layers right before it."""
    if not is_functional(saved.model):
        return []
    layers = inner_layers(saved.model)
    tops = {one.path.split("/")[0] for one in found}
    ends = [end[0] for end in references(saved.model["config"]["output_layers"])]
    before = [item[0] for layer in layers if name_of(layer) in tops for item in references(layer.get("inbound_nodes"))]
    inputs = {name_of(layer) for layer in layers if layer["class_name"] == "InputLayer"}
    for names in (ends, before):
        free = [name for name in names if name not in inputs and not cut.upstream(saved.model, [name]) & tops]
        if free:
            return list(dict.fromkeys(free))
    return []


def _parts_without(saved: Saved) -> list[str]:
    """The models within the model that hold no Lambda."""
    nested = [layer for layer in inner_layers(saved.model) if is_model(layer)]
    return [name_of(layer) for layer in nested if not lambdas.with_code(_as_saved(saved, layer))]


def _as_saved(saved: Saved, layer: Layer) -> Saved:
    return Saved(layer, saved.version, custom=saved.custom)
