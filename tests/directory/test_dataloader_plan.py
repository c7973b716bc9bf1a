from __future__ import annotations

import sys
import textwrap

import pytest
import yaml
from kipoi_cases import change_yaml, make_case, write_function_loader, write_kind, write_loader
from merging_strategies import Dataset

from keras_stitch.directory.dataloader_plan import merge
from keras_stitch.directory.example_files import choose_examples
from keras_stitch.directory.model_schemas import check_names
from keras_stitch.errors import NamingError, SourceError, StitchError
from keras_stitch.kipoi.component import resolve
from keras_stitch.kipoi.dataloader import Dataloader


def plan(loaders, parts=None, **options):
    case = make_case(with_model=False, **options)
    return merge(case.spec, case.wiring, loaders, parts)


def message(function, *args, **options):
    with pytest.raises(StitchError) as error:
        function(*args, **options)
    return str(error.value)


def test_names_and_arguments(tmp_path):
    merged = plan({"model1": write_loader(tmp_path / "n")})
    assert [feeder.name for feeder in merged.feeders] == ["model1", "input2"]
    assert [(argument.name, argument.required, argument.type) for argument in merged.arguments] == [
        ("numbers_file", True, "str"),
        ("input2_file", True, "str"),
        ("model1_factor", False, "int"),
        ("model1_offsets", False, "str"),
    ]


def test_new_defaults_make_arguments_optional(tmp_path):
    merged = plan({"model1": Dataloader(write_loader(tmp_path / "n"), args={"numbers_file": "x"})})
    assert [argument.name for argument in merged.arguments] == [
        "input2_file", "model1_numbers_file", "model1_factor", "model1_offsets"]  # fmt: skip


def test_equal_required_arguments_are_one(tmp_path):
    loader, inputs = write_loader(tmp_path / "n"), {"a": ((3,), "float32"), "b": ((3,), "float32")}
    merged = plan({"a": loader, "b": loader}, feeds={"m": {"a": "a"}, "n": {"b": "b"}}, inputs=inputs)
    assert [argument.name for argument in merged.arguments if argument.required] == ["numbers_file"]
    # The same loader with the same arguments is one component, which is read once.
    assert [feeder.name for feeder in merged.owners["numbers_file"]] == ["m"]
    assert list(merged.feeders[0].fields) == ["a", "b"]
    other = Dataloader(loader, args={"factor": 2})
    merged = plan({"a": loader, "b": other}, feeds={"m": {"a": "a"}, "n": {"b": "b"}}, inputs=inputs)
    assert [argument.name for argument in merged.arguments if argument.required] == ["numbers_file"]
    assert [feeder.name for feeder in merged.owners["numbers_file"]] == ["m", "n"]


def test_a_shared_argument_with_two_examples(tmp_path):
    loaders = {name: write_loader(tmp_path / name) for name in ("a", "b")}
    options = {"inputs": {"a": ((3,), "float32"), "b": ((3,), "float32")}, "feeds": {"m": {"a": "a"}, "n": {"b": "b"}}}
    assert choose_examples(plan(loaders, **options), None)["numbers_file"] == tmp_path / "a" / "example.tsv"
    (tmp_path / "b" / "example.tsv").write_text("1\t2\t3")
    merged = plan(loaders, **options)
    assert message(choose_examples, merged, None) == (
        "The dataloaders of m and n share the argument 'numbers_file', but have different examples for it.\n"
        "  Expected: one example: a required argument of the same name is one argument\n"
        "  Received: 'a/example.tsv' of m, 'b/example.tsv' of n\n"
        "  Fix: Pass examples={'numbers_file': ...} with one that all of them read, or keep them apart: "
        "ks.Dataloader(..., separate='numbers_file')."
    )
    assert choose_examples(merged, {"numbers_file": "x"}) == {"numbers_file": "x"}
    loaders["b"] = Dataloader(loaders["b"], args={"numbers_file": "own"})
    assert choose_examples(plan(loaders, **options), None) == {"numbers_file": tmp_path / "a" / "example.tsv"}


def test_two_components_of_one_submodel_are_named_after_their_inputs(tmp_path):
    loader, inputs = write_loader(tmp_path / "n"), {"a": ((3,), "float32"), "b": ((3,), "float32")}
    loaders = {"a": loader, "b": Dataloader(loader, args={"factor": 2})}
    merged = plan(loaders, feeds={"m": {"a": "a", "b": "b"}}, inputs=inputs)
    assert [feeder.name for feeder in merged.feeders] == ["a", "b"]


