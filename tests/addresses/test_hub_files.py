import hashlib
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from hub_server import HubServer
from huggingface_hub import constants

from keras_stitch.addresses.fetch_model import Fetched, fetch_model
from keras_stitch.addresses.parse_address import HubAddress, parse
from keras_stitch.addresses.required_packages import LEAST, needed
from keras_stitch.errors import SourceError, StitchError
from keras_stitch.files.checksums import checksums

CONTENT = b"a model " * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()
NOWHERE = "0" * 40
FILE = "hf://user/repo/m.h5"


def fetch(text: str, sha256: str | None = None) -> Fetched:
    return fetch_model(parse(text), checksums(sha256, None, "submodel 'm'"))


def recorded(text: str, commit: str) -> Fetched:
    """As a ``stitch.yaml`` says it."""
    address = parse(text)
    assert isinstance(address, HubAddress)
    return fetch_model(replace(address, commit=commit))


def stored() -> list[str]:
    """The files in the client's cache whose content is that of models."""
    return [path.name for path in Path(constants.HF_HUB_CACHE).rglob("*") if path.parent.name == "blobs"]


@pytest.fixture
def commit(hub: HubServer) -> str:
    return hub.commit("user/repo", {"m.h5": CONTENT, "notes.txt": b"text"})


def test_a_file_is_downloaded_once_and_its_commit_is_known(hub: HubServer, commit: str):
    found = fetch(FILE)
    assert (found.path.read_bytes(), found.commit, str(found.address)) == (CONTENT, commit, FILE)
    assert fetch(FILE).path == found.path
    assert [path for method, path, _ in hub.asked if path.startswith("cdn")] == [f"cdn/{SHA256}"]


def test_a_commit_in_the_cache_needs_no_network(hub: HubServer, commit: str):
    fetch(FILE)
    hub.asked.clear()
    assert fetch(f"{FILE}@{commit}", SHA256).path.read_bytes() == CONTENT
    assert hub.asked == []


def test_branches_and_tags_are_taken(hub: HubServer, commit: str):
    later = hub.commit("user/repo", {"m.h5": b"later"}, "refs/pr/1")
    assert fetch(f"{FILE}@refs/pr/1").commit == later
    assert fetch(f"{FILE}@main").commit == commit


def test_a_cut_connection_is_taken_up_where_it_ended(hub: HubServer, commit: str, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cuts += [3000]
    assert fetch(FILE).path.read_bytes() == CONTENT
    assert [asked for _, path, asked in hub.asked if path.startswith("cdn")] == [None, "bytes=3000-"]


def test_a_wrong_hash_is_an_error_and_the_file_is_gone(hub: HubServer, commit: str):
    with pytest.raises(SourceError) as error:
        fetch(FILE, OTHER)
    assert str(error.value) == (
        f"'{FILE}@{commit}' is not the file that it should be: its sha256 differs.\n"
        f"  Expected: sha256 {OTHER}\n  Received: sha256 {SHA256}\n"
        "  Fix: What came was removed. Check the hash and the revision."
    )
    assert stored() == []
    assert fetch(FILE, SHA256).path.read_bytes() == CONTENT


def test_what_is_not_what_the_hub_states_is_an_error_and_gone(hub: HubServer, commit: str):
    hub.corrupt.add(SHA256)
    with pytest.raises(SourceError) as error:
        fetch(FILE)
    assert f"Expected: sha256 {SHA256}\n  Received: sha256 {hashlib.sha256(CONTENT[::-1]).hexdigest()}" in str(
        error.value
    )
    assert str(error.value).endswith("What came was removed. Call again.")
    assert stored() == []
    hub.corrupt.clear()
    assert fetch(FILE).path.read_bytes() == CONTENT


# -- without a network -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["offline mode", "no connection"])
def test_what_is_in_the_cache_is_taken_offline(hub: HubServer, commit: str, monkeypatch, how):
    path = fetch(FILE).path
    if how == "offline mode":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    hub.asked.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for found in (fetch(FILE), fetch(f"{FILE}@{commit}"), recorded(FILE, commit)):
            assert (found.path, found.commit) == (path, commit)
    assert hub.asked == []


@pytest.mark.parametrize("text", [FILE, f"{FILE}@{NOWHERE}", "hf://user/repo"])
def test_what_is_not_in_the_cache_is_an_error_offline(hub: HubServer, monkeypatch, text):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError) as error:
        fetch(text)
    assert str(error.value).startswith(
        f"'{text}' is not in the cache, and the Hub cannot be asked for it.\n  Received: "
    )
    assert str(error.value).endswith(
        "Fix: Check the connection, or the environment variables HF_HUB_OFFLINE and HF_ENDPOINT."
    )


# -- branches that move ------------------------------------------------------------------------------------------------
def test_a_branch_that_moved_since_is_said_and_the_recorded_commit_is_taken(hub: HubServer, commit: str):
    later = hub.commit("user/repo", {"m.h5": b"later"})
    with pytest.warns(UserWarning) as said:
        found = recorded(f"{FILE}@main", commit)
    assert found.path.read_bytes() == CONTENT
    assert [str(one.message) for one in said] == [
        f"'{FILE}@main' has moved since its commit was recorded: main is now {later}. The recorded one, {commit}, is "
        "used. To take the new one, remove 'commit' and 'sha256' from the stitch.yaml."
    ]


