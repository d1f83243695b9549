"""Versions of objects: which one a request means, GetBucketVersioning, PutBucketVersioning,
ListObjectVersions.

Sources: Amazon S3 User Guide, "Retaining multiple versions of objects with S3 Versioning" and
"Working with delete markers".
"""

from __future__ import annotations

from collections.abc import Mapping

from storage.engine import interface as i
from storage.s3 import headers, xml
from storage.s3.call import Call, HeaderList, Response
from storage.s3.errors import S3Error
from storage.s3.operations import access
from storage.s3.operations.body import read_document
from storage.s3.operations.documents import set_document
from storage.s3.operations.facts import Value
from storage.s3.operations.list_objects import Listing, owner_elements

_STATES = {"Enabled": i.ENABLED, "Suspended": i.SUSPENDED}


def has_versions(bucket: i.Bucket) -> bool:
    """Whether versioning was ever enabled: then answers name versions."""
    return i.VERSIONING in bucket.config


def asked_version(call: Call) -> str:
    """The id that ``versionId`` names, "" without. Raises InvalidArgument."""
    version_id = call.query.get("versionId")
    return "" if version_id is None else check_version_id(version_id)


def check_version_id(version_id: str, name: str = "versionId") -> str:
    """``version_id`` if a version could have it. Raises InvalidArgument."""
    if not version_id:
        raise S3Error(
            "InvalidArgument",
            "Version id cannot be the empty string",
            ArgumentName=name,
            ArgumentValue="",
        )
    if i.parse_version_id(version_id) < 0:
        raise S3Error(
            "InvalidArgument",
            "Invalid version id specified",
            ArgumentName=name,
            ArgumentValue=version_id,
        )
    return version_id


