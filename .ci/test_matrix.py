"""Runs the core tests in environments of other versions, one after another, and writes a table of them.

    .venv/bin/python .ci/test_matrix.py                                  # all: two to four minutes each
    .venv/bin/python .ci/test_matrix.py --python 3.13 --kipoi yes        # some
    .venv/bin/python .ci/test_matrix.py --write docs/versions.md         # the table goes there, too

Each environment has a Python, a NumPy, the lowest or the newest versions that ``setup.cfg`` allows, and Kipoi or not.
uv makes it and finds the Pythons; a Python that it does not find is left out, and the table says so. Packages come as
wheels, but for two that have none for every Python and that the dataloaders of kipoiseq need.
"""

from __future__ import annotations

import argparse
import ast
import functools
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import install

ROOT = Path(__file__).resolve().parents[1]
PYTHONS, NUMPYS, RESOLUTIONS, KIPOI = ("3.11", "3.12", "3.13"), ("1.26", "2"), ("lowest", "newest"), ("yes", "no")
TESTS = (
    *("tests/graphs/test_wiring.py", "tests/models/test_build.py", "tests/models/test_merge_layers.py"),
    *("tests/verify/test_verify.py", "tests/repairs/test_repairs_rules.py", "tests/runtime/test_tables.py"),
    *("tests/runtime/test_merging_readers.py", "tests/runtime/test_stitched_model.py"),
    *("tests/directory/test_write_directory.py", "tests/kipoi/test_kipoi_command.py"),
)
# Few examples of each property, and every fifth set of parameters: what differs are the packages, not our code.
_FEW = {"HYPOTHESIS_PROFILE": "few", "TESTS_IN_TURN": "0/5"}
_TOOLS = ("hypothesis", "psutil", "pytest", "ruff", "scikit-learn")
# Python 3.13 has no wheels of them.
_COMPILED = ("ncls", "sorted-nearest")
_COLUMNS = ("Python", "NumPy", "Keras", "TensorFlow", "pandas", "Kipoi", "versions", "passed", "failed", "seconds")
_BEGIN, _END = "<!-- table: .ci/test_matrix.py -->\n", "<!-- end of the table -->\n"


@dataclass
class Run:
    """One environment, and what its tests gave.

    Attributes:
        python: The version, such as ``3.12``.
        numpy: ``1.26`` or ``2``.
        resolution: ``lowest`` or ``newest``.
        kipoi: ``yes`` or ``no``.
        found: The versions that were installed.
        passed: Tests that passed.
        failed: Tests that failed.
        seconds: What making the environment and testing in it took.
        problem: Why there is no environment.
    """

    python: str
    numpy: str
    resolution: str
    kipoi: str
    found: dict[str, str] = field(default_factory=dict)
    passed: int = 0
    failed: int = 0
    seconds: float = 0
    problem: str = ""

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        versions = [self.found.get(name, "-") for name in ("numpy", "keras", "tensorflow-cpu", "pandas", "kipoi")]
        if self.problem:
            return (self.python, self.numpy, "-", "-", "-", self.kipoi, self.resolution, self.problem, "-", "-")
        said = (self.resolution, str(self.passed), str(self.failed), f"{self.seconds:.0f}")
        return (self.found["python"], *versions, *said)


