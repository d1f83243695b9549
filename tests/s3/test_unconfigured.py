"""What S3 says of configurations that a bucket does not have: clients ask for all of them."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3.raw import RawClient, error_code, error_status


@pytest.mark.parametrize(
    ("operation", "content"),
    [
        ("get_bucket_accelerate_configuration", {}),
        ("get_bucket_logging", {}),
        ("get_bucket_notification_configuration", {}),
        ("get_bucket_request_payment", {"Payer": "BucketOwner"}),
    ],
)
def test_what_is_switched_off(
    boto_client: Any, bucket: str, operation: str, content: dict[str, str]
) -> None:
    answer = getattr(boto_client, operation)(Bucket=bucket)
    assert answer.pop("ResponseMetadata")["HTTPStatusCode"] == 200
    assert answer == content


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("get_bucket_encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ("get_bucket_replication", "ReplicationConfigurationNotFoundError"),
        ("get_bucket_website", "NoSuchWebsiteConfiguration"),
        ("get_object_lock_configuration", "ObjectLockConfigurationNotFoundError"),
    ],
)
def test_what_does_not_exist(boto_client: Any, bucket: str, operation: str, code: str) -> None:
    with pytest.raises(ClientError) as error:
        getattr(boto_client, operation)(Bucket=bucket)
    assert (error_status(error), error_code(error)) == (404, code)
    assert error.value.response["Error"]["BucketName"] == bucket
    with pytest.raises(ClientError) as error:
        getattr(boto_client, operation)(Bucket="absent-bucket-of-nobody")
    assert error_code(error) == "NoSuchBucket"


@pytest.mark.parametrize("query", ["encryption", "replication", "website"])
def test_nothing_is_deleted_without_an_error(raw: RawClient, bucket: str, query: str) -> None:
    assert raw.request("DELETE", f"/{bucket}", query).status == 204


@pytest.mark.parametrize(
    "query",
    ["accelerate", "encryption", "logging", "notification", "object-lock", "replication",
     "requestPayment", "website"],
)  # fmt: skip
def test_nothing_of_it_can_be_put(raw: RawClient, bucket: str, query: str) -> None:
    answer = raw.request("PUT", f"/{bucket}", query, body=b"<Any/>")
    assert (answer.status, answer.code) == (501, "NotImplemented")


@pytest.mark.parametrize("query", ["retention", "legal-hold"])
def test_objects_are_not_locked(raw: RawClient, bucket: str, query: str) -> None:
    assert raw.request("GET", f"/{bucket}/k", query).code == "NoSuchKey"
    raw.request("PUT", f"/{bucket}/k", body=b"x")
    answer = raw.request("GET", f"/{bucket}/k", query)
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert answer.text("Message") == "Bucket is missing Object Lock Configuration"


def test_objects_have_no_torrents(raw: RawClient, bucket: str) -> None:
    raw.request("PUT", f"/{bucket}/k", body=b"x")
    answer = raw.request("GET", f"/{bucket}/k", "torrent")
    assert (answer.status, answer.code) == (404, "NoSuchKey")
