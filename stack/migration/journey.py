"""A whole migration: prepares the buckets, moves what differs in parallel, compares at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TypeVar

from stack.migration import versions
from stack.migration.comparison import compare
from stack.migration.copying import Copier, Gone, belongings
from stack.migration.memory import Memory
from stack.migration.settings import CARRIED, EQUAL, LEFT, Setting, Settings, reason
from stack.migration.throttle import Throttle
from stack.migration.versions import History
from stack.s3.client import S3, Entry, Version
from stack.s3.errors import S3Error
from stack.s3.transport import Unreachable
from stack.store import CommandError

#: Refusals that will be the same for every object.
_HOPELESS = frozenset(
    ("XMinioStorageFull", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed",
     "AuthorizationHeaderMalformed", "NoSuchBucket", "QuotaExceeded")
)  # fmt: skip
_FAILURES_KEPT = 1000
#: The seconds that a run began and ended in, as listings write times. A store may tell the time
#: of a second ago.
_FROM, _TO = "%Y-%m-%dT%H:%M:%S.000Z", "%Y-%m-%dT%H:%M:%S.999Z"
_LATE = timedelta(seconds=1)
#: Finished work is forgotten when so many pieces are waited for.
_PENDING = 200
#: A prune that would take more than this share of a bucket is refused: the source may be wrong.
_PRUNE_MAX = 0.1
_PRUNE_FREE = 100
#: Objects of the target alone that are asked for one by one in the source, to be sure of them.
_ASKED_MAX = 1000


Stranger = TypeVar("Stranger", Entry, Version)


@dataclass
class Plan:
    """What is to be done. ``keys``: further keys of each bucket, which no listing shows.

    ``dry`` goes with ``compare_only``: nothing is asked to be equal.
    """

    buckets: list[str]
    parallel: int = 16
    rate: int = 0
    compare_only: bool = False
    prune: bool = False
    keep_times: bool = False
    headers: bool = False
    latest_only: bool = False
    dry: bool = False
    keys: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class BucketResult:
    """How one bucket came out. ``objects`` and ``bytes`` are the source's, at the end.

    Where versions are carried, each of them and each delete marker counts as an object.
    """

    bucket: str
    history: bool = False
    objects: int = 0
    bytes: int = 0
    copied: int = 0
    copied_bytes: int = 0
    missing: int = 0
    different: int = 0
    extra: int = 0
    pruned: int = 0
    notes: list[str] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether everything of the source is in the target as it is in the source."""
        return not self.missing and not self.different


