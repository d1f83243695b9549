"""Objects as any S3 store shows them: facts, listings and bounded reads, through boto3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from stack.store import CommandError, environ
from storage import encodedwords
from storage.environment import DEFAULT_PASSWORD, DEFAULT_USER, ROOT_PASSWORD, ROOT_USER, Name, read

DEFAULT_ENDPOINT = "http://localhost:9090"
#: Where the endpoint is looked up, strongest first.
ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "OVERSIGHT_EXTERNAL_ENDPOINT")
_CONNECTIONS = 16


class NoSuchObject(CommandError):
    """There is no object of this name (and version)."""


@dataclass(frozen=True, slots=True)
class Address:
    """``s3://bucket/key``. An empty key is the bucket; one that ends in ``/`` is a folder."""

    bucket: str
    key: str = ""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises CommandError. Nothing is unquoted: a key may hold ``%``, ``?`` and ``#``."""
        scheme, separator, rest = url.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme not in ("s3", "s3a") or not separator or not bucket:
            raise CommandError(f"{url} is no address of an object: write s3://BUCKET/KEY.")
        return cls(bucket, key)

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def name(self) -> str:
        """The last segment of the key, or the bucket."""
        return self.key.rstrip("/").rpartition("/")[2] or self.bucket

    @property
    def folder(self) -> str:
        """The key up to its last slash, which is left out; "" for objects at the top."""
        return self.key.rpartition("/")[0]

    @property
    def is_folder(self) -> bool:
        return not self.key or self.key.endswith("/")


@dataclass(frozen=True, slots=True)
class Listed:
    """What one line of a listing says. ``size`` in bytes, ``modified`` in ms since 1970."""

    key: str
    size: int
    etag: str
    modified: int


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One version of an object. ``size`` in bytes, ``modified`` in ms since 1970.

    ``version_id`` is empty where the bucket keeps no versions. ``metadata`` is what its writer
    attached (``x-amz-meta-*``), names in lower case.
    """

    address: Address
    size: int
    etag: str
    modified: int
    content_type: str = ""
    content_encoding: str = ""
    version_id: str = ""
    storage_class: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


class Objects:
    """A store's objects. Its methods may be called from several threads."""

    def __init__(self, client: Any, endpoint: str = DEFAULT_ENDPOINT) -> None:
        """``client``: of boto3; ``endpoint``: named in sentences and in links."""
        self._client = client
        self.endpoint = endpoint.rstrip("/")

    @classmethod
    def from_environment(cls, endpoint: str = "") -> Objects:
        """The store that ``endpoint`` or the environment names, with boto3's own credentials.

        Where AWS's variables and files name none, the store's own are used. Raises CommandError.
        """
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        named = map(environ().get, ENDPOINT_VARIABLES)
        url = endpoint or next(filter(None, named), DEFAULT_ENDPOINT)
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            max_pool_connections=_CONNECTIONS,
            connect_timeout=5,
            retries={"mode": "standard", "total_max_attempts": 3},
        )
        try:
            session = boto3.session.Session()
            credentials = {} if session.get_credentials() else _store_credentials()
            region = session.region_name or "us-east-1"
            client = session.client(
                "s3", endpoint_url=url, region_name=region, config=config, **credentials
            )
        except (BotoCoreError, ValueError) as error:
            raise CommandError(f"The store's settings are wrong: {error}") from None
        return cls(client, url)

    def head(self, address: Address, version_id: str = "") -> StoredObject:
        """Raises NoSuchObject, CommandError."""
        version = {"VersionId": version_id} if version_id else {}
        with self._translated(address):
            found = self._client.head_object(Bucket=address.bucket, Key=address.key, **version)
        return StoredObject(
            address=address,
            size=found["ContentLength"],
            etag=found.get("ETag", "").strip('"'),
            modified=_milliseconds(found["LastModified"]),
            content_type=found.get("ContentType", ""),
            content_encoding=found.get("ContentEncoding", ""),
            version_id=version_id or _version(found.get("VersionId")),
            storage_class=found.get("StorageClass", "STANDARD"),
            metadata={
                name.lower(): encodedwords.text(value)
                for name, value in found.get("Metadata", {}).items()
            },
        )

    def pages(self, address: Address) -> Iterator[list[Listed]]:
        """All objects below ``address``, a page of the listing at a time. Raises CommandError."""
        paginator = self._client.get_paginator("list_objects_v2")
        with self._translated(address):
            for page in paginator.paginate(Bucket=address.bucket, Prefix=address.key):
                yield [
                    Listed(
                        each["Key"],
                        each["Size"],
                        each.get("ETag", "").strip('"'),
                        _milliseconds(each["LastModified"]),
                    )
                    for each in page.get("Contents", ())
                ]

    def check_bucket(self, address: Address) -> None:
        """Raises NoSuchObject if the bucket is missing, CommandError if it can't be asked."""
        with self._translated(Address(address.bucket)):
            self._client.head_bucket(Bucket=address.bucket)

    def read(self, stored: StoredObject, start: int, length: int) -> bytes:
        """``length`` bytes from ``start`` on, of this very version.

        Raises NoSuchObject if it was replaced or deleted meanwhile, CommandError.
        """
        if length <= 0 or start >= stored.size:
            return b""
        version = {"VersionId": stored.version_id} if stored.version_id else {}
        last = min(start + length, stored.size) - 1
        with self._translated(stored.address):
            answer = self._client.get_object(
                Bucket=stored.address.bucket,
                Key=stored.address.key,
                Range=f"bytes={start}-{last}",
                IfMatch=f'"{stored.etag}"',
                **version,
            )
            body: bytes = answer["Body"].read()
        return body

    @contextmanager
    def _translated(self, address: Address) -> Iterator[None]:
        """botocore's errors as one sentence with its cure."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            raise self._understood(address, error.response) from None
        except BotoCoreError as error:
            raise CommandError(
                f"No store answers at {self.endpoint}: start it, or name it in AWS_ENDPOINT_URL. "
                f"({type(error).__name__})"
            ) from None

    def _understood(self, address: Address, response: Mapping[str, Any]) -> CommandError:
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = str(response.get("Error", {}).get("Code", status))
        if status in (404, 412) or code in ("NoSuchKey", "NoSuchBucket", "NoSuchVersion"):
            what = "object" if address.key and code != "NoSuchBucket" else "bucket"
            return NoSuchObject(f"There is no such {what} at {self.endpoint}: {address.url}")
        if status in (401, 403):
            return CommandError(
                f"{self.endpoint} refuses {address.url} ({code}): set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY to a key that may list and read it."
            )
        return CommandError(f"{self.endpoint} answered {code} for {address.url}: try again later.")


def _store_credentials() -> dict[str, str]:
    """The keys that the store's own commands use, or its published defaults."""
    names = (
        Name("aws_access_key_id", ("OVERSIGHT_ACCESS_KEY", *ROOT_USER), secret=True),
        Name("aws_secret_access_key", ("OVERSIGHT_SECRET_KEY", *ROOT_PASSWORD), secret=True),
    )
    defaults = {"aws_access_key_id": DEFAULT_USER, "aws_secret_access_key": DEFAULT_PASSWORD}
    return defaults | dict(read(names, environ()).values)


def _milliseconds(moment: Any) -> int:
    return int(moment.timestamp() * 1000)


def _version(version_id: str | None) -> str:
    """S3 names the version ``null`` where there are none."""
    return version_id if version_id and version_id != "null" else ""
