"""Random histories of versions against a list per key, with restarts and lost indexes."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from storage import errors
from storage.engine.interface import (
    ENABLED,
    NULL_VERSION,
    SUSPENDED,
    VERSIONING,
    AmendObject,
    Bucket,
    DeleteBucket,
    SetBucketConfig,
    Usage,
    version_id,
)
from tests.contract.store import (
    completion,
    delete,
    expected_usage,
    get,
    keys,
    make_bucket,
    ordered,
    put,
    put_part,
    read,
    start_upload,
)
from tests.property.machines import SETTINGS, InMemoryEngine, Machine, OnDrive
from tests.property.test_engine import bodies

T = TypeVar("T")
names = st.sampled_from(["a", "a/b", "a\\..", "é"])
moments = st.integers(1, 1 << 40)


class Kept(NamedTuple):
    """A version as it should be; a delete marker has no body."""

    id: str
    seq: int
    modified: int
    body: bytes | None
    tags: dict[str, str]


class Histories(Machine):
    """Every rule changes engine and model alike; the invariants compare."""

    bucket: Bucket

    def __init__(self) -> None:
        super().__init__()
        self.state: bytes | None = None
        self.model: dict[str, list[Kept]] = {}
        self.uploads = 0

    @initialize()
    def start(self) -> None:
        self.engine = self.open()
        self.bucket = self.run(make_bucket(self.engine))

    def visible(self) -> dict[str, bytes]:
        return {key: kept[0].body for key, kept in self.model.items() if kept[0].body is not None}

    def add(self, key: str, seq: int, modified: int, body: bytes | None, shown: str) -> None:
        """The newest version; ``shown`` is the id that the engine answered."""
        own = self.state == ENABLED
        made = Kept(version_id(seq) if own else NULL_VERSION, seq, modified, body, {})
        assert shown == ("" if self.state is None else made.id)
        kept = self.model.get(key, [])
        if not own:
            kept = [old for old in kept if old.id != NULL_VERSION]
        self.model[key] = [made, *kept]

    def remove(self, key: str, gone: Kept) -> None:
        self.model[key].remove(gone)
        if not self.model[key]:
            del self.model[key]

    # -- rules ------------------------------------------------------------------------------------

    @rule(state=st.sampled_from([ENABLED, ENABLED, SUSPENDED]))
    def set_versioning(self, state: bytes) -> None:
        self.run(self.engine.commit(SetBucketConfig("bucket", VERSIONING, state)))
        self.state = state

    @rule(key=names, body=bodies, modified=moments)
    def put(self, key: str, body: bytes, modified: int) -> None:
        answer = self.run(put(self.engine, self.bucket, key, body, modified=modified))
        assert answer.existed == (key in self.visible())
        self.add(key, answer.seq, modified, body, answer.version_id)

    @rule(key=names, body=bodies)
    def upload(self, key: str, body: bytes) -> None:
        self.uploads += 1
        upload = self.run(start_upload(self.engine, self.bucket, key, f"u{self.uploads}"))
        part = self.run(put_part(self.engine, self.bucket, key, upload, 1, body))
        change = completion(self.bucket, key, upload, [part], len(body))
        answer = self.run(self.engine.commit(change))
        self.add(key, answer.seq, change.modified, body, answer.version_id)
        assert self.run(self.engine.commit(change)).version_id == answer.version_id

    @rule(key=names, modified=moments)
    def delete(self, key: str, modified: int) -> None:
        answer = self.run(delete(self.engine, self.bucket, key, modified=modified))
        assert answer.existed == (key in self.visible())
        if self.state is not None:
            assert answer.delete_marker
            self.add(key, answer.seq, modified, None, answer.version_id)
        elif key in self.model:
            self.remove(key, self.model[key][0])

    def draw(self, data: st.DataObject) -> tuple[str, Kept] | None:
        found = [(key, kept) for key, all_ in sorted(self.model.items()) for kept in all_]
        return data.draw(st.sampled_from(found)) if found else None

    @rule(data=st.data())
    def delete_version(self, data: st.DataObject) -> None:
        if (drawn := self.draw(data)) is None:
            return
        key, gone = drawn
        answer = self.run(delete(self.engine, self.bucket, key, version_id=gone.id))
        assert answer.existed
        assert answer.delete_marker == (gone.body is None)
        self.remove(key, gone)
        again = self.run(delete(self.engine, self.bucket, key, version_id=gone.id))
        assert not again.existed

    @rule(data=st.data(), tags=st.dictionaries(names, names, max_size=2))
    def amend(self, data: st.DataObject, tags: dict[str, str]) -> None:
        if (drawn := self.draw(data)) is None:
            return
        key, kept = drawn
        change = AmendObject(self.bucket.id, key, kept.seq, tags)
        try:
            self.run(self.engine.commit(change))
        except errors.NoSuchVersion:
            assert kept.body is None
            return
        assert kept.body is not None
        at = self.model[key].index(kept)
        self.model[key][at] = kept._replace(tags=tags)

    @rule()
    def drop(self) -> None:
        try:
            self.run(self.engine.commit(DeleteBucket("bucket")))
        except errors.BucketNotEmpty:
            assert self.model
            return
        assert not self.model
        self.state = None
        self.bucket = self.run(make_bucket(self.engine))

    # -- comparing --------------------------------------------------------------------------------

    @rule(data=st.data(), limit=st.integers(1, 4), delimiter=st.sampled_from(["", "/", "a"]))
    def list_page(self, data: st.DataObject, limit: int, delimiter: str) -> None:
        key, version = "", ""
        found: list[tuple[str, str]] = []
        while True:
            page = self.run(
                self.engine.list_versions(
                    self.bucket.id,
                    delimiter=delimiter,
                    after_key=key,
                    after_version=version,
                    limit=limit,
                )
            )
            rows = [(e.key, e.version_id) for e in page.entries] + [(p, "") for p in page.prefixes]
            found += sorted(rows, key=lambda row: row[0].encode())
            if page.next_key is None:
                break
            assert len(rows) == limit
            key, version = page.next_key, page.next_version or ""
        expected: list[tuple[str, str]] = []
        for name in ordered(self.model):
            at = name.find(delimiter) if delimiter else -1
            if at < 0:
                expected += [(name, kept.id) for kept in self.model[name]]
            elif (common := (name[: at + 1], "")) not in expected:
                expected.append(common)
        assert found == expected

    @invariant()
    def counters_are_right(self) -> None:
        if not hasattr(self, "bucket"):
            return
        shown = expected_usage([len(body) for body in self.visible().values()], 0)
        hidden = [
            kept
            for all_ in self.model.values()
            for at, kept in enumerate(all_)
            if at or kept.body is None
        ]
        sizes = [len(kept.body) for kept in hidden if kept.body is not None]
        assert self.run(self.engine.usage(self.bucket.id)) == Usage(
            shown.objects,
            shown.bytes,
            0,
            shown.histogram,
            len(sizes),
            sum(sizes),
            len(hidden) - len(sizes),
        )

    def check_everything(self) -> None:
        assert self.run(keys(self.engine, self.bucket)) == ordered(self.visible())
        for key, body in self.visible().items():
            assert self.run(get(self.engine, self.bucket, key)) == body
        page = self.run(self.engine.list_versions(self.bucket.id, limit=10_000))
        assert [
            (e.key, e.version_id, e.modified, e.latest, e.delete_marker) for e in page.entries
        ] == [
            (key, kept.id, kept.modified, not at, kept.body is None)
            for key in ordered(self.model)
            for at, kept in enumerate(self.model[key])
        ]
        for key, all_ in self.model.items():
            for kept in all_:
                found = self.run(self.engine.version(self.bucket.id, key, kept.id))
                assert found is not None
                assert (found.seq, found.meta.tags) == (kept.seq, kept.tags)
                if kept.body is not None:
                    assert self.run(read(self.engine, found)) == kept.body


class InMemory(InMemoryEngine, Histories):
    pass


class Embedded(OnDrive, Histories):
    pass


TestInMemory = InMemory.TestCase
TestInMemory.settings = SETTINGS
TestEmbedded = Embedded.TestCase
TestEmbedded.settings = SETTINGS
