"""A plain signer, written from the reference alone and apart from the code under test."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import time

from .conftest import ACCESS_KEY, SECRET, Request

EMPTY = hashlib.sha256(b"").hexdigest()


def amz_date(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)
    return moment.strftime("%Y%m%dT%H%M%SZ")


def key_for(date: str, region: str, secret: str = SECRET, service: str = "s3") -> bytes:
    key = ("AWS4" + secret).encode()
    for step in (date, region, service, "aws4_request"):
        key = hmac.new(key, step.encode(), "sha256").digest()
    return key


def signature(key: bytes, *lines: str) -> str:
    return hmac.new(key, "\n".join(lines).encode(), "sha256").hexdigest()


def sign(
    method: str,
    path: str,
    *,
    query: str = "",
    headers: dict[str, str] | None = None,
    payload: str = EMPTY,
    access_key: str = ACCESS_KEY,
    region: str = "us-east-1",
    service: str = "s3",
    terminator: str = "aws4_request",
    seconds: float | None = None,
    scope_date: str = "",
    unsigned: dict[str, str] | None = None,
    path_to_sign: str = "",
) -> Request:
    """A request signed in its headers; ``query`` must be canonical already."""
    date = amz_date(time.time() if seconds is None else seconds)
    scope_date = scope_date or date[:8]
    signed = {
        "host": "127.0.0.1:9090",
        "x-amz-date": date,
        "x-amz-content-sha256": payload,
        **(headers or {}),
    }
    signed = {name: value for name, value in signed.items() if value}
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        [
            method,
            path_to_sign or path,
            query,
            *(f"{name}:{signed[name]}" for name in sorted(signed)),
            "",
            names,
            payload,
        ]
    )
    scope = f"{scope_date}/{region}/{service}/{terminator}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    proof = signature(key_for(scope_date, region), "AWS4-HMAC-SHA256", date, scope, digest)
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, "
        f"Signature={proof}"
    )
    url = f"http://127.0.0.1:9090{path}" + (f"?{query}" if query else "")
    sent = {**signed, **(unsigned or {}), "authorization": authorization}
    return Request.make(method, url, sent)


def chunked(
    data: bytes,
    size: int,
    *,
    trailers: dict[str, str] | None = None,
    style: str = "aws",
    sort: bool = False,
) -> tuple[Request, bytes]:
    """A request with a body of signed chunks of ``size`` bytes, and that body.

    ``style`` "minio" ends trailers as MinIO's Go client does.
    """
    seconds = time.time()
    payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" + ("-TRAILER" if trailers is not None else "")
    headers = {"x-amz-decoded-content-length": str(len(data)), "content-encoding": "aws-chunked"}
    if trailers:
        headers["x-amz-trailer"] = ",".join(trailers)
    request = sign("PUT", "/b/k", headers=headers, payload=payload, seconds=seconds)
    previous = request.headers[b"authorization"].decode().rpartition("=")[2]
    date = amz_date(seconds)
    key, scope = key_for(date[:8], "us-east-1"), f"{date[:8]}/us-east-1/s3/aws4_request"
    body = b""
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    for piece in [*pieces, b""]:
        previous = signature(
            key,
            "AWS4-HMAC-SHA256-PAYLOAD",
            date,
            scope,
            previous,
            EMPTY,
            hashlib.sha256(piece).hexdigest(),
        )
        body += b"%x;chunk-signature=%b\r\n" % (len(piece), previous.encode())
        body += piece + b"\r\n" if piece else b""
    if trailers is None:
        return request, body + b"\r\n"
    names = sorted(trailers) if sort else list(trailers)
    text = "".join(f"{name}:{trailers[name]}\n" for name in names)
    digest = hashlib.sha256(text.encode()).hexdigest()
    proof = signature(key, "AWS4-HMAC-SHA256-TRAILER", date, scope, previous, digest)
    end = "\r\n" if style == "aws" else "\n"
    body += "".join(f"{name}:{value}{end}" for name, value in trailers.items()).encode()
    body += b"" if style == "aws" else b"\r\n"
    return request, body + f"x-amz-trailer-signature:{proof}\r\n\r\n".encode()
