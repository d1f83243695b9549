"""Who sent this request, and is it what they signed? (AWS Signature Version 4, and 2)

``authenticate`` answers for a whole call. What lies under it takes plain method, path, query and
headers, and is tested that way.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from storage.iam.errors import TokenInvalid
from storage.iam.principal import ANONYMOUS, Credential, Principal
from storage.iam.users import Identity
from storage.s3.auth import sigv2, sigv4
from storage.s3.auth.canonical import Headers
from storage.s3.auth.chunked import ChunkDecoder, ChunkSigner
from storage.s3.auth.sigv2 import repeated
from storage.s3.auth.sigv4 import Keyring, Signed
from storage.s3.errors import S3Error

__all__ = [
    "VERSION_2",
    "VERSION_4",
    "AuthResult",
    "ChunkDecoder",
    "Keyring",
    "authenticate",
    "repeated",
    "version_2_refused",
]

_V4 = b"AWS4-HMAC-SHA256 "
#: ``AuthResult.algorithm``.
VERSION_4, VERSION_2 = "AWS4-HMAC-SHA256", "AWS"


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
    @property
    def host_bucket(self) -> str:
        """The bucket that the Host header names, "" where the path does."""


class AuthResult(msgspec.Struct, frozen=True, eq=False):
    """Who speaks, and what the signature says about the body.

    ``mechanism``: "header", "query", "post" (a form's policy) or "" (anonymous). ``payload`` says
    how the body is bound: its hex SHA-256, or one of ``sigv4``'s constants. ``algorithm`` is
    what was signed with, as policies call it (``s3:signatureversion``). ``credential`` is what
    signed, ``form_time`` the x-amz-date of a form that was signed with Version 4.
    """

    principal: Principal
    access_key: str = ""
    mechanism: str = ""
    payload: bytes = sigv4.UNSIGNED
    signed: Signed | None = None
    algorithm: str = VERSION_4
    credential: Credential | None = None
    form_time: bytes = b""

    @property
    def timestamp(self) -> bytes:
        """When a signature of Version 4 was made, as it says."""
        return self.form_time if self.signed is None else self.signed.timestamp

    def renewed(self, identity: Identity) -> AuthResult:
        """The same, spoken by whoever the credential stands for by now.

        Raises InvalidAccessKeyId where it was removed, replaced or disabled, InvalidToken where
        its session was ended.
        """
        if self.credential is None:
            return self
        try:
            now = identity.renewed(self.credential)
        except TokenInvalid:
            raise S3Error("InvalidToken") from None
        principal = sigv4.usable(now, self.access_key).principal
        return msgspec.structs.replace(self, principal=principal)

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
    call: Signable,
    keyring: Keyring,
    region: str,
    now: float | None = None,
    *,
    version_2: bool = True,
) -> AuthResult:
    """Verify who sent ``call``; without credentials the principal is ``ANONYMOUS``.

    ``region`` "" accepts every region. ``now`` is in seconds since the epoch. ``version_2``:
    whether the older signatures are accepted. Raises S3Error.
    """
    headers = call.headers
    authorization = headers.get(b"authorization")
    raw_query = call.raw_query
    in_query = _mechanism_in_query(raw_query) if raw_query else b""
    if not authorization:
        if not in_query:
            return _anonymous(headers)
        if in_query != b"X-Amz-":
            if not version_2:
                raise version_2_refused()
            return _version_2("query", sigv2.verify_query(
                call.method, _resource(call), raw_query, headers, keyring, now
            ))  # fmt: skip
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
        if not (version_2 and authorization.startswith(sigv2.SCHEME)):
            raise _unsupported(authorization)
        return _version_2("header", sigv2.verify_header(
            call.method, _resource(call), raw_query, headers, authorization, keyring, now
        ))  # fmt: skip
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
        credential.principal, credential.access_key, mechanism, signed.payload, signed, VERSION_4,
        credential,
    )  # fmt: skip


def _version_2(mechanism: str, verified: tuple[Credential, bytes]) -> AuthResult:
    credential, payload = verified
    return AuthResult(
        credential.principal, credential.access_key, mechanism, payload, None, VERSION_2,
        credential,
    )  # fmt: skip


def _resource(call: Signable) -> bytes:
    """The path that version 2 signs: with the bucket, wherever the request names it."""
    return b"/" + call.host_bucket.encode() + call.raw_path if call.host_bucket else call.raw_path


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
    return sigv2.SIGNATURE if sigv2.SIGNATURE in _names(raw_query) else b""


def _names(raw_query: bytes) -> set[bytes]:
    return {item.partition(b"=")[0] for item in raw_query.split(b"&")}


def _announced(headers: Headers) -> frozenset[str]:
    """The trailers that x-amz-trailer announces, in lower case."""
    text = headers.get(b"x-amz-trailer", b"").decode("latin-1").lower()
    return frozenset(name for part in text.split(",") if (name := part.strip()))


def version_2_refused() -> S3Error:
    """The refusal of version 2 where it is switched off."""
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
        return sigv2.malformed()
    if scheme.startswith(b"AWS"):
        return version_2_refused()
    return S3Error(
        "InvalidArgument", "Unsupported Authorization Type", ArgumentName="Authorization"
    )
