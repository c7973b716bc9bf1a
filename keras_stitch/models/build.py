"""A checked graph to one plain ``keras.Model``: each submodel one layer, merges and parts plain layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from keras_stitch.errors import Problems, StitchError, WiringError, reason
from keras_stitch.graphs.freezing import Flags, resolve_flags
from keras_stitch.graphs.names import Names, clean
from keras_stitch.graphs.spec import Feed, GraphOutput, GraphSpec, Merge, Port, Submodel, Tap, Wiring, port_text
from keras_stitch.graphs.wiring import Inference, wire
from keras_stitch.models import inference, merge_layers, named_targets, ports
from keras_stitch.models.clone import clone
from keras_stitch.models.custom_objects import in_registry
from keras_stitch.models.load_keras import Blueprint
from keras_stitch.placement.cut_into_stages import Stages


class KerasInference(Inference):
    """Asks Keras for the output shapes of layers; it has the blueprint of every submodel that owns its weights."""

    def __init__(self, blueprints: Mapping[str, Blueprint]):
        self._blueprints = blueprints

    def outputs(self, submodel: Submodel, arriving: Sequence[Port]) -> tuple[Port, ...]:
        """The output ports for what arrives; a saved model whose shapes are as declared is believed."""
        shapes = [port.shape for port in arriving]
        if not submodel.is_keras:
            return submodel.outputs
        if not submodel.is_layer and shapes == [port.shape for port in submodel.inputs]:
            return submodel.outputs
        blueprint = self._blueprints[submodel.owner]
        tensors = [_tensor(port) for port in arriving]
        if submodel.is_layer:
            # A layer is built by its first call, so a fresh one is asked.
            return (_asked(blueprint.take(), tensors, submodel, arriving),)
        probe = _functional(blueprint.peek(), blueprint, "probe", to_keep=False)
        results = _listed(probe(_one_or_list(tensors)))
        return tuple(_port(port.name, result) for port, result in zip(submodel.outputs, results, strict=True))

    def merged(self, merge: Merge, arriving: Sequence[Port]) -> Port:
        """What a Keras layer that takes a list makes of these."""
        layer = merge_layers.merge_layer(merge, None, "float32")
        try:
            result = layer([_tensor(port) for port in arriving])
        except Exception as error:
            raise StitchError(f"{type(layer).__name__} refuses them: {reason(error)}") from error
        if isinstance(result, (list, tuple, dict)):
            raise StitchError(f"{type(layer).__name__} makes several tensors of them.", expected="one tensor")
        if layer.weights:
            raise merge_layers.with_weights(layer)
        return _port("merged", result)


def check(spec: GraphSpec, blueprints: Mapping[str, Blueprint]) -> tuple[Wiring, Flags]:
    """The graph wired, and which of its layers train.

    Raises:
        WiringError: With every problem of the graph, those of freezing included.
    """
    problems = Problems()
    flags = resolve_flags(spec, problems)
    try:
        wiring = wire(spec, KerasInference(blueprints))
    except WiringError as error:
        raise WiringError(spec.name, [*error.problems, *problems]) from None
    if problems:
        raise WiringError(spec.name, problems)
    return wiring, flags


def build(
    spec: GraphSpec, wiring: Wiring, blueprints: Mapping[str, Blueprint], flags: Flags, *, name: str | None = None
) -> keras.Model:
    """Build the stitched model, of the graph's name by default.

    Its inputs are in the order of ``wiring.inputs``. One output is a tensor, several are a dict by name.
    """
    return _Builder(spec, wiring, blueprints, flags).run(name or spec.name)


def build_over(spec: GraphSpec, wiring: Wiring, layers: Mapping[str, keras.Layer], *, name: str) -> keras.Model:
    """Build a model of layers that another model has: the two share their weights.

    Args:
        spec: The graph.
        wiring: The part of it that is built, as a graph of its own.
        layers: For every submodel in it that owns its weights, the layer in the other model. Whether they train is
            left as it is; merges and parts are layers of the new model.
        name: The model's name.
    """
    return _Builder(spec, wiring, {}, {}, layers).run(name)


def packed_models(
    spec: GraphSpec, stages: Stages, blueprints: Mapping[str, Blueprint], flags: Flags
) -> dict[str, keras.Model]:
    """Build the Keras models that run in the dataloader, by step.

    Raises:
        StitchError: If a layer among them has weights that nobody has trained: they would be drawn anew each time.
    """
    found = {}
    for step in stages.steps:
        if step.cut is None:
            continue
        found[step.name] = build(spec, step.cut.wiring, blueprints, flags, name=step.name)
        for name in step.submodels:
            owner = spec.submodel(spec.submodel(name).owner)
            if owner.source.draws_weights and found[step.name].get_layer(owner.name).weights:
                raise StitchError(
                    f"Submodel '{name}' ({owner.source.label}) runs in the dataloader, where nothing is trained, and "
                    "its weights are new.",
                    expected="a layer or model with the weights that it should have",
                    fix="Train it first and add the trained layer, or leave it in the stitched model: "
                    "print(graph.plan()) says why it is not.",
                )
    return found


class _Builder:
    def __init__(
        self,
        spec: GraphSpec,
        wiring: Wiring,
        blueprints: Mapping[str, Blueprint],
        flags: Flags,
        existing: Mapping[str, keras.Layer] | None = None,
    ):
        self.spec, self.wiring, self.blueprints, self.flags = spec, wiring, blueprints, flags
        self.existing = existing or {}
        taken = [*wiring.order, *(port.name for port in wiring.inputs), *(out.port.name for out in wiring.outputs)]
        self.names = Names([*taken, *self.existing])
        self.layers: dict[str, keras.Layer] = {}
        self.inference = inference.may_start_training(self._all_layers())
        self.feeding = self._owners_that_feed()
        self.inputs = {port.name: keras.Input(port.shape, dtype=port.dtype, name=port.name) for port in wiring.inputs}
        self.tensors: dict[Tap, Any] = {Tap(None, name): tensor for name, tensor in self.inputs.items()}

    def run(self, name: str) -> keras.Model:
        for node in self.wiring.order:
            self._add_node(self.spec.submodel(node))
        outputs = {output.port.name: self._output(output) for output in self.wiring.outputs}
        given = outputs if len(outputs) > 1 else next(iter(outputs.values()))
        model = keras.Model(list(self.inputs.values()), given, name=name)
        named_targets.refuse_lists(model, list(outputs))
        for owner, layer in self.layers.items():
            if owner not in self.existing:
                _set_flags(layer, self.flags[owner], is_layer=self.spec.submodel(owner).is_layer)
        return model

    def _all_layers(self) -> Iterator[keras.Layer]:
        for owner in dict.fromkeys(self.spec.submodel(node).owner for node in self.wiring.order):
            yield self.existing[owner] if owner in self.existing else self.blueprints[owner].peek()
        for feed in (feed for feeds in self.wiring.feeds.values() for feed in feeds):
            if feed.merge.kind == "layer":
                yield merge_layers.merge_layer(feed.merge, None, "float32")

    def _owners_that_feed(self) -> set[str]:
        """The owners of the weights of all submodels whose outputs some layer takes."""
        taps = [tap for feeds in self.wiring.feeds.values() for feed in feeds for tap in feed.taps]
        # What takes a part of an output is a layer behind it, too.
        taps += [output.tap for output in self.wiring.outputs if output.tap.part]
        nodes = {tap.node for tap in taps if not tap.merged}
        return {submodel.owner for submodel in self.spec.submodels if submodel.name in nodes}

    def _add_node(self, submodel: Submodel) -> None:
        fed = [self._fed(feed) for feed in self.wiring.feeds[submodel.name]]
        layer = self._layer(submodel)
        # A bare layer with several inputs has them as arguments, a model as a list.
        try:
            arguments = fed if submodel.is_layer else [_one_or_list(fed)]
            results = _listed(inference.called(layer, *arguments, inference=self.inference))
        except Exception as error:
            arriving = " and ".join(port_text(submodel.name, feed.port) for feed in self.wiring.feeds[submodel.name])
            raise StitchError(f"Submodel '{submodel.name}' cannot take {arriving}: {reason(error)}") from error
        if submodel.is_layer and _makes_mask(layer) and submodel.owner in self.feeding:
            results = [merge_layers.without_mask(tensor, self.names, f"{submodel.name}_unmask") for tensor in results]
        for port, tensor in zip(self.wiring.node_outputs[submodel.name], results, strict=True):
            self.tensors[Tap(submodel.name, port.name)] = tensor

    def _layer(self, submodel: Submodel) -> keras.Layer:
        owner = submodel.owner
        if owner in self.existing:
            self.layers[owner] = self.existing[owner]
        if owner not in self.layers:
            blueprint = self.blueprints[owner]
            layer = blueprint.take()
            if not self.spec.submodel(owner).is_layer:
                layer = _functional(layer, blueprint, owner, stop_masks=owner in self.feeding)
            self.layers[owner] = layer
        return self.layers[owner]

    def _fed(self, feed: Feed) -> Any:
        arrived = Tap(feed.node, feed.port.name, merged=True)
        if arrived not in self.tensors:
            tensors = [self._tapped(tap) for tap in feed.taps]
            base = feed.node if len(self.wiring.feeds[feed.node]) == 1 else f"{feed.node}_{clean(feed.port.name)}"
            merged = len(tensors) > 1
            self.tensors[arrived] = merge_layers.merge(feed, tensors, self.names, base) if merged else tensors[0]
        return self.tensors[arrived]

    def _tapped(self, tap: Tap) -> Any:
        if tap not in self.tensors:
            # What is merged for a submodel may be taken by one that comes before it.
            whole = self._fed(self.wiring.feed_of(tap)) if tap.merged else self.tensors[Tap(tap.node, tap.port)]
            several = tap.node is not None and len(self.wiring.node_outputs[tap.node]) > 1
            base = f"{tap.node}_{clean(tap.port)}" if several else tap.node or tap.port
            self.tensors[tap] = merge_layers.take_part(whole, tap.part, self.names, f"{base}_part")
        return self.tensors[tap]

    def _output(self, output: GraphOutput) -> Any:
        """The tensor of a graph output, made by a layer of the output's name, as losses by name need."""
        tensor = self._tapped(output.tap)
        name = output.port.name
        if name in self.layers:
            return tensor
        if name in self.inputs:  # what the dataloader delivers under that name is passed on
            name = self.names.new(f"{name}_output")
        return keras.layers.Identity(name=name, dtype=merge_layers.float_policy(str(tensor.dtype)))(tensor)