def test_fields_go_by_the_name_of_input_or_port(tmp_path):
    loader = write_function_loader(tmp_path / "f")
    inputs = {"x": ((6,), "float32"), "b": ((1,), "float32")}
    merged = plan({"m": loader}, feeds={"m": {"a": "x", "other": "b"}}, inputs=inputs)
    assert {name: field.path for name, field in merged.feeders[0].fields.items()} == {"x": ("a",), "b": ("b",)}


def test_a_field_may_feed_several_inputs(tmp_path):
    inputs = {"x": ((6,), "float32"), "y": ((6,), "float32")}
    loader = Dataloader(write_function_loader(tmp_path / "f"), outputs={"a": ["x", "y"]})
    merged = plan({"m": loader}, feeds={"m": {"x": "x", "y": "y"}}, inputs=inputs)
    assert {name: field.name for name, field in merged.feeders[0].fields.items()} == {"x": "a", "y": "a"}


def test_unclear_fields(tmp_path):
    folder = write_function_loader(tmp_path / "f")
    assert message(plan, {"input2": str(folder)}) == (
        f"It is not clear which field of the dataloader '{folder}' feeds which input of 'input2'.\n"
        "  Expected: fields for 'input2'\n"
        "  Received: 'a' (6,), 'b' (1,)\n"
        "  Fix: dataloaders={'input2': ks.Dataloader(..., outputs={<field>: 'input2'})}"
    )


def test_mistakes_in_keys_and_outputs(tmp_path):
    folder = str(write_function_loader(tmp_path / "f"))
    assert message(plan, {"inptu2": folder}) == (
        "dataloaders= names 'inptu2', which is no graph input and no submodel.\n"
        "  Expected: 'input2' or 'input1', the nearest names"
    )
    assert message(plan, {"input2": Dataloader(folder, outputs={"c": "input2"})}) == (
        f"The dataloader '{folder}' has no field 'c'.\n  Expected: one of a, b"
    )
    assert message(plan, {"input2": Dataloader(folder, outputs={"a": "input3"})}).startswith(
        f"outputs= of the dataloader '{folder}' names the graph input 'input3'; there is none."
    )
    assert message(plan, {"input2": Dataloader(folder, outputs={"a": "input2", "b": "input2"})}) == (
        f"outputs= of the dataloader '{folder}' feeds 'input2' twice."
    )
    twice = {
        "input2": Dataloader(folder, outputs={"a": "input2"}),
        "model3": Dataloader(folder, outputs={"a": "input2"}),
    }
    assert message(plan, twice).startswith(
        "The input 'input2' is fed by two dataloaders, those of 'input2' and 'model3'."
    )


def test_shapes_that_do_not_fit(tmp_path):
    folder = write_loader(tmp_path / "n")
    assert message(plan, {"input2": folder}) == (
        f"The dataloader '{folder}' does not fit the input 'input2'.\n"
        "  Expected: rows of shape (6,)\n"
        "  Received: 'numbers' (3,)\n"
        "  Fix: Choose another field with ks.Dataloader(..., outputs=...), or set its arguments with args=."
    )


def test_colliding_arguments(tmp_path):
    def loader(name, argument):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "dataloader.py").write_text(
            "from kipoi.data import Dataset\n\n\n"
            f"class L(Dataset):\n    def __init__(self, {argument}=1):\n        pass\n"
        )
        (folder / "dataloader.yaml").write_text(yaml.safe_dump({
            "defined_as": "dataloader.py::L",
            "args": {argument: {"doc": "x", "type": "int"}},
            "output_schema": {"inputs": {"name": "x", "shape": "(3,)", "doc": "x"}},
        }))  # fmt: skip
        return folder

    feeds = {"a_b": {"x": "x"}, "a": {"y": "y"}}
    inputs = {"x": ((3,), "float32"), "y": ((3,), "float32")}
    assert message(plan, {"x": loader("1", "c"), "y": loader("2", "b_c")}, feeds=feeds, inputs=inputs) == (
        "Two arguments of the merged dataloader would be called 'a_b_c': 'c' of 'a_b' and 'b_c' of 'a'.\n"
        "  Fix: Give one of the submodels or inputs another name."
    )


