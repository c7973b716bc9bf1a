"""A placed graph run here: the packed models, then the model that remains on what they deliver."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from keras_stitch.models import ports
from keras_stitch.models.sample_rows import Bound
from keras_stitch.placement.cut_into_stages import Stages

Arrays = dict[str, np.ndarray[Any, Any]]
Runs = Callable[[list[np.ndarray[Any, Any]]], list[np.ndarray[Any, Any]]]


class Packed(Protocol):
    """What is asked of whoever holds the models that run in the dataloader."""

    @property
    def models(self) -> Mapping[str, keras.Model]:
        """The Keras models among them, by step."""

    def write(self, directory: Path) -> None:
        """Write all of them into a directory."""

    def runner(self, directory: Path) -> Callable[[Mapping[str, Any]], Arrays]:
        """A function from graph inputs to the inputs of the final model, run by what was written."""

    def alone(self, owner: str) -> Runs:
        """A submodel that is no Keras model, loaded from its source: arrays in the order of its ports."""

    def last(self, directory: Path) -> Runs:
        """The same for the last submodel, loaded from the directory that it was written into."""


class Whole:
    """All stages of a graph, one after another.

    Args:
        stages: The graph.
        model: The Keras model that remains, or ``None``.
        packed: The models that run in the dataloader, if any do.
        directory: Where they were written.
    """

    def __init__(self, stages: Stages, model: keras.Model | None, packed: Packed | None, directory: Path | None):
        self.stages, self.model, self.packed = stages, model, packed
        self._runner = packed.runner(directory) if packed is not None and directory is not None else None
        self._last = packed.alone(stages.last) if packed is not None and stages.last is not None else None

    def features(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> Arrays:
        """What the final model takes, by its inputs, from arrays by graph input."""
        return dict(inputs) if self._runner is None else self._runner(inputs)

    def predict_last(self, features: Arrays, runs: Runs | None = None) -> Arrays:
        """What the last submodel, which is no Keras model, predicts, by graph output."""
        assert self._last is not None
        made = (runs or self._last)([features[port.name] for port in self.stages.inputs])
        return {output.port.name: made[0] for output in self.stages.whole.outputs}

    def last_called(self, batch: Sequence[Any], training: bool = False) -> np.ndarray[Any, Any]:
        """The last submodel, called as a Keras model is, with what the dataloader delivers."""
        assert self._last is not None
        return self._last(list(batch))[0]

    def __call__(self, batch: Sequence[Any], training: bool = False) -> Any:
        """Predict a batch that has the graph inputs in their order, as a Keras model is called."""
        if self._runner is None:
            assert self.model is not None
            return self.model(list(batch), training=training)
        named = dict(zip((port.name for port in self.stages.whole.inputs), batch, strict=True))
        features = self.features(named)
        if self.model is None:
            return self.predict_last(features)
        return self.model([features[port.name] for port in self.stages.inputs], training=training)

    def bounds(self) -> dict[str, Bound]:
        """For the graph inputs that feed an Embedding or a lookup of words, in whatever stage: what these know."""
        found: dict[str, Bound] = {}
        known = {port.name for port in self.stages.whole.inputs}

        def add(model: keras.Model, takes: Mapping[str, Any]) -> None:
            bounds: dict[str, Bound] = {**ports.embedding_bounds(model), **ports.vocabularies(model)}
            for name, bound in bounds.items():
                source = takes.get(name)
                if isinstance(source, str) and source in known:
                    found[source] = _both(bound, found.get(source, bound))

        if self.model is not None:
            add(self.model, self.stages.delivered or {name: name for name in known})
        for step in self.stages.steps:
            if self.packed is not None and step.name in self.packed.models:
                add(self.packed.models[step.name], step.takes)
        return found


def _both(one: Bound, other: Bound) -> Bound:
    """What two layers know, that take the same input."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return tuple(word for word in one if word in other) or one
    return other if isinstance(one, tuple) else one if isinstance(other, tuple) else min(one, other)
