"""Whose request it is: the address of the connection, or of whom our own console calls for.

The console signs requests in its users' names from this machine. With each it sends the browser's
address and a proof: an HMAC over that address and the request's own ``Authorization``, by a key
that comes from the store key and that only the store's processes have. So nobody else can name an
address, and a proof that was seen is good for no other request. Headers of proxies
(``X-Forwarded-For``, ``Forwarded``) are not believed.
"""

from __future__ import annotations

import hmac
from typing import Any

CALLER, PROOF = b"x-oversight-caller", b"x-oversight-proof"


def caller_key(store_key: bytes) -> bytes:
    """The key of proofs."""
    return hmac.digest(store_key, b"oversight console caller", "sha256")


def prove(key: bytes, authorization: str, address: str) -> str:
    """The proof that the console calls for ``address`` with the request signed so."""
    message = f"{authorization}\n{address}".encode("latin-1")
    return hmac.new(key, message, "sha256").hexdigest()


def address_of(call: Any) -> str:
    """The address of who sent a request (``storage.s3.call.Call``), "" where there is none."""
    client = call.scope.get("client")
    address: str = client[0] if client else ""
    given = call.headers.get(PROOF)
    if given is None:
        return address
    key = call.app.hooks.caller_key
    named = call.header(CALLER)
    proven = hmac.compare_digest(given, prove(key, call.header(b"authorization"), named).encode())
    return named if key and proven else address
