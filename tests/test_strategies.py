"""The strategies draw what they claim to, so that the properties are about something."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from reference import run_inner
from strategies import ELEMENTWISE, LAYER_MERGES, Case, cases, makes_masks
from toy_layers import LAYERS
from toy_models import KINDS, alone, in_memory, leaves, saved


@pytest.fixture(scope="module")
def drawn() -> list[Case]:
    """A few hundred cases, the same each time."""
    found: list[Case] = []

    @settings(
        max_examples=300,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def draw(case: Case) -> None:
        found.append(case)

    draw()
    return found


def feeds(case: Case):
    return [feed for node in case.nodes for feed in node.feeds]


def has_merge(merge: str):
    return lambda case: any(feed.merge == merge and len(feed.sources) > 1 for feed in feeds(case))


def masked_into_another(case: Case) -> bool:
    masked = {node.name for node in case.nodes if makes_masks(node)}
    sources = [ref.tensor.of for feed in feeds(case) for ref in feed.sources]
    return any(of[0] == "output" and of[1] in masked for of in sources)


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(lambda case: len(case.nodes) == 8, id="eight submodels"),
        pytest.param(lambda case: any(node.share for node in case.nodes), id="shared"),
        pytest.param(lambda case: any(node.inner for node in case.nodes), id="inner outputs"),
        pytest.param(lambda case: any(ref.part for feed in feeds(case) for ref in feed.sources), id="part"),
        pytest.param(
            lambda case: any("," in ref.text for feed in feeds(case) for ref in feed.sources), id="part of several axes"
        ),
        pytest.param(
            lambda case: any("[-" in ref.text for feed in feeds(case) for ref in feed.sources), id="negative part"
        ),
        pytest.param(
            lambda case: any(ref.tensor.of[0] == "port" for feed in feeds(case) for ref in feed.sources),
            id="input port as source",
        ),
        pytest.param(lambda case: any(rule[0] == "unfreeze" for rule in case.rules), id="unfreeze"),
        pytest.param(lambda case: any(rule[2] for rule in case.rules), id="single layers frozen"),
        pytest.param(lambda case: bool(case.outputs), id="named outputs"),
        pytest.param(lambda case: any(given.explicit for given in case.inputs), id="named inputs"),
        pytest.param(masked_into_another, id="mask at a border"),
        *(pytest.param(has_merge(merge), id=merge) for merge in (*ELEMENTWISE, "concatenate", "stack", "dot", "layer")),
        *(
            pytest.param(
                lambda case, layer=layer: any(feed.layer == layer for feed in feeds(case)), id=f"layer {layer}"
            )
            for layer in LAYER_MERGES
        ),
    ],
)
def test_every_feature_is_drawn(wanted, drawn):
    assert sum(map(wanted, drawn)) >= 3


def test_every_kind_is_drawn(drawn):
    nodes = [node for case in drawn for node in case.nodes]
    assert {node.kind for node in nodes} == {*KINDS, *LAYERS}
    assert {node.how for node in nodes} == {"h5", "keras", "memory", "layer", "trained layer"}
    assert {node.trainable for node in nodes} == {None, True, False}
    assert {len(case.nodes) for case in drawn} == set(range(1, 9))


def test_graphs_are_well_formed(drawn):
    for case in drawn:
        assert_well_formed(case)


def assert_well_formed(case: Case) -> None:
    names = [node.name for node in case.nodes]
    assert len(set(names)) == len(names) and sorted(case.order) == sorted(names)
    inputs = {given.name: given for given in case.inputs}
    assert not set(inputs) & set(names)
    before: set[str] = set()
    for node in case.nodes:
        assert len(node.feeds) == len(node.ports) == len(node.arriving)
        for feed, arriving in zip(node.feeds, node.arriving, strict=True):
            assert (feed.name is None) == bool(feed.sources)
            assert feed.name is None or inputs[feed.name].actual == arriving
            # Data flows one way, and a part lies within its tensor.
            assert all(ref.tensor.of[0] == "input" or ref.tensor.of[1] in before for ref in feed.sources)
            parts = [
                (bounds, size)
                for ref in feed.sources
                if ref.part
                for bounds, size in zip(ref.part, ref.tensor.actual, strict=True)
            ]
            assert all(0 <= start < stop <= size for (start, stop), size in parts)
        before.add(node.name)
    for node in case.nodes:
        assert node.share is None or case.order.index(node.share) < case.order.index(node.name)


@pytest.mark.parametrize("kind", KINDS)
def test_toy_models_are_as_declared(kind: str):
    declared = KINDS[kind]
    for model in (in_memory(kind, 0), *(alone(kind, 0, format) for format in declared.formats)):
        shapes = {tuple(tensor.shape[1:]) for tensor in model.inputs}
        assert shapes == {shape for _, shape, _ in declared.inputs}
        assert [tuple(tensor.shape[1:]) for tensor in model.outputs] == [shape for _, shape in declared.outputs]
        assert {name for name, _, _ in declared.inputs if name} <= {tensor.name for tensor in model.inputs}
        for layer, shape in declared.inner:
            zeros = np.zeros((2, *declared.inputs[0][1]), "float32")
            assert run_inner(model, layer, [zeros]).shape == (2, *shape)


def test_names_collide():
    inside = [set(leaves(in_memory(kind, 0))) for kind in KINDS]
    assert sum("dense" in names for names in inside) > 5
    assert len({in_memory(kind, 0).name for kind in KINDS}) < len(KINDS) / 2


def test_files_are_written_once():
    assert saved("sequential", 0, "h5") is saved("sequential", 0, "h5")
    assert saved("sequential", 0, "h5") != saved("sequential", 1, "h5")
