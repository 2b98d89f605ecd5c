"""Decides whether the fast lane may answer for an application without going round that application's own checks.

Looking for `before_request` functions would miss most of the ways to guard a Flask application: URL value
preprocessors, signal receivers, overridden or replaced methods, session interfaces, request classes, wrapped views.
So nothing is looked for. Instead `create_app` seals what it has made, and the lane is open while every part of the
application is still the very object that it was then. What cannot be compared counts as changed.

Invariant: `Seal.is_whole` never becomes True again after a difference was found.
"""

from __future__ import annotations

import logging
import operator
import os
from collections.abc import Mapping, Sized
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import flask
from blinker import Signal
from werkzeug.routing import Map

from engine.clock import NS_PER_MS, NS_PER_S, now_ns

FULL_CHECK_EVERY_NS = NS_PER_S  # besides the quick check, which looks at what can be compared in some microseconds
QUICK_CHECK_EVERY_NS = 5 * NS_PER_MS  # a change is seen by the requests that come so much after it, or later

_LOG = logging.getLogger(__name__)
_FLASK_DIR = os.path.dirname(os.path.abspath(flask.__file__)) + os.sep
# Made by Flask itself on first use, and of no consequence for who may ask.
_MADE_LAZILY = frozenset({"_got_first_request", "logger", "jinja_env"})
_SIGNALS = {name: signal for name, signal in vars(flask.signals).items() if isinstance(signal, Signal)}

_METHODS_ON_THE_WAY = operator.attrgetter(
    *("__call__", "wsgi_app", "full_dispatch_request", "preprocess_request", "dispatch_request", "process_response"),
    *("request_context", "create_url_adapter", "request_class", "session_interface", "response_class"),
)

Frozen = Any  # nested tuples and frozensets whose leaves are `_Same`


class _Same:
    """Equal to another only if both hold the very same object, which it keeps alive so that no id is used again."""

    __slots__ = ("held",)

    def __init__(self, held: object) -> None:
        self.held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.held is other.held

    def __hash__(self) -> int:
        return id(self.held)


class Seal:
    """What an application was when it was sealed, and whether it still is."""

    def __init__(self, app: flask.Flask) -> None:
        self._frozen = _freeze_app(app)
        self._watched = _containers_of(app)
        self._remember(app)
        self._check_again_at_ns = 0
        self._look_again_at_ns = 0
        self.is_whole = not (foreign := _foreign_parts(app))
        self.broken_by = foreign  # in words, once it is broken

    def holds(self, app: flask.Flask) -> bool:
        """Whether `app` is unchanged; nanoseconds, but for a look every few milliseconds."""
        if not self.is_whole:
            return False
        now = now_ns()
        if now < self._look_again_at_ns:
            return True
        if now < self._check_again_at_ns and self._looks_unchanged(app):
            self._look_again_at_ns = now + QUICK_CHECK_EVERY_NS
            return True
        return self.check(app)

    def check(self, app: flask.Flask) -> bool:
        """Compares everything. Logs what has changed, once."""
        if not self.is_whole:
            return False
        self._remember(app)
        self._check_again_at_ns, self._look_again_at_ns = now_ns() + FULL_CHECK_EVERY_NS, 0
        self.broken_by = _foreign_parts(app) or _difference(self._frozen, _freeze_app(app))
        if self.broken_by:
            self.is_whole = False
            _LOG.warning("fast lane closed: the application was changed (%s); its views answer instead", self.broken_by)
        return self.is_whole

    def _remember(self, app: flask.Flask) -> None:
        self._lengths = tuple(map(len, self._watched))
        self._values = tuple(vars(app).values())
        self._methods = _METHODS_ON_THE_WAY(type(app))

    def _looks_unchanged(self, app: flask.Flask) -> bool:
        # Sizes of tables, identity of attributes and methods: all of it loops in C.
        return (
            tuple(map(len, self._watched)) == self._lengths
            and all(map(operator.is_, vars(app).values(), self._values))
            and all(map(operator.is_, _METHODS_ON_THE_WAY(type(app)), self._methods))
        )


_seals: WeakKeyDictionary[flask.Flask, Seal] = WeakKeyDictionary()


def seal(app: flask.Flask) -> None:
    """Takes `app` as it is for unguarded. For `create_app` alone: whoever calls it vouches for every part of `app`."""
    _seals[app] = Seal(app)


def seal_of(app: object) -> Seal | None:
    """The seal of an application made by our `create_app`; None for any other."""
    return _seals.get(app) if isinstance(app, flask.Flask) else None


def _freeze_app(app: flask.Flask) -> dict[str, Frozen]:
    frozen = {name: _freeze(value) for name, value in vars(app).items() if name not in _MADE_LAZILY}
    frozen["class"] = _Same(type(app))
    for name, value in _class_attributes(type(app)).items():
        frozen[f"class attribute {name}"] = _Same(value)
    return frozen


def _class_attributes(kind: type) -> dict[str, object]:
    found: dict[str, object] = {}
    for base in reversed(kind.__mro__):
        found.update(vars(base))
    return {name: value for name, value in found.items() if name not in ("__weakref__", "__dict__")}


def _freeze(value: object) -> Frozen:
    """Containers by their members, in which empty members do not count: looking up a default makes one."""
    if isinstance(value, Mapping):
        return frozenset((key, frozen) for key, item in value.items() if (frozen := _freeze(item)))
    if isinstance(value, (list, tuple)):
        return tuple(_freeze(item) for item in value)
    if isinstance(value, (set, frozenset)):
        return frozenset(_freeze(item) for item in value)
    if isinstance(value, Map):
        rules = [(_Same(rule), rule.rule, rule.endpoint, frozenset(rule.methods or ())) for rule in value.iter_rules()]
        return frozenset(rules), value.host_matching, value.strict_slashes, _freeze(value.converters)
    return _Same(value)


def _difference(then: dict[str, Frozen], now: dict[str, Frozen]) -> str:
    changed = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
    return ", ".join(changed)


def _foreign_parts(app: flask.Flask) -> str:
    """What is not Flask's own although it may run in every request; empty when there is nothing.

    Holds at any time, so that what was there before the application was made is seen too.
    """
    if type(app).__module__ != "flask.app":
        return f"it is a {type(app).__module__}.{type(app).__qualname__}"
    for name, signal in _SIGNALS.items():
        if signal.receivers:
            return f"receivers of {name}"
    for name, value in _class_attributes(type(app)).items():
        if isinstance(value, FunctionType) and not _is_flasks_own(value):
            return f"Flask.{name} was replaced"
    return ""


def _is_flasks_own(function: FunctionType) -> bool:
    # setupmethod's wrappers are Flask's own; what they wrap was there when Flask was imported.
    return os.path.abspath(function.__code__.co_filename).startswith(_FLASK_DIR)


def _containers_of(app: flask.Flask) -> tuple[Sized, ...]:
    """What grows when somebody adds a check: the application's tables, the lists in them, the signals' receivers."""
    found: list[Sized] = [vars(app)]
    for value in vars(app).values():
        if isinstance(value, (dict, list)):
            found.append(value)
        if isinstance(value, dict):
            found += [item for item in value.values() if isinstance(item, (dict, list))]
    return (*found, *(signal.receivers for signal in _SIGNALS.values()))
