# What the rules ask about models: where their files are, and how they are run.

import hashlib
import json
import os
import re
import shlex
import sys
from functools import lru_cache

from snakemake.exceptions import WorkflowError

FOLDER = Path(workflow.basedir).resolve()
MODELS = config["models"]
RETRIES = config.get("retries")  # None: as often as --retries says
LARGE = 1 << 24  # bytes, from which on files are not read to tell them apart
MODELS_OF = {}
for name, model in MODELS.items():
    MODELS_OF.setdefault(model["environment"], []).append(name)

if config["backend"] not in ("uv", "conda", "container"):
    raise WorkflowError(f"backend in config.yaml has to be uv, conda or container. Received: {config['backend']}")
if config["backend"] == "container" and not any(
    method.name == "APPTAINER" for method in workflow.deployment_settings.deployment_method
):
    raise WorkflowError("backend: container needs the option --software-deployment-method apptainer.")
if int(config["chunks"]) < 1 or int(config["batch_size"]) < 1:
    raise WorkflowError("chunks and batch_size in config.yaml have to be 1 or more.")
for name, model in MODELS.items():
    for argument, source in model["predictions"].items():
        if source not in MODELS:
            raise WorkflowError(f"{argument} of '{name}' in config.yaml names a model that is not there: {source}")

# uv and Kipoi may be next to the Python that runs Snakemake, which need not be active. PYTHONPATH would bring packages
# into environments that are not theirs.
# uv takes no Python of a virtual environment for another one, but the one that it was made of.
BESIDE = shlex.quote(os.pathsep.join([os.path.dirname(sys.executable), os.path.join(sys.base_prefix, "bin")]))
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


def image_of(wildcards):
    """Returns the image of an environment, or of a model's: docker://<name>, or a file; None for other backends."""
    if config["backend"] != "container":
        return None
    name = wildcards.get("environment") or MODELS[wildcards.model]["environment"]
    return in_workflow(image_named(name)) if is_image_file(image_named(name)) else image_named(name)


def image_named(environment):
    images = config["images"]
    return images[environment] if isinstance(images, dict) else images


def is_image_file(image):
    """Tells whether an image is a file of this workflow, not one that Apptainer fetches."""
    return "://" not in image


def image_file_of(wildcards):
    return [image_of(wildcards)] if is_image_file(image_named(wildcards.environment)) else []


def version_of(wildcards):
    """Returns the version of an environment's Python."""
    versions = config["python"]
    return versions[wildcards.environment] if isinstance(versions, dict) else versions


def python_of(wildcards):
    """Returns the command that starts the Python of a model's environment."""
    name = MODELS[wildcards.model]["environment"]
    if config["backend"] == "conda":
        return f"conda run --no-capture-output -n {shlex.quote(f'kipoi-{name}')} python"
    if config["backend"] == "container":
        return "python"
    return shlex.quote(f"environments/{name}/bin/python")


def with_texts(value, change):
    """Returns a value in which every text is changed, also in lists and dicts."""
    if isinstance(value, dict):
        return {key: with_texts(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [with_texts(item, change) for item in value]
    return change(value) if isinstance(value, str) and value else value


def named_files(name):
    """Returns the files among the dataloader arguments of a model, each with the argument's name."""
    found = []
    for argument, value in MODELS[name]["dataloader_args"].items():
        listed = argument in (MODELS[name].get("files") or [])

        def note(text, argument=argument, listed=listed):
            if listed or (FOLDER / text).is_file():
                found.append((argument, text))

        with_texts(value, note)
    return found


@lru_cache(None)
def state_of(path):
    """Returns what tells a file from another of the same name: its sha256, or size and time of a large one."""
    state = os.stat(path)
    if state.st_size > LARGE:
        return [state.st_size, state.st_mtime_ns]
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def missing_files():
    """Yields what is not there, and what it is. Snakemake says nothing of it where a result is there already."""
    for name, model in MODELS.items():
        if not (FOLDER / "models" / name / "sha256.json").is_file():
            yield f"models/{name}/sha256.json, of the model '{name}'"
        for argument, file in named_files(name):
            if not (FOLDER / file).is_file():
                yield f"{file}, which is {argument} of '{name}'"
    for name in MODELS_OF:
        for file in ("requirements.txt", "environment.yaml"):
            if not (FOLDER / "envs" / name / file).is_file():
                yield f"envs/{name}/{file}, of the environment '{name}'"
        if config["backend"] == "container" and is_image_file(image_named(name)):
            if not (FOLDER / image_named(name)).is_file():
                yield f"{image_named(name)}, the image of '{name}', which apptainer build makes in envs/{name}"


def files_of(wildcards):
    return [in_workflow(file) for _, file in named_files(wildcards.model)]


def states_of(wildcards):
    """Returns the states of these files: a file of another time need not be a later one."""
    return [state_of(FOLDER / file) for _, file in named_files(wildcards.model)]


def arguments_of(wildcards):
    """Returns the dataloader arguments of a model as JSON, paths of files as seen from the working directory."""
    given = MODELS[wildcards.model]["dataloader_args"]
    files = {file for _, file in named_files(wildcards.model)}
    seen = with_texts(given, lambda text: in_workflow(text) if text in files else text)
    return json.dumps(seen, sort_keys=True)


def predictions_for(wildcards):
    return [f"predictions/{source}.h5" for source in MODELS[wildcards.model]["predictions"].values()]


def predictions_by_argument(wildcards):
    given = MODELS[wildcards.model]["predictions"]
    return json.dumps({argument: f"predictions/{source}.h5" for argument, source in given.items()}, sort_keys=True)


if missing := list(missing_files()):
    raise WorkflowError(f"Files are missing, as seen from {FOLDER}: {'; '.join(missing)}.")
