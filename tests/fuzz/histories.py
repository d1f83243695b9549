"""Histories: several requests over one connection, each right in every layer.

Where ``requests`` asks whether what is wrong gets refused, these get to where things are granted:
they name uploads, versions and ETags that the store has given out, and go on from there. At most
one of their requests has something added that may spoil it.
"""

from __future__ import annotations

import hashlib
import zlib
from base64 import b64encode
from collections.abc import Callable

from tests.fuzz import documents, requests, values
from tests.fuzz.chance import Chance
from tests.fuzz.signing import Headers, encode
from tests.fuzz.world import LARGE, PART_SIZE, User, World


class History:
    """Requests in the making. ``path`` of a step is percent-encoded."""

    def __init__(self, chance: Chance, world: World) -> None:
        self.chance = chance
        self.world = world
        self.bucket = b"/" + chance.one(world.buckets)
        self.user: User | None = world.users[0]
        self._steps: list[tuple[User | None, bytes, bytes, bytes, Headers, bytes]] = []

    def then(
        self, method: bytes, path: bytes, query: bytes = b"", body: bytes = b"", *headers: tuple
    ) -> None:
        """One more request, of the user at hand."""
        self._steps.append((self.user, method, path, query, list(headers), body))

    def key(self) -> bytes:
        """The path of an object that is there, as far as nothing has deleted it."""
        return self.bucket + b"/" + encode(self.chance.one(self.world.keys), "/")

    def somebody(self) -> None:
        """From now on another user asks, or nobody."""
        self.user = self.chance.one((*self.world.users, None))

    def written(self) -> bytes:
        """The bytes of all of it."""
        odd = self.chance.below(len(self._steps)) if self.chance.happens(0.3) else -1
        data = b""
        for place, (user, method, path, query, headers, body) in enumerate(self._steps):
            if place == odd:
                headers.append(values.header(self.chance, self.world))
            data += requests.sound(user, self.world.host, method, path, query, body, headers)
        return data


def history(chance: Chance, world: World) -> bytes:
    """The bytes of one history."""
    made = History(chance, world)
    chance.one(_TOLD)(made)
    return made.written()


# -- objects --------------------------------------------------------------------------------------


def _versions(made: History) -> None:
    """Versions of a key are written, read, tagged, copied and deleted by their ids."""
    chance, world = made.chance, made.world
    made.bucket = b"/fuzz-versions"
    path = made.key()
    known = [values.known(chance, world, world.versions) for _ in range(3)]
    for _ in range(chance.between(1, 3)):
        made.then(b"PUT", path, b"", chance.one(documents.CONTENTS[:5]))
    for version in known:
        query = b"versionId=" + version
        step = chance.below(7)
        if step == 0:
            made.then(b"GET", path, query)
        elif step == 1:
            made.then(
                b"PUT", path, b"tagging&" + query, documents.sound(chance, "PutObjectTagging")
            )
            made.then(b"GET", path, b"tagging&" + query)
        elif step == 2:
            source = path[1:] + b"?" + query
            made.then(b"PUT", made.key(), b"", b"", (b"x-amz-copy-source", source))
        elif step == 3:
            made.then(b"DELETE", path, query)
        elif step == 4:
            made.then(b"DELETE", path)
            made.then(b"HEAD", path)
        elif step == 5:
            made.then(b"GET", path, b"attributes&" + query, b"", _ATTRIBUTES)
        else:
            made.then(b"GET", made.bucket, b"versions&max-keys=2&key-marker=" + path[15:])
    if chance.happens(0.3):
        state = chance.one((b"Suspended", b"Enabled"))
        made.then(b"PUT", made.bucket, b"versioning", _VERSIONING % state)


_ATTRIBUTES = (b"x-amz-object-attributes", b"ETag,Checksum,ObjectParts,StorageClass,ObjectSize")
_VERSIONING = b"<VersioningConfiguration><Status>%b</Status></VersioningConfiguration>"


def _conditions(made: History) -> None:
    """An object is written and read on conditions that hold or fail by its ETag."""
    chance, path = made.chance, made.key()
    body = chance.one(documents.CONTENTS)
    etag = b'"%b"' % hashlib.md5(body).hexdigest().encode()
    checksum = b64encode(zlib.crc32(body).to_bytes(4))
    made.then(b"PUT", path, b"", body, (b"x-amz-checksum-crc32", checksum))
    for _ in range(3):
        named = etag if chance.happens(0.7) else values.etag(chance, made.world)
        name = chance.one((b"if-match", b"if-none-match"))
        method = chance.one((b"GET", b"HEAD", b"PUT", b"DELETE"))
        made.then(method, path, b"", b"again" if method == b"PUT" else b"", (name, named))
    made.then(
        b"GET", path, b"", b"", (b"range", b"bytes=0-3"), (b"x-amz-checksum-mode", b"ENABLED")
    )
    made.then(b"GET", path, b"attributes", b"", _ATTRIBUTES)


