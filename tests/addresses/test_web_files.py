import hashlib
import threading
from pathlib import Path

import pytest
from web_server import WebServer, serve_zenodo

from keras_stitch.addresses import web_files
from keras_stitch.addresses.parse_address import parse
from keras_stitch.errors import SaveError, SourceError
from keras_stitch.files.checksums import checksums

CHUNK = 65_536
CONTENT = b"a model " * CHUNK
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()
DOI = "doi:10.5281/zenodo.17/m.h5"


def fetch(url: str, sha256: str | None = None, md5: str | None = None) -> bytes:
    return web_files.fetch(parse(url), checksums(sha256, md5, "submodel 'm'")).read_bytes()


def cached(ending: str = "") -> list[Path]:
    """The files in the cache, without locks."""
    files = [path for path in web_files.cache_folder().rglob("*") if path.is_file() and path.suffix != ".lock"]
    return [path for path in files if path.name.endswith(ending)]


@pytest.mark.parametrize("hashes", [{"sha256": SHA256}, {"md5": MD5}, {"sha256": SHA256, "md5": MD5}])
def test_a_file_is_downloaded_once(web: WebServer, hashes, capfd):
    url = web.serve("m.h5", CONTENT)
    assert fetch(url, **hashes) == CONTENT
    assert fetch(url, **hashes) == CONTENT
    assert len(web.asked) == 1
    assert [path.name for path in cached()] == ["m.h5"]
    assert capfd.readouterr() == ("", "")


def test_a_file_in_the_cache_needs_no_network(web: WebServer):
    url = web.serve("m.h5", CONTENT)
    fetch(url, SHA256)
    web.files.clear()
    assert fetch(url, SHA256) == CONTENT


def test_a_wrong_hash_is_an_error_and_the_file_is_gone(web: WebServer):
    url = web.serve("m.h5", CONTENT)
    with pytest.raises(SourceError) as error:
        fetch(url, OTHER)
    assert str(error.value) == (
        f"'{url}' is not the file that it should be: its sha256 differs.\n"
        f"  Expected: sha256 {OTHER}\n  Received: sha256 {SHA256}\n"
        "  Fix: What came was removed. If the file was meant to change, look at the new one, and give its hash."
    )
    assert cached() == []


def test_a_damaged_file_in_the_cache_is_downloaded_again(web: WebServer):
    url = web.serve("m.h5", CONTENT)
    fetch(url, SHA256)
    cached()[0].write_bytes(b"damaged")
    assert fetch(url, SHA256) == CONTENT


def test_without_a_hash_the_error_says_the_one_of_what_came(web: WebServer):
    url = web.serve("m.h5", CONTENT)
    with pytest.raises(SourceError) as error:
        fetch(url)
    assert str(error.value) == (
        f"'{url}' was downloaded, and nothing says whether it is the file that you mean.\n"
        "  Expected: sha256= or md5=, as its author states it\n"
        f"  Received: sha256 {SHA256}\n"
        f'  Fix: Compare this with what the author states, and add sha256="{SHA256}". It is not downloaded again.'
    )
    web.files.clear()
    assert fetch(url, SHA256) == CONTENT
    assert cached(".part") == []


def test_a_cut_connection_leaves_what_came_for_the_next_call(web: WebServer):
    url = web.serve("m.h5", CONTENT)
    web.cuts += [CHUNK, *[0] * 4]
    with pytest.raises(SourceError) as error:
        fetch(url, SHA256)
    assert str(error.value).startswith(f"'{url}' cannot be downloaded.\n  Received: ")
    assert str(error.value).endswith("What has come is kept: call again to go on.")
    assert cached(".part")[0].stat().st_size == CHUNK
    web.cuts.clear()
    web.asked.clear()
    assert fetch(url, SHA256) == CONTENT
    assert web.ranges() == [f"bytes={CHUNK}-"]
    assert [path.name for path in cached()] == ["m.h5"]


def test_what_a_killed_process_left_goes_with_the_next_call(web: WebServer):
    url = web.serve("tmp", CONTENT)
    web.cuts += [CHUNK, *[0] * 4]
    with pytest.raises(SourceError):
        fetch(url, SHA256)
    web.cuts.clear()
    (cached(".part")[0].parent / "tmpab12cd34").write_bytes(b"of pooch")
    assert fetch(url, SHA256) == CONTENT
    assert web.ranges()[-1] == f"bytes={CHUNK}-"
    assert [path.name for path in cached()] == ["tmp"]


