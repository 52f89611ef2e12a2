"""What stands in for a payload that an older revision cannot carry. The rules of when are in `mcpcore.adaptation`."""

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Any

import msgspec

from mcpcore.errors import LocalProtocolError
from mcpcore.types.content import (
    AudioContent,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    SamplingMessageContentBlock,
    TextContent,
    TextResourceContents,
    ToolResultContent,
    ToolUseContent,
)

__all__ = (
    "boolean_properties_as_objects",
    "form_of_2025_06_18",
    "is_json_object",
    "json_text",
    "one_block",
    "text_of",
    "wrap_output_schema",
    "wraps_output",
)

# Keywords whose value is a map from names to schemas, a list of schemas, or one schema (JSON Schema 2020-12, and
# draft-07 where it has others). Values of any other keyword are data, and may look like a schema without being one.
_SCHEMA_MAPS = frozenset(
    {"$defs", "definitions", "dependencies", "properties", "patternProperties", "dependentSchemas"}
)
_SCHEMA_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
_SCHEMAS = frozenset(
    {
        "additionalItems",
        "additionalProperties",
        "contains",
        "contentSchema",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
_DEFINITIONS = ("$defs", "definitions")


def json_text(value: Any) -> TextContent:
    """A text block with this value as JSON."""
    return TextContent(text=msgspec.json.encode(value).decode())


def is_json_object(value: Any) -> bool:
    """Whether this value encodes to a JSON object."""
    if isinstance(value, msgspec.Raw):
        return bytes(value).lstrip()[:1] == b"{"
    if isinstance(value, msgspec.Struct):
        return not value.__struct_config__.array_like
    return isinstance(value, Mapping) or (is_dataclass(value) and not isinstance(value, type))


def text_of(block: object) -> str:
    """What a text block says in place of this one: the gist of it, and the address or size of what is left out."""
    match block:
        case TextContent():
            return block.text
        case ResourceLink():
            name = block.title or block.name
            return f"{name}: {block.uri}" if block.description is None else f"{name}: {block.uri}\n{block.description}"
        case AudioContent() | ImageContent():
            return f"[{block.type}, {block.mime_type}, {len(block.data)} bytes, left out]"
        case EmbeddedResource():
            contents = block.resource
            if isinstance(contents, TextResourceContents):
                return f"{contents.uri}\n{contents.text}"
            return f"[resource {contents.uri}, {len(contents.blob)} bytes, left out]"
        case ToolUseContent():
            return f"[tool call {block.id}: {block.name}({msgspec.json.encode(block.input).decode()})]"
        case ToolResultContent():
            outcome = "error" if block.is_error else "result"
            return "\n".join([f"[tool {outcome} {block.tool_use_id}]", *map(text_of, block.content)])
        case _:
            return f"[{type(block).__name__}, left out]"


def one_block(blocks: list[SamplingMessageContentBlock]) -> SamplingMessageContentBlock:
    """One block for a place that holds only one: the block itself, or the text of all."""
    if len(blocks) == 1:
        return blocks[0]
    return TextContent(text="\n\n".join(map(text_of, blocks)))


def wraps_output(schema: Mapping[str, Any]) -> bool:
    """Whether up to 2025-11-25 a tool with this output schema has schema and value wrapped as `{"result": ...}`."""
    return schema.get("type") != "object"


def wrap_output_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of `{"result": value}` for values of this schema; references in it keep their targets."""
    inner = dict(schema)
    outer: dict[str, Any] = {}
    if "$schema" in inner:
        outer["$schema"] = inner["$schema"]
    if "$id" not in inner:  # With an $id it is a resource of its own, and references are relative to that.
        inner.pop("$schema", None)
        inner = _map_references(inner, _moved_reference)
        for keyword in _DEFINITIONS:
            if keyword in inner:
                outer[keyword] = inner.pop(keyword)
    return {**outer, "type": "object", "properties": {"result": inner}, "required": ["result"]}


def _moved_reference(reference: str) -> str:
    if reference != "#" and (not reference.startswith("#/") or reference.split("/")[1] in _DEFINITIONS):
        return reference
    return "#/properties/result" + reference[1:]


def _map_references(schema: Any, change: Callable[[str], str]) -> Any:
    """A copy of this schema with every `$ref` changed, except below an `$id`, where references mean something else."""
    if not isinstance(schema, dict) or "$id" in schema:
        return schema
    changed: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword == "$ref" and isinstance(value, str):
            changed[keyword] = change(value)
        elif keyword in _SCHEMA_MAPS and isinstance(value, dict):
            changed[keyword] = {name: _map_references(member, change) for name, member in value.items()}
        elif keyword in _SCHEMA_LISTS and isinstance(value, list):
            changed[keyword] = [_map_references(member, change) for member in value]
        elif keyword in _SCHEMAS:
            changed[keyword] = _map_references(value, change)
        else:
            changed[keyword] = value
    return changed


def boolean_properties_as_objects(schema: dict[str, Any]) -> dict[str, Any]:
    """This object schema with `true` and `false` among its properties written as objects, which mean the same."""
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not any(isinstance(member, bool) for member in properties.values()):
        return schema
    objects = {
        name: ({} if member else {"not": {}}) if isinstance(member, bool) else member
        for name, member in properties.items()
    }
    return {**schema, "properties": objects}


def form_of_2025_06_18(schema: dict[str, Any]) -> dict[str, Any]:
    """A requested schema with the keywords of 2025-06-18: defaults only on booleans, titles as `enumNames`.

    Raises LocalProtocolError for a field in which several values can be chosen.
    """
    properties = schema.get("properties", {})
    fields = {name: _form_field(name, field) for name, field in properties.items()}
    return schema if fields == properties else {**schema, "properties": fields}


def _form_field(name: str, field: Any) -> Any:
    if not isinstance(field, dict):
        return field
    kind = field.get("type")
    if kind == "array":
        raise LocalProtocolError(
            f"the form field {name!r} takes several values, which this peer's revision 2025-06-18 has no form for: "
            "ask for one value, or for text"
        )
    changed = {keyword: value for keyword, value in field.items() if keyword != "default" or kind == "boolean"}
    choices = changed.pop("oneOf", None)
    if choices is not None:
        changed["enum"] = [choice["const"] for choice in choices]
        changed["enumNames"] = [choice.get("title", choice["const"]) for choice in choices]
    return changed
