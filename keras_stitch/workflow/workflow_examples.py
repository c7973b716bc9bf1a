"""Examples for a directory with a workflow: random tables for all its parts at once, and files with predictions."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

import h5py
import numpy as np

from keras_stitch import directory_layout as layout
from keras_stitch.directory import example_files
from keras_stitch.directory.dataloader_code import GeneratedDataloader, copy_components
from keras_stitch.directory.dataloader_plan import Merged
from keras_stitch.directory.model_info import UNSPECIFIED
from keras_stitch.directory.model_schemas import array_schema, named_schemas
from keras_stitch.errors import SaveError, reason
from keras_stitch.kipoi.downloads import download
from keras_stitch.kipoi.templates import template_module
from keras_stitch.models.sample_rows import row_shape
from keras_stitch.placement.jobs import Flow, Job

_SIZE = 8


def downloads(scratch: Path, chosen: Mapping[str, Any]) -> dict[str, Path]:
    """Files for the examples that lie at URLs, as nobody would download them where a job runs.

    Raises:
        SaveError: When one cannot be had.
    """
    found = {}
    for name, value in chosen.items():
        if not (isinstance(value, Mapping) and "url" in value):
            continue
        place = scratch / name / str(value.get("name") or PurePosixPath(urlparse(value["url"]).path).name)
        place.parent.mkdir()
        try:
            download(value["url"], place)
        except (OSError, HTTPException, ValueError) as error:
            raise SaveError(f"The example of '{name}' cannot be downloaded.", received=reason(error)) from error
        found[name] = place
    return found


def tables(scratch: Path, flow: Flow, merged: Merged, chosen: Mapping[str, Any]) -> tuple[dict[str, Path], int]:
    """Random tables for the inputs that nobody covers, so that all jobs and what remains read the same rows.

    Returns:
        An NPY file for each such argument, and how many rows the examples have.
    """
    place = scratch / "tables"
    place.mkdir()
    known = {name: value for name, value in chosen.items() if name in merged.owners}
    copy_components(place, merged)
    names = example_files.file_names(merged, known)
    placed = example_files.place_examples(place, known, names)
    GeneratedDataloader(
        graph="examples",
        merged=merged,
        inputs={port.name: array_schema(port, None, "An input.") for port in flow.whole.inputs},
        targets=named_schemas({it.port.name: array_schema(it.port, None, "An output.") for it in flow.whole.outputs}),
        info={"authors": [], "license": UNSPECIFIED},
        dependencies={"conda": [], "pip": [], "conda_channels": []},
    ).write(place, placed)

    def unknown(batch: Any, training: bool = False) -> list[Any]:
        return []  # which lengths the models take shows when they run

    made, rows = example_files.add_random_tables(place, merged, flow.whole, unknown, placed, names)
    return {argument: place / file for argument, file in made.items()}, rows


def predictions(
    scratch: Path, workflow: Path, job: Job, configured: Mapping[str, Any], chosen: Mapping[str, Any], rows: int
) -> Path:
    """A file with what a job predicts for its examples; where it cannot run here, with that many random rows.

    Examples of the jobs whose files it reads are among those that are chosen; ``configured`` is from ``config.yaml``.

    Raises:
        SaveError: When it does not run.
    """
    output = scratch / f"{job.name}.h5"
    folder = workflow / layout.JOBS / job.name
    if not job.runs_here:
        _random(output, job, folder, rows)
        return output
    given = {argument: str(chosen[argument]) for argument in configured["predictions"]}
    piece = scratch / f"{job.name}-piece.h5"
    shared = ["--model", str(folder), "--arguments", json.dumps(configured["dataloader_args"])]
    shared += ["--predictions", json.dumps(given)]
    for script, options in (
        ("predict", ["--output", str(piece)]),
        ("combine", ["--pieces", str(piece), "--output", str(output)]),
    ):
        command = [sys.executable, str(workflow / layout.SCRIPTS / f"{script}.py"), *shared, *options]
        done = subprocess.run(command, cwd=workflow, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines()[-8:]
            raise SaveError(
                f"'{job.name}' cannot predict its examples.",
                received="\n".join(said),
                fix="Pass examples={argument: file or value} with data that it reads.",
            )
    return output


def _random(output: Path, job: Job, folder: Path, rows: int) -> None:
    """Writes random numbers in the form of predictions; nothing says to which data they would belong."""
    records = template_module("kipoi.merging.records")
    made_by = hashlib.sha256((folder / layout.MANIFEST).read_bytes()).hexdigest()
    with h5py.File(output, "w") as file:
        file["rows/number"] = np.arange(rows, dtype="int64")
        for number, given in enumerate(job.gives):
            shape = row_shape(given.port, _SIZE)
            values = np.random.default_rng(number).normal(size=(rows, *shape))
            file[f"preds/{given.port.name}"] = values.astype(given.port.dtype or "float32")
        file["rows/digest"] = records.digests(records.covered(file))
        made = {"model": job.name, "directory": made_by, "arguments": {}, "predictions": {}, "random": True}
        records.write_record(file, made)
