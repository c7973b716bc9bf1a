"""Sources by address: they become a path of this machine, which goes the way of any other; and the hashes of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from keras_stitch.addresses.fetch_model import fetch_model
from keras_stitch.addresses.parse_address import Address, parse
from keras_stitch.checks import path_of
from keras_stitch.errors import SourceError, StitchError
from keras_stitch.files.checksums import Checksum, check_file
from keras_stitch.sources.added import Added, Request


def load(request: Request, load_path: Callable[[Request], Added]) -> Added:
    """A submodel at an address, whose source records the address and, of the Hub, the commit.

    Args:
        request: What was asked for; its source is an address, as text or read.
        load_path: Loads it once its source is a path.

    Raises:
        SourceError: If it cannot be had, is another file than was asked for, or is no submodel.
    """
    address = parse(request.source) if isinstance(request.source, str) else request.source
    assert isinstance(address, Address)
    fetched = fetch_model(address, request.checksums())
    checked = fetched.path.is_file()
    local = replace(request, source=fetched.path, md5=None, sha256=None if checked else request.sha256)
    try:
        added = load_path(local)
    except SourceError as problem:
        raise problem.behind(f"At '{address}': ", kind=SourceError) from problem.__cause__
    source = replace(added.submodel.source, label=address.label, address=str(fetched.address), commit=fetched.commit)
    return replace(added, submodel=replace(added.submodel, source=source), kept=(added.kept, fetched.kept))


def check_before(request: Request, *, is_path: bool) -> None:
    """Raise where a file has another hash than was given, or the hash is for something else.

    Raises:
        SourceError: If it is another file.
        StitchError: If the source is no path, or a directory and the hash an md5.
    """
    expected = request.checksums()
    if not expected:
        return
    option, what = f"{expected[0].algorithm}= of submodel '{request.name}'", "this is something else"
    if is_path:
        path = path_of(request.source, f"The source of submodel '{request.name}'")
        if path.is_file():
            check_file(path, expected)
            return
        if request.md5 is None:
            return
        option, what = f"md5= of submodel '{request.name}'", "this is a directory"
    raise StitchError(f"{option} is for files, and {what}.", received=repr(request.source)[:200], fix="Leave it out.")


def check_after(request: Request, added: Added) -> None:
    """Raise where the weights in a directory have another sha256 than was given."""
    recorded = added.submodel.source.sha256
    for one in request.checksums():
        # An ONNX file with weights beside it has one of its own, and one together with them.
        if one.algorithm == "sha256" and one.digest not in (recorded, *added.files.values()):
            raise one.differs(
                request.source, Checksum("sha256", str(recorded)), "Bring the right directory, or leave sha256= out."
            )
