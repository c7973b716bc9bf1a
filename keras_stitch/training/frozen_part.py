"""Where a graph is cut for training: behind the frozen submodels at its start, which need to run only once."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import keras

from keras_stitch.errors import StitchError
from keras_stitch.graphs.names import Names
from keras_stitch.graphs.spec import Feed, GraphOutput, GraphSpec, Tap, Wiring
from keras_stitch.graphs.subgraph import cut, tensor_port
from keras_stitch.graphs.upstream import fed_by, merged_for, producers, upstream
from keras_stitch.keras_private import layers_within
from keras_stitch.models import merge_layers, ports

# How much of something random a layer does, by the names that Keras has for it.
_AMOUNTS = ("rate", "stddev", "dropout", "recurrent_dropout")
_NAMED = 6


@dataclass(frozen=True)
class Halves:
    """The two halves of a graph: one runs once, the other is trained.

    Attributes:
        frozen: The first half as a graph; its outputs are what crosses the cut.
        rest: The second half; its inputs are what crosses and graph inputs, its outputs those of the whole graph.
        crossing: For each input of the rest, the tensor of the whole graph.
    """

    frozen: Wiring
    rest: Wiring
    crossing: Mapping[str, Tap]


def halves(spec: GraphSpec, wiring: Wiring, model: keras.Model) -> Halves:
    """Cut a graph behind its frozen part.

    Frozen are submodels with nothing that training changes. What has no weights goes with what feeds it, unless it does
    something else in training, as dropout does. Merges belong to the submodel that they feed. With stages, the wiring
    is that of the Keras model, whose layers say what is frozen.

    Raises:
        StitchError: If nothing at the start of the graph is frozen, or nothing is left to train.
    """
    first = _frozen_part(spec, wiring, model)
    names = [submodel.name for submodel in spec.submodels]
    left = [node for node in wiring.order if node not in first]
    if not any(model.get_layer(owner).trainable_weights for owner in owners(spec, left)):
        raise StitchError(
            f"Nothing is left to train in graph '{spec.name}'.",
            expected="a submodel with weights that train, behind the frozen ones",
            received=f"{_listed(left)} without such weights" if left else "frozen submodels only",
            fix=f'Unfreeze some before building: graph.unfreeze("{wiring.order[-1]}").',
        )
    made = cut(wiring, left, wiring.outputs, f"{wiring.name}_rest")
    inputs = [port.name for port in wiring.inputs]
    taken = {*owners(spec, left), *inputs, *(output.port.name for output in wiring.outputs)}
    free = Names([*names, *taken, *made.takes])
    called = {
        name: free.new(f"{name}_features") if tap.node is not None and name in taken else name
        for name, tap in made.takes.items()
    }
    crossing = {called[name]: tap for name, tap in made.takes.items()}
    made_before = {name: tap for name, tap in crossing.items() if tap.node is not None}
    wanted = [GraphOutput(replace(tensor_port(wiring, tap), name=name), tap) for name, tap in made_before.items()]
    return Halves(cut(wiring, first, wanted, f"{wiring.name}_frozen").wiring, _renamed(made.wiring, called), crossing)


def owners(spec: GraphSpec, nodes: Collection[str]) -> list[str]:
    """The submodels whose weights some submodels use, each once."""
    return list(dict.fromkeys(spec.submodel(node).share or node for node in nodes))


def acting(layer: keras.Layer) -> list[str]:
    """The layers of a layer or model, by path, that do something else in training: dropout, noise, augmentation.

    Batch normalization counts where it is not frozen.
    """
    found = ports.leaves(layer) if isinstance(layer, keras.Model) else [(layer.name, layer)]
    return [path for path, leaf in found if any(map(_acts, layers_within(leaf)))]


def _acts(layer: keras.Layer) -> bool:
    """Whether a layer does something else in training, apart from what the layers in it do."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return bool(layer.trainable)
    if isinstance(layer, keras.layers.SpectralNormalization):
        return True
    amounts = [getattr(layer, name, None) for name in _AMOUNTS]
    if amounts := [amount for amount in amounts if isinstance(amount, int | float)]:
        return any(amounts)
    if any(isinstance(value, keras.random.SeedGenerator) for value in vars(layer).values()):
        return True
    # Keras' own layers take the flag for other ends, too; what a custom one does with it cannot be known. One that
    # holds others may only hand it on to them.
    custom = not type(layer).__module__.startswith("keras.")
    holds_others = next(layers_within(layer, include_self=False), None) is not None
    return custom and not holds_others and "training" in inspect.signature(layer.call).parameters


def _state(layer: keras.Layer) -> str:
    """``"frozen"``; ``"plain"`` without weights that training could change; or ``"trains"``."""
    inner = [one for one in layers_within(layer) if one.weights]
    if layer.trainable_weights or any(one.trainable and _acts(one) for one in inner):
        return "trains"
    frozen = not (layer.trainable and all(one.trainable for one in inner))
    if acting(layer) and not (frozen and inner):
        return "trains"
    return "frozen" if frozen else "plain"


