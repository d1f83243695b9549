"""One object, or one version of it, moved with its bytes, headers, user metadata and tags.

The ETag stays: an object of parts is written with the same parts. The target checks what arrives by
Content-MD5 wherever the ETag is an MD5. Its time of change cannot be carried over by S3;
``keep_times`` writes it into the metadata ``mtime``, in the form that rclone uses.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import quote

from stack.migration.memory import Memory
from stack.migration.throttle import Throttle
from stack.s3.client import S3, Entry, Version, etag_of
from stack.s3.errors import S3Error
from stack.s3.signing import UNSIGNED_PAYLOAD
from stack.s3.transport import Answer, Unreachable
from storage import encodedwords

#: Smaller objects are held in memory while they are moved. Unit: bytes.
WHOLE_MAX = 8 << 20
#: Part size where the source does not tell which parts an object was made of.
_PART = 64 << 20
_ATTEMPTS = 4
_KEPT = (
    "content-type", "content-encoding", "content-language", "content-disposition",
    "cache-control", "expires",
)  # fmt: skip
_GONE = ("NoSuchKey", "NoSuchVersion", "NotFound")
_CLASSES = ("STANDARD", "REDUCED_REDUNDANCY")
_MD5 = re.compile(r"[0-9a-f]{32}")
_OF_PARTS = re.compile(r"[0-9a-f]{32}-(\d+)")


class Gone(Exception):
    """The object was deleted in the source since it was listed."""


class Damaged(Exception):
    """What arrived is not what was sent."""


class Place(NamedTuple):
    """An object of the source; a ``version`` of it, or "" for what is current."""

    bucket: str
    key: str
    version: str

    def query(self, *more: tuple[str, str]) -> list[tuple[str, str]]:
        """The query that asks for it."""
        return [*more, *([("versionId", self.version)] if self.version else [])]


class Copier:
    """Moves objects from ``source`` to ``target``. ``moved`` hears the bytes as they pass."""

    def __init__(
        self,
        source: S3,
        target: S3,
        memory: Memory,
        *,
        throttle: Throttle,
        parts: Executor,
        keep_times: bool = False,
        moved: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._source, self._target, self._memory = source, target, memory
        #: Objects whose tags the source did not tell.
        self.untagged: list[str] = []
        # Tags are asked for while an object streams through the other one's connection.
        self._aside = S3(source.endpoint, source.credentials, source.region)
        self._throttle, self._parts, self._keep_times = throttle, parts, keep_times
        self._moved = moved

    def copy(self, bucket: str, entry: Entry | Version) -> None:
        """Move one object, or one version. Raises Gone, Damaged, S3Error, Unreachable."""
        place = Place(bucket, entry.key, entry.version if isinstance(entry, Version) else "")
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                if _OF_PARTS.fullmatch(entry.etag):
                    return self._copy_parts(place)
                return self._copy_whole(place)
            except (S3Error, Unreachable) as error:
                if isinstance(error, S3Error):
                    if error.status == 404 and error.code in _GONE:
                        raise Gone from None
                    if error.status < 500 and error.code != "PreconditionFailed":
                        raise
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("the loop above returns or raises")

    # -- in one piece -----------------------------------------------------------------------------

    def _copy_whole(self, place: Place) -> None:
        bucket, key, _ = place
        wanted = {"x-amz-checksum-mode": "ENABLED"}
        answer = self._source.get(bucket, key, place.query(), headers=wanted)
        etag = etag_of(answer)
        if _OF_PARTS.fullmatch(etag):  # replaced by one of parts since it was listed
            return self._copy_parts(place)
        headers = self._headers(place, answer.headers)
        headers |= _checksums(answer.headers)
        checked = _MD5.fullmatch(etag) is not None and not _encrypted(answer.headers)
        if checked:
            headers["content-md5"] = base64.b64encode(bytes.fromhex(etag)).decode()
        size = int(answer.headers.get("content-length", 0))
        arrived, digest = self._send(bucket, key, headers, answer, size)
        if arrived != (etag if checked else digest):
            raise Damaged(f"it arrived with the ETag {arrived} instead of {etag}")
        if arrived != etag:
            self._memory.remember_pair(bucket, key, etag, arrived)
        return None

    def _send(
        self, bucket: str, key: str, headers: dict[str, str], answer: Answer, size: int
    ) -> tuple[str, str]:
        """(ETag in the target, MD5 of what was sent)"""
        digest = hashlib.md5(usedforsecurity=False)

        def passing() -> Iterator[bytes]:
            for block in answer.blocks():
                self._throttle.pass_on(len(block))
                digest.update(block)
                yield block
                self._moved(len(block))

        if size <= WHOLE_MAX:
            body = b"".join(passing())
            done = self._target.request(
                "PUT", bucket, key, headers=headers, body=body, payload_hash=UNSIGNED_PAYLOAD
            )
        else:
            headers["content-length"] = str(size)
            done = self._target.request("PUT", bucket, key, headers=headers, body=passing())
        return etag_of(done), digest.hexdigest()

    # -- in parts ---------------------------------------------------------------------------------

    def _copy_parts(self, place: Place) -> None:
        bucket, key, _ = place
        head = self._source.head(bucket, key, place.query())
        if head is None:
            raise Gone
        etag, size = etag_of(head), int(head.headers.get("content-length", 0))
        found = _OF_PARTS.fullmatch(etag)
        if found is None:
            return self._copy_whole(place)
        sizes, known = self._part_sizes(place, size, int(found[1]))
        upload = self._upload(place, etag, head.headers)
        etags = self._send_parts(place, etag, upload, sizes)
        try:
            arrived = self._target.complete_upload(bucket, key, upload, etags)
        finally:
            self._memory.forget_upload(bucket, key)
        if arrived == etag:
            return None
        if known and not _encrypted(head.headers):
            raise Damaged(f"it arrived with the ETag {arrived} instead of {etag}")
        self._memory.remember_pair(bucket, key, etag, arrived)
        return None

    def _part_sizes(self, place: Place, size: int, count: int) -> tuple[list[int], bool]:
        """(sizes of an object's parts, whether the source told them)"""
        first = self._part_size(place, 1)
        if first is None or count == 1:
            told = first is not None or count == 1
            part = size if count == 1 else max(_PART, -(-size // 10_000))
            return _even(size, part), told
        if first * (count - 1) < size <= first * count:
            return _even(size, first), True
        sizes = [first, *(self._part_size(place, n) or 0 for n in range(2, count + 1))]
        return sizes, True

    def _part_size(self, place: Place, number: int) -> int | None:
        """Bytes of one part; None where the source does not tell."""
        query = place.query(("partNumber", str(number)))
        head = self._source.head(place.bucket, place.key, query)
        if head is None or "x-amz-mp-parts-count" not in head.headers:
            return None
        return int(head.headers["content-length"])

    def _upload(self, place: Place, etag: str, headers: Mapping[str, str]) -> str:
        """The upload that an earlier run began, or a new one."""
        bucket, key, _ = place
        upload = self._memory.upload(bucket, key, etag)
        if upload and self._target.parts(bucket, key, upload):
            return upload
        upload = self._target.start_upload(bucket, key, self._headers(place, headers))
        self._memory.remember_upload(bucket, key, etag, upload)
        return upload

    def _send_parts(self, place: Place, etag: str, upload: str, sizes: list[int]) -> list[str]:
        """ETags of all parts; those that are there from an earlier run are not sent again."""
        there = self._target.parts(place.bucket, place.key, upload)
        starts = [sum(sizes[:place]) for place in range(len(sizes))]

        def send(number: int) -> str:
            size, known = sizes[number - 1], there.get(number)
            if known is not None and known[0] == size:
                self._moved(size)
                return known[1]
            return self._send_part(place, etag, upload, number, starts[number - 1], size)

        return list(self._parts.map(send, range(1, len(sizes) + 1)))

    def _send_part(
        self, place: Place, etag: str, upload: str, number: int, start: int, size: int
    ) -> str:
        bucket, key, _ = place
        wanted = {"range": f"bytes={start}-{start + size - 1}", "if-match": f'"{etag}"'}
        query = [("partNumber", str(number)), ("uploadId", upload)]
        for attempt in range(1, _ATTEMPTS + 1):
            digest = hashlib.md5(usedforsecurity=False)
            try:
                ranged = wanted if size else {}
                answer = self._source.get(bucket, key, place.query(), headers=ranged)
                blocks = self._blocks(answer, digest.update)
                headers = {"content-length": str(size)}
                done = self._target.request(
                    "PUT", bucket, key, query=query, headers=headers, body=blocks
                )
            except (S3Error, Unreachable) as error:
                if attempt == _ATTEMPTS or (isinstance(error, S3Error) and error.status < 500):
                    raise
                continue
            if etag_of(done) == digest.hexdigest():
                return etag_of(done)
        raise Damaged(f"its part {number} did not arrive as it was sent")

    def _blocks(self, answer: Answer, tell: Callable[[bytes], None]) -> Iterator[bytes]:
        for block in answer.blocks():
            self._throttle.pass_on(len(block))
            tell(block)
            yield block
            self._moved(len(block))

    # -- what belongs to it -----------------------------------------------------------------------

    def _headers(self, place: Place, given: Mapping[str, str]) -> dict[str, str]:
        """The headers to store an object with, tags included."""
        headers = {name: given[name] for name in _KEPT if given.get(name)}
        headers |= {n: v for n, v in given.items() if n.startswith("x-amz-meta-")}
        # Clients that compress by themselves mark their bodies; storing the mark would lie.
        encoding = headers.get("content-encoding", "").replace("aws-chunked", "").strip(" ,")
        headers.pop("content-encoding", None)
        if encoding:
            headers["content-encoding"] = encoding
        if given.get("x-amz-storage-class") in _CLASSES:
            headers["x-amz-storage-class"] = given["x-amz-storage-class"]
        tags = self._tags(place) if int(given.get("x-amz-tagging-count") or 0) else []
        if tags:
            headers["x-amz-tagging"] = "&".join(
                f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in tags
            )
        if self._keep_times and "x-amz-meta-mtime" not in headers:
            moment = _moment(given.get("last-modified", ""))
            if moment:
                headers["x-amz-meta-mtime"] = f"{moment.timestamp():.0f}"
        return headers

    def _tags(self, place: Place) -> list[tuple[str, str]]:
        """An object's tags; none, and counted, where the source counts but does not tell them."""
        try:
            return self._aside.tags(*place)
        except S3Error as error:
            if error.code != "NotImplemented":
                raise
            self.untagged.append(f"{place.bucket}/{place.key}")
            return []


def belongings(given: Mapping[str, str]) -> dict[str, str]:
    """What must be the same of an object here and there, besides its bytes."""
    found = {name: given[name] for name in _KEPT if given.get(name)}
    found |= {
        # Stores differ in whether they encode what is beyond ASCII.
        name: encodedwords.text(value.encode("utf-8", "surrogateescape").decode("latin-1"))
        for name, value in given.items()
        if name.startswith("x-amz-meta-") and name != "x-amz-meta-mtime"
    }
    return found | {"tags": given.get("x-amz-tagging-count") or "0"}


def _checksums(given: Mapping[str, str]) -> dict[str, str]:
    """Checksums of the whole object, which the target verifies and keeps."""
    if given.get("x-amz-checksum-type") == "COMPOSITE":
        return {}
    found = {
        name: value
        for name, value in given.items()
        if name.startswith("x-amz-checksum-") and name not in _NO_CHECKSUM and "-" not in value
    }
    return found if len(found) == 1 else {}


_NO_CHECKSUM = ("x-amz-checksum-type", "x-amz-checksum-mode", "x-amz-checksum-algorithm")


def _encrypted(headers: Mapping[str, str]) -> bool:
    """Whether the source's ETag may be no MD5 of the bytes, because it encrypts them."""
    return any(name.startswith("x-amz-server-side-encryption") for name in headers)


def _even(size: int, part: int) -> list[int]:
    """``size`` in parts of ``part`` bytes, the last one with the rest."""
    whole, rest = divmod(size, part) if part else (0, 0)
    return [part] * whole + ([rest] if rest or not whole else [])


def _moment(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
