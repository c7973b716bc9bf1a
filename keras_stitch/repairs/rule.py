"""What a rule is, and what is said of it once it was needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from keras_stitch.repairs.saved import Layer, Saved, walk


@dataclass(frozen=True)
class Rule:
    """One quirk of old files, and its repair.

    Attributes:
        name: What tables call it: ``hard-sigmoid``.
        why: What was, and what is done about it, in a sentence without its end.
        apply: Repairs a whole file in place and says in which layers, by path.
        legacy: Whether only files of Keras 1 and 2 can have it.
    """

    name: str
    why: str
    apply: Callable[[Saved], list[str]]
    legacy: bool = True


@dataclass(frozen=True)
class Repair:
    """That a rule was needed.

    Attributes:
        rule: The rule's name.
        why: As the rule has it.
        where: The layers, by path; empty for the model as a whole.
    """

    rule: str
    why: str
    where: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = [place for place in self.where if place]
        shown = ", ".join(where[:_SHOWN]) + (f" and {len(where) - _SHOWN} more" if len(where) > _SHOWN else "")
        return f"{self.rule}{f' ({shown})' if shown else ''}: {self.why}"


_SHOWN = 3


def each_layer(change: Callable[[Layer, Saved], bool], *, custom: bool = False) -> Callable[[Saved], list[str]]:
    """A rule's ``apply`` from what it does to a single layer, which says whether it did something.

    Args:
        change: Repairs a layer.
        custom: Whether it is for layers of the user's classes, too.
    """

    def apply(saved: Saved) -> list[str]:
        # Listed first: a change may add or replace layers.
        layers = [(path, layer) for path, layer in walk(saved.model) if custom or not saved.is_custom(layer)]
        return [path for path, layer in layers if change(layer, saved)]

    return apply


def configured(saved: Saved, *classes: str) -> Iterator[tuple[str, Layer]]:
    """The layers of some classes of Keras, with their paths."""
    for path, layer in list(walk(saved.model)):
        if layer.get("class_name") in classes and not saved.is_custom(layer):
            yield path, layer
