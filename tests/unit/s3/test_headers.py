"""Dates, conditions and tags."""

from __future__ import annotations

import datetime
import email.utils

import hypothesis.strategies as st
import pytest
from hypothesis import given

from storage.s3 import headers
from storage.s3.errors import S3Error

SECONDS = st.integers(0, 4_000_000_000)


@given(SECONDS)
def test_http_dates(second: int) -> None:
    text = headers.http_date(second).decode()
    assert text == email.utils.formatdate(second, usegmt=True)
    assert headers.parse_http_date(text) == second * 1000


@given(SECONDS, st.integers(0, 999))
def test_iso_dates(second: int, fraction: int) -> None:
    text = headers.iso_date(second * 1000 + fraction)
    moment = datetime.datetime.fromisoformat(text)
    assert round(moment.timestamp() * 1000) == second * 1000 + fraction


@pytest.mark.parametrize(
    "text",
    ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Sun, 06 Nov 1994 08:49:37 GMT"],
)
def test_all_three_forms(text: str) -> None:
    assert headers.parse_http_date(text) == 784_111_777_000


@given(st.text())
def test_what_is_no_date_is_zero(text: str) -> None:
    assert isinstance(headers.parse_http_date(text), int)
    assert isinstance(headers.parse_iso_date(text), int)


@pytest.mark.parametrize(
    ("text", "etags"),
    [
        ('"a"', ("a",)),
        ("a", ("a",)),
        ('W/"a"', ("a",)),
        ('"a", W/"b" ,c', ("a", "b", "c")),
        ("*", ("*",)),
        ("", ()),
        ('""', ()),
    ],
)
def test_etags(text: str, etags: tuple[str, ...]) -> None:
    assert headers.parse_etags(text) == etags


@given(st.binary(max_size=60), st.integers(0, 100))
def test_any_range_is_inside_ignored_or_refused(value: bytes, size: int) -> None:
    try:
        found = headers.parse_range(value, size)
    except S3Error as error:
        found = None
        code = error.code
    else:
        code = "InvalidRange"
    assert code == "InvalidRange"
    assert found is None or 0 <= found[0] < found[1] <= size


@given(st.from_regex(rb"\Abytes=\d{0,40}-\d{0,40}\Z"), st.integers(0, 100))
def test_ranges_of_any_number_of_digits(value: bytes, size: int) -> None:
    test_any_range_is_inside_ignored_or_refused.hypothesis.inner_test(value, size)


def test_a_range_beyond_all_reason() -> None:
    for value in (b"bytes=0-" + b"9" * 5000, b"bytes=-" + b"9" * 5000):
        assert headers.parse_range(value, 10) is None


def test_tags_decode_like_forms() -> None:
    assert headers.parse_tagging("a+b=c%20d&e=&%C3%A4=%C3%A4") == {"a b": "c d", "e": "", "ä": "ä"}
