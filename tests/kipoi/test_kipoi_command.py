"""Kipoi's command runs beside a NumPy and a setuptools that lack what it uses."""

import importlib
import importlib.metadata
import sys
from pathlib import Path

import kipoi
import pytest
import warm_python
import zoo_models
from kipoi_runner import read_h5

from keras_stitch.kipoi.kipoi_command import provide_pkg_resources

# What NumPy 2 and setuptools 82 do not have.
MODERN = """
import sys
import numpy as np

for name in ("string_", "unicode_"):
    if hasattr(np, name):
        delattr(np, name)
sys.modules["pkg_resources"] = None
"""
OURS = "from keras_stitch.kipoi.kipoi_command import main\nsys.exit(main())"
KIPOIS = "from kipoi.__main__ import main\nsys.exit(main())"


@pytest.mark.parametrize(("command", "works"), [(OURS, True), (KIPOIS, False)])
def test_the_command_needs_neither(tmp_path: Path, command: str, works: bool) -> None:
    folder = zoo_models.write_custom(tmp_path / "own", dataloader=True)
    options = ["predict", ".", "--source=dir", "--dataloader_args={rows_file: example_files/rows.npy}", "-o", "out.h5"]
    done = warm_python.run([sys.executable, "-c", MODERN + command, *options], folder)
    assert (done.returncode == 0) == works, done.stderr
    assert works or "pkg_resources" in done.stderr
    assert (folder / "out.h5").exists() == works
    assert not works or read_h5(folder / "out.h5")["preds"].shape == (6, 1)


def test_a_real_pkg_resources_is_taken_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "pkg_resources.py").write_text(
        "import warnings\nwarnings.warn('pkg_resources is deprecated as an API.', UserWarning)\nreal = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pkg_resources", raising=False)
    provide_pkg_resources()
    assert importlib.import_module("pkg_resources").real
    assert not recwarn.list
    del sys.modules["pkg_resources"]  # what was there before comes back


def test_what_stands_in_for_pkg_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkg_resources", None)
    provide_pkg_resources()
    found = importlib.import_module("pkg_resources")
    logging = Path(kipoi.__file__).with_name("logging.conf")
    assert Path(found.resource_filename("kipoi.__main__", "logging.conf")) == logging and logging.is_file()
    assert found.get_distribution("kipoi").version == importlib.metadata.version("kipoi")
    with pytest.raises(found.DistributionNotFound):
        found.get_distribution("no-such-package")
    assert found.parse_version("0.10") > found.parse_version("0.9")
