"""The console's own files: read once, compressed once, told apart by what is in them."""

from __future__ import annotations

import gzip
import hashlib
from importlib import resources

from storage.console.answers import Headers, answer, page_policy, problem
from storage.console.request import Request

_TYPES = {
    "html": b"text/html; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "svg": b"image/svg+xml",
}
#: Where everything in the folder changes together, a browser asks once and is told "unchanged".
_CACHE = "no-cache"


class Pages:
    """The files of ``storage/console/pages``, by name."""

    def __init__(self) -> None:
        folder = resources.files("storage.console").joinpath("pages")
        self._files = {
            each.name: each.read_bytes()
            for each in folder.iterdir()
            if each.name.rpartition(".")[2] in _TYPES
        }
        self._packed = {name: gzip.compress(data, 6) for name, data in self._files.items()}
        self._tags = {
            name: f'"{hashlib.sha256(data).hexdigest()[:32]}"' for name, data in self._files.items()
        }

    async def answer(self, request: Request, name: str, s3: str) -> None:
        """Answer with one file; "" is the page itself. ``s3``: where it may connect to besides."""
        name = name or "index.html"
        if name not in self._files:
            await problem(request.send, 404, "NotFound", "There is nothing at this address.")
            return
        policy, tag = page_policy(s3), self._tags[name]
        headers: Headers = [
            (b"content-type", _TYPES[name.rpartition(".")[2]]),
            (b"etag", tag.encode()),
            (b"vary", b"accept-encoding"),
        ]
        if request.header(b"if-none-match") == tag:
            await answer(request.send, 304, b"", headers, policy, _CACHE)
            return
        body = self._files[name]
        if "gzip" in request.header(b"accept-encoding"):
            body = self._packed[name]
            headers.append((b"content-encoding", b"gzip"))
        if request.method == "HEAD":
            body = b""
        await answer(request.send, 200, body, headers, policy, _CACHE)
