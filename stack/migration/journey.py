"""A whole migration: prepares the buckets, moves what differs in parallel, compares at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

from stack.migration.comparison import compare
from stack.migration.copying import Copier, Gone, belongings
from stack.migration.memory import Memory
from stack.migration.throttle import Throttle
from stack.s3.client import S3, Entry
from stack.s3.errors import S3Error, parse
from stack.s3.transport import Unreachable
from stack.store import CommandError

#: Settings of a bucket that are not carried over: (sub-resource, what it is called).
_LEFT_BEHIND = (
    ("lifecycle", "lifecycle rules"), ("policy", "a bucket policy"), ("cors", "CORS rules"),
    ("notification", "notifications"), ("encryption", "default encryption"),
    ("object-lock", "object lock"), ("tagging", "tags of the bucket"),
    ("replication", "replication"),
)  # fmt: skip
#: Refusals that will be the same for every object.
_HOPELESS = frozenset(
    ("XMinioStorageFull", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed",
     "AuthorizationHeaderMalformed", "NoSuchBucket", "QuotaExceeded")
)  # fmt: skip
_FAILURES_KEPT = 1000
#: A prune that would take more than this share of a bucket is refused: the source may be wrong.
_PRUNE_MAX = 0.1
_PRUNE_FREE = 100
#: Objects of the target alone that are asked for one by one in the source, to be sure of them.
_ASKED_MAX = 1000


@dataclass
class Plan:
    """What is to be done. ``keys``: further keys of each bucket, which no listing shows."""

    buckets: list[str]
    parallel: int = 16
    rate: int = 0
    compare_only: bool = False
    prune: bool = False
    keep_times: bool = False
    headers: bool = False
    keys: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class BucketResult:
    """How one bucket came out. ``objects`` and ``bytes`` are the source's, at the end."""

    bucket: str
    objects: int = 0
    bytes: int = 0
    copied: int = 0
    copied_bytes: int = 0
    missing: int = 0
    different: int = 0
    extra: int = 0
    pruned: int = 0
    notes: list[str] = field(default_factory=list)

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


def check_source(source: S3, buckets: Sequence[str], latest_only: bool) -> list[str]:
    """The buckets to move. Raises CommandError for what cannot be moved as it is."""
    present = source.buckets()
    lacking = [bucket for bucket in buckets if bucket not in present]
    if lacking:
        raise CommandError(f"{source.endpoint} has no bucket {', '.join(lacking)}.")
    chosen = list(buckets) or present
    versioned = [] if latest_only else [b for b in chosen if _is_versioned(source, b)]
    if versioned:
        raise CommandError(
            f"Versioned in the source: {', '.join(versioned)}. Only the latest version of each "
            "object can be moved: say --latest-only if that is enough, and keep the old store "
            "for the others."
        )
    return chosen


def _is_versioned(source: S3, bucket: str) -> bool:
    try:
        answer = source.request("GET", bucket, query=[("versioning", "")])
    except S3Error as error:
        if error.code in ("NotImplemented", "MethodNotAllowed"):
            return False
        raise
    return parse(answer.body).findtext("Status") in ("Enabled", "Suspended")


