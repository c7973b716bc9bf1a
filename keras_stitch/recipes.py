"""Graphs that people build every day, in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import keras

from keras_stitch.errors import StitchError
from keras_stitch.graph import Graph
from keras_stitch.graphs.merges import widest
from keras_stitch.models.merge_layers import MergeLike, float_policy


def chain(*sources: Any, name: str = "chain") -> Graph:
    """Models one after another, each fed by the one before.

    Args:
        sources: Some models, or one list of them, each as ``Graph.add`` takes them; called ``model1``, ``model2`` and
            so on.
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
    weights: Sequence[float] | None = None,
    outputs: Sequence[str] | None = None,
    input: str = "input",
    output: str = "output",
    name: str = "ensemble",
    **options: Any,
) -> Graph:
    """Models on the same inputs, their outputs merged.

    Args:
        sources: Two or more models, or one list of them; a dict gives them names.
        merge: How the outputs become one; ``average`` is the mean.
        weights: One number of each model, for a weighted average: they are divided by their sum.
        outputs: The outputs to merge, where not all of them are wanted: names of output layers, or of inner layers.
        input: The name of the shared graph input. Models with several inputs share them by their names, instead.
        output: The name of the graph output. Several outputs are merged by their names, which they keep, instead.
        name: The graph's name.
        options: Those of the merge, as ``Graph.connect`` takes them: ``axis=``, ``axes=``, ``normalize=``.

    Raises:
        StitchError: If the models do not have the same inputs and outputs, or the weights do not go with them.

    Example:
        >>> import keras, keras_stitch as ks
        >>> def dense(): return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> ks.ensemble([dense(), dense()], weights=[3, 1]).build().output_shape
        (None, 2)
    """
    graph = Graph(name)
    names = _add_all(graph, sources, "ensemble", least=2, outputs=outputs)
    shares = _shares(weights, names, merge)
    for port, ports in _same_ports(graph, "inputs", input).items():
        graph.add_input(port, ports)
    for port, ports in _same_ports(graph, "outputs", output).items():
        graph.add(port, keras.layers.Identity(dtype=_policy(graph, ports)))
        if shares:
            graph.connect(_scaled(graph, ports, shares), port, merge="add", **options)
        else:
            graph.connect(ports, port, merge=merge, **options)
    return graph


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
        merge: How the two outputs become one: ``subtract`` takes the second from the first, ``abs_difference`` does not
            depend on their order.
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
    graph.add(output, keras.layers.Identity(dtype=_policy(graph, ["model1"])))
    return graph.connect(["model1", "model2"], output, merge=merge, **options)


def _add_all(graph: Graph, sources: Sequence[Any], what: str, *, least: int, **options: Any) -> list[str]:
    if len(sources) == 1 and isinstance(sources[0], list | tuple):
        (sources,) = sources
    if len(sources) == 1 and isinstance(sources[0], Mapping):
        named = dict(sources[0])
    else:
        named = {f"model{number}": source for number, source in enumerate(sources, 1)}
    if len(named) < least:
        raise StitchError(f"{what} needs at least {least} model{'s' * (least > 1)}, received {len(named)}.")
    for name, source in named.items():
        graph.add(name, source, **options)
    return list(named)


def _same_ports(graph: Graph, side: str, single: str) -> dict[str, list[str]]:
    """The ports that the submodels of an ensemble share, each with its place in every submodel.

    A single port of each is called ``single``, whatever the submodels call it; several have one name in all.
    """
    found = {submodel.name: [port.name for port in getattr(submodel, side)] for submodel in graph.spec.submodels}
    first, wanted = next(iter(found.items()))
    for submodel, names in found.items():
        if len(names) != len(wanted) or (len(names) > 1 and set(names) != set(wanted)):
            raise StitchError(
                f"The models of an ensemble do not have the same {side}.",
                expected=f"{', '.join(wanted)}, as '{first}' has",
                received=f"{', '.join(names)} of '{submodel}'",
                fix="Name those to merge with outputs=, or build this graph with Graph, add_input and connect."
                if side == "outputs"
                else "Build this graph with Graph, add_input and connect.",
            )
    if len(wanted) == 1:
        return {single: list(found)}
    return {name: [f"{submodel}.{name}" for submodel in found] for name in wanted}


def _shares(weights: Sequence[float] | None, names: Sequence[str], merge: MergeLike) -> list[float]:
    """What each model adds to the weighted average; nothing without weights."""
    if weights is None:
        return []
    if merge != "average":
        raise StitchError(f"weights= has no meaning for merge={merge!r}.", expected="merge='average'")
    try:
        numbers = [float(weight) for weight in weights]
    except (TypeError, ValueError):
        numbers = []
    total = sum(numbers)
    if len(numbers) != len(names) or min(numbers) < 0 or not 0 < total < float("inf"):
        raise StitchError(
            "weights= does not go with the models of this ensemble.",
            expected=f"{len(names)} numbers that are not negative, and not all 0: one of each of {', '.join(names)}",
            received=repr(weights)[:200],
        )
    return [number / total for number in numbers]


def _scaled(graph: Graph, ports: Sequence[str], shares: Sequence[float]) -> list[str]:
    """Nodes that multiply each output with its share."""
    nodes = [f"{port.replace('.', '_')}_weight" for port in ports]
    for node, port, share in zip(nodes, ports, shares, strict=True):
        graph.add(node, keras.layers.Rescaling(share, dtype=_policy(graph, [port]))).connect(port, node)
    return nodes


def _policy(graph: Graph, ports: Sequence[str]) -> str:
    """The dtype of a layer that takes what these ports give as it is."""
    dtypes = []
    for port in ports:
        submodel, _, output = port.partition(".")
        dtypes += [one.dtype or "float32" for one in graph.spec.submodel(submodel).outputs if output in ("", one.name)]
    return float_policy(widest(dtypes))
