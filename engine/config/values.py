"""From text or JSON to a checked value, and back to something that may be shown.

Every refusal is one ConfigError of one line: name, value, where it came from, what is allowed. Credentials never appear
in it.
"""

from __future__ import annotations

import math
import re

from engine.config.declaration import SettingDeclaration, Value, as_text
from engine.errors import ConfigError

_TRUE = frozenset(("true", "1", "yes", "on"))
_FALSE = frozenset(("false", "0", "no", "off"))
_WHOLE = re.compile(r"[+-]?[0-9]+", re.ASCII)
_ADDRESS = re.compile(r"(?is)(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<place>[^?#\s]*)(?P<cut>.*)", re.ASCII)
_HIDDEN = "***"
_LONGEST_QUOTE = 200  # characters
_LONGEST_NUMBER = 40  # digits; CPython refuses to parse several thousand with an error of its own


def shown(declaration: SettingDeclaration, value: object) -> str:
    """The value as people may see it: of an address that may hold credentials only what cannot be one."""
    text = as_text(value) if isinstance(value, (bool, int, float, str)) else repr(value)
    return shown_address(text) if declaration.rule.secret and text else text


def shown_address(address: str) -> str:
    """Scheme, host and path: without what stands before an @, or after a ?, a # or a blank.

    Where these overlap, or nothing tells a host from a word, nobody knows which part is the secret: then none is shown.
    """
    parts = _ADDRESS.fullmatch(address)
    if parts is None or "@" in parts["cut"]:
        return _HIDDEN
    _, at, place = parts["place"].rpartition("@")
    return parts["scheme"] + (_HIDDEN + at if at else "") + place + (f"?{_HIDDEN}" if parts["cut"] else "")


def one_line(text: str) -> str:
    """Text from outside as it may stand in a message: escaped, and cut when it is long."""
    escaped = text.encode("unicode_escape").decode()
    return escaped if len(escaped) <= _LONGEST_QUOTE else escaped[:_LONGEST_QUOTE] + "..."


def refusal(declaration: SettingDeclaration, value: object, source: str) -> ConfigError:
    """The error for a value that is not allowed."""
    quoted = one_line(shown(declaration, value))
    return ConfigError(f"{declaration.name}={quoted} ({source}): must be {declaration.bounds}")


def checked(declaration: SettingDeclaration, value: object, source: str) -> Value:
    """A typed value within its bounds; whole numbers are taken for fractions. Raises ConfigError."""
    wanted = declaration.type
    if wanted is float and type(value) is int:
        value = _fraction(str(value))
    if type(value) is not wanted or not isinstance(value, (bool, int, float, str)):
        raise refusal(declaration, value, source)
    if isinstance(value, float) and not math.isfinite(value) or not declaration.allows(value):
        raise refusal(declaration, value, source)
    return value


def from_text(declaration: SettingDeclaration, text: str, source: str) -> Value:
    """The value that an environment variable spells. Raises ConfigError."""
    value: Value | None = text
    stripped = text.strip()
    if declaration.type is bool:
        value = True if stripped.lower() in _TRUE else False if stripped.lower() in _FALSE else None
    elif declaration.type is int:
        value = int(stripped) if _WHOLE.fullmatch(stripped) and len(stripped) <= _LONGEST_NUMBER else None
    elif declaration.type is float:
        value = _fraction(stripped)
    if value is None:
        raise refusal(declaration, text, source)
    return checked(declaration, value, source)


def _fraction(text: str) -> float | None:
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        return None
