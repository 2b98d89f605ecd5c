"""The document is OpenAPI 3.1, and says what the tables say."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from engine.config import Settings
from frontend.app import EXTENSION, create_app
from frontend.errors import row_of
from frontend.predict.parameters import FIELDS
from frontend.routes.openapi import document as openapi_document
from frontend.testing import StandInEngine
from tests.routes.test_errors import all_errors

PREDICT = "/api/optimized/predict"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return _document(Settings())


def test_it_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


def test_it_has_every_route_and_no_other(document: dict[str, Any]) -> None:
    routes = create_app(Settings()).extensions[EXTENSION].routes
    said = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert said == set(routes)
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


def test_both_paths_have_the_same(document: dict[str, Any]) -> None:
    client = create_app(Settings()).test_client()
    with StandInEngine():
        for path in ("/openapi.json", "/api/openapi.json"):
            answer = client.get(path)
            assert answer.status_code == 200 and answer.get_json() == document


def test_the_statuses_of_an_operation_are_those_of_the_error_table(document: dict[str, Any]) -> None:
    for path, is_legacy in {PREDICT: False, "/api/predict": True}.items():
        rows = [row_of(kind) for kind in all_errors()]
        expected = {str(row.legacy_status if is_legacy else row.status) for row in rows} | {"200"}
        assert set(document["paths"][path]["post"]["responses"]) == expected


def test_the_query_and_the_form_take_the_same_fields(document: dict[str, Any]) -> None:
    operation = document["paths"][PREDICT]["post"]
    query = {row["name"]: row["schema"] for row in operation["parameters"] if row["in"] == "query"}
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert set(query) == set(FIELDS) == set(form) - {"file"}
    for name, schema in query.items():
        assert schema.items() <= form[name].items()
    assert query["top_k"] == {"type": "integer", "minimum": 1, "maximum": 1000}


def test_another_api_that_answers_meanwhile_is_told_of() -> None:
    assert "default" not in _document(Settings())["paths"][PREDICT]["post"]["responses"]
    handing_on = Settings(original_api_url="http://127.0.0.1:9/")
    assert "default" in _document(handing_on)["paths"][PREDICT]["post"]["responses"]


def _document(settings: Settings) -> dict[str, Any]:
    return openapi_document(create_app(settings).extensions[EXTENSION].routes)
