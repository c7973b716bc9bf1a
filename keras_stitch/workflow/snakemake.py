"""Runs the workflow of a generated directory: by Snakemake, in a process of its own."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import yaml

from keras_stitch import directory_layout as layout
from keras_stitch.errors import StitchError
from keras_stitch.files.hdf5_files import open_hdf5
from keras_stitch.files.read_files import is_file, load_python, load_yaml, sha256

_LOCK = ".running"
_BACKENDS = ("uv", "conda", "container")


def has_workflow(directory: Path) -> bool:
    """Whether some of a directory's models run in environments of their own."""
    return (directory / layout.WORKFLOW / layout.SNAKEFILE).is_file()


def workflow_config(directory: Path) -> dict[str, Any]:
    """What ``config.yaml`` of a directory's workflow says: settings, and ``models`` with what each job needs."""
    return _read_config(directory / layout.WORKFLOW / layout.WORKFLOW_CONFIG)


def _read_config(file: Path) -> dict[str, Any]:
    said = load_yaml(file)
    jobs = said.get("models")
    if not isinstance(jobs, dict) or not all(
        isinstance(job, dict) and all(isinstance(job.get(key), dict) for key in ("predictions", "dataloader_args"))
        for job in jobs.values()
    ):
        raise StitchError(
            f"'{file}' does not say which jobs there are.",
            expected="models: {name: {dataloader_args: {...}, predictions: ...}}, as it was generated",
            received=repr(jobs)[:200],
        )
    return said


def described_arguments(file: Path) -> dict[str, dict[str, Any]]:
    """What a ``dataloader.yaml`` says about the arguments of its dataloader, by name."""
    said = load_yaml(file).get("args") or {}
    if not isinstance(said, dict) or not all(isinstance(about, dict) for about in said.values()):
        raise StitchError(
            f"'{file}' does not describe the arguments of its dataloader.",
            expected="args: {name: {doc: ..., example: ...}}",
            received=repr(said)[:200],
        )
    return said


@contextlib.contextmanager
def run_workflow(
    directory: Path,
    results: Path,
    *,
    arguments: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    cores: int | None = None,
    profile: str = "local",
    options: Sequence[str] = (),
) -> Iterator[dict[str, Path]]:
    """Have Snakemake make all files with predictions that are missing or out of date.

    In the block, nobody else can run the workflow with results in the same place.

    Args:
        directory: The generated directory; nothing is written there.
        results: Where environments, predictions and logs go.
        arguments: Of the dataloaders, in place of the examples; every job takes those that it has.
        settings: In place of those in ``config.yaml``, such as ``{"chunks": 4}``.
        cores: How many Snakemake uses; all by default. On a cluster: how many jobs at a time.
        profile: One of those in the directory, such as ``"local"`` and ``"slurm"``, or the folder of your own.
        options: More options for Snakemake.

    Yields:
        The file of every job.

    Raises:
        StitchError: When a setting is wrong, Snakemake is not here or is running there already, a job fails, or a file
            is not there in the end, or was made with something else.
    """
    if importlib.util.find_spec("snakemake") is None:
        raise StitchError(
            f"'{directory.name}' has a workflow, and Snakemake, which runs it, is not installed.",
            fix="pip install 'keras_stitch[workflow]'",
        )
    folder = (directory / layout.WORKFLOW).resolve()
    configured = _configured(folder, arguments, settings or {})
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StitchError(f"'{results}' cannot be a folder of results: {error.strerror}.") from error
    with _alone(results) as lock:
        config = results / layout.WORKFLOW_CONFIG
        config.write_text(yaml.safe_dump(configured, sort_keys=False), encoding="utf-8")
        # -P: files in the user's folder do not take the place of modules.
        command = [sys.executable, "-P", "-m", "snakemake", "--snakefile", str(folder / layout.SNAKEFILE)]
        command += ["--directory", str(results), "--configfile", str(config.resolve()), "--replace-workflow-config"]
        contained = _in_containers(folder, results, configured) if configured.get("backend") == "container" else []
        command += contained
        if _is_locked(results):  # by one that was killed, as nobody else runs here
            _call([*command, "--unlock", "--quiet", "all"], results, lock)
        _call([*command, "--rerun-incomplete", *_by_profile(folder, profile, cores), *options], results, lock)
        files = {name: results / "predictions" / f"{name}.h5" for name in configured["models"]}
        if "--dry-run" not in options:
            for name, model in configured["models"].items():
                _check_made(folder / layout.JOBS / name, files[name], model["dataloader_args"])
        yield files


