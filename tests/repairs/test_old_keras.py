"""Files of real old Keras predict what that Keras predicted, or are refused with one clear error.

Of each model that is there twice, as a whole and as an architecture with weights, one is tried, the other one of the
next model and of the next Keras. ``OLD_FILES=all`` tries all; ``docs/loading.md`` has the tables of them, which
``UPDATE_GOLDEN=1`` then writes.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import keras
import old_keras
import pytest
import tables_report
from old_keras import Verdict
from real_files import ROOT

pytestmark = pytest.mark.slow

DOCUMENT = ROOT / "docs" / "loading.md"
HEADERS = ("Keras", "files", "equal", "refused", "wrong")
REFUSALS = ("refused because", "files", "for instance")


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Verdict]]:
    """What became of every file, by the Keras that wrote it."""
    place = old_keras.unpack(tmp_path_factory.mktemp("old_keras"))
    found = {}
    for folder in sorted(path for path in place.iterdir() if path.is_dir()):
        found[folder.name] = [
            # Their predictions are those after a reset.
            old_keras.judge(file, stateless=file.case.endswith("_stateful"))
            for file in old_keras.files(folder)
        ]
        keras.backend.clear_session()
    return found


@pytest.mark.parametrize("folder", old_keras.folders())
def test_nothing_is_wrong(folder: str, verdicts: dict[str, list[Verdict]], request: pytest.FixtureRequest) -> None:
    row = counted(folder, verdicts[folder])
    tables_report.record(request, "old Keras", dict(zip(HEADERS, row, strict=True)))
    assert not [f"{verdict.file}: {verdict.difference:.2g}" for verdict in verdicts[folder] if verdict.kind == "wrong"]


def test_what_is_refused_says_what_to_do(verdicts: dict[str, list[Verdict]]) -> None:
    refused = [verdict for found in verdicts.values() for verdict in found if verdict.refused]
    assert not [str(verdict.file) for verdict in refused if not re.search(r"Fix: |Expected: ", verdict.refused)]
    every = sum(map(len, verdicts.values())) - sum("Lambda" in verdict.refused for verdict in refused)
    equal = sum(verdict.kind == "equal" for found in verdicts.values() for verdict in found)
    assert equal / every >= 0.97


def test_the_documented_refusals(verdicts: dict[str, list[Verdict]]) -> None:
    documented = _table(REFUSALS).search(DOCUMENT.read_text(encoding="utf-8"))[0]
    everything = [verdict for found in verdicts.values() for verdict in found]
    assert not [reason for reason, *_ in refusals(everything) if f"| {reason} |" not in documented]


@pytest.mark.skipif(not old_keras.ALL_FILES, reason="The tables are of all files: OLD_FILES=all")
def test_the_documented_tables(verdicts: dict[str, list[Verdict]]) -> None:
    everything = [verdict for found in verdicts.values() for verdict in found]
    rows = [counted(folder, found) for folder, found in verdicts.items()] + [counted("all", everything)]
    for headers, cells in ((HEADERS, rows), (REFUSALS, list(refusals(everything)))):
        if "UPDATE_GOLDEN" in os.environ:
            text = DOCUMENT.read_text(encoding="utf-8")
            DOCUMENT.write_text(_table(headers).sub(lambda _: written(headers, cells), text), encoding="utf-8")  # noqa: B023
        assert written(headers, cells) in DOCUMENT.read_text(encoding="utf-8"), "UPDATE_GOLDEN=1 accepts it"


def counted(name: str, verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """A row of the table."""
    kinds = Counter(verdict.kind for verdict in verdicts)
    return name, str(len(verdicts)), *(str(kinds[kind]) for kind in HEADERS[2:])


def refusals(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, ...]]:
    """Why files are refused: the most frequent reason first."""
    files: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.refused:
            files.setdefault(old_keras.kind_of_refusal(verdict.refused), []).append(verdict)
    for reason, found in sorted(files.items(), key=lambda item: (-len(item[1]), item[0])):
        yield reason.replace("|", "\\|"), str(len(found)), f"`{found[0].file}`"


def written(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (headers, ["---"] * len(headers), *rows))


def _table(headers: Sequence[str]) -> re.Pattern[str]:
    return re.compile(re.escape(f"| {' | '.join(headers)} |\n") + r"\|[- |]+\|\n(?:\|.*\|\n)*")
