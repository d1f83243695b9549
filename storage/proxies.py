"""Who is behind a proxy: what ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are worth.

Anybody can send these headers. They are believed from connections of the networks that
``OVERSIGHT_TRUSTED_PROXIES`` names, and of a list of addresses only its end, as far as such proxies
wrote it: what stands before may be the client's own invention.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from storage.origin import Origin

_SCHEMES = ("http", "https")


class Proxies:
    """Networks whose word is taken. False where there are none."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(ip_network(network) for network in networks)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def origin(self, peer: Origin, addresses: str, scheme: str) -> Origin:
        """Who is behind ``peer``, by the values of ``FORWARDED`` (repeated ones joined by commas).

        It is the last address that is no such proxy's. What follows no address is not looked at.
        """
        if not self._know(_address(peer.address)):
            return peer
        address = peer.address
        for each in reversed(addresses.split(",")):
            found = _address(each)
            if found is None:
                break
            address = str(found)
            if not self._know(found):
                break
        named = scheme.rpartition(",")[2].strip().lower()
        return Origin(address, named if named in _SCHEMES else peer.scheme)

    def _know(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address as proxies write it, some with a port; IPv4 in IPv6 is IPv4. None: it is none."""
    name = text.strip()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    try:
        found = ip_address(name)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
