"""Custom objects of installed packages that a file names: taken where the package builds on Keras, else said."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_stitch as ks
from keras_stitch.errors import SourceError

LAYERS = """
import keras

open({marker!r}, "w").close()

@keras.saving.register_keras_serializable(package="garden")
class Plus(keras.layers.Layer):
    def call(self, inputs):
        return inputs + 1.0

class Times(keras.layers.Layer):
    def call(self, inputs):
        return inputs * 3.0
"""


@pytest.fixture
def garden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with models of the layers of a package ``garden``, which is nowhere yet."""
    place, folder = tmp_path / "site", tmp_path / "models"
    folder.mkdir()
    install(place, "keras>=3")
    monkeypatch.syspath_prepend(place)
    layers = importlib.import_module("garden.layers")
    x = keras.Input((3,), name="x")
    model = keras.Model(x, layers.Times(name="times")(layers.Plus(name="plus")(x)))
    for ending in ("keras", "h5"):
        model.save(folder / f"m.{ending}")
    forget()
    (tmp_path / "marker").unlink()
    sys.path.remove(str(place))
    yield folder
    forget()


def install(place: Path, requirement: str) -> None:
    """Puts the package and what installers write of it into a folder."""
    about = place / "garden-1.0.dist-info"
    for folder in (place / "garden", about):
        folder.mkdir(parents=True, exist_ok=True)
    (place / "garden" / "__init__.py").touch()
    (place / "garden" / "layers.py").write_text(LAYERS.format(marker=str(place.parent / "marker")))
    said = "Metadata-Version: 2.1\nName: garden\nVersion: 1.0\n"
    (about / "METADATA").write_text(said + (f"Requires-Dist: {requirement}\n" if requirement else ""))
    (about / "top_level.txt").write_text("garden\n")
    importlib.invalidate_caches()


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "garden"]:
        del sys.modules[name]
    for name in [name for name in keras.saving.get_custom_objects() if name.startswith("garden>")]:
        del keras.saving.get_custom_objects()[name]
    importlib.invalidate_caches()


def test_a_package_that_is_not_installed(garden: Path) -> None:
    path = garden / "m.keras"
    with pytest.raises(SourceError) as caught:
        ks.Graph("g").add("m", path)
    assert str(caught.value) == (
        f"'{path}' needs custom objects that are not known here: 'Plus' (layer 'plus', of garden.layers), 'Times' "
        "(layer 'times', of garden.layers).\n"
        "  Expected: layers and functions of Keras, or those in custom_objects\n"
        "  Fix: If you trust it, pip install garden, and then: "
        'graph.add(name, source, custom_objects="garden.layers")'
    )
    with pytest.raises(SourceError, match=r"here: 'garden>Plus' \(layer 'plus'\), 'Times' \(layer 'times'\)\."):
        ks.Graph("g").add("m", garden / "m.h5")  # which says no module


def test_a_package_that_builds_on_keras(garden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(garden.parent / "site")
    graph = ks.Graph("g").add("m", garden / "m.keras")
    x = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(graph.build()(x), 3 * (x + 1))
    submodel = graph.spec.submodel("m")
    assert submodel.repairs[0].startswith("installed-objects (garden.layers:Plus, garden.layers:Times): ")
    assert submodel.source.custom_objects == ("garden.layers:Plus", "garden.layers:Times")
    graph.to_yaml(garden / "stitch.yaml")
    assert "garden.layers:Times" in (garden / "stitch.yaml").read_text()


@pytest.mark.parametrize("requirement", ["", "numpy", "kerastools"])
def test_a_package_that_does_not_is_not_imported(
    garden: Path, monkeypatch: pytest.MonkeyPatch, requirement: str
) -> None:
    install(garden.parent / "site", requirement)
    monkeypatch.syspath_prepend(garden.parent / "site")
    with pytest.raises(SourceError, match=r'\n  Fix: graph\.add\(name, source, custom_objects="garden\.layers"\)$'):
        ks.Graph("g").add("m", garden / "m.keras")
    assert not (garden.parent / "marker").exists()
    graph = ks.Graph("g").add("m", garden / "m.keras", custom_objects="garden.layers")  # as the line says
    assert graph.build().output_shape == (None, 3)
