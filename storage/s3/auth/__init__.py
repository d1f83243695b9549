"""Who sent this request, and is it what they signed? (AWS Signature Version 4)

``authenticate`` answers for a whole call. What lies under it takes plain method, path, query and
headers, and is tested that way.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from storage.iam.principal import ANONYMOUS, Principal
from storage.s3.auth import sigv4
from storage.s3.auth.canonical import Headers
from storage.s3.auth.chunked import ChunkDecoder, ChunkSigner
from storage.s3.auth.sigv4 import Keyring, Signed
from storage.s3.errors import S3Error

__all__ = ["AuthResult", "ChunkDecoder", "Keyring", "authenticate"]

_V4 = b"AWS4-HMAC-SHA256 "


class Signable(Protocol):
    """What authentication reads of a call. Header names are lower-case."""

    @property
    def method(self) -> str: ...
    @property
    def raw_path(self) -> bytes: ...
    @property
    def raw_query(self) -> bytes: ...
    @property
    def headers(self) -> Headers: ...


class AuthResult(msgspec.Struct, frozen=True, eq=False):
    """Who speaks, and what the signature says about the body.

    ``mechanism``: "header", "query" or "" (anonymous). ``payload`` says how the body is bound: its
    hex SHA-256, or one of ``sigv4``'s constants.
    """

    principal: Principal
    access_key: str = ""
    mechanism: str = ""
    payload: bytes = sigv4.UNSIGNED
    signed: Signed | None = None

    @property
    def streaming(self) -> bool:
        """Whether the body is framed in chunks and must pass through ``decoder``."""
        return self.payload in sigv4.STREAMING

    @property
    def sha256(self) -> str:
        """The lower-case hex digest that the body must have, "" where none was promised."""
        if self.payload == sigv4.UNSIGNED or self.streaming:
            return ""
        return self.payload.decode().lower()

    def decoder(self, headers: Headers) -> ChunkDecoder:
        """A decoder for the body of this request (``streaming`` only).

        Raises MissingContentLength or InvalidArgument where x-amz-decoded-content-length is
        missing or no number.
        """
        signer = None
        if self.payload in sigv4.STREAMING_WITH_SIGNATURES:
            assert self.signed is not None
            signed = self.signed
            signer = ChunkSigner(signed.key, signed.timestamp, signed.scope, signed.signature)
        return ChunkDecoder(
            decoded_length(headers),
            signer=signer,
            trailers=_announced(headers) if self.payload.endswith(b"-TRAILER") else None,
        )


def authenticate(
    call: Signable, keyring: Keyring, region: str, now: float | None = None
) -> AuthResult:
    """Verify who sent ``call``; without credentials the principal is ``ANONYMOUS``.

    ``region`` "" accepts every region. ``now`` is in seconds since the epoch. Raises S3Error.
    """
    headers = call.headers
    authorization = headers.get(b"authorization")
    raw_query = call.raw_query
    in_query = _mechanism_in_query(raw_query) if raw_query else b""
    if not authorization:
        if not in_query:
            return _anonymous(headers)
        if in_query != b"X-Amz-":
            raise _version_2()
        signed = sigv4.verify_query(
            call.method, call.raw_path, raw_query, headers, keyring, region, now
        )
        return _result(signed, "query")
    if in_query:
        raise S3Error(
            "InvalidArgument",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature "
            "query string parameter or the Authorization header should be specified",
            ArgumentName="Authorization",
        )
    if not authorization.startswith(_V4):
        raise _unsupported(authorization)
    signed = sigv4.verify_header(
        call.method, call.raw_path, raw_query, headers, authorization, keyring, region, now
    )
    return _result(signed, "header")


def decoded_length(headers: Headers) -> int:
    """The length of a chunked body without its frames (x-amz-decoded-content-length), bytes."""
    text = headers.get(b"x-amz-decoded-content-length")
    if text is None:
        raise S3Error("MissingContentLength")
    if not text.isdigit() or len(text) > 18:
        raise S3Error(
            "InvalidArgument",
            "x-amz-decoded-content-length must be a number of bytes.",
            ArgumentName="x-amz-decoded-content-length",
        )
    return int(text)


def _result(signed: Signed, mechanism: str) -> AuthResult:
    credential = signed.credential
    return AuthResult(
        credential.principal, credential.access_key, mechanism, signed.payload, signed
    )


def _anonymous(headers: Headers) -> AuthResult:
    payload = headers.get(b"x-amz-content-sha256")
    if payload is None:
        return AuthResult(ANONYMOUS)
    sigv4.check_payload(payload)
    if payload in sigv4.STREAMING_WITH_SIGNATURES:
        raise S3Error("InvalidArgument", "A body of signed chunks needs a signed request.")
    return AuthResult(ANONYMOUS, payload=payload)


def _mechanism_in_query(raw_query: bytes) -> bytes:
    """What marks the authentication in the query: X-Amz- (V4), Signature (V2) or nothing."""
    # ``find``, since ``in`` tries its left side as a number first and fails at some cost.
    if raw_query.find(b"X-Amz-") >= 0:
        names = _names(raw_query)
        if names & {b"X-Amz-Algorithm", b"X-Amz-Credential", b"X-Amz-Signature"}:
            return b"X-Amz-"
    if raw_query.find(b"Signature=") < 0:
        return b""
    return b"Signature" if {b"AWSAccessKeyId", b"Signature"} <= _names(raw_query) else b""


def _names(raw_query: bytes) -> set[bytes]:
    return {item.partition(b"=")[0] for item in raw_query.split(b"&")}


def _announced(headers: Headers) -> frozenset[str]:
    """The trailers that x-amz-trailer announces, in lower case."""
    text = headers.get(b"x-amz-trailer", b"").decode("latin-1").lower()
    return frozenset(name for part in text.split(",") if (name := part.strip()))


def _version_2() -> S3Error:
    return S3Error(
        "InvalidRequest",
        "The authorization mechanism you have provided is not supported. "
        "Please use AWS4-HMAC-SHA256.",
    )


def _unsupported(authorization: bytes) -> S3Error:
    """The refusal of another scheme; what stands behind its name may be a secret: not repeated."""
    scheme = authorization.partition(b" ")[0]
    if scheme == _V4.strip():
        return sigv4.malformed_header(
            "The authorization header requires three components: Credential, SignedHeaders, "
            "and Signature."
        )
    if scheme == b"AWS" and b":" not in authorization:
        return S3Error(
            "InvalidArgument",
            "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature",
            ArgumentName="Authorization",
        )
    if scheme.startswith(b"AWS"):
        return _version_2()
    return S3Error(
        "InvalidArgument", "Unsupported Authorization Type", ArgumentName="Authorization"
    )
