"""Who may ask the status server for what: by the name it is called, by the page that asks, by the token.

A browser sends requests for whatever page it shows. One that was made to believe that its own name leads here (DNS
rebinding) gives itself away by that name, one of another origin by its Origin; neither can have the token.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable

from engine.supervisor.web.refusal import StatusRefusal
from engine.supervisor.web.request import StatusRequest

_LOCAL = ("localhost", "127.0.0.1", "::1")


class Access:
    """The rules of one status server."""

    def __init__(self, token: str, hosts: Iterable[str]) -> None:
        """`hosts`: names under which it may be asked, beside those of this machine itself."""
        self._token = token.encode()
        self._added = frozenset(name.strip().strip("[]").lower() for name in hosts if name.strip())
        self._hosts = frozenset(_LOCAL) | self._added

    def check(self, request: StatusRequest, reached: str) -> None:
        """Raises StatusRefusal: 403, 401, 415. `reached`: the address that the connection came to; empty: a socket."""
        self._check_host(request, reached)
        self._check_origin(request)
        if request.only_looks:
            return
        self.demand_token(request)
        kind = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
        if kind != "application/json":
            raise StatusRefusal(415, "NOT_JSON", "an order is JSON: Content-Type: application/json")

    def has_token(self, request: StatusRequest) -> bool:
        """Whether it brings the token. Takes as long for a wrong one, wherever that differs."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("latin-1", "replace"), self._token)
        return right and scheme.lower() == "bearer"

    def demand_token(self, request: StatusRequest) -> None:
        """Raises StatusRefusal."""
        if not self.has_token(request):
            raise StatusRefusal(
                401,
                "TOKEN",
                "this needs the token: Authorization: Bearer, with what is in admin.token of the runtime directory",
                WWW_Authenticate='Bearer realm="nightscan"',
            )

    def _check_host(self, request: StatusRequest, reached: str) -> None:
        name = _name(request.headers.get("host", ""))
        address = _address(name)
        # An address cannot be made to lead elsewhere, so the one that the connection came to is as good as a name.
        if name not in self._hosts and (address is None or address != _address(reached)):
            told = f"the host {name!r:.100}" if name else "a request without a host"
            raise StatusRefusal(403, "FOREIGN_HOST", f"{told} is not known here: see the setting status_hosts")

    def _check_origin(self, request: StatusRequest) -> None:
        origin = request.headers.get("origin")
        if origin is None:
            return
        authority = origin.partition("://")[2]  # empty for "null"
        same = authority.lower() == request.headers.get("host", "").lower()
        if not authority or not (same or _name(authority) in self._added):
            raise StatusRefusal(403, "FOREIGN_ORIGIN", "a page of another origin may not ask here: see status_hosts")


def _name(authority: str) -> str:
    """The name in a Host header, without its port; empty for what is none."""
    text = authority.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.rpartition(":")[0] if text.count(":") == 1 else text


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """However it is spelt: a socket for both kinds of addresses has those of the older kind inside of newer ones."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address
