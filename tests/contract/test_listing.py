"""Listings: S3's order, prefixes, delimiters, pages."""

from __future__ import annotations

import pytest

from storage import errors
from storage.engine.interface import Bucket, DeleteBucket, Engine
from tests.contract.store import delete, expected_listing, keys, listed, ordered, put

pytestmark = pytest.mark.anyio

# Order by UTF-8 bytes is order by code points, but not by UTF-16 units: U+FFFF < U+1F600 here.
UNORDERED = ["\U0001f600", "\uffff", "\ue000", "z", "é", "Z", "a", "~", "\x7f", "\u0080", "a\0"]

TREES = [
    ["a", "a/b", "a/c", "a/d/e", "b//x", "b/", "c", "d/"],
    ["events/otel/1.json", "events/otel/2.json", "events/scores/1.json", "media/x.png", "top"],
    ["//", "/", "/a", "a", "a//", "a///b"],
    ["x::y", "x::z", "x:w", "xx", "x::", "x:::"],
    ["aa", "aab", "ab", "aaa", "aba"],
    ["\U0001f600/a", "\uffff/b", "\ue000/c", "é/d"],
    ["p\0q/r", "p\0", "p/\0/q", "p"],
    [],
]
DELIMITERS = ["", "/", "//", "::", ":", "a", "aa", "\U0001f600", "\0", "events/", "zzz"]
PREFIXES = ["", "a", "a/", "events/", "x:", "b/", "/", "\U0001f600", "nothing", "aa", "p\0"]


async def test_order_is_by_utf8_bytes(engine: Engine, bucket: Bucket) -> None:
    for key in UNORDERED:
        await put(engine, bucket, key)
    page = await engine.list_objects(bucket.id)
    assert [entry.key for entry in page.entries] == ordered(UNORDERED)
    assert page.next_after is None


@pytest.mark.parametrize("tree", TREES, ids=range(len(TREES)))
async def test_every_prefix_delimiter_and_page_size(
    engine: Engine, bucket: Bucket, tree: list[str]
) -> None:
    for key in tree:
        await put(engine, bucket, key, b"")
    for prefix in PREFIXES:
        for delimiter in DELIMITERS:
            expected = expected_listing(tree, prefix=prefix, delimiter=delimiter)
            assert await keys(engine, bucket, prefix=prefix, delimiter=delimiter) == expected
            for limit in (1, 2, 3):
                got = await walk(engine, bucket, prefix=prefix, delimiter=delimiter, limit=limit)
                assert got == expected


async def walk(engine: Engine, bucket: Bucket, *, limit: int, **more: str) -> list[str]:
    """All pages. Each is full but the last, and only the last one says that nothing follows."""
    found: list[str] = []
    after = ""
    while True:
        page = await engine.list_objects(bucket.id, after=after, limit=limit, **more)
        names = listed(page)
        found += names
        if page.next_after is None:
            return found
        assert len(names) == limit
        assert page.next_after == names[-1]
        after = page.next_after


@pytest.mark.parametrize("delimiter", ["", "/", "::"])
async def test_after_any_string(engine: Engine, bucket: Bucket, delimiter: str) -> None:
    """``after`` need not exist, and may lie inside a common prefix: that is skipped as a whole."""
    tree = [key for keys_ in TREES for key in keys_]
    for key in tree:
        await put(engine, bucket, key, b"")
    probes = [*tree, *(key + "0" for key in tree), *(key[:-1] for key in tree), "zzzz", "\0"]
    for after in probes:
        got = await keys(engine, bucket, after=after, delimiter=delimiter, limit=1000)
        assert got == expected_listing(tree, after=after, delimiter=delimiter)


async def test_a_page_that_ends_exactly_is_the_last(engine: Engine, bucket: Bucket) -> None:
    for key in ("a", "b/1", "b/2"):
        await put(engine, bucket, key)
    page = await engine.list_objects(bucket.id, delimiter="/", limit=2)
    assert (listed(page), page.next_after) == (["a", "b/"], None)
    page = await engine.list_objects(bucket.id, limit=3)
    assert page.next_after is None


async def test_limit_zero_is_an_empty_page(engine: Engine, bucket: Bucket) -> None:
    await put(engine, bucket, "a")
    page = await engine.list_objects(bucket.id, limit=0)
    assert (page.entries, page.prefixes, page.next_after) == ([], [], None)


async def test_the_default_limit_is_a_thousand(engine: Engine, bucket: Bucket) -> None:
    for number in range(1003):
        await put(engine, bucket, f"k{number:05d}", b"")
    page = await engine.list_objects(bucket.id)
    assert (len(page.entries), page.next_after) == (1000, "k00999")
    page = await engine.list_objects(bucket.id, after="k00999")
    assert [entry.key for entry in page.entries] == ["k01000", "k01001", "k01002"]
    page = await engine.list_objects(bucket.id, limit=5000)
    assert (len(page.entries), page.next_after) == (1003, None)


async def test_big_common_prefixes_are_one_row(engine: Engine, bucket: Bucket) -> None:
    for folder in ("a", "b", "c"):
        for number in range(150):
            await put(engine, bucket, f"{folder}/{number:04d}", b"")
        await put(engine, bucket, f"{folder}.txt", b"")
    expected = ["a.txt", "a/", "b.txt", "b/", "c.txt", "c/"]
    assert await keys(engine, bucket, delimiter="/") == expected
    assert await walk(engine, bucket, delimiter="/", limit=1) == expected
    assert len(await keys(engine, bucket, prefix="b/", delimiter="/")) == 150
    assert await keys(engine, bucket, prefix="b/01", after="b/0147") == ["b/0148", "b/0149"]


async def test_deleted_keys_are_not_listed(engine: Engine, bucket: Bucket) -> None:
    for key in ("a/1", "a/2", "b"):
        await put(engine, bucket, key)
    await delete(engine, bucket, "a/1")
    assert await keys(engine, bucket, delimiter="/") == ["a/", "b"]
    await delete(engine, bucket, "a/2")
    assert await keys(engine, bucket, delimiter="/") == ["b"]


async def test_buckets_do_not_see_each_other(engine: Engine, bucket: Bucket) -> None:
    from tests.contract.store import make_bucket

    other = await make_bucket(engine, "other")
    await put(engine, bucket, "mine")
    await put(engine, other, "yours")
    assert await keys(engine, bucket) == ["mine"]
    assert await keys(engine, other) == ["yours"]


async def test_listing_a_bucket_that_went(engine: Engine, bucket: Bucket) -> None:
    await engine.commit(DeleteBucket("bucket"))
    with pytest.raises(errors.NoSuchBucket):
        await engine.list_objects(bucket.id)
