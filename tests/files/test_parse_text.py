"""Text of files to data: what is refused, in which words; and that no other module does it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from keras_stitch.files import parse_text
from keras_stitch.files.parse_text import BadText, from_json, from_yaml

PACKAGE = Path(parse_text.__file__).parents[1]
DEEP = "it is nested more than 200 levels deep"
LONG = "a number has more than 100 digits"
HALF = "it holds half of a surrogate pair, which is no character"
# These read what they wrote a moment ago: jobs of other processes, rows in a folder, members of an archive.
READ_THEIR_OWN = {"row_folder.py", "packed_models.py", "run_saved_model.py", "certificate.py", "predict_program.py",
                  "fresh_process.py", "parse_text.py"}  # fmt: skip


def refusal(parse: Callable[[str], Any], text: str) -> str:
    started = time.process_time()
    with pytest.raises(BadText) as caught:
        parse(text)
    assert time.process_time() - started < 10
    return str(caught.value)


def test_other_modules_leave_it_to_this_one() -> None:
    parsers = re.compile(r"yaml\.(safe_load|load|full_load|unsafe_load|compose|parse|scan)|json\.loads?\b|SafeLoader")
    others = [file for file in PACKAGE.rglob("*.py") if "model_templates" not in file.parts]
    assert {file.name for file in others if parsers.search(file.read_text(encoding="utf-8"))} == READ_THEIR_OWN


@pytest.mark.parametrize(
    "data",
    [None, True, -3, 10**99, 0.5, "ü", "\U0001f9ec", [], {}, {"a": [1, {"b": None}]}, {"": ["\0"]}],
)
def test_what_is_well_formed(data: Any) -> None:
    for ascii_only in (True, False):
        assert from_json(json.dumps(data, ensure_ascii=ascii_only)) == data
    assert from_json(json.dumps(data).encode("utf-16")) == data
    assert from_yaml(yaml.safe_dump(data, allow_unicode=True)) == data


@pytest.mark.parametrize("opening", ["[", '{"a": '])
@pytest.mark.parametrize("levels", [201, 1_000, 100_000])
@pytest.mark.parametrize("is_closed", [True, False])
def test_json_and_yaml_that_are_deep(opening: str, levels: int, is_closed: bool) -> None:
    text = opening * levels + "1" + ("]" if opening == "[" else "}") * levels * is_closed
    said = refusal(from_json, text)
    assert said == DEEP or (not is_closed and levels == 201 and said.startswith("Expecting ',' delimiter: "))
    said = refusal(from_yaml, text)
    assert said in (DEEP, f"line 1: {DEEP}") or (not is_closed and levels == 201 and "expected ',' or" in said)


def test_what_is_just_not_too_deep() -> None:
    text = "[" * 200 + "]" * 200
    assert json.dumps(from_json(text)) == json.dumps(from_yaml(text)) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[" + "9" * 101 + "]", LONG),
        ('{"a": -' + "9" * 5000 + "}", LONG),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' stands there twice"),
        ('{"' + "a" * 100 + '": 1, "' + "a" * 100 + '": 3}', f"the key '{'a' * 60}...' stands there twice"),
        ('["\\ud800"]', HALF),
        ('{"a\\udfff": 1}', HALF),
    ],
)
def test_json_that_is_refused(text: str, reason: str) -> None:
    assert refusal(from_json, text) == reason


def test_json_in_bytes_that_are_no_text() -> None:
    assert "can't decode byte 0xff" in refusal(from_json, b'{"a": "\xff"}')  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "line 1: expected the node content, but found '<stream end>'"),
        ("a: 1\na: 2", "line 2: the key 'a' stands there twice"),
        ("a: {b: 1, b: 2}", "line 1: the key 'b' stands there twice"),
        ("? [a]\n: b", "line 1: found unhashable key"),
        ("a: \0", "line 1: the character '\\x00' must not be in it"),
        ('"\\ud800": 1', f"line 1: {HALF}"),
        ("a: " + "9" * 5000, f"line 1: {LONG}"),
        ("a: 0x" + "f" * 5000, f"line 1: {LONG}"),
        ("a: 1" + ":1" * 5000, f"line 1: {LONG}"),
        ("a: !!int ''", "a value does not fit its tag"),
        ("!!int", "a value does not fit its tag, '' as int"),
        ("!!float", "a value does not fit its tag, '' as float"),
        ("!!bool", "a value does not fit its tag, '' as bool"),
        ("!!timestamp", "a value does not fit its tag, '' as timestamp"),
        ("!!bool maybe", "a value does not fit its tag, 'maybe' as bool"),
        ("2020-13-45", "month must be in 1..12"),
        ("!!python/object/apply:os.getcwd []", "line 1: could not determine a constructor for the tag "
         "'tag:yaml.org,2002:python/object/apply:os.getcwd'"),
        ("&a [*a]", "line 1: an alias stands within what it stands for, which so holds itself"),
        ("a: &a {b: {<<: *a}}", "line 1: an alias stands within what it stands for, which so holds itself"),
        ("&a0 [x]: \n" + "".join(f"k{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 300)), f"line 200: {DEEP}"),
    ],
)  # fmt: skip
def test_yaml_that_is_refused(text: str, reason: str) -> None:
    assert refusal(from_yaml, text) == reason


@pytest.mark.parametrize("each", ["[{}]", "{{<<: [{}]}}"])
def test_aliases_that_make_much_of_little(each: str) -> None:
    first = "[x, x, x]" if each == "[{}]" else "{x: 1, y: 2}"
    lines = [f"a0: &a0 {first}"] + [f"a{i}: &a{i} " + each.format(", ".join([f"*a{i - 1}"] * 10)) for i in range(1, 20)]
    assert re.fullmatch(r"line \d: its aliases repeat too much", refusal(from_yaml, "\n".join(lines)))


def test_aliases_that_people_use() -> None:
    text = "base: &base {units: 3, use_bias: true}\nfirst: {<<: *base, units: 4}\nothers: [*base, *base]\n"
    base = {"units": 3, "use_bias": True}
    assert from_yaml(text) == {"base": base, "first": {**base, "units": 4}, "others": [base, base]}


def test_much_yaml() -> None:
    assert refusal(from_yaml, " " * 10_000_001) == "it has more than 10,000,000 characters"
