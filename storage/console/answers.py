"""What every answer of the console carries, and the answers that do not depend on the store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from storage.serving.handover import Send

Headers = list[tuple[bytes, bytes]]

# Nothing is loaded from elsewhere, nothing written into a page is run but one script, named by its
# hash, and nobody frames it. What people stored is shown by scripts as text, or by elements that
# run nothing.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self' '{script}'; style-src 'self'; font-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self' {s3}; "
    "frame-src {s3}; manifest-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types oversight-xml"
)
#: Of everything that is no page of ours: stored bytes must not act in this origin.
CONTENT_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"


def page_policy(s3: str, script: str) -> str:
    """The content security policy of the page; ``s3`` is the origin that browsers upload to, and
    ``script`` the hash source (CSP Level 3, section 2.3.1) of what is written into the page."""
    return _PAGE_POLICY.format(s3=s3 or "'none'", script=script)


def guarded(
    headers: Iterable[tuple[bytes, bytes]], policy: str, cache: str = "no-store"
) -> Headers:
    """``headers`` with those of safety, which win."""
    safety = {
        b"content-security-policy": policy.encode("latin-1"),
        b"x-content-type-options": b"nosniff",
        b"x-frame-options": b"DENY",
        b"referrer-policy": b"no-referrer",
        b"cross-origin-opener-policy": b"same-origin",
        b"cross-origin-resource-policy": b"same-origin",
        b"cache-control": cache.encode(),
    }
    return [(name, value) for name, value in headers if name.lower() not in safety] + [
        *safety.items()
    ]


async def answer(
    send: Send, status: int, body: bytes, headers: Headers, policy: str = CONTENT_POLICY,
    cache: str = "no-store",
) -> None:  # fmt: skip
    """Send an answer that is known as a whole."""
    given = [*headers, (b"content-length", b"%d" % len(body))]
    await send(
        {"type": "http.response.start", "status": status,
         "headers": guarded(given, policy, cache)}
    )  # fmt: skip
    await send({"type": "http.response.body", "body": body})


async def answer_json(send: Send, status: int, document: Any, headers: Headers = []) -> None:  # noqa: B006
    """Send ``document``."""
    body = json.dumps(document).encode()
    await answer(send, status, body, [(b"content-type", b"application/json"), *headers])


async def problem(send: Send, status: int, code: str, detail: str, headers: Headers = []) -> None:  # noqa: B006
    """Say what is wrong, as the control API does (RFC 9457)."""
    document = {"type": "about:blank", "status": status, "code": code, "detail": detail}
    body = json.dumps(document).encode()
    kind = (b"content-type", b"application/problem+json")
    await answer(send, status, body, [kind, *headers])
