"""Which peers may say on whose behalf they call, and what address follows from what they say.

Only a trusted peer's `X-Forwarded-For` counts, and of its entries only those that trusted proxies have added: each
proxy appends the address it saw, so the list is read from its end up to the first address that is not trusted.

An IPv4 address that came over an IPv6 socket (`::ffff:192.0.2.1`) is that IPv4 address, in lists and when shown.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from functools import lru_cache

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FORWARDED_ALLOW_IPS = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")  # the variable and default are gunicorn's
_LONGEST = 64  # characters of an address, with the name of an interface
_MAPPED_BITS = 96  # of `::ffff:0:0/96`, in which IPv4 addresses lie


class TrustedProxies:
    """Addresses and networks as in gunicorn's `forwarded_allow_ips`; `*` trusts every peer, other words nobody."""

    def __init__(self, allowed: Iterable[object]) -> None:
        listed = [str(item).strip() for item in allowed]
        self._everybody = "*" in listed
        self._networks = [network for item in listed if (network := _network(item)) is not None]
        self._trusts = lru_cache(maxsize=4096)(self._look_up)

    def __contains__(self, address: str) -> bool:
        return self._everybody or (len(address) < _LONGEST and self._trusts(address))

    def client_of(self, forwarded_for: str) -> str:
        """The caller's address by a header that a trusted peer has sent; empty when it names none.

        An entry that is no address ends the list: nobody can tell what stands before it.
        """
        nearest = ""
        hops = [_without_port(item.strip()) for item in forwarded_for.split(",") if item.strip()]
        if self._everybody:
            return plain_address(hops[0]) if hops and _address(hops[0]) else ""
        for hop in reversed(hops):
            if _address(hop) is None:
                break
            nearest = plain_address(hop)
            if hop not in self:
                break
        return nearest

    def caller(self, peer: str, forwarded_for: str) -> str:
        """Whose request it is: that of `peer` (empty: a Unix socket's), or of the one whom a trusted peer names."""
        named = self.client_of(forwarded_for) if forwarded_for and (not peer or peer in self) else ""
        return named or plain_address(peer)

    def _look_up(self, address: str) -> bool:
        found = _address(address)
        return found is not None and any(found in network for network in self._networks)


def plain_address(address: str) -> str:
    """`address` as it is shown; what is no address stays what it is."""
    return _plain(address) if ":" in address and len(address) < _LONGEST else address


@lru_cache(maxsize=4096)
def _plain(address: str) -> str:
    found = _address(address)
    return address if found is None else str(found)


def _address(text: str) -> _Address | None:
    """None for what is no address; an IPv4 one wherever it is one."""
    if len(text) >= _LONGEST:
        return None
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _network(item: str) -> _Network | None:
    try:
        found = ipaddress.ip_network(item, strict=False)
    except ValueError:
        return None
    mapped = found.network_address.ipv4_mapped if isinstance(found, ipaddress.IPv6Network) else None
    if mapped is None or found.prefixlen < _MAPPED_BITS:
        return found
    return ipaddress.ip_network(f"{mapped}/{found.prefixlen - _MAPPED_BITS}", strict=False)


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    host, colon, _ = hop.partition(":")
    return host if colon and hop.count(":") == 1 else hop


_trusted_here = TrustedProxies(FORWARDED_ALLOW_IPS.split(","))


def trust(allowed: Iterable[object]) -> None:
    """Whom this process trusts from here on, where its server has been told otherwise than by the environment."""
    global _trusted_here
    _trusted_here = TrustedProxies(allowed)


def trusted_here() -> TrustedProxies:
    """Whom this process trusts."""
    return _trusted_here
