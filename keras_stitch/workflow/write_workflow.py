"""The generated ``workflow/``: a Kipoi directory for every job, the environments, and Snakemake's files."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from keras_stitch import files
from keras_stitch.directory import example_files, model_yaml
from keras_stitch.directory.dataloader_code import copy_components, write_dataloader
from keras_stitch.directory.dataloader_plan import Merged
from keras_stitch.directory.packed_models import Packing
from keras_stitch.directory.runtime_files import write_runtime
from keras_stitch.directory.split_plan import Joined, split
from keras_stitch.graphs.spec import GraphSpec, Wiring
from keras_stitch.kipoi.model_directory import KipoiPart
from keras_stitch.kipoi.templates import template_text, write_yaml
from keras_stitch.placement import requirements
from keras_stitch.placement.environments import Environment
from keras_stitch.placement.jobs import Flow, Job
from keras_stitch.placement.plan import Plan
from keras_stitch.workflow.workflow_examples import Examples

FOLDER = "workflow"


_STATIC = ("Snakefile", "rules", "scripts", "profiles")


_ABOUT = """\
# What the workflow runs with; `--config chunks=4` of keras-stitch run and of snakemake wins over what is said here.
# backend: uv, or conda (kipoi env create). python: of every environment. workers: processes that read, for each model.
# chunks: pieces of the rows that are predicted in parallel. A text among dataloader_args that names a file starts from
# this folder.
"""


@dataclass
class Workflow:
    """The jobs of a graph, ready to be written.

    Attributes:
        spec: The whole graph.
        flow: The same, cut into jobs and what remains.
        packings: The models of every job.
        made_by: The sha256 that stands for every job that was written.
    """

    spec: GraphSpec
    flow: Flow
    packings: Mapping[str, Packing]
    made_by: dict[str, str] = field(default_factory=dict)
    _made: Examples = field(default_factory=Examples)

    @property
    def whole(self) -> Wiring:
        """The whole graph, checked."""
        return self.flow.whole

    @property
    def plan(self) -> Plan:
        """Where all submodels run."""
        return self.flow.plan

    def remaining(self, merged: Merged) -> Merged:
        """The merged dataloader of what remains: the components that it needs, and the files of the jobs.

        Args:
            merged: That of the whole graph.
        """
        inputs = {port.name for port in self.flow.stages.whole.inputs}
        return split(merged, inputs, self._files(merged, self.flow.reads), targets=True)

    def everything(self, merged: Merged) -> Merged:
        """The merged dataloader of the whole graph with the files of the jobs: all arguments there are."""
        joined = self.remaining(merged)
        extra = [feeder for feeder in joined.feeders if feeder.predicted is not None]
        made = [argument for argument in joined.arguments if joined.owners[argument.name][0] in extra]
        owners = {argument.name: joined.owners[argument.name] for argument in made}
        return Merged((*extra, *merged.feeders), (*made, *merged.arguments), {**owners, **merged.owners})

    def of_job(self, merged: Merged, job: Job) -> Merged:
        """The merged dataloader of a job."""
        inputs = {port.name for port in job.stages.whole.inputs}
        return split(merged, inputs, self._files(merged, job.reads), targets=False)

    def _files(self, merged: Merged, reads: Mapping[str, str]) -> list[Joined]:
        """The files that something reads, in the order of the jobs."""
        found = []
        for job in self.flow.jobs:
            ports = tuple(output.port for output in job.gives if reads.get(output.port.name) == job.name)
            if ports:
                own, before = self.of_job(merged, job), self._before(merged, job)
                found.append(Joined(job.name, ports, own, self.made_by.get(job.name, ""), before))
        return found

    def _before(self, merged: Merged, job: Job) -> tuple[str, ...]:
        """The arguments of the jobs whose files a job reads, directly or through others."""
        names: dict[str, None] = {}
        for other in self.flow.jobs:
            if other.name in job.reads.values():
                own = (argument.name for argument in self.of_job(merged, other).arguments)
                names |= dict.fromkeys([*own, *self._before(merged, other)])
        return tuple(names)

    def write(
        self,
        directory: Path,
        merged: Merged,
        parts: Mapping[str, KipoiPart],
        chosen: Mapping[str, Any],
        step: Callable[[str], None],
    ) -> dict[str, Any]:
        """Writes ``workflow/`` with a Kipoi directory for each job, and runs on the examples those that can run here.

        Args:
            directory: The generated directory.
            merged: The merged dataloader of the whole graph.
            parts: For submodels that are Kipoi directories, what was read there.
            chosen: The example of every argument, files as paths here.
            step: Called with a few words for every job.

        Returns:
            The examples with those that were made: tables of random numbers, and files with predictions.
        """
        place, chosen = directory / FOLDER, dict(chosen)
        place.mkdir()
        for name in _STATIC:
            _copy(importlib.resources.files("keras_stitch.model_templates").joinpath("workflow", name), place / name)
        needs = {environment.name: self._needs(environment, merged, parts) for environment in self.flow.environments}
        for name, known in needs.items():
            known.write(place / "envs" / name)
        step("making examples")
        chosen |= self._made.downloads(chosen)
        tables, rows = self._made.tables(self.flow, merged, chosen)
        chosen |= tables
        models = {}
        for job in self.flow.jobs:
            step(f"writing {job.name} for its own environment")
            folder, own = place / "models" / job.name, self.of_job(merged, job)
            folder.mkdir(parents=True)
            placed = self._write_job(folder, job, own, parts, chosen, needs[job.environment].section)
            self.made_by[job.name] = _manifest(folder)
            models[job.name] = _configured(job, own, placed, folder.relative_to(place).as_posix())
            if (argument := f"{job.name}_file") not in chosen:
                step(f"running {job.name} on the examples")
                chosen[argument] = self._made.predictions(place, job, models[job.name], chosen, rows)
        pythons = {name: known.python for name, known in needs.items()}
        settings = {"backend": "uv", "python": pythons, "batch_size": 32, "workers": 0, "chunks": 1}
        limits = {"memory_mb": 4000, "runtime_minutes": 240}
        text = yaml.safe_dump({**settings, **limits, "models": models}, sort_keys=False, width=100)
        (place / "config.yaml").write_text(_ABOUT + text, encoding="utf-8")
        return chosen

    def _write_job(
        self,
        folder: Path,
        job: Job,
        merged: Merged,
        parts: Mapping[str, KipoiPart],
        chosen: Mapping[str, Any],
        dependencies: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Writes the Kipoi directory of a job; returns the examples of its arguments, as it names them."""
        packing = self.packings[job.name]
        copy_components(folder, merged)
        packing.write(folder)
        (folder / "model.py").write_text(template_text("kipoi/passed_on.py"), encoding="utf-8")
        own = {name: value for name, value in chosen.items() if name in merged.owners}
        placed = example_files.place_examples(folder, own, example_files.file_names(merged, own))
        schemas = model_yaml.input_schemas(job.stages, merged, parts)
        # Nothing of the user's, and no example: predictions stay good where only those change.
        doc = f"{' and '.join(job.stages.whole.order)}, run in an environment of their own."
        about = {"authors": [], "doc": doc, "license": model_yaml.UNSPECIFIED}
        write_dataloader(folder, job.name, merged, schemas, {}, job.gives, about, dependencies, {}, packing)
        write_runtime(folder, "records")
        write_yaml(
            folder / "model.yaml",
            {
                "defined_as": "model.PassedOn",
                "args": {},
                "default_dataloader": ".",
                "info": about,
                "dependencies": dependencies,
                "schema": {"inputs": schemas, "targets": schemas},
            },
        )
        return placed

    def _needs(self, environment: Environment, merged: Merged, parts: Mapping[str, KipoiPart]) -> Needs:
        jobs = [job for job in self.flow.jobs if job.environment == environment.name]
        loaders = [
            feeder.component.dependencies
            for job in jobs
            for feeder in self.of_job(merged, job).feeders
            if feeder.component is not None
        ]
        # Keras models that are saved anew need this Keras, whatever they needed before.
        anew = {submodel.name for job in jobs for submodel in job.spec.submodels if submodel.is_keras}
        own = [parts[name].dependencies for name in environment.submodels if name in parts and name not in anew]
        more = [item for job in jobs for item in self.packings[job.name].requirements]
        return Needs(environment, [*own, *loaders], more)


