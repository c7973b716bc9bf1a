"""The main promise: a graph predicts the same numbers, wherever its submodels run."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from backends import as_array
from hypothesis import assume, event, given
from hypothesis import strategies as st
from keras_stitch.model_templates.kipoi import merging as M
from keras_stitch.model_templates.kipoi.merging import records
from reference import World, assert_equal
from strategies import Case, cases
from toy_models import KINDS
from wrapped_models import wrapped

import keras_stitch as ks
from keras_stitch.assembly import Assembly
from keras_stitch.errors import StitchError
from keras_stitch.placement.cut_into_stages import Stages
from keras_stitch.placement.jobs import Flow, Job, flow
from keras_stitch.verify.run_stages import Whole


class Lent:
    """Models as one that lends its layers, for weights that were drawn when they were built."""

    def __init__(self, *models: keras.Model | None):
        self.layers = {layer.name: layer for model in models if model is not None for layer in model.layers}

    def get_layer(self, name: str) -> keras.Layer:
        return self.layers[name]


def assert_allowed(problem: StitchError) -> None:
    """Layers whose weights would be drawn anew are not packed, and masks do not go from one stage to the next."""
    allowed = ("where nothing is trained, and its weights are new", "only numbers go from one to the next")
    assert any(text in str(problem) for text in allowed)


def run(graph: ks.Graph, data: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], Lent, Stages]:
    """What all stages predict one after another, the packed models loaded by Kipoi from what was written."""
    try:
        packing = graph._assembly().packing
    except StitchError as problem:
        assert_allowed(problem)
        assume(False)
    stages = graph._flow().stages
    final = None if stages.final is None else graph.build()
    with tempfile.TemporaryDirectory() as folder:
        if packing is not None:
            packing.write(Path(folder))
        whole = Whole(stages, final, packing, Path(folder))
        predicted = whole([data[port.name] for port in stages.whole.inputs])
        names = [output.port.name for output in stages.whole.outputs]
        named = predicted if isinstance(predicted, dict) else {names[0]: predicted}
        found = {name: as_array(named[name]) for name in names}
    return found, Lent(final, *(packing.models.values() if packing is not None else ())), stages


def assert_flows_one_way(stages: Stages) -> None:
    """No submodel of the model feeds one of the dataloader, and none runs in both."""
    packed = [name for step in stages.steps for name in step.submodels]
    assert len(set(packed)) == len(packed)
    assert set(packed) == set(stages.plan.at("dataloader"))
    if stages.final is not None:
        assert set(stages.final.order) == set(stages.plan.at("model"))


@given(st.data(), cases())
def test_any_keras_submodels_in_the_dataloader(draws: st.DataObject, case: Case):
    world = World(case)
    names = [node.name for node in case.nodes if node.share is None]
    placed = draws.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    graph, data = world.graph(placed), world.data()
    found, lent, stages = run(graph, data)
    assert_flows_one_way(stages)
    assert len([step for step in stages.steps if step.submodels]) == 1  # they run as one
    assert set(placed) <= set(stages.plan.at("dataloader"))
    assert_equal(found, world.expected(data, lent))
    event(f"{len(stages.plan.at('dataloader'))} of {len(case.nodes)} packed")


@given(st.data(), cases())
def test_models_that_are_not_keras_anywhere(draws: st.DataObject, case: Case):
    world = World(case)
    models = [node for node in case.nodes if node.share is None and node.kind in KINDS and node.inner is None]
    assume(models)
    chosen = draws.draw(st.lists(st.sampled_from(models), min_size=1, unique_by=lambda node: node.name))
    foreign = {node.name: wrapped(node.kind, node.seed) for node in chosen}
    rest = [node.name for node in case.nodes if node.share is None and node.name not in foreign]
    placed = draws.draw(st.lists(st.sampled_from(rest), max_size=1)) if rest else []
    graph, data = world.graph(placed, foreign), world.data()
    found, lent, stages = run(graph, data)
    assert_flows_one_way(stages)
    assert {name for name in foreign if name != stages.last} <= set(stages.plan.at("dataloader"))
    assert_equal(found, world.expected(data, lent))
    event(f"{len(stages.steps)} steps, last {stages.last is not None}")


class NobodyAsks:
    """Stands for the package index: the pins below exclude each other by their numbers alone."""

    def resolves(self, requirements: Collection[str], python: str = "") -> bool | None:
        return True


def through_file(folder: Path, job: Job, made: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a job predicts, as the dataloader of what comes next reads it from its file."""
    path = folder / f"{job.name}.h5"
    names = [output.port.name for output in job.gives]
    assert set(made) == set(names)
    rows = len(made[names[0]])
    with h5py.File(path, "w") as file:
        file["rows/number"] = np.arange(rows)
        for name in names:
            file[f"preds/{name}"] = made[name]
        file["rows/digest"] = records.digests(records.covered(file))
        records.write_record(file, {"model": job.name, "directory": "it", "arguments": {}, "predictions": {}})
    read = M.Predictions(job.name, str(path), {name: (name, made[name].shape[1:]) for name in names}, made_by="it")
    block = read.read(range(rows))
    return {name: block["inputs", name] for name in names}


