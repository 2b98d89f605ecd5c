"""Orders over HTTP: read, checked, handed to the supervisor's loop, answered once it is known what came of them.

No code comes this way: what can be deployed is what the configuration declares.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.errors import EngineError, InvalidField, error_of
from engine.supervisor.web.answer import StatusAnswer, error_answer, json_answer
from engine.supervisor.web.refusal import StatusRefusal

MOST_AT_ONCE = 16
Reply = Callable[[dict[str, Any]], None]  # told the result message, in whichever thread
Give = Callable[[dict[str, Any], Reply], bool]  # to the supervisor's loop, from any thread; False: it is gone
Answered = Callable[[StatusAnswer], None]

_TEXT, _NUMBER, _BOOL = (str, "a text"), (int, "a whole number"), (bool, "true or false")
_NEEDED: Mapping[str, Mapping[str, tuple[type, str]]] = {
    "deploy": {"deployment": _TEXT},
    "undeploy": {"deployment": _TEXT},
    "scale": {"deployment": _TEXT, "pool_size": _NUMBER},
    "drain": {"deployment": _TEXT},
}
_OPTIONAL: Mapping[str, Mapping[str, tuple[type, str]]] = {"drain": {"resume": _BOOL}}


class OrderDesk:
    """For the thread of the status server, but for what it hands over."""

    paths = frozenset(f"/{op}" for op in _NEEDED)

    def __init__(self, give: Give, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """`call_soon`: calls in this thread, from any other."""
        self._give = give
        self._call_soon = call_soon
        self._open = 0  # orders that the loop has

    def take(self, path: str, body: bytes, answered: Answered) -> None:
        """Hands an order over; `answered` is told once, later. Raises StatusRefusal, InvalidField."""
        op = path.removeprefix("/")
        fields = read_order(op, body)
        if self._open >= MOST_AT_ONCE:
            raise StatusRefusal(503, "OVERLOADED", f"{MOST_AT_ONCE} orders are being carried out")
        # In the loop's thread whatever is touched of this one is touched by `call_soon` alone.
        reply = functools.partial(self._call_soon_told, answered)
        if not self._give({"type": "request", "op": op, **fields}, reply):
            raise StatusRefusal(503, "CLOSING", "the supervisor ends")
        self._open += 1

    def _call_soon_told(self, answered: Answered, result: dict[str, Any]) -> None:
        self._call_soon(functools.partial(self._told, answered, result))

    def _told(self, answered: Answered, result: dict[str, Any]) -> None:
        self._open -= 1
        answered(_answer_of(result))


class Asker:
    """Who asked over HTTP, as the supervisor's requests see a peer."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """The one answer; there is no way to hand over descriptors."""
        self._reply(message)


def read_order(op: str, body: bytes) -> dict[str, Any]:
    """The fields of an order. Raises InvalidField, which names what is wrong."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidField("the body is not JSON", field="body") from error
    if not isinstance(found, dict):
        raise InvalidField("the body is not an object of JSON", field="body")
    needed, optional = _NEEDED[op], _OPTIONAL.get(op, {})
    for name in found.keys() - needed.keys() - optional.keys():
        raise InvalidField(f"{name!r:.100} is no field of {op}; it has {', '.join([*needed, *optional])}", field=name)
    for name, (kind, told) in {**needed, **optional}.items():
        if name in found or name in needed:
            if type(found.get(name)) is not kind:
                raise InvalidField(f"{name}: must be {told}", field=name)
    return found


def _answer_of(result: dict[str, Any]) -> StatusAnswer:
    if result.get("ok"):
        told = {name: value for name, value in result.items() if name not in ("v", "type", "id", "ok")}
        return json_answer(told)
    return error_answer(_error_of(str(result.get("code", "")), str(result.get("error", ""))))


def _error_of(code: str, text: str) -> EngineError:
    return InvalidField(text, field="") if code == InvalidField.code else error_of(code, text)
