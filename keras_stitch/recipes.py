"""Graphs that people build every day, in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import keras

from keras_stitch.errors import StitchError
from keras_stitch.graph import Graph
from keras_stitch.models.merge_layers import MergeLike


def chain(*sources: Any, name: str = "chain") -> Graph:
    """Models one after another, each fed by the one before.

    Args:
        sources: Two or more, each as ``Graph.add`` takes them; called ``model1``, ``model2`` and so on.
        name: The graph's name.

    Example:
        >>> import keras, keras_stitch as ks
        >>> def dense(n, units): return keras.Sequential([keras.Input((n,)), keras.layers.Dense(units)])
        >>> ks.chain(dense(3, 4), dense(4, 1)).build().output_shape
        (None, 1)
    """
    graph = Graph(name)
    names = _add_all(graph, sources, "chain", least=1)
    for before, after in pairwise(names):
        graph.connect(before, after)
    return graph


def ensemble(
    *sources: Any,
    merge: MergeLike = "average",
    input: str = "input",
    output: str = "output",
    name: str = "ensemble",
    **options: Any,
) -> Graph:
    """Models on the same input, their outputs merged into one.

    Args:
        sources: Two or more models with one input and one output each; a dict gives them names.
        merge: How the outputs become one; ``average`` is the mean.
        input: The name of the shared graph input.
        output: The name of the graph output.
        name: The graph's name.
        options: Those of the merge, as ``Graph.connect`` takes them: ``axis=``, ``axes=``, ``normalize=``.

    Example:
        >>> import keras, keras_stitch as ks
        >>> def dense(): return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> ks.ensemble(dense(), dense()).build().output_shape
        (None, 2)
    """
    graph = Graph(name)
    names = _add_all(graph, sources, "ensemble", least=2)
    for submodel in graph.spec.submodels:
        if len(submodel.inputs) != 1 or len(submodel.outputs) != 1:
            raise StitchError(
                f"Submodel '{submodel.name}' of an ensemble has {len(submodel.inputs)} inputs and "
                f"{len(submodel.outputs)} outputs.",
                expected="one of each",
                fix="Build this graph with Graph, add_input and connect.",
            )
    graph.add_input(input, names)
    return _merged(graph, names, output, merge=merge, **options)


def siamese(
    source: Any,
    *,
    merge: MergeLike = "subtract",
    inputs: Sequence[str] = ("left", "right"),
    output: str = "output",
    name: str = "siamese",
    **options: Any,
) -> Graph:
    """One model on two inputs with the same weights, its two outputs merged into one.

    Args:
        source: A model with one input and one output.
        merge: How the two outputs become one.
        inputs: Names of the two graph inputs.
        output: The name of the graph output.
        name: The graph's name.
        options: Those of the merge, as ``Graph.connect`` takes them: ``axes=1, normalize=True`` with ``merge="dot"``
            makes the cosine of the two outputs.

    Example:
        >>> import keras, keras_stitch as ks
        >>> graph = ks.siamese(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
        >>> [tensor.name for tensor in graph.build().inputs]
        ['left', 'right']
    """
    if len(inputs) != 2:
        raise StitchError(f"A siamese graph has two inputs, received {len(inputs)} names.")
    graph = Graph(name)
    graph.add("model1", source).share("model2", of="model1")
    for given, node in zip(inputs, ("model1", "model2"), strict=True):
        graph.add_input(given, node)
    return _merged(graph, ["model1", "model2"], output, merge=merge, **options)


def _add_all(graph: Graph, sources: Sequence[Any], what: str, *, least: int) -> list[str]:
    if len(sources) == 1 and isinstance(sources[0], Mapping):
        named = dict(sources[0])
    else:
        named = {f"model{number}": source for number, source in enumerate(sources, 1)}
    if len(named) < least:
        raise StitchError(f"{what} needs at least {least} model{'s' * (least > 1)}, received {len(named)}.")
    for name, source in named.items():
        graph.add(name, source)
    return list(named)


def _merged(graph: Graph, names: Sequence[str], output: str, **how: Any) -> Graph:
    """Merge outputs into a graph output: an identity layer as node gives the merge a port to arrive at."""
    graph.add(output, keras.layers.Identity())
    return graph.connect(names, output, **how)
