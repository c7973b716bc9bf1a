"""Which layers of a graph train: the flags as saved, and what ``freeze`` and ``unfreeze`` made of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

from keras_stitch.checks import names, one_name
from keras_stitch.errors import StitchError, nearest
from keras_stitch.graphs.spec import FreezeRule, GraphSpec, LayerInfo, Submodel

# What tables say for each state.
FROZEN = {"all": "yes", "part": "partly", "none": "no"}

Flags = Mapping[str, Mapping[str, bool]]


def resolve_flags(spec: GraphSpec, problems: list[StitchError]) -> Flags:
    """Whether each layer trains, for every submodel that owns its weights.

    Args:
        spec: The graph; later rules win, and rules for a shared submodel count for its owner.
        problems: Where a pattern that matches nothing is reported.

    Returns:
        ``{submodel: {layer path: trains}}``.

    Example:
        >>> from keras_stitch.graphs.spec import Source
        >>> m = Submodel("m", Source("file", "m.h5"), layers=(LayerInfo("a", "Dense"), LayerInfo("b", "Dense")))
        >>> resolve_flags(GraphSpec("g", (m,), freezes=(FreezeRule("m", "a"),)), [])
        {'m': {'a': False, 'b': True}}
    """
    flags = {submodel.name: _start(submodel) for submodel in spec.submodels if submodel.share is None}
    for rule in spec.freezes:
        owners = dict.fromkeys(s.share or s.name for s in spec.submodels if fnmatchcase(s.name, rule.pattern))
        verb = "freeze" if rule.frozen else "unfreeze"
        if not owners:
            problems.append(
                StitchError(
                    f"{verb}('{rule.pattern}') matches no submodel.",
                    expected=nearest(rule.pattern, [s.name for s in spec.submodels]),
                )
            )
            continue
        matched = [(owner, layer) for owner in owners for layer in spec.submodel(owner).layers if _matches(rule, layer)]
        for owner, layer in matched:
            flags[owner][layer.path] = False if rule.frozen else layer.trainable
        if not matched and rule.layers is not None:
            paths = [layer.path for owner in owners for layer in spec.submodel(owner).layers]
            problems.append(
                StitchError(
                    f"{verb}('{rule.pattern}', layers='{rule.layers}') matches no layer.",
                    expected=nearest(rule.layers, paths),
                )
            )
    return flags


def frozen_states(spec: GraphSpec, flags: Flags, untrained: Collection[str] = ()) -> dict[str, str]:
    """``"all"``, ``"part"`` or ``"none"`` for every submodel, judged by the layers that have weights.

    Args:
        spec: The graph.
        flags: As ``resolve_flags`` gives them.
        untrained: Submodels that are outside the Keras model, so that nothing in them trains.
    """
    states = {}
    for submodel in spec.submodels:
        if submodel.name in untrained:
            states[submodel.name] = "all"
            continue
        owner = spec.submodel(submodel.share or submodel.name)
        weighted = [flags[owner.name][layer.path] for layer in owner.layers if layer.parameters or owner.is_layer]
        states[submodel.name] = frozen_state(weighted)
    return states


def frozen_state(trains: Collection[bool]) -> str:
    """How much of something is frozen, by whether each of its layers or weights trains.

    Example:
        >>> frozen_state([True, False]), frozen_state([False]), frozen_state([])
        ('part', 'all', 'none')
    """
    return "none" if all(trains) else "part" if any(trains) else "all"


def _start(submodel: Submodel) -> dict[str, bool]:
    if submodel.trainable is None:
        return {layer.path: layer.trainable for layer in submodel.layers}
    return {layer.path: submodel.trainable for layer in submodel.layers}


def _matches(rule: FreezeRule, layer: LayerInfo) -> bool:
    if rule.layers is None:
        return True
    return fnmatchcase(layer.path, rule.layers) or fnmatchcase(layer.path.rsplit("/", 1)[-1], rule.layers)


def rules(verb: str, patterns: tuple[object, ...], layers: object, *, frozen: bool) -> tuple[FreezeRule, ...]:
    """The rules of one call of ``freeze`` or ``unfreeze``."""
    pattern = None if layers is None else one_name(layers, f"{verb}(layers=...)")
    return tuple(FreezeRule(name, pattern, frozen) for name in names(patterns, f"{verb}(...)"))
