"""Which layers of a graph train: the flags as saved, and what ``freeze`` and ``unfreeze`` made of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

from keras_stitch.checks import names, one_name
from keras_stitch.errors import Problems, nearest
from keras_stitch.graphs.spec import FreezeRule, GraphSpec, LayerInfo, Submodel

# What tables say for each state.
FROZEN = {"all": "yes", "part": "partly", "none": "no"}

Flags = Mapping[str, Mapping[str, bool]]


def resolve_flags(spec: GraphSpec, problems: Problems) -> Flags:
    """Whether each layer trains, for every submodel that owns its weights: ``{submodel: {layer path: trains}}``.

    Later rules win, and rules for a shared submodel count for its owner. A pattern that matches nothing is a problem.
    """
    flags = {submodel.name: _start(submodel) for submodel in spec.submodels if submodel.share is None}
    for rule in spec.freezes:
        owners = dict.fromkeys(s.owner for s in spec.submodels if fnmatchcase(s.name, rule.pattern))
        verb = "freeze" if rule.frozen else "unfreeze"
        if not owners:
            known = nearest(rule.pattern, [s.name for s in spec.submodels])
            problems.add(f"{verb}('{rule.pattern}') matches no submodel.", expected=known)
            continue
        matched = [(owner, layer) for owner in owners for layer in spec.submodel(owner).layers if _matches(rule, layer)]
        for owner, layer in matched:
            flags[owner][layer.path] = False if rule.frozen else layer.trainable
        if not matched and rule.layers is not None:
            known = nearest(rule.layers, [layer.path for owner in owners for layer in spec.submodel(owner).layers])
            problems.add(f"{verb}('{rule.pattern}', layers='{rule.layers}') matches no layer.", expected=known)
    return flags


def frozen_states(spec: GraphSpec, flags: Flags, untrained: Collection[str] = ()) -> dict[str, str]:
    """``"all"``, ``"part"`` or ``"none"`` for every submodel, judged by the layers that have weights.

    Nothing trains in ``untrained`` submodels, which are outside the Keras model.
    """

    def state(submodel: Submodel) -> str:
        owner = spec.submodel(submodel.owner)
        return frozen_state([flags[owner.name][it.path] for it in owner.layers if it.parameters or owner.is_layer])

    return {submodel.name: "all" if submodel.name in untrained else state(submodel) for submodel in spec.submodels}


def frozen_state(trains: Collection[bool]) -> str:
    """How much of something is frozen, by whether each of its layers or weights trains.

    Example:
        >>> frozen_state([True, False]), frozen_state([False]), frozen_state([])
        ('part', 'all', 'none')
    """
    return "none" if all(trains) else "part" if any(trains) else "all"


def random_in_fit(spec: GraphSpec, flags: Flags, outside: Collection[str] = ()) -> tuple[str, ...]:
    """Which frozen submodels are random in ``fit`` all the same, a sentence for each.

    Those ``outside`` the Keras model are not.
    """
    states, found = frozen_states(spec, flags), []
    for submodel in spec.submodels:
        layers = [f"'{layer.path}' ({layer.class_name})" for layer in submodel.layers if layer.augments]
        if not layers or submodel.share is not None or submodel.name in outside:
            continue
        if states[submodel.name] == "all" or not any(flags[submodel.name].values()):
            one = len(layers) == 1
            found.append(
                f"'{submodel.name}' is frozen, but in fit its {'layer' if one else 'layers'} {', '.join(layers)} "
                f"still {'changes' if one else 'change'} data at random; predict and a direct call never do."
            )
    return tuple(found)


def _start(submodel: Submodel) -> dict[str, bool]:
    given = submodel.trainable
    return {layer.path: layer.trainable if given is None else given for layer in submodel.layers}


def _matches(rule: FreezeRule, layer: LayerInfo) -> bool:
    names = (layer.path, layer.path.rsplit("/", 1)[-1])
    return rule.layers is None or any(fnmatchcase(name, rule.layers) for name in names)


def rules(verb: str, patterns: tuple[object, ...], layers: object, *, frozen: bool) -> tuple[FreezeRule, ...]:
    """The rules of one call of ``freeze`` or ``unfreeze``."""
    pattern = None if layers is None else one_name(layers, f"{verb}(layers=...)")
    return tuple(FreezeRule(name, pattern, frozen) for name in names(patterns, f"{verb}(...)"))
