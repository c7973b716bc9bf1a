"""NumPy gets back the names that Kipoi's writers use, where Kipoi is installed."""

import importlib.machinery
import sys
import types

import numpy as np
import pytest

from keras_stitch.kipoi.templates import template_text


@pytest.mark.parametrize("installed", [True, False])
def test_the_names_are_there_where_kipoi_is(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    kipoi = types.ModuleType("kipoi")
    kipoi.__spec__ = importlib.machinery.ModuleSpec("kipoi", None)
    monkeypatch.setitem(sys.modules, "kipoi", kipoi if installed else None)
    for name in ("string_", "unicode_"):
        monkeypatch.setattr(np, name, None, raising=False)  # what is there now comes back after the test
        delattr(np, name)
    exec(compile(template_text("kipoi/merging/kipoi_on_numpy2.py"), "kipoi_on_numpy2.py", "exec"), {})
    assert hasattr(np, "string_") == hasattr(np, "unicode_") == installed
    assert not installed or (np.string_, np.unicode_) == (np.bytes_, np.str_)


def test_names_that_are_there_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    own = type("own", (), {})
    monkeypatch.setattr(np, "string_", own, raising=False)
    exec(compile(template_text("kipoi/merging/kipoi_on_numpy2.py"), "kipoi_on_numpy2.py", "exec"), {})
    assert np.string_ is own
