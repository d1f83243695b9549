"""The console's own files: read once, compressed once, told apart by what is in them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from functools import cache
from importlib import resources

from storage.console.answers import Headers, answer, page_policy, problem
from storage.console.request import Request
from storage.serving.doorway import Birth

_TYPES = {
    "html": b"text/html; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "svg": b"image/svg+xml",
}
#: The page itself is asked for each time, and names its parts by what is in all of them: a browser
#: keeps those without asking.
_ASK, _KEEP = "no-cache", "public, max-age=31536000, immutable"
_PAGE = "index.html"
#: Its first script stands in it: what sees to it that the other parts come must not be missing.
_FIRST, _FIRST_PLACE = "theme.js", b"/* theme.js */"
_VERSION = re.compile(r"[0-9a-f]{16}").fullmatch
_HOST = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(:[0-9]{1,5})?").fullmatch


class Pages:
    """The files of ``storage/console/pages``, by name."""

    def __init__(self) -> None:
        folder = resources.files("storage.console").joinpath("pages")
        self._files = {
            each.name: each.read_bytes()
            for each in folder.iterdir()
            if each.name.rpartition(".")[2] in _TYPES
        }
        digest = hashlib.sha256()
        for name, data in sorted(self._files.items()):
            digest.update(b"%s\0%d\0%s" % (name.encode(), len(data), data))
        self.version = digest.hexdigest()[:16]
        first = self._files.pop(_FIRST)
        page = self._files[_PAGE].replace(b'"static/', b'"static/%s/' % self.version.encode())
        self._files[_PAGE] = page.replace(_FIRST_PLACE, first)
        self._script = f"sha256-{base64.b64encode(hashlib.sha256(first).digest()).decode()}"
        self._packed = cache(lambda name: gzip.compress(self._files[name], 6))
        self._tags = {
            name: f'"{hashlib.sha256(data).hexdigest()[:32]}"' for name, data in self._files.items()
        }

    async def answer(self, request: Request, path: str, birth: Birth) -> None:
        """Answer with one file; "" is the page itself. A version may stand before the name."""
        version, _, name = path.rpartition("/")
        name = name or _PAGE
        # A page that was loaded before an upgrade still finds parts that it had not needed yet.
        if name not in self._files or (version and not _VERSION(version)):
            await problem(request.send, 404, "NotFound", "There is nothing at this address.")
            return
        keep = _KEEP if version == self.version else _ASK
        policy, tag = page_policy(s3_origin(birth, request), self._script), self._tags[name]
        headers: Headers = [
            (b"content-type", _TYPES[name.rpartition(".")[2]]),
            (b"etag", tag.encode()),
            (b"vary", b"accept-encoding"),
        ]
        if request.header(b"if-none-match") == tag:
            await answer(request.send, 304, b"", headers, policy, keep)
            return
        body = self._files[name]
        if "gzip" in request.header(b"accept-encoding"):
            body = self._packed(name)
            headers.append((b"content-encoding", b"gzip"))
        if request.method == "HEAD":
            body = b""
        await answer(request.send, 200, body, headers, policy, keep)


def s3_origin(birth: Birth, request: Request) -> str:
    """The origin at which this browser reaches S3: as configured, else beside this page's host."""
    if birth.external_endpoint:
        return birth.external_endpoint.rstrip("/")
    found = _HOST(request.header(b"host"))
    return f"http://{found.group(1)}:{birth.s3[1]}" if found else ""
