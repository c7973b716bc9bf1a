"""The names in a generated directory: spelled once, and written by whom the table says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from keras_stitch import directory_layout as layout

PACKAGE = Path(layout.__file__).parent
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "directory_layout.py")
# Names that mean something else too (a package, a placement, a key in a YAML file) are left out.
DISTINCTIVE = {
    *(*layout.MODEL_YAMLS, *layout.DATALOADER_YAMLS, layout.DATALOADER_CODE, layout.STITCHED_MODEL_CODE),
    *(layout.RECORD, layout.PICTURE, layout.CARD, layout.CERTIFICATE, layout.GIT_IGNORES),
    *(layout.MODEL_FILES, layout.EXAMPLES, layout.COMPONENTS, layout.PACKED_MODEL, layout.DATALOADER_FILES),
    *(layout.SNAKEFILE, layout.WORKFLOW_CONFIG, layout.PIP_REQUIREMENTS, layout.CONDA_ENVIRONMENT, layout.MANIFEST),
    *(layout.DOCKER_IMAGE, layout.APPTAINER_IMAGE, layout.BUILT_IMAGE),
    *(layout.DOWNLOADS, layout.COMPILED, *(Path(path).name for path in (layout.EXPECTED, layout.CUSTOM_OBJECTS))),
}


def spelled(path: Path) -> Iterator[tuple[int, str]]:
    """Paths in string literals, those in f-strings included: messages and docstrings have spaces."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not set(node.value) & set(" \n"):
            for name in node.value.split("::")[0].split("/"):
                yield node.lineno, name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_names_are_spelled_in_one_module(path):
    found = {(line, name) for line, name in spelled(path) if name in DISTINCTIVE}
    assert not found, "keras_stitch/directory_layout.py has these names"


def test_the_writers_are_modules_that_use_the_names():
    constants = {value: name for name, value in vars(layout).items() if name.isupper() and isinstance(value, str)}
    for name, writer in layout.WRITERS.items():
        if writer.endswith(".py"):
            assert f"layout.{constants[name]}" in (PACKAGE / writer).read_text(encoding="utf-8"), name
