"""Graphs as plain data, in a line each: what wiring, naming and the spec file are tested on, without Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import settings

from keras_stitch.errors import StitchError, WiringError
from keras_stitch.graphs.spec import Connection, GraphSpec, InputSpec, Merge, OutputSpec, Port, Shape, Source, Submodel
from keras_stitch.graphs.wiring import wire

# Plain data is cheap, so many more examples are tried than where Keras has to build a model.
MANY = settings(max_examples=max(200, settings.default.max_examples))

Ports = Mapping[str, "Shape | tuple[Shape, str]"] | Sequence[Port]


def ports(given: Ports) -> tuple[Port, ...]:
    """``{"x": (3,), "i": ((5,), "int32")}`` as ports."""
    if not isinstance(given, Mapping):
        return tuple(given)
    made = []
    for name, shape in given.items():
        typed = len(shape) == 2 and isinstance(shape[1], str)
        made.append(Port(name, *shape) if typed else Port(name, shape))  # type: ignore[arg-type, misc]
    return tuple(made)


def node(name: str, inputs: Ports | None = None, outputs: Ports | None = None, **options: Any) -> Submodel:
    """A submodel from a file; takes ``x`` of shape (3,) and makes ``y`` of shape (3,) unless it says otherwise."""
    default = {"x": (3,)}
    made = ports({"y": (3,)} if outputs is None else outputs)
    return Submodel(
        name,
        Source("file", f"{name}.h5", path=f"{name}.h5"),
        ports(default if inputs is None else inputs),
        made,
        **options,
    )


def spec(
    *submodels: Submodel,
    connect: Mapping[str, Any] | Sequence[Connection] = (),
    inputs: Sequence[InputSpec] = (),
    outputs: Mapping[str, str] | None = None,
    name: str = "g",
) -> GraphSpec:
    """A graph; ``connect`` is ``{"m2": "m1", "m3": ["m1", "m2"], "m4": (["m1", "m2"], Merge("add"))}``."""
    if isinstance(connect, Mapping):
        connect = [connection(target, sources) for target, sources in connect.items()]
    chosen = tuple(OutputSpec(*output) for output in (outputs or {}).items())
    return GraphSpec(name, submodels, tuple(connect), tuple(inputs), chosen)


def connection(target: str, sources: Any, merge: Merge | None = None) -> Connection:
    """One connection; ``sources`` is a name, a list of names, or a list and a merge."""
    if isinstance(sources, tuple):
        sources, merge = sources
    return Connection(target, (sources,) if isinstance(sources, str) else tuple(sources), merge or Merge())


def problems(given: GraphSpec) -> list[str]:
    """The texts of all the problems of a graph that cannot be wired."""
    with pytest.raises(WiringError) as caught:
        wire(given)
    assert all(isinstance(problem, StitchError) for problem in caught.value.problems)
    return [str(problem) for problem in caught.value.problems]


def problem(given: GraphSpec) -> str:
    """The text of the one problem of a graph that cannot be wired."""
    (text,) = problems(given)
    return text
