"""A downloader for pooch that goes on where the last one was cut off, in this process or an earlier one.

What has come lies in a file beside the place, and the server's ETag of it in another. The server is asked for the rest
only if the file is still the same there (``If-Range``). What does not fit is thrown away, and all is asked for again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import requests

from keras_stitch.terminal import bytes_done

# How often the same place may fail, the seconds between two tries, and those to wait for an answer and for data.
_TRIES = 4
_PAUSE = 1.0
_TIMEOUT = (10.0, 60.0)
_CHUNK = 1 << 16  # of a chunk that is cut off, nothing is kept
# requests raises the second where the connection ends within an answer.
_CUT = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, requests.Timeout)

Shown = Callable[[int, int | None], None]


class CutOff(requests.ConnectionError):
    """An answer that ended before the length that it stated."""


class ResumedDownload:
    """Downloads one URL; what has come is kept until it is complete.

    Args:
        part: The file for what has come. The name with ``.etag`` behind it is for the server's ETag.
        name: What the progress bar calls it.
        headers: Sent along.
    """

    def __init__(self, part: Path, name: str, headers: dict[str, str] | None = None):
        self.part, self.name, self.headers = part, name, dict(headers or {})
        self.tag = part.with_name(f"{part.name}.etag")

    def __call__(self, url: str, output_file: str, pooch: object = None) -> None:
        """Download to ``output_file``, as pooch calls it.

        Raises:
            requests.RequestException: If the server does not answer, refuses, or cuts the connection again and again.
        """
        self.complete(url)
        self.move_to(output_file)

    def complete(self, url: str) -> None:
        """Download what is missing of ``part``; raises what ``__call__`` does."""
        failed = 0
        with bytes_done(self.name) as show:
            while True:
                before = self.size
                try:
                    if self._go_on(url, show):
                        return
                except _CUT:
                    failed = 1 if self.size > before else failed + 1
                    if failed == _TRIES:
                        raise
                    time.sleep(_PAUSE)

    def move_to(self, output_file: str) -> None:
        """Give away what has come."""
        self.part.replace(output_file)
        self.discard()

    def discard(self) -> None:
        """Remove what has come."""
        self.part.unlink(missing_ok=True)
        self.tag.unlink(missing_ok=True)

    @property
    def size(self) -> int:
        """How many bytes have come."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def _go_on(self, url: str, show: Shown) -> bool:
        """Ask once; false where what was there did not fit and is gone, so that it has to be asked for again."""
        tag, have = self._known_tag(), self.size
        # Compressed answers have other lengths and ranges than the file.
        headers = {**self.headers, "Accept-Encoding": "identity"}
        if tag is not None and have:
            headers |= {"Range": f"bytes={have}-", "If-Range": tag}
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            status, asked = response.status_code, "Range" in headers
            if asked and status == requests.codes.requested_range_not_satisfiable:
                if response.headers.get("Content-Range") == f"bytes */{have}":
                    return True  # there is no rest
                self.discard()
                return False
            response.raise_for_status()
            resumes = asked and status == requests.codes.partial_content
            if resumes and not self._fits(response, have, tag):
                self.discard()
                return False
            if not resumes:
                self._keep_tag(response)
            self._receive(response, have if resumes else 0, show)
        return True

    def _known_tag(self) -> str | None:
        return self.tag.read_text(encoding="latin-1") if self.tag.is_file() else None

    def _keep_tag(self, response: requests.Response) -> None:
        """Keep the ETag of a whole answer, if the rest of it can be asked for by that: weak ones may not (RFC 9110)."""
        self.discard()
        tag = response.headers.get("ETag", "")
        if re.fullmatch(r'"[\x21\x23-\x7e]*"', tag) and "Content-Encoding" not in response.headers:
            self.tag.write_text(tag, encoding="latin-1")

    def _fits(self, response: requests.Response, have: int, tag: str | None) -> bool:
        """Whether a part begins where it should, and is of the same file; some servers do not look at ``If-Range``."""
        begins = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        return begins and response.headers.get("ETag", tag) == tag

    def _receive(self, response: requests.Response, start: int, show: Shown) -> None:
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() and "Content-Encoding" not in response.headers else None
        done = start
        with self.part.open("ab" if start else "wb") as file:
            show(done, total)
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                show(done, total)
        if total is not None and done != total:
            raise CutOff(f"{done:,} of {total:,} bytes came, and the connection ended")


def reason_of(error: Exception) -> str:
    """What a failed request says, in a few words."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answers {response.status_code} {response.reason}"
    return f"{type(error).__name__}: {error}"[:400]
