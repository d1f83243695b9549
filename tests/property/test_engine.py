"""Random histories against a model made of dicts, with restarts and lost indexes in between."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    consumes,
    initialize,
    invariant,
    rule,
)

from storage import errors
from storage.engine.interface import (
    Bucket,
    CompletePart,
    Conditions,
    DeleteBucket,
    PutSystem,
    SetBucketConfig,
)
from tests.contract.store import (
    abort,
    completion,
    delete,
    expected_listing,
    expected_usage,
    get,
    listed,
    make_bucket,
    md5,
    ordered,
    put,
    put_part,
    start_upload,
)
from tests.property.machines import SETTINGS, InMemoryEngine, Machine, OnDrive

alphabet = st.sampled_from("ab/.\\\0\x1f é\uffff\U0001f600")
keys_ = st.text(alphabet, min_size=1, max_size=6)
names = st.sampled_from(["one", "two", "three"])
bodies = st.one_of(
    st.binary(max_size=40),
    st.integers(0, 3000).map(lambda n: b"inline!" * (n // 7)),
    st.integers(4000, 200_000).map(lambda n: b"in a file" * (n // 9)),
)
delimiters = st.sampled_from(["", "/", "a", "./", "\U0001f600", "\0"])


class Model:
    """What one bucket should hold."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.objects: dict[str, bytes] = {}
        self.config: dict[str, bytes] = {}
        self.uploads: dict[tuple[str, str], dict[int, bytes]] = {}


