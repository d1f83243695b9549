"""What policies may ask about a signature is known of all five ways to sign."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import Store, empty_and_delete
from tests.s3.forms import Form
from tests.s3.people import Person, refusal, signing
from tests.s3.raw import RawClient

V4, V2 = "AWS4-HMAC-SHA256", "AWS"
Send = Callable[[Any, RawClient, str], int]


def in_header(client: Any, _raw: RawClient, bucket: str) -> int:
    try:
        client.put_object(Bucket=bucket, Key="k", Body=b"x")
    except client.exceptions.ClientError as error:
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
    return 200


def in_url(client: Any, raw: RawClient, bucket: str) -> int:
    url = client.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "k"})
    path, _, query = url.split(raw.host, 1)[1].partition("?")
    return raw.request("PUT", path, query, body=b"x", sign=False).status


def in_form(client: Any, raw: RawClient, bucket: str) -> int:
    return Form(raw, client, bucket).upload("k", b"x").status


WAYS: list[tuple[str, Send, str, str]] = [
    ("s3v4", in_header, "REST-HEADER", V4),
    ("s3", in_header, "REST-HEADER", V2),
    ("s3v4", in_url, "REST-QUERY-STRING", V4),
    ("s3", in_url, "REST-QUERY-STRING", V2),
    ("s3v4", in_form, "POST", V4),
    ("s3", in_form, "POST", V2),
]


@pytest.fixture
def others(other: Person) -> Iterator[str]:
    """A new bucket that belongs to the other user, who is bound by its policy."""
    name = f"test-{uuid.uuid4().hex[:20]}"
    other.client.create_bucket(Bucket=name)
    yield name
    other.client.delete_bucket_policy(Bucket=name)
    empty_and_delete(other.client, name)


def deny(person: Person, bucket: str, operator: str, key: str, value: str) -> None:
    statement = {
        "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket}/*", "Condition": {operator: {key: value}},
    }  # fmt: skip
    document = {"Version": "2012-10-17", "Statement": statement}
    person.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(document))


@pytest.mark.parametrize(("version", "send", "kind", "algorithm"), WAYS)
def test_what_a_policy_sees(
    store: Store, other: Person, others: str, version: str, send: Send, kind: str, algorithm: str
) -> None:
    client = signing(store, other.raw.access_key, other.raw.secret_key, version)
    age = ("NumericEquals", "0") if algorithm == V2 else ("NumericLessThan", "600000")
    for operator, key, value in (
        ("StringEquals", "s3:authType", kind),
        ("StringEquals", "s3:signatureversion", algorithm),
        (age[0], "s3:signatureAge", age[1]),
        ("Null", "s3:signatureAge", "false"),
    ):
        deny(other, others, operator, key, value)
        assert send(client, other.raw, others) == 403, (key, value)
    for operator, key, value in (
        ("StringNotEquals", "s3:authType", kind),
        ("StringNotEquals", "s3:signatureversion", algorithm),
        ("NumericGreaterThan", "s3:signatureAge", "600000"),
    ):
        deny(other, others, operator, key, value)
        assert send(client, other.raw, others) in (200, 204), (key, value)


def test_without_a_signature_there_are_no_such_facts(
    other: Person, stranger: Person, others: str
) -> None:
    statement = {
        "Effect": "Allow", "Principal": "*", "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{others}/*",
    }  # fmt: skip
    absent = ("s3:authType", "s3:signatureversion", "s3:signatureAge")
    for wanted, key in [(True, key) for key in absent] + [(False, key) for key in absent]:
        condition = {"Null": {key: "true" if wanted else "false"}}
        document = {"Version": "2012-10-17", "Statement": statement | {"Condition": condition}}
        other.client.put_bucket_policy(Bucket=others, Policy=json.dumps(document))
        put = stranger.client.put_object
        if wanted:
            put(Bucket=others, Key="k", Body=b"x")
        else:
            assert refusal(put, Bucket=others, Key="k", Body=b"x") == "AccessDenied"
