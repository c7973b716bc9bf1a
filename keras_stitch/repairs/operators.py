"""Files of Keras 2 with functions of TensorFlow between their layers: these are operations of Keras 3 now."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from keras_stitch.errors import SourceError
from keras_stitch.keras_private import operation_module
from keras_stitch.repairs.architecture import (
    Layer,
    Saved,
    inner_layers,
    is_functional,
    is_reference,
    layer_path,
    map_references,
    name_of,
    references_within,
    walk,
)
from keras_stitch.repairs.rule import free_name, inner_calls, rule
from keras_stitch.repairs.structure import keras_tensor, operation
from keras_stitch.repairs.tensorflow_functions import Plain, Size, Tensor, UnsupportedCallError, call
from keras_stitch.repairs.tensorflow_ops import as_call

CALLS = ("TFOpLambda", "SlicingOpLambda")
_OF_KERAS_2_4 = "TensorFlowOpLayer"
_OTHERS = ("ClassMethod", "InstanceMethod", "InstanceProperty", _OF_KERAS_2_4)  # the others: of ragged, sparse tensors
_CONSTANT = "_CONSTANT_VALUE"
_SHOWN = 10
_DTYPES = {"b": "bool", "i": "int32", "f": "float32"}


@rule("function-calls", "calls of TensorFlow's functions have the form of Keras 3, in which all arguments are seen")
def function_calls(saved: Saved) -> list[str]:
    """The nodes of functions, in which the first argument stands alone and holds the others; ``operators`` says it."""
    for _, layer in walk(saved.model):
        if layer["class_name"] == _OF_KERAS_2_4 and layer.get("inbound_nodes"):
            with contextlib.suppress(UnsupportedCallError):  # said below, with all others
                as_call(layer)
        if layer["class_name"] in CALLS and layer.get("inbound_nodes"):
            layer["inbound_nodes"] = [_modern_call(node) for node in layer["inbound_nodes"]]
    return []


@rule("operations", "an .h5 file does not say where the operations of Keras 3 are; Keras finds them now", legacy=False)
def operations(saved: Saved) -> list[str]:
    """Operations are those without what every layer says, whether it trains; some are called as layers are."""
    found = []
    for path, _, layer in inner_calls(saved):
        module = operation_module(layer["class_name"])
        if saved.is_legacy or module is None or layer.get("module") or "trainable" in layer["config"]:
            continue
        layer |= {"module": module, "registered_name": layer["class_name"]}
        found.append(path)
    return found


@rule("tensorflow-functions", "Keras 3 has no layers for TensorFlow's functions; they are operations of Keras now")
def operators(saved: Saved) -> list[str]:
    """Comes last, so that no rule takes an operation for a layer of the same name.

    Raises:
        SourceError: With every call that has no counterpart.
    """
    found, refused = [], []
    for path, model in list(walk(saved.model)):
        if not is_functional(model):
            continue
        sizes: dict[tuple[str, int], Size] = {}
        calling = [layer for layer in inner_layers(model) if layer["class_name"] in (*CALLS, *_OTHERS)]
        for layer in calling:  # in the order of Keras 2: what makes a size comes before what takes it
            place = layer_path(path, layer)
            try:
                _replace(saved, model, layer, sizes)
            except UnsupportedCallError as error:
                refused.append(f"{place} ({_function(layer)}{error})")
            found.append(place)
        used = {item[0] for item in references_within(model)} if not refused else set()
        left = [f"{path}/{name}".lstrip("/") for name, _ in sizes if name in used]
        refused += [f"{place} (tf.shape outside of tf.reshape)" for place in left]
    if refused:
        raise SourceError(
            "It calls functions of TensorFlow between its layers that have no counterpart in Keras 3 here: "
            f"{', '.join(refused[:_SHOWN])}{f' and {len(refused) - _SHOWN} more' if len(refused) > _SHOWN else ''}.",
            fix="Rebuild these steps with Keras layers in the model that made the file, and save it again.",
        )
    return found


def _modern_call(node: Any) -> dict[str, Any]:
    if isinstance(node, dict) and "args" in node:
        return node
    named: dict[str, Any] = {}

    def first(item: Any) -> Any:
        if isinstance(item, list) and len(item) in (3, 4) and (item[0] == _CONSTANT or is_reference(item)):
            named.update(item[3] if len(item) > 3 else {})
            return item[2] if item[0] == _CONSTANT else keras_tensor(item)
        return [first(inner) for inner in item] if isinstance(item, list) else item

    argument = first(node)
    said = {key: map_references(value, keras_tensor) for key, value in named.items()}
    return {"args": [argument], "kwargs": {key: value for key, value in said.items() if value is not None}}


def _function(layer: Layer) -> str:
    """What a layer calls, as TensorFlow's users know it; what Keras 2 calls a layer of another kind."""
    if layer["class_name"] not in CALLS:
        return str(layer["class_name"])
    return f"tf.{layer['config']['function'].removeprefix('compat.v1.')}"


