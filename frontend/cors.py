"""Cross-origin answers for the origins that the settings name; without any, no header at all."""

from __future__ import annotations

from collections.abc import Mapping

ANY = "*"
_ALLOWED_HEADERS = "Authorization, Content-Type, X-API-Key, X-Request-ID, X-Request-Timeout-Ms"
_EXPOSED_HEADERS = "Retry-After, Server-Timing, X-Request-ID, X-Served-By"
_PREFLIGHT_AGE_S = 600


class Cors:
    """Which origins may read our answers."""

    def __init__(self, origins: tuple[str, ...] = ()) -> None:
        self._origins = frozenset(origins)

    def headers(self, request_headers: Mapping[str, str]) -> list[tuple[str, str]]:
        """For an ordinary answer. Names of `request_headers` are lower-case."""
        if not self._origins:
            return []
        origin = request_headers.get("origin", "")
        # Vary goes out for every origin, refused ones included, or else a shared cache would mix up their answers.
        vary = [("Vary", "Origin")]
        if not origin or not (ANY in self._origins or origin in self._origins):
            return vary
        allowed = ANY if ANY in self._origins else origin
        return [("Access-Control-Allow-Origin", allowed), ("Access-Control-Expose-Headers", _EXPOSED_HEADERS), *vary]

    def preflight(self, request_headers: Mapping[str, str]) -> list[tuple[str, str]]:
        """For the OPTIONS request that a browser sends first."""
        found = self.headers(request_headers)
        if len(found) < 2:
            return found
        return [
            *found,
            ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
            ("Access-Control-Allow-Headers", _ALLOWED_HEADERS),
            ("Access-Control-Max-Age", str(_PREFLIGHT_AGE_S)),
        ]
