"""What a process may do next: one step is one store that others may see, or one system call."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from tests.model.state import State


class Kind(Enum):
    """Whether a step is bound to come."""

    MUST = "must"  # whoever waits long enough sees it
    LONG = "long"  # a computation: it may take for ever
    MAY = "may"  # a fault, a cancel, a decision from outside
    VIOLATION = "violation"


class Step(NamedTuple):
    kind: Kind
    text: str
    state: State


def must(text: str, state: State) -> Step:
    return Step(Kind.MUST, text, state)


def may(text: str, state: State) -> Step:
    return Step(Kind.MAY, text, state)


def violation(text: str, state: State) -> Step:
    return Step(Kind.VIOLATION, text, state)