def _frozen_part(spec: GraphSpec, wiring: Wiring, model: keras.Model) -> list[str]:
    """The submodels that run once, in order."""
    states = {owner: _state(model.get_layer(owner)) for owner in owners(spec, wiring.order)}
    state = {node: states[spec.submodel(node).share or node] for node in wiring.order}
    before = {node: set(fed_by(wiring, node)) for node in wiring.order}
    steady: list[str] = []
    behind: set[str] = set()  # a frozen one, or fed by one
    for node in wiring.order:
        fed_steadily = before[node] <= {*steady} and all(map(_merges_steadily, _fed(wiring, node)))
        if state[node] != "trains" and fed_steadily:
            steady.append(node)
            if state[node] == "frozen" or before[node] & behind:
                behind.add(node)
    if not behind:
        raise _nothing_frozen(spec, wiring, model, state, before)
    needed = upstream(wiring, behind)
    found = _with_their_masks(wiring, [node for node in steady if node in needed])
    if not behind & {*found}:
        raise StitchError(
            f"Graph '{spec.name}' cannot be cut behind {_listed(sorted(behind))}: masks go on from there to what "
            "trains, and a file of rows has none.",
            expected="a frozen submodel behind which masks stop",
            fix="Train the whole model, graph.build().",
        )
    return found


def _with_their_masks(wiring: Wiring, nodes: list[str]) -> list[str]:
    """The submodels whose masks do not go on to one that is not among them, or is fed by such a one."""
    while True:
        left = [node for node in wiring.order if node not in nodes]
        feeds = [feed for node in left for feed in wiring.feeds[node] if feed.masks]
        passing = [tap for feed in feeds for tap, passes in zip(feed.taps, feed.masks, strict=True) if passes]
        makers = {maker for tap in passing for maker in producers(wiring, tap)}
        staying = [node for node in nodes if node not in makers and not {*fed_by(wiring, node)} & {*left}]
        if staying == nodes:
            return nodes
        nodes = staying


def _fed(wiring: Wiring, node: str) -> Iterator[Feed]:
    """What is merged on the way to a submodel, for itself and for others whose input it takes."""
    for feed in wiring.feeds[node]:
        yield feed
        for tap in feed.taps:
            yield from merged_for(wiring, tap)


def _merges_steadily(feed: Feed) -> bool:
    merges_by_layer = feed.merge.kind == "layer" and len(feed.taps) > 1
    return not (merges_by_layer and acting(merge_layers.merge_layer(feed.merge, None, "float32")))


def _nothing_frozen(
    spec: GraphSpec, wiring: Wiring, model: keras.Model, state: Mapping[str, str], before: Mapping[str, Collection[str]]
) -> StitchError:
    first = [node for node in wiring.order if not before[node]]
    found = []
    for node in dict.fromkeys([*first, *(node for node in wiring.order if state[node] == "frozen")]):
        layer = model.get_layer(spec.submodel(node).share or node)
        if state[node] == "plain":
            found.append(f"'{node}' has no weights")
        elif state[node] == "frozen":
            found.append(f"'{node}' is frozen, but fed by {_listed(sorted(before[node])) or 'a random merge'}")
        elif layer.trainable_weights:
            count = len(layer.trainable_weights)
            found.append(f"'{node}' trains {count} of its {len(layer.weights)} weights")
        else:
            found.append(f"'{node}' does something else in training ({', '.join(acting(layer)[:_NAMED])})")
    training = [node for node in first if state[node] == "trains"] or first
    return StitchError(
        f"Nothing is frozen at the start of graph '{spec.name}'.",
        expected="a frozen submodel that is fed by graph inputs and frozen ones alone",
        received="; ".join(found[:_NAMED]),
        fix=f'Freeze what should not train: graph.freeze("{training[0]}"), and build the model after that.',
    )


def _renamed(wiring: Wiring, names: Mapping[str, str]) -> Wiring:
    """The same graph with other names for its inputs."""

    def tap_of(tap: Tap) -> Tap:
        return replace(tap, port=names[tap.port]) if tap.node is None else tap

    return replace(
        wiring,
        inputs=tuple(replace(port, name=names[port.name]) for port in wiring.inputs),
        outputs=tuple(replace(output, tap=tap_of(output.tap)) for output in wiring.outputs),
        feeds={
            node: tuple(replace(feed, taps=tuple(map(tap_of, feed.taps))) for feed in feeds)
            for node, feeds in wiring.feeds.items()
        },
    )


def _listed(names: Collection[str]) -> str:
    shown = [f"'{name}'" for name in list(names)[:_NAMED]]
    return " and ".join(shown) + (", ..." if len(names) > _NAMED else "")
