"""What a server offers and answers, as text for people."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from mcpcore.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    Prompt,
    Resource,
    ResourceTemplate,
    TextContent,
    Tool,
)

__all__ = (
    "MAX_DEPTH",
    "MAX_TYPE_CHARACTERS",
    "one_line",
    "pretty_json",
    "prompt_lines",
    "resource_lines",
    "result_text",
    "schema_type",
    "template_lines",
    "tool_lines",
    "visible",
)

MAX_DEPTH = 4
"""Levels of a schema that a type is read from: a reference may lead back to itself, and a line is a line."""

MAX_TYPE_CHARACTERS = 80
"""Of one argument's type: a long enumeration ends in an ellipsis."""

_INDENT = "      "

# A terminal obeys what it is sent, and these texts are a stranger's: no control character but line break and tab.
_HARMLESS = {
    code: "\N{REPLACEMENT CHARACTER}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
}


def visible(text: str) -> str:
    """The text with every character replaced that could command a terminal."""
    return text.translate(_HARMLESS)


def one_line(error: BaseException) -> str:
    """An error as one line. Of a text with several, the first and the last: they say what failed and why."""
    lines = [line.strip() for line in visible(str(error)).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}"


def pretty_json(value: Any) -> str:
    """A JSON value over several lines, in the shape it has on the wire."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def tool_lines(tool: Tool) -> list[str]:
    """A signature of one line, `name(argument*: type, …) -> type`, and the description."""
    properties = tool.input_schema.get("properties")
    required = tool.input_schema.get("required")
    arguments = []
    for name, schema in properties.items() if isinstance(properties, Mapping) else ():
        star = "*" if isinstance(required, list) and name in required else ""
        default = ""
        if isinstance(schema, Mapping) and schema.get("default") is not None:
            default = f" = {_json(schema['default'])}"
        arguments.append(f"{name}{star}: {schema_type(schema, tool.input_schema)}{default}")
    returns = f" -> {_returned(tool.output_schema)}" if tool.output_schema is not None else ""
    return [f"{tool.name}({', '.join(arguments)}){returns}", *_paragraph(tool.description or tool.title)]


def resource_lines(resource: Resource) -> list[str]:
    return [_facts(resource.uri, resource.name, resource.mime_type), *_paragraph(resource.description)]


def template_lines(template: ResourceTemplate) -> list[str]:
    return [_facts(template.uri_template, template.name, template.mime_type), *_paragraph(template.description)]


def prompt_lines(prompt: Prompt) -> list[str]:
    arguments = ", ".join(f"{a.name}{'*' if a.required else ''}" for a in prompt.arguments or ())
    return [f"{prompt.name}({arguments})", *_paragraph(prompt.description or prompt.title)]


def schema_type(schema: Any, root: Any = None, depth: int = MAX_DEPTH) -> str:
    """A JSON Schema as a short type, e.g. `integer`, `array[string]`, `"a" | "b"`; `any` where it says nothing.

    References are looked up in the `$defs` of `root`.
    """
    text = _type(schema, root, depth)
    return text if len(text) <= MAX_TYPE_CHARACTERS else text[: MAX_TYPE_CHARACTERS - 1] + "…"


def result_text(result: CallToolResult) -> str:
    """The text of a result; its structured content when there is none. What is neither is named in brackets."""
    if not any(_has_text(block) for block in result.content) and result.structured_content is not msgspec.UNSET:
        return "\n".join([*map(_block_text, result.content), pretty_json(result.structured_content)])
    return "\n".join(map(_block_text, result.content))


def _type(schema: Any, root: Any, depth: int) -> str:
    if not isinstance(schema, Mapping) or not depth:
        return "any"
    reference = schema.get("$ref")
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        target = _definitions(root).get(name)
        return name if _is_object(target) else _type(target, root, depth - 1)
    for keyword in ("anyOf", "oneOf"):
        if isinstance(options := schema.get(keyword), list):
            return _union(_type(option, root, depth - 1) for option in options)
    if isinstance(options := schema.get("enum"), list):
        return _union(map(_json, options))
    if "const" in schema:
        return _json(schema["const"])
    kind = schema.get("type")
    if isinstance(kind, list):
        return _union(map(str, kind))
    if kind == "array" and "items" in schema:
        return f"array[{_type(schema['items'], root, depth - 1)}]"
    return kind if isinstance(kind, str) else "any"


def _returned(schema: Mapping[str, Any]) -> str:
    """Of a result that was wrapped to be an object, what was wrapped."""
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and list(properties) == ["result"]:
        return schema_type(properties["result"], schema)
    return schema_type(schema, schema)


def _definitions(root: Any) -> Mapping[str, Any]:
    found = root.get("$defs") if isinstance(root, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _is_object(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "object"


def _union(types: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(types)) or "any"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _facts(address: str, name: str, mime_type: str | None) -> str:
    return "  ".join([address, name] if mime_type is None else [address, name, mime_type])


def _paragraph(text: str | None) -> list[str]:
    return [_INDENT + line if line else "" for line in (text or "").strip().splitlines()]


def _has_text(block: ContentBlock) -> bool:
    return isinstance(block, TextContent) or (isinstance(block, EmbeddedResource) and not _is_blob(block))


def _is_blob(block: EmbeddedResource) -> bool:
    return isinstance(block.resource, BlobResourceContents)


def _block_text(block: ContentBlock) -> str:
    if isinstance(block, TextContent):
        return block.text
    if isinstance(block, ImageContent | AudioContent):
        return f"[{block.mime_type}, {len(block.data)} bytes; --json has them]"
    if isinstance(block, EmbeddedResource):
        contents = block.resource
        if isinstance(contents, BlobResourceContents):
            return f"[{contents.uri}, {len(contents.blob)} bytes; --json has them]"
        return contents.text
    return f"[{block.uri}]"
