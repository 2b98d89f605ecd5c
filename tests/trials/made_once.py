"""The sounds that rules make take most of the time of whoever asks for some: made once for all tests of a process."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from engine.models.synthesise import synthesise
from engine.trials import made_sounds

_remembered = functools.lru_cache(maxsize=None)(synthesise)


@pytest.fixture(autouse=True, scope="module")
def sounds_made_once() -> Iterator[None]:
    """Nobody writes into what was made: pieces are views, and whoever changes one makes an array of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_sounds, "synthesise", _remembered)
        yield