@dataclass
class Outcome:
    """How a migration came out. ``failures``: (bucket, key, why)."""

    buckets: list[BucketResult] = field(default_factory=list)
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    people: list[Setting] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether all buckets are equal and nothing failed."""
        return not self.failures and all(result.equal for result in self.buckets)


@dataclass
class Watch:
    """Hears how it goes on: what is done, objects and bytes found to move, and moved."""

    stage: Callable[[str], None] = lambda text: None
    found: Callable[[int, int], None] = lambda objects, size: None
    moved: Callable[[int, int], None] = lambda objects, size: None


def check_source(source: S3, buckets: Sequence[str]) -> list[str]:
    """The buckets to move. Raises CommandError for those that do not exist."""
    present = source.buckets()
    lacking = [bucket for bucket in buckets if bucket not in present]
    if lacking:
        raise CommandError(f"{source.endpoint} has no bucket {', '.join(lacking)}.")
    return list(buckets) or present


class Journey:
    """Moves everything of a plan. ``run`` may be called again: it goes on where it was stopped."""

    def __init__(self, source: S3, target: S3, plan: Plan, memory: Memory, watch: Watch) -> None:
        self._source, self._target = source, target
        self._plan, self._memory, self._watch = plan, memory, watch
        self._outcome = Outcome()
        self._settings = Settings(source, target, memory)
        self._prunes = plan.prune and not plan.compare_only
        self._lost: Exception | None = None
        self._room = threading.BoundedSemaphore(plan.parallel * 4)
        self._lock = threading.Lock()

    def run(self) -> Outcome:
        """Move and compare. Raises CommandError when going on makes no sense."""
        began = time.monotonic()
        with (
            ThreadPoolExecutor(self._plan.parallel, "copy") as pool,
            ThreadPoolExecutor(4, "part") as parts,
        ):
            self._copier = Copier(
                self._source, self._target, self._memory,
                throttle=Throttle(self._plan.rate), parts=parts, keep_times=self._plan.keep_times,
                moved=lambda count: self._watch.moved(0, count),
            )  # fmt: skip
            try:
                for bucket in self._plan.buckets:
                    self._outcome.buckets.append(self._move_bucket(bucket, pool))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                parts.shutdown(wait=False, cancel_futures=True)
                raise
            if self._copier.untagged:
                count = len(self._copier.untagged)
                self._outcome.notes.append(
                    f"the tags of {count} object{'s' * (count > 1)} stay behind: the source has "
                    "them and does not tell them"
                )
            for result in self._outcome.buckets:
                self._verify(result, pool)
        self._outcome.seconds = round(time.monotonic() - began, 1)
        return self._outcome

    # -- moving -----------------------------------------------------------------------------------

    def _move_bucket(self, bucket: str, pool: ThreadPoolExecutor) -> BucketResult:
        self._watch.stage(bucket)
        result = BucketResult(bucket)
        kept = versions.status(self._source, bucket)
        result.history = bool(kept) and not self._plan.latest_only
        if self._plan.compare_only:
            if self._plan.dry:
                result.settings = self._settings.carry(bucket, dry=True)
            return result
        if not self._target.has_bucket(bucket):
            self._target.create_bucket(bucket)
        before = versions.status(self._target, bucket)
        if result.history and before != versions.ENABLED:
            versions.set_status(self._target, bucket, versions.ENABLED)
        began = self._now()
        try:
            self._move_all(result, pool)
        finally:
            # What the target got at another time was written by somebody else.
            self._memory.remember_run(
                bucket, began.strftime(_FROM), (self._now() + _LATE).strftime(_TO)
            )
        result.settings = [
            *self._set_versioning(bucket, kept, before),
            *self._settings.carry(bucket, dry=False),
        ]  # fmt: skip
        return result

    def _move_all(self, result: BucketResult, pool: ThreadPoolExecutor) -> None:
        pending: set[Future[None]] = set()
        move = self._move_histories if result.history else self._move_objects
        move(pool, pending, result)
        for future in pending:
            future.result()
        self._stop_if_lost()

    def _set_versioning(self, bucket: str, wanted: str, before: str) -> list[Setting]:
        """Keep versions from now on as the source does; ``before`` the run it was so."""
        if not wanted:
            return []
        if versions.status(self._target, bucket) != wanted:
            try:
                versions.set_status(self._target, bucket, wanted)
            except S3Error as error:
                return [Setting("versioning", LEFT, reason(error))]
        return [Setting("versioning", EQUAL if before == wanted else CARRIED)]

    def _move_objects(
        self, pool: ThreadPoolExecutor, pending: set[Future[None]], result: BucketResult
    ) -> None:
        bucket = result.bucket
        for page in compare(self._source, self._target, bucket, self._same(bucket)):
            for entry in [*page.missing, *page.differing]:
                self._submit(pool, pending, result, entry.key, [entry])
        for entry in self._named(bucket):
            self._submit(pool, pending, result, entry.key, [entry])

    def _move_histories(
        self, pool: ThreadPoolExecutor, pending: set[Future[None]], result: BucketResult
    ) -> None:
        bucket = result.bucket
        for found in self._compared_histories(bucket):
            if found.lacking:
                self._submit(pool, pending, result, found.key, found.lacking)

    def _compared_histories(self, bucket: str) -> Iterator[History]:
        same = self._same(bucket)
        yield from versions.compare(self._source, self._target, bucket, same)
        for key in self._plan.keys.get(bucket, ()):
            there = versions.one(self._source, bucket, key)
            if not there:
                self._note(bucket, key, FileNotFoundError("the source has no such object"))
            here = versions.one(self._target, bucket, key)
            yield versions.compared(key, there, here, same)

    def _submit(
        self,
        pool: ThreadPoolExecutor,
        pending: set[Future[None]],
        result: BucketResult,
        key: str,
        entries: Sequence[Entry | Version],
    ) -> None:
        """Let what belongs to one key be moved, one after the other."""
        self._stop_if_lost()
        self._watch.found(len(entries), sum(entry.size for entry in entries))
        self._room.acquire()
        pending.add(pool.submit(self._move_key, result, key, entries))
        if len(pending) > _PENDING:
            pending.difference_update([future for future in pending if future.done()])

    def _move_key(self, result: BucketResult, key: str, entries: Sequence[Entry | Version]) -> None:
        moved = 0
        try:
            for entry in entries:
                if self._lost is not None:
                    break
                self._move_one(result.bucket, entry)
                moved += 1
                self._watch.moved(1, 0)
                with self._lock:
                    result.copied += 1
                    result.copied_bytes += entry.size
        except Gone:
            pass
        except Exception as error:  # noqa: BLE001 - one key's trouble must not end the others
            self._note(result.bucket, key, error)
        finally:
            self._watch.moved(len(entries) - moved, 0)
            self._room.release()

    def _move_one(self, bucket: str, entry: Entry | Version) -> None:
        if isinstance(entry, Version) and entry.marker:
            self._target.delete_one(bucket, entry.key)
        else:
            self._copier.copy(bucket, entry)

    def _note(self, bucket: str, key: str, error: Exception) -> None:
        hopeless = isinstance(error, Unreachable) and error.reason in ("refused", "name", "tls")
        if hopeless or (isinstance(error, S3Error) and error.code in _HOPELESS):
            self._lost = error
        with self._lock:
            if len(self._outcome.failures) < _FAILURES_KEPT:
                self._outcome.failures.append((bucket, key, str(error)))

    def _stop_if_lost(self) -> None:
        if self._lost is not None:
            raise CommandError(
                f"Stopped: {self._lost}. What has arrived stays; the same command goes on from "
                "there."
            )

    def _named(self, bucket: str) -> list[Entry]:
        """Objects that were named because the source's listing hides them, if they differ."""
        found: list[Entry] = []
        for key in self._plan.keys.get(bucket, ()):
            there = self._entry(self._source, bucket, key)
            here = self._entry(self._target, bucket, key)
            if there is None:
                self._note(bucket, key, FileNotFoundError("the source has no such object"))
            elif here is None or not self._same(bucket)(there, here):
                found.append(there)
        return found

    @staticmethod
    def _entry(s3: S3, bucket: str, key: str) -> Entry | None:
        head = s3.head(bucket, key)
        if head is None:
            return None
        size = int(head.headers.get("content-length", 0))
        return Entry(key, size, head.headers.get("etag", "").strip('"'), "")

    def _same(self, bucket: str) -> Callable[[Entry | Version, Entry | Version], bool]:
        def same(one: Entry | Version, other: Entry | Version) -> bool:
            if _is_delete(one) or _is_delete(other):
                return _is_delete(one) and _is_delete(other)
            return one.size == other.size and (
                one.etag == other.etag or self._memory.same(bucket, one.key, one.etag, other.etag)
            )

        return same

    # -- comparing --------------------------------------------------------------------------------

    def _verify(self, result: BucketResult, pool: ThreadPoolExecutor) -> None:
        """Compare once more, by new listings, and prune if that was asked for."""
        self._watch.stage(f"comparing {result.bucket}")
        if self._plan.compare_only and not self._target.has_bucket(result.bucket):
            self._count(result)
            return
        if result.history:
            self._verify_histories(result, pool)
        else:
            self._verify_objects(result, pool)

    def _count(self, result: BucketResult) -> None:
        """All of the source is missing."""
        listed: Iterable[Entry | Version] = self._source.objects(result.bucket)
        if result.history:
            listed = self._source.versions(result.bucket)
        for entry in listed:
            result.objects += 1
            result.missing += 1
            result.bytes += entry.size

    def _verify_histories(self, result: BucketResult, pool: ThreadPoolExecutor) -> None:
        extra: list[Version] = []
        like: list[Entry] = []
        for found in self._compared_histories(result.bucket):
            result.objects += len(found.theirs)
            result.bytes += sum(version.size for version in found.theirs)
            result.missing += len(found.lacking)
            extra += found.extra
            if self._plan.headers and found.theirs and not (found.lacking or found.extra):
                last = found.theirs[-1]
                like += [] if last.marker else [Entry(last.key, last.size, last.etag, "")]
        result.different += self._unlike(result, like, pool)
        if self._prunes:

            def remove(ours: list[Version]) -> None:
                for each in ours:
                    self._target.delete_one(result.bucket, each.key, each.version)

            extra = self._pruned(result, extra, result.objects, remove)
        result.extra += len(extra)

    def _verify_objects(self, result: BucketResult, pool: ThreadPoolExecutor) -> None:
        strangers: list[Entry] = []
        kept = 0
        for page in compare(self._source, self._target, result.bucket, self._same(result.bucket)):
            entries = [*page.same, *page.differing, *page.missing]
            result.objects += len(entries)
            result.bytes += sum(entry.size for entry in entries)
            result.missing += len(page.missing)
            result.different += len(page.differing)
            if self._plan.headers:
                result.different += self._unlike(result, page.same, pool)
            extra = [entry for entry in page.strangers if not _is_marker(entry)]
            if self._prunes or len(strangers) + len(extra) <= _ASKED_MAX:
                strangers += extra
            else:
                result.extra += len(extra)
            kept += len(page.same)
        strangers = self._absent(result.bucket, strangers, pool)
        if self._prunes:
            strangers = self._pruned(
                result, strangers, kept,
                lambda ours: self._target.delete(result.bucket, [each.key for each in ours]),
            )  # fmt: skip
        result.extra += len(strangers)

    def _absent(self, bucket: str, strangers: list[Entry], pool: ThreadPoolExecutor) -> list[Entry]:
        """Those that really are not in the source: a listing may have hidden them."""
        heads = pool.map(lambda entry: self._source.head(bucket, entry.key), strangers)
        return [entry for entry, head in zip(strangers, heads, strict=True) if head is None]

    def _pruned(
        self,
        result: BucketResult,
        strangers: list[Stranger],
        kept: int,
        remove: Callable[[list[Stranger]], object],
    ) -> list[Stranger]:
        """Remove what an earlier run brought and the source has deleted since; what is left."""
        runs = self._memory.runs(result.bucket)

        def brought(each: Stranger) -> bool:
            return any(began <= each.modified <= ended for began, ended in runs)

        ours = [each for each in strangers if brought(each)]
        if len(ours) > max(_PRUNE_FREE, kept * _PRUNE_MAX):
            result.notes.append(
                f"{len(ours)} objects of {result.bucket} are gone from the source, which is more "
                "than a tenth: nothing was removed. Is it the right source?"
            )
            return strangers
        remove(ours)
        result.pruned = len(ours)
        return [each for each in strangers if not brought(each)]

    def _unlike(self, result: BucketResult, entries: list[Entry], pool: ThreadPoolExecutor) -> int:
        """How many of these have other headers or metadata in the target."""

        def like(entry: Entry) -> bool:
            there = self._source.head(result.bucket, entry.key)
            here = self._target.head(result.bucket, entry.key)
            return (
                there is None
                or here is None
                or belongings(there.headers) == belongings(here.headers)
            )

        likes = pool.map(like, entries)
        unlike = [entry.key for entry, same in zip(entries, likes, strict=True) if not same]
        for key in unlike[:10]:
            result.notes.append(f"{result.bucket}/{key} has other headers or metadata")
        return len(unlike)

    def _now(self) -> datetime:
        """The target's time, to the second; this machine's if it does not tell."""
        try:
            date = self._target.request("GET").headers.get("date", "")
            return parsedate_to_datetime(date).astimezone(UTC)
        except (ValueError, TypeError, S3Error, Unreachable):
            return datetime.now(UTC)


def _is_delete(entry: Entry | Version) -> bool:
    return isinstance(entry, Version) and entry.marker


def _is_marker(entry: Entry) -> bool:
    """An empty object that makes a prefix visible, which stores and consoles make themselves."""
    return entry.size == 0 and entry.key.endswith("/")
