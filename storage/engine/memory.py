"""A store in the process's memory: the smallest thing that honours ``interface.Engine``.

It keeps the contract honest (``tests/contract`` runs over it and over the embedded engine alike)
and lets the planes above be tested without a drive. Nothing survives ``close``. One event loop
uses it; a change is applied without suspending, so changes are atomic by construction.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import xxhash

from storage import errors
from storage.engine import interface as i

BLOCK = 1024 * 1024
INLINE_MAX = 128 * 1024
HISTOGRAM_BOUNDS = (1 << 10, 1 << 20, 10 << 20, 64 << 20, 128 << 20, 512 << 20)


class _Upload:
    """An upload in progress, its parts and their bytes."""

    def __init__(self, upload: i.Upload) -> None:
        self.upload = upload
        self.parts: dict[int, i.UploadedPart] = {}
        self.blobs: dict[int, bytes] = {}


class _Bucket:
    """What one bucket holds. ``keys`` is sorted; ``str`` order is the order of UTF-8 bytes."""

    def __init__(self, bucket: i.Bucket) -> None:
        self.bucket = bucket
        self.keys: list[str] = []
        self.versions: dict[str, list[i.Version]] = {}
        """Of each key that has any, the newest first."""
        self.uploads: dict[tuple[str, str], _Upload] = {}

    def visible(self, key: str) -> i.Version | None:
        newest = next(iter(self.versions.get(key, ())), None)
        return None if newest is None or newest.delete_marker else newest

    def add(self, version: i.Version) -> None:
        """Make it the newest of its key; the null version takes the null version's place."""
        key = version.key
        if key not in self.versions:
            insort(self.keys, key)
            self.versions[key] = []
        kept = self.versions[key]
        if version.version_id == i.NULL_VERSION:
            kept = [old for old in kept if old.version_id != i.NULL_VERSION]
        self.versions[key] = [version, *kept]

    def remove(self, version: i.Version) -> None:
        left = [old for old in self.versions[version.key] if old is not version]
        self.versions[version.key] = left
        if not left:
            del self.versions[version.key]
            del self.keys[bisect_left(self.keys, version.key)]

    def named(self, key: str, version_id: str) -> i.Version | None:
        """The version of this id, the newest one without; also a delete marker."""
        for version in self.versions.get(key, ()):
            if version_id in ("", version.version_id):
                return version
        return None