class Histories(Machine):
    """Every rule changes engine and model alike; the invariants compare."""

    uploads = Bundle("uploads")

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[str, Model] = {}
        self.system: dict[str, bytes] = {}
        self.upload_count = 0
        self.last_seq = 0

    @initialize()
    def start(self) -> None:
        self.engine = self.open()
        self.make("one")

    # -- rules ------------------------------------------------------------------------------------

    @rule(name=names)
    def make(self, name: str) -> None:
        try:
            bucket = self.run(make_bucket(self.engine, name))
        except errors.BucketExists:
            assert name in self.models
        else:
            assert name not in self.models
            self.models[name] = Model(bucket)

    @rule(name=names)
    def drop(self, name: str) -> None:
        model = self.models.get(name)
        try:
            self.run(self.engine.commit(DeleteBucket(name)))
        except errors.NoSuchBucket:
            assert model is None
        except errors.BucketNotEmpty:
            assert model is not None
            assert model.objects
        else:
            assert model is not None
            assert not model.objects
            del self.models[name]

    @rule(name=names, document=st.sampled_from(["cors", "policy"]), value=st.binary(max_size=9))
    def configure(self, name: str, document: str, value: bytes) -> None:
        if name in self.models:
            self.run(self.engine.commit(SetBucketConfig(name, document, value or None)))
            self.models[name].config.pop(document, None)
            if value:
                self.models[name].config[document] = value

    @rule(name=names, key=keys_, body=bodies, absent=st.booleans())
    def put(self, name: str, key: str, body: bytes, absent: bool) -> None:
        if (model := self.models.get(name)) is None:
            return
        conditions = Conditions(if_none_match=("*",)) if absent else None
        try:
            answer = self.run(put(self.engine, model.bucket, key, body, conditions=conditions))
        except errors.PreconditionFailed:
            assert absent
            assert key in model.objects
            return
        assert not (absent and key in model.objects)
        assert answer.existed == (key in model.objects)
        assert answer.seq > self.last_seq
        self.last_seq = answer.seq
        model.objects[key] = body

    @rule(name=names, key=keys_)
    def delete(self, name: str, key: str) -> None:
        if (model := self.models.get(name)) is not None:
            answer = self.run(delete(self.engine, model.bucket, key))
            assert answer.existed == (key in model.objects)
            model.objects.pop(key, None)

    @rule(name=names, data=st.data())
    def delete_present(self, name: str, data: st.DataObject) -> None:
        if (model := self.models.get(name)) is not None and model.objects:
            self.delete(name, data.draw(st.sampled_from(sorted(model.objects))))

    @rule(target=uploads, name=names, key=keys_)
    def begin(self, name: str, key: str) -> tuple[str, str, str]:
        upload_id = f"u{self.upload_count}"
        self.upload_count += 1
        if (model := self.models.get(name)) is not None:
            self.run(start_upload(self.engine, model.bucket, key, upload_id))
            model.uploads[key, upload_id] = {}
        return name, key, upload_id

    def upload_of(self, upload: tuple[str, str, str]) -> tuple[Model, dict[int, bytes]] | None:
        name, key, upload_id = upload
        model = self.models.get(name)
        parts = model.uploads.get((key, upload_id)) if model else None
        return None if model is None or parts is None else (model, parts)

    @rule(upload=uploads, number=st.integers(1, 3), body=bodies)
    def part(self, upload: tuple[str, str, str], number: int, body: bytes) -> None:
        if (found := self.upload_of(upload)) is not None:
            model, parts = found
            self.run(put_part(self.engine, model.bucket, upload[1], upload[2], number, body))
            parts[number] = body

    @rule(upload=uploads, number=st.integers(1, 3))
    def complete(self, upload: tuple[str, str, str], number: int) -> None:
        """One part suffices: others would need 5 MiB each (tests/contract has those)."""
        if (found := self.upload_of(upload)) is None:
            return
        (model, parts), (_, key, upload_id) = found, upload
        body = parts.get(number, b"")
        change = completion(
            model.bucket, key, upload_id, [CompletePart(number, md5(body))], len(body)
        )
        try:
            first = self.run(self.engine.commit(change))
        except errors.InvalidPart:
            assert number not in parts
            return
        assert number in parts
        again = self.run(self.engine.commit(change))
        assert (again.seq, again.etag) == (first.seq, first.etag)
        assert first.seq > self.last_seq
        self.last_seq = first.seq
        model.objects[key] = body
        del model.uploads[key, upload_id]

    @rule(upload=consumes(uploads))
    def give_up(self, upload: tuple[str, str, str]) -> None:
        if (found := self.upload_of(upload)) is not None:
            self.run(abort(self.engine, found[0].bucket, upload[1], upload[2]))
            del found[0].uploads[upload[1], upload[2]]

    @rule(name=names, value=st.none() | st.binary(max_size=20))
    def set_system(self, name: str, value: bytes | None) -> None:
        self.run(self.engine.commit(PutSystem("user", name, value)))
        self.system.pop(name, None)
        if value is not None:
            self.system[name] = value

    # -- comparing --------------------------------------------------------------------------------

    @rule(name=names, prefix=st.text(alphabet, max_size=2), delimiter=delimiters,
          after=st.text(alphabet, max_size=3), limit=st.integers(1, 5))  # fmt: skip
    def list_page(self, name: str, prefix: str, delimiter: str, after: str, limit: int) -> None:
        if (model := self.models.get(name)) is None:
            return
        page = self.run(
            self.engine.list_objects(
                model.bucket.id, prefix=prefix, delimiter=delimiter, after=after, limit=limit
            )
        )
        expected = expected_listing(model.objects, prefix=prefix, delimiter=delimiter, after=after)
        assert listed(page) == expected[:limit]
        assert page.next_after == (expected[limit - 1] if len(expected) > limit else None)

    @invariant()
    def counters_are_right(self) -> None:
        for model in self.models.values():
            assert self.run(self.engine.usage(model.bucket.id)) == expected_usage(
                [len(body) for body in model.objects.values()], len(model.uploads)
            )

    def check_everything(self) -> None:
        assert [b.name for b in self.run(self.engine.buckets())] == sorted(self.models)
        records = self.run(self.engine.system("user"))
        assert {record.name: record.value for record in records} == self.system
        for name, model in self.models.items():
            found = self.run(self.engine.bucket(name))
            assert found is not None
            assert (found.id, found.config) == (model.bucket.id, model.config)
            page = self.run(self.engine.list_objects(model.bucket.id, limit=10_000))
            assert [entry.key for entry in page.entries] == ordered(model.objects)
            for key, body in model.objects.items():
                assert self.run(get(self.engine, model.bucket, key)) == body
            self.check_uploads(model)
        self.check_feed()

    def check_uploads(self, model: Model) -> None:
        page = self.run(self.engine.list_uploads(model.bucket.id))
        assert {(u.key, u.upload_id) for u in page.uploads} == set(model.uploads)
        for (key, upload_id), parts in model.uploads.items():
            listed_parts = self.run(self.engine.parts(model.bucket.id, key, upload_id))
            assert [(part.number, part.etag) for part in listed_parts] == [
                (number, md5(body)) for number, body in sorted(parts.items())
            ]

    def check_feed(self) -> None:
        """Replaying the feed gives the keys that exist."""
        alive: dict[int, set[str]] = {}
        for event in self.run(self.engine.changes(0, 100_000)):
            match event.kind:
                case "bucket-create":
                    alive[event.bucket_id] = set()
                case "bucket-delete":
                    assert not alive.pop(event.bucket_id)
                case "put":
                    alive[event.bucket_id].add(event.key)
                case "delete":
                    alive[event.bucket_id].remove(event.key)
        assert alive == {m.bucket.id: set(m.objects) for m in self.models.values()}


class InMemory(InMemoryEngine, Histories):
    pass


class Embedded(OnDrive, Histories):
    pass


TestInMemory = InMemory.TestCase
TestInMemory.settings = SETTINGS
TestEmbedded = Embedded.TestCase
TestEmbedded.settings = SETTINGS
