"""Runs Kipoi's commands, and says whether one passed without a warning.

Without a warning means: exit status 0, no WARNING of a ``kipoi`` logger, no mismatch with a schema and no Python
or Keras warning. What TensorFlow prints when it starts is not ours.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import os
import re
import shlex
import sys
import warnings
from pathlib import Path

import h5py
import kipoi
import numpy as np
import warm_python
import yaml
from kipoi_utils import cd

# The script, or ours where setuptools has no pkg_resources.
_SCRIPT = [Path(sys.executable).with_name("kipoi")]
_START = _SCRIPT if importlib.util.find_spec("pkg_resources") else ["-m", "keras_stitch.kipoi.kipoi_command"]
_PROBLEM = re.compile(r"\bWARNING\b.*\[kipoi|mismatch|don't match|\w*Warning: |\bWARNING:absl|not compatible with")


def kipoi_test(directory: Path, python_path: str = "") -> str:
    """``cd DIR && kipoi test .``; returns the output."""
    return _run(["test", "."], directory, python_path)


def kipoi_predict(directory: Path, args: dict, output: Path, workers: int = 0, cwd: Path | None = None) -> dict:
    """``kipoi predict DIR --source dir``; returns the arrays of the file, by their paths in it."""
    _run(_predicting(directory, args, output, workers), cwd or directory)
    return read_h5(output)


def kipoi_checks(
    directory: Path, args: dict, folder: Path, cwd: Path | None = None, documented: bool = False
) -> list[dict]:
    """``kipoi predict`` with two workers and with none, and ``kipoi test .``; or all that the model card documents.

    They run one after another in one fresh process, as each would take seconds to start. Workers are forked by the
    first, so that no prediction was made before.

    Returns:
        What ``kipoi_predict`` does, without workers and with two.
    """
    outputs = [folder / f"{workers}.h5" for workers in (0, 2)]
    commands = [(cwd or directory, _predicting(directory, args, outputs[n // 2], n)) for n in (2, 0)]
    tests = documented_commands(directory) if documented else [["test", "."]]
    assert ["test", "."] in tests
    commands += [(directory, command) for command in tests]
    given = json.dumps([(str(place), command) for place, command in commands])
    _run([given], directory, start=["-c", _ONE_AFTER_ANOTHER])
    return [read_h5(output) for output in outputs]


def documented_commands(directory: Path) -> list[list[str]]:
    """The ``kipoi`` commands in the model card."""
    text = (directory / "README.md").read_text(encoding="utf-8")
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("kipoi ")]


def run_documented(directory: Path) -> None:
    """Runs the commands of the model card, in the directory."""
    for command in documented_commands(directory):
        _run(command, directory)


def in_process(directory: Path, workers: int = 0) -> dict[str, np.ndarray]:
    """Both ``kipoi test`` and a prediction, in this process; returns the predictions by output, "" for the only one."""
    records: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record.getMessage())

    handler, printed = Collect(logging.WARNING), io.StringIO()
    logging.getLogger("kipoi").addHandler(handler)
    try:
        with contextlib.redirect_stdout(printed), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = kipoi.get_model(str(directory), source="dir")
            loader = model.default_dataloader.init_example()
            with cd(str(directory)):  # as `kipoi test` does: examples are relative, and opened by the workers
                batches = [batch["inputs"] for batch in loader.batch_iter(batch_size=4, num_workers=workers)]
            found = model.pipeline.predict_example(batch_size=4)
    finally:
        logging.getLogger("kipoi").removeHandler(handler)
    # Python 3.12 says of every fork in a process with threads that it may hang: Kipoi forks its workers.
    texts = [text for item in caught if "use of fork() may lead to deadlocks" not in (text := str(item.message))]
    problems = [*records, *texts, *re.findall(".*mismatch.*", printed.getvalue())]
    assert not problems, problems
    assert len(batches)
    expected = model.test.expect
    if isinstance(expected, str):
        stored = read_h5(directory / expected)
        for name, array in _named(found).items():
            np.testing.assert_almost_equal(array, stored[f"preds/{name}".rstrip("/")], model.test.precision_decimal)
    return _named(found)


def read_h5(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an HDF5 file, by their paths in it."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def _named(predictions: object) -> dict[str, np.ndarray]:
    return predictions if isinstance(predictions, dict) else {"": predictions}


def _predicting(directory: Path, args: dict, output: Path, workers: int) -> list[str]:
    command = ["predict", str(directory), "--source", "dir", "-n", str(workers), "-o", str(output), "--keep_inputs"]
    return [*command, "--dataloader_args", yaml.safe_dump(args, default_flow_style=True, width=10_000).strip()]


# What the script ``kipoi`` does, for several commands.
_ONE_AFTER_ANOTHER = """
import json, os, sys

given = json.loads(sys.argv[1])
from keras_stitch.kipoi.kipoi_command import provide_pkg_resources

provide_pkg_resources()
from kipoi.__main__ import main

sys.path.remove("")
for place, command in given:
    os.chdir(place)
    sys.argv = ["kipoi", *command]
    if status := main():
        sys.exit(status)
print("all commands ended")
"""


def _run(command: list[str], cwd: Path, python_path: str = "", start: list[str] | None = None) -> str:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": python_path}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = warm_python.run([sys.executable, *(start or _START), *command], cwd, environment)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    problems = [line for line in plain.splitlines() if _PROBLEM.search(line)]
    assert done.returncode == 0 and not problems, f"kipoi {' '.join(command)}\n{plain[-4000:]}"
    assert not start or "all commands ended" in plain.splitlines(), plain[-4000:]
    return plain
