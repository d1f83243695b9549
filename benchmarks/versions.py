"""A key with very many versions beside one with two: reading, listing, deleting. This store alone.

Two buckets with the same 1,000 keys of two versions each; in one of them a key in the middle has
very many. The same requests go to both, minutes apart at most.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterator
from urllib.parse import quote

from benchmarks import load, work
from benchmarks.load import Load
from benchmarks.requests import Body, Signer
from benchmarks.servers import Server, ServerFailed
from benchmarks.work import Effort, Results, Step

FEW = 2
_KEYS = [f"k{number:03d}" for number in range(1_000)]
#: The key that has very many versions in one bucket.
_KEY = _KEYS[500]
_SIZE = 1_024
_DELETIONS = 1_000
_CONNECTIONS = 16
_ENABLED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
_rows = re.compile(rb"<Key>([^<]+)</Key><VersionId>([^<]+)</VersionId>").findall

GET, HEAD, DELETE = "GET", "HEAD", "DELETE of the newest version"
LIST, LIST_VERSIONS = "LIST of 1,000 objects", "LIST of 1,000 versions"
OPERATIONS = (GET, HEAD, LIST, LIST_VERSIONS, DELETE)


def item_name(operation: str, versions: int) -> str:
    """The name of a work item: ``versions`` are those of the key that it is about."""
    return f"{operation}, a key of {versions:,}"


class Side:
    """One of the two buckets, filled, with what is asked of it."""

    def __init__(self, server: Server, versions: int, effort: Effort) -> None:
        self.versions = versions
        self._server = server
        self._bucket = f"versions-{versions}"
        self._bodies = [Body.random(_SIZE, seed) for seed in range(16)]
        self._fill(effort.rounds)
        # Newest first. Of the two versions of a key, every other row is the newest.
        count = effort.rounds * _DELETIONS
        if versions == FEW:
            self._victims = self._list("d", 2 * count)[::2]
        else:
            self._victims = self._list(_KEY, count)

    def run(self, operation: str, number: int, seconds: int) -> Callable[[], Load]:
        """The load of round ``number``; its requests are rendered now."""
        heads, expected = self._requests(operation, number)
        port, once = self._server.port, operation == DELETE
        return lambda: load.stream(
            port, _CONNECTIONS, heads, expected, seconds=0 if once else seconds
        )

    def _requests(self, operation: str, number: int) -> tuple[list[bytes], int]:
        """(heads, what each answer has: bytes or entries)."""
        signer, source = Signer(), random.Random(number)
        path = f"/{self._bucket}/{_KEY}"
        many = range(2_000)
        if operation in (GET, HEAD):
            return [signer.head(operation, path) for _ in many], _SIZE
        if operation == LIST:
            return [signer.list(self._bucket, after="j") for _ in many], len(_KEYS)
        if operation == LIST_VERSIONS:
            return [self._page(signer, source) for _ in range(500)], 1_000
        victims = self._victims[number * _DELETIONS :][:_DELETIONS]
        return [self._deletion(signer, *victim) for victim in victims], 0

    def _page(self, signer: Signer, source: random.Random) -> bytes:
        """A page of versions: of one key, or of 500."""
        if self.versions == FEW:
            query = f"key-marker={source.choice(_KEYS[:498])}&max-keys=1000&versions="
        else:
            marker = quote(source.choice(self._victims)[1], safe="")
            query = f"key-marker={_KEY}&max-keys=1000&version-id-marker={marker}&versions="
        return signer.head("GET", f"/{self._bucket}", query)

    def _deletion(self, signer: Signer, key: str, version: str) -> bytes:
        """Of what is visible: the version behind it comes up."""
        return signer.head("DELETE", f"/{self._bucket}/{key}", f"versionId={quote(version)}")

    def _fill(self, rounds: int) -> None:
        self._server.make_bucket(self._bucket)
        head = Signer().head(
            "PUT",
            f"/{self._bucket}",
            "versioning=",
            payload_hash=hashlib.sha256(_ENABLED).hexdigest(),
            length=len(_ENABLED),
        )
        status, text = self._server.call(head, _ENABLED)
        if status != 200:
            raise ServerFailed(f"{self._server.name} refuses versioning: {status} {text[:200]!r}")
        for _ in range(FEW):
            work.fill(self._server, self._bucket, self._plain_keys(rounds), self._bodies)
        if self.versions > FEW:
            again = (_KEY for _ in range(self.versions - FEW))
            work.fill(self._server, self._bucket, again, self._bodies, connections=64, limit=900)

    def _plain_keys(self, rounds: int) -> Iterator[str]:
        yield from _KEYS
        if self.versions == FEW:
            for number in range(rounds):
                yield from (_victim(number, each) for each in range(_DELETIONS))

    def _list(self, prefix: str, count: int) -> list[tuple[str, str]]:
        """(key, version id) of the first ``count`` versions under ``prefix``, as listed."""
        found: list[tuple[str, str]] = []
        marker = ""
        while len(found) < count:
            query = f"max-keys={min(count - len(found), 1000)}&prefix={prefix}"
            after = f"&version-id-marker={quote(found[-1][1])}" if found else ""
            query = f"{marker}{query}{after}&versions="
            status, text = self._server.call(Signer().head("GET", f"/{self._bucket}", query))
            page = [(key.decode(), version.decode()) for key, version in _rows(text)]
            if status != 200 or not page:
                raise ServerFailed(f"{self._server.name}: {len(found)} versions of {prefix}")
            found += page
            marker = f"key-marker={found[-1][0]}&"
        return found


def _victim(number: int, each: int) -> str:
    return f"d{number}-{each:04d}"


def run_versions(server: Server, effort: Effort, results: Results, step: Step) -> None:
    """Every operation on both sides, in turn."""
    server.start()
    try:
        sides = []
        for versions in (FEW, effort.versions):
            step(f"versions: a key of {versions:,}")
            sides.append(Side(server, versions, effort))
        for operation in OPERATIONS:
            for number in range(effort.rounds):
                for side in sides if number % 2 == 0 else sides[::-1]:
                    name = item_name(operation, side.versions)
                    step(name)
                    run = side.run(operation, number, effort.seconds)
                    results.samples.append(work.measure(name, server, _CONNECTIONS, run))
    finally:
        server.stop()
