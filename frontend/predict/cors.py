"""Cross-origin answers for the origins that the settings name; without any, no header at all."""

from __future__ import annotations

from collections.abc import Mapping

ANY = "*"
_EXPOSED_HEADERS = "Retry-After, Server-Timing, X-Request-ID, X-Served-By"
_PREFLIGHT_AGE_S = 600


class Cors:
    """Which origins may read our answers."""

    def __init__(self, origins: tuple[str, ...] = (), allowed_headers: tuple[str, ...] = ()) -> None:
        """allowed_headers: names of request headers; one that is `*` stands for all."""
        self._origins = frozenset(origins)
        # To a browser `*` does not cover Authorization, which has to be named.
        self._allowed_headers = f"{ANY}, Authorization" if ANY in allowed_headers else ", ".join(allowed_headers)

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
        found.append(("Access-Control-Allow-Methods", "GET, POST, OPTIONS"))
        if self._allowed_headers:
            found.append(("Access-Control-Allow-Headers", self._allowed_headers))
        return [*found, ("Access-Control-Max-Age", str(_PREFLIGHT_AGE_S))]
