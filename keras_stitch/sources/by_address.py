"""Sources by address: they become a path of this machine, which goes the way of any other; and the hashes of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from keras_stitch.addresses.fetch_model import Fetched, fetch_model
from keras_stitch.addresses.parse_address import Address, WebAddress, is_address, parse
from keras_stitch.checks import path_of
from keras_stitch.errors import SourceError, StitchError
from keras_stitch.files.checkpoint_files import files_of
from keras_stitch.files.checksums import Checksum, check_file
from keras_stitch.files.read_files import is_directory, is_file
from keras_stitch.models.file_formats import located
from keras_stitch.sources.added import Added, Request


def load(request: Request, load_path: Callable[[Request], Added]) -> Added:
    """A submodel that may be at an address, as may its architecture; its source records both with their commits.

    Args:
        request: What was asked for.
        load_path: Loads it once the addresses are paths.

    Raises:
        SourceError: If something cannot be had, is another file than was asked for, or is no submodel.
        StitchError: If nothing would say whether the architecture is the right one.
    """
    arch = _architecture(request) if is_address(request.arch) else None
    if arch is not None:
        request = replace(request, arch=arch.path)
    added = _at_address(request, load_path) if is_address(request.source) else load_path(request)
    if arch is None:
        return added
    source = replace(added.submodel.source, arch_address=arch.address.pinned)
    return replace(added, submodel=replace(added.submodel, source=source))


def _architecture(request: Request) -> Fetched:
    """The architecture JSON at an address that needs no hash: there is no option for that of a second file."""
    address = parse(request.arch)
    fetched = None if isinstance(address, WebAddress) and not address.is_doi else fetch_model(address)
    if fetched is None or not fetched.path.is_file() or fetched.kept is not None:
        raise StitchError(
            f"arch= of submodel '{request.name}' names no architecture that can be taken from there.",
            expected="a path, hf://user/repo/model.json or doi:10.5281/zenodo.1234/model.json",
            received=repr(request.arch)[:200],
            fix="Download it, and name the file.",
        )
    return fetched


def _at_address(request: Request, load_path: Callable[[Request], Added]) -> Added:
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
        path = located(path_of(request.source, f"The source of submodel '{request.name}'"))
        if is_file(path):
            check_file(path, expected)
        is_several = is_directory(path) or bool(files_of(path))
        if request.md5 is None or not is_several:
            return
        what = "this is a directory" if is_directory(path) else "this is a checkpoint of several files"
        option = f"md5= of submodel '{request.name}'"
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
