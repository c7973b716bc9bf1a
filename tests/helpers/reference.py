"""What a random graph has to predict: its submodels run one after another, with NumPy in between.

Every file is loaded by Keras alone; nothing of ``keras_stitch.models.build`` takes part.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from functools import reduce
from pathlib import Path
from typing import Any

import keras
import numpy as np
import toy_models
from backends import BACKEND, as_array
from strategies import Case, Feed, Node, Ref
from toy_layers import LAYERS, make_layer, merge_layer
from toy_models import KINDS, TOKENS

import keras_stitch as ks

Arrays = dict[str, np.ndarray]


class World:
    """A case with its sources: files, and objects that the user holds."""

    def __init__(self, case: Case):
        self.case = case
        self.held: dict[str, Any] = {}
        self.foreign: set[str] = set()
        for node in case.nodes:
            if node.share is None and node.is_layer:
                self.held[node.name] = make_layer(node.kind, node.how, node.seed, node.arriving)
            elif node.share is None and node.how == "memory":
                self.held[node.name] = toy_models.in_memory(node.kind, node.seed)

    def source(self, node: Node) -> Path | keras.Layer:
        return self.held.get(node.name) or toy_models.saved(node.kind, node.seed, node.how)

    def graph(
        self,
        placed: Collection[str] = (),
        foreign: Mapping[str, Path] | None = None,
        beforehand: Collection[str] = (),
    ) -> ks.Graph:
        """The graph as a user would write it.

        Args:
            placed: The nodes that are asked to run in the dataloader.
            beforehand: The nodes that are asked to run in environments of their own.
            foreign: Kipoi directories that stand for nodes; no rule of freezing is given then, as they have no layers.
        """
        case = self.case
        self.foreign = set(foreign or ())
        graph = ks.Graph(case.name)
        for node in map(case.node, case.order):
            placement = "dataloader" if node.name in placed else None
            placement = "workflow" if node.name in beforehand else placement
            if node.share is not None:
                graph.share(node.name, of=node.share)
            elif foreign and node.name in foreign:
                graph.add(node.name, foreign[node.name], placement=placement)
            else:
                options = {"trainable": node.trainable, "outputs": node.inner, "placement": placement}
                graph.add(node.name, self.source(node), **options)
        targets: dict[str, list[str]] = {given.name: [] for given in case.inputs}
        for node in case.nodes:
            for port, feed in zip(node.ports, node.feeds, strict=True):
                target = node.name if port is None or len(node.ports) == 1 else f"{node.name}.{port}"
                if feed.sources:
                    merge = merge_layer(feed.layer) if feed.layer else feed.merge
                    options = {"axis": feed.axis, "axes": feed.axes, "normalize": feed.normalize}
                    graph.connect([ref.text for ref in feed.sources], target, merge=merge, **options)
                elif feed.name is not None and not feed.implicit:
                    targets[feed.name].append(target)
        for given in case.inputs:
            if given.explicit:
                graph.add_input(given.name, targets[given.name] or (), shape=given.shape)
        for name, ref in case.outputs:
            graph.add_output(name, ref.text)
        for verb, pattern, layers in case.rules if not foreign else ():
            getattr(graph, verb)(pattern, layers=layers)
        return graph

    def data(self) -> Arrays:
        """Random values for every graph input."""
        rng = np.random.default_rng(len(self.case.nodes))
        made = {}
        for given in self.case.inputs:
            shape = (self.case.batch, *given.actual)
            whole = given.dtype == "int32"
            made[given.name] = rng.integers(0, TOKENS, shape, "int32") if whole else rng.normal(0, 1, shape)
        return {name: value if value.dtype == "int32" else value.astype("float32") for name, value in made.items()}

    # -- what is expected ----------------------------------------------------

    def input_names(self) -> list[str]:
        """Graph inputs in the order in which the submodels that take them were added."""
        explicit = {given.name for given in self.case.inputs if given.explicit}
        names: dict[str, None] = {}
        for node in map(self.case.node, self.case.order):
            for feed in node.feeds:
                if feed.name is not None:
                    names[feed.name] = None
                for ref in feed.sources:
                    if ref.tensor.of[0] == "input" and ref.tensor.of[1] in explicit:
                        names[ref.tensor.of[1]] = None
        return list(names)

    def expected(self, data: Arrays, built: keras.Model) -> Arrays:
        """The outputs by name; ``built`` only lends the weights that untrained layers drew."""
        tensors: dict[tuple, np.ndarray] = {("input", name): value for name, value in data.items()}
        self.masks: dict[tuple, np.ndarray] = {}
        for node in self.case.nodes:
            arriving = [self.arriving(feed, tensors) for feed in node.feeds]
            for index, value in enumerate(arriving):
                tensors["port", node.name, index] = value
            if self.case.owner(node).name not in self.foreign:  # else it takes no masks
                masks = [self.mask(feed) for feed in node.feeds]
                arriving = [with_mask(value, mask) for value, mask in zip(arriving, masks, strict=True)]
            for index, value in enumerate(self.run(node, arriving, built)):
                tensors["output", node.name, index] = as_array(value)
                if self.case.owner(node).is_layer and (mask := keras_mask(value)) is not None:
                    self.masks["output", node.name, index] = as_array(mask)
        if self.case.outputs:
            return {name: part(tensors[ref.tensor.of], ref) for name, ref in self.case.outputs}
        return {name: tensors[of] for name, of in self.free_outputs().items()}

    def free_outputs(self) -> dict[str, tuple]:
        feeds = [feed for node in self.case.nodes for feed in node.feeds]
        used = {self.origin(ref) for feed in feeds for ref in feed.sources}
        return {
            node.name if len(node.outputs) == 1 else f"{node.name}_{port}": ("output", node.name, index)
            for node in map(self.case.node, self.case.order)
            for index, (port, _) in enumerate(node.outputs)
            if ("output", node.name, index) not in used
        }

    def origin(self, ref: Ref) -> tuple:
        """The tensor itself, where a source names the port that it feeds alone and whole."""
        of = ref.tensor.of
        if of[0] == "port":
            feed = self.case.node(of[1]).feeds[of[2]]
            if len(feed.sources) == 1 and feed.sources[0].part is None:
                return self.origin(feed.sources[0])
        return of

    def arriving(self, feed: Feed, tensors: dict[tuple, np.ndarray]) -> np.ndarray:
        if feed.name is not None:
            return tensors["input", feed.name]
        values = [part(tensors[ref.tensor.of], ref) for ref in feed.sources]
        return values[0] if len(values) == 1 else merged(feed, values)

    def mask(self, feed: Feed) -> np.ndarray | None:
        """The mask that arrives at a port: bare layers pass theirs on, models do not."""
        of = [ref.tensor.of if ref.part is None else None for ref in feed.sources]
        masks = [self.masks.get(self.origin(ref)) if one else None for ref, one in zip(feed.sources, of, strict=True)]
        if all(mask is None for mask in masks) or feed.layer:
            return None
        if len(masks) == 1:
            return masks[0]
        whole = all(mask is not None for mask in masks)
        if feed.merge in ("add", "average", "subtract") and whole:
            return reduce(np.logical_or, masks)
        if feed.merge == "concatenate":
            rank = len(feed.sources[0].tensor.actual) + 1
            steps = [ref.tensor.actual[0] if ref.part is None else part_steps(ref) for ref in feed.sources]
            masks = [np.ones((self.case.batch, n), bool) if m is None else m for m, n in zip(masks, steps, strict=True)]
            return reduce(np.logical_or, masks) if feed.axis in (-1, rank - 1) else np.concatenate(masks, 1)
        return None

    def run(self, node: Node, arriving: list[np.ndarray], built: keras.Model) -> list[np.ndarray]:
        owner = self.case.owner(node)
        if owner.is_layer:
            layer = self.held[owner.name]
            if owner.how == "layer":
                layer = LAYERS[owner.kind].make()
                layer(*arriving)
                layer.set_weights(built.get_layer(owner.name).get_weights())
            return [layer(*arriving)]
        model = self.alone(owner)
        if owner.inner is not None:
            return [run_inner(model, layer, arriving) for layer in owner.inner]
        return run_model(model, KINDS[owner.kind], arriving)

    def alone(self, owner: Node) -> keras.Model:
        if owner.name in self.held:
            return self.held[owner.name]
        return toy_models.alone(owner.kind, owner.seed, owner.how)

    def flags(self) -> dict[str, dict[str, bool]]:
        """Whether each layer of each submodel trains."""
        found: dict[str, dict[str, bool]] = {}
        saved: dict[str, dict[str, bool]] = {}
        for node in self.case.nodes:
            if node.share is not None:
                continue
            if node.is_layer:
                saved[node.name] = {node.name: True}
            else:
                saved[node.name] = {p: layer.trainable for p, layer in toy_models.leaves(self.alone(node)).items()}
            start = saved[node.name].items()
            found[node.name] = {p: flag if node.trainable is None else node.trainable for p, flag in start}
        for verb, pattern, layers in self.case.rules:
            for node in self.case.nodes:
                if not fnmatchcase(node.name, pattern):
                    continue
                owner = self.case.owner(node).name
                for path in found[owner]:
                    if layers is None or any(fnmatchcase(text, layers) for text in (path, path.split("/")[-1])):
                        found[owner][path] = verb == "unfreeze" and saved[owner][path]
        return found


def part_steps(ref: Ref) -> int:
    start, stop = ref.part[0]
    return stop - start


def with_mask(value: np.ndarray, mask: np.ndarray | None) -> Any:
    if mask is None:
        return value
    tensor = keras.ops.convert_to_tensor(value)
    keras.src.backend.set_keras_mask(tensor, keras.ops.convert_to_tensor(mask))
    return tensor


def keras_mask(tensor: Any) -> Any:
    return keras.src.backend.get_keras_mask(tensor)


def part(value: np.ndarray, ref: Ref) -> np.ndarray:
    return value if ref.part is None else value[(slice(None), *(slice(start, stop) for start, stop in ref.part))]


def merged(feed: Feed, values: list[np.ndarray]) -> np.ndarray:
    kind = feed.layer.lower() if feed.layer else feed.merge
    if kind == "concatenate":
        return np.concatenate(values, feed.axis)
    if kind == "stack":
        return np.stack(values, feed.axis)
    if kind == "average":
        return reduce(np.add, values) / np.float32(len(values))
    if kind == "dot":
        return dot(feed, *values)
    if kind == "abs_difference":
        return np.abs(np.subtract(*values))
    return reduce(getattr(np, kind), values)


def dot(feed: Feed, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    axes = feed.axes if isinstance(feed.axes, tuple) else (feed.axes, feed.axes)
    if feed.normalize:
        one, other = (
            value / np.maximum(np.linalg.norm(value, axis=axis, keepdims=True), 1e-7)
            for value, axis in zip((one, other), axes, strict=True)
        )
    rows = [np.tensordot(a, b, ([axis - (axis > 0) for axis in axes[:1]], [axis - (axis > 0) for axis in axes[1:]]))
            for a, b in zip(one, other, strict=True)]  # fmt: skip
    return np.stack(rows) if rows[0].ndim else np.stack(rows)[:, None]


def run_model(model: keras.Model, kind: toy_models.Kind, arriving: list[np.ndarray]) -> list[np.ndarray]:
    """One model by itself: what it needs goes in as arrays, arrays come out."""
    given: Any = arriving[0] if len(arriving) == 1 else arriving
    if isinstance(getattr(model, "input", None), dict):
        given = {name: value for (name, _, _), value in zip(kind.inputs, arriving, strict=True)}
    results = model(given, training=False)
    if isinstance(results, dict):
        results = [results[name] for name, _ in kind.outputs]
    return [as_array(result) for result in (results if isinstance(results, (list, tuple)) else [results])]


def run_inner(model: keras.Model, layer: str, arriving: list[np.ndarray]) -> np.ndarray:
    """The output of an inner layer; the toy models have it on a chain from the input, or a nested model there."""
    value: Any = arriving[0]
    if isinstance(model.get_layer(layer), keras.Model):
        return as_array(model.get_layer(layer)(value))
    for candidate in model.layers:
        if not isinstance(candidate, keras.layers.InputLayer):
            value = candidate(value)
        if candidate.name == layer:
            return as_array(value)
    raise AssertionError(layer)


def by_name(predicted: Any, model: keras.Model) -> Arrays:
    """Predictions of a stitched model by output name."""
    values = predicted if isinstance(predicted, dict) else {model.output_names[0]: predicted}
    return {name: as_array(value) for name, value in values.items()}


def assert_equal(got: Arrays, want: Arrays) -> None:
    """The same outputs in the same order, equal as DESIGN.md defines it."""
    # On PyTorch, Keras sorts the dict that a model gives.
    order = sorted if BACKEND == "torch" else list
    assert order(got) == order(want)
    for name, value in want.items():
        assert got[name].shape == value.shape, name
        error = np.max(np.abs(got[name].astype("float64") - value), initial=0)
        assert error <= 1e-5 * max(1, np.max(np.abs(value), initial=0)), f"{name} is off by {error}"
