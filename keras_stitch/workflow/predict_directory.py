"""Predicts with a generated directory, whatever its placements: the workflow first, if there is one, then the rest."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_stitch import directory_layout as layout
from keras_stitch.errors import StitchError, nearest
from keras_stitch.files.new_files import check_target, disk_errors, new_file
from keras_stitch.files.parse_text import BadText, from_json
from keras_stitch.files.read_files import check_directory, find_yaml, is_directory, is_file, read_text
from keras_stitch.kipoi.optional_kipoi import has_kipoi, require_kipoi
from keras_stitch.workflow.snakemake import described_arguments, has_workflow, run_workflow, with_texts, workflow_config

# Of files that Kipoi writes.
_OWN_ENDINGS = ("h5", "hdf5")  # these are written without it, too
_ENDINGS = (*_OWN_ENDINGS, "tsv", "bed", "parquet", "pq", "pqt")

# The command itself, of this environment. -P: files in the user's folder do not take the place of modules.
# It ends with the process that holds the other end of its standard input, however that one ends.
_START = """
import os, sys, threading
threading.Thread(target=lambda: os.read(0, 1) or os._exit(1), daemon=True).start()
"""
_KIPOI = f"""{_START}
from keras_stitch.kipoi.kipoi_command import main
sys.exit(main())
"""
_WITHOUT_KIPOI = f"""{_START}
from keras_stitch.files.parse_text import from_json
from keras_stitch.kipoi.run_directory import write_predictions
write_predictions(**from_json(sys.argv[1]))
"""


def predict(
    directory: Path,
    output: Path,
    *,
    arguments: Mapping[str, Any] | None = None,
    results: Path | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    workflow: Mapping[str, Any] | None = None,
) -> Path:
    """Predict with a generated directory.

    Args:
        directory: The directory, with or without a workflow.
        output: The file to write; its ending says what is written: ``.h5``, or with Kipoi ``.tsv``, ``.bed``. One that
            is there is replaced, once all is predicted.
        arguments: Of the dataloaders, of all stages; by default those of the examples.
        results: Where the workflow's files go; by default beside the output.
        batch_size: Rows that run at once; by default what ``config.yaml`` says, or 32.
        workers: Processes that read; by default what ``config.yaml`` says, or none.
        workflow: What ``run_workflow`` takes beside these.

    Returns:
        The file.

    Raises:
        StitchError: When arguments are missing or unknown, or something fails.
    """
    directory = Path(os.path.realpath(directory))  # Path.resolve fails on a link to itself
    _check(directory, output)
    own = _described(directory)
    configured = workflow_config(directory) if has_workflow(directory) else {"models": {}}
    jobs = configured.pop("models")
    given = None if arguments is None else _checked(directory, arguments, own, jobs)
    options = dict(workflow or {})
    asked = {"batch_size": batch_size, "workers": workers}
    settings = {name: value for name, value in asked.items() if value is not None} | dict(options.pop("settings", {}))
    with contextlib.ExitStack() as stack:
        predicted: dict[str, Path] = {}
        if jobs:
            place = results or output.with_name(f"{output.stem}_results")
            running = run_workflow(directory, place, arguments=given, settings=settings, **options)
            predicted = stack.enter_context(running)
            if "--dry-run" in options.get("options", ()):
                return output
            settings = configured | settings
        passed = _examples(directory, own) if given is None else {name: given[name] for name in own if name in given}
        passed |= {f"{name}_file": str(file.resolve()) for name, file in predicted.items() if f"{name}_file" in own}
        _write(directory, passed, output, settings.get("batch_size", 32), settings.get("workers", 0))
    return output


def _check(directory: Path, output: Path) -> None:
    """Raises where there is no directory to predict with, or the output is no file that Kipoi can write."""
    if find_yaml(directory, "model") is None or find_yaml(directory, "dataloader") is None:
        raise StitchError(
            f"'{directory.name}' is no directory to predict with.",
            expected="one that graph.save(...) or keras-stitch save wrote, with model.yaml and dataloader.yaml",
            received="no such directory" if not directory.is_dir() else "a directory without them",
        )
    if output.suffix.removeprefix(".") not in _ENDINGS or is_directory(output):
        raise StitchError(
            f"Kipoi cannot write '{output.name}'.",
            expected=f"a file that ends in {', '.join(f'.{it}' for it in _ENDINGS)}",
        )
    if output.suffix.removeprefix(".") not in _OWN_ENDINGS:
        require_kipoi(f"A {output.suffix} file with predictions")
    check_directory(directory)
    check_target(output, overwrite=True)


def read_arguments(pairs: Sequence[str], whole: str | None) -> dict[str, Any] | None:
    """The dataloader arguments on a command line; ``None`` where there are none.

    Args:
        pairs: ``NAME=VALUE`` each; values are read as JSON where they are some.
        whole: All as one JSON object, or the path of a file with one, as ``kipoi predict`` takes them.

    Raises:
        StitchError: When one cannot be read.

    Example:
        >>> read_arguments(["flank=100", "file=a.bed"], None)
        {'flank': 100, 'file': 'a.bed'}
    """
    found: dict[str, Any] = {}
    if whole is not None:
        try:
            text = read_text(Path(whole)) if is_file(whole) else whole
            found = from_json(text)
        except (OSError, ValueError) as error:  # of the file, of its encoding, or of the text
            raise StitchError(f"--dataloader_args is no JSON: {error}.", received=whole[:200]) from error
        if not isinstance(found, dict):
            raise StitchError("--dataloader_args is no JSON object.", received=whole[:200])
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not (name and equals):
            raise StitchError(f"Cannot read -a {pair!r}.", expected="NAME=VALUE")
        if name in found:
            raise StitchError(f"The argument '{name}' is given twice.")
        try:
            found[name] = from_json(text)
        except BadText:
            found[name] = text
    return found or None


def _described(directory: Path) -> dict[str, Any]:
    """What a directory says about the arguments of its dataloader."""
    found = find_yaml(directory, "dataloader")
    return dict(described_arguments(found)) if found is not None else {}


def _checked(
    directory: Path,
    arguments: Mapping[str, Any],
    own: Mapping[str, Any],
    jobs: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Arguments that somebody takes, none missing; files by their whole paths. Jobs are as ``config.yaml`` has them."""
    made = {f"{name}_file" for name in jobs}
    everybody = [own, *(_described(directory / layout.job_folder(name)) for name in jobs)]
    known = {name: about for args in reversed(everybody) for name, about in args.items() if name not in made}
    for name in arguments:
        if name not in known:
            raise StitchError(
                f"'{directory.name}' has no dataloader argument '{name}'.", expected=nearest(name, known), fix=None
            )
    files = [name for name, about in known.items() if _names_file(directory, about)]
    files += [name for job in jobs.values() for name in job.get("files") or () if name in known]
    missing = [name for name, about in known.items() if not about.get("optional") and name not in arguments]
    if missing:
        raise StitchError(
            f"'{directory.name}' lacks the dataloader argument{'s' * (len(missing) > 1)} "
            f"{' and '.join(map(repr, missing))}.",
            expected="all of them, or none for the examples",
            received=", ".join(arguments),
        )
    for name in files:
        value = arguments.get(name)
        if isinstance(value, str) and not is_file(value):
            raise StitchError(
                f"The file for '{name}' is not there.",
                expected=f"a file, as seen from '{Path.cwd()}'",
                received=repr(value),
            )

    def whole(text: str) -> str:
        return os.path.abspath(text) if os.path.exists(text) else text  # noqa: PTH100, PTH110 - any text

    return dict(with_texts(arguments, whole))


