"""Migration from a real MinIO, and from a second Oversight, to a running store."""

from __future__ import annotations

import hashlib
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stack.migration.comparison import compare
from stack.migration.copying import Copier
from stack.migration.journey import Journey, Plan, Watch
from stack.migration.memory import Memory
from stack.migration.throttle import Throttle
from stack.s3.client import S3, Entry, etag_of
from stack.s3.errors import S3Error
from stack.s3.signing import Credentials
from tests.bundle.commands.conftest import ROOT, SECRET, Migrate
from tests.bundle.commands.meddler import Meddler
from tests.commands import Done
from tests.serving import ServedStore, free_port

MIB = 1 << 20


def result(done: Done) -> dict[str, Any]:
    """The only bucket's counts."""
    (found,) = done.value["buckets"]
    return dict(found)


def upload(s3: S3, bucket: str, key: str, sizes: list[int], **headers: str) -> str:
    """An object of parts of these sizes; its ETag."""
    upload = s3.start_upload(bucket, key, headers)
    etags = [
        etag_of(
            s3.request(
                "PUT", bucket, key, query=[("partNumber", str(n)), ("uploadId", upload)],
                body=os.urandom(size),
            )
        )
        for n, size in enumerate(sizes, 1)
    ]  # fmt: skip
    return s3.complete_upload(bucket, key, upload, etags)


def digests(s3: S3, bucket: str) -> dict[str, tuple[str, str]]:
    """(ETag, SHA-256) of every object."""
    return {
        entry.key: (entry.etag, hashlib.sha256(s3.get(bucket, entry.key).body).hexdigest())
        for entry in list(s3.objects(bucket))
    }


# -- what moves -----------------------------------------------------------------------------------


def test_everything_of_an_object_moves(old: S3, new: S3, bucket: str, migrate: Migrate) -> None:
    old.create_bucket(bucket)
    rich = {
        "content-type": "text/csv; charset=utf-8",
        "cache-control": "max-age=60",
        "content-disposition": 'attachment; filename="ü.csv"',
        "content-encoding": "gzip",
        "content-language": "de, en",
        "expires": "Wed, 21 Oct 2026 07:28:00 GMT",
        "x-amz-meta-owner": "Ada",
        "x-amz-meta-note": "two  words",
        "x-amz-tagging": "team=data%20science&stage=a%2Bb%3D",
    }
    old.put(bucket, "exports/rich.csv", b"a,b\n", rich)
    tagged = _lists_tags(old, bucket, "exports/rich.csv")
    if not tagged:
        del rich["x-amz-tagging"]
        old.put(bucket, "exports/rich.csv", b"a,b\n", rich)
    old.put(bucket, "empty", b"")
    old.put(bucket, "folder/", b"")
    keys = ["space and +.json", "ünï©ødé-🎉", "a%2Fb", "quote\"'<&>", "per%cent", "a=b&c?d#e"]
    for key in keys:
        old.put(bucket, f"events/{key}", key.encode())
    old.put(bucket, "media/large.bin", os.urandom(9 * MIB + 1))
    upload(old, bucket, "exports/even", [5 * MIB, 5 * MIB, 77], **{"content-type": "text/csv"})
    upload(old, bucket, "exports/uneven", [6 * MIB, 5 * MIB, 77], **{"x-amz-meta-a": "b"})
    upload(old, bucket, "exports/one", [100])
    done = migrate(old.endpoint, "--bucket", bucket, "--headers", "--json")
    assert done.code == 0, done.out + done.err
    assert result(done)["copied"] == 7 + len(keys)
    assert digests(new, bucket) == digests(old, bucket)
    for key in ("exports/rich.csv", "exports/uneven", "exports/even"):
        there, here = old.head(bucket, key), new.head(bucket, key)
        assert there is not None
        assert here is not None
        wanted = [*rich, "x-amz-meta-a"]
        for name in set(wanted) - {"x-amz-tagging"}:
            assert here.headers.get(name) == there.headers.get(name), name
    head = new.head(bucket, "exports/rich.csv")
    assert head is not None
    assert head.headers.get("x-amz-tagging-count", "0") == ("2" if tagged else "0")


