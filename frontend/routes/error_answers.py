"""The error table as a document: which statuses a route may answer, with which codes, in which form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import frontend.server.head  # noqa: F401  whose refusals are to be found among all errors
from engine.errors import EngineError
from frontend.errors import row_of
from frontend.predict.operation import JsonSchema, OperationAnswer
from frontend.server.refusals import TransportRefusal

ERROR_SCHEMA: JsonSchema = {
    "type": "object",
    "description": "An error: for people, for machines, and the id under which the log has more.",
    "required": ["error", "code", "request_id"],
    "properties": {
        "error": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
        "field": {"type": "string", "description": "the field or header that is not allowed"},
    },
    "additionalProperties": False,
}
ORIGINAL_ERROR_SCHEMA: JsonSchema = {
    "type": "object",
    "description": "An error of the original API.",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
    "additionalProperties": False,
}
_OURS = ("engine.errors", "frontend.")  # errors of other modules end where they are raised
_RETRY_AFTER = "whole seconds after which it is worth trying again"


def optimized_errors() -> dict[int, OperationAnswer]:
    """Of the optimized prediction."""
    return {
        status: _answer(codes, retried, {"$ref": "#/components/schemas/Error", "properties": _code_of(codes)})
        for status, (codes, retried) in _by_status(list(_kinds(EngineError)), legacy=False).items()
    }


def original_errors() -> dict[int, OperationAnswer]:
    """Of the original API's prediction, whose errors have no codes."""
    schema = {"$ref": "#/components/schemas/OriginalError"}
    found = _by_status(list(_kinds(EngineError)), legacy=True)
    return {status: _answer(codes, retried, schema) for status, (codes, retried) in found.items()}


def transport_errors() -> dict[int, OperationAnswer]:
    """Of every route: what is refused before any of them sees it."""
    return {
        status: _answer(codes, retried, {"$ref": "#/components/schemas/Error", "properties": _code_of(codes)})
        for status, (codes, retried) in _by_status(list(_kinds(TransportRefusal)), legacy=False).items()
    }


def _answer(codes: list[str], retried: bool, schema: JsonSchema) -> OperationAnswer:
    return OperationAnswer(", ".join(codes), schema, headers={"Retry-After": _RETRY_AFTER} if retried else {})


def _code_of(codes: list[str]) -> JsonSchema:
    return {"code": {"enum": codes}}


def _by_status(kinds: list[type[EngineError]], *, legacy: bool) -> Mapping[int, tuple[list[str], bool]]:
    """Status -> codes, and whether all of them come with Retry-After."""
    codes: dict[int, set[str]] = defaultdict(set)
    retried: dict[int, bool] = defaultdict(lambda: True)
    for kind in kinds:
        row = row_of(kind)
        status = row.legacy_status if legacy else row.status
        codes[status].add(kind.code)
        retried[status] = retried[status] and row.retry_after
    return {status: (sorted(codes[status]), retried[status]) for status in sorted(codes)}


def _kinds(root: type[EngineError]) -> Iterator[type[EngineError]]:
    if root.__module__.startswith(_OURS):
        yield root
    for child in root.__subclasses__():
        yield from _kinds(child)
