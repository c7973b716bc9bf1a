"""A checked graph to one plain ``keras.Model``: each submodel one layer, merges and parts plain layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras

from keras_stitch import keras_private
from keras_stitch.errors import StitchError, reason, within_recursion_limit
from keras_stitch.graphs.freezing import Flags
from keras_stitch.graphs.mask_borders import whole
from keras_stitch.graphs.names import Names, clean
from keras_stitch.graphs.spec import Feed, GraphOutput, GraphSpec, Submodel, Tap, Wiring, port_text
from keras_stitch.models import inference, mask_passage, merge_layers, named_targets, one_of_a_name, ports
from keras_stitch.models.clone import clone
from keras_stitch.models.custom_objects import in_registry
from keras_stitch.models.load_keras import Blueprint
from keras_stitch.placement.cut_into_stages import Stages


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
        owners = {spec.submodel(name).owner for name in step.submodels}
        for layer in found[step.name].layers:
            if layer.name not in owners and layer.weights:
                raise StitchError(
                    f"The merge '{layer.name}' runs in the dataloader, where nothing is trained, and its weights are "
                    "new.",
                    expected="a merge without weights",
                    fix="Wrap it in a keras.Model with several inputs, train that, and add it as a submodel.",
                )
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
        self.names = Names([*merge_layers.taken_names(wiring), *self.existing])
        self.merges = merge_layers.merge_names(wiring, self.names)
        self.layers: dict[str, keras.Layer] = {}
        self.inference = inference.may_start_training(self._all_layers())
        self.feeding = self._owners_that_feed()
        self.unmasking = self._owners_that_pass_masks()
        self.inputs = {port.name: keras.Input(port.shape, dtype=port.dtype, name=port.name) for port in wiring.inputs}
        self.tensors: dict[Tap, Any] = {Tap(None, name): tensor for name, tensor in self.inputs.items()}
        self.unmasked: dict[Tap, Any] = {}

    def run(self, name: str) -> keras.Model:
        for node in self.wiring.order:
            self._add_node(self.spec.submodel(node))
        outputs = {output.port.name: self._output(output) for output in self.wiring.outputs}
        given = outputs if len(outputs) > 1 else next(iter(outputs.values()))
        with within_recursion_limit(f"Graph '{name}'"):
            model = keras.Model(list(self.inputs.values()), given, name=name)
        one_of_a_name.check_together(model.layers)
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

    def _owners_that_pass_masks(self) -> set[str]:
        """The owners whose masks go on at some connections, or come in: they are stopped behind the submodel."""
        feeds = [feed for feeds in self.wiring.feeds.values() for feed in feeds if feed.masks]
        passing = [tap.node for feed in feeds for tap, passes in zip(feed.taps, feed.masks, strict=True) if passes]
        found = {*passing, *(feed.node for feed in feeds)}
        return {submodel.owner for submodel in self.spec.submodels if submodel.name in found}

    def _add_node(self, submodel: Submodel) -> None:
        fed = [self._fed(feed) for feed in self.wiring.feeds[submodel.name]]
        layer = self._layer(submodel)
        # A bare layer with several inputs has them as arguments, a model as a list.
        try:
            arguments = fed if submodel.is_layer else [one_or_list(fed)]
            with keras_private.quiet_about_masks():
                results = listed(inference.called(layer, *arguments, inference=self.inference))
        except Exception as error:
            arriving = " and ".join(port_text(submodel.name, feed.port) for feed in self.wiring.feeds[submodel.name])
            raise StitchError(f"Submodel '{submodel.name}' cannot take {arriving}: {reason(error)}") from error
        for port, tensor in zip(self.wiring.node_outputs[submodel.name], results, strict=True):
            # When the model runs, masks go along with the numbers. One that Keras knew already here would become
            # operations in the graph, which ``.h5`` cannot hold.
            keras_private.set_mask(tensor, None)
            self.tensors[Tap(submodel.name, port.name)] = tensor

    def _layer(self, submodel: Submodel) -> keras.Layer:
        owner = submodel.owner
        if owner in self.existing:
            self.layers[owner] = self.existing[owner]
        if owner not in self.layers:
            blueprint = self.blueprints[owner]
            layer = blueprint.take()
            if not self.spec.submodel(owner).is_layer:
                stop_masks = owner in self.feeding and self._stops_masks(owner)
                layer = named(layer, blueprint, owner, stop_masks=stop_masks)
            self.layers[owner] = layer
        return self.layers[owner]

    def _fed(self, feed: Feed) -> Any:
        arrived = Tap(feed.node, feed.port.name, merged=True)
        if arrived not in self.tensors:
            masks = feed.masks or (False,) * len(feed.taps)
            taps = zip(feed.taps, masks, strict=True)
            tensors = [self._tapped(tap) if passes else self._unmasked(tap) for tap, passes in taps]
            base = merge_layers.base_name(self.wiring, feed)
            name = self.merges.get((feed.node, feed.port.name), base)
            tensor = merge_layers.merge(feed, tensors, self.names, name) if len(tensors) > 1 else tensors[0]
            if feed.masks and mask_passage.takes_masks_off(self._layer(self.spec.submodel(feed.node))):
                tensor = merge_layers.copy_with_mask(tensor, self.names, f"{base}_copy")
            self.tensors[arrived] = tensor
        return self.tensors[arrived]

    def _tapped(self, tap: Tap) -> Any:
        if tap not in self.tensors:
            if tap.part:
                tensor = self._unmasked(whole(tap))
                self.tensors[tap] = merge_layers.take_part(tensor, tap.part, self.names, f"{self._base(tap)}_part")
            else:
                # What is merged for a submodel may be taken by one that comes before it.
                self.tensors[tap] = self._fed(self.wiring.feed_of(tap))
        return self.tensors[tap]

    def _unmasked(self, tap: Tap) -> Any:
        """A tensor without the mask that goes on with it elsewhere."""
        if tap not in self.wiring.masked or (tap.node is not None and not tap.merged and self._stops_masks(tap.node)):
            return self._tapped(tap)
        if tap not in self.unmasked:
            tensor = self._tapped(tap)
            self.unmasked[tap] = merge_layers.without_mask(tensor, self.names, f"{self._base(tap)}_unmask")
        return self.unmasked[tap]

    def _stops_masks(self, node: str) -> bool:
        """Whether the masks of a submodel are stopped within it."""
        submodel = self.spec.submodel(node)
        owner = submodel.owner
        return not (submodel.is_layer or owner in self.existing or owner in self.unmasking)

    def _base(self, tap: Tap) -> str:
        """What the names of layers start with that change a tensor."""
        several = tap.node is not None and len(self.wiring.node_outputs[tap.node]) > 1
        return f"{tap.node}_{clean(tap.port)}" if several else tap.node or tap.port

    def _output(self, output: GraphOutput) -> Any:
        """The tensor of a graph output, made by a layer of the output's name, as losses by name need."""
        tensor = self._tapped(output.tap)
        name = output.port.name
        if name in self.layers:
            return tensor
        if name in self.inputs:  # what the dataloader delivers under that name is passed on
            name = self.names.new(f"{name}_output")
        return keras.layers.Identity(name=name, dtype=merge_layers.float_policy(str(tensor.dtype)))(tensor)