def test_what_a_server_refuses_is_said(web: WebServer):
    with pytest.raises(SourceError) as error:
        fetch(f"{web.url}/gone.h5", SHA256)
    assert str(error.value) == (
        f"'{web.url}/gone.h5' cannot be downloaded.\n  Received: the server answers 404 Not Found\n"
        "  Fix: Check the address and the connection."
    )


@pytest.mark.parametrize("url", [f"https://{'a' * 70}.org/m.h5", "https://a..b/m.h5", "https://host:99999/m.h5"])
def test_hosts_that_cannot_be_are_an_error(web: WebServer, url):
    with pytest.raises(SourceError, match=r"cannot be downloaded.\n  Received: \w+: .*\n  Fix: Check the address"):
        fetch(url, SHA256)


def test_two_at_once_download_once(web: WebServer):
    url = web.serve("m.h5", CONTENT)
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch(url, SHA256))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 4
    assert len(web.asked) == 1


def test_a_cache_may_be_read_only(web: WebServer, tmp_path, monkeypatch):
    url = web.serve("m.h5", CONTENT)
    fetch(url, SHA256)
    monkeypatch.setattr(web_files, "_alone", None)  # whoever runs the tests may be allowed to write anywhere
    assert fetch(url, SHA256) == CONTENT


def test_a_file_system_without_locks_is_no_hindrance(web: WebServer, monkeypatch):
    def flock(*arguments: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    assert fetch(web.serve("m.h5", CONTENT), SHA256) == CONTENT


def test_hashes_that_contradict_each_other_are_an_error(web: WebServer):
    url = web.serve("m.h5", CONTENT)
    for _ in range(2):
        with pytest.raises(SourceError, match="its md5 differs"):
            fetch(url, SHA256, "0" * 32)


def test_a_cache_that_cannot_be_written_is_named(web: WebServer, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERAS_STITCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(SaveError, match=r"cannot be written: .*\n.*\n  Fix: .*environment variable KERAS_STITCH_CACHE"):
        fetch(web.serve("m.h5", CONTENT), SHA256)


# -- archives ----------------------------------------------------------------------------------------------------------
def test_the_archive_of_a_doi_states_the_hash(web: WebServer, monkeypatch):
    serve_zenodo(web, monkeypatch, "17", {"m.h5": CONTENT, "n.h5": b"n"})
    assert fetch(DOI) == CONTENT
    web.files.clear()
    assert fetch(DOI) == CONTENT  # from the cache
    assert fetch(DOI, SHA256) == CONTENT


def test_a_file_that_is_not_what_its_archive_states_is_refused(web: WebServer, monkeypatch):
    serve_zenodo(web, monkeypatch, "17", {"m.h5": CONTENT})
    web.files["zenodo.org/api/records/17/files/m.h5/content"].content = b"other"
    with pytest.raises(SourceError) as error:
        fetch(DOI)
    assert f"Expected: md5 {MD5}\n  Received: md5 {hashlib.md5(b'other').hexdigest()}" in str(error.value)
    assert cached() == []


def test_the_download_of_a_doi_is_resumed(web: WebServer, monkeypatch):
    serve_zenodo(web, monkeypatch, "17", {"m.h5": CONTENT})
    web.files["zenodo.org/records/17"].content = b""  # so that the first cut is in the file
    web.cuts += [10**6, 10**6, CHUNK + 7]
    assert fetch(DOI, SHA256) == CONTENT
    assert web.ranges()[-1] == f"bytes={CHUNK}-"


def test_a_file_that_an_archive_does_not_have_is_named(web: WebServer, monkeypatch):
    serve_zenodo(web, monkeypatch, "17", {"model.h5": CONTENT})
    with pytest.raises(SourceError) as error:
        fetch("doi:10.5281/zenodo.17/modle.h5")
    assert str(error.value) == (
        "There is no file 'modle.h5' in the archive of doi:10.5281/zenodo.17.\n  Expected: 'model.h5', the nearest name"
    )


def test_an_archive_that_does_not_answer_is_named(web: WebServer, monkeypatch):
    serve_zenodo(web, monkeypatch, "17", {})
    web.files.clear()
    with pytest.raises(SourceError) as error:
        fetch(DOI)
    assert str(error.value).startswith(
        f"The archive of '{DOI}' cannot be asked for the file.\n"
        "  Expected: the DOI of a record on Zenodo, figshare or a Dataverse\n  Received: "
    )
