from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import HubServer, running_hub
from web_server import WebServer, running


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with running_hub(tmp_path / "hub", monkeypatch) as server:
        yield server


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setenv("KERAS_STITCH_CACHE", str(tmp_path / "web"))
    monkeypatch.setattr("keras_stitch.addresses.resumed_download._PAUSE", 0)
    with running(WebServer()) as server:
        yield server
