"""Ranges of options that stand for settings: the settings' own, so that both refuse the same."""

from __future__ import annotations

import click

from engine.config import declared

MOST_OF_A_POOL = 1024  # as the engine has it, which refuses by itself what comes another way


def range_of(name: str) -> click.IntRange | click.FloatRange:
    """What is allowed for a number; click refuses all else and says the range."""
    (setting,) = (each for each in declared() if each.name == name)
    least, most = setting.rule.at_least, setting.rule.at_most
    assert least is not None and most is not None
    return click.IntRange(int(least), int(most)) if setting.type is int else click.FloatRange(least, most)
