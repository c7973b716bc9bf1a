"""The arguments of the merged dataloader: which parts share one, and what it is called."""

from __future__ import annotations

import filecmp
import keyword
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_stitch.directory.feeders import Feeder
from keras_stitch.errors import StitchError, nearest
from keras_stitch.kipoi.component import Component
from keras_stitch.kipoi.dataloader import Dataloader, named
from keras_stitch.kipoi.schema import Argument, Missing

# Names that the generated __init__ uses itself.
_RESERVED = {"self", "LOADERS", "merging"}


class Owner(NamedTuple):
    """A part that takes an argument of the merged dataloader, and the argument as the part has it."""

    part: str
    argument: Argument
    may_share: bool


def owners_of(feeders: Iterable[Feeder]) -> dict[str, list[Owner]]:
    """The parts that take each argument of the merged dataloader."""
    found: dict[str, list[Owner]] = {}
    for feeder in feeders:
        for own, name in feeder.arguments.items():
            found.setdefault(name, []).append(Owner(feeder.name, feeder.argument(own), feeder.may_share(own)))
    return found


def passed_names(name: str, component: Component, dataloader: Dataloader) -> dict[str, str]:
    """The name in the merged dataloader for every argument that the component of some name passes on.

    Raises:
        StitchError: When ``share`` or ``separate`` names no argument of it.
    """
    known = [argument.name for argument in component.arguments if argument.exposed]
    separate, share = named(dataloader.separate), named(dataloader.share)
    for what, names in (("share", share), ("separate", separate)):
        for own in names:
            if own not in known:
                raise StitchError(
                    f"{what}= names '{own}', which the dataloader '{component.label}' has no argument for.",
                    expected=nearest(own, known),
                )
    passed = {}
    for argument in component.arguments:
        if argument.exposed:
            plain = argument.name not in separate and (argument.required or argument.name in share)
            passed[argument.name] = argument.name if plain else f"{name}_{argument.name}"
    return passed


def merge_arguments(owners: Mapping[str, Sequence[Owner]]) -> tuple[Argument, ...]:
    """The arguments of the merged dataloader, required ones first.

    Raises:
        StitchError: When a name cannot be one, or parts that share one do not agree on it.
    """
    arguments = []
    for name, who in owners.items():
        part, first = who[0].part, who[0].argument
        if not name.isidentifier() or keyword.iskeyword(name) or name in _RESERVED:
            raise StitchError(
                f"The argument '{first.name}' of '{part}' cannot be one of the merged dataloader, as '{name}'.",
                expected="a Python name that is no keyword and not one of " + ", ".join(sorted(_RESERVED)),
                fix=f"Give it a value with ks.Dataloader(..., args={{{first.name!r}: ...}})."
                if part.isidentifier()
                else "Give the input a name of letters, digits and underscores with graph.add_input.",
            )
        if len(who) > 1 and not all(owner.may_share for owner in who):
            listed = " and ".join(f"'{owner.argument.name}' of '{owner.part}'" for owner in who)
            raise StitchError(
                f"Two arguments of the merged dataloader would be called '{name}': {listed}.",
                fix="Give one of the submodels or inputs another name.",
            )
        arguments.append(_agreed(name, who))
    return tuple(sorted(arguments, key=lambda argument: not argument.required))


def _agreed(name: str, who: Sequence[Owner]) -> Argument:
    """One argument for several parts, which have to agree on it."""
    arguments = [owner.argument for owner in who]
    types = {owner.argument.type: owner.part for owner in reversed(who) if owner.argument.type is not None}
    if len(types) > 1:
        raise _disagree(name, "type", list(reversed(types.items())))
    required, first = any(argument.required for argument in arguments), arguments[0]
    for part, argument, _ in who:
        if not required and argument.default != first.default:
            raise _disagree(name, "default", [(repr(first.default), who[0].part), (repr(argument.default), part)])
    docs = list(dict.fromkeys(argument.doc for argument in arguments if argument.doc))
    examples = [argument.example for argument in arguments if argument.example is not Missing]
    return Argument(
        name=name,
        doc=" / ".join(docs) or f"Argument {first.name} of {' and '.join(owner.part for owner in who)}.",
        type=next(iter(types), None) or ("str" if required else _type_of(first.default)),
        required=required,
        default=None if required else first.default,
        example=examples[0] if examples else Missing,
    )


def _disagree(name: str, what: str, said: list[tuple[Any, str]]) -> StitchError:
    listed = ", ".join(f"{value} in '{owner}'" for value, owner in said)
    return StitchError(
        f"The parts do not agree on the {what} of the argument '{name}', which they share: {listed}.",
        fix=f"Keep them apart with ks.Dataloader(..., separate={name!r}), or give one of them a value of its own: "
        f"ks.Dataloader(..., args={{{name!r}: ...}}).",
    )


def distinct_examples(who: Iterable[Owner]) -> list[tuple[str, Any]]:
    """The examples that parts have for an argument, those that are equal or equal files once."""
    found: list[tuple[str, Any]] = []
    for part, argument, _ in who:
        example = argument.example
        if example is not Missing and not any(_equal(example, known) for _, known in found):
            found.append((part, example))
    return found


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Path) and isinstance(b, Path):
        return a == b or filecmp.cmp(a, b, shallow=False)
    return bool(a == b)


def _type_of(default: Any) -> str | None:
    """The type of a default; ``None`` where it says nothing."""
    if isinstance(default, bool | int | float):
        return type(default).__name__
    return "str" if isinstance(default, str | Path) else None
