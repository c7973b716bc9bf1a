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

@keras.saving.register_keras_serializable(package="meadow")
class Sown(keras.layers.Layer):
    def call(self, inputs):
        return inputs + 1.0

class Mown(keras.layers.Layer):
    def call(self, inputs):
        return inputs * 3.0
"""


@pytest.fixture
def meadow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with models of the layers of a package ``meadow``, which is nowhere yet."""
    place, folder = tmp_path / "site", tmp_path / "models"
    folder.mkdir()
    install(place, "keras>=3")
    monkeypatch.syspath_prepend(place)
    layers = importlib.import_module("meadow.layers")
    x = keras.Input((3,), name="x")
    model = keras.Model(x, layers.Mown(name="mown")(layers.Sown(name="sown")(x)))
    for ending in ("keras", "h5"):
        model.save(folder / f"m.{ending}")
    forget()
    (tmp_path / "marker").unlink()
    sys.path.remove(str(place))
    yield folder
    forget()


def install(place: Path, requirement: str) -> None:
    """Puts the package and what installers write of it into a folder."""
    about = place / "meadow-1.0.dist-info"
    for folder in (place / "meadow", about):
        folder.mkdir(parents=True, exist_ok=True)
    (place / "meadow" / "__init__.py").touch()
    (place / "meadow" / "layers.py").write_text(LAYERS.format(marker=str(place.parent / "marker")))
    said = "Metadata-Version: 2.1\nName: meadow\nVersion: 1.0\n"
    (about / "METADATA").write_text(said + (f"Requires-Dist: {requirement}\n" if requirement else ""))
    (about / "top_level.txt").write_text("meadow\n")
    importlib.invalidate_caches()


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "meadow"]:
        del sys.modules[name]
    for name in [name for name in keras.saving.get_custom_objects() if name.startswith("meadow>")]:
        del keras.saving.get_custom_objects()[name]
    importlib.invalidate_caches()


def test_a_package_that_is_not_installed(meadow: Path) -> None:
    path = meadow / "m.keras"
    with pytest.raises(SourceError) as caught:
        ks.Graph("g").add("m", path)
    assert str(caught.value) == (
        f"'{path}' needs custom objects that are not known here: 'Sown' (layer 'sown', of meadow.layers), 'Mown' "
        "(layer 'mown', of meadow.layers).\n"
        "  Expected: layers and functions of Keras, or those in custom_objects\n"
        "  Fix: If you trust it, pip install meadow, and then: "
        'graph.add(name, source, custom_objects="meadow.layers")'
    )
    with pytest.raises(SourceError, match=r"here: 'meadow>Sown' \(layer 'sown'\), 'Mown' \(layer 'mown'\)\."):
        ks.Graph("g").add("m", meadow / "m.h5")  # which says no module


def test_a_package_that_builds_on_keras(meadow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(meadow.parent / "site")
    graph = ks.Graph("g").add("m", meadow / "m.keras")
    x = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(graph.build()(x), 3 * (x + 1))
    submodel = graph.spec.submodel("m")
    assert submodel.repairs[0].startswith("installed-objects (meadow.layers:Sown, meadow.layers:Mown): ")
    assert submodel.source.custom_objects == ("meadow.layers:Sown", "meadow.layers:Mown")
    graph.to_yaml(meadow / "stitch.yaml")
    assert "meadow.layers:Mown" in (meadow / "stitch.yaml").read_text()


@pytest.mark.parametrize("requirement", ["", "numpy", "kerastools"])
def test_a_package_that_does_not_is_not_imported(
    meadow: Path, monkeypatch: pytest.MonkeyPatch, requirement: str
) -> None:
    install(meadow.parent / "site", requirement)
    monkeypatch.syspath_prepend(meadow.parent / "site")
    with pytest.raises(SourceError, match=r'\n  Fix: graph\.add\(name, source, custom_objects="meadow\.layers"\)$'):
        ks.Graph("g").add("m", meadow / "m.keras")
    assert not (meadow.parent / "marker").exists()
    graph = ks.Graph("g").add("m", meadow / "m.keras", custom_objects="meadow.layers")  # as the line says
    assert graph.build().output_shape == (None, 3)
