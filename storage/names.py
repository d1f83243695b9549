"""Names that every door of the store checks alike."""

from __future__ import annotations

import ipaddress
import re

_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?![.-])){1,61}[a-z0-9]")
_RESERVED_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


def is_bucket_name(name: str) -> bool:
    """Whether a new bucket may have this name (S3, "General purpose bucket naming rules")."""
    if (
        _BUCKET.fullmatch(name) is None
        or "-." in name
        or name.startswith(_RESERVED_PREFIXES)
        or name.endswith(_RESERVED_SUFFIXES)
    ):
        return False
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return True
    return False
