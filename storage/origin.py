"""Where a request comes from, as one process of the store tells another."""

from __future__ import annotations

from typing import NamedTuple

#: What proxies say in, lower-case: addresses, the client's first; how the client speaks to them.
FORWARDED = (b"x-forwarded-for", b"x-forwarded-proto")


class Origin(NamedTuple):
    """An address ("" where there is none), and ``http`` or ``https``."""

    address: str
    scheme: str

    def told(self) -> str:
        """As text."""
        return f"{self.scheme} {self.address}"

    @staticmethod
    def parse(told: str) -> Origin:
        """The inverse of ``told``."""
        scheme, _, address = told.partition(" ")
        return Origin(address, scheme)
