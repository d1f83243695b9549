"""PutBucketCors, GetBucketCors, DeleteBucketCors, and what a bucket's rules do.

Expected answers follow what Amazon S3 sends.
"""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3.raw import Answer, RawClient, error_code

ORIGIN = "https://app.example.com"
VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"


def put(raw: RawClient, bucket: str, *rules: str) -> Answer:
    body = f"<CORSConfiguration>{''.join(rules)}</CORSConfiguration>".encode()
    return raw.request("PUT", f"/{bucket}", "cors", body=body)


def rule(
    *,
    origins: tuple[str, ...] = (ORIGIN,),
    methods: tuple[str, ...] = ("GET",),
    more: str = "",
) -> str:
    """A ``<CORSRule>``."""
    text = "".join(f"<AllowedOrigin>{origin}</AllowedOrigin>" for origin in origins)
    text += "".join(f"<AllowedMethod>{method}</AllowedMethod>" for method in methods)
    return f"<CORSRule>{text}{more}</CORSRule>"


def preflight(
    raw: RawClient, path: str, method: str = "", headers: str = "", origin: str = ORIGIN
) -> Answer:
    asked = {"origin": origin}
    if method:
        asked["access-control-request-method"] = method
    if headers:
        asked["access-control-request-headers"] = headers
    return raw.request("OPTIONS", path, headers=asked, sign=False)


def permission(answer: Answer) -> dict[str, str]:
    """What an answer tells a browser."""
    return {
        name.removeprefix("access-control-"): value
        for name, value in answer.headers.items()
        if name.startswith("access-control-")
    }


# -- the document ---------------------------------------------------------------------------------


def test_what_is_put_is_read_back(boto_client: Any, bucket: str) -> None:
    rules = [
        {
            "ID": "first & only",
            "AllowedHeaders": ["x-amz-*", "Content-Type"],
            "AllowedMethods": ["PUT", "GET"],
            "AllowedOrigins": ["https://b.example", "https://*.a.example", ""],
            "ExposeHeaders": ["ETag", "x-amz-meta-z"],
            "MaxAgeSeconds": 0,
        },
        {"AllowedMethods": ["HEAD"], "AllowedOrigins": ["*"]},
    ]
    boto_client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
    assert boto_client.get_bucket_cors(Bucket=bucket)["CORSRules"] == rules
    boto_client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules[1:]})
    assert boto_client.get_bucket_cors(Bucket=bucket)["CORSRules"] == rules[1:]