def _functional(
    model: keras.Model, blueprint: Blueprint, name: str, *, stop_masks: bool = False, to_keep: bool = True
) -> keras.Model:
    """The model under another name: lists of tensors in and out, weight paths unique, masks stopped.

    A model that is to be kept, and is all that already, is only given the name.
    """
    paths = [weight.path for weight in model.weights]
    if len(set(paths)) < len(paths):
        with in_registry(blueprint.custom_objects):
            model = clone(model, f"Submodel '{name}'")
    outputs = list(model.outputs)
    if stop_masks and any(_makes_mask(layer) for _, layer in ports.leaves(model)):
        inner = Names(layer.name for layer in model.layers)
        outputs = [merge_layers.without_mask(tensor, inner) for tensor in outputs]
    taken, given = _one_or_list(list(model.inputs)), _one_or_list(outputs)
    if to_keep and _is_plain(model, taken, given):
        model.name = name
        return model
    return keras.Model(taken, given, name=name)


def _is_plain(model: keras.Model, inputs: Any, outputs: Any) -> bool:
    """Whether a model would not differ from the one made of its tensors, which costs a tenth of loading it."""
    if type(model).__name__ != "Functional" or not model.trainable:
        return False
    pairs = ((model.input, inputs), (model.output, outputs))
    return all(type(own) is type(one) and _same(_listed(own), _listed(one)) for own, one in pairs)