def test_shared_arguments_of_two_types(tmp_path):
    loaders = {}
    for name, kind in (("a", "str"), ("b", "int")):
        args = {key: {"doc": "x", "type": kind, "example": 1} for key in ("numbers_file", "factor", "offsets")}
        loaders[name] = write_loader(tmp_path / name, args=args)
    inputs = {"a": ((3,), "float32"), "b": ((3,), "float32")}
    assert message(plan, loaders, feeds={"m": {"a": "a"}, "n": {"b": "b"}}, inputs=inputs).startswith(
        "The parts do not agree on the type of the argument 'numbers_file', which they share: str in 'm', int in 'n'."
    )


@pytest.mark.parametrize("word", ["merging", "LOADERS"])
def test_arguments_that_python_or_the_generated_code_needs(tmp_path, word):
    folder = tmp_path / "l"
    folder.mkdir()
    source = f"from kipoi.data import Dataset\n\n\nclass L(Dataset):\n    def __init__(self, {word}):\n        pass\n"
    (folder / "dataloader.py").write_text(source)
    (folder / "dataloader.yaml").write_text(yaml.safe_dump({
        "defined_as": "dataloader.py::L",
        "args": {word: {"doc": "x"}},
        "output_schema": {"inputs": {"name": "x", "shape": "(3,)", "doc": "x"}},
    }))  # fmt: skip
    assert message(plan, {"input1": folder}).startswith(
        f"The argument '{word}' of 'model1' cannot be one of the merged dataloader, as '{word}'."
    )


def test_missing_examples_are_listed_together(tmp_path):
    folder = write_loader(tmp_path / "n")
    described = yaml.safe_load((folder / "dataloader.yaml").read_text())
    del described["args"]["numbers_file"]["example"]
    (folder / "dataloader.yaml").write_text(yaml.safe_dump(described))
    merged = plan({"input1": folder})
    assert message(choose_examples, merged, None) == (
        "There is no example for 'numbers_file' of model1, so the directory could not be tested.\n"
        "  Fix: Pass examples={'numbers_file': ...} with small files or values."
    )
    assert choose_examples(merged, {"numbers_file": "text"}) == {"numbers_file": "text"}


def test_words_that_kipois_schemas_use():
    for name, options in (
        ("shape", {"feeds": {"m": {"shape": "shape"}}, "inputs": {"shape": ((3,), "float32")}}),
        ("doc", {"feeds": {"m": {"doc": "doc"}}, "inputs": {"doc": ((3,), "float32")}}),
    ):
        case = make_case(with_model=False, **options)
        with pytest.raises(NamingError, match=f"cannot be called '{name}': Kipoi's schemas use the word."):
            check_names(case.stages, merge(case.spec, case.wiring))


class Local(Dataset):
    """Not a Kipoi dataloader: no description."""


@pytest.mark.kipoi
@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "no/where",
            "No dataloader 'no/where'.\n  Expected: a Kipoi directory, a name such as 'kipoi:DeepSEA/predict'",
        ),
        ("kipoiseq.dataloaders.Nothing", "cannot be imported.\n  Received: kipoiseq.dataloaders has no 'Nothing'"),
        ("nopackage.Loader", "cannot be imported.\n  Received: No module named 'nopackage'"),
        ("json.JSONDecoder", "'json.JSONDecoder' is not a Kipoi dataloader."),
        (Local, "test_dataloader_plan.Local' is not a Kipoi dataloader."),
    ],
)
def test_sources_that_are_none(source, text):
    assert text in message(resolve, Dataloader(source))


@pytest.mark.parametrize(
    "kind", ["BatchDataset", "SampleIterator", "BatchIterator", "SampleGenerator", "BatchGenerator"]
)
def test_all_kinds(tmp_path, kind):
    folder = write_kind(tmp_path / "l", kind)
    component = resolve(Dataloader(folder))
    assert (component.type, component.is_function) == (kind, kind.endswith("Generator"))
    assert [argument.name for argument in component.arguments] == ["count"]
    merged = plan({"input1": folder})
    assert merged.kind == ("Dataset" if kind == "BatchDataset" else "SampleIterator")
    assert plan({"input1": Dataloader(folder, in_order=True)}).kind == "SampleIterator"