def _lists_tags(s3: S3, bucket: str, key: str) -> bool:
    """Whether a store tells an object's tags."""
    try:
        return bool(s3.tags(bucket, key))
    except S3Error:
        return False


def test_tags_that_the_source_does_not_tell_are_said_to_stay_behind(
    second: S3, new: S3, bucket: str, migrate: Migrate
) -> None:
    def silent(method: str, path: str) -> tuple[int, bytes] | None:
        untold = path.endswith("?tagging=")
        return (501, b"<Error><Code>NotImplemented</Code></Error>") if untold else None

    second.create_bucket(bucket)
    second.put(bucket, "x", b"x", {"x-amz-tagging": "a=b"})
    with Meddler(second.endpoint, instead=silent) as proxy:
        done = migrate(proxy.url, "--bucket", bucket)
    assert done.code == 0
    assert "Note: the tags of 1 object stay behind" in done.out
    assert new.get(bucket, "x").body == b"x"


def test_keys_that_minio_cannot_hold(second: S3, new: S3, bucket: str, migrate: Migrate) -> None:
    second.create_bucket(bucket)
    keys = ["a" * 800, "../../etc/passwd", "..", ".", "double//slash", "back\\slash", "a", "a/b"]
    for key in keys:
        second.put(bucket, key, key.encode())
    assert migrate(second.endpoint, "--bucket", bucket).code == 0
    assert {e.key for e in new.objects(bucket)} == set(keys)


def test_checksums_move(minio: S3, new: S3, bucket: str, migrate: Migrate) -> None:
    import base64

    minio.create_bucket(bucket)
    digest = base64.b64encode(hashlib.sha256(b"body").digest()).decode()
    minio.put(bucket, "x", b"body", {"x-amz-checksum-sha256": digest})
    assert migrate(minio.endpoint, "--bucket", bucket).code == 0
    answer = new.get(bucket, "x", headers={"x-amz-checksum-mode": "ENABLED"})
    assert answer.headers["x-amz-checksum-sha256"] == digest


def test_times_on_request(minio: S3, new: S3, bucket: str, migrate: Migrate) -> None:
    minio.create_bucket(bucket)
    minio.put(bucket, "x", b"x")
    assert migrate(minio.endpoint, "--bucket", bucket, "--keep-times").code == 0
    head = new.head(bucket, "x")
    assert head is not None
    assert head.headers["x-amz-meta-mtime"].isdigit()


