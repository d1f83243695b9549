"""What an input may refer to: names that exist, and those that the store has given out."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

#: Bytes that a part but the last has at least, and an object of so many (bucket, key).
PART_SIZE = 5 << 20
LARGE = (b"canary", b"large")

#: Most things of a kind that are remembered.
_KEPT = 32
_GIVEN_OUT = re.compile(
    rb"<(NextContinuationToken|NextMarker|NextKeyMarker|NextVersionIdMarker|VersionId"
    rb"|NextUploadIdMarker|ContinuationToken|ETag)>([^<]{1,300})<|\r\n(x-amz-version-id|etag): "
    rb'"?([^"\r]{1,100})'
)


_STARTED = re.compile(
    rb"<InitiateMultipartUploadResult[^>]*><Bucket>([^<]*)</Bucket><Key>([^<]*)</Key>"
    rb"<UploadId>([^<]*)<"
)


class User(NamedTuple):
    access_key: bytes
    secret: bytes


class Started(NamedTuple):
    """A multipart upload; ``path`` is percent-encoded."""

    path: bytes
    id: bytes


@dataclass
class World:
    """``host`` is what the server listens at, ``domain`` the one under which buckets are hosts."""

    host: bytes
    domain: bytes
    users: tuple[User, ...]
    owners: tuple[bytes, ...]
    buckets: tuple[bytes, ...] = (b"fuzz-plain", b"fuzz-versions", b"fuzz-owned")
    keys: tuple[bytes, ...] = (b"key", b"dir/a", b"dir/b", b"empty", b"parts", b"a b+c/\xc3\xa9")
    started: list[Started] = field(default_factory=list)
    versions: list[bytes] = field(default_factory=list)
    tokens: list[bytes] = field(default_factory=list)
    etags: list[bytes] = field(default_factory=list)

    def learn(self, answers: bytes) -> None:
        """Remember ids, tokens and ETags out of what the store answered."""
        for element, text, line, value in _GIVEN_OUT.findall(answers):
            name, found = (element, text) if element else (line, value)
            _keep(self._kind(name), found)
        for bucket, key, upload in _STARTED.findall(answers):
            path = quote(f"/{bucket.decode()}/{html.unescape(key.decode())}")
            _keep(self.started, Started(path.encode(), upload))

    def _kind(self, name: bytes) -> list[bytes]:
        if name in (b"VersionId", b"NextVersionIdMarker", b"x-amz-version-id"):
            return self.versions
        return self.etags if name.lower() == b"etag" else self.tokens

    def forget(self) -> None:
        """Everything that was learned."""
        for kind in (self.started, self.versions, self.tokens, self.etags):
            kind.clear()


def _keep(known: list[Any], found: Any) -> None:
    if found not in known:
        known.append(found)
        if len(known) > _KEPT:
            del known[0]
