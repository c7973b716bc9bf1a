"""What an address says, as plain data: a file or a repository of the Hub, or a file on the web."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from keras_stitch.errors import SourceError

_STARTS = ("hf://", "https://", "http://", "doi:")
_FORMS = "hf://user/repo, hf://user/repo/file@revision, https://host/file or doi:10.5281/zenodo.1234/file"
_COMMIT = re.compile("[0-9a-f]{40}")
# One step of a path or of the name of a branch, which becomes one of a path in the cache.
_STEP = re.compile(r"(?!\.{1,2}$)[^/\\\x00-\x1f\x7f]+")
_OTHER_REPOSITORIES = ("datasets", "spaces", "models", "buckets", "kernels")


@dataclass(frozen=True)
class HubAddress:
    """A model repository of the Hugging Face Hub, or a file or folder in it.

    Attributes:
        repo: ``"user/repo"``.
        file: The path in it; ``None`` for the whole repository.
        revision: The branch, tag or commit that was asked for; ``None`` for the default branch.
        commit: The commit that it is, once that is known.
    """

    repo: str
    file: str | None = None
    revision: str | None = None
    commit: str | None = None

    def __str__(self) -> str:
        return self._with(self.revision)

    @property
    def pinned(self) -> str:
        """The address with the commit in place of the branch."""
        return self._with(self.commit)

    @property
    def moves(self) -> bool:
        """Whether it may name something else tomorrow: its revision is a branch or a tag."""
        return self.revision is None or not is_commit(self.revision)

    @property
    def label(self) -> str:
        """What tables call it."""
        return (self.file or self.repo).rsplit("/", 1)[-1]

    def _with(self, revision: str | None) -> str:
        return f"hf://{self.repo}{f'/{self.file}' if self.file else ''}{f'@{revision}' if revision else ''}"


@dataclass(frozen=True)
class WebAddress:
    """A file at a URL, or in an archive that a DOI names."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def pinned(self) -> str:
        """The address: what lies there has a hash, not a commit."""
        return self.url

    @property
    def is_doi(self) -> bool:
        """Whether it is in an archive such as Zenodo."""
        return self.url.startswith("doi:")

    @property
    def label(self) -> str:
        """What tables call it: the name of the file, of characters that every file system has."""
        path = self.url if self.is_doi else unquote(urlsplit(self.url).path)
        return re.sub(r"[^\w.-]", "_", path.rstrip("/").rsplit("/", 1)[-1], flags=re.ASCII)[-100:].lstrip(".") or "file"


Address = HubAddress | WebAddress


def is_commit(revision: str) -> bool:
    """Whether a revision is a commit in full."""
    return _COMMIT.fullmatch(revision) is not None


def stays_within(path: str) -> bool:
    """Whether a path of a repository can be one below a folder here: no step leads up, out or elsewhere."""
    return all(map(_STEP.fullmatch, path.split("/")))


def is_address(source: object) -> bool:
    """Whether a source is an address, and not a path or a model.

    Example:
        >>> is_address("hf://user/repo"), is_address("models/m.h5"), is_address("kipoi:DeepSEA/predict")
        (True, False, False)
    """
    return isinstance(source, Address) or (isinstance(source, str) and source.startswith(_STARTS))


def parse(text: str) -> Address:
    """Read an address.

    Raises:
        SourceError: If it cannot be one.

    Example:
        >>> parse("hf://user/repo/model.keras@v1.0")
        HubAddress(repo='user/repo', file='model.keras', revision='v1.0', commit=None)
        >>> parse("doi:10.5281/zenodo.1234/m.h5").label
        'm.h5'
    """
    if not text.isprintable():
        raise SourceError(f"{text[:200]!a} holds a character that no address has.", expected=_FORMS)
    return _hub(text) if text.startswith("hf://") else _web(text)


def _hub(text: str) -> HubAddress:
    place, at, revision = text.removeprefix("hf://").rpartition("@")
    if not at:
        place, revision = revision, ""
    user, _, rest = place.partition("/")
    repo, slash, file = rest.partition("/")
    steps = "/".join([user, repo, *([file] if slash else []), *([revision] if at else [])])
    if not stays_within(steps) or not re.fullmatch(r"[\w.-]+/[\w.-]+", f"{user}/{repo}", re.ASCII):
        raise SourceError(
            f"{text[:200]!r} is no address on the Hugging Face Hub.",
            expected="hf://user/repo, hf://user/repo/file or hf://user/repo/file@revision",
        )
    if user in _OTHER_REPOSITORIES:
        raise SourceError(
            f"{text[:200]!r} is not a model repository.", expected="hf://user/repo", received=f"one of {user}"
        )
    return HubAddress(f"{user}/{repo}", file or None, revision or None)


def _web(text: str) -> WebAddress:
    if text.startswith("doi:"):
        if not re.fullmatch(r"doi:10\.[\w.]+(/[^/\\ ]+)+/[^/\\]+", text):
            raise SourceError(
                f"{text[:200]!r} names no file in an archive.",
                expected="the DOI and the name of a file: doi:10.5281/zenodo.1234/model.h5",
            )
        return WebAddress(text)
    try:
        parts = urlsplit(text)
        host, password = parts.hostname, parts.password or parts.username
    except ValueError:  # such as an IPv6 address without its end
        host, password = None, None
    if not host or " " in text:
        raise SourceError(f"{text[:200]!r} is no address.", expected=_FORMS)
    if password:
        raise SourceError(
            f"The address of {host} holds a user name or a password, which every record of the graph would show.",
            fix="Leave it out, and put it into ~/.netrc.",
        )
    return WebAddress(text)