def run_apart(
    graph: ks.Graph, rooms: Mapping[str, int], data: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], Lent, Flow]:
    """What all predict with every submodel of ``rooms`` in an environment of that number, joined by files."""
    wiring, flags = graph._check()
    pinned = [
        replace(it, requires=(f"room=={rooms[it.share or it.name]}",)) if (it.share or it.name) in rooms else it
        for it in graph.spec.submodels
    ]
    spec = replace(graph.spec, submodels=tuple(pinned))
    try:
        cut = flow(spec, wiring, NobodyAsks())
    except StitchError as problem:
        assert_allowed(problem)
        assume(False)
    assembly, known, models = Assembly(spec, cut, flags, graph._added), dict(data), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            packings, rest = assembly.job_packings(), assembly.packing
        except StitchError as problem:
            assert_allowed(problem)
            assume(False)
        for job in cut.jobs:
            packing, place = packings[job.name], folder / job.name
            packing.write(place)
            models += packing.models.values()
            made = packing.runner(place)({port.name: known[port.name] for port in job.stages.whole.inputs})
            known |= through_file(folder, job, made)
        if rest is not None:
            rest.write(folder / "rest")
            models += rest.models.values()
        final = assembly.build()
        whole = Whole(cut.stages, final, rest, folder / "rest")
        predicted = whole([known[port.name] for port in cut.stages.whole.inputs])
        names = [output.port.name for output in wiring.outputs]
        named = predicted if isinstance(predicted, dict) else {names[0]: predicted}
        return {name: as_array(named[name]) for name in names}, Lent(final, *models), cut


@given(st.data(), cases())
def test_any_submodels_in_environments_of_their_own(draws: st.DataObject, case: Case):
    """Each alone or together, the later ones reading what the earlier ones wrote, others in the dataloader."""
    world = World(case)
    names = [node.name for node in case.nodes if node.share is None]
    beforehand = draws.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    rooms = {name: draws.draw(st.integers(1, 2)) for name in names}
    models = [node for node in case.nodes if node.share is None and node.kind in KINDS and node.inner is None]
    chosen = (
        draws.draw(st.lists(st.sampled_from(models), max_size=2, unique_by=lambda node: node.name)) if models else []
    )
    foreign = {node.name: wrapped(node.kind, node.seed) for node in chosen}
    graph, data = world.graph((), foreign, beforehand), world.data()
    found, lent, cut = run_apart(graph, rooms, data)
    assert set(beforehand) <= set(cut.plan.at("workflow"))
    assert_flows_one_way(cut.stages)
    done: set[str] = set()
    for job in cut.jobs:
        assert set(job.reads.values()) <= done  # what it reads is there
        done.add(job.name)
    ran = [name for job in cut.jobs for name in job.stages.whole.order]
    assert sorted(ran) == sorted(cut.plan.at("workflow"))
    assert_equal(found, world.expected(data, lent))
    event(f"{len(cut.jobs)} jobs, {len(cut.plan.at('model'))} submodels left")


@pytest.mark.parametrize("placed", [[], ["trunk"], ["trunk", "left"], ["trunk", "left", "right"]])
def test_every_allowed_set_of_a_fork(placed: list[str]):
    def dense(size: int, units: int, name: str) -> keras.Model:
        inputs = keras.Input((size,), name=name)
        return keras.Model(inputs, keras.layers.Dense(units, "tanh", kernel_initializer="ones")(inputs))

    graph = ks.Graph("fork")
    for name, size, units in (("trunk", 3, 4), ("left", 4, 2), ("right", 4, 2)):
        graph.add(name, dense(size, units, "x"), placement="dataloader" if name in placed else None)
    graph.connect("trunk", "left").connect("trunk", "right")
    data = {"x": np.array([[0.1, 0.2, -0.1], [0.0, 0.5, 0.3]], "float32")}
    found, _, stages = run(graph, data)
    assert sorted(stages.plan.at("dataloader")) == sorted(placed)
    trunk = np.tanh(data["x"].sum(1))
    want = np.repeat(np.tanh(4 * trunk)[:, None], 2, 1)
    assert_equal(found, {"left": want, "right": want})
