"""What user metadata says, and how it is answered: compared with Python's own reader of headers."""

from __future__ import annotations

from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import encodedwords


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=300))
def test_what_is_answered_says_what_was_sent(sent: str) -> None:
    stored = sent.encode().decode("latin-1")
    assert encodedwords.text(stored) == sent
    answered = encodedwords.header(stored)
    if sent.isascii():
        assert answered == sent.encode()
        return
    assert all(len(word) <= 75 for word in answered.split(b" "))
    assert str(make_header(decode_header(answered.decode("ascii")))) == sent


@given(st.text(st.characters(codec="latin-1"), max_size=100))
def test_whatever_was_stored_is_told(stored: str) -> None:
    assert encodedwords.header(stored).isascii()
    assert encodedwords.text(stored) == encodedwords.text(encodedwords.header(stored).decode())


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        ("=?UTF-8?B?w7xi?=", "üb"),
        ("=?iso-8859-1?q?=FC?= b", "ü b"),
        ("=?UTF-8?B?w7xi", "=?UTF-8?B?w7xi"),
        ("=?UTF-8?B?/w==?=", "=?UTF-8?B?/w==?="),
        ("=?martian?B?w7xi?=", "=?martian?B?w7xi?="),
    ],
)
def test_encoded_words_are_decoded_if_they_can_be(stored: str, says: str) -> None:
    assert encodedwords.text(stored) == says
    assert encodedwords.header(stored) == stored.encode()


@pytest.mark.parametrize(("stored", "says"), [("gr\xfcn", "grün"), ("\xff", "ÿ"), ("", "")])
def test_what_is_no_utf8_is_latin1(stored: str, says: str) -> None:
    assert encodedwords.text(stored) == says
    assert str(make_header(decode_header(encodedwords.header(stored).decode()))) == says
