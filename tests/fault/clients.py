"""Clients that write over HTTP and keep account of what they were told."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.fault.history import digest
from tests.serving import ACCESS_KEY, SECRET_KEY, ServedStore

PART = 5 * 1024 * 1024


def s3_client(store: ServedStore, timeout: float = 5.0) -> Any:
    """boto3 without retries: every refusal is seen."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            proxies={},
            retries={"total_max_attempts": 1},
            connect_timeout=timeout,
            read_timeout=timeout,
            max_pool_connections=1,
            request_checksum_calculation="when_required",
        ),
    )


class Client(threading.Thread):
    """One writer. A key whose outcome it does not know it never touches again.

    ``sure``: digests by key (None: deleted). ``unsure``: key to the values that it may have.
    """

    def __init__(self, store: ServedStore, name: str, seed: int, bucket: str = "langfuse") -> None:
        super().__init__(name=name, daemon=True)
        self.sure: dict[str, str | None] = {}
        self.unsure: dict[str, set[str | None]] = {}
        self.acknowledged = 0
        self.refused = 0
        self.trouble: BaseException | None = None
        self._store = store
        self._bucket = bucket
        self._dice = random.Random(seed)
        self._ended = threading.Event()
        self._number = 0

    def end(self) -> None:
        self._ended.set()

    def run(self) -> None:
        try:
            s3 = s3_client(self._store)
            while not self._ended.is_set():
                self._step(s3)
        except BaseException as error:
            self.trouble = error

    def _step(self, s3: Any) -> None:
        dice, self._number = self._dice, self._number + 1
        key = f"{self.name}/{self._number:06d}"
        match dice.randrange(40):
            case 0:
                self._multipart(s3, key, dice.randbytes(PART), dice.randbytes(1000))
            case 1 | 2:
                self._put(s3, key, dice.randbytes(dice.randrange(150_000, 900_000)))
            case number if number < 10 and self.sure:
                self._put(s3, dice.choice(list(self.sure)), dice.randbytes(300))
            case number if number < 14 and self.sure:
                key = dice.choice(list(self.sure))
                self._do(key, None, lambda: s3.delete_object(Bucket=self._bucket, Key=key))
            case _:
                self._put(s3, key, dice.randbytes(dice.randrange(0, 20_000)))

    def _put(self, s3: Any, key: str, body: bytes) -> None:
        self._do(key, digest(body), lambda: s3.put_object(Bucket=self._bucket, Key=key, Body=body))

    def _multipart(self, s3: Any, key: str, *bodies: bytes) -> None:
        name = {"Bucket": self._bucket, "Key": key}

        def upload() -> None:
            upload = name | {"UploadId": s3.create_multipart_upload(**name)["UploadId"]}
            parts = [
                {
                    "PartNumber": number,
                    "ETag": s3.upload_part(**upload, PartNumber=number, Body=body)["ETag"],
                }
                for number, body in enumerate(bodies, 1)
            ]
            s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

        self._do(key, digest(b"".join(bodies)), upload)

    def _do(self, key: str, value: str | None, work: Callable[[], object]) -> None:
        before = self.sure.pop(key, None)
        self.unsure[key] = {before, value}
        try:
            work()
        except (BotoCoreError, ClientError) as error:
            if isinstance(error, ClientError) and status_of(error) != 503:
                raise
            self.refused += 1
            self._ended.wait(0.05)
            return
        del self.unsure[key]
        self.sure[key] = value
        self.acknowledged += 1


def status_of(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def check_all(store: ServedStore, clients: list[Client], bucket: str = "langfuse") -> int:
    """Every object is as its writer was told; the number of objects."""
    for client in clients:
        assert client.trouble is None, client.trouble
    may_be = {key: {value} for client in clients for key, value in client.sure.items()}
    may_be |= {key: values for client in clients for key, values in client.unsure.items()}
    s3 = s3_client(store, timeout=60)
    found = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="client-"):
        for entry in page.get("Contents", ()):
            body = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            assert len(body) == entry["Size"]
            found[entry["Key"]] = digest(body)
    assert found.keys() <= may_be.keys()
    for key, values in may_be.items():
        assert found.get(key) in values, (key, found.get(key), values)
    return len(found)
