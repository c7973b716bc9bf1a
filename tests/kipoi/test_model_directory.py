"""What a Kipoi directory says about its model: one that Keras loads, or one that is copied."""

from __future__ import annotations

from pathlib import Path

import h5py
import keras
import odd_files
import pytest
import yaml
import zoo_models
from zoo_models import array, described

from keras_stitch.errors import SourceError
from keras_stitch.kipoi.component import resolve
from keras_stitch.kipoi.dataloader import Dataloader
from keras_stitch.kipoi.model_directory import CopiedPart, KerasPart, copied, model_directory, read_directory


def write_keras(folder: Path) -> Path:
    inputs = keras.Input((7,), name="numbers")
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    described(folder, "kipoi.model.KerasModel", {"weights": "weights.keras"}, array((7,), "numbers"), array((2,)), [])
    model.save(folder / "weights.keras")
    return folder


def test_a_keras_model_is_loaded_or_copied(tmp_path):
    folder = write_keras(tmp_path / "net")
    part = read_directory(folder)
    assert isinstance(part, KerasPart)
    assert (part.weights, part.arch, part.label) == (folder / "weights.keras", None, "net")
    copy = copied(part)
    assert isinstance(copy, CopiedPart)
    assert (copy.framework, copy.files) == ("keras", {"weights.keras": folder / "weights.keras"})
    assert (copy.inputs, copy.outputs, copy.info) == (part.inputs, part.outputs, part.info)
    assert copied(copy) is copy


def test_a_model_of_another_framework_is_copied(tmp_path):
    part = read_directory(zoo_models.write_custom(tmp_path / "zoo"))
    assert isinstance(part, CopiedPart) and part.framework == "kipoi"
    assert copied(part) is part


def test_its_files_are_looked_for_when_it_is_used(tmp_path):
    folder = write_keras(tmp_path / "net")
    (folder / "weights.keras").unlink()
    directory = model_directory(folder)
    for use in (directory.part, directory.copied):
        with pytest.raises(SourceError, match=r"names a file that is not there\.\n  Received: weights: weights\.keras"):
            use()


@pytest.mark.parametrize("kind", odd_files.OUTSIDE)
def test_what_other_packages_open_is_looked_at_first(tmp_path, kind):
    folder = write_keras(tmp_path / "net")
    plain = folder.parent / "plain.keras"
    (folder / "weights.keras").rename(plain)
    odd_files.with_weights(
        plain,
        folder / "weights.keras",
        lambda file: odd_files.put_outside(file, "layers/dense/vars/0", kind, tmp_path / "secret"),
    )
    with pytest.raises(SourceError, match=r"'model\.weights\.h5' in '.*weights\.keras' does not hold "):
        model_directory(folder).copied()
    custom = zoo_models.write_custom(tmp_path / "zoo")
    with h5py.File(custom / "more.h5", "w") as file:
        file["x"] = [1.0, 2.0, 3.0]
        odd_files.put_outside(file, "x", kind, tmp_path / "secret")
    text = (custom / "model.yaml").read_text()
    (custom / "model.yaml").write_text(text.replace("args:", "args:\n  file: more.h5", 1))
    with pytest.raises(SourceError, match=r"more\.h5' does not hold "):
        read_directory(custom)


def test_a_model_without_outputs(tmp_path):
    described(tmp_path, "kipoi.model.KerasModel", {"weights": "weights.keras"}, array((7,), "numbers"), {}, [])
    (tmp_path / "weights.keras").touch()
    expected = f"'{tmp_path / 'model.yaml'}' describes no output.\n  Expected: schema: {{targets: <an array>}}"
    for use in (model_directory(tmp_path).part, model_directory(tmp_path).copied):
        with pytest.raises(SourceError) as raised:
            use()
        assert str(raised.value) == expected


@pytest.mark.parametrize("name", ["weights", "arch", "custom_objects"])
@pytest.mark.parametrize("named", ["{}/secret", "../secret", "example_files/../../secret"])
def test_files_of_a_keras_model_lie_in_its_directory(tmp_path, name, named):
    args = {"weights": "weights.keras", name: named.format(tmp_path)}
    folder = described(tmp_path / "net", "kipoi.model.KerasModel", args, array((7,)), array((2,)), [])
    (folder / "example_files").mkdir()
    for path in (folder / "weights.keras", tmp_path / "secret"):
        path.touch()
    for use in (model_directory(folder).part, model_directory(folder).copied):
        with pytest.raises(SourceError, match=r"names a file outside of its directory\.\n(.*\n)  Received: .*secret\n"):
            use()


@pytest.mark.parametrize(
    ("file", "keys", "value", "reason"),
    [
        (
            "model",
            ["args"],
            {"url": "file:///x", "md5": "0"},
            r"model\.yaml' is not valid\.\n  Received: args has the argument 'url'",
        ),
        (
            "dataloader",
            ["args", "rows_file"],
            None,
            r"The argument 'rows_file' of the dataloader '.*' is not described\.",
        ),
        ("dataloader", ["defined_as"], "os.system", r"neither a class nor a Python function\.\n  Received: builtin"),
        (
            "dataloader",
            ["defined_as"],
            "dataloader.py::np",
            r"neither a class nor a Python function\.\n  Received: module",
        ),
        ("model", ["dependencies"], None, None),
        ("dataloader", ["dependencies"], None, None),
    ],
)
def test_descriptions_that_say_something_else(tmp_path, file, keys, value, reason):
    folder = zoo_models.write_sklearn(tmp_path / "m", dataloader=True)
    said = yaml.safe_load((folder / f"{file}.yaml").read_text())
    place = said[keys[0]] if keys[1:] else said
    place[keys[-1]] = value
    (folder / f"{file}.yaml").write_text(yaml.safe_dump(said))
    use = (lambda: read_directory(folder)) if file == "model" else (lambda: resolve(Dataloader(str(folder))))
    if reason is None:
        assert use().dependencies["pip"] == []
        return
    with pytest.raises(SourceError, match=reason):
        use()
