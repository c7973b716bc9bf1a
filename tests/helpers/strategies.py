"""Random graphs of toy models, as plain data: what to add and connect, and what each reference really means.

Nothing here asks ``keras_stitch`` anything, so that ``reference.py`` can compute from the same data what
the stitched model has to predict. Shapes are those of the data (``actual``): a ``None`` is ``STEPS`` long.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from hypothesis import strategies as st
from toy_layers import LAYERS, MASKING
from toy_models import KINDS, STEPS, TOKENS, leaf_paths

Shape = tuple[int, ...]
# Names that layers and models inside the files have too.
NAMES = ("dense", "model_1", "functional", "m1", "embedding", "lstm", "m2", "sequential", "encoder", "batch_1", "M1")
ELEMENTWISE = ("add", "average", "maximum", "minimum", "multiply", "subtract", "abs_difference")
LAYER_MERGES = ("Add", "Average", "Concatenate")


@dataclass(frozen=True)
class Tensor:
    """A tensor that a source can name.

    Attributes:
        text: What the user writes.
        of: ``("input", name)``, ``("output", node, index)`` or ``("port", node, index)``: an input port.
        actual: Its shape without the batch axis.
    """

    text: str
    of: tuple
    actual: Shape


@dataclass(frozen=True)
class Ref:
    """A tensor, or ``start`` to ``stop`` of each of its axes beside the batch axis."""

    text: str
    tensor: Tensor
    part: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True)
class Feed:
    """What arrives at an input port: a graph input (``name``; implicit or not), or merged sources."""

    name: str | None = None
    implicit: bool = False
    sources: tuple[Ref, ...] = ()
    merge: str = "concatenate"
    axis: int = -1
    layer: str | None = None
    axes: int | tuple[int, int] | None = None
    normalize: bool = False


@dataclass(frozen=True)
class Node:
    """A submodel.

    Attributes:
        kind: A key of ``KINDS`` or ``LAYERS``.
        how: ``"h5"``, ``"keras"``, ``"memory"``, ``"layer"``, ``"trained layer"``.
        seed: Of its weights.
        feeds: One for each input port.
        arriving: The actual shapes that arrive.
        ports: Names of its input ports; ``None`` for one that Keras named.
        outputs: Name and actual shape of each output port.
        share: The node whose weights it uses.
        trainable: As ``Graph.add`` takes it.
        inner: As ``outputs=`` of ``Graph.add``.
    """

    name: str
    kind: str
    how: str
    seed: int = 0
    feeds: tuple[Feed, ...] = ()
    arriving: tuple[Shape, ...] = ()
    ports: tuple[str | None, ...] = ()
    outputs: tuple[tuple[str, Shape], ...] = ()
    share: str | None = None
    trainable: bool | None = None
    inner: tuple[str, ...] | None = None

    @property
    def is_layer(self) -> bool:
        return self.kind in LAYERS


@dataclass(frozen=True)
class Given:
    """A graph input.

    Attributes:
        shape: As said to ``add_input``; ``None`` to leave it out.
        explicit: Whether ``add_input`` is called.
    """

    name: str
    actual: Shape
    dtype: str
    explicit: bool
    shape: Shape | None = None


@dataclass(frozen=True)
class Case:
    """A random graph.

    Attributes:
        nodes: In an order in which they can be computed.
        order: The order in which they are added.
        outputs: ``(name, source)``; empty for the default outputs.
        rules: ``(verb, pattern, layers)`` of ``freeze`` and ``unfreeze``.
        dropped: Whether some output port of some submodel is neither used nor exposed.
    """

    nodes: tuple[Node, ...]
    order: tuple[str, ...]
    inputs: tuple[Given, ...]
    outputs: tuple[tuple[str, Ref], ...] = ()
    rules: tuple[tuple[str, str, str | None], ...] = ()
    dropped: bool = False
    batch: int = 2
    name: str = "stitched"

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def owner(self, node: Node) -> Node:
        return node if node.share is None else self.node(node.share)


def concrete(shape: tuple[int | None, ...]) -> Shape:
    return tuple(STEPS if dim is None else dim for dim in shape)


@st.composite
def cases(draw: Any, max_nodes: int = 8) -> Case:
    """Random graphs of 1 to ``max_nodes`` submodels."""
    return _Drawing(draw).case(draw(st.integers(1, max_nodes)))


@dataclass
class _Drawing:
    draw: Any
    nodes: list[Node] = field(default_factory=list)
    pool: list[Tensor] = field(default_factory=list)
    inputs: dict[str, Given] = field(default_factory=dict)
    used: set[tuple] = field(default_factory=set)

    def one(self, values: Any) -> Any:
        return self.draw(st.sampled_from(list(values)))

    def chance(self, percent: int) -> bool:
        return self.draw(st.integers(0, 99)) >= 100 - percent

    def case(self, count: int) -> Case:
        names = self.draw(st.permutations(NAMES))[:count]
        for name in names:
            self.nodes.append(self.node(name))
            self.publish(self.nodes[-1])
        outputs, dropped = self.outputs() if self.chance(40) else ((), False)
        return Case(
            nodes=tuple(self.nodes),
            order=self.order(),
            inputs=tuple(self.inputs.values()),
            outputs=outputs,
            rules=tuple(self.rules()),
            dropped=dropped,
            batch=self.one([2, 1, 3]),
            name=self.one(["stitched", "model_1", "functional", "dense_1"]),
        )

    # -- nodes ---------------------------------------------------------------

    def node(self, name: str) -> Node:
        what = self.one(["model", "model", "model", "layer", "share"])
        if what == "share" and self.nodes:
            return self.shared(name)
        return self.layer(name) if what == "layer" else self.model(name)

    def model(self, name: str) -> Node:
        kind_name = self.one(KINDS)
        if any(makes_masks(node) for node in self.nodes) and self.chance(40):
            # What a mask that crosses the border would change.
            kind_name = "recurrent"
        kind = KINDS[kind_name]
        inner = None
        outputs = tuple((port, concrete(shape)) for port, shape in kind.outputs)
        if kind.inner and self.chance(30):
            chosen = self.draw(st.lists(st.sampled_from(kind.inner), min_size=1, unique=True))
            inner = tuple(port for port, _ in chosen)
            outputs = tuple((port, concrete(shape)) for port, shape in chosen)
        node = Node(
            name,
            kind_name,
            self.one([*kind.formats, "memory"]),
            seed=self.draw(st.integers(0, 1)),
            ports=tuple(port for port, _, _ in kind.inputs),
            outputs=outputs,
            trainable=self.one([None, None, True, False]),
            inner=inner,
        )
        return self.fed(node, [(shape, dtype) for _, shape, dtype in kind.inputs])

    def layer(self, name: str) -> Node:
        kind = LAYERS[self.one(LAYERS)]
        shapes = [self.layer_shape(kind.rank, kind.dtype)]
        if len(kind.ports) == 2:
            shapes.append((self.one([2, STEPS]), shapes[0][-1]))
        node = Node(
            name,
            kind.name,
            self.one(kind.hows),
            seed=self.draw(st.integers(0, 1)),
            ports=kind.ports,
            trainable=self.one([None, None, False]),
        )
        node = self.fed(node, [(shape, kind.dtype) for shape in shapes], exact=True)
        return dataclasses.replace(node, outputs=(("output", kind.result(node.arriving)),))

    def layer_shape(self, rank: int | None, dtype: str) -> Shape:
        if dtype == "int32":
            return (STEPS,)
        found = [tensor.actual for tensor in self.pool if rank is None or len(tensor.actual) == rank]
        new = (STEPS, 3) if rank == 2 else (4,)
        return self.one([*found, new])

    def shared(self, name: str) -> Node:
        owner = self.one([node for node in self.nodes if node.share is None])
        wanted: list[tuple[Any, str]]
        if owner.is_layer:
            wanted = [(shape, LAYERS[owner.kind].dtype) for shape in owner.arriving]
        else:
            wanted = [(shape, dtype) for _, shape, dtype in KINDS[owner.kind].inputs]
        node = dataclasses.replace(owner, name=name, share=owner.name, trainable=None)
        return self.fed(node, wanted, exact=owner.is_layer)

    def fed(self, node: Node, wanted: list[tuple[Any, str]], exact: bool = False) -> Node:
        """The node with something at each port, and its outputs as long as what arrived."""
        feeds, arriving = [], []
        for port, (shape, dtype) in zip(node.ports, wanted, strict=True):
            feed, actual = self.feed(node, port, shape, dtype, exact)
            feeds.append(feed)
            arriving.append(actual)
        outputs = node.outputs
        if not node.is_layer and KINDS[node.kind].inputs[0][1] == (None, 3) and outputs:
            outputs = tuple((port, (arriving[0][0], *s[1:]) if len(s) == 2 else s) for port, s in outputs)
        return dataclasses.replace(node, feeds=tuple(feeds), arriving=tuple(arriving), outputs=outputs)

    def publish(self, node: Node) -> None:
        many = len(node.outputs) > 1
        for index, (port, actual) in enumerate(node.outputs):
            text = f"{node.name}.{port}" if many or self.chance(20) else node.name
            self.pool.append(Tensor(text, ("output", node.name, index), actual))
        for index, port in enumerate(node.ports):
            feed = node.feeds[index]
            if port is None or any(port == name for name, _ in node.outputs):
                continue
            if feed.name is None or self.inputs[feed.name].dtype == "float32":
                self.pool.append(Tensor(f"{node.name}.{port}", ("port", node.name, index), node.arriving[index]))

    # -- what feeds a port ---------------------------------------------------

    def feed(self, node: Node, port: str | None, shape: Any, dtype: str, exact: bool) -> tuple[Feed, Shape]:
        actual = concrete(shape)
        implicit = port or f"{node.name}_input"
        options = ["new", "old", "connect", "connect", "connect"]
        if not node.is_layer and implicit not in self.inputs:
            options = ["implicit", "implicit", *options]
        masked = [tensor for tensor in self.pool if self.is_masked(tensor) and tensor.actual == actual]
        if masked and node.kind in ("recurrent", "LSTM") and self.chance(70):
            tensor = self.one(masked)
            self.used.add(tensor.of)
            return Feed(sources=(Ref(tensor.text, tensor),)), actual
        how = self.one(options)
        if how == "implicit":
            self.add_input(Given(implicit, actual, dtype, explicit=False))
            return Feed(implicit, implicit=True), actual
        old = [g for g in self.inputs.values() if g.explicit and g.dtype == dtype and g.actual == actual]
        if how == "old" and old:
            return Feed(self.one(old).name), actual
        if how == "connect" and dtype == "float32":
            return self.connected(actual, variable=not exact and None in shape)
        said = actual if node.is_layer or self.chance(30) else None
        return Feed(self.new_input(actual, dtype, said)), actual

    def is_masked(self, tensor: Tensor) -> bool:
        return tensor.of[0] == "output" and makes_masks(self.by_name(tensor.of[1]))

    def new_input(self, actual: Shape, dtype: str, shape: Shape | None) -> str:
        name = f"in{len(self.inputs)}"
        self.add_input(Given(name, actual, dtype, explicit=True, shape=shape))
        return name

    def add_input(self, given: Given) -> None:
        self.inputs[given.name] = given
        if given.dtype == "float32":
            self.pool.append(Tensor(given.name, ("input", given.name), given.actual))

    def connected(self, actual: Shape, variable: bool) -> tuple[Feed, Shape]:
        """Sources that make a tensor of a shape; of any number of steps, if ``variable``."""
        size, steps = actual[-1], actual[:-1]
        options = ["one", "one", "one", "elementwise", "elementwise", "layer"]
        options += ["concatenate"] * (size > 1)
        options += ["stack"] * (len(actual) > 1)
        options += ["dot"] * (len(actual) < 4)
        options += ["longer", "longer stack"] * variable
        how = self.one(options)
        if how == "one":
            return Feed(sources=(self.source(actual),)), actual
        if how == "concatenate":
            cut = self.draw(st.integers(1, size - 1))
            sources = (self.source((*steps, cut)), self.source((*steps, size - cut)))
            return Feed(sources=sources, axis=self.one([-1, len(actual)])), actual
        if how == "stack":
            axis = self.draw(st.integers(1, len(actual)))
            each = (*actual[: axis - 1], *actual[axis:])
            sources = tuple(self.source(each) for _ in range(actual[axis - 1]))
            return Feed(sources=sources, merge="stack", axis=self.one([axis, axis - len(actual) - 1])), actual
        if how == "dot":
            return self.dot(actual), actual
        if how == "longer":
            sources = (self.source(actual), self.source(actual))
            return Feed(sources=sources, axis=self.one([1, -2])), (2 * actual[0], *actual[1:])
        if how == "longer stack":
            sources = tuple(self.source(actual[1:]) for _ in range(self.draw(st.integers(2, 3))))
            return Feed(sources=sources, merge="stack", axis=1), (len(sources), *actual[1:])
        if how == "layer":
            layer = self.one(LAYER_MERGES)
            if layer == "Concatenate" and size > 1:
                sources = (self.source((*steps, 1)), self.source((*steps, size - 1)))
                return Feed(sources=sources, merge="layer", layer=layer), actual
            layer = "Add" if layer == "Concatenate" else layer
            return Feed(sources=(self.source(actual), self.source(actual)), merge="layer", layer=layer), actual
        merge = self.one(ELEMENTWISE)
        narrow = [
            self.source((*steps, 1) if self.chance(25) else actual)
            for _ in range(1 if merge in ("subtract", "abs_difference") else 2)
        ]
        return Feed(sources=(self.source(actual), *narrow), merge=merge), actual

    def dot(self, actual: Shape) -> Feed:
        """Two sources whose dot product has a shape: each its own axes, and one of equal length that is summed over."""
        common, normalize = self.draw(st.integers(1, 4)), self.chance(40)
        split = self.draw(st.integers(0, len(actual)))
        both = [actual[:split], actual[split:]]
        if actual == (1,) and self.chance(50):
            both = [(), ()]
        places = [self.draw(st.integers(0, len(shape))) for shape in both]
        shapes = [(*shape[:place], common, *shape[place:]) for shape, place in zip(both, places, strict=True)]
        axes = [self.one([place + 1, place - len(shape)]) for shape, place in zip(shapes, places, strict=True)]
        sources = tuple(self.source(shape) for shape in shapes)
        said = axes[0] if axes[0] == axes[1] else (axes[0], axes[1])
        return Feed(sources=sources, merge="dot", axes=said, normalize=normalize)

    def source(self, actual: Shape) -> Ref:
        """Something of a shape: a tensor, a part of one, or else a new graph input."""
        found = [t for t in self.pool if len(t.actual) == len(actual) and t.actual[-1] >= actual[-1]]
        found = [t for t in found if t.actual[:-1] == actual[:-1] or (self.is_fixed(t) and covers(t.actual, actual))]
        if not found or self.chance(10):
            name = self.new_input(actual, "float32", actual)
            return Ref(name, self.pool[-1])
        tensor = self.one(found)
        self.used.add(tensor.of)
        return self.part_of(tensor, actual)

    def is_fixed(self, tensor: Tensor) -> bool:
        """Whether all sizes of a tensor are known before there are data, so that each of its axes can be cut."""
        what, name, *index = tensor.of
        if what == "input":
            return self.inputs[name].explicit and self.inputs[name].shape is not None
        node = self.by_name(name)
        if what == "port" or node.is_layer or node.inner is not None:
            return False
        return None not in KINDS[node.kind].outputs[index[0]][1]

    def part_of(self, tensor: Tensor, sizes: Shape) -> Ref:
        if tensor.actual == sizes:
            return Ref(tensor.text, tensor)
        drawn = [self.range_of(whole, size) for whole, size in zip(tensor.actual, sizes, strict=True)]
        part = tuple(bounds for bounds, _ in drawn)
        only_last = tensor.actual[:-1] == sizes[:-1] and not (self.is_fixed(tensor) and self.chance(30))
        text = drawn[-1][1] if only_last else ", ".join(text for _, text in drawn)
        return Ref(f"{tensor.text}[{text}]", tensor, part)

    def range_of(self, whole: int, size: int) -> tuple[tuple[int, int], str]:
        """Some neighbours of an axis, and one way to write them."""
        start = self.draw(st.integers(0, whole - size))
        texts = [f"{start}:{start + size}", f"{start - whole}:{start + size}"]
        texts += [f":{size}"] * (start == 0) + [f"-{size}:"] * (start + size == whole)
        texts += [f"{start}", f"{start - whole}"] * (size == 1)
        return (start, start + size), ":" if whole == size else self.one(texts)

    # -- the rest of the graph -----------------------------------------------

    def outputs(self) -> tuple[tuple[tuple[str, Ref], ...], bool]:
        """Everything that is not used, of which a head may be left out, and a few others."""
        chosen, dropped = [], False
        for node in self.nodes:
            free = [i for i in range(len(node.outputs)) if ("output", node.name, i) not in self.used]
            if len(free) > 1 and self.chance(50):
                free, dropped = free[1:], True
            chosen += [t for t in self.pool if t.of[:2] == ("output", node.name) and t.of[2] in free]
        chosen += self.draw(st.lists(st.sampled_from(self.pool), max_size=2))
        refs = [self.part_of(tensor, self.smaller(tensor)) for tensor in chosen]
        if len(refs) == 1 and refs[0].tensor.of[0] == "output" and refs[0].part is None and self.chance(50):
            return ((refs[0].tensor.of[1], refs[0]),), dropped
        return tuple((f"out{number}", ref) for number, ref in enumerate(refs)), dropped

    def smaller(self, tensor: Tensor) -> Shape:
        """The shape of a part of a tensor, cut along its last axis or along any."""
        *others, last = tensor.actual
        if self.is_fixed(tensor) and self.chance(50):
            others = [self.draw(st.integers(1, size)) for size in others]
        return (*others, self.draw(st.integers(1, last)))

    def order(self) -> tuple[str, ...]:
        """Any order, with what is shared before what shares it."""
        order = self.draw(st.permutations([node.name for node in self.nodes]))
        owners = {node.name for node in self.nodes if node.share is None}
        return tuple(sorted(order, key=lambda name: name not in owners))

    def rules(self) -> list[tuple[str, str, str | None]]:
        made = []
        for _ in range(self.draw(st.integers(0, 4))):
            node = self.one(self.nodes)
            pattern = self.one([node.name, node.name, "*", node.name[:1] + "*"])
            matched = [n for n in self.nodes if fnmatchcase(n.name, pattern)]
            paths = [path for n in matched for path in paths_of(n if n.share is None else self.by_name(n.share))]
            layers = self.one([None, None, *paths, *(re.sub(r"_\d+$", "*", path.split("/")[-1]) for path in paths)])
            made.append((self.one(["freeze", "freeze", "unfreeze"]), pattern, layers))
        return made

    def by_name(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)


def covers(whole: Shape, part: Shape) -> bool:
    """Whether no axis of a part is longer than that of the whole."""
    return all(size >= wanted for size, wanted in zip(whole, part, strict=True))


# Found here and not while drawing, because Keras draws random seeds of its own.
PATHS = {kind: leaf_paths(kind) for kind in KINDS}


def paths_of(node: Node) -> tuple[str, ...]:
    """The paths of the layers in a node that owns its weights."""
    return (node.name,) if node.is_layer else PATHS[node.kind]


def makes_masks(node: Node) -> bool:
    return node.kind == MASKING or (not node.is_layer and KINDS[node.kind].masks)


__all__ = ["STEPS", "TOKENS", "Case", "Feed", "Given", "Node", "Ref", "Tensor", "cases", "concrete", "makes_masks"]
