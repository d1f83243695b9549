"""The S3 operations that the stack's commands need, against any store."""

from __future__ import annotations

import base64
import hashlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote_plus
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape

from stack.s3.errors import S3Error, error_of, parse
from stack.s3.signing import (
    EMPTY_SHA256,
    UNSIGNED_PAYLOAD,
    Credentials,
    Query,
    encode_path,
    encode_query,
    presign,
    sign,
)
from stack.s3.transport import Answer, Transport, Unreachable

#: Answers that ask to be tried again.
_AGAIN = frozenset((429, 500, 502, 503, 504))
_DELETE_MAX = 900


class Entry(NamedTuple):
    """An object in a listing."""

    key: str
    size: int
    etag: str
    modified: str


class Version(NamedTuple):
    """A version of an object, or a delete marker, in a listing of versions."""

    key: str
    version: str
    size: int
    etag: str
    modified: str
    marker: bool


class S3:
    """One endpoint with one user's credentials. Safe to share among threads.

    Every operation raises S3Error for what the store refuses and Unreachable where none answers.
    """

    def __init__(
        self,
        endpoint: str,
        credentials: Credentials,
        region: str = "us-east-1",
        *,
        timeout: float = 30.0,
        attempts: int = 4,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises ValueError if ``endpoint`` is no URL. ``attempts``: tries of a request in all."""
        self.transport = Transport(endpoint, timeout)
        self.credentials, self.region = credentials, region
        self._attempts, self._clock = attempts, clock

    @property
    def endpoint(self) -> str:
        return self.transport.url

    # -- requests ---------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        bucket: str = "",
        key: str = "",
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] = b"",
        *,
        payload_hash: str = "",
        signed_host: str = "",
    ) -> Answer:
        """Send a signed request (path style); an answer that is no success is raised.

        A body that is an iterator needs a content-length in ``headers``, is not signed unless
        its ``payload_hash`` is given, and is sent once. ``signed_host``: sign for another host
        than the one that is sent, to find out which one the store sees.
        """
        given = dict(headers or {})
        if isinstance(body, bytes):
            payload_hash = payload_hash or hashlib.sha256(body).hexdigest()
        else:
            payload_hash = payload_hash or UNSIGNED_PAYLOAD
        tries = self._attempts if isinstance(body, bytes) else 1
        for attempt in range(1, tries + 1):
            try:
                return self._once(
                    method, bucket, key, query, given, body, payload_hash, signed_host
                )
            except (S3Error, Unreachable) as error:
                error.endpoint = self.endpoint
                if attempt == tries or not _worth_another_try(error):
                    raise
                time.sleep(_pause(attempt, error))
        raise AssertionError("the loop above returns or raises")

    def _once(
        self,
        method: str,
        bucket: str,
        key: str,
        query: Query,
        headers: dict[str, str],
        body: bytes | Iterable[bytes],
        payload_hash: str,
        signed_host: str,
    ) -> Answer:
        path, items = f"/{bucket}/{key}" if key else f"/{bucket}", list(query)
        signed = sign(
            method, signed_host or self.transport.host, path, items, headers, payload_hash,
            self.credentials, self.region, self._clock(),
        )  # fmt: skip
        sent = {**signed.headers, "host": self.transport.host}
        if isinstance(body, bytes) and (body or method in ("PUT", "POST")):
            sent.setdefault("content-length", str(len(body)))
        target = encode_path(path) + (f"?{encode_query(items)}" if items else "")
        answer = self.transport.send(method, target, sent, body)
        if answer.status >= 300:
            raise error_of(answer, method, signed.canonical)
        return answer

    def presigned(
        self,
        method: str,
        bucket: str,
        key: str,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        expires: int = 3600,
    ) -> tuple[str, str]:
        """(path with query, canonical request) of a presigned URL at this endpoint."""
        return presign(
            method, self.transport.host, f"/{bucket}/{key}", query, headers or {},
            self.credentials, self.region, self._clock(), expires,
        )  # fmt: skip

    # -- buckets ----------------------------------------------------------------------------------

    def buckets(self) -> list[str]:
        """Names of the buckets that the user may see."""
        return [name.text or "" for name in _tree(self.request("GET")).iter("Name")]

    def has_bucket(self, bucket: str) -> bool:
        """Whether the bucket exists and may be listed."""
        return self._exists(lambda: self.request("HEAD", bucket))

    def create_bucket(self, bucket: str) -> None:
        """Make a bucket."""
        self.request("PUT", bucket)

    def objects(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """All objects whose keys start with ``prefix`` and sort after ``after``."""
        for page in self.pages(bucket, prefix, after):
            yield from page

    def pages(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[list[Entry]]:
        """The same, page by page of at most 1,000 objects, in the store's order."""
        query = [("list-type", "2"), ("encoding-type", "url"), ("max-keys", "1000")]
        query += [(n, v) for n, v in (("prefix", prefix), ("start-after", after)) if v]
        token = ""
        while True:
            more = [("continuation-token", token)] if token else []
            tree = _tree(self.request("GET", bucket, query=query + more))
            encoded = tree.findtext("EncodingType") == "url"
            yield [_entry(row, encoded) for row in tree.iter("Contents")]
            token = tree.findtext("NextContinuationToken") or ""
            if not token:
                return

    def versions(self, bucket: str, prefix: str = "") -> Iterator[Version]:
        """All versions and delete markers, those of a key together and its newest first."""
        query = [("versions", ""), ("encoding-type", "url"), ("max-keys", "1000")]
        query += [("prefix", prefix)] if prefix else []
        more: list[tuple[str, str]] = []
        while True:
            tree = _tree(self.request("GET", bucket, query=query + more))
            encoded = tree.findtext("EncodingType") == "url"
            for row in tree:
                if row.tag in ("Version", "DeleteMarker"):
                    yield _version(row, encoded)
            if tree.findtext("IsTruncated") != "true":
                return
            marker = tree.findtext("NextKeyMarker") or ""
            version = tree.findtext("NextVersionIdMarker")
            more = [("key-marker", _decoded(marker) if encoded else marker)]
            more += [("version-id-marker", version)] if version else []  # S3 refuses an empty one

    def document(self, bucket: str, resource: str) -> bytes | None:
        """A configuration of a bucket, as ``?lifecycle`` or ``?policy`` tells it; None if there is
        none, no such bucket, or no such thing in this store."""
        try:
            return self.request("GET", bucket, query=[(resource, "")]).body
        except S3Error as error:
            if error.status == 404 or error.code in ("NotImplemented", "MethodNotAllowed"):
                return None
            raise

    def put_document(self, bucket: str, resource: str, document: bytes) -> None:
        """Replace a configuration of a bucket."""
        headers = {"content-md5": md5(document)}
        self.request("PUT", bucket, query=[(resource, "")], headers=headers, body=document)

    def delete_document(self, bucket: str, resource: str) -> None:
        """Take a configuration of a bucket away."""
        self.request("DELETE", bucket, query=[(resource, "")])

    # -- objects ----------------------------------------------------------------------------------

    def put(
        self, bucket: str, key: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> str:
        """Store an object; its ETag."""
        return etag_of(self.request("PUT", bucket, key, headers=headers, body=body))

    def get(
        self,
        bucket: str,
        key: str,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """An object, whose body is read by the caller."""
        return self.request(
            "GET", bucket, key, query=query, headers=headers, payload_hash=EMPTY_SHA256
        )

    def head(self, bucket: str, key: str, query: Query = ()) -> Answer | None:
        """An object's headers; None if there is none."""
        try:
            return self.request("HEAD", bucket, key, query=query)
        except S3Error as error:
            if error.status == 404:
                return None
            raise

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        """Delete objects. Raises S3Error with the first one that could not be deleted."""
        for start in range(0, len(keys), _DELETE_MAX):
            rows = "".join(
                f"<Object><Key>{escape(key)}</Key></Object>"
                for key in keys[start : start + _DELETE_MAX]
            )
            document = f"<Delete><Quiet>true</Quiet>{rows}</Delete>".encode()
            headers = {"content-md5": md5(document), "content-type": "application/xml"}
            answer = self.request(
                "POST", bucket, query=[("delete", "")], headers=headers, body=document
            )
            failed = _tree(answer).find("Error")
            if failed is not None:
                fields = {child.tag: child.text or "" for child in failed}
                raise S3Error(
                    200, fields.get("Code", ""), f"{fields.get('Key')}: {fields.get('Message')}",
                    fields, answer.headers,
                )  # fmt: skip

    def delete_one(self, bucket: str, key: str, version: str = "") -> None:
        """Delete an object, which hides it behind a delete marker where versions are kept, or one
        of its versions for good."""
        query = [("versionId", version)] if version else []
        self.request("DELETE", bucket, key, query=query)

    # -- objects in parts -------------------------------------------------------------------------

    def start_upload(self, bucket: str, key: str, headers: Mapping[str, str] | None = None) -> str:
        """Begin a multipart upload; its id."""
        answer = self.request("POST", bucket, key, query=[("uploads", "")], headers=headers)
        return _tree(answer).findtext("UploadId") or ""

    def complete_upload(self, bucket: str, key: str, upload: str, etags: Sequence[str]) -> str:
        """Make one object of all parts, in their order; its ETag."""
        rows = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{escape(etag)}&quot;</ETag></Part>"
            for number, etag in enumerate(etags, 1)
        )
        document = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
        answer = self.request("POST", bucket, key, query=[("uploadId", upload)], body=document)
        tree = _tree(answer)
        if tree.tag == "Error":  # S3 may find out after it has answered 200
            raise error_of(answer, "POST")
        return (tree.findtext("ETag") or "").strip('"')

    def parts(self, bucket: str, key: str, upload: str) -> dict[int, tuple[int, str]]:
        """(size, ETag) of each part that an upload has, by number; none if it is not known."""
        found: dict[int, tuple[int, str]] = {}
        marker = ""
        while True:
            query = [("uploadId", upload), *([("part-number-marker", marker)] if marker else [])]
            try:
                tree = _tree(self.request("GET", bucket, key, query=query))
            except S3Error as error:
                if error.code == "NoSuchUpload":
                    return {}
                raise
            for row in tree.iter("Part"):
                number = int(row.findtext("PartNumber") or 0)
                etag = (row.findtext("ETag") or "").strip('"')
                found[number] = int(row.findtext("Size") or 0), etag
            if tree.findtext("IsTruncated") != "true":
                return found
            marker = tree.findtext("NextPartNumberMarker") or ""

    def tags(self, bucket: str, key: str, version: str = "") -> list[tuple[str, str]]:
        """The tags of an object, or of one of its versions."""
        query = [("tagging", ""), *([("versionId", version)] if version else [])]
        tree = _tree(self.request("GET", bucket, key, query=query))
        return [(t.findtext("Key") or "", t.findtext("Value") or "") for t in tree.iter("Tag")]

    def abort_upload(self, bucket: str, key: str, upload: str) -> None:
        """Drop an upload and its parts."""
        self.request("DELETE", bucket, key, query=[("uploadId", upload)])

    def _exists(self, ask: Callable[[], Answer]) -> bool:
        try:
            ask()
        except S3Error as error:
            if error.status == 404:
                return False
            raise
        return True


def etag_of(answer: Answer) -> str:
    """The ETag of an answer, without quotation marks."""
    return answer.headers.get("etag", "").strip('"')


def md5(data: bytes) -> str:
    """The value of Content-MD5 for ``data``."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _tree(answer: Answer) -> Element:
    try:
        return parse(answer.body)
    except ParseError:
        raise error_of(answer, "GET") from None


def _entry(row: Element, encoded: bool) -> Entry:
    found = {child.tag: child.text or "" for child in row}
    key = found.get("Key", "")
    return Entry(
        _decoded(key) if encoded else key,
        int(found.get("Size") or 0),
        found.get("ETag", "").strip('"'),
        found.get("LastModified", ""),
    )


def _version(row: Element, encoded: bool) -> Version:
    found = _entry(row, encoded)
    version = row.findtext("VersionId") or "null"
    marker = row.tag == "DeleteMarker"
    return Version(found.key, version, found.size, found.etag, found.modified, marker)


def _decoded(key: str) -> str:
    return unquote_plus(key, errors="surrogateescape")


def _worth_another_try(error: S3Error | Unreachable) -> bool:
    if isinstance(error, S3Error):
        return error.status in _AGAIN
    return error.reason in ("broken", "timeout", "refused")


def _pause(attempt: int, error: S3Error | Unreachable) -> float:
    """Seconds to wait: twice as long each time, with chance, at least what the store asks for."""
    asked = error.headers.get("retry-after", "") if isinstance(error, S3Error) else ""
    wait: float = random.uniform(0.5, 1.0) * 0.2 * 2**attempt  # noqa: S311 - no secret hangs on it
    return min(max(wait, float(asked) if asked.isdigit() else 0.0), 20.0)
