"""By what rows are compared and joined: what is planned, and what is said where it cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from kipoi_cases import change_yaml, make_case, write_function_loader, write_kind, write_loader

from keras_stitch.directory.alignment import Alignment, alignment_of, check_joins, file_alignment
from keras_stitch.directory.dataloader_plan import merge
from keras_stitch.errors import StitchError
from keras_stitch.kipoi.component import resolve
from keras_stitch.kipoi.dataloader import Dataloader

SEQUENCES = "kipoiseq.dataloaders.SeqIntervalDl"
RANGES = {"ranges": {"doc": "Where.", "type": "GenomicRanges"}}
TWO = {"feeds": {"a": {"x": "x"}, "b": {"y": "y"}}, "inputs": {"x": ((3,), "float32"), "y": ((3,), "float32")}}


def plan(loaders, targets=None, **options):
    case = make_case(with_model=False, **{**TWO, **options})
    return merge(case.spec, case.wiring, loaders, targets=targets)


def message(function, *args, **options):
    with pytest.raises(StitchError) as error:
        function(*args, **options)
    return str(error.value)


def aligned(folder: Path, metadata, **options) -> Alignment:
    loader = Dataloader(folder, **options)
    return alignment_of(replace(resolve(loader), metadata=metadata), loader)


@pytest.fixture
def loader(tmp_path):
    return write_kind(tmp_path / "zoo" / "a", "Dataset")


@pytest.mark.parametrize(
    ("metadata", "ids", "ranges"),
    [
        ({}, None, None),
        ({"id": {"doc": "x"}}, ("id",), None),
        ({"name": {"doc": "x"}}, None, None),
        ({"m": {"id": {"doc": "x", "type": "str"}}}, ("m", "id"), None),
        ({"m": {"id": {"doc": "Perhaps a number of a row."}}}, None, None),
        (RANGES, None, ("ranges",)),
        ({**RANGES, "id": {"doc": "x"}}, ("id",), ("ranges",)),
        ({"deep": [{"doc": "x"}, RANGES["ranges"]]}, None, ("deep", 1)),
        (RANGES["ranges"], None, ()),
    ],
)
def test_fields_that_are_compared(loader, metadata, ids, ranges):
    assert aligned(loader, metadata) == Alignment(ids, ranges)


@pytest.mark.kipoi
def test_kipoiseq_resizes_ranges():
    component = resolve(Dataloader(SEQUENCES))
    assert alignment_of(component, Dataloader(SEQUENCES)) == Alignment(None, ("ranges",), "auto_resize_len")
    # In a directory that was generated from it, its name is in front of both.
    arguments = tuple(replace(argument, name=f"dna_{argument.name}") for argument in component.arguments)
    nested = replace(component, object="Nested", metadata={"dna": component.metadata}, arguments=arguments)
    assert alignment_of(nested, Dataloader("x")) == Alignment(None, ("dna", "ranges"), "dna_auto_resize_len")


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        ("id", Alignment(("id",), ("ranges",), None, "ids")),
        ("ranges", Alignment(("id",), ("ranges",), None, "ranges")),
        ("ranges.id", Alignment(("ranges", "id"), ("ranges",), None, "ids")),
        (False, Alignment(compared=False)),
    ],
)
def test_fields_that_are_joined_on(loader, on, expected):
    assert aligned(loader, {**RANGES, "id": {"doc": "x"}}, align_on=on) == expected


def test_unknown_fields(loader, tmp_path):
    assert message(aligned, loader, {**RANGES, "id": {"doc": "x"}}, align_on="range") == (
        f"The metadata of the dataloader '{loader}' has no field 'range' to look rows up by.\n"
        "  Expected: 'ranges', the nearest name"
    )
    assert message(aligned, loader, {}, align_on="id").endswith("Expected: a dataloader with metadata")
    (tmp_path / "t.tsv").write_text("x\n1\n")
    assert message(file_alignment, Dataloader(tmp_path / "t.tsv", align_on="name")) == (
        f"align_on= of the file '{tmp_path / 't.tsv'}' is no field of it.\n"
        "  Expected: 'id' or 'ranges'\n"
        "  Received: 'name'"
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"align_on": 3}, "align_on= of a ks.Dataloader is no field of the metadata.\n  Expected: a name such as 'id', "
         "'ranges' or 'ranges.id'; False to compare nothing\n  Received: 3"),
        ({"align_on": True}, "align_on= of a ks.Dataloader is no field of the metadata.\n  Expected: a name such as "
         "'id', 'ranges' or 'ranges.id'; False to compare nothing\n  Received: True"),
        ({"align_on": "id", "missing": "outer"}, "missing= of a ks.Dataloader says what happens to rows that are not "
         "in all parts.\n  Expected: 'error' or 'inner'\n  Received: 'outer'"),
        ({"missing": "inner"}, "missing= of a ks.Dataloader has no meaning without align_on=: only rows that are "
         "looked up can be left out.\n  Fix: Name the field too, such as align_on='id'."),
        ({"share": 3}, "share= of a ks.Dataloader does not name arguments.\n  Expected: a name, or a list of names\n"
         "  Received: 3"),
        ({"share": "x", "separate": ["y", "x"]}, "ks.Dataloader(...) both shares and separates the argument 'x'."),
        ({"in_order": 1}, "in_order= of a ks.Dataloader is True or False.\n  Received: 1"),
    ],
)  # fmt: skip
def test_mistakes_in_a_dataloader(options, text):
    assert message(Dataloader, "a", **options) == text


def test_every_part_looked_up_means_that_the_first_gives_the_order():
    joined = Alignment(("id",), align_on="ids", missing="inner")
    found = check_joins({"a": joined, "b": joined}, [])
    assert found == {"a": Alignment(("id",)), "b": joined}
    # One that can only be read in order has to be the one that gives it.
    assert check_joins({"a": joined, "b": joined}, ["b"]) == {"a": joined, "b": Alignment(("id",))}


def test_joins_that_cannot_be():
    joined = Alignment(("id",), align_on="ids")
    assert message(check_joins, {"a": Alignment(("id",)), "b": joined}, ["b"]) == (
        "The rows of 'b' cannot be looked up, as its dataloader goes from the first row to the last.\n"
        "  Expected: a Dataset, a PreloadedDataset, a BatchDataset, or a file\n"
        "  Fix: Leave out its align_on=, and let the rows of the others be looked up."
    )
    others = {"a": Alignment(None, ("ranges",)), "c": Alignment(compared=False), "b": joined}
    assert message(check_joins, others, []) == (
        "The rows of 'b' are to be looked up by their ids, but no other part has any.\n"
        "  Expected: metadata with 'id'\n"
        "  Received: a has ranges, c has number only, as was asked for"
    )
    ranges = Alignment(None, ("r",), align_on="ranges")
    assert "metadata with 'ranges', or a field of type GenomicRanges" in message(
        check_joins, {"a": Alignment(), "b": ranges}, []
    )


def test_a_file_may_have_names_or_not(tmp_path, loader):
    (tmp_path / "m.tsv").write_text("id\ta\tb\tc\nrow0\t1\t2\t3\n")
    merged = plan({"x": loader, "y": Dataloader(tmp_path / "m.tsv", align_on="id")})
    assert [feeder.alignment.align_on for feeder in merged.feeders] == [None, "ids"]
    assert [argument.name for argument in merged.arguments] == ["count", "y_file"]
    assert merged.arguments[1].example == tmp_path / "m.tsv"


def test_files_in_place_of_dataloaders(tmp_path):
    file = tmp_path / "m.tsv"
    file.write_text("a\n1\n")
    both = {"feeds": {"m": {"x": "x", "y": "y"}}}
    assert message(plan, {"m": file}, **both) == (
        f"The file '{file}' holds the rows of one input, but 'm' has several.\n  Expected: one of x, y as the key"
    )
    assert message(plan, {"x": Dataloader(file, args={"sep": ","})}) == (
        f"args= has no meaning for the file '{file}', which is no dataloader."
    )
    assert message(plan, {"x": Dataloader(file, in_order=True)}) == (
        f"in_order= has no meaning for the file '{file}', which is no dataloader."
    )


def test_targets_are_a_file(tmp_path, loader):
    (tmp_path / "t.tsv").write_text("score\n1\n")
    merged = plan({"x": loader}, targets=Dataloader(tmp_path / "t.tsv", align_on="ranges", missing="inner"))
    assert merged.feeders[-1].alignment == Alignment(None, None, None, "ranges", "inner", known=False)
    assert (merged.arguments[-1].name, merged.arguments[-1].required) == ("targets_file", False)
    assert message(plan, {}, targets=loader) == (
        "targets= is not a file.\n"
        "  Expected: an NPY, TSV, CSV, HDF5 or Parquet file with targets for the examples, or a ks.Dataloader of one\n"
        f"  Received: {str(loader)!r}".replace(repr(str(loader)), repr(loader))
    )
    assert message(plan, {}, targets=3).startswith("targets= is no dataloader.")
    assert message(plan, {}, targets=Dataloader(tmp_path / "t.tsv", args={"a": 1})) == (
        "args= has no meaning for targets, which are read from a file."
    )
    named = {"feeds": {"targets": {"x": "x"}}, "inputs": {"x": ((3,), "float32")}}
    assert message(plan, {"x": loader}, targets=tmp_path / "t.tsv", **named) == (
        "A submodel or input called 'targets' cannot be in a graph that is saved with targets.\n"
        "  Fix: Give it another name."
    )


def test_share_and_separate(tmp_path):
    a, b = (write_loader(tmp_path / name) for name in ("aa", "bb"))
    loaders = {"x": Dataloader(a, share="factor"), "y": Dataloader(b, share=["factor"], separate=["numbers_file"])}
    merged = plan(loaders)
    assert [argument.name for argument in merged.arguments] == [
        "numbers_file", "b_numbers_file", "factor", "a_offsets", "b_offsets"]  # fmt: skip
    assert [feeder.name for feeder in merged.owners["factor"]] == ["a", "b"]
    assert merged.feeders[1].arguments["numbers_file"] == "b_numbers_file"


def test_share_and_separate_of_unknown_arguments(tmp_path):
    folder = write_loader(tmp_path / "n")
    for what in ("share", "separate"):
        assert message(plan, {"x": Dataloader(folder, **{what: "facter"})}) == (
            f"{what}= names 'facter', which the dataloader '{folder}' has no argument for.\n"
            "  Expected: 'factor', the nearest name"
        )


def test_shared_arguments_with_two_defaults(tmp_path):
    a, b = (write_loader(tmp_path / name) for name in ("aa", "bb"))
    loaders = {"x": Dataloader(a, share="factor"), "y": Dataloader(b, share="factor", args={"factor": 2})}
    assert message(plan, loaders) == (
        "The parts do not agree on the default of the argument 'factor', which they share: 1 in 'a', 2 in 'b'.\n"
        "  Fix: Keep them apart with ks.Dataloader(..., separate='factor'), or give one of them a value of its own: "
        "ks.Dataloader(..., args={'factor': ...})."
    )


def test_an_argument_that_one_part_needs_and_another_has_a_default_for(tmp_path):
    a, b = (write_loader(tmp_path / name) for name in ("aa", "bb"))
    text = (b / "dataloader.py").read_text().replace("factor=1", "factor").replace('offsets="offsets.txt"', "offsets")
    (b / "dataloader.py").write_text(text)
    merged = plan({"x": Dataloader(a, share="factor"), "y": b})
    factor = next(argument for argument in merged.arguments if argument.name == "factor")
    assert factor.required and factor.default is None
    # Without share=, a name that is required here and optional there stays two arguments.
    assert "a_factor" in merged_names({"x": a, "y": b})


def merged_names(loaders) -> list[str]:
    return [argument.name for argument in plan(loaders).arguments]


def test_one_loader_with_the_same_arguments_is_one_component(tmp_path):
    folder = write_kind(tmp_path / "n", "Dataset")
    merged = plan({"x": folder, "y": Dataloader(str(folder))})
    assert [(feeder.name, list(feeder.fields)) for feeder in merged.feeders] == [("a", ["x", "y"])]
    for other in (
        Dataloader(folder, separate="count"), Dataloader(folder, args={"count": 3}), Dataloader(folder, align_on="id"),
        write_function_loader(tmp_path / "other"),
    ):  # fmt: skip
        options = (
            {"inputs": {"x": ((3,), "float32"), "y": ((6,), "float32")}} if not isinstance(other, Dataloader) else {}
        )
        other = other if isinstance(other, Dataloader) else Dataloader(other, outputs={"a": "y"})
        assert [feeder.name for feeder in plan({"x": folder, "y": other}, **options).feeders] == ["a", "b"]


def test_the_dataloaders_of_two_models_in_different_places_are_two(tmp_path):
    one, other = (write_kind(tmp_path / name, "Dataset") for name in ("one", "other"))
    change_yaml(other, info={"authors": [{"name": "Bob"}], "doc": "Others.", "license": "MIT"})
    assert [feeder.name for feeder in plan({"x": one, "y": other}).feeders] == ["a", "b"]


def test_targets_alone_cannot_give_the_keys():
    parts = {"a": Alignment(), "b": Alignment(("id",), align_on="ids"), "targets": Alignment(known=False)}
    assert "by their ids, but no other part has any" in message(check_joins, parts, [])
    assert check_joins({"b": parts["b"], "targets": parts["targets"]}, [])["b"].align_on == "ids"
