"""What an ASGI application is told of a request: the scope."""

from __future__ import annotations

from typing import Any

from frontend.server.head import RequestHead
from frontend.server.transport_state import TransportState


def scope_of(head: RequestHead, state: TransportState) -> dict[str, Any]:
    """The ASGI scope of a complete head."""
    peer = head.peer
    client, address = peer.client, head.address
    if address != peer.address:
        client = (address, 0)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "method": head.method,
        "server": peer.server,
        "client": client,
        "scheme": peer.caller_scheme(head.fields),
        "root_path": "",
        "path": head.path,
        "raw_path": head.raw_path,
        "query_string": head.query,
        "headers": head.fields,
        "state": state.app_state.copy(),
        "extensions": {},
    }
