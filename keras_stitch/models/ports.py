"""What a Keras model or layer looks like from outside: its ports, and the layers in it."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from keras_stitch import keras_private
from keras_stitch.errors import SourceError, StitchError, nearest
from keras_stitch.graphs.names import is_generated, unique_names
from keras_stitch.graphs.spec import LayerInfo, Port, Shape
from keras_stitch.models.changed_layers import change_within
from keras_stitch.models.inference import augments

# What a value passes on its way to an Embedding without becoming another number.
_MOVES = (
    *(
        keras.layers.Concatenate,
        keras.layers.Cropping1D,
        keras.layers.Dropout,
        keras.layers.Flatten,
        keras.layers.Identity,
        keras.layers.InputLayer,
    ),
    *(keras.layers.Permute, keras.layers.RepeatVector, keras.layers.Reshape),
)
_LOOKUPS = (keras.layers.StringLookup, keras.layers.TextVectorization)


def input_ports(model: keras.Model) -> tuple[Port, ...]:
    """The inputs of a model, in its order, under the names of the saved file."""
    first = model.layers[0].name if isinstance(model, keras.Sequential) and model.layers else None
    keys = _keys(model, "input")
    names = [keys.get(id(tensor)) or tensor.name for tensor in model.inputs]
    return tuple(
        Port(unique, tuple(tensor.shape[1:]), str(tensor.dtype), is_generated(name, first))
        for unique, name, tensor in zip(unique_names(names), names, model.inputs, strict=True)
    )


def output_ports(model: keras.Model, tensors: Sequence[keras.KerasTensor]) -> tuple[Port, ...]:
    """Output tensors of a model as ports, called like a dict's keys or the layers they come from."""
    keys = _keys(model, "output")
    names = [keys.get(id(tensor)) or keras_private.maker(tensor).name for tensor in tensors]
    return tuple(
        Port(name, tuple(tensor.shape[1:]), str(tensor.dtype))
        for name, tensor in zip(unique_names(names), tensors, strict=True)
    )


def layer_ports(layer: keras.Layer) -> tuple[Port, ...]:
    """The input ports of a bare layer: the arguments of its call that have no default."""
    required = [
        parameter.name
        for parameter in inspect.signature(layer.call).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.default is parameter.empty
    ]
    if len(required) <= 1:
        return (Port("input", None, None, generated=True),)
    return tuple(Port(name, None, None) for name in required)


def inner_tensors(model: keras.Model, layers: Sequence[str]) -> list[keras.KerasTensor]:
    """The outputs of inner layers, in the order asked for.

    Raises:
        StitchError: If a layer is unknown, nested, or used more than once.
    """
    tensors: list[keras.KerasTensor] = []
    for name in layers:
        try:
            layer = model.get_layer(name)
        except ValueError:
            nested = [info.path for info in walk_layers(model) if info.path.endswith(f"/{name}") or info.path == name]
            raise StitchError(
                f"The model has no layer '{name}' of its own to take as an output.",
                expected=nearest(name, [layer.name for layer in model.layers]),
                received=f"'{nested[0]}', which lies in a nested model" if nested else None,
            ) from None
        # ``layer.output`` would be that of its very first call, perhaps in another model.
        calls = [call for call in keras_private.calls(model) if call.operation is layer]
        if len(calls) != 1:
            raise StitchError(
                f"The layer '{name}' is called {len(calls)} times, so it has no single output.",
                expected="a layer that is called once",
            )
        tensors += calls[0].output_tensors
    return tensors


def walk_layers(model: keras.Model) -> tuple[LayerInfo, ...]:
    """Every layer of a model, those of nested models with their path, as saved."""
    trains = flags(model)
    return tuple(layer_info(path, layer, trains[path]) for path, layer in leaves(model))


def infos(layer: keras.Layer) -> tuple[LayerInfo, ...]:
    """The layers of a submodel as it is in a stitched model."""
    return walk_layers(layer) if isinstance(layer, keras.Model) else (layer_info(layer.name, layer, layer.trainable),)


def layer_info(path: str, layer: keras.Layer, trainable: bool) -> LayerInfo:
    """A layer of a submodel as it was added."""
    parameters = layer.count_params() if layer.built else 0
    return LayerInfo(path, type(layer).__name__, trainable, parameters, augments(layer), change_within(layer))


