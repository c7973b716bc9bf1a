"""A directory to the Hugging Face Hub."""

from __future__ import annotations

import os
from pathlib import Path

from keras_stitch import directory_layout as layout
from keras_stitch.addresses.parse_address import HubAddress, is_address, parse
from keras_stitch.addresses.required_packages import needed
from keras_stitch.checks import flag_of, path_of
from keras_stitch.errors import SaveError, StitchError, reason
from keras_stitch.files.overwriting import is_generated
from keras_stitch.terminal import others_show

# What running a directory leaves in it.
_LEFT = (f"{layout.DOWNLOADS}/*", f"{layout.COMPILED}/*", f"*/{layout.COMPILED}/*", "*.pyc")


def push(
    directory: str | os.PathLike[str], address: str, *, private: bool | None = None, message: str | None = None
) -> str:
    """Upload a generated directory to a model repository of the Hugging Face Hub, which is made if there is none.

    The repository then holds what the directory holds, and nothing that an earlier one held; files that no directory
    has, such as ``LICENSE``, stay. The client has to be logged in (``hf auth login``, or ``HF_TOKEN``).

    Args:
        directory: What ``Graph.save`` wrote. ``card="huggingface"`` makes a model card that the Hub reads.
        address: ``"hf://user/repo"``, or ``"hf://user/repo@branch"`` for another branch, which has to be there.
        private: Whether a new repository is private; by default, the settings of its owner say so.
        message: The message of the commit.

    Returns:
        The address with the commit, ``"hf://user/repo@0a1b..."``, as ``Graph.add`` takes it.

    Raises:
        StitchError: If there is no such directory, or the address is none of a repository.
        SaveError: If the Hub does not take it.
    """
    place, target = path_of(directory, "push(...)"), target_of(address)
    flag_of(private, "private= of push(...)")
    if not is_generated(place):
        raise StitchError(
            f"'{place}' is not a directory that graph.save wrote, and is not uploaded.",
            expected=f"{', '.join(layout.ALWAYS)} in it",
        )
    return _upload(place, target, private, message or f"Upload {place.resolve().name} by keras_stitch")


def target_of(address: object) -> HubAddress:
    """The repository that an address names, perhaps with a branch.

    Raises:
        StitchError: If it names something else.
    """
    target = parse(address) if isinstance(address, str) and is_address(address) else None
    if not isinstance(target, HubAddress) or target.file is not None or (target.revision and not target.moves):
        raise StitchError(
            "A directory is pushed to a repository of the Hugging Face Hub.",
            expected="hf://user/repo or hf://user/repo@branch",
            received=repr(address)[:200],
        )
    return target


def _upload(place: Path, target: HubAddress, private: bool | None, message: str) -> str:
    api = needed("huggingface_hub").HfApi(library_name="keras_stitch")
    generated = [pattern for name in layout.WRITERS for pattern in (name, f"{name}/*")]
    try:
        with others_show():
            api.create_repo(target.repo, private=private, exist_ok=True)
            pushed = api.upload_folder(
                repo_id=target.repo,
                folder_path=place,
                revision=target.revision,
                commit_message=message,
                ignore_patterns=list(_LEFT),
                delete_patterns=generated,
            )
    except Exception as error:  # of the connection, or an answer of the Hub
        raise SaveError(
            f"'{place}' cannot be pushed to '{target}'.",
            received=f"{type(error).__name__}: {reason(error)}",
            fix="Log in (hf auth login) or set HF_TOKEN to a token that may write there, and check the connection.",
        ) from error
    return str(HubAddress(target.repo, revision=pushed.oid))
