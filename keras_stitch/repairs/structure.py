"""How models are put together: lists of layers, first layers with a shape, calls counted otherwise, names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from keras_stitch.keras_private import operation_module
from keras_stitch.repairs.architecture import (
    RECURRENT,
    Layer,
    Saved,
    inner_layers,
    is_functional,
    is_model,
    is_reference,
    makes_mask,
    map_references,
    name_of,
    references,
    references_within,
    walk,
)
from keras_stitch.repairs.rule import inner_calls, layer_rule, rule

_CONSTANT = "_CONSTANT_VALUE"


@layer_rule("sequential-list", "the layers of a Sequential were a bare list, as before Keras 2.2.3", custom=True)
def sequential_list(layer: Layer, saved: Saved) -> bool:
    if not isinstance(layer["config"], list):
        return False
    layer["config"] = {"name": name_of(layer).lower(), "layers": layer["config"]}
    return True


@layer_rule(
    "input-shape", "the first layer of a Sequential carried the input's shape; an InputLayer has it now", custom=True
)
def input_shape(layer: Layer, saved: Saved) -> bool:
    """A Sequential gets an InputLayer; elsewhere the shape says nothing that the calls do not."""
    if layer["class_name"] == "InputLayer":
        config = layer["config"]
        shape = config.pop("batch_input_shape", None) or config.pop("batch_shape", None)
        # Keras 2 gave every input these, Keras 3 warns of some and refuses others.
        layer["config"] = {
            "batch_shape": shape,
            "dtype": config.get("dtype") or config.get("input_dtype") or "float32",
            "name": config.get("name") or name_of(layer),
            **{key: True for key in ("sparse", "ragged") if config.get(key)},
        }
        return False
    changed = False
    if is_model(layer) and not is_functional(layer):
        changed = _add_input(layer)
    layer["config"].pop("batch_input_shape", None)
    layer["config"].pop("build_input_shape", None)
    return changed


def _add_input(model: Layer) -> bool:
    layers = inner_layers(model)
    if not layers or layers[0]["class_name"] == "InputLayer":
        return False
    shape, dtype = shape_of_first(layers[0])
    shape = shape or model["config"].get("build_input_shape")
    if shape is None:
        return False
    name = f"{name_of(layers[0])}_input"
    layers.insert(0, {"class_name": "InputLayer", "config": {"batch_shape": list(shape), "dtype": dtype, "name": name}})
    return True


def shape_of_first(layer: Layer) -> tuple[list[int | None] | None, str]:
    """The shape and dtype of what a layer takes, if it says so itself or in what it holds first."""
    config = layer["config"]
    dtype = config.get("input_dtype") or config.get("dtype")
    dtype = dtype if isinstance(dtype, str) and dtype.startswith(("float", "int", "bool", "string")) else "float32"
    for key in ("batch_input_shape", "batch_shape"):
        if config.get(key):
            return list(config[key]), dtype
    held = inner_layers(layer)
    if is_functional(layer):
        named = {name_of(inner): inner for inner in held}
        first = next(references(layer["config"]["input_layers"]), None)
        return shape_of_first(named[first[0]]) if first and first[0] in named else (None, "float32")
    if held:
        return shape_of_first(held[0])
    # A wrapper takes what its layer takes; TimeDistributed was given the shape itself.
    if layer["class_name"] == "Bidirectional":
        return shape_of_first(config["layer"])
    return None, "float32"


@rule("layer-names", "Keras 3 takes no '/' in the names of layers; it is a '_' now")
def layer_names(saved: Saved) -> list[str]:
    return _rename(saved, lambda layer: name_of(layer).replace("/", "_"))


@rule("concatenate-names", "Keras 3 calls its own operations on masks 'concatenate'; layers of that name have another")
def mask_operations(saved: Saved) -> list[str]:
    """Keras 3 joins the masks of concatenated tensors by operations of its own, which it calls ``concatenate``, too."""
    if not any(makes_mask(layer) for _, layer in walk(saved.model)):
        return []

    def new_name(layer: Layer) -> str:
        name = name_of(layer)
        return f"layer_{name}" if layer["class_name"] == "Concatenate" and name.startswith("concatenate") else name

    return _rename(saved, new_name)


def _rename(saved: Saved, new_name: Callable[[Layer], str]) -> list[str]:
    """Give layers other names, wherever they are named."""
    found = []
    for path, model in list(walk(saved.model)):
        taken = {name_of(layer) for layer in inner_layers(model)}
        renamed = {}
        for layer in inner_layers(model):
            old = name_of(layer)
            new = new_name(layer)
            if new == old:
                continue
            while new in taken:
                new += "_"
            taken.add(new)
            renamed[old] = new
            saved.original_names.setdefault(id(layer), old)
            if "name" in layer:
                layer["name"] = new
            layer["config"]["name"] = new
            found.append(f"{path}/{old}".lstrip("/"))
        if renamed and is_functional(model):
            for item in references_within(model):
                item[0] = renamed.get(item[0], item[0])
    return found


@rule("nested-calls", "Keras 2 counted the calls of a nested model from 1, Keras 3 does from 0")
def nested_calls(saved: Saved) -> list[str]:
    """Keras 2 counted the calls of a nested model from 1, because its own inputs were call 0."""
    found = []
    for path, model, layer in inner_calls(saved):
        if not is_model(layer):
            continue
        mine = [item for item in references_within(model) if item[0] == name_of(layer)]
        if mine and _counted_from_one(layer, [item[1] for item in mine]):
            for item in mine:
                item[1] -= 1
            found.append(path)
    return found


def _counted_from_one(layer: Layer, calls: list[int]) -> bool:
    # A model that knew its inputs only once it was called was counted as any layer.
    return min(calls) > 0 and (max(calls) >= len(layer["inbound_nodes"]) or shape_of_first(layer)[0] is not None)


@rule("call-arguments", "calls took tensors as arguments, masks or first states in a form that Keras 3 does not read")
def call_arguments(saved: Saved) -> list[str]:
    """Tensors among the arguments of a call, and the first states of recurrent layers in a list with the input."""
    found = []
    for path, _, layer in inner_calls(saved):
        nodes = layer.get("inbound_nodes") or []
        calls = [_modern_call(layer, node) for node in nodes]
        if not all(_is_plain(node, call) for node, call in zip(nodes, calls, strict=True)):
            layer["inbound_nodes"] = calls
            found.append(path)
    return found


def _is_plain(node: Any, call: dict[str, Any]) -> bool:
    """Whether Keras 3 reads a call as it is: nothing but tensors in a list, or in its own form already."""
    return call is node or (not call["kwargs"] and 0 < len(_tensors(node)) == len(node))


def _modern_call(layer: Layer, node: Any) -> dict[str, Any]:
    """A call in the form of Keras 3."""
    if isinstance(node, dict) and "args" in node:
        return node
    kwargs = _arguments(node)
    tensors = _tensors(node)
    if layer["class_name"] in (*RECURRENT, "Bidirectional") and len(tensors) > 1:
        constants = layer["config"].get("num_constants") or 0
        extra = [keras_tensor(item) for item in tensors[1:]]
        split = len(extra) - constants
        kwargs |= {"initial_state": extra[:split]} if split else {}
        kwargs |= {"constants": extra[split:]} if constants else {}
        return {"args": [keras_tensor(tensors[0])], "kwargs": kwargs}
    if tensors:
        return {
            "args": [keras_tensor(node[0]) if len(node) == 1 else [keras_tensor(item) for item in node]],
            "kwargs": kwargs,
        }
    return {"args": [map_references(node, keras_tensor)], "kwargs": kwargs}


def _tensors(node: Any) -> list[Any]:
    return [item for item in node if is_reference(item)] if isinstance(node, list) and not is_reference(node) else []


def _arguments(node: Any) -> dict[str, Any]:
    """The arguments of a call besides its input, of which every tensor in the input carries a copy."""
    if isinstance(node, dict):
        return {}
    said: dict[str, Any] = next((item[3] for item in references(node) if len(item) > 3), {})
    return {key: map_references(value, keras_tensor) for key, value in said.items() if value is not None}


def keras_tensor(item: list[Any]) -> Any:
    """A reference to a tensor as Keras 3 writes it."""
    if item[0] == _CONSTANT:
        return item[2]
    # Only the history counts: Keras looks the tensor up by it.
    config = {"shape": [None], "dtype": "float32", "keras_history": item[:3]}
    return {"class_name": "__keras_tensor__", "config": config}


def operation(kind: str, name: str, arguments: Iterable[Any], config: Mapping[str, Any]) -> Layer:
    """An operation of Keras 3, which is no layer, called once: as Keras writes it into a functional model."""
    said = {"module": operation_module(kind), "class_name": kind, "registered_name": kind, "name": name}
    node = {"args": list(arguments), "kwargs": {}}
    return {**said, "config": {"name": name, **config}, "inbound_nodes": [node]}


@rule("single-output", "the only output was in a list, which Keras 3 would return")
def single_ends(saved: Saved) -> list[str]:
    found = []
    for path, model in list(walk(saved.model)):
        if not is_functional(model):
            continue
        for key in ("input_layers", "output_layers"):
            ends = model["config"][key]
            if isinstance(ends, list) and len(ends) == 1 and is_reference(ends[0]):
                model["config"][key] = ends[0]
                if key == "output_layers":
                    found.append(path)
    return found
