"""What both ways in make of a request's fields, so that one request means the same on either.

Headers are as WSGI servers hand them on, since most of the requests that matter to a host come through one: names with
an underscore are dropped (they would pass for the hyphenated ones), a field sent twice is one list joined by commas.
Two content types are refused by our server and by gunicorn; of those that another one lets through the last counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_SPACE = " \t"  # around a value, where it means nothing
_LAST_COUNTS = ("content-type", "content-length")


def headers_of_fields(fields: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Lower-case name -> value, of raw fields whose names are in lower case."""
    found = {name.decode("latin-1"): value.decode("latin-1").strip(_SPACE) for name, value in fields}
    if len(found) != len(fields) or "_" in "".join(found) or "" in found.values():
        return _merged(fields)
    return found


def _merged(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw_name, raw_value in fields:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1").strip(_SPACE)
        if "_" in name:
            continue
        if name in found and name not in _LAST_COUNTS:
            value = f"{found[name]}{'; ' if name == 'cookie' else ','}{value}"
        found[name] = value
    return {name: value for name, value in found.items() if value or name not in _LAST_COUNTS}