def test_kinds_that_a_loader_is_not(tmp_path):
    folder = write_kind(tmp_path / "l", "SampleIterator")
    change_yaml(folder, type="Dataset")
    assert message(resolve, Dataloader(folder)) == (
        f"The dataloader '{folder}' is not what it says it is.\n"
        "  Expected: a Dataset\n"
        "  Received: the class L, a SampleIterator"
    )
    folder = write_kind(tmp_path / "f", "SampleGenerator")
    change_yaml(folder, type="BatchDataset")
    assert message(resolve, Dataloader(folder)) == (
        f"The dataloader '{folder}' is a function, which cannot be a BatchDataset.\n"
        "  Expected: PreloadedDataset or SampleGenerator or BatchGenerator"
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("dataloader.yaml: [", "cannot be read."),
        ("dataloader.yaml:args: {}", "is not valid."),
        ("dataloader.py:raise RuntimeError('no')", "cannot be loaded.\n  Received: RuntimeError: no"),
        ("dataloader.py:x = 1", "cannot be loaded.\n  Received: AttributeError"),
    ],
)
def test_broken_directories(tmp_path, change, text):
    folder = write_loader(tmp_path / "n")
    file, _, content = change.partition(":")
    (folder / file).write_text(content)
    with pytest.raises(SourceError) as error:
        resolve(Dataloader(folder))
    assert text in str(error.value)


def test_arguments_that_differ_from_the_description(tmp_path):
    folder = write_loader(tmp_path / "n", args={"numbers_file": {"doc": "x"}})
    assert message(resolve, Dataloader(folder)) == (
        f"The arguments of the dataloader '{folder}' are not those of its description.\n"
        "  Expected: numbers_file\n"
        "  Received: numbers_file, factor, offsets"
    )


def test_args_that_do_not_fit(tmp_path):
    folder = write_loader(tmp_path / "n")
    assert message(resolve, Dataloader(folder, args={"facter": 1})) == (
        f"The dataloader '{folder}' has no argument 'facter'.\n  Expected: 'factor', the nearest name"
    )
    assert message(resolve, Dataloader(folder, args={"factor": print})).startswith(
        f"args['factor'] of the dataloader '{folder}' is not a plain value."
    )


def test_sources_and_outputs_of_another_kind():
    assert message(Dataloader, 3).startswith(
        "ks.Dataloader(...) takes the source of a dataloader.\n  Expected: a Kipoi"
    )
    assert message(Dataloader, "a", outputs=["x"]) == (
        "outputs= of a ks.Dataloader is not a mapping from names.\n"
        "  Expected: {field of the loader: graph input}\n"
        "  Received: ['x']"
    )
    assert message(Dataloader, "a", outputs={"x": 3}).startswith(
        "outputs= of a ks.Dataloader does not say which graph input the field 'x' feeds."
    )
    assert message(Dataloader, "a", args=3).startswith("args= of a ks.Dataloader is not a mapping from names.")


@pytest.mark.kipoi
def test_args_with_which_a_loader_cannot_describe_itself():
    assert message(resolve, Dataloader("kipoiseq.dataloaders.SeqIntervalDl", args={"auto_resize_len": "x"})).startswith(
        "The dataloader 'kipoiseq.dataloaders.SeqIntervalDl' cannot say which arrays it gives with "
        "args={'auto_resize_len': 'x'}.\n"
        "  Received: ValueError: "
    )


def test_a_default_of_none_says_no_type(tmp_path):
    folder = write_loader(tmp_path / "n")
    text = (folder / "dataloader.py").read_text().replace('offsets="offsets.txt"', "offsets=None")
    (folder / "dataloader.py").write_text(text)
    assert [argument.type for argument in plan({"input1": folder}).arguments] == ["str", "str", "int", None]


def test_only_files_inside_a_directory_are_its_own(tmp_path):
    folder = write_loader(tmp_path / "n")
    (tmp_path / "secret").write_text("")
    text = (folder / "dataloader.py").read_text().replace('"offsets.txt"', '"../secret"')
    (folder / "dataloader.py").write_text(text)
    component = resolve(Dataloader(folder))
    assert component.arguments[2].default == "../secret"


def test_loading_leaves_no_trace(tmp_path):
    path, modules = list(sys.path), set(sys.modules)
    assert resolve(Dataloader(write_loader(tmp_path / "n"))).type == "Dataset"
    assert sys.path == path
    assert not {name for name in set(sys.modules) - modules if not name.startswith(("kipoi", "pandas"))}


@pytest.mark.kipoi
def test_default_dataloaders_of_models_are_followed(tmp_path):
    (tmp_path / "model.yaml").write_text(
        textwrap.dedent("""
        default_dataloader:
          defined_as: kipoiseq.dataloaders.SeqIntervalDl
          default_args: {auto_resize_len: 7}
    """)
    )
    assert resolve(Dataloader(tmp_path)).fields[0].shape == (7, 4)
