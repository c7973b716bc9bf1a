"""Which ids are the same, which say nothing, and which cannot be told."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from merging_strategies import M

from keras_stitch.kipoi.templates import template_module

RULE = template_module("kipoi.merging.row_ids")
SAME = {
    "integers": (np.array([7, -3], "int8"), ["7", "-3"]),
    "wide integers": (np.array([2**63, 7], "uint64"), [str(2**63), "7"]),
    "floats": (np.array([7, -0.0, 7.5, 0.1], "float32"), ["7", "0", "7.5", "0.1"]),
    "large floats": (np.array([1e3, 2**53 - 1]), ["1000", str(2**53 - 1)]),
    "half floats": (np.array([7, 2047], "float16"), ["7", "2047"]),
    "booleans": (np.array([True, False]), ["True", "False"]),
    "texts of numbers": (np.array(["7", "8.0", "9.00", "07", "7.", "7e0", "+7", "-0.0", "1.10"]),
                         ["7", "8", "9", "07", "7.", "7e0", "+7", "-0.0", "1.10"]),
    "bytes": (np.array([b"7", b"8.0", "é".encode(), b"a"]), ["7", "8", "é", "a"]),
    "objects": (np.array([7, 8.0, "9", b"10", np.float32(11), Decimal("12.0"), True, 2**70], dtype="O"),
                ["7", "8", "9", "10", "11", "12", "True", str(2**70)]),
    "spaces": (np.array([" a", "b ", "\tc\n", "d\u00a0", "e f", "e  f", "e\u00a0f"]),
               ["a", "b", "c", "d", "e f", "e  f", "e\u00a0f"]),
    "Unicode": (np.array(["e\u0301", "\uff17", "\u212b", "A", "a", "\u00b2"]),
                ["\u00e9", "\uff17", "\u00c5", "A", "a", "\u00b2"]),
    "nothing": (np.array(["", " ", "\u00a0", ".", " . "]), [""] * 5),
    "missing values": (np.array([None, np.nan, pd.NA, pd.NaT, Decimal("nan"), "x"], dtype="O"), [""] * 5 + ["x"]),
    "NaN": (np.array([np.nan, 1.0]), ["", "1"]),
    "times": (np.array(["NaT", "2026-11-30"], "datetime64[D]"), ["", "2026-11-30"]),
    "words": (np.array(["NA", "nan", "None", "-", "*", ".."]), ["NA", "nan", "None", "-", "*", ".."]),
    "two axes": (np.array([["a"], ["b"]]), ["a", "b"]),
    "several values": (np.array([["a", "b c"], ["a b", "c"], ["", "."]]), ["a\tb c", "a b\tc", ""]),
    "no rows": (np.zeros(0, "U3"), []),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_the_table(name):
    given, expected = SAME[name]
    found = RULE.as_ids(given, "part")
    assert found.tolist() == expected and found.dtype.kind == "U"
    assert RULE.as_ids(found, "part").tolist() == expected or name == "several values"


@pytest.mark.parametrize("one", [7, 7.0, "7", b"7", "7.0", " 7 ", np.int8(7), np.float32(7), np.uint64(7), "7.0 "])
@pytest.mark.parametrize("other", ["07", "7e0", "7.5", "\uff17", "-7", "7 0", True, "7.", 70, "x7"])
def test_what_is_the_same_and_what_is_not(one, other):
    found = RULE.as_ids(np.array([one, other], dtype="O"), "part").tolist()
    assert found[0] == "7" != found[1]


@pytest.mark.parametrize("ids", [np.array([2.0**53]), np.array([np.inf]), np.array([2.0**24], "float32"),
                                 np.array([2048], "float16"), np.array([1e300, "x"], dtype="O")])  # fmt: skip
def test_floats_that_may_have_been_others(ids):
    with pytest.raises(
        M.DataError, match=r"(?s)The ids of 'part' are floats that are too large to be exact.*Received: "
    ):
        RULE.as_ids(ids, "part")


@pytest.mark.parametrize("pair", [("a", "a "), ("100", "100.0"), ("\u00e9", "e\u0301")])
def test_two_ways_to_write_an_id_in_one_part(pair):
    with pytest.raises(M.DataError) as error:
        RULE.as_ids(np.array([*pair, "b"]), "part")
    assert str(error.value) == (
        "Two ids of 'part' count as the same, but are written differently.\n"
        "  Expected: one way of writing for each id\n"
        f"  Received: {pair[0]!r} and {pair[1]!r}"
    )


def test_words_that_several_rows_have_are_no_names():
    ids = np.array(["NA", "HA", "nan", "NA", "", "HA", "None"])
    assert RULE.say_something(ids).tolist() == [False, True, True, False, False, True, True]


@pytest.mark.parametrize(("one", "other", "alike"), [
    ("P1", "p1", True), ("a b", "ab", True), ("007", "7", True), ("\uff17", "7", True), ("7", "7", False),
    ("7", "70", False), ("a0", "a", False), ("9" * 5000, "0" + "9" * 5000, True),
])  # fmt: skip
def test_what_looks_alike(one, other, alike):
    assert RULE.look_alike(one, other) is alike


TEXTS = st.text(max_size=6) | st.sampled_from(["7", "7.0", " 7", ".", "", "é", "e\u0301", "NA", "a\x00b"])


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_the_rule_is_settled_by_one_pass(texts: list[Any]):
    try:
        found = RULE.as_ids(np.array(texts), "part")
    except M.DataError:
        return
    # What it gives are ids that it leaves alone; and two that differ in it do not become one.
    assert RULE.as_ids(found, "part").tolist() == found.tolist()
    for text, own in zip(texts, found.tolist(), strict=True):
        assert RULE.as_ids(np.array([text]), "part").tolist() == [own]
        assert RULE.as_ids(np.array([text.encode()]), "part").tolist() == [own]