async def find(
    call: Call,
    bucket: i.Bucket,
    key: str,
    version_id: str = "",
    action: str = "",
    given: Mapping[str, Value] | None = None,
) -> i.Version:
    """The version asked for; without an id the visible one.

    ``action`` is what is about to be done with it, "" for the request's own; ``given`` as in
    ``access.decision``. Raises NoSuchKey, NoSuchVersion, MethodNotAllowed (a delete marker was
    named), or AccessDenied where the caller may not know what keys exist, or may not use this
    version.
    """
    engine = call.app.engine
    if version_id:
        version = await engine.version(bucket.id, key, version_id)
    else:
        version = await engine.lookup(bucket.id, key)
    if version is None:
        raise await access.absent(call, bucket, key, version_id)
    if (call.by_object or version.owner != bucket.owner) and not version.delete_marker:
        access.check_version(call, bucket, key, version, action, given)
    if version.delete_marker:
        raise S3Error(
            "MethodNotAllowed",
            headers=(
                access.MARKER,
                (b"x-amz-version-id", version.version_id.encode()),
                (b"last-modified", headers.http_date(version.modified // 1000)),
                (b"allow", b"DELETE"),
            ),
            Method=call.method,
            ResourceType="DeleteMarker",
        )
    return version


def version_header(bucket: i.Bucket, version: i.Version) -> HeaderList:
    """``x-amz-version-id`` of what is read."""
    if not has_versions(bucket):
        return []
    return [(b"x-amz-version-id", version.version_id.encode())]


def written_header(committed: i.Committed) -> HeaderList:
    """``x-amz-version-id`` of what was put or completed: S3 names no null version there."""
    return [] if committed.version_id == i.NULL_VERSION else committed_header(committed)


def committed_header(committed: i.Committed) -> HeaderList:
    """``x-amz-version-id`` of what was copied or deleted."""
    if not committed.version_id:
        return []
    return [(b"x-amz-version-id", committed.version_id.encode())]


def deleted_headers(committed: i.Committed) -> HeaderList:
    """What a deletion made or took away."""
    lines = committed_header(committed)
    if committed.delete_marker:
        lines.append(access.MARKER)
    return lines


# -- the bucket's state ---------------------------------------------------------------------------


async def get_bucket_versioning(call: Call) -> Response:
    """Empty while versioning was never enabled."""
    state = call.target.config.get(i.VERSIONING)
    text = "" if state is None else f"<Status>{state.decode()}</Status>"
    return Response(200, [xml.CONTENT_TYPE], xml.document("VersioningConfiguration", text))


async def put_bucket_versioning(call: Call) -> Response:
    """Enable or suspend versioning. It can't be undone, only suspended (S3)."""
    root = xml.parse(await read_document(call), "VersioningConfiguration")
    found = xml.fields(root, frozenset(("Status", "MfaDelete")))
    mfa_delete = found.get("MfaDelete", "Disabled")
    if mfa_delete not in ("Enabled", "Disabled"):
        raise xml.malformed("MfaDelete")
    if mfa_delete == "Enabled":
        raise S3Error("NotImplemented", "MFA delete is not implemented.", Element="MfaDelete")
    if "Status" not in found:
        raise S3Error("IllegalVersioningConfigurationException", Element="Status")
    state = _STATES.get(found["Status"])
    if state is None:
        raise xml.malformed("Status")
    if call.target.config.get(i.VERSIONING) != state:
        await set_document(call, i.VERSIONING, state)
    return Response(200, [])


# -- the listing ----------------------------------------------------------------------------------


async def list_object_versions(call: Call) -> Response:
    """All versions and delete markers, by key, the newest of each key first."""
    query = call.query
    key_marker = query.get("key-marker", "")
    version_marker = query.get("version-id-marker", "")
    if "version-id-marker" in query and version_marker:
        check_version_id(version_marker, "version-id-marker")
        if not key_marker:
            raise S3Error(
                "InvalidArgument",
                "A version-id marker cannot be specified without a key marker.",
                ArgumentName="version-id-marker",
                ArgumentValue=version_marker,
            )
    listing = Listing(call)
    page = await call.app.engine.list_versions(
        call.target.id,
        prefix=listing.prefix,
        delimiter=listing.delimiter,
        after_key=key_marker,
        after_version=version_marker,
        limit=listing.limit,
    )
    names = [key_marker, page.next_key or "", *page.prefixes]
    listing.settle_encoding([*names, *(entry.key for entry in page.entries)])
    encode = listing.encode
    text = (
        f"{listing.head(truncated=page.next_key is not None)}"
        f"<KeyMarker>{encode(key_marker)}</KeyMarker>"
        f"<VersionIdMarker>{version_marker}</VersionIdMarker>"
    )
    if page.next_key is not None:
        text += f"<NextKeyMarker>{encode(page.next_key)}</NextKeyMarker>"
        if page.next_version:
            text += f"<NextVersionIdMarker>{page.next_version}</NextVersionIdMarker>"
    owners = owner_elements(call, {entry.owner for entry in page.entries})
    text += "".join(_row(entry, encode(entry.key), owners[entry.owner]) for entry in page.entries)
    text += listing.common_prefixes(page.prefixes)
    return Response(200, [xml.CONTENT_TYPE], xml.document("ListVersionsResult", text))


def _row(entry: i.VersionEntry, key: str, owner: str) -> str:
    head = (
        f"<Key>{key}</Key><VersionId>{entry.version_id}</VersionId>"
        f"<IsLatest>{'true' if entry.latest else 'false'}</IsLatest>"
        f"<LastModified>{headers.iso_date(entry.modified)}</LastModified>"
    )
    if entry.delete_marker:
        return f"<DeleteMarker>{head}{owner}</DeleteMarker>"
    checksum = ""
    if entry.checksum_algorithm:
        checksum = (
            f"<ChecksumAlgorithm>{entry.checksum_algorithm.upper()}</ChecksumAlgorithm>"
            f"<ChecksumType>{entry.checksum_type}</ChecksumType>"
        )
    return (
        f"<Version>{head}<ETag>&quot;{entry.etag}&quot;</ETag>{checksum}<Size>{entry.size}</Size>"
        f"{owner}<StorageClass>{entry.storage_class}</StorageClass></Version>"
    )
