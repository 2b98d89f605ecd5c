"""Without a rule something goes wrong: one that could be dropped unpunished is dead weight, or the model is blind."""

from __future__ import annotations

import dataclasses
import re

import pytest

from tests.model.bounds import SMALL
from tests.model.dropped import DROPS
from tests.model.explore import explore
from tests.model.machine import Rules

MOST_STATES = 200_000


@pytest.mark.parametrize("name", DROPS)
def test_dropping_it_breaks_the_protocol(name: str) -> None:
    drop = DROPS[name]
    result = explore(drop.bounds, drop.rules, most_states=MOST_STATES)
    assert result.violation, f"nothing breaks without the rule: {drop.rule}\n{result}"
    assert re.search(drop.damage, result.violation), str(result)
    assert result.trace[-1] == result.violation


@pytest.mark.parametrize("name", DROPS)
def test_the_same_machine_is_explored_with_the_rule(name: str) -> None:
    """The damage above is the dropped rule's and not the machine's, which is sound as far as it goes."""
    assert DROPS[name].bounds in SMALL


def test_every_rule_is_dropped_once() -> None:
    dropped = {
        field.name for drop in DROPS.values() for field in dataclasses.fields(Rules)
        if getattr(drop.rules, field.name) != field.default
    }
    assert dropped == {field.name for field in dataclasses.fields(Rules)}
