"""Migration of buckets that keep versions: the order of versions and delete markers stays."""

from __future__ import annotations

import os

import pytest

from stack.migration import versions
from stack.migration.versions import ENABLED, SUSPENDED, History, compared
from stack.s3.client import S3, Version
from tests.bundle.commands.conftest import Migrate
from tests.bundle.commands.meddler import Meddler
from tests.bundle.commands.test_migrate import result, upload, wait_out_the_run
from tests.serving import ServedStore

MIB = 1 << 20


def told(s3: S3, bucket: str) -> dict[str, list[bytes | None]]:
    """What each key was, from the oldest version on; None: it was deleted."""
    found: dict[str, list[bytes | None]] = {}
    for each in list(s3.versions(bucket)):
        query = [("versionId", each.version)]
        body = None if each.marker else s3.get(bucket, each.key, query).body
        found.setdefault(each.key, []).insert(0, body)
    return found


def test_a_history_moves_in_its_order(old: S3, new: S3, bucket: str, migrate: Migrate) -> None:
    old.create_bucket(bucket)
    old.put(bucket, "before", b"a null version", {"x-amz-meta-who": "ada"})
    versions.set_status(old, bucket, ENABLED)
    for body in (b"one", b"two", b"one"):
        old.put(bucket, "often", body, {"x-amz-tagging": f"body={body.decode()}"})
    old.put(bucket, "before", b"and a second one")
    old.put(bucket, "deleted", b"x")
    old.delete_one(bucket, "deleted")
    old.put(bucket, "revived", b"x")
    old.delete_one(bucket, "revived")
    old.put(bucket, "revived", b"y")
    upload(old, bucket, "parts", [5 * MIB, 10])
    upload(old, bucket, "parts", [6 * MIB, 5 * MIB, 10])
    done = migrate(old.endpoint, "--bucket", bucket, "--headers", "--json")
    assert done.code == 0, done.out + done.err
    assert told(new, bucket) == told(old, bucket)
    assert result(done)["copied"] == result(done)["objects"] == 12
    assert versions.status(new, bucket) == ENABLED
    assert {e.key: e.etag for e in new.versions(bucket) if e.key == "parts"} == {
        e.key: e.etag for e in old.versions(bucket) if e.key == "parts"
    }
    oldest = versions.one(new, bucket, "before")[0]
    head = new.head(bucket, "before", [("versionId", oldest.version)])
    assert head is not None
    assert head.headers["x-amz-meta-who"] == "ada"
    tags = [new.tags(bucket, "often", each.version) for each in versions.one(new, bucket, "often")]
    assert tags == [[("body", "one")], [("body", "two")], [("body", "one")]]
    again = migrate(old.endpoint, "--bucket", bucket, "--json")
    assert (again.code, result(again)["copied"]) == (0, 0)
    assert told(new, bucket) == told(old, bucket)


def test_what_was_added_since_follows(old: S3, new: S3, bucket: str, migrate: Migrate) -> None:
    old.create_bucket(bucket)
    versions.set_status(old, bucket, ENABLED)
    for key in ("a", "b"):
        old.put(bucket, key, b"1")
    assert migrate(old.endpoint, "--bucket", bucket).code == 0
    old.put(bucket, "a", b"2")
    old.delete_one(bucket, "b")
    done = migrate(old.endpoint, "--bucket", bucket, "--json")
    assert (done.code, result(done)["copied"]) == (0, 2)
    assert told(new, bucket) == {"a": [b"1", b"2"], "b": [b"1", None]}
    assert [entry.key for entry in new.objects(bucket)] == ["a"]


def test_a_suspended_bucket_stays_suspended(
    old: S3, new: S3, bucket: str, migrate: Migrate
) -> None:
    old.create_bucket(bucket)
    versions.set_status(old, bucket, ENABLED)
    old.put(bucket, "a", b"1")
    versions.set_status(old, bucket, SUSPENDED)
    old.put(bucket, "a", b"2")
    for copied in (2, 0):
        done = migrate(old.endpoint, "--bucket", bucket, "--json")
        assert (done.code, result(done)["copied"]) == (0, copied)
        assert versions.status(new, bucket) == SUSPENDED
    assert told(new, bucket) == {"a": [b"1", b"2"]}


