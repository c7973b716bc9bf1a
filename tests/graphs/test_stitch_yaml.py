"""stitch.yaml: what is read, what is refused with its line and path, and what comes back from what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_graphs import MANY, connection, node, spec

from keras_stitch.errors import SourceError, SpecFileError, StitchError
from keras_stitch.graphs.read_stitch_yaml import parse, read
from keras_stitch.graphs.spec import Connection, FreezeRule, GraphSpec, InputSpec, Merge, OutputSpec, Source, Submodel
from keras_stitch.graphs.spec_file import ModelEntry
from keras_stitch.graphs.write_stitch_yaml import dump

# Words that YAML reads as something else, and text that it has to escape.
NASTY = st.sampled_from(
    [
        *(
            "yes",
            "null",
            "~",
            "1e3",
            "0x1f",
            "2020-01-01",
            "a: b",
            "- a",
            "it's",
            'say "hi"',
            "{{ name }}",
            "#x",
            "a\nb",
        ),
        *(
            "=",
            "<<",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "[0]",
            "m[0:3]",
            "\t",
            "\x85",
            "\u2028",
            "\ufeff",
            "é",
            "模型",
            "🧬",
            "",
        ),
    ]
)
TEXT = NASTY | st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
SHAPES = st.lists(st.none() | st.integers(1, 200), max_size=3).map(tuple)
AXES = st.integers(-3, 3)
NAMES = st.lists(TEXT, min_size=1, max_size=3).map(tuple)

ADDRESSES = (
    {"address": "hf://user/repo/m: 1.h5@main", "commit": "0" * 40, "sha256": "1" * 64},
    {"address": f"hf://user/repo@{'0' * 40}", "commit": "0" * 40, "sha256": "1" * 64},
    {"address": "https://host.org/m.h5?x=#1", "sha256": "1" * 64},
)


@st.composite
def submodels(draw: st.DrawFn, name: str) -> Submodel:
    flags = {
        "trainable": draw(st.none() | st.booleans()),
        "placement": draw(st.sampled_from([None, "model", "workflow"])),
    }
    kind = draw(st.sampled_from(["file", "layer", "share"]))
    if kind == "share":
        return Submodel(name, Source("file", "m.h5", path="m.h5"), share=draw(TEXT.filter(bool)))
    if kind == "layer":
        config = {"class_name": draw(TEXT), "config": draw(st.dictionaries(TEXT, PLAIN, max_size=3))}
        return Submodel(name, Source("layer", "Dense", layer=config), **flags)
    customs = draw(st.just(()) | NAMES)
    zoo = draw(st.sampled_from([None, "kipoi:DeepSEA/predict"]))
    arch = draw(st.none() | TEXT.filter(bool))
    backend = draw(st.sampled_from([None, "tensorflow", "theano"]))
    told: dict[str, Any] = {"saved_backend": backend, "stateless": draw(st.booleans())}
    told |= draw(st.sampled_from([{}, *ADDRESSES]))
    source = Source("file", "m.h5", path=draw(TEXT), arch=arch, zoo=zoo, custom_objects=customs, **told)
    return Submodel(name, source, inner_outputs=draw(st.none() | NAMES), **flags)


@st.composite
def graphs(draw: st.DrawFn) -> GraphSpec:
    def mapping(values: Any) -> list[tuple[str, Any]]:
        return list(draw(st.dictionaries(TEXT, values, max_size=3)).items())

    layers = st.builds(
        lambda name, config: {"class_name": name, "config": config}, TEXT, st.dictionaries(TEXT, PLAIN, max_size=2)
    )
    merges = st.one_of(
        st.builds(Merge, st.sampled_from(["concatenate", "stack"]), st.integers(-3, 3)),
        st.builds(Merge, st.sampled_from(["add", "subtract", "maximum"])),
        st.builds(Merge, st.just("layer"), layer=layers),
        st.builds(Merge, st.just("dot"), axes=AXES | st.tuples(AXES, AXES), normalize=st.booleans()),
    )
    many = st.lists(TEXT, min_size=2, max_size=3).map(tuple)
    connections = st.one_of(NAMES.map(lambda names: (names, Merge())), st.tuples(many, merges))
    return GraphSpec(
        draw(TEXT),
        tuple(draw(submodels(name)) for name in draw(st.lists(TEXT, unique=True, max_size=4))),
        tuple(Connection(target, *said) for target, said in mapping(connections)),
        tuple(
            InputSpec(name, *said)
            for name, said in mapping(st.tuples(NAMES | st.just(()), st.none() | SHAPES, st.none() | TEXT))
        ),
        tuple(OutputSpec(name, source) for name, source in mapping(TEXT)),
        tuple(draw(st.lists(st.builds(FreezeRule, TEXT, st.none() | TEXT, st.booleans()), max_size=3))),
    )


def listed(value: Any) -> Any:
    """As YAML has it: tuples as lists."""
    if isinstance(value, dict):
        return {key: listed(inner) for key, inner in value.items()}
    return [listed(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def entry(submodel: Submodel) -> ModelEntry:
    if submodel.share:
        return ModelEntry(submodel.name, share=submodel.share)
    options: dict[str, Any] = {"trainable": submodel.trainable, "placement": submodel.placement}
    options |= {"arch": submodel.source.arch, "saved_backend": submodel.source.saved_backend}
    options |= {"stateless": submodel.source.stateless or None}
    options |= {"outputs": None if submodel.inner_outputs is None else list(submodel.inner_outputs)}
    options |= {"custom_objects": list(submodel.source.custom_objects) or None}
    options = {key: value for key, value in options.items() if value is not None}
    if submodel.source.layer is not None:
        return ModelEntry(submodel.name, layer=submodel.source.layer, options=options)
    said = submodel.source.address or submodel.source.zoo or submodel.source.path
    recorded = {} if submodel.source.address is None else {"sha256": submodel.source.sha256}
    if submodel.source.commit is not None and submodel.source.commit not in said:
        recorded["commit"] = submodel.source.commit
    return ModelEntry(submodel.name, source=said, **recorded, options=options)


@MANY
@given(graphs())
def test_what_is_written_is_read_back(graph: GraphSpec) -> None:
    said = parse(dump(graph))
    assert said.models == tuple(map(entry, graph.submodels))
    assert (said.name, said.inputs, said.outputs) == (graph.name, graph.inputs, graph.outputs)
    assert (said.connections, said.freezes) == (graph.connections, graph.freezes)


@MANY
@given(graph=graphs())
def test_what_is_written_can_be_a_file(graph: GraphSpec, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("spec") / "stitch.yaml"
    text = dump(graph)
    path.write_text(text, encoding="utf-8")
    assert read(path) == parse(text)


def test_tuples_in_a_layer_become_lists() -> None:
    layer = {"class_name": "Reshape", "config": {"target_shape": (4, 1)}}
    said = parse(dump(spec(Submodel("wide", Source("layer", "Reshape", layer=layer)))))
    assert said.models[0].layer == {"class_name": "Reshape", "config": {"target_shape": [4, 1]}}


def test_a_file_reads_as_it_should() -> None:
    graph = spec(
        node("model1"), node("model2", trainable=False), node("again", share="model1"),
        connect={"model2": ["model1", "data"], "again": (["model1[0]", "model2"], Merge("stack", 1))},
        inputs=[InputSpec("data", ("model1",)), InputSpec("more", (), (None, 4), "int32")],
        outputs={"score": "again"}, name="composed",
    )  # fmt: skip
    assert dump(graph) == (
        "name: composed\n"
        "models:\n"
        "  model1: model1.h5\n"
        "  model2: {source: model2.h5, trainable: false}\n"
        "  again: {share: model1}\n"
        "inputs:\n"
        "  data: [model1]\n"
        "  more:\n"
        "    shape: [null, 4]\n"
        "    dtype: int32\n"
        "connections:\n"
        "  model2: [model1, data]\n"
        "  again:\n"
        "    sources: ['model1[0]', model2]\n"
        "    merge: stack\n"
        "    axis: 1\n"
        "outputs: {score: again}\n"
    )


# -- what a file cannot say -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["model", "trained layer"])
def test_models_in_memory_cannot_be_written(kind: str) -> None:
    graph = spec(node("m1"), Submodel("tower", Source(kind, "Functional")))
    with pytest.raises(StitchError) as caught:
        dump(graph)
    assert str(caught.value) == (
        "Submodel 'tower' is in memory, so a stitch.yaml could not bring it back.\n"
        '  Fix: Save it, model.save("tower.keras"), and add that path.'
    )


def test_a_record_says_what_it_cannot_bring_back() -> None:
    record = dump(spec(Submodel("tower", Source("model", "Functional 'tower'", sha256=None))), record=True)
    with pytest.raises(SpecFileError) as caught:
        parse(record)
    assert str(caught.value) == (
        "'stitch.yaml' has 1 mistake:\n"
        "  line 3, models.tower: expected exactly one of source, layer and share "
        "(this record is of a model in memory, which no file can bring back)"
    )


def test_two_connections_to_one_port_cannot_be_written() -> None:
    graph = spec(node("m1"), connect=[connection("m1", "a"), connection("m1", "b")])
    with pytest.raises(StitchError) as caught:
        dump(graph)
    assert str(caught.value) == (
        "There are 2 connections to 'm1', of which a stitch.yaml holds one.\n"
        '  Fix: Take them back, graph.disconnect("m1"), and connect it once.'
    )


def test_another_file_than_the_one_recorded() -> None:
    recorded = ModelEntry("model1", source="m1.h5", sha256="a" * 64)
    recorded.check_recorded("a" * 64)
    ModelEntry("model1", source="m1.h5", sha256=f"sha256:{'A' * 64}").check_recorded("a" * 64)
    with pytest.raises(SourceError) as caught:
        recorded.check_recorded("b" * 64)
    assert str(caught.value) == (
        "The file of submodel 'model1', 'm1.h5', is not the one that was recorded.\n"
        f"  Expected: sha256 {'a' * 64}\n  Received: sha256 {'b' * 64}\n"
        "  Fix: Bring the recorded file back, or remove 'sha256' from models.model1."
    )


# -- what is refused ------------------------------------------------------------------------------


def refusal(text: str) -> str:
    with pytest.raises(SpecFileError) as caught:
        parse(text, "my.yaml")
    return str(caught.value)


def test_all_mistakes_at_once_in_the_order_of_the_file() -> None:
    assert refusal(
        "name: [x]\n"
        "models:\n"
        "  a: 3\n"
        "  b: {source: m.h5, trainable: maybe, trainble: false}\n"
        "  c: {source: m.h5, share: b}\n"
        "connections:\n"
        "  d:\n"
        "    sources: [a, 3]\n"
        "    merge: concat\n"
        "    axis: 1.5\n"
        "output: {}\n"
        "freeze: [a, {modl: b}]\n"
    ) == (
        "'my.yaml' has 10 mistakes:\n"
        "  line 1, name: expected a name, received ['x']\n"
        "  line 3, models.a: expected a path or a mapping, received 3\n"
        "  line 4, models.b.trainble: unknown key; expected 'trainable', the nearest name\n"
        "  line 4, models.b.trainable: expected true or false, received 'maybe'\n"
        "  line 5, models.c: expected exactly one of source, layer and share\n"
        "  line 8, connections.d.sources[1]: expected a name, received 3\n"
        "  line 9, connections.d.merge: expected 'concatenate', the nearest name, or {layer: ...}, received 'concat'\n"
        "  line 10, connections.d.axis: expected a whole number, received 1.5\n"
        "  line 11, output: unknown key; expected 'outputs', the nearest name\n"
        "  line 12, freeze[1].modl: unknown key; expected 'model', the nearest name\n"
        "  line 12, freeze[1].model: expected the name of a submodel, received nothing"
    ).replace("10 mistakes", "11 mistakes")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models:\n  a: [m.h5,\n  b: n.h5\n", "is not valid YAML, line 4: expected ',' or ']', but got '<stream end>' "
         "(while parsing a flow sequence that starts in line 2)."),
        ("models:\n\ta: m.h5\n", "is not valid YAML, line 2: found character '\\t' that cannot start any token."),
        ("models: {a: m.h5}\nconnections: {a: m[0]}\n", "is not valid YAML, line 2: expected ',' or '}', but got '['.\n"
         '  Fix: Put names with brackets in quotes, such as "model3[0]".'),
        ("models: {a: !foo b}", "has 1 mistake:\n  line 1, models.a: cannot be read: could not determine a constructor "
         "for the tag '!foo'"),
        ("models: {a: *x}", "is not valid YAML, line 1: found undefined alias 'x'."),
        ("a: b\n---\nc: d", "is not valid YAML, line 2: but found another document (expected a single document in the "
         "stream that starts in line 1)."),
        ("models:\n  a: \x00", "is not valid YAML, line 2: the character '\\x00' must not be in it."),
        ("models: {a: {layer: &l [*l]}}", "is not valid YAML, line 1: an alias stands within what it stands for, which "
         "so holds itself."),
        ("", "is empty.\n  Expected: a mapping with 'models' in it"),
        ("# nothing\n", "is empty.\n  Expected: a mapping with 'models' in it"),
        ("- a", "is not a mapping.\n  Expected: a mapping with 'models' in it\n  Received: ['a']"),
    ],
)  # fmt: skip
def test_text_that_is_no_spec(text: str, message: str) -> None:
    assert refusal(text) == f"'my.yaml' {message}"


A = "models: {a: m.h5}\n"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("name: x", "line 1, top level: 'models' is missing"),
        ("models:", "line 1, models: expected a mapping from names, received nothing"),
        ("models: [a]", "line 1, models: expected a mapping from names, received ['a']"),
        ("models:\n  a: m.h5\n  b: m.h5\n  a: m.h5", "line 2, models.a: stands here twice, again in line 4"),
        (A + "inputs: {}\ninputs: {}", "line 2, inputs: stands here twice, again in line 3"),
        ("models: {1: m.h5}", "line 1, models.1: the key 1 is not text; put it in quotes"),
        ("models: {yes: m.h5}", "line 1, models.yes: the key yes is not text; put it in quotes"),
        ("models: {? [a, b] : m.h5}", "line 1, models.(a list or mapping): the key (a list or mapping) is not text; "
         "put it in quotes"),
        ("models: {a: 2020-13-45}", "line 1, models.a: cannot be read: month must be in 1..12"),
        ("models: {a: {}}", "line 1, models.a: expected exactly one of source, layer and share"),
        ("models: {a: {source: m.h5, placement: moon}}", "line 1, models.a.placement: expected one of model, "
         "dataloader, workflow, received 'moon'"),
        ("models: {a: {source: m.h5, saved_backend: teano}}", "line 1, models.a.saved_backend: expected 'theano', the "
         "nearest name, received 'teano'"),
        ("models: {a: {source: m.h5, outputs: []}}", "line 1, models.a.outputs: expected a name or a list of names, "
         "received []"),
        ("models: {a: {source: m.h5, sha256: 12}}", "line 1, models.a.sha256: expected 64 hexadecimal digits, "
         "received 12"),
        ("models: {a: {layer: Reshape}}", "line 1, models.a.layer: expected a mapping with class_name and config, "
         "received 'Reshape'"),
        ("models: {a: {layer: {config: {}}}}", "line 1, models.a.layer: 'class_name' is missing, such as Reshape"),
        ("models: {a: {layer: {class_name: 3}}}", "line 1, models.a.layer.class_name: expected a layer of "
         "keras.layers, such as Reshape, received 3"),
        (A + "connections: {a: 3}", "line 2, connections.a: expected a name or a list of names, received 3"),
        (A + "connections: {a: {merge: add}}", "line 2, connections.a.sources: expected a name or a list of names, "
         "received nothing"),
        (A + "connections: {a: {sources: a, axis: true}}", "line 2, connections.a.axis: expected a whole number, "
         "received true"),
        (A + "inputs: {x: {targets: [a], shape: 3}}", "line 2, inputs.x.shape: expected a list of sizes, null for a "
         "variable one, received 3"),
        (A + "inputs:\n  x:\n    shape: [4,\n      q]", "line 5, inputs.x.shape[1]: expected a size, or null for a "
         "variable one, received 'q'"),
        (A + "inputs: {x: {shape: [-1]}}", "line 2, inputs.x.shape[0]: expected a size of at least 1, received -1"),
        (A + "inputs: {x: {dtype: 32}}", "line 2, inputs.x.dtype: expected a dtype such as float32, received 32"),
        (A + "outputs: {x: [a]}", "line 2, outputs.x: expected the name of a tensor, received ['a']"),
        (A + "freeze: {a: b}", "line 2, freeze: expected a list of names or mappings, received {'a': 'b'}"),
        (A + "freeze: [{model: a, layers: 3}]", "line 2, freeze[0].layers: expected the name of a layer, or a pattern, "
         "received 3"),
        (A + "freeze: [{model: a, frozen: 1}]", "line 2, freeze[0].frozen: expected true or false, received 1"),
    ],
)  # fmt: skip
def test_one_mistake(text: str, mistake: str) -> None:
    assert f"  {mistake}" in refusal(text).split("\n")


def test_sections_that_are_commented_out_are_empty() -> None:
    said = parse(A + "connections:\n#  a: b\ninputs:\noutputs:\nfreeze:\n")
    assert (said.connections, said.inputs, said.outputs, said.freezes) == ((), (), (), ())


def test_no_python_is_run() -> None:
    assert "received ['touch']" in refusal("models: {a: !!python/object/apply:os.system [touch]}")


# -- files ----------------------------------------------------------------------------------------


def test_a_missing_file_has_neighbours(tmp_path: Path) -> None:
    (tmp_path / "stitch.yaml").touch()
    (tmp_path / "stich.h5").touch()
    with pytest.raises(SpecFileError) as caught:
        read(tmp_path / "stich.yaml")
    assert (
        str(caught.value)
        == f"There is no file '{tmp_path / 'stich.yaml'}'.\n  Expected: 'stitch.yaml', the nearest name"
    )
    with pytest.raises(SpecFileError) as caught:
        read(tmp_path / "no" / "stitch.yaml")
    assert str(caught.value) == f"There is no file '{tmp_path / 'no' / 'stitch.yaml'}'.\n  Expected: a stitch.yaml"


def test_files_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(SpecFileError) as caught:
        read(tmp_path)
    assert str(caught.value) == f"'{tmp_path}' cannot be read: Is a directory.\n  Expected: a stitch.yaml"
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(SpecFileError) as caught:
        read(tmp_path / "model.h5")
    assert str(caught.value).startswith(f"'{tmp_path / 'model.h5'}' is not text: ")


def test_masks_of_connections() -> None:
    text = "models: {a: a.h5, b: b.h5, c: c.h5}\nconnections:\n"
    said = parse(text + "  b: {sources: a, mask: true}\n  c: {sources: [a, b], merge: add, mask: false}\n")
    assert said.connections == (
        Connection("b", ("a",), mask=True),
        Connection("c", ("a", "b"), Merge("add"), mask=False),
    )
    with pytest.raises(SpecFileError) as error:
        parse(text + "  b: {sources: a, mask: 1}\n")
    assert "line 3, connections.b.mask: expected true or false, received 1" in str(error.value)
