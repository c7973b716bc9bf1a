# What the rules ask about models: where their files are, and how they are run.

import json
import os
import re
import shlex
import sys

import yaml
from snakemake.exceptions import WorkflowError

FOLDER = Path(workflow.basedir).resolve()
MODELS = config["models"]
RETRIES = config.get("retries")  # None: as often as --retries says
MODELS_OF = {}
for name, model in MODELS.items():
    MODELS_OF.setdefault(model["environment"], []).append(name)

if config["backend"] not in ("uv", "conda"):
    raise WorkflowError(f"backend in config.yaml has to be uv or conda. Received: {config['backend']}")
if int(config["chunks"]) < 1 or int(config["batch_size"]) < 1:
    raise WorkflowError("chunks and batch_size in config.yaml have to be 1 or more.")
for name, model in MODELS.items():
    for argument, source in model["predictions"].items():
        if source not in MODELS:
            raise WorkflowError(f"{argument} of '{name}' in config.yaml names a model that is not there: {source}")

# uv and Kipoi may be next to the Python that runs Snakemake, which need not be active. PYTHONPATH would bring packages
# into environments that others than theirs.
BESIDE = shlex.quote(os.path.dirname(sys.executable))
shell.prefix(f'set -euo pipefail; unset PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE; PATH="$PATH":{BESIDE}; ')


def one_of(names):
    """Returns the regular expression of some names."""
    return "|".join(re.escape(name) for name in names)


def memory(wildcards, attempt):
    """Returns megabytes; more for each time that a job was tried."""
    return config["memory_mb"] * attempt


def in_workflow(path):
    """Returns a file of this folder as seen from the working directory: both can be moved together without a rerun."""
    elsewhere = os.path.isabs(path) and FOLDER not in Path(path).parents
    return path if elsewhere else os.path.relpath(FOLDER / path)


def folder_of(wildcards):
    return in_workflow(f"models/{wildcards.model}")


def contents_of(wildcards):
    return in_workflow(f"models/{wildcards.model}/sha256.json")


def first_model_of(wildcards):
    return in_workflow(f"models/{MODELS_OF[wildcards.environment][0]}")


def description_of_first(wildcards):
    return f"{first_model_of(wildcards)}/model.yaml"


def environment_of(wildcards):
    return f"environments/{MODELS[wildcards.model]['environment']}.txt"


def conda_of(wildcards):
    return f"envs/{MODELS[wildcards.model]['environment']}/environment.yaml"


def version_of(wildcards):
    """Returns the version of an environment's Python."""
    versions = config["python"]
    return versions[wildcards.environment] if isinstance(versions, dict) else versions


def python_of(wildcards):
    """Returns the command that starts the Python of a model's environment."""
    name = MODELS[wildcards.model]["environment"]
    if config["backend"] == "conda":
        return f"conda run --no-capture-output -n {shlex.quote(f'kipoi-{name}')} python"
    return shlex.quote(f"environments/{name}/bin/python")


def file_arguments(name):
    """Returns the dataloader arguments of a model that are files: those that are listed, or whose value is one."""
    given, known = MODELS[name]["dataloader_args"], MODELS[name].get("files") or []
    return [
        argument
        for argument, value in given.items()
        if isinstance(value, str) and value and (argument in known or (FOLDER / value).is_file())
    ]


def missing_files():
    """Yields what is not there, and what it is. Snakemake says nothing of it where a result is there already."""
    for name, model in MODELS.items():
        if not (FOLDER / "models" / name / "sha256.json").is_file():
            yield f"models/{name}/sha256.json, of the model '{name}'"
        for argument in file_arguments(name):
            if not (FOLDER / model["dataloader_args"][argument]).is_file():
                yield f"{model['dataloader_args'][argument]}, which is {argument} of '{name}'"
    for name in MODELS_OF:
        for file in ("requirements.txt", "environment.yaml"):
            if not (FOLDER / "envs" / name / file).is_file():
                yield f"envs/{name}/{file}, of the environment '{name}'"


def files_of(wildcards):
    given = MODELS[wildcards.model]["dataloader_args"]
    return [in_workflow(given[argument]) for argument in file_arguments(wildcards.model)]


def arguments_of(wildcards):
    """Returns the dataloader arguments of a model as JSON, paths of files as seen from the working directory."""
    given = MODELS[wildcards.model]["dataloader_args"]
    files = {argument: in_workflow(given[argument]) for argument in file_arguments(wildcards.model)}
    return json.dumps({**given, **files}, sort_keys=True)


def predictions_for(wildcards):
    return [f"predictions/{source}.h5" for source in MODELS[wildcards.model]["predictions"].values()]


def predictions_by_argument(wildcards):
    given = MODELS[wildcards.model]["predictions"]
    return json.dumps({argument: f"predictions/{source}.h5" for argument, source in given.items()}, sort_keys=True)


if missing := list(missing_files()):
    raise WorkflowError(f"Files are missing, as seen from {FOLDER}: {'; '.join(missing)}.")
