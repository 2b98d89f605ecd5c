"""What a person sees when the server starts: where to send a recording, and where to look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.config import Settings
from frontend.server.addresses import url_of

_BOLD, _PLAIN = "\033[1m", "\033[0m"


def banner(settings: Settings, addresses: Sequence[Any], page: str, *, colour: bool = False) -> str:
    """A few lines of text. `addresses`: what the listening sockets are bound to, as `getsockname` gives it.

    `page`: where the page of the engine is; empty where there is none.
    """
    base = _base_url(addresses)
    bold = (lambda text: f"{_BOLD}{text}{_PLAIN}") if colour else str
    lines = [
        f"{bold('NightScan')} listens at {bold(base)}, engine in {settings.runtime_dir}",
        f"  send a recording:  curl -F file=@recording.wav {base}/api/optimized/predict",
        f"  look at it:        {base}/api/optimized/stats   {base}/ready   {base}/metrics",
    ]
    if page:
        lines.append(f"  see it at work:    {page}")
    return "\n".join(lines) + "\n"


def _base_url(addresses: Sequence[Any]) -> str:
    if not addresses:
        return "an inherited socket"
    first = addresses[0]
    if not isinstance(first, tuple):
        return f"unix:{first}"
    return url_of(str(first[0]), int(first[1]))
