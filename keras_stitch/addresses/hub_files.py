"""Files of the Hugging Face Hub, by its own client: at one commit, kept in the client's cache.

A branch is asked for its commit first; all else is asked for by that. So all files are of one time, and what is in the
cache needs no network.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from keras_stitch.addresses.parse_address import HubAddress, is_commit, stays_within
from keras_stitch.addresses.required_packages import needed
from keras_stitch.errors import SourceError, nearest, reason
from keras_stitch.files.checksums import Checksum
from keras_stitch.terminal import others_show

_LOG_IN = "Check the name. For a private or gated repository, log in (hf auth login) or set HF_TOKEN."
_SECONDS = 10.0


def at_commit(address: HubAddress) -> HubAddress:
    """The same address with its commit; says where a branch has moved since a commit was recorded.

    Raises:
        SourceError: If the Hub does not know it, or is not there and the cache does not, either.
    """
    if address.commit is not None:
        if address.moves:
            _warn_if_moved(address)
        return address
    with client_errors(address):
        commit = needed("huggingface_hub").HfApi().resolve_revision(address.repo, revision=address.revision).resolved
    if not is_commit(commit):  # it becomes part of a path
        raise SourceError(f"The Hub names no commit for '{address}'.", received=repr(commit)[:200])
    return replace(address, commit=commit)


def download(address: HubAddress, expected: Sequence[Checksum]) -> Path | None:
    """The file at an address with a commit, or ``None`` where there is none of that name: it may be a folder.

    Raises:
        SourceError: If it cannot be had, or has another hash than expected or than the Hub states, which removes it.
    """
    hub, errors = needed("huggingface_hub"), needed("huggingface_hub.errors")
    with client_errors(address), others_show():
        try:
            path = Path(hub.hf_hub_download(address.repo, address.file, revision=address.commit))
        except errors.RemoteEntryNotFoundError:
            return None
        except errors.LocalEntryNotFoundError:  # without a network, a folder is known from its list of files
            if not _is_known_folder(address):
                raise
            return None
    check(address, path, expected)
    return path


def _is_known_folder(address: HubAddress) -> bool:
    hub, errors = needed("huggingface_hub"), needed("huggingface_hub.errors")
    try:
        files = hub.get_cached_repo_tree(address.repo, revision=address.commit)
    except errors.CachedRepoTreeNotFoundError:
        return False
    return any(file.path.startswith(f"{address.file}/") for file in files)


def check(address: HubAddress, path: Path, expected: Sequence[Checksum] = ()) -> None:
    """Raise where a file in the cache is not what it should be, and remove it there.

    The client names large files by the sha256 that the Hub states, and does not compute it.

    Raises:
        SourceError: If its hash is another one, or it is not in the cache: the client puts a file where an ETag leads.
    """
    cache = Path(needed("huggingface_hub.constants").HF_HUB_CACHE).expanduser().resolve()
    if not path.resolve().is_relative_to(cache):
        raise SourceError(f"'{address.pinned}' leads out of the cache of the Hub.", received=str(path.resolve()))
    # One step: what it leads to may be a link itself, to a store of all repositories with names of another kind.
    blob = path.parent / path.readlink() if path.is_symlink() else path
    stated = [Checksum("sha256", blob.name)] if re.fullmatch("[0-9a-f]{64}", blob.name) else []
    for one in [*stated, *expected]:
        if (received := one.of(path)) == one:
            continue
        for file in (path.resolve(), blob, path):
            file.unlink(missing_ok=True)
        again = "Check the hash and the revision." if one in expected else "Call again."
        raise one.differs(address.pinned, received, f"What came was removed. {again}")


def files_in(address: HubAddress) -> list[str]:
    """The paths of all files of a repository at the address's commit.

    Raises:
        SourceError: If they are not known here, and the Hub is not there; or if one is no path below a folder.
    """
    hub, errors = needed("huggingface_hub"), needed("huggingface_hub.errors")
    with client_errors(address):
        try:
            names = [file.path for file in hub.get_cached_repo_tree(address.repo, revision=address.commit)]
        except errors.CachedRepoTreeNotFoundError:
            names = list(hub.HfApi().list_repo_files(address.repo, revision=address.commit))
    for name in names:
        if not stays_within(name):
            raise SourceError(
                f"The repository '{address.repo}' has a file that leads out of it.", received=repr(name)[:200]
            )
    return names


def _warn_if_moved(address: HubAddress) -> None:
    hub, errors = needed("huggingface_hub"), needed("huggingface_hub.errors")
    branch = address.revision or "the default branch"
    try:
        now = hub.HfApi().repo_info(address.repo, revision=address.revision, timeout=_SECONDS).sha
    except errors.RevisionNotFoundError:
        now = "gone"
    except Exception:  # without a network, nobody knows; the commit is in the cache, or else its download says why not
        return
    if now != address.commit:
        warnings.warn(
            f"'{address}' has moved since its commit was recorded: {branch} is now {now}. The recorded one, "
            f"{address.commit}, is used. To take the new one, remove 'commit' and 'sha256' from the stitch.yaml.",
            stacklevel=2,
        )


@contextlib.contextmanager
def client_errors(address: HubAddress) -> Iterator[None]:
    """Raise what the client raises as ``SourceError``."""
    errors = needed("huggingface_hub.errors")
    try:
        yield
    except errors.RepositoryNotFoundError as error:  # a gated one, too
        raise SourceError(
            f"There is no repository '{address.repo}' on the Hub that you may read.", received=_said(error), fix=_LOG_IN
        ) from error
    except errors.RevisionNotFoundError as error:
        raise SourceError(
            f"The repository '{address.repo}' has no revision '{address.commit or address.revision}'.",
            expected="a branch, a tag or a commit, behind the last @ of the address",
        ) from error
    except (errors.LocalEntryNotFoundError, errors.RevisionResolutionError, errors.OfflineModeIsEnabled) as error:
        raise SourceError(
            f"'{address}' is not in the cache, and the Hub cannot be asked for it.",
            received=_said(error.__cause__ or error),
            fix="Check the connection, or the environment variables HF_HUB_OFFLINE and HF_ENDPOINT.",
        ) from error
    except Exception as error:  # of the connection, of the disk, or of an answer that is none of the Hub
        raise SourceError(f"'{address}' cannot be had from the Hub.", received=_said(error)) from error


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {reason(error)}"


def missing(address: HubAddress, names: Sequence[str]) -> SourceError:
    """The error about a file or folder that a repository does not have."""
    return SourceError(
        f"There is no '{address.file}' in '{address.repo}' at commit {address.commit}.",
        expected=nearest(str(address.file), names),
    )
