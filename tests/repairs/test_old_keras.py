"""Files of real old Keras predict what that Keras predicted.

Of each model that is there twice, as a whole and as an architecture with weights, one is tried, the other one of the
next model and of the next Keras. ``OLD_FILES=all`` tries all; ``docs/loading.md`` has the table of them, which
``UPDATE_GOLDEN=1`` then writes.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence

import keras
import old_keras
import pytest
import tables_report
from old_keras import Verdict
from real_files import ROOT

pytestmark = pytest.mark.slow

DOCUMENT = ROOT / "docs" / "loading.md"
HEADERS = ("Keras", "files", "equal", "refused", "wrong")


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
def test_all_are_equal(folder: str, verdicts: dict[str, list[Verdict]], request: pytest.FixtureRequest) -> None:
    row = counted(folder, verdicts[folder])
    tables_report.record(request, "old Keras", dict(zip(HEADERS, row, strict=True)))
    assert not [verdict for verdict in verdicts[folder] if verdict.kind != "equal"]


@pytest.mark.skipif(not old_keras.ALL_FILES, reason="The table is of all files: OLD_FILES=all")
def test_the_documented_table(verdicts: dict[str, list[Verdict]]) -> None:
    everything = [verdict for found in verdicts.values() for verdict in found]
    rows = [counted(folder, found) for folder, found in verdicts.items()] + [counted("all", everything)]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in (HEADERS, ["---"] * len(HEADERS), *rows))
    text = DOCUMENT.read_text(encoding="utf-8")
    if "UPDATE_GOLDEN" in os.environ:
        before = re.escape(f"| {' | '.join(HEADERS)} |\n") + r"\|[- |]+\|\n(?:\|.*\|\n)*"
        text = re.sub(before, table, text)
        DOCUMENT.write_text(text, encoding="utf-8")
    assert table in text, "UPDATE_GOLDEN=1 accepts it"


def counted(name: str, verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """A row of the table."""
    kinds = Counter(verdict.kind for verdict in verdicts)
    return name, str(len(verdicts)), *(str(kinds[kind]) for kind in HEADERS[2:])
