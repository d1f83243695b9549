"""ListObjects and ListObjectsV2.

Keys that XML 1.0 can't carry (control characters): without ``encoding-type`` AWS writes character
references that no conforming parser accepts. Here such a page is answered as if
``encoding-type=url`` had been asked for, and says so in ``EncodingType``: nothing is lost, and
the document stays well-formed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from storage.engine.interface import Bucket, Entry, Page
from storage.iam import ownership
from storage.s3 import headers, xml
from storage.s3.call import Call, Response
from storage.s3.errors import S3Error

#: Entries of a page at most; a larger ``max-keys`` counts as this (S3).
PAGE_MAX = 1000


class Listing:
    """What both versions have in common: parameters in, rows out."""

    def __init__(self, call: Call) -> None:
        """Raises InvalidArgument."""
        query = call.query
        self.call = call
        self.prefix = query.get("prefix", "")
        self.delimiter = query.get("delimiter", "")
        self.limit = page_limit(query.get("max-keys", ""), "max-keys")
        self.url = wants_url(call)
        self.encode: Callable[[str], str] = xml.escape
        """What the names of the page need; known once it is read."""

    async def page(self, after: str, told: str = "") -> Page:
        """The page behind ``after``. ``told``: a name that the answer repeats besides."""
        bucket = self.call.target
        page = await self.call.app.engine.list_objects(
            bucket.id, prefix=self.prefix, delimiter=self.delimiter, after=after, limit=self.limit
        )
        names = [after, told, page.next_after or "", *page.prefixes]
        self.settle_encoding([*names, *(entry.key for entry in page.entries)])
        return page

    def settle_encoding(self, names: list[str]) -> None:
        """Decide how the names of a page are written."""
        names += (self.prefix, self.delimiter)
        self.url, self.encode = xml.encoding(names, url=self.url)

    def head(self, *, truncated: bool, prefix: str | None = None) -> str:
        """The elements both versions begin with. ``prefix``: as it is written, if not as names."""
        encode = self.encode
        prefix = encode(self.prefix) if prefix is None else prefix
        return (
            f"<Name>{xml.escape(self.call.bucket)}</Name><Prefix>{prefix}</Prefix>"
            f"<MaxKeys>{self.limit}</MaxKeys>"
            + (f"<Delimiter>{encode(self.delimiter)}</Delimiter>" if self.delimiter else "")
            + ("<EncodingType>url</EncodingType>" if self.url else "")
            + f"<IsTruncated>{'true' if truncated else 'false'}</IsTruncated>"
        )

    def rows(self, page: Page, *, owners: bool) -> str:
        named = self._owners(page) if owners else None
        rows = contents(page.entries, self.encode, named)
        return "".join(rows) + self.common_prefixes(page.prefixes)

    def common_prefixes(self, prefixes: list[str]) -> str:
        encode = self.encode
        return "".join(
            f"<CommonPrefixes><Prefix>{encode(prefix)}</Prefix></CommonPrefixes>"
            for prefix in prefixes
        )

    def _owners(self, page: Page) -> dict[str, str]:
        return owner_elements(self.call, {entry.owner for entry in page.entries})


def contents(
    entries: list[Entry],
    encode: Callable[[str], str],
    owners: dict[str, str] | None,
) -> list[str]:
    """One element per entry. ``owners``: elements by id, None to leave them out."""
    iso_second = headers.iso_second
    rows = []
    for entry in entries:
        checksum = entry.checksum_algorithm
        second, fraction = divmod(entry.modified, 1000)
        rows.append(
            f"<Contents><Key>{encode(entry.key)}</Key>"
            f"<LastModified>{iso_second(second)}.{fraction:03d}Z</LastModified>"
            f"<ETag>&quot;{entry.etag}&quot;</ETag>"
            f"{_checksum(entry) if checksum else ''}<Size>{entry.size}</Size>"
            f"{owners[entry.owner] if owners else ''}"
            f"<StorageClass>{entry.storage_class}</StorageClass></Contents>"
        )
    return rows


def _checksum(entry: Entry) -> str:
    text = f"<ChecksumAlgorithm>{entry.checksum_algorithm.upper()}</ChecksumAlgorithm>"
    if entry.checksum_type:
        text += f"<ChecksumType>{entry.checksum_type}</ChecksumType>"
    return text


def shown_owner(bucket: Bucket, owner: str) -> str:
    """Who is shown as the owner of what ``owner`` wrote: BucketOwnerEnforced leaves only one."""
    enforced = ownership.of(bucket.config.get(ownership.DOCUMENT)) == ownership.ENFORCED
    return bucket.owner if enforced else owner


def owner_elements(call: Call, owners: set[str]) -> dict[str, str]:
    """``<Owner>`` of the objects of each of ``owners`` in the bucket of the call."""
    return {owner: owner_element(call, shown_owner(call.target, owner)) for owner in owners}


def owner_element(call: Call, owner: str, name: str = "Owner") -> str:
    """``<Owner>`` with canonical id and display name."""
    shown = xml.escape(call.app.display_name(owner))
    return f"<{name}><ID>{xml.escape(owner)}</ID><DisplayName>{shown}</DisplayName></{name}>"


def page_limit(text: str, name: str) -> int:
    """A page's size as asked for, "" for the default. Raises InvalidArgument."""
    if not text:
        return PAGE_MAX
    return min(headers.integer(text, name, 0, 2**31 - 1), PAGE_MAX)


