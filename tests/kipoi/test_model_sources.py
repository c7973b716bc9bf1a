"""Models and dataloaders by their name in a source of Kipoi's, and all that a directory says of its model."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import kipoi
import kipoi_runner
import numpy as np
import pytest
import warm_python
import yaml
from kipoi_cases import write_loader
from toy_objects import write_layers

import keras_stitch as ks
from keras_stitch.errors import SourceError, StitchError
from keras_stitch.kipoi.model_directory import read_directory
from keras_stitch.kipoi.model_sources import locate
from keras_stitch.models.custom_objects import read


def array(name: str | None = "x", shape: str = "(3,)", **more: Any) -> dict[str, Any]:
    return {**({"name": name} if name else {}), "shape": shape, "doc": "What it is.", **more}


def write_part(folder: Path, model: keras.Model | None = None, **changes: Any) -> Path:
    """A Kipoi directory of a Dense layer that takes ``keras_tensor``."""
    folder.mkdir(parents=True)
    if model is None:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
    model.save(folder / "model.keras")
    description = {
        "defined_as": "kipoi.model.KerasModel",
        "args": {"weights": "model.keras"},
        "info": {"doc": "A model.", "authors": [{"name": "Ada"}], "license": "MIT", "cite_as": "doi:1"},
        "dependencies": {"pip": ["tqdm"]},
        "schema": {"inputs": array(), "targets": array("y", "(2,)")},
        **changes,
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(description))
    return folder


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A source of Kipoi's with a model, one of a group of two, and a dataloader."""
    root = tmp_path / "zoo"
    write_part(root / "plain" / "predict", default_dataloader="../../loaders/numbers")
    write_loader(root / "loaders" / "numbers")
    group = root / "group"
    for name, units in (("one", 1), ("two", 2)):
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(units)]).save(tmp_path / f"{name}.keras")
    group.mkdir()
    rows = [
        f"{name}\t{units}\t{(tmp_path / f'{name}.keras').as_uri()}\t{md5(tmp_path / f'{name}.keras')}"
        for name, units in (("one", 1), ("two", 2))
    ]
    (group / "models.tsv").write_text("\n".join(["model\tunits\turl\tmd5", *rows]) + "\n")
    (group / "model-template.yaml").write_text(
        "defined_as: kipoi.model.KerasModel\n"
        "args: {weights: {url: '{{ url }}', md5: '{{ md5 }}'}}\n"
        "default_dataloader: ../../loaders/numbers\n"
        "info: {doc: 'Member {{ model }}.', authors: [{name: Ada}], license: BSD}\n"
        "schema:\n"
        "  inputs: {name: seq, shape: '(3,)', doc: x}\n"
        "  targets: {name: y, shape: '({{ units }},)', doc: y}\n"
    )
    before = dict(kipoi.config.model_sources())
    kipoi.config.add_source("zoo", {"type": "local", "local_path": str(root)})
    yield root
    kipoi.config.set_model_sources(before)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


# -- names in sources -----------------------------------------------------------------------------


def test_a_model_of_a_source(zoo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    graph = ks.Graph("composed").add("m", "zoo:plain/predict").add("n", "zoo:plain/predict")
    graph.add_input("x", ["m", "n"]).connect_by_name()
    source = graph.spec.submodel("m").source
    assert (source.zoo, source.label, source.path) == ("zoo:plain/predict", "zoo:plain/predict", f"{zoo}/plain/predict")
    assert "zoo:plain/predict" in str(graph.summary())
    said = yaml.safe_load(graph.to_yaml(tmp_path / "stitch.yaml").read_text())
    assert said["models"]["m"] == "zoo:plain/predict"
    monkeypatch.chdir(zoo)
    again = ks.Graph.from_yaml(tmp_path / "stitch.yaml")
    assert again.spec.submodel("m") == graph.spec.submodel("m")
    directory = again.save(tmp_path / "composed")
    record = yaml.safe_load((directory / "stitch.yaml").read_text())["models"]["m"]
    assert record == {"source": "zoo:plain/predict", "sha256": source.sha256}
    described = yaml.safe_load((directory / "model.yaml").read_text())
    assert described["info"]["cite_as"] == "doi:1" and "tqdm" in described["dependencies"]["pip"]
    assert (directory / "components/m/helper.py").is_file()
    kipoi_runner.in_process(directory)


def test_members_of_a_group(zoo, tmp_path):
    graph = ks.Graph("composed").add("m", "zoo:group/one").add("n", "zoo:group/two")
    assert [port.name for port in graph.spec.submodel("n").inputs] == ["seq"]
    assert graph.spec.submodel("n").outputs[0].shape == (2,)
    assert (zoo / "group/downloaded/model_files/two/weights" / md5(tmp_path / "two.keras")).is_file()
    graph.add_input("seq", ["m", "n"])
    directory = graph.save(tmp_path / "composed")
    assert "| m | BSD |" in (directory / "README.md").read_text()
    assert (directory / "components/m/helper.py").is_file()


def test_a_dataloader_of_a_source(zoo, tmp_path):
    for name in ("zoo:loaders/numbers", "zoo:plain/predict"):
        graph = ks.Graph("composed").add("m", keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(1)]))
        directory = graph.save(tmp_path / "composed", dataloaders={"x": name}, overwrite=True)
        assert len(list(directory.glob("components/*/helper.py"))) == 1
    kipoi_runner.in_process(directory)


