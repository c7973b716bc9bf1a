import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hub_server import HubServer, sha256
from huggingface_hub import constants

from keras_stitch.addresses.fetch_model import fetch_model
from keras_stitch.addresses.parse_address import parse
from keras_stitch.errors import SourceError, StitchError
from keras_stitch.files.checksums import checksums

REPO = "hf://user/repo"
KERAS = {"config.json": b"{}", "metadata.json": b"{}", "model.weights.h5": b"weights", "assets/words/a.txt": b"a b"}
BESIDE = {"README.md": b"# card", ".gitattributes": b"", "model.safetensors": b"of others"}
SAVED_MODEL = {"saved_model.pb": b"graph", "keras_metadata.pb": b"layers", "variables/variables.index": b"index"}
KIPOI = {"model.yaml": b"defined_as: x", "dataloader.py": b"", "model_files/model.keras": b"weights"}


def fetched(text: str, **hashes: str) -> Path:
    found = fetch_model(parse(text), checksums(hashes.get("sha256"), hashes.get("md5"), "submodel 'm'"))
    kept.append(found.kept)
    return found.path


kept: list[object] = []  # temporary folders go with what keeps them


def downloaded(hub: HubServer) -> set[str]:
    return {path.partition("/resolve/")[2].partition("/")[2] for method, path, _ in hub.asked if "/resolve/" in path}


def test_what_keras_writes_becomes_one_file_of_it_always_with_the_same_bytes(hub: HubServer):
    hub.commit("user/repo", KERAS | BESIDE)
    path = fetched(REPO)
    assert path.name == "repo.keras"
    with zipfile.ZipFile(path) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == KERAS
    assert downloaded(hub) == set(KERAS)
    assert fetched(REPO, sha256=sha256(path.read_bytes())).read_bytes() == path.read_bytes()
    with pytest.raises(SourceError, match=f"its md5 differs.\n  Expected: md5 {'0' * 32}\n  Received: md5 "):
        fetched(REPO, md5="0" * 32)


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "deep/m.hdf5", "m.onnx"])
def test_the_only_model_file_is_taken(hub: HubServer, name):
    hub.commit("user/repo", {name: b"weights"} | BESIDE)
    path = fetched(REPO)
    assert (path.name, path.read_bytes()) == (Path(name).name, b"weights")
    assert downloaded(hub) == {name}


def test_a_saved_model_is_a_directory(hub: HubServer):
    hub.commit("user/repo", SAVED_MODEL | BESIDE)
    path = fetched(REPO)
    assert path.name == "repo"
    assert {
        file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()
    } == SAVED_MODEL
    assert not any(file.is_symlink() for file in path.rglob("*"))
    assert downloaded(hub) == set(SAVED_MODEL)


def test_a_folder_is_taken_like_a_repository(hub: HubServer):
    hub.commit(
        "user/repo", {f"models/one/{name}": content for name, content in KERAS.items()} | {"m.h5": b"", "n.h5": b""}
    )
    assert fetched(f"{REPO}/models/one").name == "one.keras"


def test_all_of_it_comes_from_the_cache_offline(hub: HubServer, monkeypatch):
    hub.commit("user/repo", KERAS)
    hub.commit("user/single", {"m.h5": b"weights"} | BESIDE)
    hub.commit("user/folder", {f"one/{name}": content for name, content in SAVED_MODEL.items()})
    online = [fetched(text) for text in (REPO, "hf://user/single", "hf://user/folder/one")]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert fetched(REPO).read_bytes() == online[0].read_bytes()
    assert fetched("hf://user/single") == online[1]
    assert {file.name for file in fetched("hf://user/folder/one").rglob("*")} == {
        file.name for file in online[2].rglob("*")
    }
    assert hub.asked == []


def test_a_damaged_member_is_an_error_and_gone(hub: HubServer):
    hub.commit("user/repo", KERAS)
    hub.corrupt.add(sha256(b"weights"))
    for _ in range(2):
        with pytest.raises(SourceError, match=f"Expected: sha256 {sha256(b'weights')}\n  Received: .*\n.*was removed"):
            fetched(REPO)
    hub.corrupt.clear()
    assert fetched(REPO).exists()


@pytest.mark.parametrize("name", ["../../x.h5", "/etc/x", "a/../../x", "a//b", "a\\..\\b", "a/./b"])
def test_names_that_lead_out_are_refused(hub: HubServer, name):
    commit = hub.commit("user/repo", KIPOI | {name: b"text"})
    with pytest.raises(SourceError) as error:
        fetched(f"{REPO}@{commit}")
    assert str(error.value) == (f"The repository 'user/repo' has a file that leads out of it.\n  Received: {name!r}")
    assert downloaded(hub) == set()


def test_several_models_are_listed(hub: HubServer):
    commit = hub.commit("user/repo", {"a.h5": b"", "b/c.keras": b""} | BESIDE)
    with pytest.raises(SourceError) as error:
        fetched(f"{REPO}@main")
    assert str(error.value) == (
        f"'{REPO}@main' holds 2 models.\n  Expected: the address of one file\n  Received: a.h5, b/c.keras\n"
        f"  Fix: Name one: '{REPO}/a.h5@main'."
    )
    assert commit not in str(error.value)


def test_a_repository_without_a_model_is_named(hub: HubServer):
    hub.commit("user/repo", BESIDE | {"config.json": b"{}"})
    with pytest.raises(SourceError) as error:
        fetched(REPO)
    assert str(error.value) == (
        f"'{REPO}' holds no model that can be a submodel.\n"
        "  Expected: what Keras 3 saves to the Hub, one .keras, .h5 or .onnx file, a SavedModel or a Kipoi directory\n"
        "  Received: .gitattributes, README.md, config.json, model.safetensors"
    )


# -- Kipoi directories, which are programs -----------------------------------------------------------------------------
@pytest.mark.parametrize("branch, shown", [("", "the default branch"), ("@main", "'main'")])
def test_a_program_has_to_be_named_by_its_commit(hub: HubServer, branch, shown):
    commit = hub.commit("user/repo", KIPOI)
    with pytest.raises(SourceError) as error:
        fetched(f"{REPO}{branch}")
    assert str(error.value) == (
        f"'{REPO}{branch}' is a Kipoi directory, whose Python code would run here.\n"
        "  Expected: the address with a commit, so that the code is the one that you have read\n"
        f"  Received: {shown}, which may change\n  Fix: Read it, and add '{REPO}@{commit}'."
    )
    assert downloaded(hub) == set()


def test_a_program_is_copied_whole_out_of_the_cache(hub: HubServer):
    commit = hub.commit("user/repo", KIPOI)
    path = fetched(f"{REPO}@{commit}")
    assert path.name == "repo"
    assert {name: (path / name).read_bytes() for name in KIPOI} == KIPOI
    assert not any(file.is_symlink() for file in path.rglob("*"))
    assert not path.is_relative_to(constants.HF_HUB_CACHE)
    # A stitch.yaml may have a branch, with the commit that was recorded.
    recorded = fetch_model(replace(parse(f"{REPO}@main"), commit=commit))
    assert recorded.path.name == "repo"


def test_an_md5_is_for_files(hub: HubServer):
    commit = hub.commit("user/repo", KIPOI)
    with pytest.raises(
        StitchError, match=rf"md5= is for a file, and '{REPO}@{commit}' is a directory.\n  Fix: Give the sha"
    ):
        fetched(f"{REPO}@{commit}", md5="0" * 32)