def main() -> None:
    """Read the command line, test, and say how it went; ends with 1 where a test failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, known in (("python", PYTHONS), ("numpy", NUMPYS), ("resolution", RESOLUTIONS), ("kipoi", KIPOI)):
        parser.add_argument(f"--{name}", nargs="+", default=known, choices=known)
    parser.add_argument("--tests", nargs="+", default=TESTS, help="files or folders")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where environments are made")
    parser.add_argument("--write", type=Path, help="a Markdown file, for the table")
    options = parser.parse_args()
    runs = []
    for values in itertools.product(options.resolution, options.numpy, options.kipoi, options.python):
        resolution, numpy, kipoi, python = values
        runs.append(Run(python, numpy, resolution, kipoi))
        with tempfile.TemporaryDirectory(prefix="matrix-", dir=options.folder.resolve()) as folder:
            test(runs[-1], Path(folder), options.tests)
        print("  ".join(runs[-1].cells()), flush=True)
    runs.sort(key=lambda run: (run.kipoi == "no", run.python, run.resolution == "newest", float(run.numpy)))
    text = table(runs)
    print(text)
    if options.write:
        before, _, rest = options.write.read_text(encoding="utf-8").partition(_BEGIN)
        options.write.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{rest.partition(_END)[2]}", encoding="utf-8")
    sys.exit(any(run.failed for run in runs))


def test(run: Run, folder: Path, tests: Sequence[str]) -> None:
    """Make the environment of a run, test in it, and note what came out."""
    begin, environment = time.monotonic(), folder / "environment"
    if uv("python", "find", "--no-python-downloads", run.python).returncode:
        run.problem = "uv does not find this Python"
        return
    if run.python == "3.13" and run.numpy == "1.26":
        run.problem = "NumPy 1.26 has no wheels, and TensorFlow needs 2"
        return
    python = environment / "bin" / "python"
    uv("venv", "--python", run.python, str(environment), check=True)
    compiled = _COMPILED if run.python == "3.13" else ()
    wheels = ["--only-binary=:all:", *(f"--no-binary={name}" for name in compiled)]
    # pyarrow 26 wants NumPy 2 and does not say so.
    (folder / "numpy.txt").write_text(f"numpy=={run.numpy}.*\n" + "pyarrow<26\n" * (run.numpy == "1.26"))
    (folder / "wanted.txt").write_text("\n".join(wanted(run)))
    resolution = {"lowest": "lowest-direct", "newest": "highest"}[run.resolution]
    pins = ["pip", "compile", "--python", str(python), f"--resolution={resolution}", "--constraints", "numpy.txt"]
    made = uv(*pins, *wheels, "--output-file", "pins.txt", "wanted.txt", cwd=folder)
    if made.returncode == 0:
        put = ["pip", "install", "--python", str(python), "--requirements", "pins.txt", *_TOOLS]
        made = uv(*put, *wheels, cwd=folder)
    if made.returncode == 0:
        made = uv("pip", "install", "--python", str(python), "--no-deps", "--editable", str(ROOT))
    if made.returncode:
        run.problem = "no such environment"
        print(made.stderr, file=sys.stderr)
        return
    listed = json.loads(uv("pip", "list", "--python", str(python), "--format=json", check=True).stdout)
    run.found = {item["name"]: item["version"] for item in listed}
    said = subprocess.run([python, "-c", "import platform; print(platform.python_version())"], **_TEXT)
    run.found["python"] = said.stdout.strip()
    paths = [path for path in files(tests) if run.kipoi == "yes" or not needs_kipoi(path)]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *paths]
    done = subprocess.run(command, cwd=ROOT, env={**variables, **_FEW}, **_TEXT)
    last = done.stdout.strip().rpartition("\n")[2]
    counts = {what: int(count) for count, what in re.findall(r"(\d+) (passed|failed|error)", last)}
    run.passed = counts.get("passed", 0)
    run.failed = counts.get("failed", 0) + counts.get("error", 0) + (not counts)
    if done.returncode:
        print(done.stdout[-6000:], done.stderr[-2000:], sep="\n", file=sys.stderr)
    run.seconds = time.monotonic() - begin


_TEXT = {"text": True, "capture_output": True, "check": False}


def uv(*arguments: str, check: bool = False, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run uv; its messages are in what it returns."""
    done = subprocess.run(["uv", *arguments, "--quiet"], cwd=cwd, **_TEXT)
    if check and done.returncode:
        sys.exit(done.stderr)
    return done


def wanted(run: Run) -> list[str]:
    """The requirements of ``setup.cfg`` for a run; TensorFlow and Keras first, of which uv then takes the newest."""
    lines = install.requirements("parquet", *(["demo"] if run.kipoi == "yes" else []))
    return sorted(lines, key=lambda line: not line.startswith(("tensorflow", "keras")))


def files(tests: Sequence[str]) -> Iterator[Path]:
    """The files of tests."""
    for name in tests:
        yield from sorted((ROOT / name).rglob("test_*.py")) if (ROOT / name).is_dir() else [ROOT / name]


@functools.cache
def needs_kipoi(path: Path) -> bool:
    """Whether a test, or a helper that it imports, imports Kipoi when it is imported itself."""
    names: list[str] = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    helpers = [ROOT / "tests" / "helpers" / f"{name}.py" for name in names]
    return any(re.match(r"kipoi(seq|_utils)?\b", name) for name in names) or any(
        needs_kipoi(helper) for helper in helpers if helper.is_file()
    )


def table(runs: Sequence[Run]) -> str:
    """The runs as a table in Markdown."""
    rows = [_COLUMNS, tuple("---" for _ in _COLUMNS), *(run.cells() for run in runs)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    if not shutil.which("uv"):
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    main()
