"""Small workflow directories for the tests of ``model_templates/workflow``: two models without TensorFlow."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml

from keras_stitch.directory.runtime_files import write_runtime

TEMPLATES = Path(__file__).parents[2] / "model_templates"
# six: Kipoi's "related" imports it and does not ask for it.
REQUIREMENTS = ("kipoi", "h5py", "pandas", "six")
ROWS = 20
BATCH_SIZE = 8  # three batches, the last with four rows
# As users have it: what a model's environment imports is compiled once, which takes two thirds of the time of a job.
VARIABLES = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

MODEL_YAML = """
defined_as: model.Tiny
args:
  scale: {scale}
info:
  authors: [{{name: Nobody}}]
  doc: Scales.
dependencies:
  pip: [h5py]
default_dataloader: .
schema:
  inputs: {{shape: "(2,)", doc: Numbers}}
  targets: {{name: score, shape: "(2,)", doc: Numbers}}
"""

# Waits while the directory has a file "hold", and says in "held" who waits, so that a test can kill it there.
MODEL = """
import os
import time

from kipoi.model import BaseModel

HERE = os.path.dirname(os.path.abspath(__file__))


class Tiny(BaseModel):
    def __init__(self, scale):
        self.scale, self.calls = scale, 0

    def predict_on_batch(self, inputs):
        self.calls += 1
        hold = os.path.join(HERE, "hold")
        if self.calls == 2 and os.path.exists(hold):
            with open(os.path.join(HERE, "held.new"), "w") as file:
                file.write(str(os.getpid()))
            os.replace(os.path.join(HERE, "held.new"), os.path.join(HERE, "held"))
            while os.path.exists(hold):
                time.sleep(0.01)
        scores = inputs * self.scale
        if os.path.exists(os.path.join(HERE, "short")):
            scores = scores[:-1]
        return {"score": scores, "nested": {"sum": scores.sum(1)}} if self.scale > 1 else scores
"""

DATALOADER_YAML = """
defined_as: dataloader.Rows
args:
  table_file: {{doc: Rows}}
  factor: {{doc: Number, type: float}}
  rows: {{doc: How many, type: int, optional: true}}
{more}
info:
  authors: [{{name: Nobody}}]
  doc: Rows of a table.
output_schema:
  inputs: {{shape: "(2,)", doc: Numbers}}
"""

DATALOADER = """
import h5py
import numpy as np
import pandas as pd
from kipoi.data import Dataset


class Rows(Dataset):
    def __init__(self, table_file, factor=1.0, rows=None{more}):
        self.table = pd.read_csv(table_file, sep="\\t")[:rows]
        self.numbers = self.table[["a", "b"]].to_numpy("float32") * np.float32(factor)
        {read}

    def __len__(self):
        return len(self.table)

    def __getitem__(self, index):
        return {{"inputs": self.numbers[index]}}

    def numbered_batches(self, batch_size, num_workers, rows=None):
        rows = range(len(self)) if rows is None else rows
        for start in range(rows.start, rows.stop, batch_size):
            chosen = slice(start, min(start + batch_size, rows.stop))
            table = self.table[chosen]
            yield {{
                "inputs": self.numbers[chosen],
                "metadata": {{"name": table["id"].to_numpy(), "ranges": {{"start": np.arange(len(table))}}}},
                "rows": {{
                    "number": np.arange(chosen.start, chosen.stop),
                    "id": np.array([text.encode() for text in table["id"]]),
                    "resized": np.zeros(len(table), bool),
                }},
            }}