def leaves(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """The layers of a model and of the models nested in it, with their paths."""
    for layer in (*model.layers, *_outside_graph(model)):
        if isinstance(layer, keras.Model) and layer.layers:
            yield from leaves(layer, f"{prefix}{layer.name}/")
        else:
            yield f"{prefix}{layer.name}", layer


def _outside_graph(model: keras.Model) -> list[keras.Layer]:
    """The layers that a model of a user's class holds besides those of its graph."""
    seen = {id(layer) for layer in model.layers}
    held = keras_private.held_layers(model)
    return [layer for layer in held if id(layer) not in seen and not isinstance(layer, keras.layers.InputLayer)]


def flags(model: keras.Model) -> dict[str, bool]:
    """Whether each layer trains; a frozen model freezes its layers, whatever they say, one nested in it does not."""
    return {path: bool(model.trainable and layer.trainable) for path, layer in leaves(model)}


def set_flags(model: keras.Model, wanted: Mapping[str, bool]) -> None:
    """Make the layers of a model train as ``flags`` would say."""
    _open(model, [path.split("/") for path, trains in wanted.items() if trains])
    for path, layer in leaves(model):
        if path in wanted and layer.trainable != wanted[path]:
            layer.trainable = wanted[path]


def _open(model: keras.Model, training: Sequence[Sequence[str]]) -> None:
    """Unfreeze the models that hold layers which train: reloaded, a frozen one would freeze them."""
    if training and not model.trainable:
        model.trainable = True
    for layer in model.layers:
        if isinstance(layer, keras.Model) and layer.layers:
            _open(layer, [path[1:] for path in training if len(path) > 1 and path[0] == layer.name])


def learnt_vocabulary(layer: keras.Layer) -> bool:
    """Whether a lookup layer learnt its vocabulary by ``adapt``, so that its config does not say it."""
    if not hasattr(layer, "load_assets") or not hasattr(layer, "get_vocabulary"):
        return False
    learns = keras_private.given_vocabulary(layer) is None
    return learns and bool(layer.get_vocabulary(include_special_tokens=False))


def always_training(model: keras.Model) -> list[str]:
    """The layers that are called with ``training=True`` in the graph of a model, or of one within it."""
    return sorted(
        {
            call.operation.name if layer is model else f"{layer.name}/{call.operation.name}"
            for layer in keras_private.layers_within(model)
            for call in keras_private.calls(layer)
            if call.arguments.kwargs.get("training")
        }
    )


def check_stateless(model: keras.Model, name: str) -> None:
    """Raise where a recurrent layer carries its state from batch to batch: rows would depend on their order."""
    for path, layer in leaves(model):
        if getattr(layer, "stateful", False):
            raise SourceError(
                f"Submodel '{name}' has a stateful layer, '{path}': what it predicts depends on the batches before.",
                expected="stateless recurrent layers",
                fix="Where it is a file of Keras 1 or 2 and each batch stands for itself, say so: "
                "graph.add(name, source, stateless=True). Else rebuild the model with stateful=False, copy the weights "
                "with set_weights(get_weights()), and save it again.",
            )


def embedding_bounds(model: keras.Model) -> dict[str, int]:
    """For the inputs that feed an Embedding, through layers that only move values: how many tokens it knows."""
    return {
        tensor.name: min(layer.input_dim for layer in layers)
        for tensor in model.inputs
        if (layers := [it for it in _takers(model, tensor) if isinstance(it, keras.layers.Embedding)])
    }


def vocabularies(model: keras.Model) -> dict[str, tuple[str, ...]]:
    """For the inputs of text that feed lookup layers, through layers that only move values: words that all know."""
    found = {}
    for tensor in model.inputs:
        lookups = [layer for layer in _takers(model, tensor) if isinstance(layer, _LOOKUPS)]
        if lookups and tensor.dtype == "string":
            first, *others = (list(map(str, layer.get_vocabulary())) for layer in lookups)
            known = [word for word in first if all(word in other for other in others)]
            # A text of several words shows more of a layer that splits it.
            splits = all(isinstance(layer, keras.layers.TextVectorization) for layer in lookups)
            found[tensor.name] = (*known, *((" ".join(known[:8]), " ".join(known[-8:])) if splits else ()))
    return {name: words for name, words in found.items() if words}


def _takers(model: keras.Model, given: Any) -> Iterator[keras.Layer]:
    """The layers that take the values of an input as they are."""
    reached = {id(given)}
    for node in keras_private.calls(model):
        taken = [tensor for tensor in node.input_tensors if id(tensor) in reached]
        if not taken:
            continue
        operation = node.operation
        if isinstance(operation, (keras.layers.Embedding, *_LOOKUPS)):
            yield operation
        elif isinstance(operation, keras.Model) and getattr(operation, "inputs", None):
            # A model that is nested passes values on to what is in it, and from there no further.
            for outer, inner in zip(node.input_tensors, operation.inputs, strict=True):
                if id(outer) in reached:
                    yield from _takers(operation, inner)
        elif isinstance(operation, _MOVES):
            reached |= {id(tensor) for tensor in node.output_tensors}


def _keys(model: keras.Model, which: str) -> dict[int, str]:
    """``id`` of a tensor to its key, where a model's inputs or outputs are a dict."""
    try:
        structure = getattr(model, which)
    except (AttributeError, ValueError):
        return {}
    return {id(tensor): key for key, tensor in structure.items()} if isinstance(structure, dict) else {}


def shape_of_input(name: str, shape: object) -> Shape | None:
    """The shape of a graph input, ``None`` where it was left out."""
    if shape is None:
        return None
    try:
        sizes = [size if size is None else operator.index(size) for size in shape]  # type: ignore[attr-defined]
    except TypeError:
        sizes = [0]
    if any(size is not None and size < 1 for size in sizes) or isinstance(shape, str):
        raise StitchError(
            f"shape= of the graph input '{name}' is not a shape.",
            expected="sizes without the batch axis, None for a variable one, such as (None, 4)",
            received=repr(shape)[:200],
        )
    return tuple(sizes)


def dtype_of_input(name: str, dtype: object) -> str | None:
    """The dtype of a graph input by its Keras name, ``None`` where it was left out."""
    if dtype is None:
        return None
    try:
        return str(keras.backend.standardize_dtype(dtype))
    except (TypeError, ValueError):
        raise StitchError(
            f"dtype= of the graph input '{name}' is not a dtype.",
            expected="a dtype of Keras, such as 'float32' or 'int32'",
            received=repr(dtype)[:200],
        ) from None
