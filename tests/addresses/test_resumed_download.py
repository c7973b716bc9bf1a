"""Downloads that are cut off, here or in an earlier process, of servers that are good, forgetful or wrong."""

import random
from pathlib import Path

import pytest
import requests
from web_server import WebServer

from keras_stitch.addresses.resumed_download import ResumedDownload

CHUNK = 65_536  # of a chunk that is cut off, nothing is kept
CONTENT = random.Random(0).randbytes(10 * CHUNK + 123)
SIZE = len(CONTENT)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "m.h5.part"


def download(part: Path, url: str) -> bytes:
    place = part.with_suffix("")
    ResumedDownload(part, "m.h5")(url, str(place))
    assert sorted(path.name for path in part.parent.iterdir() if path.is_file()) == ["m.h5"]
    return place.read_bytes()


def left(part: Path, content: bytes, tag: str | None) -> None:
    """What an earlier process has left."""
    part.write_bytes(content)
    if tag is not None:
        part.with_name(f"{part.name}.etag").write_text(tag)


def test_a_cut_connection_is_taken_up_where_it_ended(web: WebServer, part: Path):
    url = web.serve("m.h5", CONTENT)
    web.cuts += [CHUNK + 10, 2 * CHUNK, 0, 0, 3 * CHUNK - 1]
    assert download(part, url) == CONTENT
    assert web.ranges() == [None, f"bytes={CHUNK}-", *[f"bytes={3 * CHUNK}-"] * 3, f"bytes={5 * CHUNK}-"]


def test_a_later_call_goes_on(web: WebServer, part: Path):
    url = web.serve("m.h5", CONTENT)
    web.cuts += [4 * CHUNK, 0, 0, 0, 0]
    with pytest.raises(requests.RequestException):
        download(part, url)
    assert part.read_bytes() == CONTENT[: 4 * CHUNK]
    web.cuts.clear()
    web.asked.clear()
    assert download(part, url) == CONTENT
    assert web.ranges() == [f"bytes={4 * CHUNK}-"]


def test_a_complete_part_is_not_downloaded_again(web: WebServer, part: Path):
    url = web.serve("m.h5", CONTENT)
    left(part, CONTENT, web.files["m.h5"].tag)
    assert download(part, url) == CONTENT
    assert web.ranges() == [f"bytes={SIZE}-"]


@pytest.mark.parametrize(
    "before, tag, options",
    [
        pytest.param(b"old" * 50, '"other"', {}, id="another file"),
        pytest.param(b"old" * 50, '"other"', {"heeds_if_range": False}, id="another file, and If-Range is not heeded"),
        pytest.param(CONTENT[:300], None, {}, id="no ETag was kept"),
        pytest.param(CONTENT[:300], "same", {"ranges": False}, id="no ranges"),
        pytest.param(CONTENT + b"more", '"other"', {"heeds_if_range": False}, id="a longer file"),
    ],
)
def test_what_does_not_fit_is_downloaded_from_the_start(web: WebServer, part: Path, before, tag, options):
    url = web.serve("m.h5", CONTENT, **options)
    left(part, before, web.files["m.h5"].tag if tag == "same" else tag)
    assert download(part, url) == CONTENT


@pytest.mark.parametrize("tag", [None, 'W/"weak"', "without quotes"])
def test_a_server_without_a_strong_etag_is_asked_for_all_again(web: WebServer, part: Path, tag):
    url = web.serve("m.h5", CONTENT, tag=tag)
    web.cuts += [2 * CHUNK]
    assert download(part, url) == CONTENT
    assert web.ranges() == [None, None]


def test_a_server_that_refuses_is_not_asked_again(web: WebServer, part: Path):
    with pytest.raises(requests.HTTPError, match="404"):
        download(part, f"{web.url}/nothing")
    assert len(web.asked) == 1
    assert not part.exists()


def test_a_server_that_always_cuts_is_given_up(web: WebServer, part: Path):
    url = web.serve("m.h5", CONTENT)
    web.cuts += [0] * 9
    with pytest.raises(requests.RequestException):
        download(part, url)
    assert len(web.asked) == 4
