"""An address to a path of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_stitch.addresses import hub_files, hub_repositories, web_files
from keras_stitch.addresses.parse_address import Address, HubAddress
from keras_stitch.errors import StitchError
from keras_stitch.files.checksums import Checksum, check_file


@dataclass(frozen=True)
class Fetched:
    """What lies at an address.

    Attributes:
        address: The address, one of the Hub with its commit.
        path: Where it is here: a file, or a directory with a model.
        kept: Whatever has to live as long as the path is used.
    """

    address: Address
    path: Path
    kept: object = None

    @property
    def commit(self) -> str | None:
        """The commit of a repository."""
        return self.address.commit if isinstance(self.address, HubAddress) else None


def fetch_model(address: Address, expected: Sequence[Checksum] = ()) -> Fetched:
    """Bring what lies at an address to this machine, unless it is here already.

    Args:
        address: The address; one with a commit is taken at that.
        expected: The hashes that a file has to have. Those of a directory are for whoever reads it.

    Raises:
        SourceError: If it cannot be had, or is another file.
        StitchError: If a package is missing, or a hash does not go with what lies there.
    """
    if not isinstance(address, HubAddress):
        return Fetched(address, web_files.fetch(address, expected))
    pinned = address.commit is not None or not address.moves
    address = hub_files.at_commit(address)
    if address.file is not None and (path := hub_files.download(address, expected)) is not None:
        return Fetched(address, path)
    found = hub_repositories.fetch(address, pinned=pinned)
    if found.path.is_file() and found.kept is None:
        hub_files.check(address, found.path, expected)
    elif found.path.is_file():
        check_file(found.path, expected, what=address.pinned, fix="Check the hash and the revision.")
    elif any(one.algorithm == "md5" for one in expected):
        raise StitchError(
            f"md5= is for a file, and '{address}' is a directory.", fix="Give the sha256= of its weights."
        )
    return Fetched(address, found.path, found.kept)
