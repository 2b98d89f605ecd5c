"""`GET /api/openapi.json`: the OpenAPI 3.1 document of all routes of our own application.

Written by nobody: paths come from the route table, parameters from what reads them, errors from the error table.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from engine.client import EngineClient
from frontend.predict.context import RouteContext
from frontend.predict.field import Field
from frontend.predict.operation import JsonSchema, Operation, OperationAnswer
from frontend.predict.parameters import REQUEST_ID_HEADER, request_id_of
from frontend.routes.answer_schemas import OPENAPI
from frontend.routes.error_answers import ERROR_SCHEMA, ORIGINAL_ERROR_SCHEMA, transport_errors
from frontend.server.message import JSON_TYPE, HttpRequest, HttpResponse, encode_json

OPENAPI_PATH = "/openapi.json"
_VERSION = "3.1.0"
_TITLE = "NightScan engine"
_ABOUT = "Upload a recording of the night, learn which animals called."
_ID_OF_REQUEST = "the caller's own, if it has 1 to 128 of letters, digits, '_', '.', '-'; else a new one"


class Described(Protocol):
    """A route that can say what it does."""

    def describe(self) -> Operation:
        """For the document."""


class OpenApi:
    """The handler. `routes` is asked with the first request, when all are in the table."""

    def __init__(self, context: RouteContext, routes: Callable[[], Mapping[tuple[str, str], Described]]) -> None:
        self._context = context
        self._routes = routes

    def begin(self, request: HttpRequest, client: EngineClient | None, *, quick: bool = False) -> HttpResponse:
        """Never raises."""
        response = HttpResponse(200, [JSON_TYPE], self._body)
        return self._context.complete(response, request, request_id_of(request.headers), endpoint="other")

    @functools.cached_property
    def _body(self) -> bytes:
        return encode_json(document(self._routes()))

    def describe(self) -> Operation:
        return Operation("This document", "operation", {200: OperationAnswer("OpenAPI 3.1", OPENAPI)})


def document(routes: Mapping[tuple[str, str], Described]) -> dict[str, Any]:
    """OpenAPI 3.1 of `routes`."""
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), route in routes.items():
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, route.describe())
    return {
        "openapi": _VERSION,
        "info": {"title": _TITLE, "description": _ABOUT, "version": "1"},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": {"Error": ERROR_SCHEMA, "OriginalError": ORIGINAL_ERROR_SCHEMA}},
    }


def _operation(method: str, path: str, operation: Operation) -> dict[str, Any]:
    answers = {**transport_errors(), **operation.answers}
    found: dict[str, Any] = {
        "operationId": "_".join([method.lower(), *filter(None, path.replace(".", "/").split("/"))]),
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [
            *(_parameter("query", name, field) for name, field in operation.query.items()),
            *(_parameter("header", name, field) for name, field in operation.headers.items()),
            {"in": "header", "name": REQUEST_ID_HEADER, "description": _ID_OF_REQUEST, "schema": {"type": "string"}},
        ],
        "responses": {str(status): _response(answer) for status, answer in sorted(answers.items())},
    }
    if operation.body:
        content = {content_type: {"schema": schema} for content_type, schema in operation.body.items()}
        found["requestBody"] = {"required": True, "content": content}
    if operation.is_handed_on:
        found["responses"]["default"] = {"description": "what the original API answered, with X-Served-By: original"}
    return found


def _parameter(place: str, name: str, field: Field) -> dict[str, Any]:
    return {"in": place, "name": name, "description": field.text, "schema": field.kind.schema()}


def _response(answer: OperationAnswer) -> dict[str, Any]:
    headers = {REQUEST_ID_HEADER: _ID_OF_REQUEST, **answer.headers}
    return {
        "description": answer.text,
        "headers": {name: _header(text) for name, text in headers.items()},
        "content": {answer.content_type: {"schema": answer.schema}},
    }


def _header(text: str) -> JsonSchema:
    return {"description": text, "required": True, "schema": {"type": "string"}}
