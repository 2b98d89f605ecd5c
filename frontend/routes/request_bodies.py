"""What a recording may come in: a part of a form, or the whole body."""

from __future__ import annotations

from collections.abc import Mapping

from frontend.predict.field import Field
from frontend.predict.operation import JsonSchema
from frontend.predict.upload import FILE_FIELD


def form_of(fields: Mapping[str, Field]) -> dict[str, JsonSchema]:
    """A form with the recording, and `fields` beside it; what else it carries is ignored."""
    properties: JsonSchema = {FILE_FIELD: {"type": "string", "format": "binary", "description": "the recording"}}
    for name, field in fields.items():
        properties[name] = {**field.kind.schema(), "description": field.text}
    return {"multipart/form-data": {"type": "object", "required": [FILE_FIELD], "properties": properties}}


def raw(*content_types: str) -> dict[str, JsonSchema]:
    """The file's own bytes, as one of these."""
    return {content_type: {"type": "string", "format": "binary"} for content_type in content_types}