def _same(ones: list[Any], others: list[Any]) -> bool:
    return len(ones) == len(others) and all(one is other for one, other in zip(ones, others, strict=True))


def _makes_mask(layer: keras.Layer) -> bool:
    if isinstance(layer, keras.layers.Masking) or getattr(layer, "mask_zero", False):
        return True
    custom = not type(layer).__module__.startswith("keras.")
    return custom and bool(layer.supports_masking) and "compute_mask" in vars(type(layer))


def _set_flags(layer: keras.Layer, flags: Mapping[str, bool], *, is_layer: bool) -> None:
    if is_layer:
        if layer.trainable != flags[layer.name]:
            layer.trainable = flags[layer.name]
    elif not any(flags.values()) and flags:
        layer.trainable = False
    else:
        ports.set_flags(layer, flags)


def _asked(layer: keras.Layer, tensors: list[Any], submodel: Submodel, arriving: Sequence[Port]) -> Port:
    shapes = " and ".join(f"{port.shape} {port.dtype}" for port in arriving)
    what = f"Layer '{submodel.name}' ({type(layer).__name__}) cannot take {shapes}"
    try:
        result = layer(*tensors)
    except Exception as error:
        fix = None
        if len(tensors) == 1 and "list" in str(error):
            fix = (
                "A layer that merges belongs in the connection: "
                f"graph.connect([...], target, merge=keras.layers.{type(layer).__name__}(...))."
            )
        raise StitchError(f"{what}: {reason(error)}", fix=fix) from error
    if isinstance(result, (list, tuple, dict)):
        raise StitchError(
            f"Layer '{submodel.name}' ({type(layer).__name__}) makes several tensors.",
            expected="a layer with one output",
            fix="Wrap it in a keras.Model, whose outputs become ports.",
        )
    return _port("output", result)


def _port(name: str, tensor: Any) -> Port:
    return Port(name, tuple(tensor.shape[1:]), str(tensor.dtype))


def _tensor(port: Port) -> keras.KerasTensor:
    return keras.KerasTensor((None, *port.row), dtype=port.dtype or "float32")


def _one_or_list(tensors: list[Any]) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors


def _listed(tensors: Any) -> list[Any]:
    return list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