def _check_made(model: Path, file: Path, arguments: Mapping[str, Any]) -> None:
    """Raises where a file is not what was asked for: options of Snakemake's can leave out what would make it."""
    records = load_python(model / layout.RUNTIME / "records.py")
    record = None
    with contextlib.suppress(OSError), open_hdf5(file) as opened:
        record = records.read_record(opened)
    if record is None:
        raise StitchError(f"The workflow did not make '{file.name}'.", expected="a whole file", received=str(file))
    changed = [key for key, value in arguments.items() if not records.is_made_with(record["arguments"].get(key), value)]
    if record["directory"] != sha256(model / layout.MANIFEST):
        changed.append("model")
    if changed:
        raise StitchError(
            f"The file '{file}' is an older one, and the workflow did not make it anew.",
            expected="one of the present model and arguments",
            received=f"one made with another {' and '.join(changed)}",
            fix="Leave out options of Snakemake's that keep it from doing so, or remove the file.",
        )


def _configured(folder: Path, arguments: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """``config.yaml`` with other arguments and settings; paths in it are absolute."""
    configured = _read_config(folder / layout.WORKFLOW_CONFIG)
    known = [name for name in configured if name != "models"]
    for name, value in settings.items():
        if name not in known:
            raise StitchError(f"The workflow has no setting '{name}'.", expected=f"one of {', '.join(known)}")
        configured[name] = _setting(name, value)
    for name, model in configured["models"].items():
        own = described_arguments(folder / layout.JOBS / name / layout.DATALOADER_YAML)
        if arguments is not None:
            model["dataloader_args"] = {key: value for key, value in arguments.items() if key in own}
            for argument in model["predictions"]:
                model["dataloader_args"].pop(argument, None)
        model["dataloader_args"] = with_texts(
            model["dataloader_args"], lambda text: str(folder / text) if is_file(folder / text) else text
        )
    return configured


def _setting(name: str, value: Any) -> Any:
    """A setting as ``config.yaml`` has it, from what a user types or gives."""
    if name == "backend":
        if value not in _BACKENDS:
            raise StitchError(f"There is no backend {value!r}.", expected=f"one of {', '.join(_BACKENDS)}")
        return value
    if name in ("python", "images"):
        return value if isinstance(value, Mapping) else str(value)
    least = 0 if name == "workers" else 1
    text = str(value)
    if isinstance(value, bool) or not text.isdecimal() or len(text) > 9 or int(text) < least:
        raise StitchError(
            f"The setting '{name}' of the workflow is no such number.",
            expected=f"a whole number, {least} or more",
            received=repr(value)[:200],
        )
    return int(text)


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A value in which every text is changed, also in lists and dicts.

    Example:
        >>> with_texts({"a": ["x", 1]}, str.upper)
        {'a': ['X', 1]}
    """
    if isinstance(value, Mapping):
        return {key: with_texts(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_texts(item, change) for item in value]
    return change(value) if isinstance(value, str) and value else value


def _by_profile(folder: Path, profile: str, cores: int | None) -> list[str]:
    """The options for a profile: one that the directory has, or a folder of the user's."""
    known = sorted(path.name for path in (folder / layout.PROFILES).iterdir())
    place = folder / layout.PROFILES / profile if profile in known else Path(profile)
    if not place.is_dir():
        raise StitchError(
            f"There is no profile '{profile}'.", expected=f"{', '.join(known)}, or the folder of one", fix=None
        )
    chosen = ["--workflow-profile", str(place.resolve())]
    config = place / layout.WORKFLOW_CONFIG
    if config.is_file() and "jobs" in load_yaml(config):  # it says how many run at a time, unless the user does
        return chosen if cores is None else [*chosen, "--jobs", str(cores)]
    return [*chosen, "--cores", "all" if cores is None else str(cores)]


def _in_containers(folder: Path, results: Path, configured: Mapping[str, Any]) -> list[str]:
    """The options by which Apptainer runs jobs, and sees the workflow, the results and the data."""
    seen = {str(folder), str(results.resolve())}
    for model in configured["models"].values():
        with_texts(model["dataloader_args"], lambda text: _note_folder(seen, text))
    binds = " ".join(f"--bind {shlex.quote(path)}" for path in sorted(seen))
    return ["--software-deployment-method", "apptainer", f"--apptainer-args={binds}"]


def _note_folder(seen: set[str], text: str) -> str:
    """Adds the folder of a file or folder that a text names."""
    path = Path(text)
    if path.is_absolute() and (path.is_file() or path.is_dir()):
        seen.add(str(path.resolve() if path.is_dir() else path.resolve().parent))
    return text


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
    # It colours what it says on a terminal, and the command line leads its own standard error elsewhere.
    terminal = sys.stderr if sys.stderr.isatty() else None
    done = subprocess.run(command, pass_fds=(lock.fileno(),), stderr=terminal, check=False)
    if done.returncode:
        raise StitchError(
            "The workflow stopped.",
            received=f"exit status {done.returncode} of Snakemake; its messages are above",
            fix=f"Logs of jobs are in '{results / 'logs'}'. The same command goes on, once that is mended.",
        )
