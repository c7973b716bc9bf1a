"""Every example in a docstring runs, and every public function that has one shows what it shows."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
from needs_kipoi import HAS_KIPOI

import keras_stitch

# These import Kipoi, or their examples do.
OF_KIPOI = {f"keras_stitch.{name}" for name in ("kipoi.model_sources", "kipoi.run_kipoi", "training.training_data")}

MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(keras_stitch.__path__, "keras_stitch.")
    if "model_templates" not in found.name and (HAS_KIPOI or found.name not in OF_KIPOI)
)


def test_there_are_modules() -> None:
    assert {"keras_stitch.graph", "keras_stitch.graphs.wiring", "keras_stitch.repairs.weights"} <= set(MODULES)


def test_there_are_examples() -> None:
    found = [doctest.DocTestFinder().find(importlib.import_module(module), module) for module in MODULES]
    assert sum(len(test.examples) for tests in found for test in tests) > 50


@pytest.mark.parametrize("module", ["keras_stitch", *MODULES])
def test_examples(module: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    runner = doctest.DocTestRunner()
    said: list[str] = []
    for test in doctest.DocTestFinder().find(importlib.import_module(module), module):
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("name", keras_stitch.__all__)
def test_public_names_are_documented(name: str) -> None:
    assert getattr(keras_stitch, name).__doc__
