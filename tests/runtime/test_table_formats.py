"""The one table of formats for files with rows."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

import keras_stitch
from keras_stitch.kipoi.templates import template_module

formats = template_module("kipoi.merging.table_formats")
ROOT = Path(keras_stitch.__file__).parents[1]


def test_names_and_endings_are_of_one_format_each():
    names = [known.name for known in formats.FORMATS]
    endings = [ending for known in formats.FORMATS for ending in known.endings]
    assert len(set(names)) == len(names) and len(set(endings)) == len(endings)


@pytest.mark.parametrize(
    ("start", "path", "name"),
    [
        (b"\x93NUMPY\x01\x00", "a.tsv", "NPY"),
        (b"\x89HDF\r\n\x1a\n", "a", "HDF5"),
        (b"PAR1\x15\x04", "a.csv", "Parquet"),
        (b"a,b\n1,2\n", "a.csv", "CSV"),
        (b"\x1f\x8b\x08", "A.CSV.gz", "CSV"),
        (b"a\tb\n", "a.tsv", "TSV"),
        (b"a\tb\n", "a.txt", "TSV"),
    ],
)
def test_a_format_is_known_by_its_first_bytes_and_text_by_its_ending(start, path, name):
    assert formats.format_of(start, path).name == name


def test_the_formats_are_listed_nowhere_else():
    """Messages and generated files take the list from the table; documentation is for people."""
    sources = [path for folder in ("keras_stitch", "model_templates") for path in (ROOT / folder).rglob("*.py")]
    spelled = [path.name for path in sources if "TSV, CSV" in path.read_text(encoding="utf-8")]
    assert spelled == ["table_formats.py"]


def test_what_a_format_needs_is_an_extra_of_the_same_bounds():
    configuration = configparser.ConfigParser()
    configuration.read(ROOT / "setup.cfg")
    extras = configuration["options.extras_require"]
    needed = {known.name.lower(): known.requirement for known in formats.FORMATS if known.requirement is not None}
    assert {name: extras[name].strip() for name in needed} == needed