def test_without_rules(boto_client: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as error:
        boto_client.get_bucket_cors(Bucket=bucket)
    assert error_code(error) == "NoSuchCORSConfiguration"
    assert error.value.response["Error"]["BucketName"] == bucket
    boto_client.delete_bucket_cors(Bucket=bucket)


@pytest.mark.parametrize(
    ("rules", "code", "element"),
    [
        ("", "MalformedXML", "CORSRule"),
        ("<Rule/>", "MalformedXML", "Rule"),
        ("<CORSRule/>", "MalformedXML", "AllowedMethod"),
        (rule(origins=()), "MalformedXML", "AllowedOrigin"),
        (rule(methods=()), "MalformedXML", "AllowedMethod"),
        (rule(methods=("GET", "PATCH")), "InvalidRequest", "AllowedMethod"),
        (rule(methods=("get",)), "InvalidRequest", "AllowedMethod"),
        (rule(origins=("https://*.*",)), "InvalidRequest", "AllowedOrigin"),
        (rule(more="<AllowedHeader>x-*-*</AllowedHeader>"), "InvalidRequest", "AllowedHeader"),
        (rule(more="<ExposeHeader>x-*</ExposeHeader>"), "InvalidRequest", "ExposeHeader"),
        (rule(more="<ExposeHeader>a&#10;b</ExposeHeader>"), "InvalidRequest", "ExposeHeader"),
        (rule(more="<MaxAgeSeconds>-1</MaxAgeSeconds>"), "MalformedXML", "MaxAgeSeconds"),
        (rule(more="<MaxAgeSeconds>2147483648</MaxAgeSeconds>"), "MalformedXML", "MaxAgeSeconds"),
        (rule(more="<MaxAgeSeconds>1</MaxAgeSeconds>" * 2), "MalformedXML", "MaxAgeSeconds"),
        (rule(more="<Surprise/>"), "MalformedXML", "Surprise"),
        (rule(more="<ID><b/></ID>"), "MalformedXML", "ID"),
        (rule(more=f"<ID>{'x' * 256}</ID>"), "InvalidRequest", "ID"),
        (rule() * 101, "InvalidRequest", "CORSRule"),
    ],
)
def test_documents_that_are_refused(
    raw: RawClient, bucket: str, rules: str, code: str, element: str
) -> None:
    answer = put(raw, bucket, rules)
    assert (answer.status, answer.code, answer.text("Element")) == (400, code, element)
    assert raw.request("GET", f"/{bucket}", "cors").status == 404


def test_a_hundred_rules_are_fine(raw: RawClient, bucket: str) -> None:
    assert put(raw, bucket, rule() * 100).status == 200
    assert len(raw.request("GET", f"/{bucket}", "cors").texts("AllowedOrigin")) == 100


def test_a_document_beyond_64_kib(raw: RawClient, bucket: str) -> None:
    answer = put(raw, bucket, rule(origins=(f"https://{'x' * 70_000}",)))
    assert (answer.status, answer.code) == (400, "MaxMessageLengthExceeded")


# -- preflights -----------------------------------------------------------------------------------


def test_a_preflight_names_the_whole_rule(raw: RawClient, bucket: str) -> None:
    more = "<AllowedHeader>x-amz-*</AllowedHeader><AllowedHeader>Content-Type</AllowedHeader>"
    more += "<ExposeHeader>ETag</ExposeHeader><ExposeHeader>x-amz-id-2</ExposeHeader>"
    put(raw, bucket, rule(methods=("GET", "PUT"), more=more + "<MaxAgeSeconds>30</MaxAgeSeconds>"))
    answer = preflight(raw, f"/{bucket}/k", "PUT", "X-AMZ-Date,content-type")
    assert answer.status == 200
    assert permission(answer) == {
        "allow-origin": ORIGIN,
        "allow-methods": "GET, PUT",
        "allow-headers": "x-amz-date, content-type",
        "allow-credentials": "true",
        "expose-headers": "ETag, x-amz-id-2",
        "max-age": "30",
    }
    assert answer.headers["vary"] == VARY


def test_anyone_gets_no_credentials(raw: RawClient, bucket: str) -> None:
    put(raw, bucket, rule(origins=("*",)))
    answer = preflight(raw, f"/{bucket}/k", "GET")
    assert permission(answer) == {"allow-origin": "*", "allow-methods": "GET"}


@pytest.mark.parametrize(
    ("pattern", "origin", "allowed"),
    [
        ("https://a.example", "https://a.example", True),
        ("https://a.example", "https://A.example", False),
        ("https://a.example", "http://a.example", False),
        ("https://a.example", "https://a.example:8443", False),
        ("https://*.example", "https://b.c.example", True),
        ("https://*.example", "https://.example", True),
        ("https://*.example", "https://a.example.evil", False),
        ("start*end", "startend", True),
        ("start*end", "starten", False),
        ("a*a", "a", False),
        ("https://a.example", "https://aXexample", False),
        ("*", "null", True),
    ],
)
def test_origins(raw: RawClient, bucket: str, pattern: str, origin: str, allowed: bool) -> None:
    put(raw, bucket, rule(origins=(pattern,)))
    answer = preflight(raw, f"/{bucket}/k", "GET", origin=origin)
    assert answer.status == (200 if allowed else 403)


@pytest.mark.parametrize("headers", ["x-other", "x-amz-date,x-other", "content-type-x"])
def test_headers_that_no_rule_allows(raw: RawClient, bucket: str, headers: str) -> None:
    more = "<AllowedHeader>x-amz-*</AllowedHeader><AllowedHeader>Content-Type</AllowedHeader>"
    put(raw, bucket, rule(more=more))
    answer = preflight(raw, f"/{bucket}/k", "GET", headers)
    assert (answer.status, answer.code) == (403, "AccessForbidden")
    assert "This CORS request is not allowed" in (answer.text("Message") or "")
    assert (answer.text("Method"), answer.text("ResourceType")) == ("GET", "OBJECT")
    assert not permission(answer)


def test_the_first_rule_that_fits_counts(raw: RawClient, bucket: str) -> None:
    put(
        raw,
        bucket,
        rule(methods=("PUT",), more="<MaxAgeSeconds>1</MaxAgeSeconds>"),
        rule(more="<MaxAgeSeconds>2</MaxAgeSeconds>"),
        rule(more="<MaxAgeSeconds>3</MaxAgeSeconds><AllowedHeader>*</AllowedHeader>"),
    )
    ages = [
        permission(preflight(raw, f"/{bucket}/k", method, headers)).get("max-age")
        for method, headers in (("PUT", ""), ("GET", ""), ("GET", "x-a"), ("PUT", "x-a"))
    ]
    assert ages == ["1", "2", "3", None]


@pytest.mark.parametrize("method", ["", "PATCH", "get"])
def test_a_method_that_is_none(raw: RawClient, bucket: str, method: str) -> None:
    put(raw, bucket, rule())
    answer = preflight(raw, f"/{bucket}/k", method)
    assert (answer.status, answer.code) == (400, "BadRequest")


# -- the requests themselves ----------------------------------------------------------------------


def test_requests_are_answered_with_the_rule(raw: RawClient, boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"12345")
    put(raw, bucket, rule(more="<ExposeHeader>ETag</ExposeHeader>"))
    told = {
        "allow-origin": ORIGIN,
        "allow-methods": "GET",
        "allow-credentials": "true",
        "expose-headers": "ETag",
    }
    for path, status, sign in (("k", 200, True), ("absent", 404, True), ("k", 403, False)):
        answer = raw.request("GET", f"/{bucket}/{path}", headers={"origin": ORIGIN}, sign=sign)
        assert (answer.status, permission(answer)) == (status, told)
        assert answer.headers["vary"] == VARY
    answer = raw.request("GET", f"/{bucket}/k", headers={"origin": ORIGIN, "range": "bytes=1-2"})
    assert (answer.status, answer.body, permission(answer)) == (206, b"23", told)


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"origin": "https://other.example"}),
        ("GET", {"origin": ORIGIN, "access-control-request-method": "PUT"}),
        ("GET", {}),
        ("HEAD", {"origin": ORIGIN}),
        ("PUT", {"origin": ORIGIN}),
    ],
)
def test_what_no_rule_allows_is_answered_without_a_word(
    raw: RawClient, bucket: str, method: str, headers: dict[str, str]
) -> None:
    put(raw, bucket, rule())
    body = b"x" if method == "PUT" else None
    answer = raw.request(method, f"/{bucket}/k", body=body, headers=headers)
    assert answer.status == (200 if method == "PUT" else 404)
    assert not permission(answer)


def test_new_rules_count_at_once(raw: RawClient, bucket: str) -> None:
    for number in range(20):
        put(raw, bucket, rule(more=f"<MaxAgeSeconds>{number}</MaxAgeSeconds>"))
        answer = preflight(raw, f"/{bucket}/k", "GET")
        assert permission(answer)["max-age"] == str(number)
    assert raw.request("DELETE", f"/{bucket}", "cors").status == 204
    assert permission(preflight(raw, f"/{bucket}/k", "GET")).get("max-age") != "19"