def test_a_file_of_such_a_name_comes_first(zoo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.keras").rename(tmp_path / "zoo:one.keras")
    assert ks.Graph("g").add("m", "zoo:one.keras").spec.submodel("m").source.kind == "file"


@pytest.mark.slow
def test_a_source_of_the_users_own(zoo, tmp_path):
    """As people have it: a name in Kipoi's config.yaml, used on the command line."""
    home = tmp_path / "home"
    (home / ".kipoi").mkdir(parents=True)
    sources = {"mine": {"type": "local", "local_path": str(zoo)}}
    (home / ".kipoi" / "config.yaml").write_text(yaml.safe_dump({"model_sources": sources}))
    command = [sys.executable, "-m", "keras_stitch", "inspect", "mine:plain/predict"]
    done = warm_python.run(command, tmp_path, {**os.environ, "HOME": str(home)})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mine:plain/predict\nsha256 ") and "input    x      (3,)" in done.stdout


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "zooo:plain/predict",
            "'zooo:plain/predict': Kipoi knows no source 'zooo'.\n"
            "  Expected: 'zoo', the nearest name\n"
            "  Fix: Name it in ~/.kipoi/config.yaml, or kipoi.config.add_source(...).",
        ),
        (
            "zoo:plain/predcit",
            "'zoo:plain/predcit': the source 'zoo' has no model 'plain/predcit'.\n"
            "  Expected: 'plain/predict', the nearest name",
        ),
        (
            "zoo:group",
            "'zoo:group': the source 'zoo' has no model 'group'.\n"
            "  Expected: 'group/two' or 'group/one', the nearest names",
        ),
        ("zoo:", "The source of submodel 'm'"),
        (
            "empty:m",
            "'empty:m': the source 'empty' has no model 'm'.\n  Expected: models in it, of which it has none",
        ),
        (
            "far:m",
            "'far:m' cannot be had: its source FAR does not answer.\n"
            "  Received: fatal: 'FAR' does not appear to be a git repository fatal: Could not read from remote "
            "repository. Please make sure you have the correct access rights and the repository exists.\n"
            "  Fix: Clone it to 'HERE/clone' where there is a network, or give the directory of the model.",
        ),
    ],
)
def test_names_of_nothing(zoo, tmp_path, name, text):
    (tmp_path / "empty").mkdir()
    remote = str(tmp_path / "no_repository")
    git = {"type": "git", "remote_url": remote, "local_path": str(tmp_path / "clone")}
    kipoi.config.add_source("far", git)
    kipoi.config.add_source("empty", {"type": "local", "local_path": str(tmp_path / "empty")})
    with pytest.raises(StitchError) as error:
        ks.Graph("g").add("m", name)
    if name != "zoo:":
        assert str(error.value) == text.replace("FAR", remote).replace("HERE", str(tmp_path))


def test_a_source_of_git_is_cloned(zoo, tmp_path):
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", *command], cwd=zoo, check=True)
    kipoi.config.add_source("git", {"type": "git", "remote_url": str(zoo), "local_path": str(tmp_path / "clone")})
    assert locate("git:plain/predict", "model").directory == tmp_path / "clone/plain/predict"
    assert ks.Graph("g").add("m", "git:plain/predict").spec.submodel("m").source.zoo == "git:plain/predict"