class _Calls:
    """Adds the operations that stand for one layer, in front of it; the last one takes its place."""

    def __init__(self, saved: Saved, model: Layer, layer: Layer):
        self._saved, self._model, self._layer = saved, model, layer
        self._made: list[Layer] = []

    def op(self, kind: str, *tensors: Tensor, **config: Any) -> Tensor:
        """Adds an operation of Keras."""
        return self._add(operation(kind, self._free_name(kind), map(_argument, tensors), config))

    def layer(self, kind: str, tensor: Tensor, **config: Any) -> Tensor:
        """Adds a layer of Keras."""
        name, node = self._free_name(kind), {"args": [tensor], "kwargs": {}}
        return self._add(
            {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": [node]}
        )

    def _free_name(self, kind: str) -> str:
        return free_name(self._model, f"{name_of(self._layer)}_{kind.lower()}_{len(self._made)}")

    def _add(self, said: Layer) -> Tensor:
        self._made.append(said)
        return keras_tensor([name_of(said), 0, 0])

    def put_in(self) -> None:
        """Put the operations into the model."""
        *before, last = self._made
        layers = inner_layers(self._model)
        at = next(number for number, layer in enumerate(layers) if layer is self._layer)
        layers[at:at] = before
        self._saved.rename_class(self._layer, last["class_name"])
        name = name_of(self._layer)
        self._layer.pop("module", None)
        self._layer.pop("registered_name", None)
        self._layer.update(last | {"name": name, "config": last["config"] | {"name": name}})


def _argument(value: Any) -> Any:
    """Lists of numbers as tensors; of tensors, as they are."""
    if isinstance(value, list) and value and not isinstance(value, Plain) and _is_numbers(value):
        return {"class_name": "__tensor__", "config": {"value": value, "dtype": _DTYPES[np.asarray(value).dtype.kind]}}
    return value


def _is_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_numbers, value))
    return isinstance(value, int | float)


def _replace(saved: Saved, model: Layer, layer: Layer, sizes: dict[tuple[str, int], Size]) -> None:
    nodes = layer["inbound_nodes"]
    if layer["class_name"] == _OF_KERAS_2_4:
        as_call(layer)
    if layer["class_name"] in _OTHERS or len(nodes) != 1:
        raise UnsupportedCallError("")
    (node,) = nodes

    def known(item: Any) -> Any:
        """The same with sizes in the place of the tensors that are sizes."""
        if isinstance(item, dict) and item.get("class_name") == "__keras_tensor__":
            history = item["config"]["keras_history"]
            return sizes.get((history[0], history[2]), item)
        if isinstance(item, dict):
            return {key: known(value) for key, value in item.items()}
        return [known(value) for value in item] if isinstance(item, list) else item

    named = {key: value for key, value in known(node["kwargs"]).items() if key != "name"}
    calls = _Calls(saved, model, layer)
    result = call(calls, _function(layer).removeprefix("tf."), known(node["args"]), named)
    if isinstance(result, Size):
        sizes[name_of(layer), 0] = result
        inner_layers(model).remove(layer)
        return
    calls.put_in()
