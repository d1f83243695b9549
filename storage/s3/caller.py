"""Whose request it is: of the other end of the connection, of whom it is a trusted proxy, or of
whom our own console calls for.

The console signs requests in its users' names from this machine. With each it sends the browser's
origin and a proof: an HMAC over that origin and the request's own ``Authorization``, by a key that
comes from the store key and that only the store's processes have. So nobody else can name an
origin, and a proof that was seen is good for no other request.
"""

from __future__ import annotations

import hmac
from typing import Any

from storage.origin import FORWARDED, Origin

CALLER, PROOF = b"x-oversight-caller", b"x-oversight-proof"


def caller_key(store_key: bytes) -> bytes:
    """The key of proofs."""
    return hmac.digest(store_key, b"oversight console caller", "sha256")


def prove(key: bytes, authorization: str, origin: str) -> str:
    """The proof that the console calls for ``origin``, as it is told, with what is signed so."""
    message = f"{authorization}\n{origin}".encode("latin-1")
    return hmac.new(key, message, "sha256").hexdigest()


def origin_of(call: Any) -> Origin:
    """Where a request (``storage.s3.call.Call``) comes from."""
    scope = call.scope
    client = scope.get("client")
    origin = Origin(client[0] if client else "", scope.get("scheme", "http"))
    given = call.headers.get(PROOF)
    if given is not None:
        key = call.app.hooks.caller_key
        named = call.header(CALLER)
        proof = prove(key, call.header(b"authorization"), named)
        if key and hmac.compare_digest(given, proof.encode()):
            return Origin.parse(named)
    proxies = call.app.proxies
    if not proxies:
        return origin
    found: Origin = proxies.origin(origin, *map(call.header, FORWARDED))
    return found