def _configured(job: Job, merged: Merged, placed: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """What ``config.yaml`` says about a job: the examples stand for data until others are named."""
    reads = {it.predicted.model: name for it in merged.feeders if it.predicted for name in it.arguments.values()}
    args, listed = {}, []
    for argument in merged.arguments:
        if argument.name in placed and argument.name not in reads.values():
            value = placed[argument.name]
            is_file = isinstance(value, str) and value.startswith(f"{example_files.FOLDER}/")
            args[argument.name] = f"{folder}/{value}" if is_file else value
            listed += [argument.name] if is_file else []
    return {
        "environment": job.environment,
        "dataloader_args": args,
        "files": listed,
        "predictions": {argument: model for model, argument in reads.items()},
    }


def _manifest(folder: Path) -> str:
    """Writes the sha256 of all files of a job, its examples apart; returns that of what was written."""
    found = {
        path.relative_to(folder).as_posix(): files.sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.parent.name != "__pycache__"
        and path.relative_to(folder).parts[0] != example_files.FOLDER
    }
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    (folder / "sha256.json").write_text(text, encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def _copy(source: Any, target: Path) -> None:
    """Copies a file or folder of the templates."""
    if source.is_file():
        target.write_bytes(source.read_bytes())
        return
    target.mkdir()
    for item in source.iterdir():
        if item.name != "__pycache__":
            _copy(item, target / item.name)


_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Needs:
    """What the models of one environment, their dataloaders and their custom objects need.

    Attributes:
        environment: The models, and what the plan found out.
        said: The ``dependencies`` of models and dataloaders, as Kipoi has them.
        more: Requirements of custom objects.
    """

    environment: Environment
    said: Sequence[Mapping[str, Sequence[str]]] = ()
    more: Sequence[str] = ()

    @property
    def python(self) -> str:
        """The version of Python that one of them names, or else this one."""
        return next((found for it in self.said if (found := requirements.python_of(it))), _PYTHON)

    @property
    def pip(self) -> list[str]:
        """As pip and uv have them: those of conda, too, where pip has a package of that name."""
        declared = [item for it in self.said for item in requirements.declared(it)]
        return list(requirements.joined([*self.environment.requirements, *declared, *self.more]))

    @property
    def section(self) -> dict[str, list[str]]:
        """The ``dependencies`` section of Kipoi, for ``kipoi env create``: conda's packages from conda."""
        conda = _once(item for it in self.said for item in it.get("conda", ()))
        from_conda = requirements.declared({"conda": conda})
        pip = [item for item in self.pip if item not in from_conda]
        channels = _once(item for it in self.said for item in it.get("conda_channels", ()) if item != "defaults")
        kept = [item for item in conda if not re.fullmatch(r"(?:.*::)?\s*python\b(?!-).*", item)]
        return {"conda": [f"python={self.python}", *kept], "pip": pip, "conda_channels": [*channels, "defaults"]}

    def write(self, folder: Path) -> None:
        """Writes ``requirements.txt`` and ``environment.yaml``."""
        folder.mkdir(parents=True)
        of = ", ".join(self.environment.submodels)
        (folder / "requirements.txt").write_text(f"# Needed by {of}.\n" + "".join(f"{item}\n" for item in self.pip))
        section = self.section
        named: list[Any] = [*section["conda"], "pip", {"pip": section["pip"]}]
        described = {"name": f"kipoi-{self.environment.name}", "channels": section["conda_channels"]}
        write_yaml(folder / "environment.yaml", {**described, "dependencies": named})


def _once(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))
