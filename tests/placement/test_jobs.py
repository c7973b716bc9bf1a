"""A placed graph cut into jobs and what remains."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest
from plain_graphs import node, spec

from keras_stitch.errors import StitchError
from keras_stitch.graphs.spec import GraphSpec, InputSpec, Merge, Submodel
from keras_stitch.graphs.wiring import wire
from keras_stitch.placement.jobs import Flow, flow

SEED = {"model2": ["model1", "model1.model1_x"], "model4": ["model2", "model3"]}


class Agrees:
    """An index in which everything fits that does not exclude each other by its numbers."""

    def resolves(self, requirements: Collection[str], python: str = "") -> bool | None:
        return True


def seed(**changes: dict[str, Any]) -> GraphSpec:
    """model1 -> model2 -> model4 <- model3."""
    sizes = {"model1": (3, 4), "model2": (7, 3), "model3": (6, 4), "model4": (7, 1)}
    nodes = [
        replace(node(name, {f"{name}_x": (taken,)}, {"out": (given,)}), **changes.get(name, {}))
        for name, (taken, given) in sizes.items()
    ]
    return spec(*nodes, connect=SEED)


def cut(graph: GraphSpec) -> Flow:
    return flow(graph, wire(graph), Agrees())


def away(pin: str) -> dict[str, Any]:
    return {"requires": (pin,), "unmet": (pin,), "elsewhere": f"needs {pin} (here: none)", "framework": "scikit-learn"}


def names(found: Flow) -> list[tuple[str, str, dict[str, str]]]:
    return [(job.name, job.environment, dict(job.reads)) for job in found.jobs]


def test_nothing_leaves() -> None:
    found = cut(seed())
    assert not found.jobs and found.stages.whole == wire(seed()) and found.remarks == ()


def test_two_environments_and_what_one_reads_of_the_other() -> None:
    found = cut(seed(model1=away("x==1"), model2=away("x==2")))
    assert names(found) == [("model1", "model1", {}), ("model2", "model2", {"model1": "model1"})]
    first, second = found.jobs
    assert [port.name for port in first.stages.whole.inputs] == ["model1_x"]
    assert [port.name for port in second.stages.whole.inputs] == ["model1_x", "model1"]
    assert [output.port.name for output in second.gives] == ["model2"]
    assert [port.name for port in found.stages.whole.inputs] == ["model3_x", "model2"]
    assert dict(found.reads) == {"model2": "model2"}
    assert found.stages.final is not None and found.stages.final.order == ("model3", "model4")
    assert found.outside == ("model1", "model2")
    assert found.remarks == ("Without 'model1' and 'model2', which run in environments of their own.",)
    assert not any(job.runs_here for job in found.jobs)


def test_those_that_agree_run_together() -> None:
    found = cut(seed(model1=away("x==1"), model3=away("y==2")))
    assert names(found) == [("model1_model3", "model1_model3", {})]
    assert [output.port.name for output in found.jobs[0].gives] == ["model1", "model3"]
    # What model2 takes beside is read once more.
    assert [port.name for port in found.stages.whole.inputs] == ["model1_x", "model1", "model3"]


def test_one_environment_twice() -> None:
    """What feeds and what is fed by another environment cannot run together, though both are in one."""
    chain = {f"m{number}": away(f"x=={number % 2}") for number in range(3)}
    nodes = [replace(node(name, {"x": (3,)}, {"out": (3,)}), **options) for name, options in chain.items()]
    found = cut(spec(*nodes, connect={"m1": ["m0"], "m2": ["m1"]}))
    assert names(found) == [("m0", "m0_m2", {}), ("m1", "m1", {"m0": "m0"}), ("m2", "m0_m2", {"m1": "m1"})]
    assert found.stages.final is not None and found.stages.final.order == ()
    assert found.plan.remark == "No Keras model remains: the model only passes on what the dataloader delivers."


def test_keras_models_that_run_here_are_saved_by_this_keras() -> None:
    found = cut(seed(model1={"placement": "workflow"}, model3={**away("keras==2.15.0"), "framework": "keras"}))
    mine, other = found.jobs
    assert mine.spec.submodel("model1").is_keras and mine.runs_here
    assert not other.spec.submodel("model3").is_keras and not other.runs_here
    assert [step.cut is None for job in found.jobs for step in job.stages.steps] == [False, True]


def test_pins_that_nothing_meets_do_not_count() -> None:
    class Old(Agrees):
        def resolves(self, requirements: Collection[str], python: str = "") -> bool | None:
            return not any(item.startswith("theano") for item in requirements)

    graph = seed(model3={"requires": ("theano==1",), "unmet": ("theano==1",), "placement": "workflow"})
    found = flow(graph, wire(graph), Old())
    assert found.jobs[0].spec.submodel("model3").is_keras and found.jobs[0].runs_here


def test_weights_that_two_jobs_share() -> None:
    first = replace(node("m0", {"x": (3,)}, {"out": (3,)}), requires=("x==1",), placement="workflow")
    between = replace(node("m1", {"x": (3,)}, {"out": (3,)}), **away("x==2"))
    again = replace(first, name="m2", share="m0", placement=None)
    found = cut(spec(first, between, again, connect={"m1": ["m0"], "m2": ["m1"]}))
    assert [(job.name, dict(job.owners)) for job in found.jobs] == [("m0", {}), ("m1", {}), ("m2", {"m2": "m0"})]
    assert found.jobs[2].spec.submodel("m2").share is None


def test_what_is_merged_for_one_is_merged_once_more_elsewhere() -> None:
    nodes = [node(name, {f"{name}_x": (3,)}, {"out": (3,)}) for name in ("m0", "m1")]
    nodes[0] = replace(nodes[0], placement="workflow")
    connect = {"m0": (["a", "b"], Merge("add")), "m1": (["m0.m0_x", "m0"], Merge("add"))}
    graph = spec(*nodes, connect=connect, inputs=[InputSpec(name, (), (3,), "float32") for name in "ab"])
    found = cut(graph)
    assert [port.name for port in found.stages.whole.inputs] == ["a", "b", "m0"]


def test_a_later_stage_that_was_asked_for() -> None:
    with pytest.raises(StitchError, match=r"'model1' cannot run in the stitched model: it feeds 'model2', which runs"):
        cut(seed(model1={"placement": "model"}, model2=away("x==1")))


def test_a_submodel_keeps_what_was_said_of_it() -> None:
    found = cut(seed(model1=away("x==1")))
    assert isinstance(found.jobs[0].spec.submodel("model1"), Submodel)
    assert found.jobs[0].spec.submodel("model1").elsewhere == "needs x==1 (here: none)"


def test_what_the_user_says_of_a_model_that_is_copied_as_it_is() -> None:
    pins = {"requires": ("keras==2.15.0",), "unmet": ("keras==2.15.0",), "placement": "workflow"}
    with pytest.raises(StitchError) as caught:
        cut(seed(model1={**pins, "inner_outputs": ("pool",)}))
    assert str(caught.value) == (
        "Submodel 'model1' runs in an environment of its own, as its Kipoi directory says, and outputs= says "
        "otherwise.\n"
        "  Expected: none, or placement='model' for one that this Keras loads: keras==2.15.0\n"
        "  Received: outputs= pool"
    )
