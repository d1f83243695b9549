"""Tags that CopyObject carries need the permissions of reading and of setting tags."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from storage.iam.principal import Principal
from tests.unit.s3.speaking import OWN, Heard, Speaking, user

Statement = dict[str, Any]


def allow(*actions: str, on: str = "bkt/*", **more: Any) -> Statement:
    names = [f"s3:{action}" for action in actions]
    return {"Effect": "Allow", "Action": names, "Resource": f"arn:aws:s3:::{on}", **more}


def tagged(value: str) -> dict[str, str]:
    return {"x-amz-tagging": value}


async def copy(
    store: Speaking, who: Principal, source: str, to: str, headers: dict[str, str] | None = None
) -> Heard:
    return await store(who, "PUT", to, headers={"x-amz-copy-source": source} | (headers or {}))


async def scene(who: Principal) -> Speaking:
    """A bucket of the root user's and one of ``who``."""
    store = Speaking()
    root = store.root
    assert (await store(root, "PUT", "/bkt")).status == 200
    assert (await store(root, "PUT", "/bkt/tagged", headers=tagged("secret=42"))).status == 200
    assert (await store(root, "PUT", "/bkt/plain", body=b"p")).status == 200
    assert (await store(who, "PUT", "/own")).status == 200
    return store


async def tags_of(store: Speaking, path: str) -> dict[str, str] | None:
    heard = await store(store.root, "GET", path, "tagging")
    return heard.tags if heard.status == 200 else None


@pytest.mark.parametrize("more", [(), ("GetObjectTagging",)])
def test_the_source_s_tags_are_read_only_with_permission(more: tuple[str, ...]) -> None:
    async def main() -> None:
        who = user("cat", allow("GetObject", *more), *OWN)
        store = await scene(who)
        assert (await store(who, "GET", "/bkt/tagged", "tagging")).status == (200 if more else 403)
        heard = await copy(store, who, "/bkt/tagged", "/own/t")
        assert (heard.status, heard.code) == ((200, "") if more else (403, "AccessDenied"))
        assert await tags_of(store, "/own/t") == ({"secret": "42"} if more else None)

    asyncio.run(main())


@pytest.mark.parametrize("more", ["GetObjectTagging", "GetObjectVersionTagging"])
def test_a_named_version_has_an_action_of_its_own(more: str) -> None:
    async def main() -> None:
        who = user("cat", allow("GetObject", "GetObjectVersion", more), *OWN)
        store = await scene(who)
        by_version = await copy(store, who, "/bkt/tagged?versionId=null", "/own/v")
        plain = await copy(store, who, "/bkt/tagged", "/own/p")
        expected = (403, 200) if more == "GetObjectTagging" else (200, 403)
        assert (by_version.status, plain.status) == expected

    asyncio.run(main())


@pytest.mark.parametrize("more", [(), ("PutObjectTagging",)])
def test_tags_are_set_only_with_permission(more: tuple[str, ...]) -> None:
    async def main() -> None:
        who = user("wim", allow("PutObject", *more), *OWN)
        store = await scene(who)
        assert (await store(who, "PUT", "/own/pub", headers=tagged("public=yes"))).status == 200
        heard = await copy(store, who, "/own/pub", "/bkt/pub")
        assert (heard.status, heard.code) == ((200, "") if more else (403, "AccessDenied"))
        assert await tags_of(store, "/bkt/pub") == ({"public": "yes"} if more else None)

    asyncio.run(main())


def test_an_explicit_denial_counts() -> None:
    async def main() -> None:
        deny = {"Effect": "Deny", "Action": "s3:PutObjectTagging", "Resource": "*"}
        who = user("dan", allow("*", on="*"), deny)
        store = await scene(who)
        assert (await copy(store, who, "/bkt/tagged", "/bkt/t")).status == 403
        replaced = {"x-amz-tagging-directive": "REPLACE"}
        assert (await copy(store, who, "/bkt/tagged", "/bkt/t", replaced)).status == 200
        assert await tags_of(store, "/bkt/t") == {}

    asyncio.run(main())


def test_an_ignored_header_is_no_fact() -> None:
    """Conditions see the tags that the copy has."""

    async def main() -> None:
        condition = {"StringEquals": {"s3:RequestObjectTag/env": "dev"}}
        who = user("eva", allow("PutObject", "PutObjectTagging", Condition=condition), *OWN)
        store = await scene(who)
        for value in ("prod", "dev"):
            headers = tagged(f"env={value}")
            assert (await store(who, "PUT", f"/own/{value}", headers=headers)).status == 200
        await store(who, "PUT", "/own/none")
        forged = tagged("env=dev")
        for source in ("prod", "none"):
            assert (await copy(store, who, f"/own/{source}", "/bkt/z", forged)).status == 403
        assert await tags_of(store, "/bkt/z") is None
        replaced = forged | {"x-amz-tagging-directive": "REPLACE"}
        assert (await copy(store, who, "/own/prod", "/bkt/z", replaced)).status == 200
        assert await tags_of(store, "/bkt/z") == {"env": "dev"}

    asyncio.run(main())


def test_a_denial_sees_the_tags_that_are_copied() -> None:
    async def main() -> None:
        condition = {"StringEquals": {"s3:RequestObjectTag/secret": "42"}}
        deny = {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*", "Condition": condition}
        who = user("fay", allow("*", on="*"), deny)
        store = await scene(who)
        assert (await copy(store, who, "/bkt/tagged", "/bkt/t")).status == 403
        assert (await copy(store, who, "/bkt/plain", "/bkt/t")).status == 200

    asyncio.run(main())


def test_without_tags_no_permission_is_needed() -> None:
    async def main() -> None:
        who = user("gus", allow("GetObject", "PutObject"), *OWN)
        store = await scene(who)
        assert (await copy(store, who, "/bkt/plain", "/bkt/a")).status == 200
        # As in S3, a header beside COPY is not looked at, whatever it says.
        assert (await copy(store, who, "/bkt/plain", "/bkt/b", tagged("a=1"))).status == 200
        assert await tags_of(store, "/bkt/b") == {}

    asyncio.run(main())
