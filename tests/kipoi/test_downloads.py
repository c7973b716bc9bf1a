"""What a Kipoi model names by URL: downloaded once, and said with its place where it is gone."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest
import yaml
import zoo_models
from web_server import WebServer, running

import keras_stitch as ks
from keras_stitch.errors import DownloadError, SourceError
from keras_stitch.kipoi import downloads
from keras_stitch.kipoi.descriptions import RemoteFile
from keras_stitch.kipoi.downloads import fetch_all
from keras_stitch.kipoi.model_directory import copied, model_directory, read_directory

CONTENT = b"numbers"
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setattr(downloads, "_PAUSE", 0)
    with running(WebServer()) as server:
        yield server


@pytest.fixture
def closed() -> Iterator[str]:
    """The URL of a port that nobody listens at."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def fetched(folder: Path, url: str, md5: str = MD5) -> Path:
    return fetch_all("zoo:m", folder, {"weights": RemoteFile(url=url, md5=md5), "factor": 2.0})["weights"]


def problem(folder: Path, url: str, md5: str = MD5) -> str:
    with pytest.raises(DownloadError) as error:
        fetched(folder, url, md5)
    return str(error.value)


def gone(place: Path, url: str, received: str) -> str:
    return (
        f"The file of weights of 'zoo:m' cannot be downloaded.\n  Expected: {url} with md5 {MD5}\n"
        f"  Received: {received}\n  Fix: Put the file at '{place}': from there it is taken the next time."
    )


def test_a_file_is_downloaded_once(web: WebServer, tmp_path: Path):
    url = web.serve("w.h5", CONTENT)
    assert fetched(tmp_path, url) == fetched(tmp_path, url) == tmp_path / "weights" / MD5
    assert fetched(tmp_path, url, MD5.upper()).read_bytes() == CONTENT
    assert fetched(tmp_path, url, "") == fetched(tmp_path, url, "") == tmp_path / "weights" / "file"
    assert len(web.asked) == 3
    assert sorted(path.name for path in (tmp_path / "weights").iterdir()) == sorted([MD5, MD5.upper(), "file"])


def test_what_is_gone_is_asked_for_once(web: WebServer, tmp_path: Path):
    place = tmp_path / "weights" / MD5
    url = f"{web.url}/gone.h5"
    assert problem(tmp_path, url) == gone(place, url, "the server answers 404 Not Found")
    assert len(web.asked) == 1
    assert f"{url}, of which no md5 is stated\n" in problem(tmp_path, url, "")
    place.write_bytes(b"others")
    others = hashlib.md5(b"others").hexdigest()
    said = f"the server answers 404 Not Found; what lies at the place below has md5 {others}"
    assert problem(tmp_path, url) == gone(place, url, said)
    assert place.read_bytes() == b"others"
    place.write_bytes(CONTENT)
    assert fetched(tmp_path, url) == place
    assert len(web.asked) == 3


def test_a_server_that_does_not_answer(closed: str, tmp_path: Path):
    url = f"{closed}/w.h5"
    said = "ConnectionRefusedError: [Errno 111] Connection refused"
    assert problem(tmp_path, url) == gone(tmp_path / "weights" / MD5, url, said)


def test_a_host_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked = []

    def unanswered(url: str, file: Path) -> None:
        asked.append(url)
        raise TimeoutError

    monkeypatch.setattr(downloads, "download", unanswered)
    args = {name: RemoteFile(url=f"https://{host}/{name}", md5=MD5) for name, host in zip("abc", "xxy", strict=True)}
    with pytest.raises(DownloadError) as error:
        fetch_all("m", tmp_path, args)
    assert asked == ["https://x/a", "https://y/c"]
    assert str(error.value).count("Received: no answer in 20 seconds\n") == 3


@pytest.mark.parametrize(
    ("url", "text"),
    [("odd", "unknown url type: 'odd'"), ("http://[x", "Invalid IPv6 URL"), ("http://h:p/x", "nonnumeric port: 'p'")],
)
def test_urls_that_are_none(tmp_path: Path, url: str, text: str):
    assert text in problem(tmp_path, url)


def test_connections_that_end_too_early(web: WebServer, tmp_path: Path):
    url = web.serve("w.h5", CONTENT)
    web.cuts += [3, 0]
    assert fetched(tmp_path / "a", url).read_bytes() == CONTENT
    web.cuts += [3, 3, 3]
    place = tmp_path / "b" / "weights" / MD5
    assert problem(tmp_path / "b", url) == gone(
        place, url, "ConnectionError: 3 of 7 bytes came, and the connection ended"
    )
    assert len(web.asked) == 6 and not list(place.parent.iterdir())


