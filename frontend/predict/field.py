"""What one field of a request may be: read from its text, refused by name, and described as JSON Schema.

Reading and describing lie in one object, so that what is documented is what is allowed.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Protocol

from engine.errors import InvalidField

IDENTIFIER = re.compile(r"[\w.-]{1,128}", re.ASCII)

_MAX_NUMBER_CHARACTERS = 32  # thousands of digits take quadratic time to read; no number in range is this long
# Python's own readers take more: `1_000`, digits of any script. One text, one meaning, for whatever reads it next.
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)


class FieldKind(Protocol):
    """One kind of value."""

    def read(self, name: str, text: str) -> Any:
        """The value. Raises InvalidField, which names the field and what is allowed."""

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the allowed values."""


@dataclass(frozen=True, slots=True)
class NumberKind:
    """A finite number between two bounds, both allowed."""

    low: float
    high: float
    is_whole: bool = False

    def read(self, name: str, text: str) -> float:
        value = self._number(text) if len(text) <= _MAX_NUMBER_CHARACTERS else None
        if value is None or not self.low <= value <= self.high:
            what = "a whole number" if self.is_whole else "a number"
            raise InvalidField(f"{name} must be {what} from {_shown(self.low)} to {_shown(self.high)}", field=name)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "integer" if self.is_whole else "number", "minimum": self.low, "maximum": self.high}

    def _number(self, text: str) -> float | None:
        if self.is_whole:
            return int(text) if _WHOLE.fullmatch(text) else None
        value = float(text) if _NUMBER.fullmatch(text) else math.nan
        return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class ChoiceKind:
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, name: str, text: str) -> str:
        if text not in self.words:
            raise InvalidField(f"{name} must be one of: {', '.join(self.words)}", field=name)
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.words)}


@dataclass(frozen=True, slots=True)
class IdentifierKind:
    """A name that needs no escapes anywhere."""

    def read(self, name: str, text: str) -> str:
        if not IDENTIFIER.fullmatch(text):
            raise InvalidField(f"{name} must be 1 to 128 letters, digits, '_', '.' or '-'", field=name)
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,128}$"}


@dataclass(frozen=True, slots=True)
class Field:
    """One field or header: what it may be, and what it is for."""

    kind: FieldKind
    text: str


def _shown(bound: float) -> str:
    return f"{bound:.10g}"
