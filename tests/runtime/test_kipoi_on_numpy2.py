"""NumPy gets back the names that Kipoi's writers use, where Kipoi is installed."""

import sys
from pathlib import Path

import numpy as np
import pytest

from keras_stitch.kipoi.templates import template_text

CODE = compile(template_text("kipoi/merging/kipoi_on_numpy2.py"), "kipoi_on_numpy2.py", "exec")


@pytest.mark.parametrize("installed", [True, False])
def test_the_names_are_there_where_kipoi_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    (tmp_path / ("kipoi.py" if installed else "other.py")).touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in ("string_", "unicode_"):
        monkeypatch.setattr(np, name, None, raising=False)  # what is there now comes back after the test
        delattr(np, name)
    exec(CODE, {})
    assert hasattr(np, "string_") == hasattr(np, "unicode_") == installed
    assert not installed or (np.string_, np.unicode_) == (np.bytes_, np.str_)


def test_names_that_are_there_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    own = type("own", (), {})
    monkeypatch.setattr(np, "string_", own, raising=False)
    exec(CODE, {})
    assert np.string_ is own
