"""Merges, parts and borders as plain Keras layers that both ``.keras`` and ``.h5`` can hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import keras

from keras_stitch.errors import StitchError, nearest, reason
from keras_stitch.graphs import merge_options, merges
from keras_stitch.graphs.names import Names, clean
from keras_stitch.graphs.shapes import kind_of
from keras_stitch.graphs.slices import Span
from keras_stitch.graphs.spec import Feed, Merge, Wiring
from keras_stitch.models import broadcast_sums
from keras_stitch.models import custom_objects as custom_objects_of
from keras_stitch.models.custom_objects import Given
from keras_stitch.models.inference import called
from keras_stitch.models.layer_config import layer_config, layer_from_config

# Layers of Keras that may add tensors of different shapes along the wrong axis, see ``broadcast_sums``.
_SUMS = ("Add", "Average")


def float_policy(dtype: str) -> str:
    """The dtype to give a layer so that it casts nothing: Keras casts floats to a layer's own dtype."""
    return dtype if kind_of(dtype) == "float" else "float32"


def merge_layer(merge: Merge, name: str | None, dtype: str) -> keras.Layer:
    """The Keras layer of a merge, which takes a list of tensors and makes one of this dtype."""
    if merge.kind == "layer":
        assert merge.layer is not None
        named = {} if name is None else {"name": name}
        config = {**merge.layer, "config": {**merge.layer.get("config", {}), **named}}
        return layer_from_config(config, merge.objects.for_keras() if merge.objects else None)
    layer = getattr(keras.layers, merges.KINDS[merge.kind].layer)
    return layer(**merges.options_of(merge), name=name, dtype=float_policy(dtype))


def taken_names(wiring: Wiring) -> list[str]:
    """The names that layers of a model have because the graph says so."""
    return [*wiring.order, *(port.name for port in wiring.inputs), *(out.port.name for out in wiring.outputs)]


def merge_names(wiring: Wiring, names: Names) -> dict[tuple[str, str], str]:
    """What the Keras layers are called that merge for ports of submodels; ``names`` has those that are taken."""
    fed = [feed for feeds in wiring.feeds.values() for feed in feeds if feed.merge.kind == "layer"]
    return {(feed.node, feed.port.name): names.new(f"{base_name(wiring, feed)}_merge") for feed in fed}


def base_name(wiring: Wiring, feed: Feed) -> str:
    """What the names of layers start with that make what arrives at an input port."""
    return feed.node if len(wiring.feeds[feed.node]) == 1 else f"{feed.node}_{clean(feed.port.name)}"


def merge(feed: Feed, tensors: Sequence[Any], names: Names, base: str) -> Any:
    """Merge the symbolic tensors that arrive at a port.

    A Keras layer that the user gave is called ``base``; the names of new layers start with it.
    """
    # In the dtype of the sources: the port casts the result, not what is merged.
    dtype = merges.dtype_of(feed)
    if feed.merge.kind == "layer":
        return called(merge_layer(feed.merge, base, dtype), list(tensors))
    kind, base = merges.KINDS[feed.merge.kind], f"{base}_{feed.merge.kind}"
    if kind.new_axis:
        tensors = [_with_axis(tensor, feed.merge.axis, names, f"{base}_expand") for tensor in tensors]
    if kind.layer in _SUMS and len({port.shape for port in feed.tap_ports}) > 1:
        mean = kind.layer == "Average"
        return broadcast_sums.by_layers(list(tensors), names, base, float_policy(dtype), mean=mean)
    name = names.new(base)
    if kind.before:
        tensors = [
            getattr(keras.layers, layer)(name=names.new(f"{base}_{layer.lower()}"), dtype=float_policy(dtype))(tensors)
            for layer in kind.before
        ]
    return merge_layer(feed.merge, name, dtype)(list(tensors))


def _with_axis(tensor: Any, axis: int, names: Names, name: str) -> Any:
    shape = list(tensor.shape[1:])
    position = merges.positive_axis(axis, len(shape) + 1) - 1
    target = [-1 if dim is None else dim for dim in shape]
    target.insert(position, 1)
    return keras.layers.Reshape(target, name=names.new(name), dtype=float_policy(str(tensor.dtype)))(tensor)


def take_part(tensor: Any, part: Sequence[Span], names: Names, base: str) -> Any:
    """Some elements of a symbolic tensor with at most 4 axes beside the batch, by cropping: a slice is no layer."""
    shape, policy = tensor.shape[1:], float_policy(str(tensor.dtype))
    rank = len(shape)
    cuts = [(0, 0)] * rank
    for span in part:
        cuts[span.axis] = (span.start, shape[span.axis] - span.stop)

    def apply(kind: Any, *args: Any, **options: Any) -> Any:
        return kind(*args, name=names.new(base), dtype=policy, **options)

    def crop(tensor: Any, cuts: Sequence[tuple[int, int]]) -> Any:
        """Crops all axes but the last, which is what the layers of Keras do."""
        if len(cuts) == 1:
            return apply(keras.layers.Cropping1D, cuts[0])(tensor)
        kind = keras.layers.Cropping2D if len(cuts) == 2 else keras.layers.Cropping3D
        return apply(kind, tuple(cuts), data_format="channels_last")(tensor)

    if part and rank == 1:
        column = apply(keras.layers.Reshape, (shape[0], 1))(tensor)
        return apply(keras.layers.Reshape, (part[0].stop - part[0].start,))(crop(column, cuts))
    if any(span.axis != -1 for span in part):
        tensor = crop(tensor, cuts[:-1])
    if any(span.axis == -1 for span in part):
        # The last axis is brought to the front and back.
        front = apply(keras.layers.Permute, (rank, *range(1, rank)))(tensor)
        cropped = crop(front, [cuts[-1], *[(0, 0)] * (rank - 2)])
        tensor = apply(keras.layers.Permute, (*range(2, rank + 1), 1))(cropped)
    return tensor


