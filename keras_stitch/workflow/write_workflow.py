"""Writes ``workflow/``: a Kipoi directory for every job, the environments, and Snakemake's files."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from keras_stitch import directory_layout as layout
from keras_stitch.directory import example_files, model_info, model_schemas
from keras_stitch.directory.dataloader_code import GeneratedDataloader, copy_components
from keras_stitch.directory.dataloader_plan import Merged
from keras_stitch.directory.feeders import PredictionsFeeder
from keras_stitch.directory.packed_models import Packing
from keras_stitch.directory.runtime_files import write_runtime
from keras_stitch.directory.split_plan import SplitLoaders
from keras_stitch.files import read_files
from keras_stitch.kipoi.model_directory import KipoiPart
from keras_stitch.kipoi.templates import template_text, write_yaml
from keras_stitch.placement.environments import Environment
from keras_stitch.placement.jobs import Flow, Job
from keras_stitch.terminal import Step
from keras_stitch.workflow import workflow_examples
from keras_stitch.workflow.environment_files import Needs

_STATIC = (layout.SNAKEFILE, layout.RULES, layout.SCRIPTS, layout.PROFILES)


_ABOUT = """\
# What the workflow runs with; `--config chunks=4` of keras-stitch run and of snakemake wins over what is said here.
# backend: uv, conda (kipoi env create), or container (Apptainer). python: of every environment. images: for containers,
# files from this folder, or docker://<name>. workers: processes that read, for each model. chunks: pieces of the rows
# that are predicted in parallel. A text among dataloader_args that names a file starts from this folder.
"""


class WorkflowWriter:
    """One writing of ``workflow/``; what came of the jobs so far is in ``chosen``, ``made_by`` and ``models``.

    Args:
        flow: The graph, cut into jobs and what remains.
        packings: The models of every job.
        directory: The generated directory.
        scratch: A folder for examples that are made.
        loaders: The merged dataloaders of all jobs.
        parts: For submodels that are Kipoi directories, what was read there.
        chosen: The example of every argument, files as paths here.
        step: Called with a few words for every job.
    """

    def __init__(
        self,
        flow: Flow,
        packings: Mapping[str, Packing],
        directory: Path,
        scratch: Path,
        loaders: SplitLoaders,
        parts: Mapping[str, KipoiPart],
        chosen: Mapping[str, Any],
        step: Step,
    ):
        self.flow, self.packings, self.loaders, self.parts, self.step = flow, packings, loaders, parts, step
        self.place, self.scratch = directory / layout.WORKFLOW, scratch
        self.chosen = dict(chosen)
        self.made_by: dict[str, str] = {}
        self.models: dict[str, dict[str, Any]] = {}

    def write(self) -> None:
        """Writes a Kipoi directory for each job, and runs on the examples those that can run here."""
        self.place.mkdir()
        templates = importlib.resources.files("keras_stitch.model_templates")
        for name in _STATIC:
            _copy(templates.joinpath("workflow", name), self.place / name)
        needs = {environment.name: self._needs(environment) for environment in self.flow.environments}
        for name, known in needs.items():
            known.write(self.place / layout.ENVIRONMENTS / name)
        self.step("making examples")
        self.chosen |= workflow_examples.downloads(self.scratch, self.chosen)
        tables, rows = workflow_examples.tables(self.scratch, self.flow, self.loaders.whole, self.chosen)
        self.chosen |= tables
        for job in self.flow.jobs:
            self._write_job(job, needs[job.environment].section)
            if f"{job.name}_file" not in self.chosen:
                self.step(f"running {job.name} on the examples")
                self.chosen[f"{job.name}_file"] = workflow_examples.predictions(
                    self.scratch, self.place, job, self.models[job.name], self.chosen, rows
                )
        self._write_config(needs)

    def _needs(self, environment: Environment) -> Needs:
        jobs = [job for job in self.flow.jobs if job.environment == environment.name]
        loaders = [it.component.dependencies for job in jobs for it in self.loaders.jobs[job.name].components]
        # Keras models that are saved anew need this Keras, whatever they needed before.
        anew = {submodel.name for job in jobs for submodel in job.spec.submodels if submodel.is_keras}
        names = [name for name in environment.submodels if name in self.parts and name not in anew]
        own = [self.parts[name].dependencies for name in names]
        more = [item for job in jobs for item in self.packings[job.name].requirements]
        more += [item for job in jobs for item in example_files.requirements(self.loaders.jobs[job.name], self.chosen)]
        return Needs(environment, [*own, *loaders], more)

    def _write_job(self, job: Job, dependencies: Mapping[str, Any]) -> None:
        self.step(f"writing {job.name} for its own environment")
        folder, merged = self.place / layout.JOBS / job.name, self.loaders.jobs[job.name].made_by(self.made_by)
        folder.mkdir(parents=True)
        copy_components(folder, merged)
        self.packings[job.name].write(folder)
        (folder / layout.MODEL_CODE).write_text(template_text("kipoi/passed_on.py"), encoding="utf-8")
        own = {name: value for name, value in self.chosen.items() if name in merged.owners}
        placed = example_files.place_examples(folder, own, example_files.file_names(merged, own))
        schemas = model_schemas.input_schemas(job.stages, merged, self.parts)
        # Nothing of the user's, and no example: predictions stay good where only those change.
        doc = f"{' and '.join(job.stages.whole.order)}, run in an environment of their own."
        about = {"authors": [], "doc": doc, "license": model_info.UNSPECIFIED}
        packing = self.packings[job.name]
        GeneratedDataloader(job.name, merged, schemas, {}, about, dependencies, packing).write(folder, {})
        write_runtime(folder, "directory", "hdf5_contents", "records")
        write_yaml(
            folder / layout.MODEL_YAML,
            {
                "defined_as": "model.PassedOn",
                "args": {},
                "default_dataloader": ".",
                "info": about,
                "dependencies": dependencies,
                "schema": {"inputs": schemas, "targets": schemas},
            },
        )
        self.made_by[job.name] = _manifest(folder)
        self.models[job.name] = _configured(job, merged, placed, folder.relative_to(self.place).as_posix())

    def _write_config(self, needs: Mapping[str, Needs]) -> None:
        pythons = {name: known.python for name, known in needs.items()}
        images = {name: f"{layout.ENVIRONMENTS}/{name}/{layout.BUILT_IMAGE}" for name in needs}
        settings = {"backend": "uv", "python": pythons, "images": images, "batch_size": 32, "workers": 0, "chunks": 1}
        limits = {"memory_mb": 4000, "runtime_minutes": 240}
        text = yaml.safe_dump({**settings, **limits, "models": self.models}, sort_keys=False, width=100)
        (self.place / layout.WORKFLOW_CONFIG).write_text(_ABOUT + text, encoding="utf-8")


def _configured(job: Job, merged: Merged, placed: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """What ``config.yaml`` says about a job: the examples stand for data until others are named."""
    reads = {it.path_argument: it.job for it in merged.files if isinstance(it, PredictionsFeeder)}
    args, listed = {}, []
    for argument in merged.arguments:
        if argument.name in placed and argument.name not in reads:
            value = placed[argument.name]
            is_file = isinstance(value, str) and value.startswith(f"{layout.EXAMPLES}/")
            args[argument.name] = f"{folder}/{value}" if is_file else value
            listed += [argument.name] if is_file else []
    return {"environment": job.environment, "dataloader_args": args, "files": listed, "predictions": reads}


def _manifest(folder: Path) -> str:
    """Writes the sha256 of all files of a job, its examples apart; returns that of what was written."""
    found = {
        path.relative_to(folder).as_posix(): read_files.sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.parent.name != layout.COMPILED
        and path.relative_to(folder).parts[0] != layout.EXAMPLES
    }
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    (folder / layout.MANIFEST).write_text(text, encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def _copy(source: Any, target: Path) -> None:
    """Copies a file or folder of the templates."""
    if source.is_file():
        target.write_bytes(source.read_bytes())
        return
    target.mkdir()
    for item in source.iterdir():
        if item.name != layout.COMPILED:
            _copy(item, target / item.name)
