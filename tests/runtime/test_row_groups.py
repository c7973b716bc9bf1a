"""Parts that only the numbers of their rows hold together: what is said of them, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from merging_strategies import GenomicRanges, M

from keras_stitch.kipoi.templates import template_module

ROWS = 6
NAMES = [f"r{row}" for row in range(ROWS)]
COMPLETE = "Complete the data, or make the directory again with missing='inner'"


@pytest.fixture(autouse=True)
def _nothing_said_yet():
    groups, errors = (template_module(f"kipoi.merging.{name}") for name in ("row_groups", "data_errors"))
    groups._said.clear()
    groups._say.cache_clear()
    errors.say_once.cache_clear()


def loader(name: str, ids: Any = None, start: Any = None, **options: Any) -> Any:
    metadata = {} if ids is None else {"id": np.asarray(ids)}
    if start is not None:
        start = np.asarray(start)
        unnamed = {"id": np.full(ROWS, "."), "strand": np.full(ROWS, "*")}
        metadata["ranges"] = GenomicRanges(chr=np.full(ROWS, "chr1"), start=start, end=start + 5, **unnamed)
    where = {"ids": None if ids is None else ("id",), "ranges": None if start is None else ("ranges",)}
    data = {"inputs": np.arange(ROWS), "metadata": metadata}
    made = M.from_function(lambda: data)
    return M.Part(name, made, {}, {name: ()}, metadata=bool(metadata), **(where | options))


def table(path: Path, name: str, ids: Any = None, **options: Any) -> Any:
    columns = ({} if ids is None else {"id": ids}) | {"value": np.arange(ROWS)}
    pd.DataFrame(columns).to_csv(path / f"{name}.tsv", sep="\t", index=False)
    return M.Table(name, str(path / f"{name}.tsv"), (1,), "float32", **options)


def said(caplog: Any, merged: Any, **options: Any) -> list[str]:
    """What is logged while all batches are read, twice."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="keras_stitch.rows"):
        for _ in range(2):
            assert sum(len(batch["inputs"]["a"]) for batch in merged.batch_iter(batch_size=2, **options)) == ROWS
    return [record.getMessage() for record in caplog.records if record.name == "keras_stitch.rows"]


MESSAGE = (
    "Only the number of a row says which rows belong together in {}: they have no ids or genomic ranges in common, at "
    "least in some rows. If one is in another order, nobody notices. A table has ids in a column id."
)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["MergedDataset", "MergedIterator"])
def test_each_pair_is_told_once(caplog, tmp_path, kind, workers):
    parts = [loader("a", NAMES), table(tmp_path, "b"), loader("c", NAMES), loader("d", start=range(ROWS))]
    found = said(caplog, getattr(M, kind)(*parts), num_workers=workers)
    pairs = "'a' and 'b'; 'c' and 'b'; 'a' and 'd'; 'c' and 'd'; 'b' and 'd'"
    assert found == [MESSAGE.format(pairs)]


def test_many_pairs_are_counted(caplog, tmp_path):
    merged = M.MergedDataset(*(table(tmp_path, name) for name in "abcde"))
    (found,) = said(caplog, merged)
    assert "'a' and 'b'; " in found and "; and 4 more pairs: they have no ids" in found


@pytest.mark.parametrize(
    "parts",
    [
        lambda path: [loader("a", NAMES), table(path, "b", NAMES)],
        lambda path: [loader("a", NAMES), loader("b", NAMES, range(ROWS)), loader("c", start=range(ROWS))],
        lambda path: [loader("a", start=range(ROWS)), loader("b", [".", *NAMES[1:]], range(ROWS))],
        lambda path: [loader("a", NAMES), table(path, "b", compared=False), loader("c", compared=False)],
        lambda path: [table(path, "a"), M.Table("b", str(path / "a.tsv"), (1,), "float32")],
        lambda path: [table(path, "a")],
        lambda path: [loader("a", NAMES), table(path, "b", NAMES[::-1], align_on="ids")],
    ],
    ids=["ids", "by a third", "BED names", "align_on=False", "one file", "one part", "joined"],
)
def test_nothing_is_said_where_rows_are_in_step(caplog, tmp_path, parts):
    assert said(caplog, M.MergedDataset(*parts(tmp_path))) == []


def test_rows_without_ids_among_others_are_told(caplog, tmp_path):
    names = [*NAMES[:4], ".", None]
    merged = M.MergedDataset(loader("a", [*NAMES[:4], "", "."]), table(tmp_path, "b", names))
    assert said(caplog, merged) == [MESSAGE.format("'a' and 'b'")]


@pytest.mark.parametrize("kind", ["MergedDataset", "MergedIterator"])
def test_a_word_for_a_missing_id_is_no_id_where_another_batch_has_it_too(caplog, tmp_path, kind):
    names = ["NA", *NAMES[1:4], "NA", "r5"]
    parts = [loader("a", names), table(tmp_path, "b", names)]
    assert said(caplog, getattr(M, kind)(*parts)) == [MESSAGE.format("'a' and 'b'")]
    with pytest.raises(M.DataError, match="Only the number of a row says"):
        list(getattr(M, kind)(*parts, require_ids=True).batch_iter(batch_size=1))


