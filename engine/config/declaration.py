"""How one setting is declared: once, beside its field, and everything else is derived from that.

`setting()` and `computed()` stand where a dataclass default stands. They keep unit, bounds, text and names in the
field's metadata; parsing, checking, showing and the reference table read them from there.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

ENVIRONMENT_PREFIX = "NIGHTSCAN_OPTIMIZED_SERVING__"

Value = bool | int | float | str
T = TypeVar("T", bound=Value)

_TYPES: dict[str, type[Value]] = {"bool": bool, "int": int, "float": float, "str": str}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a value must be and how it is shown; what a section writes beside its field."""

    text: str  # one sentence for operators
    unit: str = ""
    at_least: float | None = None  # inclusive
    at_most: float | None = None  # inclusive
    choices: tuple[str, ...] = ()
    pattern: str = ""  # the whole of a text must match
    allowed: str = ""  # the pattern in words
    bare_variable: str = ""  # environment variable of the original API, below the prefixed one
    shared_variable: bool = False  # others use the bare variable too: what it says is ignored where it is not for us
    default_text: str = ""  # for defaults that depend on the machine
    secret: bool = False  # credentials in it are never shown
    no_effect: str = ""  # why nothing acts on it; it is accepted because the original system's files set it


@dataclass(frozen=True, kw_only=True)
class SettingDeclaration:
    """One setting as it is read, checked, shown and documented."""

    name: str
    type: type[Value]
    default: Value | None  # None: computed on the machine, see `default_text`
    computed: Callable[[], Value] | None
    rule: Rule

    @property
    def text(self) -> str:
        return self.rule.text

    @property
    def unit(self) -> str:
        return self.rule.unit

    @property
    def environment_variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def default_text(self) -> str:
        """The default in words; empty text for an empty default."""
        return self.rule.default_text or as_text(self.default if self.default is not None else "")

    @property
    def bounds(self) -> str:
        """What is allowed, in words."""
        if self.type is bool:
            return "true or false"
        if self.rule.choices:
            return "one of " + ", ".join(choice or "(empty)" for choice in self.rule.choices)
        if self.rule.at_least is not None and self.rule.at_most is not None:
            whole = "a whole number from " if self.type is int else "a number from "
            return f"{whole}{self.rule.at_least:.12g} to {self.rule.at_most:.12g}"
        return self.rule.allowed or "any text"

    def is_default(self, value: object) -> bool:
        """Whether this machine has this value unless told otherwise."""
        return bool(value == (self.computed() if self.computed else self.default))

    def allows(self, value: Value) -> bool:
        """Whether a value that has this setting's type already is within its bounds."""
        rule = self.rule
        if isinstance(value, str):
            return (not rule.choices or value in rule.choices) and bool(re.fullmatch(rule.pattern or ".*", value))
        low = rule.at_least is None or value >= rule.at_least
        return low and (rule.at_most is None or value <= rule.at_most)


def as_text(value: Value) -> str:
    """A value as the environment spells it; `str` and back gives an equal value."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def setting(default: T, rule: Rule) -> T:
    """A dataclass field with this default and rule."""
    return dataclasses.field(default=default, metadata={"rule": rule})


def computed(default: Callable[[], T], rule: Rule) -> T:
    """A dataclass field whose default depends on the machine; the rule's `default_text` says how."""
    return dataclasses.field(default_factory=default, metadata={"rule": rule})


def declarations_of(section: type[Any]) -> list[SettingDeclaration]:
    """Every setting of a dataclass, in the order written; fields without a rule are left out."""
    return [
        SettingDeclaration(
            name=field.name,
            type=_TYPES[str(field.type)],
            default=None if field.default is dataclasses.MISSING else field.default,
            computed=None if field.default_factory is dataclasses.MISSING else field.default_factory,
            rule=field.metadata["rule"],
        )
        for field in dataclasses.fields(section)
        if "rule" in field.metadata
    ]