def test_a_busy_server_is_asked_again(web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    url = web.serve("w.h5", CONTENT)
    answer, states = web.answer, [503, 429]
    monkeypatch.setattr(web, "answer", lambda request: request.reply(states.pop()) if states else answer(request))
    assert fetched(tmp_path, url).read_bytes() == CONTENT
    states += [503] * 3
    assert "the server answers 503 Service Unavailable" in problem(tmp_path / "again", url)
    assert len(web.asked) == 6


def test_another_file_than_the_one_described(web: WebServer, tmp_path: Path):
    url = web.serve("w.h5", b"a page in place of the file")
    came = hashlib.md5(b"a page in place of the file").hexdigest()
    place = tmp_path / "weights" / MD5
    assert problem(tmp_path, url) == (
        "The file of weights of 'zoo:m' is not what it was: another file was downloaded.\n"
        f"  Expected: md5 {MD5}, as its model.yaml says\n  Received: md5 {came} from {url}\n"
        f"  Fix: Put the right file at '{place}', or correct the md5 if the new file is meant."
    )
    assert not list(place.parent.iterdir())


def test_places_lie_in_the_folder(tmp_path: Path):
    for md5 in ("../../x", "0" * 31, "g" * 32):
        with pytest.raises(SourceError) as error:
            fetched(tmp_path, "file:///x", md5)
        assert (
            str(error.value)
            == ("The file of weights of 'zoo:m' has no valid md5.\n  Expected: 32 hexadecimal digits\n  Received: ")
            + md5
        )
    with pytest.raises(SourceError, match="has no name that Kipoi could pass on"):
        fetch_all("m", tmp_path / "d", {"../../x": RemoteFile(url="file:///x", md5=MD5)})
    (tmp_path / "d" / "weights" / MD5).mkdir(parents=True)
    (tmp_path / "w.h5").write_bytes(CONTENT)
    said = f"'{tmp_path / 'd' / 'weights' / MD5}' is a directory."
    assert said in problem(tmp_path / "d", (tmp_path / "w.h5").as_uri())
    (tmp_path / "file").touch()
    assert "Received: NotADirectoryError: " in problem(tmp_path / "file", (tmp_path / "w.h5").as_uri())


# -- models ------------------------------------------------------------------------------------------------------------
def remote(url: str, content: bytes) -> dict[str, Any]:
    return {"url": url, "md5": hashlib.md5(content).hexdigest()}


def write_gone(tmp_path: Path, name: str, url: str) -> tuple[Path, dict[Path, bytes]]:
    """A Kipoi directory whose weights and architecture are gone, and what belongs to which place."""
    model = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(2, name="dense")], name=name)
    model.save_weights(tmp_path / "w.weights.h5")
    contents = {"weights": (tmp_path / "w.weights.h5").read_bytes(), "arch": model.to_json().encode()}
    args = {key: remote(f"{url}/{name}/{key}", content) for key, content in contents.items()}
    schemas = (zoo_models.array((3,), "x"), zoo_models.array((2,), "y"))
    folder = zoo_models.described(tmp_path / name, "kipoi.model.KerasModel", args, *schemas, [])
    places = {
        folder / "downloaded" / "model_files" / key / args[key]["md5"]: content for key, content in contents.items()
    }
    return folder, places


@pytest.mark.slow
def test_a_graph_says_all_that_is_gone_at_once(web: WebServer, closed: str, tmp_path: Path):
    first, places = write_gone(tmp_path, "first", web.url)
    _, more = write_gone(tmp_path, "second", closed)
    with pytest.raises(DownloadError) as error:
        ks.Graph("g").add("a", first)
    assert str(error.value).startswith("2 files cannot be had:\n1. The file of weights of '") and len(web.asked) == 2
    spec = {"models": {"a": "first", "b": "second", "c": {"share": "a"}, "d": "second", "e": "none.h5"}}
    (tmp_path / "stitch.yaml").write_text(yaml.safe_dump(spec))
    with pytest.raises(DownloadError) as error:
        ks.Graph.from_yaml(tmp_path / "stitch.yaml")
    text = str(error.value)
    assert text.startswith("4 files cannot be had:\n1. The file of weights of '") and len(web.asked) == 4
    lines = [line.strip() for line in text.splitlines()]
    for place, content in (places | more).items():
        assert f"Fix: Put the file at '{place}': from there it is taken the next time." in lines
        url = f"{web.url if place in places else closed}/{'first' if place in places else 'second'}"
        md5 = hashlib.md5(content).hexdigest()
        assert f"Expected: {url}/{place.parent.name} with md5 {md5}" in lines
        place.write_bytes(content)
    del spec["models"]["e"]
    (tmp_path / "stitch.yaml").write_text(yaml.safe_dump(spec))
    graph = ks.Graph.from_yaml(tmp_path / "stitch.yaml")
    assert graph.spec.submodel("d").outputs[0].shape == (2,) and len(web.asked) == 4
    assert isinstance(copied(read_directory(first)).files, dict)


def test_files_of_a_copied_model_are_said_at_once(web: WebServer, tmp_path: Path):
    pages = {key: remote(f"{web.url}/{key}", CONTENT) for key in ("pb", "index", "data")}
    args = {"savedmodel_path": pages, "weights": remote(f"{web.url}/w", CONTENT)}
    schemas = (zoo_models.array(), zoo_models.array((1,)))
    folder = zoo_models.described(tmp_path / "m", "kipoi.model.TensorFlow2Model", args, *schemas, [])
    with pytest.raises(DownloadError) as error:
        ks.Graph("g").add("a", folder)
    assert [str(one).split("'")[1] for one in error.value.problems] == [
        "savedmodel_data", "savedmodel_index", "savedmodel_pb", str(folder)
    ]  # fmt: skip
    for key in pages:
        (folder / "downloaded" / "model_files" / f"savedmodel_{key}" / MD5).write_bytes(CONTENT)
    web.serve("w", CONTENT)
    assert sorted(model_directory(folder).copied().files) == [
        "model_files/savedmodel_path/saved_model.pb",
        "model_files/savedmodel_path/variables/variables.data-00000-of-00001",
        "model_files/savedmodel_path/variables/variables.index",
        "model_files/weights",
    ]
    assert len(web.asked) == 5