def test_a_history_that_stopped_in_the_middle_goes_on(
    second: S3, new: S3, bucket: str, migrate: Migrate, own_store: ServedStore
) -> None:
    second.create_bucket(bucket)
    versions.set_status(second, bucket, ENABLED)
    for number in range(5):
        second.put(bucket, "a", b"%d" % number)
    puts = 0

    def refuse_the_third(method: str, path: str) -> tuple[int, bytes] | None:
        nonlocal puts
        if method != "PUT" or not path.split("?")[0].endswith("/a"):
            return None
        puts += 1
        return (403, b"<Error><Code>AccessDenied</Code></Error>") if puts == 3 else None

    with Meddler(own_store.endpoint, instead=refuse_the_third) as proxy:
        done = migrate(second.endpoint, "--bucket", bucket, "--json", target=proxy.url)
    assert (done.code, result(done)["missing"]) == (1, 3)
    assert told(new, bucket) == {"a": [b"0", b"1"]}, "nothing was left out"
    done = migrate(second.endpoint, "--bucket", bucket, "--json")
    assert (done.code, result(done)["copied"]) == (0, 3)
    assert told(new, bucket) == told(second, bucket)


def test_latest_only(old: S3, new: S3, bucket: str, migrate: Migrate) -> None:
    old.create_bucket(bucket)
    versions.set_status(old, bucket, ENABLED)
    for body in (b"first", b"second"):
        old.put(bucket, "x", body)
    old.put(bucket, "gone", b"x")
    old.delete_one(bucket, "gone")
    assert migrate(old.endpoint, "--bucket", bucket, "--latest-only").code == 0
    assert told(new, bucket) == {"x": [b"second"]}
    assert versions.status(new, bucket) == ENABLED


def test_prune_removes_versions_that_the_source_has_removed(
    second: S3, new: S3, bucket: str, migrate: Migrate
) -> None:
    second.create_bucket(bucket)
    versions.set_status(second, bucket, ENABLED)
    for body in (b"1", b"2"):
        second.put(bucket, "a", body)
    second.put(bucket, "b", b"1")
    new.create_bucket(bucket)
    versions.set_status(new, bucket, ENABLED)
    new.put(bucket, "c", b"from before")
    wait_out_the_run(new)
    migrate(second.endpoint, "--bucket", bucket)
    second.delete_one(bucket, "a", versions.one(second, bucket, "a")[0].version)
    second.delete_one(bucket, "b", versions.one(second, bucket, "b")[0].version)
    wait_out_the_run(new)
    new.put(bucket, "a", b"written here")
    for options in (("--compare", "--prune"), ("--dry-run", "--prune"), ()):
        wait_out_the_run(new)
        done = migrate(second.endpoint, "--bucket", bucket, "--json", *options)
        assert (done.code, result(done)["extra"], result(done)["pruned"]) == (0, 4, 0)
    done = migrate(second.endpoint, "--bucket", bucket, "--json", "--prune")
    assert (done.code, result(done)["extra"], result(done)["pruned"]) == (0, 2, 2)
    assert told(new, bucket) == {"a": [b"2", b"written here"], "c": [b"from before"]}


def test_dry_run_changes_nothing(old: S3, new: S3, bucket: str, migrate: Migrate) -> None:
    old.create_bucket(bucket)
    versions.set_status(old, bucket, ENABLED)
    old.put(bucket, "a", b"1")
    old.delete_one(bucket, "a")
    done = migrate(old.endpoint, "--bucket", bucket, "--dry-run")
    assert done.code == 0
    assert "2 objects would be moved. Nothing was changed." in done.out
    assert not new.has_bucket(bucket)


def test_more_keys_and_versions_than_a_page_holds(
    second: S3, new: S3, bucket: str, migrate: Migrate
) -> None:
    second.create_bucket(bucket)
    versions.set_status(second, bucket, ENABLED)
    for number in range(1005):
        second.put(bucket, "many", b"%d" % number)
    second.put(bucket, "ünï +%.json", os.urandom(10))
    done = migrate(second.endpoint, "--bucket", bucket, "--json")
    assert (done.code, result(done)["copied"]) == (0, 1006)
    assert told(new, bucket) == told(second, bucket)


def _history(text: str) -> list[Version]:
    return [Version("k", str(at), 1, etag, "", etag == "-") for at, etag in enumerate(text)]


@pytest.mark.parametrize(
    ("theirs", "ours", "lacking", "extra"),
    [
        ("abc", "", "abc", ""),
        ("abc", "ab", "c", ""),
        ("abc", "abc", "", ""),
        ("aba", "ab", "a", ""),  # the same bytes again are another version
        ("bc", "abc", "", "a"),  # the oldest one expired in the source
        ("ac", "abc", "", "b"),
        ("a-b", "a-", "b", ""),
        ("abc", "c", "abc", "c"),  # only the latest one was moved before
        ("", "ab", "", "ab"),
    ],
)
def test_what_of_a_history_has_arrived(theirs: str, ours: str, lacking: str, extra: str) -> None:
    found = compared(
        "k", _history(theirs), _history(ours), lambda one, other: one.etag == other.etag
    )
    assert _etags(found.lacking) == lacking
    assert _etags(found.extra) == extra
    assert isinstance(found, History)


def _etags(history: list[Version]) -> str:
    return "".join(each.etag for each in history)
