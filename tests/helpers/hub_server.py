"""A server that speaks with the client of the Hugging Face Hub: repositories, commits, downloads and uploads.

It answers what ``huggingface_hub`` asks for, without Xet. Large files are redirected to another host, as by the Hub.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants
from web_server import Handler, Served, WebServer, running

LARGE = (".h5", ".keras", ".onnx", ".pb")


@dataclass
class Repository:
    """Commits by their hash, branches and tags by their name."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    private: bool = False


@dataclass
class HubServer(WebServer):
    """The Hub; ``stored`` are large files by sha256, ``corrupt`` those of which other bytes are sent."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    corrupt: set[str] = field(default_factory=set)

    def commit(self, repo: str, files: Mapping[str, bytes], branch: str = "main") -> str:
        """A commit with exactly these files on a branch; returns its hash."""
        repository = self.repositories.setdefault(repo, Repository())
        number = f"{repo} {len(repository.commits)}"
        commit = hashlib.sha1(number.encode()).hexdigest()
        repository.commits[commit] = dict(files)
        repository.branches[branch] = commit
        return commit

    def files_at(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """The files of a revision."""
        repository = self.repositories[repo]
        return repository.commits[repository.branches.get(revision, revision)]

    # -- the protocol --------------------------------------------------------------------------------------------------
    def answer(self, request: Handler) -> None:
        for method, pattern, function in _ROUTES:
            found = re.fullmatch(pattern, request.place)
            if found and request.command in method.split():
                function(self, request, *found.groups())
                return
        super().answer(request)

    def find(self, request: Handler, repo: str, revision: str = "main") -> tuple[Repository, str] | None:
        """A repository and a commit of it; answers if there is none."""
        repository = self.repositories.get(repo)
        if repository is None or (repository.private and "Authorization" not in request.headers):
            request.reply(401, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return None
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            request.reply(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
            return None
        return repository, commit

    def info(self, request: Handler, repo: str, revision: str = "main") -> None:
        if found := self.find(request, repo, revision):
            siblings = [{"rfilename": name} for name in found[0].commits[found[1]]]
            request.reply(200, {"id": repo, "sha": found[1], "private": found[0].private, "siblings": siblings})

    def tree(self, request: Handler, repo: str, revision: str) -> None:
        if found := self.find(request, repo, revision):
            entries = []
            for name, content in found[0].commits[found[1]].items():
                entry = {"type": "file", "path": name, "size": len(content), "oid": git_id(content)}
                if name.endswith(LARGE):
                    entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 134}
                entries.append(entry)
            request.reply(200, entries)

    def resolve(self, request: Handler, repo: str, revision: str, name: str) -> None:
        if not (found := self.find(request, repo, revision)):
            return
        content, known = found[0].commits[found[1]].get(name), {"X_Repo_Commit": found[1]}
        if content is None:
            request.reply(404, b"Entry not found", X_Error_Code="EntryNotFound", **known)
        elif name.endswith(LARGE):
            digest = sha256(content)
            self.stored[digest] = content
            linked = {"X_Linked_Size": str(len(content)), "X_Linked_Etag": f'"{digest}"'}
            request.reply(302, Location=f"http://localhost:{self.port}/cdn/{digest}", **known, **linked)
        else:
            request.send_file(Served(content, f'"{git_id(content)}"'), **known)

    def stored_file(self, request: Handler, digest: str) -> None:
        content = self.stored[digest]
        request.send_file(Served(content[::-1] if digest in self.corrupt else content, f'"{digest}"'))

    def create(self, request: Handler) -> None:
        asked = json.loads(request.body())
        repo = f"{asked['organization']}/{asked['name']}"
        if "Authorization" not in request.headers:
            request.reply(401, {"error": "Invalid username or password."})
            return
        there = repo in self.repositories
        repository = self.repositories.setdefault(repo, Repository())
        if not there:
            repository.private = asked.get("visibility") == "private"
            self.commit(repo, {".gitattributes": b"*.h5 filter=lfs\n"})
        request.reply(409 if there else 200, {"url": f"{self.url}/{repo}"})

    def validate(self, request: Handler) -> None:
        card = json.loads(request.body())["content"]
        found = re.match("---\n(.*?)\n---\n", card, re.DOTALL)
        try:
            yaml.safe_load(found[1] if found else "")
        except yaml.YAMLError as error:
            request.reply(400, {"errors": [{"message": str(error)}], "warnings": []})
            return
        warnings = [] if found else [{"message": "empty or missing yaml metadata in repo card"}]
        request.reply(200, {"errors": [], "warnings": warnings})

    def preupload(self, request: Handler, repo: str, revision: str) -> None:
        asked, modes = json.loads(request.body()), []
        if found := self.find(request, repo, revision):
            ignored = [line.lstrip("/") for line in asked.get("gitIgnore", "").splitlines()]
            there = found[0].commits[found[1]]
            for file in asked["files"]:
                name = file["path"]
                mode = {"path": name, "uploadMode": "lfs" if name.endswith(LARGE) else "regular"}
                identify = sha256 if name.endswith(LARGE) else git_id
                known = {"oid": identify(there[name])} if name in there else {}
                modes.append({**mode, "shouldIgnore": name in ignored, **known})
            request.reply(200, {"files": modes})

    def batch(self, request: Handler, repo: str) -> None:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.url}/lfs/{one['oid']}"}}}
            for one in json.loads(request.body())["objects"]
        ]
        request.reply(200, {"transfer": "basic", "objects": objects})

    def upload(self, request: Handler, digest: str) -> None:
        assert sha256(request.body()) == digest
        self.stored[digest] = request.body()
        request.reply(200)

    def add_commit(self, request: Handler, repo: str, revision: str) -> None:
        if not (found := self.find(request, repo, revision)):
            return
        files = dict(found[0].commits[found[1]])
        for line in request.body().splitlines():
            key, value = json.loads(line)["key"], json.loads(line)["value"]
            if key == "header":
                found[0].messages.append(value["summary"])
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.stored[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        commit = self.commit(repo, files, revision)
        request.reply(200, {"success": True, "commitOid": commit, "commitUrl": f"{self.url}/{repo}/commit/{commit}"})


_REPO = "([^/]+/[^/]+)"
_ROUTES = (
    ("GET", f"api/models/{_REPO}", HubServer.info),
    ("GET", f"api/models/{_REPO}/revision/(.+)", HubServer.info),
    ("GET", f"api/models/{_REPO}/tree/([^/]+)", HubServer.tree),
    ("GET HEAD", f"{_REPO}/resolve/([^/]+)/(.+)", HubServer.resolve),
    ("GET HEAD", "cdn/([0-9a-f]+)", HubServer.stored_file),
    ("POST", "api/repos/create", HubServer.create),
    ("POST", "api/validate-yaml", HubServer.validate),
    ("POST", f"api/models/{_REPO}/preupload/([^/]+)", HubServer.preupload),
    ("POST", rf"{_REPO}\.git/info/lfs/objects/batch", HubServer.batch),
    ("PUT", "lfs/([0-9a-f]+)", HubServer.upload),
    ("POST", f"api/models/{_REPO}/commit/([^/]+)", HubServer.add_commit),
)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextlib.contextmanager
def running_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Have the client of this process talk to a new server, with a cache of its own; nobody is logged in."""
    with running(HubServer()) as server:
        assert isinstance(server, HubServer)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server