def _names_file(directory: Path, about: Mapping[str, Any]) -> bool:
    example = about.get("example")
    return isinstance(example, str) and bool(example) and is_file(directory / example)


def _examples(directory: Path, described: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, about in described.items():
        if "example" not in about:
            continue
        value = about["example"]
        if isinstance(value, Mapping) and "url" in value:
            raise StitchError(
                f"The example of '{name}' lies at a URL.", fix=f"Download {value['url']} and pass it: -a {name}=FILE."
            )
        there = isinstance(value, str) and value and is_file(directory / value)
        found[name] = str(directory / value) if there else value
    return found


def _write(directory: Path, passed: Mapping[str, Any], output: Path, batch_size: int, workers: int) -> None:
    """Has a new process write a file that takes the output's place when it is whole: ``kipoi predict``, if it can."""
    with disk_errors(output):
        output.absolute().parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(output), new_file(output.absolute()) as made:
        command = [sys.executable, "-P", "-c", _KIPOI if has_kipoi() else _WITHOUT_KIPOI]
        if has_kipoi():
            options = {"dataloader_args": json.dumps(passed), "batch_size": batch_size, "num_workers": workers}
            command += ["predict", str(directory), "--source=dir", *(f"--{key}={it}" for key, it in options.items())]
            command += ["-o", str(made)]
        else:
            known = {"directory": str(directory), "arguments": passed, "output": str(made)}
            command.append(json.dumps({**known, "batch_size": batch_size, "num_workers": workers}))
        # Kipoi's progress bar is for a terminal.
        quiet = {} if sys.stderr.isatty() else {"TQDM_DISABLE": "1"}
        environment = {**quiet, **os.environ, "TMPDIR": tempfile.gettempdir()}
        given, held = os.pipe()
        try:
            done = subprocess.run(command, env=environment, stdin=given, check=False)
        finally:
            os.close(held)
            os.close(given)
        if done.returncode or not made.is_file():
            raise StitchError(
                f"{'Kipoi' if has_kipoi() else 'keras_stitch'} cannot predict with '{directory.name}'.",
                received=f"exit status {done.returncode}; its messages are above",
            )