def named(
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
    if stop_masks and mask_passage.makes_masks(model):
        inner = Names(layer.name for layer in model.layers)
        outputs = [merge_layers.without_mask(tensor, inner) for tensor in outputs]
    taken, given = one_or_list(list(model.inputs)), one_or_list(outputs)
    if to_keep and _is_plain(model, taken, given):
        model.name = name
        return model
    with within_recursion_limit(f"Submodel '{name}'"):
        return keras.Model(taken, given, name=name)


def _is_plain(model: keras.Model, inputs: Any, outputs: Any) -> bool:
    """Whether a model would not differ from the one made of its tensors, which costs a tenth of loading it."""
    if type(model).__name__ != "Functional" or not model.trainable:
        return False
    pairs = ((model.input, inputs), (model.output, outputs))
    return all(type(own) is type(one) and _same(listed(own), listed(one)) for own, one in pairs)


def _same(ones: list[Any], others: list[Any]) -> bool:
    return len(ones) == len(others) and all(one is other for one, other in zip(ones, others, strict=True))


def _set_flags(layer: keras.Layer, flags: Mapping[str, bool], *, is_layer: bool) -> None:
    if is_layer:
        if layer.trainable != flags[layer.name]:
            layer.trainable = flags[layer.name]
    elif not any(flags.values()) and flags:
        layer.trainable = False
    else:
        ports.set_flags(layer, flags)


def one_or_list(tensors: list[Any]) -> Any:
    """How a model takes its inputs: one as it is."""
    return tensors[0] if len(tensors) == 1 else tensors


def listed(tensors: Any) -> list[Any]:
    """What a layer or model gives, as a list."""
    return list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
