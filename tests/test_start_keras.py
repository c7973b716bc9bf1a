from __future__ import annotations

import gc
import importlib
import signal
import sys

import pytest

from keras_stitch.start_keras import import_keras


def test_what_stops_a_command_waits_until_keras_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[object] = []

    def slow(name: str) -> None:
        signal.raise_signal(signal.SIGTERM)
        happened.append(name)

    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setattr(importlib, "import_module", slow)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    before = signal.signal(signal.SIGTERM, lambda *_: happened.append("stopped"))
    try:
        import_keras()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert happened == ["keras", "stopped"]
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