def test_all_buckets_and_a_table(second: S3, new: S3, migrate: Migrate) -> None:
    names = [f"every-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    for name in names:
        second.create_bucket(name)
        second.put(name, "x", b"x" * 2048)
    done = migrate(second.endpoint)
    assert done.code == 0, done.out
    for name in names:
        (line,) = [line for line in done.out.splitlines() if line.startswith(name)]
        assert line.split() == [name, "1", "2.0", "KiB", "1", "0", "0", "0", "equal"]
    assert "All equal after" in done.out


def test_listing_hides_objects_below_objects(
    minio: S3, new: S3, bucket: str, migrate: Migrate, tmp_path: Path
) -> None:
    """MinIO does not list `a/b` while there is an `a`: such keys can be named."""
    minio.create_bucket(bucket)
    minio.put(bucket, "a", b"outer")
    minio.put(bucket, "a/b", b"inner")
    if "a/b" in {entry.key for entry in minio.objects(bucket)}:
        pytest.fail("this MinIO lists both: the page on migration must no longer warn")
    assert migrate(minio.endpoint, "--bucket", bucket).code == 0
    assert {entry.key for entry in new.objects(bucket)} == {"a"}
    file = tmp_path / "keys"
    file.write_text(f"{bucket}/a/b\n")
    done = migrate(minio.endpoint, "--bucket", bucket, "--keys", str(file), "--json")
    assert done.code == 0, done.out
    assert new.get(bucket, "a/b").body == b"inner"
    assert result(done)["extra"] == 0, "it is in the source, though no listing shows it"


# -- again and again ------------------------------------------------------------------------------


def test_second_run_moves_only_what_differs(
    old: S3, new: S3, bucket: str, migrate: Migrate
) -> None:
    old.create_bucket(bucket)
    for number in range(1500):
        old.put(bucket, f"events/{number:05}", b"%d" % number)
    assert result(migrate(old.endpoint, "--bucket", bucket, "--json"))["copied"] == 1500
    assert result(migrate(old.endpoint, "--bucket", bucket, "--json"))["copied"] == 0
    old.put(bucket, "events/00007", b"changed")
    old.put(bucket, "events/new", b"new")
    done = migrate(old.endpoint, "--bucket", bucket, "--json")
    assert result(done)["copied"] == 2
    assert digests(new, bucket)["events/00007"] == digests(old, bucket)["events/00007"]


def test_compare_moves_nothing(second: S3, new: S3, bucket: str, migrate: Migrate) -> None:
    second.create_bucket(bucket)
    second.put(bucket, "x", b"x")
    done = migrate(second.endpoint, "--bucket", bucket, "--compare", "--json")
    assert (done.code, result(done)["missing"]) == (1, 1)
    assert not new.has_bucket(bucket)
    migrate(second.endpoint, "--bucket", bucket)
    new.put(bucket, "x", b"y")
    done = migrate(second.endpoint, "--bucket", bucket, "--compare", "--json")
    assert (done.code, result(done)["different"]) == (1, 1)


def test_other_metadata_is_found_with_headers(
    second: S3, new: S3, bucket: str, migrate: Migrate
) -> None:
    second.create_bucket(bucket)
    second.put(bucket, "x", b"x", {"x-amz-meta-a": "b"})
    new.create_bucket(bucket)
    new.put(bucket, "x", b"x", {"x-amz-meta-a": "c"})
    assert migrate(second.endpoint, "--bucket", bucket, "--compare").code == 0
    done = migrate(second.endpoint, "--bucket", bucket, "--compare", "--headers")
    assert done.code == 1
    assert f"{bucket}/x has other headers or metadata" in done.out


def test_metadata_beyond_ascii_is_the_same_however_it_is_answered(
    second: S3, new: S3, bucket: str, migrate: Migrate
) -> None:
    second.create_bucket(bucket)
    for key, value in (("text", "grün"), ("word", "=?UTF-8?Q?gr=C3=BCn?="), ("bytes", "\udcfc")):
        second.put(bucket, key, b"x", {"x-amz-meta-a": value})
    assert migrate(second.endpoint, "--bucket", bucket).code == 0
    assert migrate(second.endpoint, "--bucket", bucket, "--compare", "--headers").code == 0
    new.put(bucket, "word", b"x", {"x-amz-meta-a": "grün"})
    assert migrate(second.endpoint, "--bucket", bucket, "--compare", "--headers").code == 0
    new.put(bucket, "word", b"x", {"x-amz-meta-a": "grun"})
    assert migrate(second.endpoint, "--bucket", bucket, "--compare", "--headers").code == 1


@pytest.mark.parametrize("prune", [False, True])
def test_prune_removes_what_the_source_deleted_and_nothing_of_others(
    second: S3, new: S3, bucket: str, migrate: Migrate, prune: bool
) -> None:
    second.create_bucket(bucket)
    for key in ("kept", "deleted"):
        second.put(bucket, key, b"x")
    migrate(second.endpoint, "--bucket", bucket)
    second.delete(bucket, ["deleted"])
    # Somebody writes to the new store between two runs.
    wait_out_the_run(new)
    new.put(bucket, "written-after-the-switch", b"x")
    wait_out_the_run(new)
    migrate(second.endpoint, "--bucket", bucket)
    done = migrate(second.endpoint, "--bucket", bucket, "--json", *(["--prune"] if prune else []))
    assert done.code == 0
    left = {"kept", "written-after-the-switch"} | (set() if prune else {"deleted"})
    assert result(done)["pruned"] == prune
    assert result(done)["extra"] == len(left) - 1
    assert {e.key for e in new.objects(bucket)} == left


def test_prune_refuses_to_empty_a_bucket(
    second: S3, new: S3, bucket: str, migrate: Migrate
) -> None:
    second.create_bucket(bucket)
    keys = [f"{number:03}" for number in range(150)]
    for key in keys:
        second.put(bucket, key, b"x")
    migrate(second.endpoint, "--bucket", bucket)
    second.delete(bucket, keys)
    done = migrate(second.endpoint, "--bucket", bucket, "--prune")
    assert "Is it the right source?" in done.out
    assert len(list(new.objects(bucket))) == 150


def wait_out_the_run(s3: S3) -> None:
    """Until what is written was written by nobody's run: a run is known to the second, and its end
    by a clock that may be late by one."""
    for _ in range(3):
        _wait_for_next_second(s3)


def _wait_for_next_second(s3: S3) -> None:
    """Until the store's clock shows a later second than now: Date has no finer grain."""
    now = s3.request("GET").headers["date"]
    while s3.request("GET").headers["date"] == now:
        pass


# -- stopped and failing --------------------------------------------------------------------------


def test_goes_on_where_it_was_stopped(
    second: S3, new: S3, bucket: str, migrate: Migrate, own_store: ServedStore
) -> None:
    """The target is lost in the middle: a sentence, and the next run moves only the rest."""
    second.create_bucket(bucket)
    for number in range(60):
        second.put(bucket, f"{number:03}", os.urandom(1000))
    arrived = 0

    def full_after_thirty(method: str, path: str) -> tuple[int, bytes] | None:
        nonlocal arrived
        if method != "PUT" or path.count("/") < 2:
            return None
        arrived += 1
        return (507, b"<Error><Code>XMinioStorageFull</Code></Error>") if arrived > 30 else None

    with Meddler(own_store.endpoint, instead=full_after_thirty) as proxy:
        done = migrate(second.endpoint, "--bucket", bucket, target=proxy.url)
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "the same command goes on from there" in done.err
    there = len(list(new.objects(bucket)))
    assert 0 < there < 60
    done = migrate(second.endpoint, "--bucket", bucket, "--json")
    assert (done.code, result(done)["copied"]) == (0, 60 - there)


def test_interrupted_upload_goes_on_with_its_parts(
    second: S3, new: S3, bucket: str, tmp_path: Path, own_store: ServedStore
) -> None:
    second.create_bucket(bucket)
    new.create_bucket(bucket)
    etag = upload(second, bucket, "large", [5 * MIB] * 4)
    sent: list[str] = []

    def fail_on_the_third(method: str, path: str) -> tuple[int, bytes] | None:
        if method == "PUT" and "partNumber=" in path:
            sent.append(path)
            if "partNumber=3" in path:
                return 400, b"<Error><Code>InvalidRequest</Code></Error>"
        return None

    memory = Memory(tmp_path / "state")
    entry = next(iter(second.objects(bucket)))
    with Meddler(own_store.endpoint, instead=fail_on_the_third) as proxy:
        through = S3(proxy.url, Credentials(ROOT, SECRET), attempts=1)
        with pytest.raises(S3Error):
            _copier(second, through, memory).copy(bucket, entry)
    first = len(sent)
    assert first >= 3
    again: list[str] = []

    def watch(method: str, path: str) -> None:
        if method == "PUT" and "partNumber=" in path:
            again.append(path)

    with Meddler(own_store.endpoint, instead=watch) as proxy:
        _copier(second, S3(proxy.url, Credentials(ROOT, SECRET)), memory).copy(bucket, entry)
    assert len(again) < 4, "parts that had arrived were not sent again"
    head = new.head(bucket, "large")
    assert head is not None
    assert etag_of(head) == etag


def test_one_object_that_fails_does_not_stop_the_others(
    second: S3, new: S3, bucket: str, migrate: Migrate, own_store: ServedStore
) -> None:
    second.create_bucket(bucket)
    for key in ("a", "bad", "c"):
        second.put(bucket, key, b"x")

    def refuse(method: str, path: str) -> tuple[int, bytes] | None:
        wrong = method == "PUT" and path.endswith("/bad")
        return (403, b"<Error><Code>AccessDenied</Code></Error>") if wrong else None

    with Meddler(own_store.endpoint, instead=refuse) as proxy:
        done = migrate(second.endpoint, "--bucket", bucket, target=proxy.url)
    assert done.code == 1
    assert f"Failed: {bucket}/bad: AccessDenied." in done.out
    assert "NOT EQUAL" in done.out
    assert {entry.key for entry in new.objects(bucket)} == {"a", "c"}


def test_bytes_that_change_on_the_way_never_count_as_moved(
    second: S3, new: S3, bucket: str, migrate: Migrate
) -> None:
    second.create_bucket(bucket)
    second.put(bucket, "small", b"right bytes")
    second.put(bucket, "large", b"r" * (9 * MIB))

    def rot(body: bytes) -> bytes:
        return body.replace(b"right", b"wrong").replace(b"rrrr", b"rwrr", 1)

    with Meddler(second.endpoint, body=rot) as proxy:
        done = migrate(proxy.url, "--bucket", bucket, "--json")
    assert done.code == 1
    assert {failure["key"] for failure in done.value["failures"]} == {"small", "large"}
    assert list(new.objects(bucket)) == []


def test_source_that_breaks_off_is_asked_again(
    second: S3, new: S3, bucket: str, migrate: Migrate
) -> None:
    second.create_bucket(bucket)
    second.put(bucket, "x", b"x" * 1000)
    asked = 0

    def unwell(method: str, path: str) -> tuple[int, bytes] | None:
        nonlocal asked
        asked += 1
        return (503, b"<Error><Code>SlowDown</Code></Error>") if asked % 2 else None

    with Meddler(second.endpoint, instead=unwell) as proxy:
        assert migrate(proxy.url, "--bucket", bucket).code == 0


def test_object_that_is_deleted_meanwhile_is_no_failure(second: S3, new: S3, bucket: str) -> None:
    second.create_bucket(bucket)
    new.create_bucket(bucket)
    plan = Plan([bucket], parallel=2)
    for key in ("a", "b"):
        second.put(bucket, key, b"x")
    watch = Watch(found=lambda objects, size: second.delete(bucket, ["b"]))
    outcome = Journey(second, new, plan, Memory(None), watch).run()
    assert outcome.complete


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "says"),
    [
        ((), {"OVERSIGHT_FROM_SECRET_KEY": ""}, 2, "OVERSIGHT_FROM_SECRET_KEY"),
        (
            (),
            {"OVERSIGHT_FROM_SECRET_KEY": "not the secret"},
            1,
            "come from OVERSIGHT_FROM_ACCESS_KEY",
        ),
        ((), {"OVERSIGHT_ROOT_PASSWORD": "not the secret"}, 1, "come from OVERSIGHT_ROOT_USER"),
        (("--bucket", "never-was"), {}, 1, "has no bucket never-was"),
        (("--limit", "fast"), {}, 2, "--limit must be like 20MiB"),
        (("--keys", "/no/such/file"), {}, 2, "/no/such/file"),
        (("--state", "/dev/null/state"), {}, 1, "--state"),
    ],
)
def test_one_sentence_each(
    second: S3, migrate: Migrate, arguments: tuple[str, ...], variables: dict[str, str],
    code: int, says: str,
) -> None:  # fmt: skip
    done = migrate(second.endpoint, *arguments, **variables)
    assert (done.code, done.out, len(done.err.splitlines())) == (code, "", 1), done.err
    assert says in done.err
    assert "not the secret" not in done.err