def test_a_branch_that_is_gone_is_said(hub: HubServer, commit: str):
    with pytest.warns(UserWarning, match=f"v1 is now gone. The recorded one, {commit}, is used."):
        assert recorded(f"{FILE}@v1", commit).path.read_bytes() == CONTENT


def test_a_branch_that_stayed_and_a_commit_are_not_said(hub: HubServer, commit: str):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert recorded(FILE, commit).path.read_bytes() == CONTENT
        hub.commit("user/repo", {"m.h5": b"later"})
        assert recorded(f"{FILE}@{commit}", commit).path.read_bytes() == CONTENT


# -- what is not there -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text, message",
    [
        (
            "hf://user/repp/m.h5",
            "There is no repository 'user/repp' on the Hub that you may read.\n"
            "  Received: RepositoryNotFoundError: 401 Client Error\n"
            "  Fix: Check the name. For a private or gated repository, log in (hf auth login) or set HF_TOKEN.",
        ),
        (
            "hf://user/repo/m.h5@v2",
            "The repository 'user/repo' has no revision 'v2'.\n"
            "  Expected: a branch, a tag or a commit, behind the last @ of the address",
        ),
        (
            f"hf://user/repo/m.h5@{NOWHERE}",
            f"The repository 'user/repo' has no revision '{NOWHERE}'.\n"
            "  Expected: a branch, a tag or a commit, behind the last @ of the address",
        ),
        (
            "hf://user/repo/n.h5@main",
            "There is no 'n.h5' in 'user/repo' at commit COMMIT.\n  Expected: 'm.h5', the nearest name",
        ),
    ],
)
def test_what_is_not_there_is_named(hub: HubServer, commit: str, text, message):
    with pytest.raises(SourceError) as error:
        fetch(text)
    assert str(error.value) == message.replace("COMMIT", commit)


def test_a_private_repository_is_read_by_who_is_logged_in(hub: HubServer, commit: str, monkeypatch):
    hub.repositories["user/repo"].private = True
    with pytest.raises(SourceError, match="that you may read"):
        fetch(FILE)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert fetch(FILE).path.read_bytes() == CONTENT


def test_a_hub_that_names_a_path_for_a_commit_is_refused(hub: HubServer, tmp_path):
    hub.commit("user/repo", {"m.h5": CONTENT})
    hub.repositories["user/repo"].branches["main"] = "../../../../here"
    hub.repositories["user/repo"].commits["../../../../here"] = {"m.h5": CONTENT}
    with pytest.raises(SourceError, match=r"The Hub names no commit for 'hf://user/repo/m.h5'.\n  Received: '\.\./"):
        fetch(FILE)


def test_an_etag_that_leads_out_of_the_cache_reads_and_removes_nothing(hub: HubServer, tmp_path, monkeypatch):
    commit, mine = hub.commit("user/repo", {"m.txt": CONTENT}), tmp_path / "mine.h5"
    mine.write_bytes(b"of the user")
    tag = f'"../../../{mine.name}"'
    monkeypatch.setattr("hub_server.git_id", lambda content: tag.strip('"'))
    for sha256 in (None, OTHER):
        with pytest.raises(SourceError) as error:
            fetch("hf://user/repo/m.txt", sha256)
        assert str(error.value) == (
            f"'hf://user/repo/m.txt@{commit}' leads out of the cache of the Hub.\n  Received: {mine.resolve()}"
        )
    assert mine.read_bytes() == b"of the user"


def test_a_hub_that_is_ill_does_not_make_a_file_missing(hub: HubServer, commit: str, monkeypatch):
    answer = hub.answer
    ill = lambda request: request.reply(500) if "/resolve/" in request.place else answer(request)  # noqa: E731
    monkeypatch.setattr(hub, "answer", ill)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(SourceError, match=f"^'{FILE}' is not in the cache, and the Hub cannot be asked for it."):
        fetch(FILE)


def test_an_answer_of_something_else_than_the_hub_is_an_error(hub: HubServer):
    hub.answer = lambda request: request.reply(200, b"<html>log in to this network</html>")  # type: ignore[method-assign]
    with pytest.raises(SourceError, match=f"'{FILE}' cannot be had from the Hub.\n  Received: "):
        fetch(FILE)


# -- packages ----------------------------------------------------------------------------------------------------------
def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(StitchError) as error:
        needed("pooch")
    assert str(error.value) == (
        "Addresses need the package pooch.\n  Expected: pooch>=1.8\n"
        "  Received: import of pooch halted; None in sys.modules\n  Fix: pip install --upgrade 'keras_stitch[hub]'"
    )


def test_an_old_package_is_named(monkeypatch):
    monkeypatch.setitem(LEAST, "huggingface_hub", ("1.33", "what_it_did_not_have"))
    with pytest.raises(
        StitchError, match=r"Addresses need the package huggingface_hub.\n  Expected: huggingface_hub>=1.33"
    ):
        needed("huggingface_hub.errors")


def test_the_least_versions_are_those_of_the_extra():
    said = (Path(__file__).parents[2] / "setup.cfg").read_text()
    for package, (version, _) in LEAST.items():
        assert f"    {package}>={version}\n" in said
