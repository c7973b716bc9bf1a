"""All models that run before the final one, where they can run here: of the jobs, then of the dataloader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from keras_stitch.kipoi.packing import Packing
from keras_stitch.whole import Arrays, Packed, Runs
from keras_stitch.workflow.jobs import Flow

_FOLDER = "workflow"


class Chain:
    """The models of the jobs and of the dataloader, as ``whole.Packed`` asks for them.

    Args:
        flow: The graph, cut into what runs.
        jobs: The models of every job.
        rest: The models that run in the dataloader, if any do.
    """

    def __init__(self, flow: Flow, jobs: Mapping[str, Packing], rest: Packed | None):
        self._flow, self._jobs, self._rest = flow, jobs, rest

    @property
    def models(self) -> Mapping[str, keras.Model]:
        """The Keras models among them, by step."""
        found = {name: model for packing in self._jobs.values() for name, model in packing.models.items()}
        return found | dict(self._rest.models if self._rest is not None else {})

    def write(self, directory: Path) -> None:
        """Write all of them into a directory."""
        for name, packing in self._jobs.items():
            packing.write(directory / _FOLDER / name)
        if self._rest is not None:
            self._rest.write(directory)

    def runner(self, directory: Path) -> Callable[[Mapping[str, Any]], Arrays]:
        """A function from graph inputs to the inputs of the final model, run by what was written."""
        jobs = [(job, self._jobs[job.name].runner(directory / _FOLDER / job.name)) for job in self._flow.jobs]
        rest = self._rest.runner(directory) if self._rest is not None else None
        inputs = [port.name for port in self._flow.stages.whole.inputs]

        def run(given: Mapping[str, Any]) -> Arrays:
            known = dict(given)
            for job, run_job in jobs:
                known |= run_job({port.name: known[port.name] for port in job.stages.whole.inputs})
            arriving = {name: known[name] for name in inputs}
            return arriving if rest is None else rest(arriving)

        return run

    def alone(self, owner: str) -> Runs:
        """A submodel that is no Keras model, loaded from its source: arrays in the order of its ports."""
        for job in self._flow.jobs:
            if owner in job.stages.whole.order:
                return self._jobs[job.name].alone(owner)
        assert self._rest is not None
        return self._rest.alone(owner)

    def last(self, directory: Path) -> Runs:
        """The last submodel, loaded from the directory that it was written into."""
        assert self._rest is not None
        return self._rest.last(directory)
