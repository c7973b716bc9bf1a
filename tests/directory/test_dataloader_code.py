from __future__ import annotations

import ast
import dataclasses
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kipoi.specs import DataLoaderDescription
from kipoi_cases import make_case, write_function_loader, write_loader

from keras_stitch.directory.dataloader_code import GeneratedDataloader, class_name
from keras_stitch.directory.dataloader_plan import Merged, merge
from keras_stitch.directory.model_info import dependencies_section, info_section
from keras_stitch.directory.model_schemas import input_schemas
from keras_stitch.kipoi.dataloader import Dataloader
from keras_stitch.kipoi.templates import docstring, is_plain, literal, render, write_yaml
from keras_stitch.verify.certificate import Certificate, CertifiedPart, Check, InputRange

GOLDEN = Path(__file__).parents[1] / "golden" / "kipoi_directory"
NASTY = ['"""', "'''", "\\", "{{ x }}", "{% raw %}", "a\nb", 'it\'s "so"', "/../", ": #", "\t", "é\u2028", "\x00", "|"]
texts = st.lists(st.sampled_from(NASTY) | st.text(max_size=8), max_size=6).map("".join)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)

CERTIFICATE = Certificate(
    "composed",
    (
        Check("score", "random", 10, 2.5, 0.0, 1.2e-7, 10),
        Check("other", "random", 10, 2.5, 0.0, 0.0, 8),
        Check("score", "example", 5, 300.0, 2e-5, 2e-5, 5),
        Check("other", "example", 5, 0.0, None, None, 0),
    ),
    (
        CertifiedPart("model1", "model1.keras", "0" * 64, weights="trained"),
        CertifiedPart(
            "model3", "model3.h5", "0" * 64, (("model3.json", "1" * 64),), repairs=("gru-reset-after: 1 | layer",)
        ),
    ),
    (InputRange("x", "random", (8, 2), "int32", "0 to 3"), InputRange("x", "example", (8, 2), "int32")),
    seed=0,
    versions={"keras": "3", "tensorflow": "2", "keras_stitch": "0"},
)


def formatted(source: str) -> str:
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "120", "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout


@given(plain)
def test_literals_are_what_they_stand_for(value):
    assert is_plain(value)
    assert ast.literal_eval(literal(value)) == value
    assert ast.literal_eval(literal(value, indent=8, used=100)) == value


def test_literals_are_formatted():
    values = [*NASTY, {"a": list(range(60))}, (1,), ["x" * 50] * 3, {"k": {"l": ["m" * 90, ("n" * 30,)]}}, -1.5, 1e300]
    source = "".join(f"x = {literal(value, used=4)}\n" for value in values)
    assert formatted(source) == source


@given(texts)
@example('ends with "')
@example("\\")
def test_docstrings_hold_any_text(text):
    source = f'def f():\n    """One.\n\n    {docstring(text, 4)}\n    """\n'
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    words = "".join(c if c.isprintable() else " " for c in text).replace('"""', "'''").split()
    assert (ast.get_docstring(function) or "").split()[1:] == (words or ["..."])


@given(texts, texts, texts)
@settings(max_examples=60, deadline=None)
def test_any_text_gives_valid_python_and_yaml(graph, doc, default):
    case = make_case(with_model=False)
    merged = merge(case.spec, case.wiring)
    arguments = [dataclasses.replace(argument, doc=doc or "x", type=doc or "str") for argument in merged.arguments]
    arguments[1] = dataclasses.replace(arguments[1], required=False, default=[default])
    merged = Merged(merged.feeders, tuple(arguments))
    info = info_section(graph, [], {"doc": doc or "x", "authors": [doc or "x"], "license": doc or "x"})
    with tempfile.TemporaryDirectory() as folder:
        inputs = {
            name: {**schema, "doc": doc} for name, schema in input_schemas(case.stages, merged, {}).items()
        }  # fmt: skip
        loader = GeneratedDataloader(graph, merged, inputs, {}, info, dependencies_section([]))
        loader.write(Path(folder), {"input1_file": default})
        source = (Path(folder) / "dataloader.py").read_text(encoding="utf-8")
        tree = ast.parse(source)
        described = yaml.safe_load((Path(folder) / "dataloader.yaml").read_text(encoding="utf-8"))
        assert DataLoaderDescription.load(str(Path(folder) / "dataloader.yaml")).args["input1_file"].doc == (doc or "x")
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert [node.name for node in classes] == [class_name(graph)]
    assert described["args"]["input1_file"]["doc"] == (doc or "x")
    assert described["output_schema"]["inputs"]["input1"]["doc"] == doc
    init = classes[0].body[1]
    assert isinstance(init, ast.FunctionDef)
    assert [ast.literal_eval(value) for value in init.args.defaults] == [[default]]


@given(st.dictionaries(texts, plain, max_size=3))
@settings(deadline=None)
def test_yaml_round_trips(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.yaml"
        write_yaml(path, content)
        assert yaml.safe_load(path.read_text(encoding="utf-8")) == _lists(content)


def _lists(value):
    if isinstance(value, dict):
        return {str(key): _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value


def test_a_nasty_graph_is_formatted(tmp_path):
    case = make_case(with_model=False)
    merged = merge(case.spec, case.wiring)
    doc = 'He said """no""" to C:\\new {{ template }} ' * 5 + '"'
    merged = Merged(
        merged.feeders,
        tuple(dataclasses.replace(argument, doc=doc, required=False, default={"a": [doc, "'\""]})
              for argument in merged.arguments),
    )  # fmt: skip
    info = info_section("x", [], {})
    inputs = input_schemas(case.stages, merged, {})
    GeneratedDataloader('a "b"\n\\ {{c}}', merged, inputs, {}, info, {}).write(tmp_path, {})
    source = (tmp_path / "dataloader.py").read_text()
    assert formatted(source) == source


def test_a_value_that_a_template_lacks_is_an_error():
    with pytest.raises(Exception, match="is undefined"):
        render("kipoi/dataloader.py.jinja", {"graph": "x"})


def test_golden_directory(tmp_path):
    case = make_case()
    loaders = {
        "model1": Dataloader(write_loader(tmp_path / "numbers"), args={"factor": 2}),
        "input2": Dataloader(write_function_loader(tmp_path / "ones"), outputs={"a": "input2"}),
        "extra": None,
    }
    del loaders["extra"]
    case = make_case(
        outputs=("score", "other"),
        feeds={"model1": {"input1": "input1"}, "model3": {"input2": "input2", "x": "x"}},
        inputs={"input1": ((3,), "float32"), "input2": ((6,), "float32"), "x": ((None, 2), "int32")},
    )
    directory = case.write(
        tmp_path / "made",
        dataloaders=loaders,
        info={"doc": 'A "golden" directory: {{ nothing }} | of the ordinary.', "cite_as": "doi:10/1"},
        certify=lambda *_, **__: CERTIFICATE,
    )
    for name in ("dataloader.py", "dataloader.yaml", "model.yaml", "README.md", "certificate.json"):
        text = (directory / name).read_text()
        text = re.sub(r"keras>=[\d.]+", "keras>=VERSION", text)
        text = re.sub(r"python=[\d.]+", "python=VERSION", text)
        text = re.sub(r"precision_decimal: \d", "precision_decimal: DIGITS", text)
        golden = GOLDEN / f"{name}.txt"
        if "UPDATE_GOLDEN" in os.environ:
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_text(text)
        assert text == golden.read_text(), f"{name} differs; UPDATE_GOLDEN=1 accepts it"
