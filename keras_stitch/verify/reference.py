"""What a graph has to predict: its submodels run one after another, each alone, with NumPy arrays in between.

Nothing of ``build`` or ``merge_layers`` takes part, so that a mistake there cannot hide here. Every submodel is loaded
from its source once more. Keras masks cross from one to the next only where the graph passes them on: they are taken
off what a submodel makes, and given to the next one along with its array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_stitch import keras_private
from keras_stitch.errors import StitchError, reason
from keras_stitch.graphs.merges import KINDS, merge_arrays, options_of
from keras_stitch.graphs.spec import Feed, GraphSpec, Submodel, Tap, Wiring
from keras_stitch.models import ports
from keras_stitch.models.changed_layers import change_alike, copy_weights, same_weights
from keras_stitch.models.custom_objects import in_registry
from keras_stitch.models.inference import called
from keras_stitch.models.layer_config import layer_from_config
from keras_stitch.verify.predict_program import BATCH, plain
from keras_stitch.verify.submodel_sources import SubmodelSources

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]


class Reference:
    """The submodels of a checked graph, each on its own.

    Args:
        spec: The graph.
        wiring: The same graph, checked.
        sources: What the submodels are made of.
        stitched: The models that were built of the graph. Layers that had no weights borrow theirs, which were drawn
            when these were built.
        merges: What the layers among them are called that merge for ports of submodels.
        trained: Whether submodels take their weights from them, too, where these differ from the sources'.
        foreign: For every submodel that is no Keras model and owns its weights, what loads it: a function that takes
            and gives arrays in the order of its ports.
        progress: Called with a few words at every submodel.

    Attributes:
        weights: For each submodel that ran, ``"of the source"``, ``"trained"`` or ``"new"``.
    """

    def __init__(
        self,
        spec: GraphSpec,
        wiring: Wiring,
        sources: SubmodelSources,
        stitched: Iterable[keras.Model],
        *,
        merges: Mapping[tuple[str, str], str] | None = None,
        trained: bool = False,
        foreign: Mapping[str, Callable[[], Callable[[list[Array]], list[Array]]]] | None = None,
        progress: Callable[[str], None] | None = None,
    ):
        self._spec, self._wiring, self._sources = spec, wiring, sources
        self._stitched = {layer.name: model for model in stitched for layer in model.layers}
        self._merges, self._trained, self._foreign = merges or {}, trained, foreign or {}
        self._step = progress or (lambda _: None)
        self._runs: dict[str, Callable[[list[Array]], list[Any]]] = {}
        self.weights: dict[str, str] = {}

    def predict(self, inputs: Mapping[str, Array]) -> Arrays:
        """Run the submodels: from graph inputs to graph outputs, arrays of shape ``(rows, ...)``.

        Raises:
            StitchError: If a submodel or a merge refuses what arrives.
        """
        tensors = {Tap(None, name): Masked(array) for name, array in inputs.items()}
        for node in self._wiring.order:
            arriving = [self._arriving(feed, tensors) for feed in self._wiring.feeds[node]]
            made = self._run(self._spec.submodel(node), arriving)
            for port, made_there in zip(self._wiring.node_outputs[node], made, strict=True):
                tensors[Tap(node, port.name)] = made_there
        return {output.port.name: self._tapped(output.tap, tensors).array for output in self._wiring.outputs}

    # -- connections: NumPy only -----------------------------------------------

    def _tapped(self, tap: Tap, tensors: dict[Tap, Masked]) -> Masked:
        found = self._arriving(self._wiring.feed_of(tap), tensors) if tap.merged else tensors[Tap(tap.node, tap.port)]
        for span in tap.part:
            found = Masked(found.array[span.index])
        return found

    def _arriving(self, feed: Feed, tensors: dict[Tap, Masked]) -> Masked:
        arrived = Tap(feed.node, feed.port.name, merged=True)
        if arrived not in tensors:
            passing = feed.masks or (False,) * len(feed.taps)
            taken = [self._tapped(tap, tensors) for tap in feed.taps]
            taken = [one if passes else Masked(one.array) for one, passes in zip(taken, passing, strict=True)]
            tensors[arrived] = taken[0] if len(taken) == 1 else self._merged(feed, taken)
        return tensors[arrived]

    def _merged(self, feed: Feed, taken: list[Masked]) -> Masked:
        arrays, masks = [one.array for one in taken], [one.mask for one in taken]
        try:
            if feed.merge.kind != "layer":
                array = merge_arrays(feed, arrays)
                if all(mask is None for mask in masks):
                    return Masked(array)
                rule = getattr(keras.layers, KINDS[feed.merge.kind].layer)(**options_of(feed.merge))
                tensors = [keras.ops.convert_to_tensor(one) for one in arrays]
                return Masked(array, _plain_mask(rule.compute_mask(tensors, masks)))
            assert feed.merge.layer is not None
            layer = layer_from_config(feed.merge.layer, self._sources.custom_objects())
            called(layer, [array[:1] for array in arrays])
            if layer.weights:  # new ones, which the stitched model drew
                stitched = self._stitched[self._spec.submodel(feed.node).owner]
                copy_weights(stitched.get_layer(self._merges[feed.node, feed.port.name]), layer)
            return _in_batches(lambda batch: [called(layer, _tensors(batch))], taken)[0]
        except Exception as error:
            raise StitchError(f"What feeds '{feed.node}.{feed.port.name}' cannot be merged: {reason(error)}") from error

    # -- submodels -------------------------------------------------------------

    def _run(self, submodel: Submodel, arriving: list[Masked]) -> list[Masked]:
        owner = submodel.share or submodel.name
        self._step(f"running '{submodel.name}' by itself")
        with in_registry(self._sources.blueprints[owner].custom_objects if submodel.is_keras else {}):
            try:
                if owner not in self._runs:
                    self._runs[owner] = self._load(submodel, owner, [one.array[:1] for one in arriving])
                if not submodel.is_keras:
                    return _in_batches(lambda batch: self._runs[owner]([one.array for one in batch]), arriving)
                return _in_batches(lambda batch: self._runs[owner](_tensors(batch)), arriving)
            except StitchError:
                raise
            except Exception as error:
                shapes = " and ".join(f"{one.array.shape} {one.array.dtype}" for one in arriving)
                raise StitchError(
                    f"Submodel '{submodel.name}', run by itself, cannot take {shapes}: {reason(error)}"
                ) from error

    def _load(self, submodel: Submodel, owner: str, rows: Sequence[Array]) -> Callable[[list[Array]], list[Any]]:
        if not submodel.is_keras:
            self.weights[owner] = "of the source"
            return self._foreign[owner]()
        return self._layer(owner, rows) if submodel.is_layer else self._model(owner)

    def _model(self, owner: str) -> Callable[[list[Array]], list[Any]]:
        """A saved model as its own Keras model: called in the structure that it was saved with."""
        model = self._sources.blueprints[owner].take_reference()
        self._take_weights(owner, dict(_leaves(model)))
        structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
        return lambda batch: _listed(model(keras.tree.pack_sequence_as(structure, batch), training=False))

    def _layer(self, owner: str, rows: Sequence[Array]) -> Callable[[list[Array]], list[Any]]:
        """A bare layer; one that has no weights in its source takes those that the stitched model drew."""
        layer = self._sources.blueprints[owner].take()
        called(layer, *rows)
        if self._spec.submodel(owner).source.draws_weights:
            held = self._stitched[owner].get_layer(owner)
            change_alike(layer, held)
            copy_weights(held, layer)
            self.weights[owner] = ("trained" if self._trained else "new") if layer.weights else "of the source"
        else:
            self._take_weights(owner, {"": layer})
        return lambda batch: _listed(called(layer, *batch))

    def _take_weights(self, owner: str, own: Mapping[str, keras.Layer]) -> None:
        """Copy the stitched model's weights into a submodel, layer by layer, by path, where they were trained."""
        self.weights[owner] = "of the source"
        if not self._trained:
            return
        held = self._stitched[owner].get_layer(owner)
        theirs = dict(_leaves(held)) if "" not in own else {"": held}
        for path in own.keys() & theirs.keys():
            change_alike(own[path], theirs[path])
            if not same_weights(own[path], theirs[path]):
                copy_weights(theirs[path], own[path])
                self.weights[owner] = "trained"


