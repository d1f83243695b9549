"""The people who speak to a store in the tests of access."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import Store
from tests.s3.raw import RawClient


@dataclass(frozen=True)
class Person:
    """Somebody with a client. ``id`` is canonical; strangers have neither id nor names."""

    client: Any
    raw: RawClient
    id: str = ""
    display_name: str = ""
    email: str = ""

    @classmethod
    def known(cls, store: Store, access_key: str, secret_key: str, email: str = "") -> Person:
        """Whoever has these keys; the store tells the rest."""
        owner = signing(store, access_key, secret_key).list_buckets()["Owner"]
        return cls.of(store, access_key, secret_key, owner["ID"], owner["DisplayName"], email)

    @classmethod
    def of(cls, store: Store, access_key: str, secret_key: str, *names: str) -> Person:
        """The person of these keys, and of this id, display name and e-mail address."""
        raw = RawClient(store.host, access_key, secret_key)
        return cls(signing(store, access_key, secret_key), raw, *names)

    @classmethod
    def anonymous(cls, store: Store) -> Person:
        from botocore import UNSIGNED

        return cls(_client(store, version=UNSIGNED), RawClient(store.host, "", ""))

    @property
    def grantee(self) -> dict[str, str]:
        """The person in an ACL."""
        return {"Type": "CanonicalUser", "ID": self.id, "DisplayName": self.display_name}

    @property
    def owner(self) -> dict[str, str]:
        """The person as an owner."""
        return {"ID": self.id, "DisplayName": self.display_name}


def signing(store: Store, access_key: str, secret_key: str, version: str = "s3v4") -> Any:
    """A client that signs with these keys. ``version``: "s3v4", or "s3" for version 2."""
    return _client(
        store, version=version, aws_access_key_id=access_key, aws_secret_access_key=secret_key
    )


def _client(store: Store, *, version: Any, **keys: str) -> Any:
    boto3 = pytest.importorskip("boto3")
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        config=Config(
            signature_version=version,
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            proxies={},
        ),
        **keys,
    )


def refusal(call: Any, **arguments: Any) -> str:
    """The S3 code with which ``call`` is refused."""
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])