def _copies(made: History) -> None:
    """An object is copied, with what it carries or with something else."""
    chance, path = made.chance, made.key()
    made.then(b"PUT", path, b"", b"original", (b"x-amz-tagging", b"a=b"), (b"x-amz-meta-a", b"b"))
    target = made.key() if chance.happens(0.7) else path
    lines: Headers = [(b"x-amz-copy-source", path)]
    if target == path or chance.happens(0.5):
        lines += [(b"x-amz-metadata-directive", b"REPLACE"), (b"x-amz-meta-c", b"d")]
    if chance.happens(0.5):
        lines += [(b"x-amz-tagging-directive", b"REPLACE"), (b"x-amz-tagging", b"c=d")]
    made.then(b"PUT", target, b"", b"", *lines)
    made.then(b"HEAD", target)
    made.then(b"GET", target, b"tagging")


# -- multipart ------------------------------------------------------------------------------------


def _multipart(made: History) -> None:
    """An upload that was started gets parts, sent or copied, and is completed or aborted."""
    chance, world = made.chance, made.world
    if not world.started:
        made.then(b"POST", made.key(), b"uploads")
        return
    path, upload = chance.one(world.started)
    suffix = b"uploadId=" + upload
    parts = _large_parts if chance.happens(0.03) else _small_parts
    named = parts(made, path, suffix)
    if chance.happens(0.3):
        made.then(b"GET", path, b"max-parts=1&" + suffix)
    if chance.happens(0.1):
        made.then(b"DELETE", path, suffix)
    document = b"<CompleteMultipartUpload>%b</CompleteMultipartUpload>" % named
    for _ in range(chance.one((1, 1, 1, 2))):
        made.then(b"POST", path, suffix, document)
    made.then(b"GET", path, b"partNumber=1")
    made.then(b"HEAD", path, b"partNumber=%d" % chance.one((1, 2, 3)))
    made.then(b"GET", path, b"attributes", b"", _ATTRIBUTES)
    if chance.happens(0.7):
        made.then(b"POST", made.key(), b"uploads", b"", *chance.one(_STARTING))


#: Headers of CreateMultipartUpload.
_STARTING: tuple[Headers, ...] = (
    [], [(b"x-amz-tagging", b"a=b"), (b"x-amz-meta-a", b"b")], [(b"x-amz-acl", b"public-read")],
    [(b"x-amz-checksum-algorithm", b"CRC32"), (b"x-amz-checksum-type", b"FULL_OBJECT")],
    [(b"x-amz-checksum-algorithm", b"SHA256")], [(b"x-amz-storage-class", b"REDUCED_REDUNDANCY")],
)  # fmt: skip


def _small_parts(made: History, path: bytes, suffix: bytes) -> bytes:
    """One part: the last may be small."""
    number = made.chance.one((1, 1, 2, 10_000))
    body = made.chance.one(documents.CONTENTS)
    query = b"partNumber=%d&%b" % (number, suffix)
    if made.chance.happens(0.5):
        made.then(b"PUT", path, query, body)
        return _named(number, body)
    source = b"/%b/%b" % LARGE
    lines: Headers = [(b"x-amz-copy-source", source)]
    if made.chance.happens(0.97):
        last = made.chance.one((0, 6, 69_999))
        lines.append((b"x-amz-copy-source-range", b"bytes=0-%d" % last))
        made.then(b"PUT", path, query, b"", *lines)
        return _named(number, b"l" * (last + 1))
    made.then(b"PUT", path, query, b"", *lines)
    return _named(number, b"l" * PART_SIZE)


def _large_parts(made: History, path: bytes, suffix: bytes) -> bytes:
    """Two parts, the first of them copied: it has to be large."""
    source = (b"x-amz-copy-source", b"/%b/%b" % LARGE)
    made.then(b"PUT", path, b"partNumber=1&" + suffix, b"", source)
    body = made.chance.one(documents.CONTENTS)
    made.then(b"PUT", path, b"partNumber=7&" + suffix, body)
    return _named(1, b"l" * PART_SIZE) + _named(7, body)


def _named(number: int, body: bytes) -> bytes:
    etag = hashlib.md5(body).hexdigest().encode()
    return b"<Part><PartNumber>%d</PartNumber><ETag>%b</ETag></Part>" % (number, etag)


# -- access ---------------------------------------------------------------------------------------