def _leaves(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """The layers of a model with their paths, those of models that are called step by step as well."""
    for path, layer in ports.leaves(model, prefix):
        if isinstance(layer, keras.layers.TimeDistributed) and isinstance(layer.layer, keras.Model):
            yield from _leaves(layer.layer, f"{path}/")
        else:
            yield path, layer


@dataclass(frozen=True)
class Masked:
    """An array, and the Keras mask that goes along with it, if any."""

    array: Array
    mask: Array | None = None

    def rows(self, start: int, stop: int) -> Masked:
        """Some of its rows."""
        return Masked(self.array[start:stop], None if self.mask is None else self.mask[start:stop])


def _in_batches(run: Callable[[list[Masked]], list[Any]], given: Sequence[Masked]) -> list[Masked]:
    with keras_private.quiet_about_masks():
        batches = [
            [Masked(plain(value), _plain_mask(keras_private.mask_of(value))) for value in run(batch)]
            for start in range(0, len(given[0].array), BATCH)
            for batch in [[one.rows(start, start + BATCH) for one in given]]
        ]
    return [_joined(parts) for parts in zip(*batches, strict=True)]


def _joined(parts: Sequence[Masked]) -> Masked:
    masks = [part.mask for part in parts if part.mask is not None]
    return Masked(np.concatenate([part.array for part in parts]), np.concatenate(masks) if masks else None)


def _plain_mask(mask: Any) -> Array | None:
    return None if mask is None else plain(mask)


def _tensors(given: Sequence[Masked]) -> list[Any]:
    """What a Keras model or layer is called with; masks go along as Keras has them."""
    if all(one.mask is None for one in given):
        return [one.array for one in given]
    tensors = [keras.ops.convert_to_tensor(one.array) for one in given]
    for tensor, one in zip(tensors, given, strict=True):
        if one.mask is not None:
            keras_private.set_mask(tensor, keras.ops.convert_to_tensor(one.mask))
    return tensors


def _listed(result: Any) -> list[Any]:
    return list(keras.tree.flatten(result))