"""


@dataclass
class Workflow:
    """A directory ``workflow/`` and the directory of its results.

    Attributes:
        folder: Of both.
        environment: A virtual environment that has what the models need.
    """

    folder: Path
    environment: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def model(self, name: str) -> Path:
        return self.folder / "workflow" / "models" / name

    def predictions(self, name: str) -> Path:
        return self.results / "predictions" / f"{name}.h5"

    def command(self, *options: str, cores: int = 2) -> list[str]:
        """Snakemake as users run it."""
        place = ["--snakefile", "workflow/Snakefile", "--directory", "results", "--nocolor"]
        return [sys.executable, "-m", "snakemake", *place, "--cores", str(cores), *options]

    def run(self, *options: str, works: bool = True, env: dict[str, str] | None = None) -> str:
        """Runs Snakemake to its end and returns what it said."""
        env, command = env or VARIABLES, self.command(*options)
        done = subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        said = done.stdout + done.stderr
        assert (done.returncode == 0) == works, said
        return said

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """Starts Snakemake with the profile for one machine."""
        command = self.command("--workflow-profile", "workflow/profiles/local", *options)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, cwd=self.folder, env=VARIABLES, **quiet)

    def jobs(self, *options: str) -> list[str]:
        """Returns the rules and models of the jobs that Snakemake would run."""
        said = self.run("--dry-run", *options)
        jobs = re.findall(
            r"^(?:local)?rule (\w+):\n(?:    .*\n)*?    wildcards: (?:model|environment)=(\w+)", said, re.M
        )
        assert bool(jobs) != ("Nothing to be done" in said), said
        return sorted({f"{rule} {name}" for rule, name in jobs})

    def local(self, *options: str, works: bool = True) -> str:
        return self.run("--workflow-profile", "workflow/profiles/local", *options, works=works)

    def script(self, name: str, *options: str, works: bool = True) -> str:
        """Runs a script in the environment and returns what it said."""
        command = [str(self.environment / "bin" / "python"), f"../workflow/scripts/{name}.py", *options]
        done = subprocess.run(
            command, cwd=self.results, env=VARIABLES, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == (0 if works else 1), done.stderr
        return done.stdout + done.stderr

    def change(self, **settings: Any) -> None:
        """Changes settings of config.yaml; ``model__argument`` changes an argument of a model's dataloader."""
        path = self.folder / "workflow" / "config.yaml"
        config = yaml.safe_load(path.read_text())
        for key, value in settings.items():
            model, _, argument = key.partition("__")
            (config["models"][model]["dataloader_args"] if argument else config)[argument or key] = value
        path.write_text(yaml.safe_dump(config, sort_keys=False))

    def copy(self, folder: Path) -> Workflow:
        """Returns a copy elsewhere that shares the environment, with all times as they are."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Workflow(folder, self.environment)

    def expected(self, name: str, factor: float = 2.0) -> np.ndarray:
        """The scores that a model gives."""
        table = np.loadtxt(self.folder / "workflow" / "table.tsv", skiprows=1, usecols=(1, 2), dtype="float32", ndmin=2)
        first = table * np.float32(factor) * np.float32(3)
        return first if name == "first" else (table + first) * np.float32(1)


def make(folder: Path, environment: Path) -> Workflow:
    """Writes a workflow: "second" reads the predictions of "first"; both have the environment "tiny"."""
    place = folder / "workflow"
    shutil.copytree(TEMPLATES / "workflow", place, ignore=shutil.ignore_patterns("__pycache__"))
    rng = np.random.default_rng(0)
    lines = [f"{'x' * (row // 4)}row{row}\t{a}\t{b}" for row, (a, b) in enumerate(rng.normal(size=(ROWS, 2)))]
    (place / "table.tsv").write_text("\n".join(["id\ta\tb", *lines]) + "\n")
    write_model(place / "models" / "first", scale=3)
    write_model(
        place / "models" / "second",
        scale=1,
        more="  first_file: {doc: Predictions}",
        arguments=", first_file=None",
        read='self.numbers = self.numbers + h5py.File(first_file, "r")["preds/score"][:rows]',
    )
    envs = place / "envs" / "tiny"
    envs.mkdir(parents=True)
    (envs / "requirements.txt").write_text("\n".join(REQUIREMENTS) + "\n")
    (envs / "environment.yaml").write_text(
        yaml.safe_dump({"name": "tiny", "dependencies": ["python=3.11", "pip", {"pip": list(REQUIREMENTS)}]})
    )
    (envs / "image.sif").touch()  # a stand-in for one that Apptainer built
    config = {
        "backend": "uv",
        "images": {"tiny": "envs/tiny/image.sif"},
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "batch_size": BATCH_SIZE,
        "workers": 0,
        "chunks": 1,
        "memory_mb": 1000,
        "runtime_minutes": 10,
        "models": {
            "first": {
                "environment": "tiny",
                "dataloader_args": {"table_file": "table.tsv", "factor": 2.0},
                "files": ["table_file"],
                "predictions": {},
            },
            "second": {
                "environment": "tiny",
                "dataloader_args": {"table_file": "table.tsv"},
                "files": ["table_file"],
                "predictions": {"first_file": "first"},
            },
        },
    }
    (place / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return Workflow(folder, environment)


def write_model(folder: Path, scale: int, more: str = "", arguments: str = "", read: str = "") -> None:
    """Writes a Kipoi directory that has what the scripts need of a generated one."""
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text(MODEL_YAML.format(scale=scale).lstrip())
    (folder / "model.py").write_text(MODEL.lstrip())
    (folder / "dataloader.yaml").write_text(DATALOADER_YAML.format(more=more).lstrip())
    (folder / "dataloader.py").write_text(textwrap.dedent(DATALOADER.format(more=arguments, read=read)).lstrip())
    write_runtime(folder, "directory", "hdf5_contents", "records")
    seal(folder)


def seal(folder: Path) -> None:
    """Writes the sums of a model's files."""
    files = [folder / name for name in ("model.yaml", "model.py", "dataloader.yaml", "dataloader.py")]
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (folder / "sha256.json").write_text(json.dumps(sums))


def content(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Returns every dataset of an HDF5 file as dtype, shape and bytes, and its attributes."""
    found: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, item: (
                found.update({name: (str(item.dtype), item.shape, item[:].tobytes())})
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
        return {**found, "attributes": dict(file.attrs)}


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Polls until something is true and returns it."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


CONDA = """#!/bin/sh
case "$*" in
    "info --json") echo '{"conda_prefix": "/nowhere", "platform": "linux-64"}' ;;
    "--version") echo 'conda 24.9.2' ;;
    *) echo '{"get": {"channel_priority": "strict"}}' ;;
esac
"""


def stand_in_for_conda(folder: Path) -> dict[str, str]:
    """Returns environment variables with which Snakemake finds a conda that says its version: enough for a dry run."""
    folder.mkdir()
    path = folder / "conda"
    path.write_text(CONDA)
    path.chmod(0o755)
    return {**VARIABLES, "PATH": f"{folder}{os.pathsep}{VARIABLES['PATH']}"}


# Runs the command as it is, with the Python of an environment: what Snakemake asks of Apptainer, without a container.
APPTAINER = """#!/bin/sh
[ "$1" = --version ] && echo 'apptainer version 1.3.4' && exit
echo "$@" >> {calls}
while [ "$1" != -c ]; do shift; done
PATH={environment}/bin:$PATH exec bash -c "$2"
"""


def stand_in_for_apptainer(folder: Path, environment: Path) -> tuple[dict[str, str], Path]:
    """Returns environment variables with which Snakemake finds an Apptainer, and the file that has its arguments."""
    folder.mkdir()
    path, calls = folder / "apptainer", folder / "calls"
    path.write_text(APPTAINER.format(calls=calls, environment=environment))
    path.chmod(0o755)
    return {**VARIABLES, "PATH": f"{folder}{os.pathsep}{VARIABLES['PATH']}"}, calls
