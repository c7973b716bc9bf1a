"""Archives whose members lead out of them, hide each other, or unpack to far more than is stored are refused."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import keras
import numpy as np
import odd_files
import pytest
from odd_files import member, members, npy, restate, write_archive

import keras_stitch as ks
from keras_stitch.errors import SourceError, StitchError
from keras_stitch.files.zip_files import open_member, open_zip, read_member
from keras_stitch.models.sample_rows import read_data

GOOD = {"config.json": b"{}", "model.weights.h5": bytes(1000), "assets/words.txt": b"a\nb"}

ODD = {
    "a symbolic link": ((member("w", stat.S_IFLNK | 0o777), b"/etc/passwd"), "the member 'w', which is no plain file"),
    "a pipe": ((member("w", stat.S_IFIFO | 0o644), b""), "is no plain file"),
    "a directory with content": ((member("assets/"), b"x"), "is no plain file"),
    "an absolute path": ((member("/etc/x"), b""), "the member '/etc/x', which leads out of the archive"),
    "a path upwards": ((member("assets/../../x"), b""), "leads out of the archive"),
    "backslashes": ((member("assets\\..\\x"), b""), "leads out of the archive"),
    "a drive": ((member("C:x"), b""), "leads out of the archive"),
    "two of one name": ((member("config.json"), b"{1}"), "has 2 members of one name, 'config.json'"),
}


def refusal(path: Path) -> str:
    with pytest.raises(SourceError) as caught, open_zip(path):
        pass
    assert str(caught.value).startswith(f"The archive '{path}' has ")
    return str(caught.value)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ODD)
def test_odd_members(tmp_path: Path, kind: str) -> None:
    odd, expected = ODD[kind]
    assert expected in refusal(write_archive(tmp_path / "a.zip", GOOD, odd))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_no_model_of_odd_members_is_added(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(2)])
    model.save(tmp_path / "m.keras")
    for number, (odd, expected) in enumerate(ODD.values()):
        path = write_archive(tmp_path / f"{number}.keras", members(tmp_path / "m.keras"), odd)
        with pytest.raises(StitchError) as caught:
            ks.Graph().add("m", path)
        assert str(path) in str(caught.value) and expected in str(caught.value)


def test_bombs(tmp_path: Path) -> None:
    parts = [(member(f"assets/{number}", compressed=True), bytes(1000)) for number in range(3)]
    path = write_archive(tmp_path / "many.zip", GOOD, *parts)
    for number in range(3):
        path = restate(path, tmp_path / f"many{number}.zip", f"assets/{number}", "size", 90 << 20)
    assert "bytes and unpacks to 283,116,5" in refusal(path)
    one = restate(path, tmp_path / "one.zip", "assets/1", "size", (1 << 28) + 1)
    assert "has the member 'assets/1', which stores 11 bytes and unpacks to 268,435,457" in refusal(one)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("size", 4_000_000_000, "states two sizes, 1,000 and 4,000,000,000 bytes"),
        ("size", 10, "states two sizes"),
        ("stored", 1010, "overlaps with what follows"),
        ("start", 0, "overlaps with what follows"),
    ],
)
def test_directories_that_lie(tmp_path: Path, field: str, value: int, expected: str) -> None:
    good = write_archive(tmp_path / "good.zip", GOOD)
    lying = restate(good, tmp_path / "lying.zip", "model.weights.h5", field, value)
    if field == "stored":  # as large as it says it is
        lying = restate(lying, tmp_path / "lying2.zip", "model.weights.h5", "size", value)
    assert expected in refusal(lying)


@pytest.mark.parametrize("compressed", [False, True])
def test_members_are_read_from_anywhere(tmp_path: Path, compressed: bool) -> None:
    data = bytes(range(256)) * 8
    path = write_archive(tmp_path / "a.zip", GOOD, (member("data", compressed=compressed), data))
    with open_zip(path) as archive, open_member(archive, "data") as opened:
        opened.seek(-3, io.SEEK_END)
        assert opened.read() == data[-3:] and opened.read(1) == b""
        opened.seek(256)
        assert opened.read(4) == data[:4] and opened.tell() == 260


def test_a_member_may_have_so_many_bytes(tmp_path: Path) -> None:
    with open_zip(write_archive(tmp_path / "a.zip", GOOD)) as archive:
        assert read_member(archive, "config.json", 2) == b"{}"
        with pytest.raises(SourceError, match=r"'config.json' in '.*a.zip' is too large."):
            read_member(archive, "config.json", 1)


NPZ = {
    "terabytes that are not there": (npy((1 << 40,)), "'a.npy' declares 4,398,046,511,104 bytes and has 0"),
    "too short": (npy((20,), bytes(40)), "'a.npy' declares 80 bytes and has 40"),
    "no array": (b"xx", "EOF: reading magic string"),
}


@pytest.mark.parametrize("kind", NPZ)
def test_arrays_that_are_shorter_than_they_say(tmp_path: Path, kind: str) -> None:
    content, expected = NPZ[kind]
    write_archive(tmp_path / "a.npz", {"a.npy": content})
    with pytest.raises(StitchError) as caught:
        read_data(tmp_path / "a.npz")
    assert "a.npz' is no NPZ file.\n" in str(caught.value) and expected in str(caught.value)


def test_one_array_that_declares_terabytes(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(odd_files.npy((1 << 44,)))
    with pytest.raises(StitchError, match="Received: one array without a name"):
        read_data(tmp_path / "a.npz")


def test_healthy_arrays(tmp_path: Path) -> None:
    arrays = {"a": np.zeros((0, 3)), "t": np.array(["a", "b"]), "s": np.array(3.0), "f": np.asfortranarray(np.eye(3))}
    np.savez(tmp_path / "a.npz", **arrays)
    np.savez_compressed(tmp_path / "z.npz", zeros=np.zeros((100, 1000, 4)))
    found = read_data(tmp_path / "a.npz")
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert not read_data(tmp_path / "z.npz")["zeros"].any()
