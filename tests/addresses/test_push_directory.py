from pathlib import Path

import pytest
from hub_server import HubServer

import keras_stitch
from keras_stitch.errors import SaveError, StitchError

REPO = "hf://user/repo"
CARD = "---\nlibrary_name: keras\n---\n\n# A model\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """What is needed to be taken for a generated directory, and what running one leaves."""
    place = tmp_path / "composed"
    for name in (
        "stitch.yaml",
        "model.yaml",
        "dataloader.yaml",
        "model_files/model.keras",
        "components/a/dataloader.py",
    ):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(f"content of {name}")
    for name in ("downloaded/model_files/x", "__pycache__/dataloader.pyc", "components/a/__pycache__/dataloader.pyc"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("left")
    (place / "README.md").write_text(CARD)
    return place


@pytest.fixture
def hub(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    return hub


def uploaded(directory: Path) -> set[str]:
    names = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith("downloaded/") and "__pycache__" not in name}


def test_a_directory_becomes_a_repository(hub: HubServer, directory: Path):
    address = keras_stitch.push(directory, REPO, private=True)
    repository = hub.repositories["user/repo"]
    assert address == f"{REPO}@{repository.branches['main']}"
    assert repository.private
    assert repository.messages == ["Upload composed by keras_stitch"]
    assert hub.files_at("user/repo").keys() == uploaded(directory) | {".gitattributes"}
    assert hub.files_at("user/repo")["model_files/model.keras"] == b"content of model_files/model.keras"


def test_the_next_one_replaces_what_was_generated_and_leaves_the_rest(hub: HubServer, directory: Path):
    hub.commit("user/repo", {"LICENSE": b"MIT", "components/b/dataloader.py": b"old", "graph.svg": b"old"})
    keras_stitch.push(directory, REPO, message="Train it longer")
    assert hub.files_at("user/repo").keys() == uploaded(directory) | {"LICENSE"}
    assert hub.repositories["user/repo"].messages == ["Train it longer"]


def test_the_same_once_more_is_no_new_commit(hub: HubServer, directory: Path):
    address = keras_stitch.push(directory, REPO)
    assert keras_stitch.push(directory, REPO) == address
    assert len(hub.repositories["user/repo"].messages) == 1


def test_a_branch_is_pushed_to(hub: HubServer, directory: Path):
    before = hub.commit("user/repo", {"LICENSE": b"MIT"})
    hub.repositories["user/repo"].branches["v2"] = before
    keras_stitch.push(directory, f"{REPO}@v2")
    assert hub.files_at("user/repo", "main").keys() == {"LICENSE"}
    assert hub.files_at("user/repo", "v2").keys() == uploaded(directory) | {"LICENSE"}


def test_files_that_lie_elsewhere_are_left_out(hub: HubServer, directory: Path):
    (directory / ".gitignore").write_text("/model_files/model.keras\n")
    keras_stitch.push(directory, REPO)
    assert "model_files/model.keras" not in hub.files_at("user/repo")


def test_what_was_not_generated_is_not_uploaded(hub: HubServer, tmp_path: Path):
    (tmp_path / "secrets.txt").write_text("")
    with pytest.raises(StitchError) as error:
        keras_stitch.push(tmp_path, REPO)
    assert str(error.value) == (
        f"'{tmp_path}' is not a directory that graph.save wrote, and is not uploaded.\n"
        "  Expected: stitch.yaml, model.yaml, dataloader.yaml in it"
    )
    assert hub.asked == []


@pytest.mark.parametrize(
    "address", ["user/repo", "https://huggingface.co/user/repo", f"{REPO}/file", f"{REPO}@{'0' * 40}", None, 7]
)
def test_what_is_no_repository_is_refused(hub: HubServer, directory: Path, address):
    with pytest.raises(StitchError) as error:
        keras_stitch.push(directory, address)
    assert str(error.value) == (
        "A directory is pushed to a repository of the Hugging Face Hub.\n"
        f"  Expected: hf://user/repo or hf://user/repo@branch\n  Received: {address!r}"
    )


def test_whoever_is_not_logged_in_is_told(hub: HubServer, directory: Path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(SaveError) as error:
        keras_stitch.push(directory, REPO)
    assert str(error.value).startswith(f"'{directory}' cannot be pushed to '{REPO}'.\n  Received: ")
    assert str(error.value).endswith(
        "Fix: Log in (hf auth login) or set HF_TOKEN to a token that may write there, and check the connection."
    )


def test_a_card_that_the_hub_does_not_take_is_told(hub: HubServer, directory: Path):
    (directory / "README.md").write_text("---\ntags: [\n---\n")
    with pytest.raises(
        SaveError, match=r"cannot be pushed to .*\n  Received: ValueError: Invalid metadata in README.md"
    ):
        keras_stitch.push(directory, REPO)
    assert hub.files_at("user/repo").keys() == {".gitattributes"}