def test_a_dataloader_that_is_not_there(zoo, tmp_path):
    graph = ks.Graph("g").add("m", keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(1)]))
    write_part(zoo / "lonely")
    for name, text in (
        ("zoo:loaders/numbesr", "has no model 'loaders/numbesr'"),
        ("zoo:lonely", "The model 'zoo:lonely' names no dataloader."),
    ):
        with pytest.raises(StitchError) as error:
            graph.save(tmp_path / "composed", dataloaders={"x": name})
        assert text in str(error.value)


# -- what is named by URL -------------------------------------------------------------------------


def remote(path: Path, **changes: Any) -> dict[str, Any]:
    return {"url": path.as_uri(), "md5": md5(path), **changes}


def write_remote(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A directory whose weights, architecture and custom objects are all named by URL."""
    hosted = tmp_path / "hosted"
    hosted.mkdir()
    file = write_layers(hosted / "objects.py")
    item = read(file, "it").objects["Times"]
    model = keras.Sequential([keras.Input((3,), name="x"), item(name="times"), keras.layers.Dense(2, name="dense")])
    model.save_weights(hosted / "w.weights.h5")
    (hosted / "model.json").write_text(model.to_json())
    args = {"weights": hosted / "w.weights.h5", "arch": hosted / "model.json", "custom_objects": file}
    described = {key: remote(path) for key, path in args.items()}
    return write_part(tmp_path / "part", model, args=described), described


def test_all_by_url(tmp_path):
    import h5py

    part, described = write_remote(tmp_path)
    with h5py.File(tmp_path / "hosted/w.weights.h5") as file:
        kernel = file["layers/dense/vars/0"][:]
    graph = ks.Graph("composed").add("m", part)
    found = np.asarray(graph.build()([np.ones((1, 3), "float32")]))
    np.testing.assert_allclose(found[0], 3 * kernel.sum(0), rtol=1e-5)
    names = {path.relative_to(part / "downloaded/model_files").as_posix() for path in part.rglob("downloaded/*/*/*")}
    assert names == {
        f"weights/{described['weights']['md5']}",
        f"arch/{described['arch']['md5']}",
        f"custom_objects/{described['custom_objects']['md5']}.py",
    }
    kipoi_runner.in_process(graph.save(tmp_path / "composed"))


@pytest.mark.parametrize(
    ("key", "what"),
    [("weights", "file of weights"), ("arch", "architecture"), ("custom_objects", "file of custom objects")],
)
def test_another_file_than_the_one_described(tmp_path, key, what):
    part, described = write_remote(tmp_path)
    came, described[key]["md5"] = described[key]["md5"], "0" * 32
    place = part / "downloaded/model_files" / key / ("0" * 32 + (".py" if key == "custom_objects" else ""))
    content = yaml.safe_load((part / "model.yaml").read_text())
    (part / "model.yaml").write_text(json.dumps({**content, "args": described}))
    with pytest.raises(SourceError) as error:
        ks.Graph("g").add("m", part)
    assert str(error.value) == (
        f"The {what} of '{part}' is not what it was: another file was downloaded.\n"
        f"  Expected: md5 {'0' * 32}, as its model.yaml says\n"
        f"  Received: md5 {came} from {described[key]['url']}\n"
        f"  Fix: Put the right file at '{place}', or correct the md5 if the new file is meant."
    )
    assert not list(part.glob(f"downloaded/*/*/{'0' * 32}*"))


def test_without_an_md5(tmp_path):
    part = write_part(tmp_path / "part")
    (part / "model.keras").rename(tmp_path / "model.keras")
    content = yaml.safe_load((part / "model.yaml").read_text())
    content["args"] = {"weights": {"url": (tmp_path / "model.keras").as_uri()}}
    (part / "model.yaml").write_text(yaml.safe_dump(content))
    assert read_directory(part).weights == part / "downloaded/model_files/weights/file"


def test_custom_objects_of_a_directory_that_are_none(tmp_path):
    part = write_part(tmp_path / "part", args={"weights": "model.keras", "custom_objects": "own.py"})
    (part / "own.py").write_text("")
    with pytest.raises(SourceError) as error:
        ks.Graph("g").add("m", part)
    assert str(error.value) == (
        f"The custom objects of '{part}': '{part}/own.py' has no OBJECTS.\n"
        '  Expected: OBJECTS = {"Name": Name}, classes and functions by name'
    )
