"""The readers that are fuzzed: what makes their inputs, and what reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fuzz_arrays
import fuzz_command_line
import fuzz_directories
import fuzz_models
import fuzz_onnx
import fuzz_saved_models
import fuzz_specs
import fuzz_tables
from hypothesis import strategies as st


@dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes:
        module: The module with ``prepare(folder)`` and the function that reads.
        read: The name of that function: it takes a case, the folder that ``prepare`` filled, and an empty one.
        cases: Draws cases, which JSON can hold.
        most_text: How many characters a message may have.
        names_files: Whether a case names files and zoos, so that reading them is what was asked for.
    """

    module: str
    read: str
    cases: Callable[[], st.SearchStrategy[Any]]
    most_text: int = 100_000
    names_files: bool = False


READERS = {
    "keras": Reader("fuzz_models", "read_archive", fuzz_models.archives),
    "hdf5": Reader("fuzz_models", "read_hdf5", fuzz_models.hdf5_files),
    "onnx": Reader("fuzz_onnx", "read_onnx", fuzz_onnx.onnx_files),
    "saved_models": Reader("fuzz_saved_models", "read_directory", fuzz_saved_models.directories),
    "stitch_yaml": Reader("fuzz_specs", "read_spec", fuzz_specs.specs, names_files=True),
    "references": Reader("fuzz_specs", "read_references", fuzz_specs.references),
    "directories": Reader("fuzz_directories", "read_directory", fuzz_directories.directories),
    "tables": Reader("fuzz_tables", "read_table", fuzz_tables.tables),
    "npz": Reader("fuzz_arrays", "read_npz", fuzz_arrays.npz_files),
    "features": Reader("fuzz_arrays", "read_features", fuzz_arrays.features),
    "command_line": Reader("fuzz_command_line", "read_arguments", fuzz_command_line.arguments, names_files=True),
}
