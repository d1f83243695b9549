"""Headers in a presigned query: what is executed is what was signed, or nothing."""

from __future__ import annotations

import asyncio
from random import Random
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.iam.principal import ANONYMOUS
from storage.s3.auth import sigv2
from tests.s3.raw import RawClient
from tests.unit.s3.speaking import HOST, Heard, Speaking

EXPIRES = "4000000000"


def presign(lines: str, path: str = "/bkt/dst") -> str:
    """The query of a version 2 URL that signs ``lines``."""
    text = f"PUT\n\n\n{EXPIRES}\n{lines}{path}"
    signature = quote(sigv2.sign("secret-of-root", text.encode()).decode(), safe="")
    return f"AWSAccessKeyId=root&Expires={EXPIRES}&Signature={signature}"


async def filled() -> Speaking:
    store = Speaking()
    await store(store.root, "PUT", "/bkt")
    for key in ("ok", "secret"):
        await store(store.root, "PUT", f"/bkt/{key}", body=key.encode())
    return store


def test_another_source_is_not_copied() -> None:
    async def main() -> None:
        store = await filled()
        signed = presign("x-amz-copy-source:bkt/ok\n") + "&x-amz-copy-source=bkt/ok"
        assert (await store(None, "PUT", "/bkt/dst", signed)).status == 200
        for query in (
            f"X-Amz-Copy-Source=bkt/secret&{signed}&X-Amz-Copy-Source=zzz",
            f"X-Amz-Copy-Source=bkt/secret&{signed}",
            f"{signed}&X-Amz-Copy-Source=bkt/secret",
            f"x-amz-copy-source=bkt/secret&{signed}",
        ):
            assert (await store(None, "PUT", "/bkt/dst", query)).code == "InvalidArgument"
        assert (await store(store.root, "GET", "/bkt/dst")).body == b"ok"

    asyncio.run(main())


def test_another_acl_is_not_put() -> None:
    async def main() -> None:
        store = await filled()
        signed = presign("x-amz-acl:private\n")
        query = f"X-Amz-Acl=public-read&{signed}&x-amz-acl=private&X-Amz-Acl=zzz"
        assert (await store(None, "PUT", "/bkt/dst", query, b"x")).code == "InvalidArgument"
        assert (await store(ANONYMOUS, "GET", "/bkt/dst")).status == 403

    asyncio.run(main())


@pytest.mark.parametrize("second", ["X-Amz-Acl", "x-amz-aCl", "X-AMZ-ACL"])
def test_version_4_in_two_cases(second: str) -> None:
    async def main() -> Heard:
        store = await filled()
        raw = RawClient(HOST, "root", "secret-of-root")
        query = raw.presign("PUT", "/bkt/dst", f"x-amz-acl=private&{second}=public-read")
        return await store(None, "PUT", "/bkt/dst", query, b"x")

    assert asyncio.run(main()).code == "InvalidArgument"


names = st.lists(st.booleans(), min_size=9, max_size=9).map(
    lambda upper: "".join(c.upper() if up else c for c, up in zip("x-amz-acl", upper, strict=True))
)
pairs = st.lists(st.tuples(names, st.sampled_from(["private", "public-read", "zzz"])), max_size=3)


@settings(max_examples=150, deadline=None)
@given(more=pairs, place=st.integers(0, 3), order=st.randoms(use_true_random=False))
def test_what_is_adopted_was_signed(more: list[tuple[str, str]], place: int, order: Random) -> None:
    """However the parameters are repeated and ordered."""
    items = [f"{name}={value}" for name, value in more]
    items.insert(place, "x-amz-acl=private")
    items += presign("x-amz-acl:private\n").split("&")
    order.shuffle(items)

    async def main() -> None:
        store = await filled()
        status = (await store(None, "PUT", "/bkt/dst", "&".join(items), b"x")).status
        assert status == (400 if more else 200)
        assert (await store(ANONYMOUS, "GET", "/bkt/dst")).status == 403

    asyncio.run(main())
