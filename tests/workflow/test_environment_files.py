"""What an environment needs, for uv and for conda."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from keras_stitch.placement.environments import OWN_BASE, Environment
from keras_stitch.workflow.write_workflow import Needs

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_pip_has_what_conda_has_under_its_own_names() -> None:
    said = {
        "conda": ["python=3.10", "bioconda::pybedtools>=0.7", "pytorch::pytorch-cpu=1.4", "bedtools"],
        "pip": ["x==1"],
    }
    needs = Needs(Environment("old", ("old",), (*OWN_BASE, "x==1"), "3.10"), [said, {"pip": ["kipoiseq"]}], ["layers"])
    assert needs.pip == [*OWN_BASE, "x==1", "pybedtools>=0.7", "torch==1.4.*", "kipoiseq", "layers"]
    assert needs.python == "3.10"


def test_conda_has_its_own_from_conda() -> None:
    conda = ["python=3.10", "python-dateutil", "bioconda::pybedtools>=0.7", "bedtools", "numpy"]
    said = {"conda": conda, "pip": ["x==1"], "conda_channels": ["bioconda", "defaults"]}
    section = Needs(Environment("old", ("old",), (*OWN_BASE, "x==1"), "3.10"), [said]).section
    assert section == {
        "conda": ["python=3.10", "python-dateutil", "bioconda::pybedtools>=0.7", "bedtools", "numpy"],
        "pip": [*OWN_BASE, "x==1"],
        "conda_channels": ["bioconda", "defaults"],
    }


def test_files(tmp_path: Path) -> None:
    Needs(Environment("a_b", ("a", "b"), ("kipoi", "x==1"))).write(tmp_path / "a_b")
    assert (tmp_path / "a_b" / "requirements.txt").read_text() == "# Needed by a, b.\nkipoi\nx==1\n"
    assert (tmp_path / "a_b" / "Dockerfile").read_text() == (
        f"# Needed by a, b.\nFROM python:{HERE}-slim\nCOPY requirements.txt /requirements.txt\n"
        "RUN python -m pip install --no-cache-dir -r /requirements.txt\n"
    )
    assert (tmp_path / "a_b" / "apptainer.def").read_text() == (
        f"# Needed by a, b.\nBootstrap: docker\nFrom: python:{HERE}-slim\n\n"
        "%files\n    requirements.txt /requirements.txt\n\n"
        "%post\n    python -m pip install --no-cache-dir -r /requirements.txt\n"
    )
    assert yaml.safe_load((tmp_path / "a_b" / "environment.yaml").read_text()) == {
        "name": "kipoi-a_b",
        "channels": ["defaults"],
        "dependencies": [f"python={HERE}", "pip", {"pip": ["kipoi", "x==1"]}],
    }


def test_git_is_in_the_image_where_pip_needs_it() -> None:
    assert Needs(Environment("a", ("a",), ("kipoi", "x @ git+https://example.org/x"), "3.9")).base == "python:3.9"
