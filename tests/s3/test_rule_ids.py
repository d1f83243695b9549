"""Rules whose ``<ID/>`` is empty: as if it were absent, and what is read once can be put again."""

from __future__ import annotations

import re

import pytest

from tests.s3.raw import RawClient

CORS = "<CORSRule>{}<AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>"
LIFECYCLE = (
    "<Rule>{}<Filter><Prefix>a/</Prefix></Filter><Status>Enabled</Status>"
    "<Expiration><Days>3</Days></Expiration></Rule>"
)


def stored(raw: RawClient, bucket: str, what: str, document: str) -> bytes:
    """A document as it is read after it was put; also when that is put again."""
    found = document.encode()
    answers = []
    for _ in range(2):
        assert raw.request("PUT", f"/{bucket}", what, body=found).status == 200
        found = raw.request("GET", f"/{bucket}", what).body
        answers.append(found)
    assert answers[0] == answers[1]
    return found


def ids(document: bytes) -> list[str]:
    return re.findall(r"<ID>(.*?)</ID>|<ID/>", document.decode())


@pytest.mark.parametrize("empty", ["<ID/>", "<ID></ID>", ""])
def test_a_cors_rule_without_a_name_stays_without(raw: RawClient, bucket: str, empty: str) -> None:
    rules = CORS.format(empty) + CORS.format("<ID>named</ID>")
    found = stored(raw, bucket, "cors", f"<CORSConfiguration>{rules}</CORSConfiguration>")
    assert ids(found) == ["named"]


@pytest.mark.parametrize("empty", ["<ID/>", "<ID></ID>", ""])
def test_a_lifecycle_rule_without_a_name_gets_one(raw: RawClient, bucket: str, empty: str) -> None:
    rules = LIFECYCLE.format(empty) * 2 + LIFECYCLE.format("<ID>named</ID>")
    document = f"<LifecycleConfiguration>{rules}</LifecycleConfiguration>"
    first, second, last = ids(stored(raw, bucket, "lifecycle", document))
    assert last == "named"
    assert first
    assert second not in ("", first)
    # However it was left out, it is the same one.
    absent = document.replace(empty, "") if empty else document
    assert ids(stored(raw, bucket, "lifecycle", absent)) == [first, second, last]