def _acls(made: History) -> None:
    """An ACL is set, by name, by grants or by a document; then others try."""
    chance, world = made.chance, made.world
    made.bucket = b"/" + chance.one(world.buckets)
    path = chance.one((made.bucket, made.key()))
    kind = "PutBucketAcl" if path == made.bucket else "PutObjectAcl"
    made.then(b"DELETE", made.bucket, b"ownershipControls")
    way = chance.below(3)
    if way == 0:
        made.then(b"PUT", path, b"acl", b"", (b"x-amz-acl", chance.one(values.CANNED_ACLS)))
    elif way == 1:
        name = chance.one((b"read", b"write", b"read-acp", b"write-acp", b"full-control"))
        grantee = b'id="%b"' % chance.one(world.owners)
        made.then(b"PUT", path, b"acl", b"", (b"x-amz-grant-" + name, grantee))
    else:
        body = documents.sound(chance, kind).replace(b"OWNER", world.owners[0])
        made.then(b"PUT", path, b"acl", body)
    _tries(made)


def _policies(made: History) -> None:
    """A policy is put; then others try what it may allow."""
    made.then(b"PUT", made.bucket, b"policy", documents.sound_policy(made.chance, made.bucket[1:]))
    made.then(b"GET", made.bucket, b"policyStatus")
    _tries(made)
    if made.chance.happens(0.5):
        made.user = made.world.users[0]
        made.then(b"DELETE", made.bucket, b"policy")


def _tries(made: History) -> None:
    for _ in range(made.chance.between(1, 4)):
        made.somebody()
        made.chance.one(_TRIED)(made)


_TRIED: tuple[Callable[[History], None], ...] = (
    lambda made: made.then(b"GET", made.key()),
    lambda made: made.then(b"PUT", made.key(), b"", b"tried", (b"x-amz-tagging", b"a=b")),
    lambda made: made.then(b"PUT", made.key(), b"", b"tried", (b"x-amz-acl", b"private")),
    lambda made: made.then(b"DELETE", made.key()),
    lambda made: made.then(b"GET", made.bucket, b"list-type=2&prefix=dir/&max-keys=1"),
    lambda made: made.then(b"GET", made.bucket, b"uploads"),
    lambda made: made.then(b"GET", made.key(), b"acl"),
    lambda made: made.then(b"GET", made.key(), b"tagging"),
    lambda made: made.then(b"POST", made.key(), b"uploads"),
    lambda made: made.then(b"PUT", made.key(), b"", b"", (b"x-amz-copy-source", made.key())),
    lambda made: made.then(
        b"POST", made.bucket, b"delete", documents.sound(made.chance, "DeleteObjects")
    ),
)


# -- configuration --------------------------------------------------------------------------------

_CONFIGURED = (
    ("PutBucketTagging", b"tagging"),
    ("PutBucketLifecycleConfiguration", b"lifecycle"),
    ("PutBucketCors", b"cors"),
    ("PutBucketOwnershipControls", b"ownershipControls"),
    ("PutPublicAccessBlock", b"publicAccessBlock"),
)


def _configuration(made: History) -> None:
    """A document is put, has its effect, and is read and deleted."""
    chance = made.chance
    operation, name = chance.one(_CONFIGURED)
    made.then(b"PUT", made.bucket, name, documents.sound(chance, operation))
    made.then(b"GET", made.bucket, name)
    preflight = ((b"origin", b"http://a.example.com"), (b"access-control-request-method", b"PUT"))
    made.then(b"OPTIONS", made.key(), b"", b"", *preflight)
    made.then(b"GET", made.key(), b"", b"", (b"origin", b"http://a.example.com"))
    if chance.happens(0.5):
        made.then(b"DELETE", made.bucket, name)


def _tags(made: History) -> None:
    path = made.key()
    made.then(b"PUT", path, b"tagging", documents.sound(made.chance, "PutObjectTagging"))
    made.then(b"GET", path, b"tagging")
    made.then(b"GET", path)
    made.then(b"DELETE", path, b"tagging")


def _deletions(made: History) -> None:
    """Some keys are written and deleted at once."""
    made.then(b"PUT", made.key(), b"", b"going")
    made.then(b"POST", made.bucket, b"delete", documents.sound(made.chance, "DeleteObjects"))
    made.then(b"GET", made.bucket, b"versions&max-keys=3")


_TOLD: tuple[Callable[[History], None], ...] = (
    _multipart, _multipart, _multipart, _versions, _versions, _conditions, _copies, _acls, _acls,
    _policies, _policies, _configuration, _configuration, _tags, _deletions,
)  # fmt: skip
