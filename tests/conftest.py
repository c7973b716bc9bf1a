"""What every test shares: quiet TensorFlow, how hard Hypothesis tries, and which tests come first.

``HYPOTHESIS_PROFILE=thorough`` draws new and many more examples; the default draws the same 20 each time, and
``quick``, which ``make test`` takes, 5.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import reload_here
import tables_report
from hypothesis import HealthCheck, Phase, settings
from needs_kipoi import HAS_KIPOI, needs_kipoi

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# TensorFlow has it on by itself for some processors only, and elsewhere no convolutions with channels first.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# Building Keras models is slow and its time varies; a slow example is no defect.
_slow = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)
settings.register_profile("default", derandomize=True, deadline=None, max_examples=20, suppress_health_check=_slow)
settings.register_profile("quick", settings.get_profile("default"), max_examples=5)
settings.register_profile("thorough", deadline=None, max_examples=400, suppress_health_check=_slow, print_blob=True)
# For what runs once more on every backend: building is the same there, and what differs are the numbers.
settings.register_profile(
    "few", derandomize=True, deadline=None, max_examples=2, suppress_health_check=_slow, phases=[Phase.generate]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Files that import Kipoi are left out where it is not installed."""
    return True if not HAS_KIPOI and collection_path.suffix == ".py" and needs_kipoi(collection_path) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Some sets of parameters only, where ``TESTS_IN_TURN`` says so, and files with slow tests first.

    ``0/2`` takes the first, third, ... set of each test, ``1/2`` the others; a test with a single one is always run. A
    long file at the end would leave the other processes without work.
    """
    turn, _, of = os.environ.get("TESTS_IN_TURN", "0/1").partition("/")
    sets: dict[object, list[pytest.Item]] = {}
    for item in items:
        sets.setdefault((item.parent, getattr(item, "originalname", item.name)), []).append(item)
    due = {item for found in sets.values() for item in (found[int(turn) :: int(of)] or found)}
    config.hook.pytest_deselected(items=[item for item in items if item not in due])
    items[:] = [item for item in items if item in due]
    slow = {item.path for item in items if "slow" in item.keywords}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """All that is imported by now stays: each collection of garbage would look through TensorFlow for 0.3 seconds."""
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _no_directories_elsewhere() -> Iterator[None]:
    """``KERAS_BACKEND=jax pytest ...`` leaves out, on the spot, the tests that write Kipoi directories."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        yield  # without a start of Keras for tests that have no need of it
        return
    from backends import saving_skips

    with saving_skips():
        yield


@pytest.fixture(autouse=True)
def _kipoi(request: pytest.FixtureRequest) -> None:
    """Tests that are marked with ``kipoi`` are skipped where it is not installed."""
    if "kipoi" in request.keywords and not HAS_KIPOI:
        pytest.skip("Kipoi is not installed")


@pytest.fixture(autouse=True)
def _reload_in_this_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved models are loaded again in this process, which spares a start of TensorFlow for each directory.

    A test that is marked with ``fresh_process`` has the process that users get.
    """
    if "fresh_process" in request.keywords:
        return

    monkeypatch.setattr("keras_stitch.verify.fresh_process.start", reload_here.start)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The tables that tests filled, see ``tables_report``."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    for name, rows in tables_report.collected(reports).items():
        terminalreporter.section(name)
        terminalreporter.write(tables_report.printed(name, rows, terminalreporter._tw.fullwidth))
