"""Sources whose files change after they were added."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import pytest
import zoo_models
from keras import layers

import keras_stitch as ks
from keras_stitch.errors import SourceError
from keras_stitch.files.read_files import sha256
from keras_stitch.models import keras_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two models of one shape, their weights, architectures and a link to the first."""
    keras.utils.set_random_seed(0)
    for name in ("one", "two"):
        made = layers.Dense(2, name="dense", activation="relu" if name == "two" else None)
        model = keras.Sequential([keras.Input((3,), name="x"), made])
        model.save(tmp_path / f"{name}.keras")
        model.save_weights(tmp_path / f"{name}.weights.h5")
        (tmp_path / f"{name}.json").write_text(model.to_json())
    (tmp_path / "link.keras").symlink_to("one.keras")
    zoo_models.write_sklearn(tmp_path / "zoo", dataloader=True)
    return tmp_path


def relink(folder: Path) -> None:
    (folder / "link.keras").unlink()
    (folder / "link.keras").symlink_to("two.keras")


@pytest.mark.parametrize(
    ("source", "arch", "file", "change"),
    [
        ("one.keras", None, "one.keras", lambda it: shutil.copy(it / "two.keras", it / "one.keras")),
        ("link.keras", None, "link.keras", relink),
        ("one.weights.h5", "one.json", "one.json", lambda it: shutil.copy(it / "two.json", it / "one.json")),
        ("zoo", None, "zoo/dataloader.py", lambda it: (it / "zoo" / "dataloader.py").write_text("")),
        ("zoo", None, "zoo/model.yaml", lambda it: (it / "zoo" / "model.yaml").write_text("")),
    ],
)
def test_a_graph_is_saved_of_what_was_added(
    folder: Path, source: str, arch: str | None, file: str, change: Callable[[Path], object]
) -> None:
    graph = ks.Graph().add("m", folder / source, arch=arch and folder / arch)
    before = sha256(folder / file)
    change(folder)
    with pytest.raises(SourceError) as error:
        graph.save(folder / "made")
    assert str(error.value) == (
        f"'{folder / file}' has changed since it was added.\n  Expected: sha256 {before}\n"
        f"  Received: sha256 {sha256(folder / file)}\n  Fix: Add it to a new Graph."
    )
    assert not (folder / "made").exists()


@pytest.mark.parametrize("file", ["one.weights.h5", "one.json"])
def test_a_graph_is_built_of_what_was_added(folder: Path, file: str) -> None:
    graph = ks.Graph().add("m", folder / "one.weights.h5", arch=folder / "one.json")
    shutil.copy(folder / file.replace("one", "two"), folder / file)
    assert graph.build().layers[-1].get_layer("dense").activation is keras.activations.linear  # it is there already
    with pytest.raises(SourceError, match=f"{file}' has changed since it was added"):
        graph.build()


def test_a_source_that_is_gone(folder: Path) -> None:
    graph = ks.Graph().add("m", folder / "one.keras")
    (folder / "one.keras").unlink()
    with pytest.raises(SourceError) as error:
        graph.verify()
    assert str(error.value) == f"'{folder / 'one.keras'}' cannot be read any more: No such file or directory."


def test_a_file_that_is_replaced_while_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = keras_file._open

    def slow(path: Path, *arguments: object) -> object:
        found = read(path, *arguments)  # type: ignore[arg-type]
        (folder / "two.keras").replace(path)
        return found

    monkeypatch.setattr(keras_file, "_open", slow)
    with pytest.raises(SourceError, match=r"one\.keras' changed while it was read\.\n  Fix: Add it again, once nobody"):
        ks.Graph().add("m", folder / "one.keras")
