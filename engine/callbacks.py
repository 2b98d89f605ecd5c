"""Calling somebody else's code that wants to be told of something: whatever it raises, everybody else is told too."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")

_log = logging.getLogger(__name__)


def call_back(what: str, callback: Callable[P, object], /, *arguments: P.args, **named: P.kwargs) -> bool:
    """Whether `callback` returned; what it raised otherwise is in the log, as an error of `what`."""
    try:
        callback(*arguments, **named)
    except Exception:  # the caller's code may raise anything; those who are told after it must not suffer from it
        _log.exception("a callback failed: %s", what)
        return False
    return True
