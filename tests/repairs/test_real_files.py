"""Real files of Keras 2 from PyPI: loaded, stitched and saved, they predict in plain Keras 3 what Keras 2 predicts.

Of files of one architecture in a release, one is tried; ``OLD_FILES=all`` tries all. ``docs/loading.md`` has the table
of them; with ``UPDATE_GOLDEN=1``, too, it is written, and what Keras 2 predicts, which is kept.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import traceback
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import keras
import keras2_predictions
import numpy as np
import published_models
import pytest
import tables_report
from old_keras import ALL_FILES
from real_files import FILES, QUICK, ROOT, RealFile, fetch

import keras_stitch as ks
from keras_stitch.errors import StitchError
from keras_stitch.models.save_keras import FORMATS, save_model
from keras_stitch.verify.equality import InFloat64, compare

DOCUMENT = ROOT / "docs" / "loading.md"
CUSTOM = published_models.custom_layers(keras)
TRIED = [file for file in FILES if ALL_FILES or not file.is_twin]
HEADERS = ("file", "saved by Keras", "repairs", "largest difference", "saved as")


@dataclass
class Stitched:
    """What became of one file before it left this process.

    Attributes:
        repairs: What keras_stitch repaired, as it says it.
        error: Why it could not be loaded or stitched.
        saved: The stitched model, by format.
        refused: Why it could not be saved, by format.
    """

    repairs: tuple[str, ...] = ()
    error: str = ""
    saved: dict[str, Path] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


@dataclass
class Predictions:
    """What a saved model predicts in plain Keras 3, against what it should; in float64, too, where both ran so."""

    found: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]
    float64: dict[str, InFloat64]

    @cached_property
    def difference(self) -> float:
        """The largest of ``|a - b| / max(1, max|b|)``."""
        assert {name: array.shape for name, array in self.found.items()} == {
            name: array.shape for name, array in self.expected.items()
        }
        pairs = [(self.found[name], array) for name, array in self.expected.items()]
        return max(float(np.abs(a - b).max() / max(1.0, np.abs(b).max())) for a, b in pairs)

    @property
    def equal(self) -> bool:
        """Whether all are equal."""
        compared = [compare(self.found[name], array, self.float64.get(name)) for name, array in self.expected.items()]
        return all(one.equal for one in compared)


class Bench:
    """A folder in which files go through Keras 2, keras_stitch and plain Keras 3: one process for all, in each."""

    def __init__(self, folder: Path, files: list[RealFile]):
        self._folder = folder
        made_now = [file for file in files if keras2_predictions.is_made_now(file)]
        keras2_predictions.unpack([file for file in files if file not in made_now], folder)
        for file in files:
            self._place(file).mkdir(parents=True, exist_ok=True)
        jobs = [keras2_predictions.job(file, self._place(file)) for file in made_now]
        keras2 = self._start(keras2_predictions.ORACLE, jobs)
        self.stitched = {file: self._stitch(file) for file in sorted(files, key=lambda file: file.model.made != "")}
        self._finish(keras2)
        if "UPDATE_GOLDEN" in os.environ and files == list(FILES):
            keras2_predictions.keep(files, folder)
        jobs = [
            {
                "model": str(path),
                "custom": file.model.custom,
                "inputs": str(self._place(file) / "keras2.npz"),
                "arrays": f"{path}.npz",
                "float64": file.model.float64,
            }
            for file, stitched in self.stitched.items()
            for path in stitched.saved.values()
        ]
        self._finish(self._start("plain_reloading.py", jobs))

    def keras2(self, file: RealFile) -> dict[str, np.ndarray]:
        """Inputs, and what Keras 2 predicts for them."""
        return self._read(self._place(file) / "keras2.npz")

    def predictions(self, file: RealFile, format: str) -> Predictions:
        """What came out of the stitched model, and what Keras 2 says should."""
        keras2 = self.keras2(file)
        reloaded = self._read(Path(f"{self.stitched[file].saved[format]}.npz"))
        found = {name: array for name, array in reloaded.items() if not name.startswith("float64 ")}
        names = {f"{when}output{number}" for number in range(len(found) - 1) for when in ("", "float64 ")}
        made = {name: array for name, array in keras2.items() if name in names}
        made |= {name.replace("output0", "doubled"): 2 * made[name] + 1 for name in made if name.endswith("output0")}
        exact = {
            name: InFloat64(reloaded[f"float64 {name}"], made.pop(f"float64 {name}"))
            for name in found
            if f"float64 {name}" in made
        }
        return Predictions(found, made, exact)

    def _place(self, file: RealFile) -> Path:
        return self._folder / str(file)

    def _arch(self, file: RealFile) -> Path | None:
        """The architecture of a weights-only file; one that is made is there soon after Keras 2 has started."""
        return self._place(file) / "arch.json" if file.model.made else file.beside

    def _read(self, path: Path) -> dict[str, np.ndarray]:
        with np.load(path) as arrays:
            assert "error" not in arrays, f"{path.name}: {arrays['error']}"
            return dict(arrays)

    def _stitch(self, file: RealFile) -> Stitched:
        """Stitched to a layer that computes something, so that what is saved is more than the file was."""
        stitched = Stitched()
        _wait_for(self._arch(file))
        try:
            custom = {name: CUSTOM[name] for name in file.model.custom} or None
            graph = ks.Graph("stitched").add("part", file.path, arch=self._arch(file), custom_objects=custom)
            part = graph.spec.submodels[0]
            stitched.repairs = part.repairs
            first = f"part.{part.outputs[0].name}"
            graph.add("doubled", keras.layers.Rescaling(2.0, offset=1.0)).connect(first, "doubled")
            for number, port in enumerate(part.outputs):
                graph.add_output(f"output{number}", f"part.{port.name}")
            model = graph.add_output("doubled", "doubled").build()
        except Exception:
            stitched.error = traceback.format_exc()
            return stitched
        for format, ending in FORMATS.items():
            try:
                with keras.saving.custom_object_scope(custom or {}):
                    stitched.saved[format] = save_model(model, self._place(file) / f"stitched{ending}")
            except StitchError as error:
                stitched.refused[format] = str(error)
        return stitched

    def _start(self, script: str, jobs: list[dict]) -> tuple[subprocess.Popen, Path]:
        listed, log = self._folder / f"{script}.json", self._folder / f"{script}.log"
        listed.write_text(json.dumps(jobs), encoding="utf-8")
        command = [sys.executable, str(ROOT / "tests" / "helpers" / script), str(listed)]
        with log.open("w") as output:
            return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT), log

    def _finish(self, started: tuple[subprocess.Popen, Path]) -> None:
        process, log = started
        assert process.wait() == 0, log.read_text()[-3000:]


def _wait_for(path: Path | None) -> None:
    """Until another process has written a file."""
    end = time.monotonic() + 120
    while path is not None and not path.exists() and time.monotonic() < end:
        time.sleep(0.1)


@pytest.fixture(scope="module")
def bench(request, tmp_path_factory) -> Bench:
    """The chosen files, processed."""
    items = [item for item in request.session.items if item.originalname == "test_real_file"]
    chosen = {QUICK, *(item.callspec.params["file"] for item in items)}
    fetch(chosen)
    return Bench(tmp_path_factory.mktemp("real_files"), [file for file in FILES if file in chosen])


@pytest.mark.parametrize(
    "file", [file if file is QUICK else pytest.param(file, marks=pytest.mark.slow) for file in TRIED], ids=str
)
def test_real_file(file, bench, request):
    """The numbers of Keras 2, from a model that Keras 3 loads alone."""
    stitched = bench.stitched[file]
    assert not stitched.error, stitched.error
    assert "keras" in stitched.saved, stitched.refused
    # What the .keras format can hold and the .h5 format cannot is said before anything is written.
    assert all("Save as .keras" in refusal for refusal in stitched.refused.values())
    for format in stitched.saved:
        predictions = bench.predictions(file, format)
        assert all(np.isfinite(array).all() and np.ptp(array, axis=0).max() > 0 for array in predictions.found.values())
        assert predictions.equal, (format, predictions.difference)
        # Rounding is an excuse only of models that run in float64.
        assert predictions.difference <= 1e-5 or file.model.float64
        assert set(custom_objects(config_of(stitched.saved[format]))) <= set(file.model.custom)
    row = documented_row(file, bench)
    tables_report.record(request, "real files", dict(zip(HEADERS, row, strict=True)))
    if "UPDATE_GOLDEN" in os.environ:
        document(file, row)
    # Differences vary a little from machine to machine.
    kept = [number for number, header in enumerate(HEADERS) if header != "largest difference"]
    written = documented().get(str(file))
    assert written is not None, "It is not in docs/loading.md; UPDATE_GOLDEN=1 writes it."
    assert [row[number] for number in kept] == [written[number] for number in kept], "UPDATE_GOLDEN=1 accepts it"


def test_keras_2_predicts_what_is_kept(bench, tmp_path):
    keras2_predictions.unpack([QUICK], tmp_path)
    with np.load(tmp_path / str(QUICK) / "keras2.npz") as arrays:
        kept = dict(arrays)
    now = bench.keras2(QUICK)
    assert now.keys() == kept.keys() and now["wanted"] == kept["wanted"]
    for name in kept.keys() - {"wanted"}:
        np.testing.assert_allclose(now[name], kept[name], rtol=0, atol=1e-6)


def test_documented_files():
    """No other files are in the table."""
    assert list(documented()) == [str(file) for file in FILES]


def config_of(path: Path) -> Any:
    """The architecture in a saved model."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))
    with h5py.File(path) as file:
        return json.loads(file.attrs["model_config"])


