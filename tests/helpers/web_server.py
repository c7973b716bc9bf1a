"""A web server of this process: files with ETags and ranges, connections that end too early, archives behind a DOI."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import requests


@dataclass
class Served:
    """A file: its ETag, whether parts of it can be had, and whether ``If-Range`` is looked at."""

    content: bytes
    tag: str | None = None
    ranges: bool = True
    heeds_if_range: bool = True


@dataclass
class WebServer:
    """What is served, and what was asked for.

    Attributes:
        files: By path, without the slash before it.
        cuts: After how many bytes of its body each of the next answers with a file ends; an entry is used once.
        asked: Method, path and ``Range`` of every request.
    """

    files: dict[str, Served] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self, name: str, content: bytes, **options: Any) -> str:
        """Add or replace a file; returns its URL."""
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        self.files[name] = Served(content, **{"tag": tag, **options})
        return f"{self.url}/{name}"

    def ranges(self, method: str = "GET") -> list[str | None]:
        """The ranges that were asked for, in order."""
        return [asked[2] for asked in self.asked if asked[0] == method]

    def answer(self, request: Handler) -> None:
        """Answer one request."""
        served = self.files.get(request.place)
        if served is None:
            request.reply(404, b"nothing here")
        else:
            request.send_file(served)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: WebServer

    @property
    def place(self) -> str:
        """The path of the request, without the slash before it and without its query."""
        return unquote(urlsplit(self.path).path).removeprefix("/")

    def body(self) -> bytes:
        """What was sent along; ``answer`` has read it."""
        return self.sent

    def answer(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.sent = b""
            while size := int(self.rfile.readline(), 16):
                self.sent += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            self.sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.owner.asked.append((self.command, self.place, self.headers.get("Range")))
        self.owner.answer(self)

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def reply(self, status: int, body: bytes | Any = b"", **headers: str) -> None:
        """Send an answer; data that is not bytes as JSON."""
        if not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), {"Content_Type": "application/json", **headers}
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_file(self, served: Served, **headers: str) -> None:
        """Send a file, or the part of it that was asked for; perhaps less of it than was announced."""
        content, asked, status = served.content, self.headers.get("Range"), 200
        headers |= {} if served.tag is None else {"ETag": served.tag}
        same = not served.heeds_if_range or self.headers.get("If-Range") in (None, served.tag)
        if asked and served.ranges and same:
            start = int(asked.removeprefix("bytes=").split("-")[0])
            if start >= len(content):
                self.reply(416, Content_Range=f"bytes */{len(content)}", **headers)
                return
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            content, status = content[start:], 206
        if self.command == "HEAD" or not self.owner.cuts:
            self.reply(status, content, **headers)
            return
        self.send_response(status)
        for name, value in {"Content_Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content[: self.owner.cuts.pop(0)])
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def running(server: WebServer) -> Iterator[WebServer]:
    """Serve while the block runs."""
    handler = type("Handler", (Handler,), {"owner": server})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        http.daemon_threads = True
        server.port = http.server_address[1]
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def serve_zenodo(server: WebServer, monkeypatch: pytest.MonkeyPatch, record: str, files: dict[str, bytes]) -> None:
    """Have requests find ``doi.org`` and ``zenodo.org`` here, with one record, described as Zenodo's API does it."""
    listed = []
    for name, content in files.items():
        server.serve(f"zenodo.org/api/records/{record}/files/{name}/content", content)
        link = f"https://zenodo.org/api/records/{record}/files/{name}/content"
        checksum = f"md5:{hashlib.md5(content).hexdigest()}"
        listed.append({"key": name, "size": len(content), "checksum": checksum, "links": {"self": link}})
    server.files[f"zenodo.org/records/{record}"] = Served(b"<html>the page of the record</html>")
    described = json.dumps({"id": int(record), "doi": f"10.5281/zenodo.{record}", "files": listed})
    server.files[f"zenodo.org/api/records/{record}"] = Served(described.encode())
    send = requests.adapters.HTTPAdapter.send

    def rerouted(adapter: Any, request: Any, **options: Any) -> Any:
        url = request.url
        host, path = urlsplit(url).hostname, urlsplit(url).path
        if host == "doi.org":
            url, path = f"https://zenodo.org/records/{record}", f"/records/{record}"
        if host in ("doi.org", "zenodo.org"):
            request.url = f"{server.url}/zenodo.org{path}"
        response = send(adapter, request, **options)
        response.url = url
        return response

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", rerouted)
