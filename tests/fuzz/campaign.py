"""Many inputs against one store: what they leave behind is examined, and what they cost in memory.

Inputs come in epochs. Each starts from the same few objects, so that an input can be made again
by playing its epoch up to it.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from storage.engine import interface as i
from storage.engine.embedded.compaction import Compactor
from storage.s3 import routes
from storage.services.collection import Collector
from tests.engines import folder_in_memory
from tests.fuzz import oracle, requests, signing
from tests.fuzz.chance import Chance
from tests.fuzz.connections import Connection, connection
from tests.fuzz.subject import Answered, Subject, opened
from tests.fuzz.world import LARGE, PART_SIZE, World

#: Inputs of an epoch; after so many of them configuration documents are taken away.
EPOCH = 2000
_CONFIGURED = 50
_CANARY_BUCKET, _CANARY_KEY, _CANARY = b"canary", b"key", b"the canary is alive"
_VERSIONED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
#: Seconds of this process's CPU after which an input counts as a way to keep the store busy.
_SECONDS_MAX = 3.0
#: What the store notes where the client hung up: then nothing may be stored of a body.
_BROKEN_OFF = 499
_NEEDS_BODY = frozenset(
    row.operation for row in routes.ROUTES
    if row.method in ("PUT", "POST") and row.operation != "CreateMultipartUpload"
)  # fmt: skip


class Finding(AssertionError):
    """Something that must not be; says which input does it."""


@dataclass
class Tally:
    """What came of the inputs."""

    inputs: int = 0
    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    operations: Counter[tuple[str, int]] = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, 0)
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)


class Campaign:
    """Plays inputs of one seed against a subject."""

    def __init__(
        self, subject: Subject, world: World, seed: int, *, keep_going: bool = False
    ) -> None:
        self.subject = subject
        self.world = world
        self.seed = seed
        self.tally = Tally()
        self._keep_going = keep_going
        self._errors = _Errors()
        self._generation = -1
        self._kept_files: frozenset[str] = frozenset()
        self._configured: dict[str, dict[str, bytes]] = {}

    async def prepare(self) -> None:
        """Store what connections in order must answer with."""
        path = b"/%b/%b" % (_CANARY_BUCKET, _CANARY_KEY)
        await self._do(b"PUT", b"/" + _CANARY_BUCKET)
        await self._do(b"PUT", path, body=_CANARY)
        await self._do(b"PUT", b"/%b/%b" % LARGE, body=b"l" * PART_SIZE)
        self._kept_files = frozenset(self.subject.engine.files.names())
        self.subject.expect(lambda: requests.plain(self.world, b"GET", path), _CANARY)

    async def play(self, start: int, stop: int) -> None:
        """Inputs ``start`` to ``stop`` (excluded). Raises Finding, unless told to keep going."""
        began = time.monotonic()
        with self._errors.listening():
            for number in range(start, stop):
                if number == start:
                    await self._new_epoch()
                elif number % EPOCH == 0:
                    await self._end_epoch(number - 1)
                    await self._new_epoch()
                elif number % _CONFIGURED == 0:
                    await self._unconfigure()
                await self._play_one(number)
            await self._end_epoch(stop - 1)
        self.tally.seconds += time.monotonic() - began

    async def _play_one(self, number: int) -> None:
        made = connection(Chance.of(self.seed, number), self.world)
        self.tally.inputs += 1
        try:
            await self._judge(made, number)
        except AssertionError as error:
            self._found(number, error, made)

    async def _judge(self, made: Connection, number: int) -> None:
        engine = self.subject.engine
        before, generation = engine.board.applied_seq, engine.generation()
        if generation != self._generation:
            self._generation, self._configured = generation, await self._configuration()
        answered = await self.subject.converse(made)
        answers = oracle.answers(answered.written, answered.methods)
        self._count(answered, answers, number)
        if self._errors.records:
            raise Finding(f"an error was logged: {self._errors.taken()}")
        for place, answer in enumerate(answers):
            if place < len(answered.methods):
                oracle.check(answer, answered.methods[place], answered.operations[place][0])
            else:  # the protocol refused it: the application never saw it
                oracle.check(answer)
        if answered.seconds > _SECONDS_MAX:
            raise Finding(f"it took {answered.seconds:.1f} s of CPU")
        if engine.board.applied_seq != before and not any(
            status < 400 or (status == _BROKEN_OFF and operation not in _NEEDS_BODY)
            for operation, status in answered.operations
        ):
            raise Finding(f"a change was committed and nothing but errors answered: {answers}")
        self.world.learn(answered.written)
        if engine.generation() != generation:
            await self._reread(self._configured)

    async def _end_epoch(self, number: int) -> None:
        try:
            await self._examine()
            await self._empty()
            if self._errors.records:
                raise Finding(f"an error was logged: {self._errors.taken()}")
        except AssertionError as error:
            self._found(number, error, None)

    def _count(self, answered: Answered, answers: list[oracle.Answer], number: int) -> None:
        tally = self.tally
        tally.requests += len(answers)
        for answer in answers:
            tally.statuses[answer.status] += 1
            if answer.status >= 400 and b"<Code>" in answer.body:
                tally.codes[answer.body.split(b"<Code>")[1].split(b"<")[0].decode("latin-1")] += 1
        tally.operations.update(answered.operations)
        if answered.seconds > tally.slowest[0]:
            tally.slowest = answered.seconds, number

    def _found(self, number: int, error: AssertionError, made: Connection | None) -> None:
        text = (
            f"input {number} of seed {self.seed}: {type(error).__name__}: {error}\n"
            f"  again: python -m tests.fuzz --seed {self.seed} --input {number}"
            f"  (with its epoch: --from {number - number % EPOCH})\n"
        )
        if made is not None:
            text += f"  bytes: {b''.join(made.pieces)[:1500]!r}"
        if not self._keep_going:
            raise Finding(text) from error
        self.subject.forget()
        self.tally.findings.append(text)
        print(text, flush=True)

    # -- what inputs start from, and what they leave ----------------------------------------------

    async def _new_epoch(self) -> None:
        await self._empty()
        self.world.forget()
        for name in self.world.buckets:
            await self._do(b"PUT", b"/" + name)
        await self._do(b"PUT", b"/fuzz-versions", b"versioning=", _VERSIONED)
        for name in self.world.buckets:
            for key in self.world.keys:
                path = b"/%b/%b" % (name, signing.encode(key, "/"))
                if key == b"parts":
                    await self._put_parts(path)
                else:
                    await self._do(b"PUT", path, body=b"" if key == b"empty" else key * 50)
            await self._do(b"POST", b"/%b/pending" % name, b"uploads=")
            await self._do(b"GET", b"/" + name, b"list-type=2&max-keys=2")

    async def _put_parts(self, path: bytes) -> None:
        started = await self._do(b"POST", path, b"uploads=")
        upload = started.split(b"<UploadId>")[1].split(b"<")[0]
        parts = b""
        for number, body in enumerate((b"p" * 7,), 1):
            query = b"partNumber=%d&uploadId=%b" % (number, upload)
            answer = await self._do(b"PUT", path, query, body)
            etag = answer.split(b"etag: ")[1].split(b"\r")[0]
            parts += b"<Part><PartNumber>%d</PartNumber><ETag>%b</ETag></Part>" % (number, etag)
        document = b"<CompleteMultipartUpload>%b</CompleteMultipartUpload>" % parts
        await self._do(b"POST", path, b"uploadId=" + upload, document)

    async def _do(self, method: bytes, path: bytes, query: bytes = b"", body: bytes = b"") -> bytes:
        """A request that must be granted; the answer."""
        answer = await self.subject.request(requests.plain(self.world, method, path, query, body))
        assert answer.startswith(b"HTTP/1.1 2"), (method, path, query, answer)
        self.world.learn(answer)
        return answer

    async def _unconfigure(self) -> None:
        """Take away configuration that would let nothing deeper be reached."""
        engine = self.subject.engine
        for bucket in await engine.buckets():
            for document in bucket.config:
                if bucket.name.encode() not in self.world.buckets or document != "versioning":
                    await engine.commit(i.SetBucketConfig(bucket.name, document, None))
        for name in self.world.buckets:
            if await engine.bucket(name.decode()) is None:
                await self._do(b"PUT", b"/" + name)

    async def _empty(self) -> None:
        """Delete every bucket but the canary's with all that is in it, and its bytes."""
        engine = self.subject.engine
        for bucket in await engine.buckets():
            if bucket.name.encode() == _CANARY_BUCKET:
                continue
            while uploads := (await engine.list_uploads(bucket.id)).uploads:
                for upload in uploads:
                    await engine.commit(i.AbortUpload(bucket.id, upload.key, upload.upload_id))
            while entries := (await engine.list_versions(bucket.id)).entries:
                for entry in entries:
                    await engine.commit(
                        i.DeleteObject(bucket.id, entry.key, version_id=entry.version_id)
                    )
            await engine.commit(i.DeleteBucket(bucket.name))
        compactor = Compactor(engine)
        for segment in await compactor.candidates():
            await compactor.attempt(segment)
        await Collector(engine, grace=0.0).collect_garbage()
        left = set(engine.files.names()) - self._kept_files
        if left:
            raise Finding(f"files of bodies that were never committed are left: {sorted(left)[:5]}")

    async def _examine(self) -> None:
        """Every version must be whole: as long as it says, and what its ETag says."""
        engine = self.subject.engine
        for bucket in await engine.buckets():
            after_key = after_version = ""
            while True:
                page = await engine.list_versions(
                    bucket.id, after_key=after_key, after_version=after_version
                )
                for entry in page.entries:
                    if not entry.delete_marker:
                        await self._examine_version(bucket.id, entry.key, entry.version_id)
                if page.next_key is None:
                    break
                after_key, after_version = page.next_key, page.next_version or ""

    async def _examine_version(self, bucket_id: int, key: str, version_id: str) -> None:
        engine = self.subject.engine
        version = await engine.version(bucket_id, key, version_id)
        assert version is not None
        if version.files:
            body = b"".join([bytes(b) async for b in engine.read(version, 0, version.size)])
        else:
            body = await engine.read_inline(version)
        if len(body) != version.size:
            raise Finding(f"{key!r} has {len(body)} of {version.size} bytes")
        if "-" not in version.etag and hashlib.md5(body).hexdigest() != version.etag:
            raise Finding(f"{key!r} is not what its ETag says")

    async def _reread(self, before: dict[str, dict[str, bytes]]) -> None:
        """Configuration that was taken must read back as something that is taken alike."""
        for bucket in await self.subject.engine.buckets():
            earlier = before.get(bucket.name)
            if earlier is None:
                continue
            for document, value in bucket.config.items():
                if earlier.get(document) != value and document in _SUB_RESOURCES:
                    await self._put_back(bucket.name.encode(), _SUB_RESOURCES[document])

    async def _put_back(self, bucket: bytes, name: bytes) -> None:
        path, world = b"/" + bucket, self.world
        told = await self._parsed(requests.plain(world, b"GET", path, name + b"="))
        if told.status in (403, 501):
            return
        oracle.check(told)
        taken = await self._parsed(requests.plain(world, b"PUT", path, name + b"=", told.body))
        if taken.status == 403:  # forbidden by what came after it on the same connection
            return
        again = await self._parsed(requests.plain(world, b"GET", path, name + b"="))
        if taken.status >= 300 or again.body != told.body:
            raise Finding(
                f"?{name.decode()} reads {told.body!r}; put back it is {taken.status} "
                f"{taken.body[:300]!r} and reads {again.body!r}"
            )

    async def _parsed(self, data: bytes) -> oracle.Answer:
        (answer,) = oracle.answers(await self.subject.request(data), [])
        return answer

    async def _configuration(self) -> dict[str, dict[str, bytes]]:
        return {bucket.name: dict(bucket.config) for bucket in await self.subject.engine.buckets()}


#: Documents that GET and PUT speak the same language about.
_SUB_RESOURCES = {
    name: name.encode()
    for name in ("versioning", "tagging", "lifecycle", "cors", "policy", "acl", "ownershipControls",
                 "publicAccessBlock", "encryption", "requestPayment")
}  # fmt: skip


class _Errors(logging.Handler):
    """What the store logs as an error: it has met something that it did not expect."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []
        self._formatter = logging.Formatter("%(name)s: %(message)s")

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(self._formatter.format(record))

    def taken(self) -> str:
        text = "\n".join(self.records)
        self.records.clear()
        return text

    @contextmanager
    def listening(self) -> Iterator[None]:
        root = logging.getLogger()
        root.addHandler(self)
        try:
            yield
        finally:
            root.removeHandler(self)


def resident() -> int:
    """Bytes of memory that this process holds (RSS), after a collection."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def campaign(seed: int, *, keep_going: bool = False) -> AsyncIterator[Campaign]:
    """A campaign against a new store, in memory where the system has a place for that."""
    with folder_in_memory() as folder:
        async with opened(str(folder)) as (subject, world):
            made = Campaign(subject, world, seed, keep_going=keep_going)
            await made.prepare()
            yield made