@pytest.mark.parametrize("nothing", [".", "", " ", None, np.nan])
def test_no_id_beside_ids(tmp_path, nothing):
    merged = M.MergedDataset(loader("a", NAMES), table(tmp_path, "b", [*NAMES[:4], nothing, nothing]))
    with pytest.raises(M.DataError) as error:
        merged.load_all(batch_size=5)
    assert str(error.value) == (
        "Row 4 of 'b' has no id.\n"
        "  Expected: an id, as 'a' has one\n"
        "  Received: 'r4' in 'a', none in 'b'\n"
        f"  File: '{tmp_path / 'b.tsv'}' for 'b', by id\n"
        "  Fix: Give the row its id: an empty text, '.', NaN and None are none. Where only the number of a row can say "
        "where it belongs, make the directory again with align_on=False for one of them."
    )


def test_rows_without_names_in_ranges_are_no_error_beside_ids(caplog):
    merged = M.MergedDataset(loader("a", NAMES), loader("b", start=range(ROWS)))
    assert said(caplog, merged) == [MESSAGE.format("'a' and 'b'")]


def test_ranges_that_say_nothing(caplog):
    def nowhere(name: str) -> Any:
        unknown = {"id": np.full(ROWS, ""), "strand": np.full(ROWS, "*")}
        ranges = GenomicRanges(chr=np.full(ROWS, "."), start=np.full(ROWS, -1), end=np.full(ROWS, -1), **unknown)
        data = {"inputs": np.arange(ROWS), "metadata": {"ranges": ranges}}
        return M.Part(name, M.from_function(lambda: data), {}, {name: ()}, metadata=True, ranges=("ranges",))

    assert said(caplog, M.MergedDataset(nowhere("a"), nowhere("b"))) == [MESSAGE.format("'a' and 'b'")]
    with pytest.raises(M.DataError, match="Row 0 is not the same in all parts"):
        M.MergedDataset(loader("a", start=range(ROWS)), nowhere("b")).load_all()


@pytest.mark.parametrize(
    ("parts", "received"),
    [
        (lambda path: [loader("a", NAMES), table(path, "b")], "ids in 'a', no ids or ranges in 'b'"),
        (lambda path: [loader("a", NAMES), loader("b", start=range(ROWS))], "ids in 'a', ranges in 'b'"),
        (
            lambda path: [loader("a", NAMES), table(path, "b", NAMES, compared=False)],
            "ids in 'a', align_on=False in 'b'",
        ),
    ],
    ids=["none", "others", "align_on=False"],
)
@pytest.mark.parametrize("kind", ["MergedDataset", "MergedIterator"])
def test_ids_can_be_required(caplog, tmp_path, kind, parts, received):
    with pytest.raises(M.DataError) as error:
        said(caplog, getattr(M, kind)(*parts(tmp_path), require_ids=True))
    assert "rows of 'a' and 'b' belong together.\n  Expected: ids or genomic ranges that they have" in str(error.value)
    assert f"  Received: {received}\n" in str(error.value)
    healthy = getattr(M, kind)(loader("a", NAMES), table(tmp_path, "c", NAMES), require_ids=True)
    assert said(caplog, healthy) == []


@pytest.mark.parametrize("kind", ["MergedDataset", "MergedIterator"])
def test_parts_in_groups(tmp_path, kind):
    named = [loader("a", NAMES), table(tmp_path, "b"), loader("c", start=range(ROWS)), table(tmp_path, "d", NAMES)]
    merged = getattr(M, kind)(*named)
    assert merged.in_step() == [["a", "d"], ["b"], ["c"]] and merged.by_number() == ["b", "c"]
    two = getattr(M, kind)(loader("a", NAMES), loader("b", NAMES), *(loader(name, start=range(ROWS)) for name in "cd"))
    assert two.in_step() == [["a", "b"], ["c", "d"]] and two.by_number() == ["c", "d"]


def test_what_is_left_out_of_a_join_is_told(caplog, tmp_path):
    file = table(tmp_path, "b", ["R0", "r1", ".", "r3", "r4", "other"], align_on="ids", missing="inner")
    with caplog.at_level(logging.WARNING, logger="keras_stitch.rows"):
        merged = M.MergedDataset(loader("a", [*NAMES[:5], " "]), file)
    assert len(merged) == 3
    assert [record.getMessage() for record in caplog.records] == [
        "1 rows of 'b' have no id: they are not looked up, but left out.",
        "1 rows of 'a' have no id: they are not looked up, but left out.",
        "1 rows of 'a' and 'b' are left out, but their ids look alike: 'r0' and 'R0'. Capitals, white space within, "
        "leading zeros and full-width letters count.",
    ]


def test_a_row_without_an_id_is_not_looked_up(tmp_path):
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["id"], file["b"] = [1, 2, 3, 4, 5, np.nan], np.arange(ROWS)[:, None]
    part = M.Table("b", str(tmp_path / "b.h5"), (1,), "float32", align_on="ids")
    with pytest.raises(M.DataError) as error:
        M.MergedDataset(loader("a", [np.nan, 1, 2, 3, 4, 5]), part)
    said = str(error.value)
    assert said.startswith("Row 0 of 'a' is not in 'b'.") and COMPLETE in said
    assert "  Received: row 0 of 'a' has none of the ids by which rows are looked up\n" in said


def test_ids_that_differ_only_in_looks(tmp_path):
    merged = M.MergedDataset(loader("a", NAMES), table(tmp_path, "b", [name.upper() for name in NAMES]))
    with pytest.raises(M.DataError, match="'r0' in 'a', 'R0' in 'b': they look alike, but capitals"):
        merged.load_all()
