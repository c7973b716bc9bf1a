import hashlib

import pytest

from keras_stitch.errors import SourceError, StitchError
from keras_stitch.files.checksums import Checksum, check_file, checksums

MD5, SHA256 = hashlib.md5(b"abc").hexdigest(), hashlib.sha256(b"abc").hexdigest()


def test_hashes_are_taken_as_authors_write_them():
    expected = (Checksum("sha256", SHA256), Checksum("md5", MD5))
    assert checksums(SHA256, MD5, "x") == expected
    assert checksums(f"sha256:{SHA256.upper()}", f"md5:{MD5}", "x") == expected
    assert checksums(None, None, "x") == ()


@pytest.mark.parametrize("given", ["", "abc", SHA256 + "0", f"md5:{SHA256}", MD5, 7, SHA256[:-1] + "g"])
def test_what_is_no_hash_is_refused(given):
    with pytest.raises(StitchError) as error:
        checksums(given, None, "submodel 'm'")
    assert str(error.value) == (
        "sha256= of submodel 'm' is none.\n  Expected: 64 hexadecimal digits, perhaps after 'sha256:'\n"
        f"  Received: {given!r}"
    )


def test_both_hashes_of_another_file_are_named(tmp_path):
    path = tmp_path / "m.h5"
    path.write_bytes(b"abc")
    check_file(path, checksums(SHA256, MD5, "x"))
    path.write_bytes(b"abd")
    with pytest.raises(SourceError) as error:
        check_file(path, checksums(None, MD5, "x"))
    assert str(error.value) == (
        f"'{path}' is not the file that it should be: its md5 differs.\n  Expected: md5 {MD5}\n"
        f"  Received: md5 {hashlib.md5(b'abd').hexdigest()}\n  Fix: Bring the right file, or leave md5= out."
    )
    assert path.exists()  # it is the user's
