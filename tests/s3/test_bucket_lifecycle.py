"""Get, Put and Delete of BucketLifecycleConfiguration, and x-amz-expiration."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3.raw import RawClient

EVENTS = {
    "ID": "events",
    "Status": "Enabled",
    "Filter": {"Prefix": "events/"},
    "Expiration": {"Days": 30},
}


def put(client: Any, bucket: str, *rules: dict[str, Any]) -> None:
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": list(rules)}
    )


def code_of(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def test_from_beginning_to_end(boto_client: Any, bucket: str) -> None:
    get = boto_client.get_bucket_lifecycle_configuration
    assert code_of(get, Bucket=bucket) == "NoSuchLifecycleConfiguration"
    put(boto_client, bucket, EVENTS)
    assert get(Bucket=bucket)["Rules"] == [EVENTS]
    boto_client.delete_bucket_lifecycle(Bucket=bucket)
    assert code_of(get, Bucket=bucket) == "NoSuchLifecycleConfiguration"


@pytest.mark.parametrize(
    "rule",
    [
        EVENTS,
        EVENTS | {"Status": "Disabled"},
        EVENTS | {"Filter": {"Prefix": "a&<b>/é"}},
        EVENTS | {"Filter": {"Prefix": ""}},
        EVENTS | {"Filter": {}},
        EVENTS | {"Expiration": {"ExpiredObjectDeleteMarker": True}},
        EVENTS | {"Expiration": {"ExpiredObjectDeleteMarker": False}},
        {
            "ID": "old form",
            "Prefix": "x/",
            "Status": "Enabled",
            "NoncurrentVersionExpiration": {"NoncurrentDays": 3, "NewerNoncurrentVersions": 5},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        },
        EVENTS | {"Expiration": {"Date": datetime.datetime(2030, 1, 2, tzinfo=datetime.UTC)}},
    ],
)
def test_what_is_put_is_read_back(boto_client: Any, bucket: str, rule: dict[str, Any]) -> None:
    put(boto_client, bucket, rule)
    (found,) = boto_client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert found == rule


def test_a_rule_without_id_gets_one(boto_client: Any, bucket: str) -> None:
    rule = {name: value for name, value in EVENTS.items() if name != "ID"}
    put(boto_client, bucket, rule, rule | {"Expiration": {"Days": 31}})
    rules = boto_client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert len({found["ID"] for found in rules}) == 2


def test_equal_rules_without_id_get_different_ones(boto_client: Any, bucket: str) -> None:
    rule = {name: value for name, value in EVENTS.items() if name != "ID"}
    put(boto_client, bucket, rule, rule)
    once = boto_client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert len({found["ID"] for found in once}) == 2
    put(boto_client, bucket, rule, rule)
    assert boto_client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == once


def test_the_longest_time_is_years_beyond_what_a_header_tells(
    boto_client: Any, bucket: str
) -> None:
    never = EVENTS | {"Expiration": {"Days": 2**31 - 1}}
    put(boto_client, bucket, never)
    (found,) = boto_client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert found == never
    assert "Expiration" not in boto_client.put_object(Bucket=bucket, Key="events/k", Body=b"x")
    assert "Expiration" not in boto_client.head_object(Bucket=bucket, Key="events/k")


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ([EVENTS, EVENTS], "InvalidArgument"),
        ([EVENTS | {"Expiration": {"Days": 2**31}}], "MalformedXML"),
        ([EVENTS | {"ID": "x" * 256}], "InvalidArgument"),
        ([EVENTS | {"Expiration": {"Days": 0}}], "InvalidArgument"),
        ([EVENTS | {"Status": "enabled"}], "MalformedXML"),
        ([EVENTS | {"Expiration": {}}], "MalformedXML"),
        ([EVENTS | {"Prefix": "both"}], "MalformedXML"),
        ([{k: v for k, v in EVENTS.items() if k != "Expiration"}], "InvalidRequest"),
        ([EVENTS | {"Filter": {"Tag": {"Key": "a", "Value": "b"}}}], "NotImplemented"),
        ([EVENTS | {"Filter": {"ObjectSizeGreaterThan": 5}}], "NotImplemented"),
        (
            [EVENTS | {"Transitions": [{"Days": 0, "StorageClass": "GLACIER"}] * 2}],
            "NotImplemented",
        ),
        ([EVENTS | {"Transitions": [{"StorageClass": "GLACIER"}]}], "MalformedXML"),
        ([EVENTS | {"Transitions": [{"Days": 1}]}], "MalformedXML"),
        (
            [EVENTS | {"Transitions": [{"Date": "20220927", "StorageClass": "GLACIER"}]}],
            "InvalidArgument",
        ),
        (
            [
                EVENTS
                | {"Expiration": {"Date": datetime.datetime(2030, 1, 2, 3, tzinfo=datetime.UTC)}}
            ],
            "InvalidArgument",
        ),
    ],
)
def test_rules_that_are_refused(
    boto_client: Any, bucket: str, rules: list[dict[str, Any]], code: str
) -> None:
    put(boto_client, bucket, EVENTS | {"ID": "before"})
    configuration = {"Rules": rules}
    assert (
        code_of(
            boto_client.put_bucket_lifecycle_configuration,
            Bucket=bucket,
            LifecycleConfiguration=configuration,
        )
        == code
    )
    (kept,) = boto_client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert kept["ID"] == "before"


def _rule(content: str) -> str:
    action = "<Expiration><Days>1</Days></Expiration>"
    return f"<Rule>{content}<Status>Enabled</Status>{action}</Rule>"


def _date(text: str) -> str:
    expiration = f"<Expiration><Date>{text}</Date></Expiration>"
    return f"<Rule><Status>Enabled</Status><Filter/>{expiration}</Rule>"


@pytest.mark.parametrize(
    ("content", "element"),
    [
        ("", "Rule"),
        ("<Other/>", "Other"),
        ("<Rule><Status>Enabled</Status><Filter/><Odd/></Rule>", "Odd"),
        (
            "<Rule><Status>Enabled</Status><Filter/><Expiration><Days>x</Days></Expiration></Rule>",
            "Days",
        ),
        (
            "<Rule><Status>Enabled</Status><Filter/><Expiration><Days>1</Days><Date>2030-01-01"
            "T00:00:00Z</Date></Expiration></Rule>",
            "Expiration",
        ),
        (
            "<Rule><Status>Enabled</Status><Filter/><AbortIncompleteMultipartUpload/></Rule>",
            "DaysAfterInitiation",
        ),
        (_rule("<Filter><Prefix>a&#1;</Prefix></Filter>"), "Prefix"),
        (_rule("<ID>a&#1;</ID><Filter/>"), "ID"),
        # What is not implemented must be well made, and so must be what stands beside it.
        (_rule("<Filter><Prefix>a</Prefix><Tag><Key>a</Key><Value/></Tag></Filter>"), "Filter"),
        (_rule("<Filter><Tag><Key>a</Key></Tag></Filter>"), "Value"),
        (_rule("<Filter><And><Odd/></And></Filter>"), "Odd"),
        (_rule("<Filter><And><Tag><Odd/></Tag></And></Filter>"), "Odd"),
        (
            _rule("<Filter><ObjectSizeLessThan>x</ObjectSizeLessThan></Filter>"),
            "ObjectSizeLessThan",
        ),
        (_rule("<Filter><ObjectSizeLessThan>5</ObjectSizeLessThan></Filter><Odd/>"), "Odd"),
        (
            "<Rule><Status>On</Status><Filter/><Transition><Days>1</Days><StorageClass>GLACIER"
            "</StorageClass></Transition></Rule>",
            "Status",
        ),
        (_date("1969-12-31T00:00:00Z"), "Date"),
        (_date("0001-01-01T00:00:00Z"), "Date"),
        (_date("9999-12-31T23:00:00-01:00"), "Date"),
    ],
)
def test_a_malformed_document_names_its_element(
    raw: RawClient, bucket: str, content: str, element: str
) -> None:
    body = f"<LifecycleConfiguration>{content}</LifecycleConfiguration>".encode()
    answer = raw.request("PUT", f"/{bucket}", "lifecycle", body=body)
    assert (answer.status, answer.code) == (400, "MalformedXML")
    assert answer.text("Element") == element


def test_answers_tell_when_an_object_expires(boto_client: Any, bucket: str) -> None:
    put(
        boto_client,
        bucket,
        EVENTS | {"ID": "a rule"},
        EVENTS | {"ID": "late", "Expiration": {"Days": 90}},
    )
    told = boto_client.put_object(Bucket=bucket, Key="events/k", Body=b"x")["Expiration"]
    assert told.endswith('rule-id="a rule"')
    head = boto_client.head_object(Bucket=bucket, Key="events/k")
    assert head["Expiration"] == told
    assert boto_client.get_object(Bucket=bucket, Key="events/k")["Expiration"] == told
    moment = datetime.datetime.strptime(told.split('"')[1], "%a, %d %b %Y %H:%M:%S GMT").replace(
        tzinfo=datetime.UTC
    )
    assert (moment.hour, moment.minute, moment.second) == (0, 0, 0)
    age = moment - head["LastModified"]
    assert datetime.timedelta(days=30) <= age <= datetime.timedelta(days=31)
    assert "Expiration" not in boto_client.put_object(Bucket=bucket, Key="other", Body=b"x")


def test_answers_to_copies_and_completions_tell_when_the_object_expires(
    boto_client: Any, bucket: str
) -> None:
    put(boto_client, bucket, EVENTS | {"ID": "a rule"})
    boto_client.put_object(Bucket=bucket, Key="other", Body=b"x")
    source = {"Bucket": bucket, "Key": "other"}
    copied = boto_client.copy_object(Bucket=bucket, Key="events/copy", CopySource=source)
    assert copied["Expiration"].endswith('rule-id="a rule"')
    assert "Expiration" not in boto_client.copy_object(Bucket=bucket, Key="c", CopySource=source)
    upload = {"Bucket": bucket, "Key": "events/parts"}
    upload["UploadId"] = boto_client.create_multipart_upload(**upload)["UploadId"]
    etag = boto_client.upload_part(**upload, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    completed, repeated = (
        boto_client.complete_multipart_upload(**upload, MultipartUpload=parts) for _ in range(2)
    )
    head = boto_client.head_object(Bucket=bucket, Key="events/parts")
    assert completed["Expiration"] == repeated["Expiration"] == head["Expiration"]


def test_answers_tell_when_an_upload_is_aborted(boto_client: Any, bucket: str) -> None:
    rule = {"ID": "a rule", "Status": "Enabled", "Filter": {"Prefix": "up/"}}
    sooner, later = (
        rule | {"ID": name, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days}}
        for name, days in (("a rule", 3), ("later", 4))
    )
    put(boto_client, bucket, later, sooner)
    began = boto_client.create_multipart_upload(Bucket=bucket, Key="up/k")
    assert began["AbortRuleId"] == "a rule"
    age = began["AbortDate"] - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(days=3) - datetime.timedelta(minutes=1) <= age
    assert age <= datetime.timedelta(days=4)
    assert (began["AbortDate"].hour, began["AbortDate"].minute) == (0, 0)
    listed = boto_client.list_parts(Bucket=bucket, Key="up/k", UploadId=began["UploadId"])
    assert (listed["AbortDate"], listed["AbortRuleId"]) == (began["AbortDate"], "a rule")
    elsewhere = boto_client.create_multipart_upload(Bucket=bucket, Key="k")
    assert not {"AbortDate", "AbortRuleId"} & elsewhere.keys()
    put(boto_client, bucket, sooner | {"Status": "Disabled"})
    assert "AbortDate" not in boto_client.create_multipart_upload(Bucket=bucket, Key="up/k")


def test_no_date_is_told_of_an_upload_that_outlives_all_dates(
    boto_client: Any, bucket: str
) -> None:
    rule = {"ID": "a rule", "Status": "Enabled", "Filter": {"Prefix": ""}}
    put(
        boto_client, bucket,
        rule | {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2**31 - 1}},
    )  # fmt: skip
    began = boto_client.create_multipart_upload(Bucket=bucket, Key="k")
    listed = boto_client.list_parts(Bucket=bucket, Key="k", UploadId=began["UploadId"])
    for answer in (began, listed):
        assert not {"AbortDate", "AbortRuleId"} & answer.keys()
