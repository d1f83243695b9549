"""aiobotocore: botocore's client for asyncio."""

from __future__ import annotations

import asyncio
import os
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.clients.tools import ODD_KEYS
from tests.conftest import Store

pytest.importorskip("aiobotocore", reason="aiobotocore is not installed")
from aiobotocore.session import get_session
from botocore.config import Config

PART = 5 * 1024 * 1024


@asynccontextmanager
async def connected(store: Store) -> AsyncIterator[Any]:
    async with get_session().create_client(
        "s3",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, proxies={}),
    ) as client:
        yield client


def play(store: Store, use: Callable[[Any], Awaitable[None]]) -> None:
    async def run() -> None:
        async with connected(store) as client:
            await use(client)

    asyncio.run(run())


def test_many_at_once(store: Store, bucket: str) -> None:
    async def use(client: Any) -> None:
        bodies = {f"k/{number:03}": os.urandom(1000) for number in range(40)} | {
            key: key.encode() for key in ODD_KEYS
        }
        await asyncio.gather(
            *(client.put_object(Bucket=bucket, Key=k, Body=b) for k, b in bodies.items())
        )

        async def read(key: str) -> bytes:
            answer = await client.get_object(Bucket=bucket, Key=key)
            async with answer["Body"] as stream:
                return await stream.read()

        assert dict(zip(bodies, await asyncio.gather(*map(read, bodies)), strict=True)) == bodies
        found = []
        async for page in client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, PaginationConfig={"PageSize": 7}
        ):
            found += [entry["Key"] for entry in page["Contents"]]
        assert found == sorted(bodies, key=str.encode)
        objects = [{"Key": key} for key in bodies]
        answer = await client.delete_objects(Bucket=bucket, Delete={"Objects": objects})
        assert len(answer["Deleted"]) == len(bodies)

    play(store, use)


def test_multipart_copy_and_presigned_url(store: Store, bucket: str) -> None:
    async def use(client: Any) -> None:
        body = os.urandom(PART + 17)
        started = await client.create_multipart_upload(Bucket=bucket, Key="large")
        upload = {"Bucket": bucket, "Key": "large", "UploadId": started["UploadId"]}

        async def send(number: int) -> dict[str, Any]:
            piece = body[(number - 1) * PART : number * PART]
            answer = await client.upload_part(**upload, PartNumber=number, Body=piece)
            return {"PartNumber": number, "ETag": answer["ETag"]}

        parts = await asyncio.gather(send(1), send(2))
        await client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        source = {"Bucket": bucket, "Key": "large"}
        await client.copy_object(Bucket=bucket, Key="copy", CopySource=source)
        url = await client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "copy"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=60) as answer:
            assert answer.read() == body
        await client.delete_object(Bucket=bucket, Key="large")

    play(store, use)
