"""Which of the two endpoints leads to the store from here."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from stack.settings import Stack


def nearest_endpoint(stack: Stack) -> str:
    """The internal endpoint where its name is known, as in a container; else the external one."""
    parts = urlsplit(stack.internal_endpoint)
    try:
        socket.getaddrinfo(parts.hostname, parts.port or 80)
    except OSError:
        return stack.external_endpoint
    return stack.internal_endpoint
