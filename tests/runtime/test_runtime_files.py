"""A generated directory holds those files of the runtime that it uses, and they work without the others."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from keras_stitch.directory.runtime_files import write_entrances, write_runtime
from keras_stitch.kipoi.templates import template_files, template_module, template_text

ALWAYS = {"__init__", "kipoi_on_numpy2"}
KINDS = {"data_errors", "dataloader_kinds", "own_dataloaders", "workers"}
FILES = {*KINDS, "kipoi_names", "model_kinds", "neighbours", "python_files"}
MODELS = {*FILES, "downloads", "model_loading"}
BASE = {
    *ALWAYS,
    *("blocks", "keys", "merged", "part_base", "progress", "row_groups", "row_ids", "row_lookup"),
    *KINDS,
}
TABLES = {
    *("array_files", "column_tables", "file_contents", "hdf5_contents", "row_ids", "row_names", "stored_arrays"),
    "table_formats",
    "tables",
}
NEEDED = {
    "DataError": {*ALWAYS, "data_errors"},
    "MergedDataset": BASE,
    "MergedIterator": {*BASE, "merged_iterator"},
    "Table": {*ALWAYS, "blocks", "data_errors", "part_base", *TABLES},
    "Predictions": {
        *ALWAYS,
        *("blocks", "data_errors", "hdf5_contents", "part_base", "predictions", "records", "row_ids"),
    },
    "Part": {
        *ALWAYS,
        *("blocks", "component_source", "dataloader_part", "keys", "part_base", "readers"),
        *("row_ids", "shared_sequences", *KINDS),
    },
    "load_dataloader": {*ALWAYS, *FILES},
    "Merge": {*ALWAYS, "numpy_merges"},
    "Packed": {*ALWAYS, "numpy_merges", "run_packed", *MODELS},
    "Directory": {*ALWAYS, "directory", "training_rows", *MODELS},
    "PredictionFile": {*ALWAYS, "data_errors", "prediction_file"},
}
ALL = template_module("kipoi.merging").__all__


def written(folder: Path, code: str, *modules: str, file: str = "dataloader.py") -> set[str]:
    folder.mkdir(exist_ok=True)
    (folder / file).write_text(code)
    write_runtime(folder, *modules)
    return {path.stem for path in (folder / "merging").iterdir()}


def loaded(folder: Path) -> ModuleType:
    """The folder as a generated dataloader loads it."""
    name = f"runtime_{folder.name.replace('-', '_')}"
    options = {"submodule_search_locations": [str(folder / "merging")]}
    spec = importlib.util.spec_from_file_location(name, folder / "merging" / "__init__.py", **options)
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.mark.parametrize("name", NEEDED)
def test_what_a_name_needs(tmp_path, name):
    assert written(tmp_path, f"x = merging.{name}()\n") == NEEDED[name]


@pytest.mark.parametrize("name", ALL)
def test_what_is_written_works_alone(tmp_path, name):
    place = tmp_path / f"only-{name}"
    files = written(place, f"class Loader(merging.{name}):\n    pass\n")
    runtime = loaded(place)
    assert hasattr(runtime, name) and set(runtime.__all__) <= set(ALL)
    assert all(hasattr(runtime, public) for public in runtime.__all__)
    for module in files - {"__init__"}:
        importlib.import_module(f"{runtime.__name__}.{module}")


def test_a_directory_of_tables_has_no_other_parts(tmp_path):
    code = "class A(merging.MergedDataset):\n    x = merging.Table, merging.Targets\n"
    assert written(tmp_path, code) == {*BASE, *TABLES}
    assert loaded(tmp_path).__all__ == ["DataError", "MergedDataset", "Table", "Targets"]


def test_everything_is_the_template_itself(tmp_path):
    write_entrances(tmp_path)
    files = written(tmp_path, "".join(f"merging.{name}\n" for name in ALL))
    assert files == {name.removesuffix(".py") for name in template_files("kipoi/merging")}
    for name in template_files("kipoi/merging"):
        assert (tmp_path / "merging" / name).read_text() == template_text(f"kipoi/merging/{name}")


def test_what_is_loaded_by_its_path_is_there(tmp_path):
    assert written(tmp_path, "x = 1\n", "records") == {*ALWAYS, "records"}
    found = written(tmp_path / "own", template_text("kipoi/packed_class.py"), file="model.py")
    assert found == {*ALWAYS, "neighbours"}


def test_the_generated_init_is_formatted(tmp_path):
    written(tmp_path, "merging.MergedIterator, merging.Part, merging.from_function\n")
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--no-cache", "--line-length", "120", str(tmp_path / "merging")]
    subprocess.run([*ruff, "format", "--check", *options], check=True)
    subprocess.run([*ruff, "check", "--select", "E,W,F,I,B,C4,RUF,SIM,UP", *options], check=True)


def test_a_name_that_there_is_not_is_noticed(tmp_path):
    with pytest.raises(KeyError, match="Tabel"):
        written(tmp_path, "merging.Tabel\n")
