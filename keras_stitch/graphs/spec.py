"""The graph as frozen data, no Keras, no I/O: ``GraphSpec`` is what a user said, ``Wiring`` what follows from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from keras_stitch.graphs.slices import Span
from keras_stitch.graphs.source import Source

Shape = tuple[int | None, ...]
PLACEMENTS = ("model", "dataloader", "workflow")

# What runs a submodel, and what messages call it: Keras, or, through Kipoi, another framework or the model's own class.
FRAMEWORKS = {
    "keras": "Keras",
    "scikit-learn": "scikit-learn",
    "pytorch": "PyTorch",
    "tensorflow": "TensorFlow",
    "onnx": "an ONNX file",
    "kipoi": "a class of its own",
}


@dataclass(frozen=True)
class Port:
    """One input or output of a submodel.

    Attributes:
        name: The port's name in its submodel, as the saved file has it.
        shape: Shape without the batch axis, ``None`` for a variable dimension; ``None`` while it is unknown.
        dtype: Keras dtype such as ``"float32"``; ``None`` where any is taken.
        generated: Whether Keras made the name up (``keras_tensor_9``) and nobody chose it.
    """

    name: str
    shape: Shape | None
    dtype: str | None = "float32"
    generated: bool = False

    @property
    def row(self) -> Shape:
        """The shape of one row; ``()`` while it is unknown."""
        return self.shape or ()

    @property
    def is_open(self) -> bool:
        """Whether a dimension is variable."""
        return None in self.row


@dataclass(frozen=True)
class LayerInfo:
    """A layer inside a submodel, as saved.

    Attributes:
        path: Its name, behind those of the models it is nested in: ``"encoder/conv1"``.
        augments: Whether it changes its inputs at random in training, as Keras' random image layers do.
        change: What was done to its weights after it was made, in words: ``"LoRA of rank 4"``, ``"int8 weights"``.
    """

    path: str
    class_name: str
    trainable: bool = True
    parameters: int = 0
    augments: bool = False
    change: str = ""


@dataclass(frozen=True)
class Submodel:
    """A node: a saved model, a layer or a Kipoi model under the user's name.

    Attributes:
        name: The user's name for it.
        source: Where it comes from.
        inputs: Input ports, in the order of the saved model.
        outputs: Output ports; of unknown shape for a layer.
        trainable: ``None`` keeps the flags as saved.
        inner_outputs: Inner layers whose outputs replace the model's own (``outputs=``).
        placement: The stage the user asked for, if any.
        share: The submodel whose weights this one uses.
        layers: The layers inside, in the saved order; a layer as node has itself.
        repairs: What was repaired on loading, for tables.
        framework: What runs it, one of ``FRAMEWORKS``.
        requires: The packages that its Kipoi directory declares, as pip has them: ``("keras==2.15.0",)``.
        unmet: Those of them that this environment does not have in such a version.
        python: The release of Python that it asks for, such as ``"3.9"``; empty where it leaves a choice.
        elsewhere: Why it cannot run in this environment; empty where it can.
    """

    name: str
    source: Source
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    trainable: bool | None = None
    inner_outputs: tuple[str, ...] | None = None
    placement: str | None = None
    share: str | None = None
    layers: tuple[LayerInfo, ...] = ()
    repairs: tuple[str, ...] = ()
    framework: str = "keras"
    requires: tuple[str, ...] = ()
    unmet: tuple[str, ...] = ()
    python: str = ""
    elsewhere: str = ""

    @property
    def owner(self) -> str:
        """The submodel that has its weights: itself, or the one that it shares."""
        return self.share or self.name

    @property
    def is_keras(self) -> bool:
        """Whether it can be part of a Keras model."""
        return self.framework == "keras"

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def is_layer(self) -> bool:
        """Whether it is a bare Keras layer, whose ports follow from what feeds it."""
        return self.source.kind in ("layer", "trained layer")


@dataclass(frozen=True)
class Merge:
    """How several sources become one tensor.

    Attributes:
        kind: One of ``MERGES``, or ``"layer"``.
        axis: For ``concatenate`` and ``stack``, counted as Keras does, batch axis included.
        layer: ``{"class_name", "config"}`` of a Keras layer that takes a list.
        axes: For ``dot``, the axis of each source that is summed over, counted likewise; one number stands for both.
        normalize: For ``dot``, whether the sources are divided by their L2 norms along these axes before.
        objects: The ``CustomObjects`` that the layer needs, if any.
    """

    kind: str = "concatenate"
    axis: int = -1
    layer: Mapping[str, Any] | None = None
    axes: int | tuple[int, int] | None = None
    normalize: bool = False
    objects: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Connection:
    """One or more sources merged into one input port, names not yet resolved; ``mask`` says whether masks go on."""

    target: str
    sources: tuple[str, ...]
    merge: Merge = Merge()
    mask: bool | None = None


@dataclass(frozen=True)
class InputSpec:
    """A graph input that the user named, and the ports it feeds."""

    name: str
    targets: tuple[str, ...]
    shape: Shape | None = None
    dtype: str | None = None


@dataclass(frozen=True)
class OutputSpec:
    """A graph output that the user named."""

    name: str
    source: str


@dataclass(frozen=True)
class FreezeRule:
    """One call of ``freeze`` or ``unfreeze``; later rules win.

    Attributes:
        pattern: Submodels, by name or glob pattern.
        layers: Layers in them, by name, path (``encoder/conv1``) or glob; ``None`` for all.
        frozen: ``False`` restores the flags as saved.
    """

    pattern: str
    layers: str | None = None
    frozen: bool = True


@dataclass(frozen=True)
class GraphSpec:
    """Everything a user said about one graph."""

    name: str = "stitched"
    submodels: tuple[Submodel, ...] = ()
    connections: tuple[Connection, ...] = ()
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[OutputSpec, ...] = ()
    freezes: tuple[FreezeRule, ...] = ()

    def submodel(self, name: str) -> Submodel:
        """The submodel of that name; ``KeyError`` where there is none."""
        return self.by_name[name]

    @cached_property
    def by_name(self) -> dict[str, Submodel]:
        """The submodels by name."""
        return {submodel.name: submodel for submodel in reversed(self.submodels)}


@dataclass(frozen=True)
class Tap:
    """One tensor of the wired graph: an output port or a graph input, or a part of it.

    Attributes:
        node: The submodel, or ``None`` for a graph input.
        port: The output port's name, or the graph input's.
        part: What is taken of each axis that is cut, in the order of the axes; empty for the whole tensor.
        merged: If set, ``port`` is an *input* port of ``node``, and the tensor is the one that was merged for it.
    """

    node: str | None
    port: str
    part: tuple[Span, ...] = ()
    merged: bool = False


@dataclass(frozen=True)
class Feed:
    """What arrives at one input port.

    Attributes:
        node: The submodel that is fed.
        port: Its input port, with the shape and dtype that arrive.
        taps: The tensors, in order; more than one are merged.
        tap_ports: Name, shape and dtype of each tap after slicing, in the same order.
        merge: How; ignored for a single tap.
        masks: Whether each tap passes its Keras mask on; empty where none does.
        mask_stop: Why a mask stops here; empty where none does, and where ``mask=True`` would pass it on.
    """

    node: str
    port: Port
    taps: tuple[Tap, ...]
    tap_ports: tuple[Port, ...]
    merge: Merge = Merge()
    masks: tuple[bool, ...] = ()
    mask_stop: str = ""


@dataclass(frozen=True)
class GraphOutput:
    """A graph output: its name, shape and dtype, and the tensor it exposes."""

    port: Port
    tap: Tap


@dataclass(frozen=True)
class Wiring:
    """A checked graph: every name resolved, every shape known.

    Attributes:
        order: Submodels so that each comes after those that feed it.
        inputs: Graph inputs, in the order in which their submodels were added.
        feeds: For every submodel, one ``Feed`` for each of its input ports, in their order.
        node_outputs: For every submodel, its output ports with their shapes in this graph.
        masked: The whole tensors that carry a Keras mask.
    """

    name: str
    order: tuple[str, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[GraphOutput, ...]
    feeds: Mapping[str, tuple[Feed, ...]] = field(default_factory=dict)
    node_outputs: Mapping[str, tuple[Port, ...]] = field(default_factory=dict)
    masked: frozenset[Tap] = frozenset()

    def feed_of(self, tap: Tap) -> Feed:
        """What arrives at the input port whose merged tensor a tap is."""
        return next(feed for feed in self.feeds[tap.node or ""] if feed.port.name == tap.port)

    def input_targets(self, name: str) -> tuple[tuple[str, str], ...]:
        """The ``(submodel, port)`` pairs that a graph input feeds, alone or merged."""
        return tuple(self._input_targets[name])

    @cached_property
    def _input_targets(self) -> Mapping[str, dict[tuple[str, str], None]]:
        found: dict[str, dict[tuple[str, str], None]] = defaultdict(dict)
        for feed in (feed for node in self.order for feed in self.feeds[node]):
            for name in {tap.port for tap in feed.taps if tap.node is None}:
                found[name][feed.node, feed.port.name] = None
        return found


def shape_text(shape: Shape | None) -> str:
    """A shape as messages show it: ``(None, 4)``, or ``unknown``."""
    return "unknown" if shape is None else str(tuple(shape))


def port_text(node: str | None, port: Port) -> str:
    """A port as messages show it: ``'m1.input1' (3,) float32``."""
    full = f"{node}.{port.name}" if node else port.name
    dtype = port.dtype or "any dtype"
    return f"'{full}' (any shape, {dtype})" if port.shape is None else f"'{full}' {shape_text(port.shape)} {dtype}"