class Journey:
    """Moves everything of a plan. ``run`` may be called again: it goes on where it was stopped."""

    def __init__(self, source: S3, target: S3, plan: Plan, memory: Memory, watch: Watch) -> None:
        self._source, self._target = source, target
        self._plan, self._memory, self._watch = plan, memory, watch
        self._outcome = Outcome()
        self._lost: Exception | None = None
        self._moved_at: dict[str, str] = {}
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
        result.notes += self._left_behind(bucket)
        if self._plan.compare_only:
            return result
        if not self._target.has_bucket(bucket):
            self._target.create_bucket(bucket)
        pending: set[Future[None]] = set()
        for page in compare(self._source, self._target, bucket, self._same(bucket)):
            self._submit(pool, pending, result, [*page.missing, *page.differing])
        self._submit(pool, pending, result, self._named(bucket))
        for future in pending:
            future.result()
        self._stop_if_lost()
        # What is younger than this was written by somebody else.
        self._moved_at[bucket] = self._now()
        return result

    def _submit(
        self,
        pool: ThreadPoolExecutor,
        pending: set[Future[None]],
        result: BucketResult,
        entries: Iterable[Entry],
    ) -> None:
        for entry in entries:
            self._stop_if_lost()
            self._watch.found(1, entry.size)
            self._room.acquire()
            pending.add(pool.submit(self._move, result, entry))
        pending.difference_update([future for future in pending if future.done()])

    def _move(self, result: BucketResult, entry: Entry) -> None:
        try:
            if self._lost is None:
                self._copier.copy(result.bucket, entry)
                with self._lock:
                    result.copied += 1
                    result.copied_bytes += entry.size
        except Gone:
            pass
        except Exception as error:  # noqa: BLE001 - one object's trouble must not end the others
            self._note(result.bucket, entry.key, error)
        finally:
            self._watch.moved(1, 0)
            self._room.release()

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

    def _same(self, bucket: str) -> Callable[[Entry, Entry], bool]:
        def same(one: Entry, other: Entry) -> bool:
            return one.size == other.size and (
                one.etag == other.etag or self._memory.same(bucket, one.key, one.etag, other.etag)
            )

        return same

    def _left_behind(self, bucket: str) -> list[str]:
        """Settings of the bucket that stay behind, named so that they can be made anew."""
        found = []
        for resource, name in _LEFT_BEHIND:
            try:
                answer = self._source.request("GET", bucket, query=[(resource, "")])
            except (S3Error, Unreachable):
                continue  # there is none, the store has no such thing, or we may not see it
            if resource != "notification" or b"Configuration>" in answer.body.replace(
                b"NotificationConfiguration", b""
            ):
                found.append(f"{name} of {bucket} are not carried over: make them anew")
        return found

    # -- comparing --------------------------------------------------------------------------------

    def _verify(self, result: BucketResult, pool: ThreadPoolExecutor) -> None:
        """Compare once more, by new listings, and prune if that was asked for."""
        self._watch.stage(f"comparing {result.bucket}")
        if self._plan.compare_only and not self._target.has_bucket(result.bucket):
            listed = list(self._source.objects(result.bucket))
            result.objects = result.missing = len(listed)
            result.bytes = sum(entry.size for entry in listed)
            return
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
            if self._plan.prune or len(strangers) + len(extra) <= _ASKED_MAX:
                strangers += extra
            else:
                result.extra += len(extra)
            kept += len(page.same)
        strangers = self._absent(result.bucket, strangers, pool)
        if self._plan.prune:
            strangers = self._prune(result, strangers, kept)
        result.extra += len(strangers)
        if result.equal and not self._plan.compare_only and not self._outcome.failures:
            self._memory.remember_run(result.bucket, self._moved_at[result.bucket])

    def _absent(self, bucket: str, strangers: list[Entry], pool: ThreadPoolExecutor) -> list[Entry]:
        """Those that really are not in the source: a listing may have hidden them."""
        heads = pool.map(lambda entry: self._source.head(bucket, entry.key), strangers)
        return [entry for entry, head in zip(strangers, heads, strict=True) if head is None]

    def _prune(self, result: BucketResult, strangers: list[Entry], kept: int) -> list[Entry]:
        """Remove what an earlier run brought and the source has deleted since; what is left."""
        finished = self._memory.finished(result.bucket)
        ours = [entry for entry in strangers if entry.modified <= finished]
        if len(ours) > max(_PRUNE_FREE, kept * _PRUNE_MAX):
            result.notes.append(
                f"{len(ours)} objects of {result.bucket} are gone from the source, which is more "
                "than a tenth: nothing was removed. Is it the right source?"
            )
            return strangers
        self._target.delete(result.bucket, [entry.key for entry in ours])
        result.pruned = len(ours)
        return [entry for entry in strangers if entry.modified > finished]

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

    def _now(self) -> str:
        """The target's time, as its listings write it."""
        date = self._target.request("GET").headers.get("date", "")
        try:
            moment = parsedate_to_datetime(date)
        except (ValueError, TypeError):
            return time.strftime("%Y-%m-%dT%H:%M:%S.999Z", time.gmtime())
        return moment.strftime("%Y-%m-%dT%H:%M:%S.999Z")


def _is_marker(entry: Entry) -> bool:
    """An empty object that makes a prefix visible, which stores and consoles make themselves."""
    return entry.size == 0 and entry.key.endswith("/")