class MemoryEngine:
    """``interface.Engine`` over dicts."""

    def __init__(self, *, inline_max: int = INLINE_MAX) -> None:
        self._inline_max = inline_max
        self._seq = 0
        self._generation = 1
        self._bucket_ids = 0
        self._files = 0
        self._buckets: dict[str, _Bucket] = {}
        self._by_id: dict[int, _Bucket] = {}
        self._system: dict[tuple[str, str], i.SystemRecord] = {}
        self._cursors: dict[str, int] = {}
        self._feed: list[i.FeedEvent] = []
        self._staged: dict[str, bytes] = {}

    # -- changes --------------------------------------------------------------------------------

    async def commit(self, change: i.Change) -> Any:
        match change:
            case i.PutObject():
                return self._put_object(change)
            case i.DeleteObject():
                return self._delete_object(change)
            case i.AmendObject():
                return self._amend_object(change)
            case i.CreateBucket():
                return self._create_bucket(change)
            case i.DeleteBucket():
                return self._delete_bucket(change)
            case i.SetBucketConfig():
                return self._set_bucket_config(change)
            case i.CreateUpload():
                return self._create_upload(change)
            case i.PutPart():
                return self._put_part(change)
            case i.CompleteUpload():
                return self._complete_upload(change)
            case i.AbortUpload():
                return self._abort_upload(change)
            case i.PutSystem():
                return self._put_system(change)
            case i.SetCursor():
                self._next()
                self._cursors[change.consumer] = change.seq
                return None

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def _held(self, bucket_id: int) -> _Bucket:
        held = self._by_id.get(bucket_id)
        if held is None:
            raise errors.NoSuchBucket
        return held

    def _named(self, change: i.DeleteBucket | i.SetBucketConfig) -> _Bucket:
        held = self._buckets.get(change.name)
        if held is None or change.bucket_id not in (0, held.bucket.id):
            raise errors.NoSuchBucket
        return held

    def _create_bucket(self, change: i.CreateBucket) -> i.Bucket:
        held = self._buckets.get(change.name)
        if held is not None:
            raise errors.BucketExists(held.bucket.owner)
        self._bucket_ids += 1
        bucket = i.Bucket(
            id=self._bucket_ids,
            name=change.name,
            owner=change.owner,
            created=change.created,
            region=change.region,
            config=dict(change.config),
        )
        self._buckets[change.name] = self._by_id[bucket.id] = _Bucket(bucket)
        self._generation += 1
        self._emit(
            self._next(), "bucket-create", bucket, modified=change.created, owner=change.owner
        )
        return bucket

    def _delete_bucket(self, change: i.DeleteBucket) -> None:
        held = self._named(change)
        if held.keys:
            raise errors.BucketNotEmpty
        del self._buckets[change.name]
        del self._by_id[held.bucket.id]
        self._generation += 1
        self._emit(self._next(), "bucket-delete", held.bucket, owner=held.bucket.owner)

    def _set_bucket_config(self, change: i.SetBucketConfig) -> None:
        held = self._named(change)
        now = held.bucket.config
        if any(now.get(document) != value for document, value in change.expect.items()):
            raise errors.Conflict
        config = {k: v for k, v in held.bucket.config.items() if k != change.document}
        if change.value is not None:
            config[change.document] = change.value
        held.bucket = msgspec.structs.replace(held.bucket, config=config)
        self._generation += 1
        self._emit(self._next(), "bucket-config", held.bucket, document=change.document)

    def _put_object(self, change: i.PutObject) -> i.Committed:
        held = self._held(change.bucket_id)
        current = held.visible(change.key)
        if change.conditions is not None:
            i.check_write(change.conditions, current.etag if current else None)
        if change.expect_seq and (current is None or current.seq != change.expect_seq):
            raise errors.Conflict
        place: tuple[bytes, ...] = (change.payload,)
        if change.files:
            place = tuple(self._claim(ref, _replaced(held, current)) for ref in change.files)
        seq = self._next()
        version = i.Version(
            bucket_id=change.bucket_id,
            key=change.key,
            seq=seq,
            modified=change.modified,
            size=change.size,
            etag=change.etag,
            owner=change.owner,
            storage_class=change.storage_class,
            meta=i.decode_meta(change.meta),
            files=tuple(change.files),
            place=place,
            version_id=_new_id(held, seq),
        )
        return self._show(held, version)

    def _show(self, held: _Bucket, version: i.Version, *, multipart: bool = False) -> i.Committed:
        """Make ``version`` the newest one of its key."""
        existed = held.visible(version.key) is not None
        held.add(version)
        kind = "marker" if version.delete_marker else "put"
        self._emit_version(kind, held.bucket, version, multipart=multipart)
        return _answer(held, version, existed)

    def _emit_version(
        self, kind: str, bucket: i.Bucket, version: i.Version, seq: int = 0, **more: Any
    ) -> None:
        self._emit(
            seq or version.seq,
            kind,
            bucket,
            key=version.key,
            size=version.size,
            etag=version.etag,
            modified=version.modified,
            owner=version.owner,
            version_id=version.version_id,
            **more,
        )

    def _delete_object(self, change: i.DeleteObject) -> i.Committed:
        held = self._held(change.bucket_id)
        newest = held.named(change.key, "")
        current = held.visible(change.key)
        if change.conditions is not None:
            i.check_write(change.conditions, current.etag if current else None)
        if change.expect_seq and (newest is None or newest.seq != change.expect_seq):
            return i.Committed()
        if not change.version_id and i.VERSIONING in held.bucket.config:
            return self._mark(held, change)
        gone = held.named(change.key, change.version_id) if change.version_id else current
        if gone is None:
            return i.Committed(version_id=change.version_id)
        held.remove(gone)
        seq = self._next()
        now = time.time_ns() // 1_000_000
        self._emit_version(
            "delete", held.bucket, msgspec.structs.replace(gone, modified=now), seq, victim=gone.seq
        )
        return i.Committed(
            seq, True, version_id=change.version_id, delete_marker=gone.delete_marker
        )

    def _mark(self, held: _Bucket, change: i.DeleteObject) -> i.Committed:
        """Make a delete marker."""
        seq = self._next()
        marker = i.Version(
            bucket_id=change.bucket_id,
            key=change.key,
            seq=seq,
            modified=change.modified or time.time_ns() // 1_000_000,
            size=0,
            etag="",
            owner=change.owner or held.bucket.owner,
            storage_class="STANDARD",
            meta=i.Meta(),
            version_id=_new_id(held, seq),
            delete_marker=True,
        )
        return self._show(held, marker)

    def _amend_object(self, change: i.AmendObject) -> i.Committed:
        held = self._held(change.bucket_id)
        for at, version in enumerate(held.versions.get(change.key, ())):
            if version.seq == change.seq and not version.delete_marker:
                meta = i.amended(version.meta, change)
                amended = msgspec.structs.replace(version, meta=meta)
                held.versions[change.key][at] = amended
                self._emit_version("amend", held.bucket, amended, self._next())
                return _answer(held, amended, existed=True)
        raise errors.NoSuchVersion

    def _create_upload(self, change: i.CreateUpload) -> None:
        held = self._held(change.bucket_id)
        self._next()
        held.uploads[change.key, change.upload_id] = _Upload(
            i.Upload(
                bucket_id=change.bucket_id,
                key=change.key,
                upload_id=change.upload_id,
                initiated=change.initiated,
                owner=change.owner,
                storage_class=change.storage_class,
                meta=i.decode_meta(change.meta),
                checksum_algorithm=change.checksum_algorithm,
                checksum_type=change.checksum_type,
            )
        )

    def _progress(self, bucket_id: int, key: str, upload_id: str) -> _Upload:
        progress = self._held(bucket_id).uploads.get((key, upload_id))
        if progress is None:
            raise errors.NoSuchUpload
        return progress

    def _put_part(self, change: i.PutPart) -> None:
        progress = self._progress(change.bucket_id, change.key, change.upload_id)
        progress.blobs[change.number] = self._claim(change.file, None)
        progress.parts[change.number] = i.UploadedPart(
            number=change.number,
            size=change.size,
            etag=change.etag,
            modified=change.modified,
            checksums=dict(change.checksums),
            file=change.file,
        )
        self._next()

    def _complete_upload(self, change: i.CompleteUpload) -> i.Committed:
        held = self._held(change.bucket_id)
        current = held.visible(change.key)
        progress = held.uploads.get((change.key, change.upload_id))
        if progress is None:
            if current is not None and _made_by(current, change):
                return _answer(held, current, existed=False)
            raise errors.NoSuchUpload
        parts = [_chosen(progress, named) for named in change.parts]
        for part in parts[:-1]:
            if part.size < i.PART_BYTES_MIN:
                raise errors.PartTooSmall(part.number, part.size, i.PART_BYTES_MIN)
        if not parts:
            raise errors.InvalidPart(0)
        if sum(part.size for part in parts) != change.size:
            raise errors.Conflict
        if change.conditions is not None:
            i.check_write(change.conditions, current.etag if current else None)
        upload = progress.upload
        del held.uploads[change.key, change.upload_id]
        seq = self._next()
        meta = msgspec.structs.replace(
            upload.meta,
            checksums=dict(change.checksums),
            checksum_type=change.checksum_type or upload.checksum_type,
            parts=[i.Part(p.number, p.size, p.etag, p.checksums) for p in parts],
            upload_id=change.upload_id,
        )
        version = i.Version(
            bucket_id=change.bucket_id,
            key=change.key,
            seq=seq,
            modified=change.modified,
            size=change.size,
            etag=change.etag,
            owner=upload.owner,
            storage_class=upload.storage_class,
            meta=meta,
            files=tuple(part.file for part in parts),
            place=tuple(progress.blobs[part.number] for part in parts),
            version_id=_new_id(held, seq),
        )
        return self._show(held, version, multipart=True)

    def _abort_upload(self, change: i.AbortUpload) -> None:
        self._progress(change.bucket_id, change.key, change.upload_id)
        del self._by_id[change.bucket_id].uploads[change.key, change.upload_id]
        self._next()

    def _put_system(self, change: i.PutSystem) -> i.Committed:
        name = change.kind, change.name
        current = self._system.get(name)
        if change.expect_seq is not None and change.expect_seq != (current.seq if current else 0):
            raise errors.Conflict
        seq = self._next()
        self._generation += 1
        if change.value is None:
            self._system.pop(name, None)
        else:
            self._system[name] = i.SystemRecord(change.kind, change.name, change.value, seq)
        return i.Committed(seq=seq, existed=current is not None)

    def _claim(self, ref: i.FileRef, current: i.Version | None) -> bytes:
        """The bytes behind ``ref``: freshly written, or those of the version being replaced."""
        if current is not None and ref in current.files:
            return bytes(current.place[current.files.index(ref)])
        blob = self._staged.pop(ref.name, None)
        if blob is None:
            raise errors.Unavailable(f"no file {ref.name}")
        return blob

    def _emit(
        self,
        seq: int,
        kind: str,
        bucket: i.Bucket,
        *,
        key: str = "",
        size: int = 0,
        etag: str = "",
        modified: int = 0,
        owner: str = "",
        **more: Any,
    ) -> None:
        self._feed.append(
            i.FeedEvent(seq, kind, bucket.name, bucket.id, key, size, etag, modified, owner, **more)
        )

    def generation(self) -> int:
        return self._generation

    # -- what exists ------------------------------------------------------------------------------

    async def bucket(self, name: str) -> i.Bucket | None:
        held = self._buckets.get(name)
        return held.bucket if held else None

    async def buckets(self) -> list[i.Bucket]:
        return [self._buckets[name].bucket for name in sorted(self._buckets)]

    async def usage(self, bucket_id: int) -> i.Usage:
        """Counted, not kept: what other engines' counters are compared with."""
        held = self._held(bucket_id)
        shown = [version for key in held.keys if (version := held.visible(key)) is not None]
        hidden = [
            version
            for kept in held.versions.values()
            for at, version in enumerate(kept)
            if at or version.delete_marker
        ]
        sizes = [version.size for version in shown]
        histogram = [0] * (len(HISTOGRAM_BOUNDS) + 1)
        for size in sizes:
            histogram[bisect_right(HISTOGRAM_BOUNDS, size)] += 1
        markers = sum(version.delete_marker for version in hidden)
        return i.Usage(
            len(sizes),
            sum(sizes),
            len(held.uploads),
            tuple(histogram),
            len(hidden) - markers,
            sum(version.size for version in hidden),
            markers,
        )

    async def lookup(self, bucket_id: int, key: str) -> i.Version | None:
        return self.lookup_at_once(bucket_id, key)

    immediate = True

    def lookup_at_once(self, bucket_id: int, key: str) -> i.Version | None:
        held = self._by_id.get(bucket_id)
        return held.visible(key) if held else None

    async def version(self, bucket_id: int, key: str, version_id: str = "") -> i.Version | None:
        held = self._by_id.get(bucket_id)
        return held.named(key, version_id) if held else None

    async def list_objects(
        self,
        bucket_id: int,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> i.Page:
        held = self._held(bucket_id)
        page = i.Page([], [], None)
        if limit <= 0:
            return page
        last = ""
        start = max(bisect_left(held.keys, prefix), bisect_right(held.keys, after) if after else 0)
        for key in held.keys[start:]:
            if not key.startswith(prefix):
                break
            shown = held.visible(key)
            if shown is None:
                continue
            common = common_prefix(key, prefix, delimiter)
            if common and (after.startswith(common) or page.prefixes[-1:] == [common]):
                continue
            if len(page.entries) + len(page.prefixes) == limit:
                page.next_after = last
                break
            last = common or key
            if common:
                page.prefixes.append(common)
            else:
                page.entries.append(_entry(shown))
        return page

    async def list_versions(
        self,
        bucket_id: int,
        *,
        prefix: str = "",
        delimiter: str = "",
        after_key: str = "",
        after_version: str = "",
        limit: int = 1000,
    ) -> i.VersionPage:
        held = self._held(bucket_id)
        page = i.VersionPage([], [], None, None)
        if limit <= 0:
            return page
        last = ("", "")
        for key in held.keys[bisect_left(held.keys, max(prefix, after_key)) :]:
            if not key.startswith(prefix):
                break
            common = common_prefix(key, prefix, delimiter)
            if common and (after_key.startswith(common) or page.prefixes[-1:] == [common]):
                continue
            kept = held.versions[key]
            older = _older(kept, after_version) if key == after_key else kept
            for version in older[:1] if common else older:
                if len(page.entries) + len(page.prefixes) == limit:
                    page.next_key, page.next_version = last
                    return page
                last = (common, "") if common else (key, version.version_id)
                if common:
                    page.prefixes.append(common)
                else:
                    page.entries.append(_version_entry(version, latest=version is kept[0]))
        return page

    async def upload(self, bucket_id: int, key: str, upload_id: str) -> i.Upload | None:
        held = self._by_id.get(bucket_id)
        progress = held.uploads.get((key, upload_id)) if held else None
        return progress.upload if progress else None

    async def parts(
        self, bucket_id: int, key: str, upload_id: str, *, after: int = 0, limit: int = 10_000
    ) -> list[i.UploadedPart]:
        progress = self._progress(bucket_id, key, upload_id)
        numbers = sorted(number for number in progress.parts if number > after)
        return [progress.parts[number] for number in numbers[:limit]]

    async def list_uploads(
        self,
        bucket_id: int,
        *,
        prefix: str = "",
        delimiter: str = "",
        after_key: str = "",
        after_upload: str = "",
        limit: int = 1000,
    ) -> i.UploadPage:
        held = self._held(bucket_id)
        page = i.UploadPage([], [], None, None)
        if limit <= 0:
            return page
        marker = held.uploads.get((after_key, after_upload))
        floor = _initiation(marker.upload) if marker else (0, "")
        last = ("", "")
        for upload in sorted(
            (progress.upload for progress in held.uploads.values()),
            key=lambda upload: (upload.key, *_initiation(upload)),
        ):
            key = upload.key
            if not key.startswith(prefix) or key < after_key:
                continue
            if key == after_key and (not after_upload or _initiation(upload) <= floor):
                continue
            common = common_prefix(key, prefix, delimiter)
            if common and (after_key.startswith(common) or page.prefixes[-1:] == [common]):
                continue
            if len(page.uploads) + len(page.prefixes) == limit:
                page.next_key, page.next_upload = last
                break
            last = (common, "") if common else (key, upload.upload_id)
            if common:
                page.prefixes.append(common)
            else:
                page.uploads.append(upload)
        return page

    async def system(self, kind: str) -> list[i.SystemRecord]:
        return [self._system[name] for name in sorted(self._system) if name[0] == kind]

    async def system_record(self, kind: str, name: str) -> i.SystemRecord | None:
        return self._system.get((kind, name))

    # -- bytes ------------------------------------------------------------------------------------

    async def read_inline(self, version: i.Version) -> bytes:
        return self.read_at_once(version)

    def read_at_once(self, version: i.Version) -> bytes:
        return bytes(version.place[0])

    async def read(
        self, version: i.Version, start: int, stop: int
    ) -> AsyncIterator[memoryview | bytes]:
        for blob in version.place:
            for offset in range(max(start, 0), min(stop, len(blob)), BLOCK):
                yield memoryview(blob)[offset : min(offset + BLOCK, stop)]
            start, stop = start - len(blob), stop - len(blob)

    async def create_file(self, size_hint: int = 0) -> i.FileWriter:
        self._files += 1
        return _Writer(self._staged, f"{self._files:x}")

    # -- feed and operation -----------------------------------------------------------------------

    async def changes(self, after: int, limit: int = 1000) -> Sequence[i.FeedEvent]:
        start = bisect_right(self._feed, after, key=lambda event: event.seq)
        return self._feed[start : start + limit]

    async def cursors(self) -> dict[str, int]:
        return dict(self._cursors)

    async def health(self) -> i.Health:
        return i.Health()

    async def space(self) -> i.Space:
        return i.Space(total=1 << 40, free=1 << 39, drives_online=1, drives_offline=0)

    def inline_limit(self) -> int:
        return self._inline_max

    async def close(self) -> None:
        self._staged.clear()


class _Writer:
    """``interface.FileWriter`` into a dict of bytes."""

    def __init__(self, staged: dict[str, bytes], name: str) -> None:
        self._staged, self._name, self._data = staged, name, bytearray()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self._data += data

    async def room(self) -> memoryview:
        self._room = bytearray(BLOCK)
        return memoryview(self._room)

    async def fill(self, count: int) -> None:
        self._data += self._room[:count]

    async def finish(self) -> i.FileRef:
        blob = bytes(self._data)
        self._staged[self._name] = blob
        return i.FileRef(self._name, len(blob), xxhash.xxh3_64_intdigest(blob))

    async def abort(self) -> None:
        self._data.clear()
        self._staged.pop(self._name, None)


def common_prefix(key: str, prefix: str, delimiter: str) -> str:
    """``key`` up to the first ``delimiter`` behind ``prefix``, or "" if there is none."""
    if not delimiter:
        return ""
    at = key.find(delimiter, len(prefix))
    return key[: at + len(delimiter)] if at >= 0 else ""


def _initiation(upload: i.Upload) -> tuple[int, str]:
    return upload.initiated, upload.upload_id


def _new_id(held: _Bucket, seq: int) -> str:
    """The id of a version that is written now."""
    enabled = held.bucket.config.get(i.VERSIONING) == i.ENABLED
    return i.version_id(seq) if enabled else i.NULL_VERSION


def _replaced(held: _Bucket, current: i.Version | None) -> i.Version | None:
    """``current`` if a version written now takes its place, so that it may take its files."""
    if current is None or held.bucket.config.get(i.VERSIONING) == i.ENABLED:
        return None
    return current if current.version_id == i.NULL_VERSION else None


def _older(kept: list[i.Version], after: str) -> list[i.Version]:
    """What of a key's versions lies behind the one named, which may be gone; "": nothing."""
    if not after:
        return []
    mark = i.parse_version_id(after)
    if not mark:
        mark = next((old.seq for old in kept if old.version_id == i.NULL_VERSION), 1 << 63)
    return [version for version in kept if version.seq < mark]


def _answer(held: _Bucket, version: i.Version, existed: bool) -> i.Committed:
    return i.Committed(
        version.seq,
        existed,
        version.etag,
        version.version_id if i.VERSIONING in held.bucket.config else "",
        version.modified,
        version.delete_marker,
    )


def _version_entry(version: i.Version, *, latest: bool) -> i.VersionEntry:
    return i.VersionEntry(
        key=version.key,
        seq=version.seq,
        version_id=version.version_id,
        latest=latest,
        delete_marker=version.delete_marker,
        modified=version.modified,
        size=version.size,
        etag=version.etag,
        owner=version.owner,
        storage_class=version.storage_class,
        checksum_algorithm=next(iter(version.meta.checksums), ""),
        checksum_type=version.meta.checksum_type,
    )


def _entry(version: i.Version) -> i.Entry:
    return i.Entry(
        key=version.key,
        modified=version.modified,
        size=version.size,
        etag=version.etag,
        owner=version.owner,
        storage_class=version.storage_class,
        checksum_algorithm=next(iter(version.meta.checksums), ""),
        checksum_type=version.meta.checksum_type,
    )


def _chosen(progress: _Upload, named: i.CompletePart) -> i.UploadedPart:
    """The part that a completion names, if it is the one that the client means."""
    part = progress.parts.get(named.number)
    if part is None or (named.etag and named.etag != part.etag):
        raise errors.InvalidPart(named.number)
    for algorithm, value in named.checksums.items():
        if part.checksums.get(algorithm) != value:
            raise errors.InvalidPart(named.number)
    return part


def _made_by(version: i.Version, change: i.CompleteUpload) -> bool:
    """Whether ``change`` repeats the completion that made ``version``."""
    made = version.meta.parts
    return (
        version.meta.upload_id == change.upload_id
        and len(made) == len(change.parts)
        and all(
            part.number == named.number and named.etag in ("", part.etag)
            for part, named in zip(made, change.parts, strict=True)
        )
    )
