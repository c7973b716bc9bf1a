"""Asking uv which requirements go together: what it says, and what that means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keras_stitch.placement import uv
from keras_stitch.placement.environments import OWN_BASE
from keras_stitch.placement.uv import Uv


def uv_that(says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Uv, Path]:
    """Uv with a program of ours in place of uv, and the file in which that notes its arguments."""
    program, calls = tmp_path / "uv", tmp_path / "calls"
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\ncat > /dev/null\n{says}\n')
    program.chmod(0o755)
    monkeypatch.setattr(uv, "_uv", lambda: str(program))
    return Uv(**options), calls


def fails(text: str) -> str:
    return f"echo '{text}' >&2; exit 1"


NO_NETWORK = fails("error: Request failed after 3 retries in 8.4s")


def offline(does: str) -> str:
    return f'case "$*" in *--offline) {does};; *) {NO_NETWORK};; esac'


@pytest.mark.parametrize(
    ("does", "answer"),
    [
        ("echo keras==3", True),
        (fails("error: No solution found when resolving dependencies"), False),
        (fails("error: Failed to build `pysam==0.15.3`"), False),
        (fails("cause: Because x was not found in the package registry and you require x, ..."), False),
        (fails("error: Failed to download and build `x @ git+https://x`\n  cause: Git operation failed"), None),
        ("exit 2", None),
        (NO_NETWORK, None),
        (offline("exit 0"), True),
        (offline(fails("No solution found: Because you require a==1 and a==2, ... unsatisfiable")), False),
        (offline(fails("No solution found: x was not found in the cache")), None),
        (offline(fails("No solution found: there is no version of x==2")), None),
    ],
)
def test_what_uv_says(does: str, answer: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert uv_that(does, tmp_path, monkeypatch)[0].resolves(["keras"]) is answer


def test_a_question_is_asked_once_and_an_absent_index_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asks, calls = uv_that(NO_NETWORK, tmp_path, monkeypatch)
    assert [asks.resolves(asked) for asked in (["a", "b"], ["b", "a"], ["c"])] == [None, None, None]
    assert ["--offline" in line for line in calls.read_text().splitlines()] == [False, True, True]


def test_an_answer_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert uv_that("exec sleep 30", tmp_path, monkeypatch, timeout=0.2)[0].resolves(["keras"]) is None


def test_where_uv_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_package(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(uv.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(uv.importlib, "import_module", no_package)
    monkeypatch.setattr(uv.shutil, "which", lambda name: None)
    assert Uv().resolves(["keras"]) is None
    monkeypatch.setattr(uv.shutil, "which", lambda name: f"/somewhere/{name}")
    assert uv._uv() == "/somewhere/uv"
    (tmp_path / "uv").touch()
    assert uv._uv() == str(tmp_path / "uv")


def test_an_index_that_is_not_there(tmp_path: Path) -> None:
    asks = Uv("--index-url", "http://127.0.0.1:9/simple", "--cache-dir", str(tmp_path), env={"UV_HTTP_RETRIES": "0"})
    assert asks.resolves(["keras==2.15.0"]) is None
    assert asks.resolves(["keras==2.15.0", "keras==3.10.0"]) is not True


def test_the_real_index() -> None:
    index = Uv()
    if index.resolves(["scikit-learn==1.6.1"]) is None:
        pytest.skip("the package index cannot be reached")
    assert index.resolves([*OWN_BASE, "scikit-learn==1.3.2"]) is True
    assert index.resolves(["scikit-learn==1.3.2", "scikit-learn==1.6.1"]) is False
    assert index.resolves(["tensorflow-cpu==2.18.0", "keras<3"]) is False
    assert index.resolves(["tensorflow==1.4"]) is False
    # Neither a release candidate of TensorFlow, whose Keras has another name, nor NumPy built on the way.
    assert index.resolves(["keras==2.2.4", "tensorflow"]) is False
    assert index.resolves(["numpy==1.14"]) is False
    assert index.resolves(["keras==2.15.0rc1"]) is True


def test_the_real_index_for_another_python() -> None:
    index = Uv()
    if index.resolves(["scikit-learn==1.6.1"]) is None:
        pytest.skip("the package index cannot be reached")
    assert [index.resolves(["scikit-learn==0.24.2"], python) for python in ("3.9", "3.12")] == [True, False]
