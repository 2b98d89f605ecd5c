"""What `nightscan doctor` prints: how the engine is, then every check, on one screen."""

from __future__ import annotations

from collections.abc import Iterable

from frontend.cli.check import Check
from frontend.cli.looking import Sight
from frontend.cli.printing import LINES, WIDTH, wrapped
from frontend.cli.summary import advice_lines

_LEAD = 18  # columns before the text of a check
_ADVICE_LINES = 7
_LONGEST = 2  # lines of a text, and of what to do


def check_view(sight: Sight, checks: list[Check]) -> str:
    """Those that are well in a line each, or together in one where there is no room."""
    head = [f"{sight.verdict.state.value}: {sight.verdict.text}", *advice_lines(sight.verdict.advice, _ADVICE_LINES)]
    lines = [line for each in checks for line in _lines(each)]
    if len(head) + len(lines) > LINES:
        troubles = [line for each in checks if not each.is_well for line in _lines(each)]
        lines = [*troubles, *_together(each.name for each in checks if each.is_well)]
    if len(head) + len(lines) > LINES:
        room = LINES - len(head) - 1
        lines = [*lines[:room], "and more: nightscan doctor --json"]
    return "\n".join([*(line[:WIDTH] for line in head), *lines])


def _lines(check: Check) -> list[str]:
    lead = f"{check.state.value:<5} {check.name:<12}"
    if check.is_well:
        return _wrapped(check.text, lead, most=1)
    return [*_wrapped(check.text, lead, most=_LONGEST), *_wrapped(check.do, "      do", most=_LONGEST)]


def _wrapped(text: str, lead: str, *, most: int) -> list[str]:
    return wrapped(text, lead.ljust(_LEAD), most=most)


def _together(names: Iterable[str]) -> list[str]:
    return _wrapped(", ".join(names), "ok", most=_LONGEST)