def without_mask(tensor: Any, names: Names, base: str = "unmask") -> Any:
    """The same values without the Keras mask, which between files does not exist either.

    Keras has no layer for that. ``Dot`` drops the mask silently, so what is made of it, zeros whatever
    the values (``Discretization`` makes integers even of NaN), has none; and ``Add`` drops the mask
    where one of its inputs has none. Only ``(batch, steps, features)`` can carry a mask that Keras lets
    through silently.
    """
    rank = len(tensor.shape) - 1
    policy = float_policy(str(tensor.dtype))
    if rank < 2:
        return tensor
    if rank > 2 or kind_of(str(tensor.dtype)) != "float":
        # Keras warns at this border, and stops the mask all the same.
        order = tuple(range(1, rank + 1))
        return keras.layers.Permute(order, name=names.new(base), dtype=policy)(tensor)
    layers = keras.layers
    products = layers.Dot((1, 1), name=names.new(f"{base}_dot"), dtype=policy)([tensor, tensor])
    means = layers.GlobalAveragePooling1D(
        data_format="channels_last", keepdims=True, name=names.new(f"{base}_mean"), dtype=policy
    )(products)
    integers = layers.Discretization([0.0], name=names.new(f"{base}_bin"))(means)
    zeros = layers.Rescaling(0.0, name=names.new(f"{base}_zero"), dtype=policy)(integers)
    return layers.Add(name=names.new(base), dtype=policy)([tensor, zeros])


def copy_with_mask(tensor: Any, names: Names, name: str) -> Any:
    """The same values with the same mask in a tensor of its own; Identity would give the same tensor."""
    return keras.layers.Rescaling(1.0, name=names.new(name), dtype=float_policy(str(tensor.dtype)))(tensor)


MergeLike: TypeAlias = "str | keras.Layer | type[keras.Layer]"


def _made_of(layer: type[keras.Layer]) -> keras.Layer:
    try:
        return layer()
    except Exception as error:
        raise StitchError(
            f"The class {layer.__name__} as merge= cannot be made without arguments: {reason(error)}",
            fix=f"Give a layer: merge={layer.__name__}(...).",
        ) from error


def merge_of(merge: object, custom_objects: Given = None, **options: object) -> Merge:
    """How the sources of a connection become one tensor, as a user gives it; for options see ``merge_options``."""
    if isinstance(merge, type) and issubclass(merge, keras.Layer):
        merge = _made_of(merge)
    if isinstance(merge, keras.Layer):
        if merge.built and merge.weights:
            raise StitchError(
                f"This {type(merge).__name__} as merge= has weights, and a connection holds none: they would be lost.",
                fix="Make it a submodel, and connect each source to one of its inputs: a, b = keras.Input(...), "
                'keras.Input(...); graph.add("merged", keras.Model([a, b], layer([a, b]))). Or give a layer that was '
                "not called yet, which draws new weights.",
            )
        for name in merge_options.misplaced("layer", options):
            raise StitchError(f"{name}= has no meaning for a merge that is a Keras layer.", expected="no option")
        given = custom_objects_of.read(custom_objects, "custom_objects= of a merge")
        objects = custom_objects_of.held_by(merge) | custom_objects_of.of_layer(merge, given)
        return Merge("layer", layer=layer_config(merge), objects=objects)
    if custom_objects is not None:
        raise StitchError(
            f"custom_objects= has no meaning for merge={merge!r}.", expected="a merge that is a Keras layer"
        )
    if not isinstance(merge, str) or merge not in merges.MERGES:
        known = nearest(str(merge), merges.MERGES)
        raise StitchError(f"There is no merge {merge!r}.", expected=f"{known}, or a Keras layer")
    for name in merge_options.invalid(options):
        option = merge_options.OPTIONS[name]
        received = repr(options[name])[:200]
        raise StitchError(f"{name}= is not {option.what}.", expected=option.example, received=received)
    for name in merge_options.misplaced(merge, options):
        known = ", ".join(f"{option}=" for option in merges.KINDS[merge].options) or "no option"
        raise StitchError(f"{name}= has no meaning for merge='{merge}'.", expected=known)
    for name in merge_options.missing(merge, options):
        raise StitchError(f"merge='{merge}' needs {name}=.", expected=merge_options.OPTIONS[name].example)
    return merge_options.made(merge, options)
