"""The parts of a merged dataloader: what each kind says of itself, and the Python source that makes it."""

from __future__ import annotations

from pathlib import Path

from keras_stitch.directory.alignment import Alignment
from keras_stitch.directory.feeders import PredictionsFeeder, TableFeeder, TargetsFeeder, restricted
from keras_stitch.graphs.spec import Port
from keras_stitch.kipoi.schema import Field, Missing

TABLE = TableFeeder(name="x", arguments={"path": "x_file"}, port=Port("x", (None, 4)), dtype="float32")
TARGETS = TargetsFeeder(
    name="targets", arguments={"path": "targets_file"}, arrays={"score": ((2,), "float32")}, example=Path("t.tsv")
)
PREDICTIONS = PredictionsFeeder(
    name="m_predictions",
    arguments={"path": "m_file"},
    alignment=Alignment(align_on="ids", missing="inner", compared=False),
    fields={"m": Field("m", ("m",), (3,))},
    job="m",
    given=("fasta_file",),
    made_by="0" * 64,
)


def test_files_have_one_argument():
    for feeder, required, example in (
        (TABLE, True, Missing),
        (TARGETS, False, Path("t.tsv")),
        (PREDICTIONS, True, Missing),
    ):
        argument = feeder.argument("path")
        assert (argument.name, argument.required, argument.example) == ("path", required, example)
        assert (feeder.kind, feeder.in_order, feeder.may_share("path")) == ("file", False, False)
        assert list(feeder.metadata) == ["id"]
    doc = "File for the input x, rows of shape (None, 4): NPY, TSV or CSV with a header, HDF5, or Parquet."
    assert TABLE.argument("path").doc == doc


def test_what_they_feed():
    assert [feeder.feeds for feeder in (TABLE, TARGETS, PREDICTIONS)] == [("x",), (), ("m",)]
    assert restricted(PREDICTIONS, ["m", "x"]) == PREDICTIONS
    assert restricted(TARGETS, ["x"]) is None and restricted(PREDICTIONS, ["x"]) is None


def test_examples_that_are_made():
    assert [feeder.made_example for feeder in (TABLE, TARGETS, PREDICTIONS)] == ["x.npy", None, "m.h5"]


def test_source_of_a_table():
    assert TABLE.call({}) == ("merging.Table", ['"x"', "x_file", "shape=(None, 4)", 'dtype="float32"'])


def test_source_of_targets_with_the_columns_that_they_need():
    lines = ["targets_file", '{"score": ((2,), "float32")}']
    assert TARGETS.call({}) == ("merging.Targets", lines)
    assert TARGETS.call({"score": ("a", "b")}) == ("merging.Targets", [*lines, 'labels={"score": ["a", "b"]}'])


def test_source_of_predictions_with_who_made_them():
    call, lines = PREDICTIONS.call({})
    assert call == "merging.Predictions"
    assert lines == [
        '"m_predictions"',
        "m_file",
        '{"m": ("m", (3,))}',
        f'made_by="{"0" * 64}"',
        'model="m"',
        'given={"fasta_file": fasta_file}',
        'align_on="ids"',
        "compared=False",
        'missing="inner"',
    ]
