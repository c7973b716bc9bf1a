"""A minute of fuzzing every reader, the same inputs each time; and the inputs that once ended otherwise."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mutations
import pytest
from fuzzer import BAD, Process, examples, smallest
from readers import READERS

CORPUS = json.loads((Path(__file__).parent / "corpus.json").read_text())
COUNT = 60


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    started = Process(list(READERS))
    yield started
    started.end()


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_every_input_works_or_is_refused(process: Process, reader: str) -> None:
    counts: Counter[str] = Counter()

    def use(case: Any) -> None:
        answer = process.ask(reader, case)
        assert answer["outcome"] not in BAD, (answer, case)
        counts[answer["outcome"]] += 1

    examples(READERS[reader], 0, COUNT, use)
    assert counts["refused"] > COUNT / 4 and counts["no file"] < COUNT / 4


@pytest.mark.slow
@pytest.mark.parametrize("found", CORPUS, ids=lambda found: f"{found['reader']}: {found['was']}")
def test_what_was_found(process: Process, found: dict[str, Any]) -> None:
    answer = process.ask(found["reader"], found["case"])
    assert answer["outcome"] == found.get("is", "refused"), answer


@pytest.mark.slow
def test_files_without_changes_work(process: Process) -> None:
    assert all(process.ask("keras", {"base": number})["outcome"] == "worked" for number in range(5))
    old = Counter(process.ask("hdf5", {"base": number})["outcome"] for number in range(57))
    assert old["worked"] >= 50 and old["worked"] + old["refused"] == 57  # some are stateful
    assert all(process.ask("onnx", {"base": number})["outcome"] == "worked" for number in range(4))
    assert process.ask("stitch_yaml", {})["outcome"] == "worked"
    assert process.ask("directories", {"model.yaml": {}})["outcome"] == "worked"
    assert process.ask("references", {"sources": ["m1"], "target": "m2"})["outcome"] == "worked"


def test_changes_fit_every_tree() -> None:
    tree = {"a": [1, {"b": None}], "c": "d"}
    for kind, *details in (["set", 5], ["delete"], ["rename", "z"], ["copy", 3], ["swap", 2], ["repeat", 2],
                           ["add", "k", []], ["wrap", 2, True], ["text"]):  # fmt: skip
        for where in range(12):
            mutations.changed_tree(tree, [[kind, where, *details]])
    assert tree == {"a": [1, {"b": None}], "c": "d"}
    assert mutations.changed_tree(tree, [["set", 0, 7]]) == 7
    assert mutations.changed_tree(tree, [["delete", 2]]) == {"a": [1, {"b": None}]}


def test_changes_fit_all_bytes() -> None:
    for content in (b"", b"abc"):
        for change in (["flip", 5, 1], ["number", 1, 8, -1], ["insert", 2, "\xff"], ["text", 0, "[" ], ["delete", 1, 9],
                       ["copy", 0, 1, 2], ["cut", 1]):  # fmt: skip
            mutations.changed_bytes(content, [change])
    assert mutations.changed_bytes(b"abc", [["flip", 1, 0], ["cut", 2]]) == b"ac"


def test_the_same_with_fewer_changes() -> None:
    case = {"base": 3, "config.json": {"tree": [[1], [2], [3], [4]]}}
    assert smallest(case, lambda it: [3] in it["config.json"]["tree"]) == {"base": 3, "config.json": {"tree": [[3]]}}
