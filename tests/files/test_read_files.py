from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from keras_stitch.errors import SourceError
from keras_stitch.files import read_files


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 4 << 40)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (pipe, "It is a pipe, not a file"),
        (device, "It is a device, not a file"),
        (listening, "It is a socket, not a file"),
        (Path.mkdir, "Is a directory"),
        (loop, "Too many levels of symbolic links"),
        (sparse, "It has 4,398,046,511,104 bytes, and 1,099,511,627,776 at most are read"),
    ],
)
def test_what_is_no_plain_file_is_not_opened(tmp_path, monkeypatch, make, said):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    path = Path("x")
    make(path)
    with pytest.raises(OSError, match=r".") as error:
        read_files.plain(path)
    assert (error.value.strerror, error.value.filename) == (said, "x")


def test_a_file_and_a_link_to_one_are_plain(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        assert read_files.plain(tmp_path / name) == tmp_path / name
    with pytest.raises(FileNotFoundError):
        read_files.plain(tmp_path / "nothing")


def test_a_directory_holds_nothing_that_is_not_to_be_opened(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "nowhere").symlink_to("nothing")
    (tmp_path / ".git").mkdir()
    pipe(tmp_path / ".git" / "fsmonitor")
    read_files.check_directory(tmp_path)
    (tmp_path / "inner" / "model.yaml").touch()
    os.truncate(tmp_path / "inner" / "model.yaml", 1 << 40)
    with pytest.raises(SourceError) as error:
        read_files.check_directory(tmp_path)
    assert str(error.value) == (
        f"'{tmp_path}/inner/model.yaml' cannot be read: It has 1,099,511,627,776 bytes, and 268,435,456 at most are "
        "read.\n  Fix: Move it away."
    )


def test_a_text_is_not_read_into_memory_whatever_its_size(tmp_path):
    (tmp_path / "text").touch()
    os.truncate(tmp_path / "text", read_files.LARGEST_TEXT + 1)
    with pytest.raises(OSError, match="268,435,457 bytes, and 268,435,456 at most are read"):
        read_files.read_text(tmp_path / "text")
