"""Virtual-hosted addressing: the bucket stands in front of a configured domain.

``http://bucket.s3.example.com/key`` and ``http://s3.example.com/bucket/key`` name the same object
where ``s3.example.com`` is configured. Every other host (an IP address, the domain itself, a name
that is none of ours) means path style. Source: "Virtual hosting of general purpose buckets" in
the Amazon S3 User Guide.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote

from storage.s3.call import Call
from storage.s3.caller import origin_of

#: Longest name of DNS with a port. What is longer is not remembered: strangers choose it.
_HOST_BYTES_MAX = 253 + len(":65535")
_HOST = re.compile(rb"([a-z0-9._-]+)(?::[0-9]{1,5})?").fullmatch


def bucket_of(host: bytes, domains: tuple[str, ...]) -> str:
    """The bucket that a Host header names, "" where it names none.

    ``domains`` are lower-case, without ports. Of several that fit, the longest counts.
    """
    return _bucket_of(host, domains) if len(host) <= _HOST_BYTES_MAX else ""


@lru_cache(maxsize=4096)
def _bucket_of(host: bytes, domains: tuple[str, ...]) -> str:
    match = _HOST(host.strip().lower())
    if match is None:
        return ""
    name = match[1].decode().removesuffix(".")
    if name in domains:
        return ""
    for domain in sorted(domains, key=len, reverse=True):
        if name.endswith("." + domain):
            return name[: -len(domain) - 1]
    return ""


def object_url(call: Call, safe: str = "/") -> str:
    """Where the object of ``call`` is, in the style in which the client addresses the store.

    ``safe``: characters of the key that are not escaped.
    """
    host = call.header(b"host") or "localhost"
    path = quote(call.key, safe=safe)
    if not call.host_bucket:
        path = f"{call.bucket}/{path}"
    return f"{origin_of(call).scheme}://{host}/{path}"


class HostedCall(Call):
    """A request to a store that has a domain. Without one the plain class is used, at no cost."""

    __slots__ = ("host_bucket",)

    def parse(self) -> None:
        """As if the bucket stood in the path. Raises InvalidURI."""
        self.host_bucket = bucket_of(self.headers.get(b"host", b""), self.app.config.domains)
        path = self.raw_path
        if self.host_bucket and path.startswith(b"/"):
            self.raw_path = b"/" + self.host_bucket.encode() + path
        try:
            super().parse()
        finally:
            self.raw_path = path  # as sent: it is what version 4 signs
