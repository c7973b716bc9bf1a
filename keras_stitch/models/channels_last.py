"""Models with channels first as the same models with channels last: plain Keras that runs on every CPU.

TensorFlow convolves tensors with channels first on CPUs only with oneDNN, and Keras 3.15 adds biases along another axis
in some direct calls. So each layer that is ``channels_first`` becomes the same with ``channels_last``, between
``Permute`` layers. A tensor is permuted once, and only where something takes it in the other order: layers that do not
mind the order take what is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_stitch import keras_private
from keras_stitch.errors import SourceError, reason
from keras_stitch.graphs.names import Names, is_generated
from keras_stitch.models import channel_axes, ports
from keras_stitch.models.merge_layers import float_policy
from keras_stitch.repairs import CHANNELS_FIRST
from keras_stitch.repairs.rule import Repair

# A tensor as the model has it; any other order is named by the axis whose values have become the last.
_AS_IT_IS = 0


def repairs_of(model: keras.Model) -> tuple[Repair, ...]:
    """That a model has to be changed by ``with_channels_last``, with the paths of its layers."""
    if not _is_needed(model):
        return ()
    where = [path for path, layer in ports.leaves(model) if channel_axes.is_channels_first(layer)]
    return (Repair(CHANNELS_FIRST.name, CHANNELS_FIRST.why, tuple(where)),)


def with_channels_last(
    model: keras.Model, inner_outputs: Sequence[str] | None = None, *, one_by_one: bool = False
) -> keras.Model:
    """The same model without convolutions that have their channels first; one that has none, as it is.

    Args:
        model: It is not to be used any more: the new one has its inputs and its other layers.
        inner_outputs: Inner layers whose outputs replace the model's own.
        one_by_one: Whether every layer takes and gives tensors as the model has them. That is slower, and simple enough
            to compare the other to.

    Raises:
        SourceError: If a layer cannot be changed.
    """
    changed = _is_needed(model)
    if not changed and inner_outputs is None:
        return model
    tensors = None if inner_outputs is None else ports.inner_tensors(model, inner_outputs)
    if not changed:
        return keras.Model(_one_or_all(model.inputs), tensors, name=model.name)
    flags = ports.flags(model)
    try:
        with keras_private.quiet_keras():
            turning = _Turning(model, one_by_one)
            found = _Graph(turning, model).run(tensors)
            turning.check_shared(found)
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(
            f"The model '{model.name}' has layers that are channels_first, which cannot be made channels_last: "
            f"{reason(error)}",
            fix="Make it with channels_last, and add that.",
        ) from error
    ports.set_flags(found, {path: flags[path] for path in ports.flags(found) if path in flags})
    check(found)
    return found


def check(layer: keras.Layer, fix: str | None = None) -> None:
    """Raise where a layer or model convolves with channels first, which TensorFlow does not do on every CPU."""
    if keras.backend.backend() != "tensorflow":
        return
    left = [inner for inner in keras_private.layers_within(layer) if channel_axes.is_convolution(inner)]
    if left:
        raise _unchanged(left[0], "it is in a layer, or of a class, that only its author can change", fix)


def _is_needed(model: keras.Layer) -> bool:
    return any(map(channel_axes.is_convolution, keras_private.layers_within(model)))


def _unchanged(layer: keras.Layer, why: str, fix: str | None = None) -> SourceError:
    return SourceError(
        f"The layer '{layer.name}' ({type(layer).__name__}) is channels_first, which TensorFlow computes on some CPUs "
        f"only, and it cannot be made channels_last: {why}.",
        expected="layers of Keras with channels_first, or any with channels_last",
        fix=fix or "Make it channels_last in the model that has it.",
    )


class _Tensor:
    """A tensor of the old model: the tensors of the new one that have its values, by the order of their axes."""

    def __init__(self, old: keras.KerasTensor, new: keras.KerasTensor, axis: int):
        name = keras_private.maker(old).name
        self.rank, self.name = len(old.shape), "input" if is_generated(name) else name
        self.orders = {self.normal(axis): new}

    def normal(self, axis: int) -> int:
        """The name of an order: where the axis is the last already, nothing is moved."""
        return axis if 0 < axis < self.rank - 1 else _AS_IT_IS

    @property
    def has_mask(self) -> bool:
        return any(keras_private.mask_of(tensor) is not None for tensor in self.orders.values())


@dataclass(frozen=True)
class _Turned:
    """A layer of the new model that has its channels last, and an activation that works on tensors as they were."""

    layer: keras.Layer
    activation: keras.Layer | None = None


class _Turning:
    """The new layers of a model and of those nested in it, by the ``id`` of the old ones."""

    def __init__(self, model: keras.Model, one_by_one: bool):
        self.one_by_one = one_by_one
        # The layers that something holds which stays as it is: they stay, too.
        self.kept = set(_kept(model))
        self.turned: dict[int, _Turned] = {}
        self.held: dict[int, keras.Layer] = {}
        # The order of axes that a layer with an axis of its own takes, whenever it is called, and how many these are.
        self.orders: dict[int, tuple[int, int]] = {}
        # The layer of the old model that had each of its weights, if a new layer has a copy now.
        self.copied: dict[int, keras.Layer] = {}

    def model(self, model: keras.Model) -> keras.Layer:
        """A nested model, whose ends are as they were."""
        if id(model) not in self.held:
            with keras.name_scope(model.name):
                self.held[id(model)] = _Graph(self, model).run()
        return self.held[id(model)]

    def steps(self, layer: keras.Layer) -> keras.Layer:
        """A model that is called step by step."""
        if id(layer) not in self.held:
            inner = self.model(layer.layer)
            self.held[id(layer)] = keras.layers.TimeDistributed(inner, name=layer.name, dtype=layer.dtype_policy)
        return self.held[id(layer)]

    def along(self, layer: keras.Layer, axis: int) -> keras.Layer:
        """A layer that works along another axis, without its weights."""
        if id(layer) not in self.held:
            self.held[id(layer)] = type(layer).from_config({**layer.get_config(), "axis": axis})
        return self.held[id(layer)]

    def layer(self, layer: keras.Layer, names: Names) -> _Turned:
        """A layer with its channels last, without its weights."""
        if id(layer) not in self.turned:
            self.turned[id(layer)] = _turned(layer, names)
        return self.turned[id(layer)]

    def copy_weights(self, old: keras.Layer, new: keras.Layer) -> None:
        """Give a new layer the weights of the old one."""
        new.set_weights(old.get_weights())
        self._check_copies(old.weights)
        self.copied |= {id(weight): old for weight in old.weights}

    def check_shared(self, found: keras.Model) -> None:
        """Raise where the new model has weights of the old one and copies of them, which would train apart."""
        self._check_copies(found.weights)

    def _check_copies(self, weights: Sequence[keras.Variable]) -> None:
        for weight in weights:
            if id(weight) in self.copied:
                raise _unchanged(self.copied[id(weight)], "another layer has its weights, too")


def _kept(model: keras.Model) -> Iterator[int]:
    """The ``id`` of each layer in what a model calls as it is."""
    for call in keras_private.calls(model):
        layer = call.operation
        inner = layer.layer if channel_axes.is_steps_of_a_graph(layer) else layer
        if channel_axes.is_graph(inner) and _is_needed(inner):
            yield from _kept(inner)
        elif isinstance(layer, keras.Layer) and not channel_axes.is_channels_first(layer):
            yield from map(id, keras_private.layers_within(layer, include_self=False))


def _turned(layer: keras.Layer, names: Names) -> _Turned:
    inner, _ = channel_axes.innermost(layer)
    if isinstance(layer, keras.layers.Bidirectional) and layer.merge_mode == "concat":
        raise _unchanged(layer, "it joins both directions along the last axis, which is not that of the channels")
    if channel_axes.cannot_be_computed(inner):
        fix = "Run with TF_ENABLE_ONEDNN_OPTS=1 in the environment, where the processor has oneDNN."
        raise _unchanged(layer, "it is transposed and has a dilation, which TensorFlow computes with oneDNN only", fix)
    config = _with_channels_last(layer.get_config())
    functions = channel_axes.activations(inner)
    odd = [function for function in functions if not channel_axes.is_elementwise_function(function)]
    if not odd and channel_axes.penalises_elements(layer):
        return _Turned(type(layer).from_config(config))
    if inner is not layer or isinstance(layer, keras.layers.RNN) or any(isinstance(it, keras.Layer) for it in odd):
        raise _unchanged(layer, "its activation, or the penalty on its outputs, may work along an axis")
    end = {"activation": odd[0] if odd else "linear", "activity_regularizer": layer.activity_regularizer}
    activation = keras.layers.Activation(**end, name=names.new(f"{layer.name}_activation"), dtype=layer.dtype_policy)
    config |= {"activation": "linear"} if odd else {}
    return _Turned(type(layer).from_config({**config, "activity_regularizer": None}), activation)


def _with_channels_last(config: dict[str, Any]) -> dict[str, Any]:
    changed = dict(config)
    for key in ("layer", "backward_layer"):
        if isinstance(config.get(key), dict):
            # Without the shape that it was built for.
            inner = {what: said for what, said in config[key].items() if what != "build_config"}
            changed[key] = {**inner, "config": _with_channels_last(inner["config"])}
    if "data_format" in config:
        changed["data_format"] = "channels_last"
    return changed


class _Graph:
    """One model, called once more with other layers."""

    def __init__(self, turning: _Turning, model: keras.Model):
        self.turning, self.old = turning, model
        inputs = [keras_private.maker(tensor) for tensor in model.inputs]
        self.names = Names(layer.name for layer in (*model.layers, *inputs))
        self.tensors = {id(tensor): _Tensor(tensor, tensor, _AS_IT_IS) for tensor in model.inputs}

    def run(self, tensors: Sequence[keras.KerasTensor] | None = None) -> keras.Model:
        """The new model, with its own outputs or others of its tensors."""
        for call in keras_private.calls(self.old):
            if any(id(tensor) not in self.tensors for tensor in call.output_tensors):
                self._call(call)
        given, ends = _one_or_all(self.old.inputs), tensors or _one_or_all(self.old.outputs)
        if tensors is None and not isinstance(self.old, keras.Sequential):
            given, ends = self.old.input, self.old.output
        ends = keras.tree.map_structure(lambda tensor: self._ordered(self.tensors[id(tensor)], _AS_IT_IS), ends)
        return keras.Model(given, ends, name=self.old.name)

    def _call(self, call: Any) -> None:
        layer = call.operation
        taken = [self.tensors[id(tensor)] for tensor in call.input_tensors]
        heeded = channel_axes.heeds_masks(layer) and any(tensor.has_mask for tensor in taken)
        if channel_axes.is_channels_first(layer) and not heeded:
            self._call_turned(call, taken)
        elif channel_axes.is_graph(layer) and _is_needed(layer):
            self._made(call, self._called(call, self.turning.model(layer), [_AS_IT_IS] * len(taken)))
        elif channel_axes.is_steps_of_a_graph(layer) and _is_needed(layer):
            self._made(call, self._called(call, self.turning.steps(layer), [_AS_IT_IS] * len(taken)))
        else:
            order = self._order(layer, taken)
            new = layer
            if order and channel_axes.has_one_axis(layer):
                rank = taken[0].rank
                new = self.turning.along(layer, _last(order, rank).index(layer.axis % rank) + 1)
            self._made(call, self._called(call, new, [order] * len(taken)), order)

    def _call_turned(self, call: Any, taken: Sequence[_Tensor]) -> None:
        """Call a layer with channels last."""
        layer = call.operation
        turned = self.turning.layer(layer, self.names)
        axes = [channel_axes.channel_axis(layer, tensor.rank) for tensor in taken]
        for old, result in zip(call.output_tensors, self._called(call, turned.layer, axes), strict=True):
            drops = channel_axes.drops_axes(layer)
            axis = _AS_IT_IS if drops else channel_axes.channel_axis(layer, len(old.shape))
            made = _Tensor(old, result, axis)
            if turned.activation is not None:
                made = _Tensor(old, turned.activation(self._ordered(made, _AS_IT_IS)), _AS_IT_IS)
            self.tensors[id(old)] = made

    def _called(self, call: Any, layer: keras.Layer, axes: Sequence[int]) -> list[Any]:
        """What a layer makes of the tensors of a call, in these orders; a new layer gets the weights of the old one."""
        # Models bring theirs.
        is_new = layer is not call.operation and not layer.built and not channel_axes.is_steps_of_a_graph(layer)
        given = {
            id(old): self._ordered(self.tensors[id(old)], axis)
            for old, axis in zip(call.input_tensors, axes, strict=True)
        }
        arguments, options = call.arguments.fill_in(given)
        results = keras.tree.flatten(layer(*arguments, **options))
        if is_new:
            self.turning.copy_weights(call.operation, layer)
        return results

    def _made(self, call: Any, results: Sequence[Any], order: int = _AS_IT_IS) -> None:
        for old, result in zip(call.output_tensors, results, strict=True):
            self.tensors[id(old)] = _Tensor(old, result, order)

    def _order(self, layer: keras.Layer, taken: Sequence[_Tensor]) -> int:
        """The order of axes in which a layer that does not mind is called: one in which a tensor is there."""
        with_axis = channel_axes.has_one_axis(layer)
        if id(layer) in self.turning.kept or not (with_axis or channel_axes.is_elementwise(layer)):
            return _AS_IT_IS
        masked = any(tensor.has_mask for tensor in taken)
        if id(layer) in self.turning.orders:
            order, rank = self.turning.orders[id(layer)]
            if order and masked:
                raise _unchanged(layer, "it is called with masks and without")
            if order and taken[0].rank != rank:
                raise _unchanged(layer, "it is called on tensors of different ranks")
            return order
        order = _AS_IT_IS
        alike = len({tensor.rank for tensor in taken}) == 1 and not masked
        if alike and not self.turning.one_by_one:
            first = 2 if isinstance(layer, keras.layers.TimeDistributed) else 1
            order = next((order for tensor in taken for order in tensor.orders if order >= first), _AS_IT_IS)
        if with_axis:
            self.turning.orders[id(layer)] = order, taken[0].rank
        return order

    def _ordered(self, tensor: _Tensor, axis: int) -> Any:
        """A tensor in an order of its axes, permuted where nothing was called on it in that order before."""
        axis = tensor.normal(axis)
        if axis not in tensor.orders:
            if axis == _AS_IT_IS:
                (now, made), *_ = tensor.orders.items()
                dims = _last(now, tensor.rank)
                back = [dims.index(dim) + 1 for dim in range(1, tensor.rank)]
                tensor.orders[axis] = self._permuted(made, back, f"{tensor.name}_channels_first")
            else:
                made = self._ordered(tensor, _AS_IT_IS)
                tensor.orders[axis] = self._permuted(made, _last(axis, tensor.rank), f"{tensor.name}_channels_last")
        return tensor.orders[axis]

    def _permuted(self, tensor: Any, dims: Sequence[int], name: str) -> Any:
        policy, mask = float_policy(str(tensor.dtype)), keras_private.mask_of(tensor)
        name = self.names.new(name)
        if mask is None or dims[0] != 1:
            # What takes it in this order has no use for a mask.
            return keras.layers.Permute(dims, name=name, dtype=policy)(tensor)
        if len(mask.shape) > 2:
            raise _unchanged(keras_private.maker(tensor), "it has a mask that is not one of steps")
        # A mask of steps is passed on by a layer that works step by step.
        inner = keras.layers.Permute([dim - 1 for dim in dims[1:]], dtype=policy)
        return keras.layers.TimeDistributed(inner, name=name, dtype=policy)(tensor)


def _last(axis: int, rank: int) -> list[int]:
    """The order of the axes beside the batch that moves one of them behind the others."""
    return [*(dim for dim in range(1, rank) if dim != axis), axis]


def _one_or_all(tensors: Sequence[Any]) -> Any:
    return tensors[0] if len(tensors) == 1 else list(tensors)
