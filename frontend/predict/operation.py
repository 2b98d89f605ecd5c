"""How a route describes itself, for the OpenAPI document: what it takes, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from frontend.predict.field import Field

JsonSchema = dict[str, Any]
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class OperationAnswer:
    """What one status means. `headers`: those that it always has."""

    text: str
    schema: JsonSchema
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One route. `body`: schema by content type; empty: it takes none."""

    summary: str
    tag: str
    answers: Mapping[int, OperationAnswer]
    query: Mapping[str, Field] = field(default_factory=dict)
    headers: Mapping[str, Field] = field(default_factory=dict)
    body: Mapping[str, JsonSchema] = field(default_factory=dict)
    is_handed_on: bool = False  # whether another API may answer in this one's place, in words of its own
