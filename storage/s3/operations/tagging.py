"""Tags of objects and buckets: Get, Put and Delete of ObjectTagging and BucketTagging."""

from __future__ import annotations

import msgspec

from storage import errors
from storage.engine import interface as i
from storage.s3 import headers, xml
from storage.s3.call import Call, Response
from storage.s3.errors import S3Error
from storage.s3.operations import access, facts, versioning
from storage.s3.operations.body import read_document
from storage.s3.operations.documents import set_document

#: Bucket configuration document of the tags: a MessagePack map of strings.
DOCUMENT = "tagging"
_BUCKET_TAGS_MAX = 50
_PAIR = frozenset(("Key", "Value"))


def parse(body: bytes) -> list[tuple[str, str]]:
    """(name, value) pairs of a Tagging document. Raises MalformedXML."""
    return pairs(xml.only(xml.parse(body, "Tagging"), "TagSet"))


def pairs(tag_set: xml.Node) -> list[tuple[str, str]]:
    """(name, value) of each ``<Tag>``. Raises MalformedXML."""
    found = []
    for node in xml.items(tag_set, "Tag"):
        tag = xml.fields(node, _PAIR, ("Key", "Value"))
        found.append((tag["Key"], tag["Value"]))
    return found


async def read_tags(call: Call) -> dict[str, str]:
    """The tags of an object that the body holds. Raises MalformedXML, InvalidTag."""
    return headers.check_tags(parse(await read_document(call)))


def _document(tags: dict[str, str]) -> bytes:
    rows = "".join(
        f"<Tag>{xml.element('Key', name)}{xml.element('Value', value)}</Tag>"
        for name, value in tags.items()
    )
    return xml.document("Tagging", f"<TagSet>{rows}</TagSet>")


# -- objects --------------------------------------------------------------------------------------


async def get_object_tagging(call: Call) -> Response:
    """The tags of a version; none is an empty set."""
    version = await _version(call)
    lines = [xml.CONTENT_TYPE, *versioning.version_header(call.target, version)]
    return Response(200, lines, _document(version.meta.tags))


async def put_object_tagging(call: Call) -> Response:
    """Replace the tags of a version, which stays the same version."""
    tags = await facts.read_tags(call)
    await access.renewed(call)
    version = await _amend(call, tags)
    return Response(200, versioning.version_header(call.target, version))


async def delete_object_tagging(call: Call) -> Response:
    """Take all tags away."""
    version = await _amend(call, {})
    return Response(204, versioning.version_header(call.target, version))


async def _version(call: Call) -> i.Version:
    """The version asked for. Of a key that a delete marker hides, the marker: it has no tags."""
    version_id = versioning.asked_version(call)
    if not version_id and versioning.has_versions(call.target):
        newest = await call.app.engine.version(call.target.id, call.key)
        if newest is not None and newest.delete_marker:
            version_id = newest.version_id
    return await versioning.find(call, call.target, call.key, version_id)


async def _amend(call: Call, tags: dict[str, str]) -> i.Version:
    while True:
        version = await _version(call)
        try:
            change = i.AmendObject(
                call.target.id, call.key, version.seq, tags, expect=access.seen(call, version)
            )
            await call.app.engine.commit(change)
        except (errors.NoSuchVersion, errors.Conflict):
            continue  # it was replaced or amended meanwhile: look again
        return version


# -- buckets --------------------------------------------------------------------------------------


async def get_bucket_tagging(call: Call) -> Response:
    """The bucket's tags. Raises NoSuchTagSet."""
    value = call.target.config.get(DOCUMENT)
    if value is None:
        raise S3Error("NoSuchTagSet", BucketName=call.bucket)
    tags = msgspec.msgpack.decode(value, type=dict[str, str])
    return Response(200, [xml.CONTENT_TYPE], _document(tags))


async def put_bucket_tagging(call: Call) -> Response:
    """Replace the bucket's tags; none are as good as never put.

    The answer is 200 as in the API Reference and in MinIO, whose own clients take nothing else,
    though S3 itself answers 204.
    """
    await set_document(call, DOCUMENT, bucket_document(parse(await read_document(call))))
    return Response(200, [])


def bucket_document(found: list[tuple[str, str]]) -> bytes | None:
    """The configuration document of a bucket's tags; None of none. Raises InvalidTag."""
    tags = headers.check_tags(found, most=_BUCKET_TAGS_MAX)
    return msgspec.msgpack.encode(tags) if tags else None


async def delete_bucket_tagging(call: Call) -> Response:
    """Take all tags away."""
    await set_document(call, DOCUMENT, None)
    return Response(204, [])