def test_unreachable_and_same_store(migrate: Migrate, own_store: ServedStore) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    done = migrate(nobody)
    assert (done.code, done.err) == (1, f"{nobody} cannot be reached: nobody listens there.\n")
    done = migrate(own_store.endpoint)
    assert (done.code, done.err) == (2, "Source and target are the same store.\n")


# -- the parts ------------------------------------------------------------------------------------


class Listing:
    """A store that lists ``keys`` in this very order, in pages of three."""

    def __init__(self, keys: list[str]) -> None:
        self.entries = [Entry(key, 1, f"etag-{key}", "") for key in keys]
        self.asked: list[str] = []

    def objects(self, bucket: str) -> Iterator[Entry]:
        return iter(self.entries)

    def pages(self, bucket: str) -> Iterator[list[Entry]]:
        return iter([self.entries[at : at + 3] for at in range(0, len(self.entries), 3)])

    def head(self, bucket: str, key: str) -> Any:
        self.asked.append(key)
        found = [entry for entry in self.entries if entry.key == key]
        if not found:
            return None
        headers = {"content-length": "1", "etag": f'"{found[0].etag}"'}
        return type("Answer", (), {"headers": headers})()


@pytest.mark.parametrize(
    "order", [list("abcdefgh"), list("hgfedcba"), list("acbdhefg"), list("bh"), []]
)
@pytest.mark.parametrize("there", [list("abcdefgh"), list("bcxyz"), [], list("h")])
@pytest.mark.parametrize("window", [2, 100])
def test_comparison_of_any_order(
    order: list[str], there: list[str], window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stack.migration.comparison._WINDOW", window)
    source, target = Listing(order), Listing(there)
    pages = list(compare(source, target, "b", lambda one, other: one.etag == other.etag))  # type: ignore[arg-type]
    assert {e.key for page in pages for e in page.same} == set(order) & set(there)
    assert {e.key for page in pages for e in page.missing} == set(order) - set(there)
    assert {e.key for page in pages for e in page.strangers} >= set(there) - set(order)


def test_in_order_nothing_is_asked_for_one_by_one() -> None:
    source, target = Listing(list("abcdefgh")), Listing(list("bdf"))
    list(compare(source, target, "b", lambda *_: True))  # type: ignore[arg-type]
    assert target.asked == []


def test_throttle_keeps_to_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = 100.0, 0.0

    def sleep(seconds: float) -> None:
        nonlocal now, slept
        now += seconds
        slept += seconds

    monkeypatch.setattr("stack.migration.throttle.time.monotonic", lambda: now)
    monkeypatch.setattr("stack.migration.throttle.time.sleep", sleep)
    throttle = Throttle(1000)
    for _ in range(10):
        throttle.pass_on(1000)
    assert slept == pytest.approx(9, abs=1.01)
    Throttle(0).pass_on(1 << 40)


def test_memory_is_kept_and_shared(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "deep" / "state")
    threads = [
        threading.Thread(target=memory.remember_pair, args=("b", f"k{n}", "s", "t"))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    memory.remember_pair("b", "no utf-8 \udcff", "s", "t")
    memory.close()
    memory = Memory(tmp_path / "deep" / "state")
    assert all(memory.same("b", f"k{n}", "s", "t") for n in range(20))
    assert memory.same("b", "no utf-8 \udcff", "s", "t")
    assert not memory.same("b", "k1", "s", "other")


def _copier(source: S3, target: S3, memory: Memory) -> Copier:
    from concurrent.futures import ThreadPoolExecutor

    return Copier(source, target, memory, throttle=Throttle(0), parts=ThreadPoolExecutor(2))
