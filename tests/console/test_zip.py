"""Archives while something happens to who downloads them."""

from __future__ import annotations

import http.client
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.console.conftest import Ask, Signed, client_of, signed_in
from tests.console.surroundings import add_user, console_of, resident
from tests.serving import ServedStore

OBJECTS, SIZE = 24, 4 << 20


@pytest.fixture(scope="module")
def bucket(served: ServedStore) -> Iterator[str]:
    """A bucket of more bytes than sockets and processes take in advance."""
    s3, name = client_of(served), f"zipped-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=name)
    for number in range(OBJECTS):
        s3.put_object(Bucket=name, Key=f"{number:02}.bin", Body=bytes(SIZE))
    yield name
    for number in range(OBJECTS):
        s3.delete_object(Bucket=name, Key=f"{number:02}.bin")
    s3.delete_bucket(Bucket=name)


def begin(ask: Ask, signed: Signed, bucket: str) -> http.client.HTTPResponse:
    """Ask for a zip, and take its beginning."""
    query = urlencode({"bucket": bucket, "prefix": "", ".page": signed.page})
    answer = ask("GET", f"/console/zip?{query}", cookie=signed.cookie)
    assert answer.status == 200
    assert answer.read(4) == b"PK\x03\x04"
    return answer


def is_broken_off(answer: http.client.HTTPResponse) -> bool:
    try:
        while answer.read(1 << 20):
            pass
    except (http.client.IncompleteRead, ConnectionError):
        return True
    return False


def test_a_download_in_full_swing_ends_with_the_session(
    ask: Ask, signed: Signed, bucket: str
) -> None:
    answer = begin(ask, signed, bucket)
    assert ask("DELETE", "/console/session", **signed.headers).status == 204
    assert is_broken_off(answer)


def test_a_user_who_is_disabled_gets_no_archive_that_looks_whole(
    served: ServedStore, ask: Ask, bucket: str
) -> None:
    from stack.client import Control
    from tests.serving import ACCESS_KEY, SECRET_KEY

    person = add_user(served, "readwrite")
    signed = signed_in(ask, person.key, person.secret)
    answer = begin(ask, signed, bucket)
    control = Control(served.console, ACCESS_KEY, SECRET_KEY)
    control.call("PATCH", "users", person.name, body={"status": "disabled"})
    assert is_broken_off(answer)


def test_a_download_that_is_left_costs_nothing_further(
    served: ServedStore, ask: Ask, signed: Signed, bucket: str
) -> None:
    for _ in range(30):  # more than one user may have under way at once
        begin(ask, signed, bucket).close()
    whole: Any = begin(ask, signed, bucket)
    size = 0
    while piece := whole.read(1 << 20):
        size += len(piece)
    assert size > OBJECTS * SIZE
    assert resident(console_of(served)) < 150 * 1024
