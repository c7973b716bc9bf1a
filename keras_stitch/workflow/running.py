"""Runs the workflow of a generated directory: by Snakemake, in a process of its own."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import yaml

from keras_stitch.errors import StitchError
from keras_stitch.files import load_yaml

FOLDER = "workflow"
PROFILES = ("local", "slurm")
CONFIG = "config.yaml"
_LOCK = ".running"


def has_workflow(directory: Path) -> bool:
    """Whether some of a directory's models run in environments of their own."""
    return (directory / FOLDER / "Snakefile").is_file()


def models_of(directory: Path) -> dict[str, Path]:
    """The Kipoi directory of every job of a workflow."""
    configured = load_yaml(directory / FOLDER / CONFIG)
    return {name: directory / FOLDER / "models" / name for name in configured["models"]}


def run_workflow(
    directory: Path,
    results: Path,
    *,
    arguments: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    cores: int | None = None,
    profile: str = "local",
    options: Sequence[str] = (),
) -> dict[str, Path]:
    """Have Snakemake make all files with predictions that are missing or out of date.

    Args:
        directory: The generated directory; nothing is written there.
        results: Where environments, predictions and logs go.
        arguments: Of the dataloaders, in place of the examples; every job takes those that it has.
        settings: In place of those in ``config.yaml``, such as ``{"chunks": 4}``.
        cores: How many Snakemake uses; all by default. On a cluster: how many jobs at a time.
        profile: ``"local"``, ``"slurm"``, or the folder of a profile of your own.
        options: More options for Snakemake.

    Returns:
        The file of every job.

    Raises:
        StitchError: When Snakemake is not here, is running there already, or a job fails.
    """
    if importlib.util.find_spec("snakemake") is None:
        raise StitchError(
            f"'{directory.name}' has a workflow, and Snakemake, which runs it, is not installed.",
            fix="pip install 'keras_stitch[workflow]'",
        )
    folder = (directory / FOLDER).resolve()
    results.mkdir(parents=True, exist_ok=True)
    configured = _configured(folder, arguments, settings or {})
    with _alone(results) as lock:
        config = results / CONFIG
        config.write_text(yaml.safe_dump(configured, sort_keys=False), encoding="utf-8")
        # -P: files in the user's folder do not take the place of modules.
        command = [sys.executable, "-P", "-m", "snakemake", "--snakefile", str(folder / "Snakefile")]
        command += ["--directory", str(results), "--configfile", str(config.resolve()), "--replace-workflow-config"]
        if _is_locked(results):  # by one that was killed, as nobody else runs here
            _call([*command, "--unlock", "--quiet", "all"], results, lock)
        command += ["--workflow-profile", str(_profile(folder, profile)), "--rerun-incomplete"]
        if profile == "slurm":  # whose profile says how many jobs, unless the user does
            command += [] if cores is None else ["--jobs", str(cores)]
        else:
            command += ["--cores", "all" if cores is None else str(cores)]
        _call([*command, *options], results, lock)
    return {name: results / "predictions" / f"{name}.h5" for name in configured["models"]}


def _configured(folder: Path, arguments: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """``config.yaml`` with other arguments and settings; paths in it are absolute."""
    configured = load_yaml(folder / CONFIG)
    known = [name for name in configured if name != "models"]
    for name, value in settings.items():
        if name not in known:
            raise StitchError(f"The workflow has no setting '{name}'.", expected=f"one of {', '.join(known)}")
        configured[name] = value
    for name, model in configured["models"].items():
        own = load_yaml(folder / "models" / name / "dataloader.yaml").get("args") or {}
        if arguments is not None:
            model["dataloader_args"] = {key: value for key, value in arguments.items() if key in own}
            for argument in model["predictions"]:
                model["dataloader_args"].pop(argument, None)
        model["dataloader_args"] = {
            key: str(folder / value) if isinstance(value, str) and value and (folder / value).is_file() else value
            for key, value in model["dataloader_args"].items()
        }
    return configured


def _profile(folder: Path, profile: str) -> Path:
    if profile in PROFILES:
        return folder / "profiles" / profile
    own = Path(profile)
    if not own.is_dir():
        raise StitchError(
            f"There is no profile '{profile}'.", expected=f"{', '.join(PROFILES)}, or the folder of one", fix=None
        )
    return own.resolve()


@contextlib.contextmanager
def _alone(results: Path) -> Iterator[IO[str]]:
    """Holds a lock that the system gives back however this process ends, and Snakemake with it."""
    with (results / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StitchError(
                f"The workflow is running already, with its results in '{results}'.",
                fix="Wait for it, or choose another folder with -o.",
            ) from error
        yield file


def _is_locked(results: Path) -> bool:
    locks = results / ".snakemake" / "locks"
    return locks.is_dir() and any(locks.iterdir())


def _call(command: Sequence[str], results: Path, lock: IO[str]) -> None:
    # Snakemake holds the lock, too: it may live on where this process is killed.
    done = subprocess.run(command, pass_fds=(lock.fileno(),), check=False)
    if done.returncode:
        raise StitchError(
            "The workflow stopped.",
            received=f"exit status {done.returncode} of Snakemake; its messages are above",
            fix=f"The logs are in '{results / 'logs'}'. The same command goes on where it stopped.",
        )
