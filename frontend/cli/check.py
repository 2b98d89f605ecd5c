"""One thing that `nightscan doctor` has looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class CheckState(str, Enum):
    """What came of it."""

    WELL = "ok"
    NOT_CONFIGURED = "-"
    WARNING = "warn"  # it works, and something of it will not, or is not used
    BROKEN = "bad"


@dataclass(frozen=True, slots=True)
class Check:
    """What was found; `do` says what to do about it where something is not well."""

    name: str
    state: CheckState
    text: str
    do: str = ""

    @property
    def is_well(self) -> bool:
        return self.state in (CheckState.WELL, CheckState.NOT_CONFIGURED)

    def to_json(self) -> dict[str, str]:
        """As `doctor --json` has it."""
        return {"name": self.name, "state": self.state.value, "text": self.text, "do": self.do}


def well(name: str, text: str) -> Check:
    return Check(name, CheckState.WELL, text)


def not_configured(name: str) -> Check:
    return Check(name, CheckState.NOT_CONFIGURED, "not configured")


def warning(name: str, text: str, do: str) -> Check:
    return Check(name, CheckState.WARNING, text, do)


def broken(name: str, text: str, do: str) -> Check:
    return Check(name, CheckState.BROKEN, text, do)