def wants_url(call: Call) -> bool:
    """Whether ``encoding-type=url`` is asked for. Raises InvalidArgument for another one."""
    kind = call.query.get("encoding-type")
    if kind is not None and kind.lower() != "url":
        raise S3Error(
            "InvalidArgument",
            "Invalid Encoding Method specified in Request",
            ArgumentName="encoding-type",
            ArgumentValue=kind,
        )
    return kind is not None


async def list_objects(call: Call) -> Response:
    """Version 1: continues after ``marker``; NextMarker only with a delimiter, as in S3."""
    listing = Listing(call)
    marker = call.query.get("marker", "")
    page = await listing.page(marker)
    encode = listing.encode
    # Some SDKs decode the prefix of this version, others take it as it is.
    prefix = xml.url_encode_least(listing.prefix) if listing.url else None
    text = listing.head(truncated=page.next_after is not None, prefix=prefix)
    text += f"<Marker>{encode(marker)}</Marker>"
    if page.next_after is not None and listing.delimiter:
        text += f"<NextMarker>{encode(page.next_after)}</NextMarker>"
    text += listing.rows(page, owners=True)
    return Response(200, [xml.CONTENT_TYPE], xml.document("ListBucketResult", text))


async def list_objects_v2(call: Call) -> Response:
    """Version 2: continues at an opaque token."""
    listing = Listing(call)
    query = call.query
    start_after = query.get("start-after", "")
    token = query.get("continuation-token")
    page = await listing.page(parse_token(token) if token else start_after, start_after)
    text = listing.head(truncated=page.next_after is not None)
    if token is not None:
        text += xml.element("ContinuationToken", token)
    if page.next_after is not None:
        text += f"<NextContinuationToken>{make_token(page.next_after)}</NextContinuationToken>"
    if start_after:
        text += f"<StartAfter>{listing.encode(start_after)}</StartAfter>"
    text += f"<KeyCount>{len(page.entries) + len(page.prefixes)}</KeyCount>"
    text += listing.rows(page, owners=query.get("fetch-owner", "").lower() == "true")
    return Response(200, [xml.CONTENT_TYPE], xml.document("ListBucketResult", text))


_TOKEN = b"1"
"""Format of continuation tokens: this byte, then the cursor."""


def make_token(after: str) -> str:
    """The token of what follows ``after``."""
    return base64.urlsafe_b64encode(_TOKEN + after.encode()).decode()


def parse_token(token: str) -> str:
    """The cursor in a token. Raises InvalidArgument."""
    try:
        data = base64.b64decode(token, b"-_", validate=True)
        if data[:1] == _TOKEN:
            return data[1:].decode()
    except (binascii.Error, ValueError):
        pass
    raise S3Error(
        "InvalidArgument",
        "The continuation token provided is incorrect",
        ArgumentName="continuation-token",
    )
