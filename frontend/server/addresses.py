"""How an address that something listens at is told to people."""

from __future__ import annotations


def url_of(bind_host: str, port: int) -> str:
    """Of whoever listens there; from this machine where that is every address."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind_host, bind_host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
