"""Keras masks at the borders between submodels: which connections pass them on, and which ones stop them.

The mask of a bare layer goes on to what follows it, as in Keras. The mask of a saved model stops, as it does between
files, unless the connection asks for it with ``mask=True``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from keras_stitch.errors import StitchError
from keras_stitch.graphs.spec import FRAMEWORKS, Connection, Feed, GraphSpec, Tap, Wiring

# The merges that leave values alone, masked or not; Keras' others fill masked values in, or drop the mask.
_PASSING = ("concatenate", "add", "average", "subtract")
_LEAVE_OUT = "Leave mask= out: masks then stop at this connection."


class Borders:
    """The masks that are known so far while a graph is wired; ``masked`` has the whole tensors that carry one."""

    def __init__(self, spec: GraphSpec):
        self._spec = spec
        self.masked: set[Tap] = set()

    def passing(self, feed: Feed, connection: Connection | None, *, takes: bool) -> tuple[bool, ...]:
        """Which taps of a feed pass their masks on to its port, which ``takes`` one or not; empty for none.

        Raises:
            StitchError: If the connection asks for a mask that cannot be passed on.
        """
        asked = connection is not None and connection.mask
        carrying = [whole(tap) in self.masked for tap in feed.taps]
        passing = tuple(
            carries and (asked or (self._flows(tap) and not tap.part))
            for carries, tap in zip(carrying, feed.taps, strict=True)
        )
        problem = self._problem(feed, passing, takes) if asked or any(passing) else None
        if problem is not None and asked:
            raise problem
        return passing if any(passing) and problem is None else ()

    def _flows(self, tap: Tap) -> bool:
        """Whether the mask of a tensor goes on without being asked for."""
        return tap.node is not None and not tap.merged and self._spec.submodel(tap.node).is_layer

    def _problem(self, feed: Feed, passing: Sequence[bool], takes: bool) -> StitchError | None:
        submodel = self._spec.submodel(feed.node)
        target = feed.node if len(submodel.inputs) == 1 else f"{feed.node}.{feed.port.name}"
        texts = [port.name for port in feed.tap_ports]
        start = f"No mask can be passed on to '{target}': "
        if not submodel.is_keras:
            said = f"'{submodel.name}' is {FRAMEWORKS[submodel.framework]}, not Keras"
            return StitchError(f"{start}{said}.", fix=_LEAVE_OUT)
        if not any(passing):
            return StitchError(
                f"{start}{_listed(texts)} carries none.",
                expected="an output behind keras.layers.Masking or Embedding(mask_zero=True)",
                fix=_LEAVE_OUT,
            )
        for text, tap, passes in zip(texts, feed.taps, passing, strict=True):
            if passes and tap.part:
                what = f"{start}'{text}' is a part, and the layers that cut it out drop the mask."
                return StitchError(what, expected="a whole output", fix=_LEAVE_OUT)
        if not takes:
            what = f"{start}no layer of '{submodel.name}' there heeds one or passes it on."
            return StitchError(what, fix=_LEAVE_OUT)
        return self._merge_problem(feed, passing, start) if len(feed.taps) > 1 else None

    def _merge_problem(self, feed: Feed, passing: Sequence[bool], start: str) -> StitchError | None:
        kind = feed.merge.kind
        if kind not in _PASSING:
            what = "a Keras layer as merge=" if kind == "layer" else f"merge='{kind}'"
            return StitchError(f"{start}{what} does not.", expected=f"one of {', '.join(_PASSING)}", fix=_LEAVE_OUT)
        if kind != "concatenate" and not all(passing):
            without = [port.name for port, passes in zip(feed.tap_ports, passing, strict=True) if not passes]
            what = f"{start}with merge='{kind}' Keras passes a mask on only where all sources have one."
            return StitchError(what, received=f"{_listed(without)} without a mask", fix=_LEAVE_OUT)
        if kind != "concatenate" and len({port.shape for port in feed.tap_ports}) > 1:
            what = f"{start}with merge='{kind}' sources of different shapes have no common one."
            return StitchError(what, expected="sources of one shape", fix=_LEAVE_OUT)
        return None


def whole(tap: Tap) -> Tap:
    """The whole tensor that something is taken of."""
    return replace(tap, part=())


def stopped(wiring: Wiring) -> tuple[str, ...]:
    """A sentence for every connection at which a mask stops."""
    return tuple(
        f"A Keras mask stops between '{port.name}' and '{_target(wiring, feed)}'; mask=True in connect passes it on."
        for node in wiring.order
        for feed in wiring.feeds[node]
        for number, (tap, port) in enumerate(zip(feed.taps, feed.tap_ports, strict=True))
        if whole(tap) in wiring.masked and not (feed.masks and feed.masks[number])
    )


def _target(wiring: Wiring, feed: Feed) -> str:
    return feed.node if len(wiring.feeds[feed.node]) == 1 else f"{feed.node}.{feed.port.name}"


def check_together(feed: Feed, apart: Sequence[Tap]) -> None:
    """Raise where a mask would have to go with one of the tensors that come from another stage or file.

    Only numbers go from one stage to the next.
    """
    for tap, port, passes in zip(feed.taps, feed.tap_ports, feed.masks or (False,) * len(feed.taps), strict=True):
        if passes and tap in apart:
            raise StitchError(
                f"The mask of '{port.name}' cannot go to '{feed.node}': the two run in different stages, and only "
                "numbers go from one to the next.",
                expected="a mask that stays within the stitched model, or within the dataloader",
                fix="Give both the same placement=, or put a model between them that makes the mask itself.",
            )


def _listed(texts: Sequence[str]) -> str:
    return " and ".join(f"'{text}'" for text in texts)
