"""Which peers may say on whose behalf they call, and what address follows from what they say.

Only a trusted peer's `X-Forwarded-For` counts, and of its entries only those that trusted proxies have added: each
proxy appends the address it saw, so the list is read from its end up to the first address that is not trusted.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TrustedProxies:
    """Addresses and networks as in gunicorn's `forwarded_allow_ips`; `*` trusts every peer, other words nobody."""

    def __init__(self, allowed: Iterable[str]) -> None:
        listed = [item.strip() for item in allowed]
        self._everybody = "*" in listed
        self._networks = [network for item in listed if (network := _network(item)) is not None]
        self._trusts = lru_cache(maxsize=4096)(self._look_up)

    def __contains__(self, address: str) -> bool:
        return self._everybody or (len(address) < 64 and self._trusts(address))

    def client_of(self, forwarded_for: str) -> str:
        """The caller's address by a header that a trusted peer has sent; empty when it names none."""
        hops = [_without_port(item.strip()) for item in forwarded_for.split(",") if item.strip()]
        if self._everybody:
            return hops[0] if hops else ""
        for hop in reversed(hops):
            if hop not in self:
                return hop
        return hops[0] if hops else ""

    def _look_up(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._networks)


def _network(item: str) -> _Network | None:
    try:
        return ipaddress.ip_network(item, strict=False)
    except ValueError:
        return None


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    host, colon, _ = hop.partition(":")
    return host if colon and hop.count(":") == 1 else hop
