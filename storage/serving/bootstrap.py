"""First-start duties: what must exist before the store is ready. Each can be repeated.

- The store key is made at the first start and kept wrapped under the root secret; later starts
  unwrap it, which is also the check of the root credentials.
- Configured buckets exist, and so do their prefixes, as empty objects.
- The lifecycle rule for Langfuse's events is as the setting says.
- An empty directory under the data path becomes a bucket (MinIO's ``mkdir`` trick).
"""

from __future__ import annotations

import asyncio
import time

from storage import errors, lifecycle
from storage.config import Config
from storage.engine import interface as i
from storage.engine.embedded import drives
from storage.iam import sealing
from storage.iam.resources import first_documents
from storage.iam.users import ROOT_ID

#: The system record that holds the wrapped store key (``storage.iam.sealing``).
STORE_KEY_KIND, STORE_KEY_NAME = "store-key", "root"

#: The lifecycle rule that ``OVERSIGHT_EVENTS_RETENTION_DAYS`` makes, and what it is about.
RETENTION_RULE = "oversight-events-retention"
EVENTS_BUCKET, EVENTS_PREFIX = "langfuse", "events/"

_EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"
_PREFIX_META = i.encode_meta(i.Meta(headers={"content-type": "application/x-directory"}))


async def prepare(engine: i.Engine, config: Config) -> tuple[bytes, list[str]]:
    """Do all duties; the store key and the names of all buckets.

    Raises WrongRootSecret before anything is changed.
    """
    store_key = await open_store_key(engine, config)
    names = [*config.buckets]
    for path in config.drives:
        names += await asyncio.to_thread(drives.empty_directories, path)
    for name in dict.fromkeys(names):
        await _ensure_bucket(engine, name, config)
    for prefix in config.prefixes:
        await _ensure_prefix(engine, prefix)
    await _ensure_retention(engine, config.events_retention_days)
    return store_key, sorted(bucket.name for bucket in await engine.buckets())


async def open_store_key(engine: i.Engine, config: Config) -> bytes:
    """The store key: unwrapped, rewrapped if the root secret changed, made if there is none.

    Raises WrongRootSecret, SealBroken.
    """
    record = await engine.system_record(STORE_KEY_KIND, STORE_KEY_NAME)
    if record is None:
        store_key = sealing.new_store_key()
        blob = await asyncio.to_thread(sealing.wrap, store_key, config.root_password)
        await _keep(engine, blob, expect_seq=0)
        return store_key
    store_key, rewrapped = await asyncio.to_thread(
        sealing.open_store_key, record.value, config.root_password, config.root_password_old
    )
    if rewrapped is not None:
        await _keep(engine, rewrapped, expect_seq=record.seq)
    return store_key


async def rekey(engine: i.Engine, store_key: bytes, root_password: str) -> None:
    """Wrap the store key under a new root password, which counts from the next start on.

    Raises Conflict if somebody else did at the same moment.
    """
    record = await engine.system_record(STORE_KEY_KIND, STORE_KEY_NAME)
    blob = await asyncio.to_thread(sealing.wrap, store_key, root_password)
    await _keep(engine, blob, expect_seq=0 if record is None else record.seq)


async def _keep(engine: i.Engine, blob: bytes, expect_seq: int) -> None:
    await engine.commit(i.PutSystem(STORE_KEY_KIND, STORE_KEY_NAME, blob, expect_seq))


async def _ensure_retention(engine: i.Engine, days: int) -> None:
    """Keep the rule for Langfuse's events as the setting says; other rules stay as they are."""
    bucket = await engine.bucket(EVENTS_BUCKET)
    if bucket is None:
        return
    rules = lifecycle.decode(bucket.config.get(lifecycle.DOCUMENT))
    wanted = tuple(rule for rule in rules if rule.id != RETENTION_RULE)
    if days:
        # What versioning would keep goes, too: this is about space.
        wanted += (lifecycle.Rule(RETENTION_RULE, EVENTS_PREFIX, days=days, noncurrent_days=days),)
    if wanted != rules:
        document = lifecycle.encode(wanted) if wanted else None
        change = i.SetBucketConfig(EVENTS_BUCKET, lifecycle.DOCUMENT, document)
        await engine.commit(change)


async def _ensure_bucket(engine: i.Engine, name: str, config: Config) -> None:
    if await engine.bucket(name) is not None:
        return
    try:
        first = first_documents(config.bucket_defaults)
        await engine.commit(i.CreateBucket(name, ROOT_ID, _now(), config.region, first))
    except errors.BucketExists:
        return


async def _ensure_prefix(engine: i.Engine, prefix: str) -> None:
    """``prefix`` is "bucket/path/": an empty object of that key, as consoles make folders."""
    name, _, key = prefix.partition("/")
    bucket = await engine.bucket(name)
    if bucket is None or not key or await engine.lookup(bucket.id, key) is not None:
        return
    await engine.commit(
        i.PutObject(
            bucket_id=bucket.id,
            key=key,
            modified=_now(),
            size=0,
            etag=_EMPTY_MD5,
            owner=ROOT_ID,
            storage_class="STANDARD",
            meta=_PREFIX_META,
        )
    )


def _now() -> int:
    return time.time_ns() // 1_000_000
