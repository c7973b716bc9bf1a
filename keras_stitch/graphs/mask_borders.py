"""Keras masks at the borders between submodels: which connections pass them on, and which ones stop them.

The mask of a bare layer goes on to what follows it, as in Keras. The mask of a saved model stops, as it does between
files, unless the connection asks for it with ``mask=True``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from keras_stitch.errors import StitchError
from keras_stitch.graphs.merges import KINDS
from keras_stitch.graphs.spec import FRAMEWORKS, Connection, Feed, GraphSpec, Tap, Wiring
from keras_stitch.graphs.upstream import producers

# The merges that leave values alone, masked or not; of Keras' others, some fill masked values in.
_PASSING = ("concatenate", "add", "average", "subtract")
_FILLING = ("multiply", "maximum", "minimum")
_LEAVE_OUT = "Leave mask= out: masks then stop at this connection."
_APART = "the two run in different stages, and only numbers go from one to the next"


@dataclass(frozen=True)
class Takers:
    """What would take the masks that arrive at an input port.

    Attributes:
        port: Whether the submodel heeds or passes on a mask at that port.
        merge: What a Keras layer that merges makes of masks, by which sources have one: whether it heeds them, and
            whether what it makes carries one.
    """

    port: bool
    merge: Callable[[Sequence[bool]], tuple[bool, bool]]


@dataclass(frozen=True)
class _Refusal:
    """Why masks cannot be passed on at a connection: a clause, and what a message says besides."""

    why: str
    expected: str | None = None
    received: str | None = None
    advice: str = ""

    def error(self, target: str) -> StitchError:
        what = f"No mask can be passed on to '{target}': {self.why}."
        fix = f"{self.advice}. Or leave mask= out." if self.advice else _LEAVE_OUT
        return StitchError(what, expected=self.expected, received=self.received, fix=fix)


class Borders:
    """The masks that are known so far while a graph is wired; ``masked`` has the whole tensors that carry one."""

    def __init__(self, spec: GraphSpec):
        self._spec = spec
        self.masked: set[Tap] = set()

    def passed(self, feed: Feed, connection: Connection | None, takers: Takers) -> Feed:
        """A feed with the masks that its taps pass on to its port, and why those stop that do not.

        Raises:
            StitchError: If the connection asks for a mask that cannot be passed on.
        """
        said = connection.mask if connection is not None else None
        carrying = tuple(whole(tap) in self.masked for tap in feed.taps)
        refusal = self._refusal(feed, carrying, takers)
        if refusal is not None and said:
            raise refusal.error(self._target(feed))
        passing = carrying
        if not said:
            free = [said is None and self._flows(tap) and not tap.part for tap in feed.taps]
            passing = tuple(carries and flows for carries, flows in zip(carrying, free, strict=True))
            if not any(passing) or self._refusal(feed, passing, takers) is not None:
                passing = ()
        if passing and self._arrives(feed, passing, takers):
            self.masked.add(Tap(feed.node, feed.port.name, merged=True))
        stop = ""
        if any(carrying) and passing != carrying:
            stop = "connect says mask=False" if said is False else _clause(refusal) if refusal is not None else ""
        return replace(feed, masks=passing, mask_stop=stop)

    def arrives(self, feed: Feed) -> bool:
        """Whether what arrives at an input port carries a mask."""
        return Tap(feed.node, feed.port.name, merged=True) in self.masked

    def _flows(self, tap: Tap) -> bool:
        """Whether the mask of a tensor goes on without being asked for."""
        return tap.node is not None and not tap.merged and self._spec.submodel(tap.node).is_layer

    def _arrives(self, feed: Feed, passing: Sequence[bool], takers: Takers) -> bool:
        return takers.merge(passing)[1] if _merges_by_layer(feed) else True

    def _target(self, feed: Feed) -> str:
        return feed.node if len(self._spec.submodel(feed.node).inputs) == 1 else f"{feed.node}.{feed.port.name}"

    def _refusal(self, feed: Feed, passing: Sequence[bool], takers: Takers) -> _Refusal | None:
        submodel = self._spec.submodel(feed.node)
        texts = [port.name for port in feed.tap_ports]
        if not submodel.is_keras:
            return _Refusal(f"'{submodel.name}' is {FRAMEWORKS[submodel.framework]}, not Keras")
        if not any(passing):
            expected = "an output behind keras.layers.Masking or Embedding(mask_zero=True)"
            return _Refusal(f"{_listed(texts)} carries none", expected)
        for text, tap, passes in zip(texts, feed.taps, passing, strict=True):
            if passes and tap.part:
                return _Refusal(f"'{text}' is a part, and the layers that cut it out drop the mask", "a whole output")
        heeded, carried = takers.merge(passing) if _merges_by_layer(feed) else (False, True)
        if heeded or (takers.port and carried):
            return self._merge_refusal(feed, passing) if len(feed.taps) > 1 else None
        if not carried:
            return _Refusal(f"{_layer_of(feed)} as merge= drops it, as in Keras")
        return _Refusal(f"no layer of '{submodel.name}' there heeds one or passes it on")

    def _merge_refusal(self, feed: Feed, passing: Sequence[bool]) -> _Refusal | None:
        kind = feed.merge.kind
        if kind == "layer":
            return None
        if kind not in _PASSING:
            layer = f"merge=keras.layers.{KINDS[kind].layer}() does with masks what Keras does"
            expected = f"one of {', '.join(_PASSING)}"
            return _Refusal(f"merge='{kind}' does not", expected, advice=layer if kind in _FILLING else "")
        if kind != "concatenate" and not all(passing):
            without = [port.name for port, passes in zip(feed.tap_ports, passing, strict=True) if not passes]
            what = f"with merge='{kind}' Keras passes a mask on only where all sources have one"
            return _Refusal(what, received=f"{_listed(without)} without a mask")
        if kind != "concatenate" and len({port.shape for port in feed.tap_ports}) > 1:
            what = f"with merge='{kind}' sources of different shapes have no common one"
            return _Refusal(what, "sources of one shape")
        return None


def _clause(refusal: _Refusal) -> str:
    """Why a mask stops, and what to do where something helps."""
    return f"{refusal.why}; {refusal.advice}" if refusal.advice else refusal.why


def _merges_by_layer(feed: Feed) -> bool:
    return len(feed.taps) > 1 and feed.merge.kind == "layer"


def _layer_of(feed: Feed) -> str:
    return str((feed.merge.layer or {}).get("class_name"))


def whole(tap: Tap) -> Tap:
    """The whole tensor that something is taken of."""
    return replace(tap, part=())


def stopped(wiring: Wiring, parts: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence for every connection at which a mask stops.

    Args:
        wiring: The graph.
        parts: The name of what each submodel runs in that is not in the final model: masks stay within it.
    """
    found = []
    for feed in (feed for node in wiring.order for feed in wiring.feeds[node]):
        for number, (tap, port) in enumerate(zip(feed.taps, feed.tap_ports, strict=True)):
            if whole(tap) in wiring.masked and not (feed.masks and feed.masks[number]):
                apart = any(parts.get(maker) != parts.get(feed.node) for maker in producers(wiring, tap))
                why = feed.mask_stop or (_APART if apart else "")
                end = f": {why}." if why else "; mask=True in connect passes it on."
                found.append(f"A Keras mask stops between '{port.name}' and '{_target(wiring, feed)}'{end}")
    return tuple(found)


def _target(wiring: Wiring, feed: Feed) -> str:
    return feed.node if len(wiring.feeds[feed.node]) == 1 else f"{feed.node}.{feed.port.name}"


def check_together(feed: Feed, apart: Sequence[Tap]) -> None:
    """Raise where a mask would have to go with one of the tensors that come from another stage or file.

    Only numbers go from one stage to the next.
    """
    for tap, port, passes in zip(feed.taps, feed.tap_ports, feed.masks or (False,) * len(feed.taps), strict=True):
        if passes and tap in apart:
            raise StitchError(
                f"The mask of '{port.name}' cannot go to '{feed.node}': {_APART}.",
                expected="a mask that stays within the stitched model, or within the dataloader",
                fix="Give both the same placement=, or put a model between them that makes the mask itself. With "
                "mask=False in connect, the mask stops there.",
            )


def _listed(texts: Sequence[str]) -> str:
    return " and ".join(f"'{text}'" for text in texts)
