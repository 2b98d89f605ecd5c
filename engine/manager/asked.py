"""What a caller of `predict` asked for: whatever is passed in is either understood or refused in plain words."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import cast

from engine.clock import Deadline, now_ns
from engine.core.admission import level_of
from engine.errors import InvalidField
from engine.manager.foreign import foreign_code


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for a prediction, without its sound."""

    deployment_id: str
    request_id: str
    caller_hash: int  # 64 bits that stand for a user; 0 for nobody
    level: int
    due: Deadline
    began_ns: int

    @classmethod
    def of(
        cls, deployment_id: object, *, request_id: object, user_id: object, priority: object, timeout: object
    ) -> Asked:
        """Raises InvalidField, which names what is wrong."""
        began_ns = now_ns()
        if not isinstance(priority, Real) or priority != priority:
            raise InvalidField(f"priority must be a whole number, not {_shown(priority)}", field="priority")
        return cls(
            deployment_id=_text(deployment_id, field="deployment_id"),
            request_id=_text(request_id, field="request_id"),
            caller_hash=_caller_hash(user_id),
            level=level_of(cast(float, priority)),  # whose sign any real number has
            due=Deadline.after_s(seconds_of(timeout), since_ns=began_ns),
            began_ns=began_ns,
        )


def seconds_of(timeout: object, *, field: str = "timeout") -> float:
    """A duration that somebody passed in; infinity is one. Raises InvalidField for what is no number."""
    try:
        if isinstance(timeout, (Real, Decimal)) and not math.isnan(seconds := float(timeout)):
            return seconds
    except OverflowError:  # a whole number larger than any float
        return math.inf if timeout > 0 else -math.inf  # type: ignore[operator]
    except ValueError:  # Decimal's signalling nan
        pass
    raise InvalidField(f"{field} must be a number of seconds, not {_shown(timeout)}", field=field)


def _text(value: object, *, field: str) -> str:
    if isinstance(value, str):
        return value
    raise InvalidField(f"{field} must be a text, not {_shown(value)}", field=field)


def _caller_hash(user_id: object) -> int:
    if user_id is None:
        return 0
    with foreign_code(lambda _: InvalidField("user_id cannot be written as text", field="user_id")):
        text = str(user_id)
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


def _shown(value: object) -> str:
    """Short, whatever it is: a message is not the place for an array."""
    if value is None or isinstance(value, (bool, str, float, Decimal)):
        return ascii(value)[:80]
    return f"a value of type {type(value).__name__}"
