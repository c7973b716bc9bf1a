"""A call of a layer in a graph, and the masks that it is given as arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_stitch.repairs.architecture import Layer, is_reference, name_of, references
from keras_stitch.repairs.mask_operations import Graph, Origin

ATTENTION = ("Attention", "AdditiveAttention", "MultiHeadAttention")
_STATED = ("SimpleRNN", "GRU", "LSTM")


@dataclass(frozen=True)
class Call:
    """One call of a layer in the graph of a model."""

    graph: Graph
    layer: Layer
    number: int

    @property
    def node(self) -> Any:
        """What the file says of the call."""
        return self.layer["inbound_nodes"][self.number]

    def say(self, masks: Sequence[frozenset[Origin] | None]) -> bool:
        """Give the call masks as its argument, and say whether they could be made."""
        if all(mask is None for mask in masks):
            self.hide([True] * len(masks))
            return True
        made = [None if mask is None else self.graph.tensor(mask, name_of(self.layer)) for mask in masks]
        if any(one is None and mask is not None for one, mask in zip(made, masks, strict=True)):
            return False
        said = made if self.layer["class_name"] in ATTENTION else made[0]
        if isinstance(self.node, dict):
            self.node["kwargs"]["mask"] = self.graph.argument(said)
        else:
            first = inputs_of(self.node)[0]
            first[3:] = [{**(first[3] if len(first) > 3 else {}), "mask": said}]
        return True

    def give_out_state(self, mask: frozenset[Origin]) -> bool:
        """Put the first state where all steps so far are masked, and say whether that was possible."""
        config = self.layer["config"]
        if self.layer["class_name"] not in _STATED or config.get("go_backwards"):
            return False
        if not config.get("unroll"):
            state = _first_state(self.node)
            made = self.graph.tensor(mask, name_of(self.layer))
            assert made is not None
            self.graph.fill_start(self.layer, self.number, made, state[:3], steps=bool(config.get("return_sequences")))
        return True

    def hide(self, which: Sequence[bool]) -> None:
        """Give the call copies of some of its inputs: they have no masks."""
        for item, hidden in zip(inputs_of(self.node), which, strict=True):
            if hidden:
                item[:3] = self.graph.copy(item[:3], name_of(self.layer))


def takes_state(node: Any) -> bool:
    """Whether a recurrent layer is called with more than its input."""
    if isinstance(node, dict):
        return bool({"initial_state", "constants"} & set(node.get("kwargs") or {}))
    return len(list(references(node))) > 1


def _first_state(node: Any) -> list[Any]:
    """The first of the states that a recurrent layer is given."""
    if isinstance(node, dict):
        return next(references(node["kwargs"]["initial_state"]))
    tensors = [item for item in node if is_reference(item)]
    return tensors[1] if len(tensors) > 1 else next(references(tensors[0][3]["initial_state"]))


def inputs_of(node: Any) -> list[list[Any]]:
    """The tensors a layer is called on, and those it is given as `value` and `key`."""
    if isinstance(node, dict):
        return list(references(node))
    first = [node] if is_reference(node) else [item for item in node if is_reference(item)]
    said = first[0][3] if first and len(first[0]) > 3 else {}
    return [*first, *(said[key] for key in ("value", "key") if is_reference(said.get(key)))]
