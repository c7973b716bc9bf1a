"""Submodels by address: in Python, in ``stitch.yaml``, on the command line, on certificates and cards."""

import hashlib
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import keras
import kipoi
import numpy as np
import pytest
import zoo_models
from backends import as_array
from hub_server import HubServer, running_hub
from huggingface_hub import hf_hub_download, snapshot_download
from web_server import serve_zenodo

import keras_stitch as ks
from keras_stitch import cli
from keras_stitch.errors import SourceError, SpecFileError, StitchError
from keras_stitch.graphs.read_stitch_yaml import parse
from keras_stitch.keras_private import quiet_keras

ROWS = np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3)
OTHER = "0" * 64


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setenv("KERAS_STITCH_CACHE", str(tmp_path / "web"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with running_hub(tmp_path / "hub", monkeypatch) as server:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield server


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(2, name="dense")], name="tower")


@pytest.fixture(scope="module")
def files(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("files")
    with quiet_keras():
        for name in ("m.keras", "m.h5"):
            model.save(folder / name)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def predicts_like(graph: ks.Graph, model: keras.Model) -> bool:
    return np.array_equal(as_array(graph.build()([ROWS])), as_array(model([ROWS])))


def test_a_file_on_the_hub(hub: HubServer, files, model, tmp_path):
    commit = hub.commit("user/repo", files)
    graph = ks.Graph("g").add("tower", "hf://user/repo/m.keras@main")
    assert predicts_like(graph, model)
    source = graph.spec.submodel("tower").source
    assert (source.label, source.address, source.commit) == ("m.keras", "hf://user/repo/m.keras@main", commit)
    text = graph.to_yaml(tmp_path / "stitch.yaml").read_text()
    assert parse(text).models[0].source == "hf://user/repo/m.keras@main"
    assert (parse(text).models[0].commit, parse(text).models[0].sha256) == (commit, sha256(files["m.keras"]))
    assert source.origin == f"hf://user/repo/m.keras@main (commit {commit})"


def test_what_keras_writes_to_the_hub(hub: HubServer, model):
    with quiet_keras():
        keras.saving.save_model(model, "hf://user/tower")
    assert "model.weights.h5" in hub.files_at("user/tower")
    assert predicts_like(ks.Graph("g").add("tower", "hf://user/tower"), model)


def test_files_on_the_web_and_in_archives(hub: HubServer, files, model, monkeypatch):
    url = hub_url(hub, files["m.h5"])
    graph = ks.Graph("g").add("tower", url, sha256=sha256(files["m.h5"]))
    assert predicts_like(graph, model)
    assert graph.spec.submodel("tower").source.origin == url
    serve_zenodo(hub, monkeypatch, "17", {"m.h5": files["m.h5"]})
    graph = ks.Graph("g").add("tower", "doi:10.5281/zenodo.17/m.h5")
    assert predicts_like(graph, model)


def hub_url(hub: HubServer, content: bytes) -> str:
    return hub.serve("files/m.h5", content)


def test_a_stitch_yaml_takes_the_recorded_commit(hub: HubServer, files, model, tmp_path):
    commit = hub.commit("user/repo", files)
    path = ks.Graph("g").add("tower", "hf://user/repo/m.keras").to_yaml(tmp_path / "stitch.yaml")
    hub.commit("user/repo", {"m.keras": b"another model"})
    with pytest.warns(
        UserWarning, match=f"has moved since its commit was recorded.* The recorded one, {commit}, is used"
    ):
        graph = ks.Graph.from_yaml(path)
    assert predicts_like(graph, model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # The record of the new graph is the same: the branch, and the commit that was used.
        hub.repositories["user/repo"].branches["main"] = commit
        assert ks.Graph.from_yaml(path).to_yaml(tmp_path / "again.yaml").read_text() == path.read_text()


def test_a_stitch_yaml_says_the_hash_of_a_file_on_the_web(hub: HubServer, files, model, tmp_path):
    url, path = hub_url(hub, files["m.h5"]), tmp_path / "stitch.yaml"
    path.write_text(f"models:\n  a: {{source: '{url}', md5: {hashlib.md5(files['m.h5']).hexdigest()}}}\n")
    graph = ks.Graph.from_yaml(path)
    written = graph.to_yaml(tmp_path / "written.yaml")
    assert f"sha256: {sha256(files['m.h5'])}" in written.read_text()
    assert predicts_like(ks.Graph.from_yaml(written), model)
    path.write_text(f"models:\n  a: {{source: '{url}', sha256: 'sha256:{sha256(files['m.h5']).upper()}'}}\n")
    assert predicts_like(ks.Graph.from_yaml(path), model)
    path.write_text(f"models:\n  a: {{source: '{url}', sha256: '{OTHER}'}}\n")
    with pytest.raises(SourceError, match=f"Expected: sha256 {OTHER}\n  Received: sha256 {sha256(files['m.h5'])}"):
        ks.Graph.from_yaml(path)


@pytest.mark.parametrize(
    "entry, mistake",
    [
        ("{source: m.h5, commit: abc}", "expected 40 hexadecimal digits for an hf:// source, received 'abc'"),
        (
            f"{{source: m.h5, commit: '{'0' * 40}'}}",
            "expected 40 hexadecimal digits for an hf:// source, received '0000",
        ),
        (
            "{source: 'hf://user/repo', commit: main}",
            "expected 40 hexadecimal digits for an hf:// source, received 'main'",
        ),
        ("{source: 'hf://user/repo', commit: 7}", "expected 40 hexadecimal digits, received 7"),
    ],
)
def test_a_commit_is_checked_before_anything_is_loaded(entry: str, mistake: str):
    with pytest.raises(SpecFileError, match=f"line 2, models.a.commit: {mistake}"):
        parse(f"models:\n  a: {entry}\n")


def test_a_kipoi_directory_at_a_commit(hub: HubServer, tmp_path):
    folder = zoo_models.write_custom(tmp_path / "zoo")
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    commit = hub.commit("user/zoo", files)
    with pytest.raises(SourceError, match=f"Fix: Read it, and add 'hf://user/zoo@{commit}'."):
        ks.Graph("g").add("a", "hf://user/zoo")
    graph = ks.Graph("g").add("a", f"hf://user/zoo@{commit}")
    assert graph.spec.submodel("a").inputs == ks.Graph("g").add("a", folder).spec.submodel("a").inputs


def test_options_go_with_what_is_at_the_address(hub: HubServer, files):
    hub.commit("user/repo", files)
    graph = ks.Graph("g").add("tower", "hf://user/repo/m.h5", trainable=False, outputs=["dense"], placement="model")
    assert graph.spec.submodel("tower").trainable is False
    with pytest.raises(StitchError, match="shapes= of submodel 'a' is for estimators"):
        ks.Graph("g").add("a", "hf://user/repo/m.h5", shapes=(3,))


def test_weights_and_their_architecture(hub: HubServer, model, tmp_path, monkeypatch):
    model.save_weights(tmp_path / "m.weights.h5")
    weights, arch = (tmp_path / "m.weights.h5").read_bytes(), model.to_json().encode()
    commit = hub.commit("user/repo", {"m.weights.h5": weights, "m.json": arch})
    graph = ks.Graph("g").add("tower", "hf://user/repo/m.weights.h5", arch="hf://user/repo/m.json")
    assert predicts_like(graph, model)
    path = graph.to_yaml(tmp_path / "stitch.yaml")
    assert parse(path.read_text()).models[0].options["arch"] == f"hf://user/repo/m.json@{commit}"
    hub.commit("user/repo", {"m.weights.h5": weights, "m.json": b"{}"})
    with pytest.warns(UserWarning, match="'hf://user/repo/m.weights.h5' has moved"):
        assert predicts_like(ks.Graph.from_yaml(path), model)
    serve_zenodo(hub, monkeypatch, "17", {"m.weights.h5": weights, "m.json": arch})
    record = "doi:10.5281/zenodo.17"
    assert predicts_like(ks.Graph("g").add("tower", f"{record}/m.weights.h5", arch=f"{record}/m.json"), model)
    assert predicts_like(ks.Graph("g").add("tower", tmp_path / "m.weights.h5", arch=f"{record}/m.json"), model)


@pytest.mark.parametrize("arch", ["https://host.org/m.json", "hf://user/tower"])
def test_an_architecture_that_nothing_would_check_is_refused(hub: HubServer, files, arch):
    hub.commit("user/tower", {"config.json": b"{}", "metadata.json": b"{}", "model.weights.h5": b"x"})
    with pytest.raises(StitchError) as error:
        ks.Graph("g").add("a", "m.h5", arch=arch)
    assert str(error.value) == (
        "arch= of submodel 'a' names no architecture that can be taken from there.\n"
        "  Expected: a path, hf://user/repo/model.json or doi:10.5281/zenodo.1234/model.json\n"
        f"  Received: '{arch}'\n  Fix: Download it, and name the file."
    )


def test_what_is_no_model_is_named_by_its_address(hub: HubServer):
    hub.commit("user/repo", {"notes.txt": b"some text"})
    with pytest.raises(SourceError) as error:
        ks.Graph("g").add("a", "hf://user/repo/notes.txt")
    assert re.match(r"At 'hf://user/repo/notes.txt': '/.*/notes.txt' is not a saved Keras model.\n", str(error.value))


# -- hashes of files here ----------------------------------------------------------------------------------------------
def test_files_here_are_checked_before_they_are_read(files, tmp_path):
    path = tmp_path / "m.keras"
    path.write_bytes(files["m.keras"])
    ks.Graph("g").add("a", path, sha256=sha256(files["m.keras"]), md5=hashlib.md5(files["m.keras"]).hexdigest())
    path.write_bytes(b"no model")
    with pytest.raises(SourceError) as error:
        ks.Graph("g").add("a", path, sha256=OTHER)
    assert str(error.value) == (
        f"'{path}' is not the file that it should be: its sha256 differs.\n  Expected: sha256 {OTHER}\n"
        f"  Received: sha256 {sha256(b'no model')}\n  Fix: Bring the right file, or leave sha256= out."
    )


def test_hashes_are_for_files(tmp_path):
    with pytest.raises(SourceError, match=r"There is no file '.*/no\.h5'"):
        ks.Graph("g").add("a", tmp_path / "no.h5", md5="0" * 32)
    with pytest.raises(StitchError, match="md5= of submodel 'a' is for files, and this is a directory"):
        ks.Graph("g").add("a", zoo_models.write_custom(tmp_path / "zoo"), md5="0" * 32)
    with pytest.raises(StitchError) as error:
        ks.Graph("g").add("a", keras.layers.ReLU(name="r"), sha256=OTHER)
    assert str(error.value).startswith(
        "sha256= of submodel 'a' is for files, and this is something else.\n  Received: <ReLU"
    )
    with pytest.raises(StitchError, match="md5= of submodel 'a' is for files, and this is something else"):
        ks.Graph("g").add("a", "kipoi:a/b", md5="0" * 32)
    with pytest.raises(StitchError, match="sha256= of submodel 'a' is none"):
        ks.Graph("g").add("a", "m.h5", sha256="abc")


# -- the command line --------------------------------------------------------------------------------------------------
def test_inspect_takes_addresses(hub: HubServer, files, capsys):
    hub.commit("user/repo", files)
    url = hub_url(hub, files["m.h5"])
    assert cli.main(["inspect", "hf://user/repo/m.keras"]) == 0
    assert capsys.readouterr().out.startswith(f"hf://user/repo/m.keras\nsha256 {sha256(files['m.keras'])}\n")
    assert cli.main(["inspect", url, "--sha256", sha256(files["m.h5"])]) == 0
    assert capsys.readouterr().out.startswith(f"{url}\nsha256 ")
    assert cli.main(["inspect", "hf://user/nothing"]) == 2
    assert capsys.readouterr().err.startswith("keras-stitch: There is no repository 'user/nothing' on the Hub")


@pytest.mark.slow
def test_a_directory_goes_to_the_hub_and_comes_back(hub: HubServer, files, model, tmp_path, capsys):
    commit = hub.commit("user/repo", files)
    graph = ks.Graph("g").add("tower", "hf://user/repo/m.keras")
    info = {"license": "Apache-2.0", "tags": ["genomics"], "authors": "Ann"}
    address = graph.push("hf://user/composed", private=True, info=info)
    pushed = hub.files_at("user/composed")
    assert (
        pushed["README.md"]
        .decode()
        .startswith(
            "---\nlibrary_name: keras\ntags:\n- keras-stitch\n- kipoi\n- genomics\nlicense: apache-2.0\nbase_model:\n"
            "- user/repo\n---\n\n# g\n"
        )
    )
    assert f"hf://user/repo/m.keras (commit {commit})" in pushed["README.md"].decode()
    again = ks.Graph("again").add("whole", address)
    assert predicts_like(again, model)
    # What the card says.
    assert '_download("user/repository", "model_files/model.keras")' in pushed["README.md"].decode()
    local = snapshot_download("user/composed", local_dir=tmp_path / "local")
    assert kipoi.get_model(local, source="dir").predict_on_batch({"x": ROWS}).shape == (4, 2)
    file = hf_hub_download("user/composed", "model_files/model.keras")
    assert np.array_equal(as_array(keras.saving.load_model(file)([ROWS])), as_array(model([ROWS])))
    directory = graph.save(tmp_path / "composed", card="huggingface")
    assert cli.main(["push", str(directory), "hf://user/by_command"]) == 0
    assert (
        capsys.readouterr().out
        == f"pushed: hf://user/by_command@{hub.repositories['user/by_command'].branches['main']}\n"
    )
    plain = graph.save(tmp_path / "plain")
    assert (plain / "README.md").read_text().startswith("# g\n")
    assert json.loads(pushed["certificate.json"])["parts"][0]["source"] == f"hf://user/repo/m.keras (commit {commit})"
    # The record of a directory finds sources at addresses again.
    assert predicts_like(ks.Graph.from_yaml(plain / "stitch.yaml"), model)
    # The sha256 of a directory is that of its weights.
    weights = sha256((plain / "model_files" / "model.keras").read_bytes())
    ks.Graph("g").add("whole", plain, sha256=weights)
    with pytest.raises(
        SourceError, match=f"Expected: sha256 {OTHER}\n  Received: sha256 {weights}\n  Fix: Bring the right"
    ):
        ks.Graph("g").add("whole", plain, sha256=OTHER)
    with pytest.raises(StitchError, match="card= is no kind of model card"):
        graph.save(tmp_path / "none", card="hugingface")