def custom_objects(config: Any) -> Iterator[str]:
    """Whatever in an architecture is not of Keras itself."""
    if isinstance(config, list):
        for value in config:
            yield from custom_objects(value)
    if isinstance(config, dict):
        if "class_name" in config:
            module = config.get("module")
            if module is not None and module.partition(".")[0] != "keras":
                yield config["class_name"]
            if ">" in (config.get("registered_name") or "") or config["class_name"] in ("Lambda", "function"):
                yield config["class_name"]
        for value in config.values():
            yield from custom_objects(value)


def documented_row(file: RealFile, bench: Bench) -> tuple[str, ...]:
    """The row of a file in the table."""
    stitched = bench.stitched[file]
    repairs = ", ".join(re.match(r"[\w-]+", repair)[0] for repair in stitched.repairs) or "none"
    difference = max(bench.predictions(file, format).difference for format in stitched.saved)
    endings = ", ".join(FORMATS[format] for format in stitched.saved)
    return str(file), keras_version(file.path), repairs, f"{difference:.0e}" if difference else "0", endings


def keras_version(path: Path) -> str:
    """The version of Keras that saved a file."""
    with h5py.File(path) as file:
        version = file.attrs["keras_version"]
    return version.decode() if isinstance(version, bytes) else str(version)


_TABLE = re.compile(re.escape(f"| {' | '.join(HEADERS)} |\n") + r"\|[- |]+\|\n((?:\|.*\|\n)*)")


def documented() -> dict[str, tuple[str, ...]]:
    """The table in the documentation, by file."""
    text = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else ""
    table = _TABLE.search(text)
    rows = (
        [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table[1].splitlines()] if table else []
    )
    return {row[0]: row for row in rows}


def document(file: RealFile, row: tuple[str, ...]) -> None:
    """Put a row into the table; a table that is not there yet is added at the end."""
    rows = documented() | {str(file): row}
    lines = [HEADERS, ["---"] * len(HEADERS), *(rows[str(each)] for each in FILES if str(each) in rows)]
    written = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    text = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else ""
    text = _TABLE.sub(lambda _: written, text) if _TABLE.search(text) else f"{text}\n{written}".lstrip()
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(text, encoding="utf-8")
