"""Code that is not ours: caches, factories, arrays and users that are passed in. It may raise anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from engine.errors import EngineError


@contextmanager
def foreign_code(refusal: Callable[[Exception], EngineError]) -> Iterator[None]:
    """Inside it runs. What it raises becomes `refusal` of it, raised in its place; errors of the engine pass."""
    try:
        yield
    except EngineError:
        raise
    except Exception as error:  # whatever somebody else's code does, its caller gets an error of ours
        raise refusal(error) from error
