"""What YAML files of Kipoi say, held against Kipoi's own parser; what is none is refused, and nothing in it runs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kipoi.specs import DataLoaderDescription, ModelDescription, RemoteFile

from keras_stitch.kipoi import schema
from keras_stitch.kipoi.descriptions import BadDescription, Missing, dataloader_description, model_description

words = st.text("abcdefghij _-", min_size=1, max_size=8).filter(lambda text: text.strip() == text)
names = st.text("abcdefg", min_size=1, max_size=5)
shapes = st.lists(st.one_of(st.none(), st.integers(1, 9)), max_size=3).map(lambda sizes: str(tuple(sizes)))
arrays = st.fixed_dictionaries(
    {"shape": shapes, "doc": words}, optional={"special_type": st.sampled_from(["DNASeq", "bigwig", "v-plot"])}
)


def with_names(items: list[dict]) -> list[dict]:
    return [{**item, "name": f"array{number}"} for number, item in enumerate(items)]


nested = st.one_of(
    arrays,
    st.lists(arrays, min_size=1, max_size=3).map(with_names),
    st.dictionaries(names, arrays, min_size=1, max_size=3),
)
people = st.fixed_dictionaries({"name": words}, optional={"github": names, "email": names})
known = {"license": words, "tags": st.lists(words, max_size=2)}
about = {"authors": st.lists(people, min_size=1, max_size=2), "doc": words}
infos = st.fixed_dictionaries(about, optional=known)
model_infos = st.fixed_dictionaries(about, optional={**known, "cite_as": words, "trained_on": words})
dependencies = st.fixed_dictionaries(
    {}, optional={"conda": st.lists(names, max_size=2), "pip": st.one_of(names, st.lists(names, max_size=2)),
                  "conda_channels": st.lists(names, min_size=1, max_size=2)}
)  # fmt: skip
remote = st.fixed_dictionaries({"url": st.just("https://x.org/a"), "md5": st.just("0" * 32)}, optional={"name": names})
values = st.one_of(st.integers(), words, st.booleans(), remote, st.lists(st.integers(), max_size=2))
models = st.fixed_dictionaries(
    {
        "defined_as": words,
        "args": st.dictionaries(names.filter(lambda name: name != "url"), values, max_size=3),
        "info": model_infos,
        "schema": st.fixed_dictionaries({"inputs": nested, "targets": nested}),
    },
    optional={"type": words, "dependencies": dependencies},
)
arguments = st.fixed_dictionaries({"doc": words}, optional={"example": values, "default": values, "type": words})
metadata = st.dictionaries(
    names,
    st.fixed_dictionaries({"doc": words}, optional={"type": st.sampled_from(["GenomicRanges", "str", "int"])}),
    min_size=1,
    max_size=2,
)
dataloaders = st.fixed_dictionaries(
    {
        "defined_as": words,
        "args": st.dictionaries(names, arguments, max_size=3),
        "output_schema": st.fixed_dictionaries({"inputs": nested}, optional={"metadata": metadata, "targets": nested}),
    },
    optional={"type": words, "info": infos, "dependencies": dependencies},
)


def plain(value: Any) -> Any:
    """Files to download as dicts, of Kipoi and ours alike."""
    if type(value).__name__ == RemoteFile.__name__:
        return {"url": value.url, "md5": value.md5, "name": value.name}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def said(description: Any, raw: dict) -> tuple:
    return (
        description.defined_as,
        description.type,
        schema.read_info(description.info, raw),
        schema.read_dependencies(description.dependencies),
    )


@given(raw=models)
def test_models_as_kipoi_reads_them(tmp_path_factory, raw):
    folder = tmp_path_factory.getbasetemp()
    kipois, own = ModelDescription.from_config(copy.deepcopy(raw)), model_description(raw, folder)
    assert said(own, raw) == said(kipois, raw)
    assert plain(dict(own.args)) == plain(dict(kipois.args))
    for key in ("inputs", "targets"):
        ours, theirs = getattr(own.schema, key), getattr(kipois.schema, key)
        assert schema.read_fields(ours) == schema.read_fields(theirs)
        assert schema.structure_of(ours) == schema.structure_of(theirs)
        assert schema.plain_schema(ours) == schema.plain_schema(theirs)


@given(raw=dataloaders)
def test_dataloaders_as_kipoi_reads_them(tmp_path_factory, raw):
    folder = tmp_path_factory.getbasetemp()
    kipois, own = DataLoaderDescription.from_config(copy.deepcopy(raw)), dataloader_description(raw, folder)
    assert said(own, raw) == said(kipois, raw)
    assert schema.read_fields(own.output_schema.inputs) == schema.read_fields(kipois.output_schema.inputs)
    assert schema.read_metadata(own.output_schema.metadata) == schema.read_metadata(kipois.output_schema.metadata)
    assert own.args.keys() == kipois.args.keys()
    for name, argument in own.args.items():
        theirs = kipois.args[name]
        for key in ("default", "example"):
            value, other = getattr(argument, key), getattr(theirs, key)
            assert (value is Missing) == (type(other).__name__ == "UNSPECIFIED")
            assert value is Missing or plain(value) == plain(other)


def test_files_that_are_named_in_place_of_lists(tmp_path):
    (tmp_path / "labels.txt").write_text("a \nb\n")
    (tmp_path / "pip.txt").write_text("numpy  # arrays\n\nscipy\n")
    (tmp_path / "environment.yml").write_text("channels: [bioconda]\ndependencies: [samtools, {pip: [pysam]}]\n")
    array = {"shape": "(2,)", "column_labels": "labels.txt"}
    raw = {"type": "keras", "args": {}, "info": {}, "schema": {"inputs": array, "targets": array}}
    read = model_description({**raw, "dependencies": {"pip": "pip.txt"}}, tmp_path)
    assert read.schema.inputs.column_labels == ("a", "b")
    assert read.dependencies.pip == ("numpy", "scipy")
    read = model_description({**raw, "dependencies": {"conda_file": "environment.yml"}}, tmp_path)
    assert read.dependencies.conda == ("samtools",) and read.dependencies.pip == ("pysam",)
    assert read.dependencies.conda_channels == ("bioconda",)


MODEL = {"type": "keras", "args": {}, "info": {}, "schema": {"inputs": {"shape": "(2,)"}, "targets": {"shape": "(1,)"}}}
DATALOADER = {"defined_as": "d.D", "args": {}, "output_schema": {"inputs": {"shape": "(2,)"}}}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"type": None}, "it names neither defined_as nor type"),
        ({"args": None}, "args is missing"),
        ({"args": [1]}, "args is no mapping, but [1]"),
        ({"args": {"url": "https://x.org"}}, "args has the argument 'url'"),
        ({"info": None}, "info is missing"),
        ({"info": {"authors": 3}}, "authors is no list"),
        ({"info": {"authors": ["Ada"]}}, "an author is no mapping: 'Ada'"),
        ({"info": {"authors": [{}]}}, "name is missing"),
        ({"info": {"doc": [1]}}, "doc is no text, but [1]"),
        ({"schema": {"inputs": {"shape": "(2,)"}}}, "the schema names no targets"),
        ({"schema": {"inputs": 3, "targets": {"shape": "(1,)"}}},
         "inputs is no array, and no list or mapping of arrays: 3"),
        ({"schema": {"inputs": {"a": {"shape": "(2,)", "name": "b"}}, "targets": {"shape": "(1,)"}}},
         "inputs: what is called 'a' has the name 'b'"),
        ({"schema": {"inputs": {"shape": "2"}, "targets": {"shape": "(1,)"}}},
         "a shape is none, such as '(None, 4)': '2'"),
        ({"schema": {"inputs": {"shape": "(True,)"}, "targets": {"shape": "(1,)"}}},
         "a shape is none, such as '(None, 4)': '(True,)'"),
        ({"dependencies": {"pip": 3}}, "pip is neither a text nor a list of texts: 3"),
        ({"dependencies": {"conda_file": "gone.yml"}}, "'gone.yml' cannot be read: "),
    ],
)  # fmt: skip
def test_models_that_are_none(tmp_path, changes, text):
    with pytest.raises(BadDescription) as error:
        model_description({**MODEL, **changes}, tmp_path)
    assert str(error.value).startswith(text)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"defined_as": None}, "defined_as is missing"),
        ({"args": {"a": 3}}, "args: a is no mapping, but 3"),
        ({"output_schema": {}}, "the schema names no inputs"),
        ({"output_schema": {**DATALOADER["output_schema"], "metadata": {"a": 3}}}, "metadata is no array"),
    ],
)
def test_dataloaders_that_are_none(tmp_path, changes, text):
    with pytest.raises(BadDescription) as error:
        dataloader_description({**DATALOADER, **changes}, tmp_path)
    assert str(error.value).startswith(text)


def test_a_shape_is_no_program(tmp_path):
    """Kipoi evaluates it, which the first half shows."""
    shape = f"(open({str(tmp_path / 'made')!r}, 'w').close() or 2,)"
    raw = {**MODEL, "schema": {"inputs": {"shape": shape}, "targets": {"shape": "(1,)"}}}
    ModelDescription.from_config(copy.deepcopy(raw))
    assert (tmp_path / "made").exists()
    (tmp_path / "made").unlink()
    with pytest.raises(BadDescription, match="a shape is none"):
        model_description(raw, tmp_path)
    assert not (tmp_path / "made").exists()
