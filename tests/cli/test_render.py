"""cli/render: schemas, results and untrusted text."""

from typing import Any

import msgspec
import pytest

from mcpcore.cli.render import MAX_TYPE_CHARACTERS, result_text, schema_type, tool_lines, visible
from mcpcore.types import (
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
    Tool,
)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string"}, "string"),
        ({"type": "array", "items": {"type": "integer"}}, "array[integer]"),
        ({"type": "array"}, "array"),
        ({"enum": ["a", 1]}, '"a" | 1'),
        ({"const": "x"}, '"x"'),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string | null"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"$ref": "#/$defs/City"}, "City"),
        ({"$ref": "#/$defs/Color"}, '"red"'),
        ({"$ref": "#/$defs/Loop"}, "any"),
        ({}, "any"),
        (True, "any"),
        ({"type": 7}, "any"),
    ],
)
def test_types(schema: Any, text: str) -> None:
    root = {"$defs": {"City": {"type": "object"}, "Color": {"enum": ["red"]}, "Loop": {"$ref": "#/$defs/Loop"}}}
    assert schema_type(schema, root) == text


def test_a_long_type_is_cut() -> None:
    text = schema_type({"enum": [f"choice {n}" for n in range(100)]})
    assert len(text) == MAX_TYPE_CHARACTERS
    assert text.endswith("…")


def test_a_schema_of_a_stranger_is_no_trouble() -> None:
    tool = Tool(name="odd", input_schema={"type": "object", "properties": {"a": 5}, "required": "a"})
    assert tool_lines(tool) == ["odd(a: any)"]
    assert tool_lines(Tool(name="none", input_schema={"type": "object", "properties": []})) == ["none()"]


def test_text_wins_over_structure() -> None:
    result = CallToolResult(content=[TextContent(text="one"), TextContent(text="two")], structured_content={"a": 1})
    assert result_text(result) == "one\ntwo"


def test_structure_without_text_is_laid_out() -> None:
    assert result_text(CallToolResult(content=[], structured_content={"a": [1]})) == '{\n  "a": [\n    1\n  ]\n}'
    assert result_text(CallToolResult(content=[], structured_content=None)) == "null"
    assert result_text(CallToolResult(content=[])) == ""


def test_other_content_is_named() -> None:
    result = CallToolResult(
        content=[
            ImageContent(data=b"123", mime_type="image/png"),
            ResourceLink(uri="file:///a", name="a"),
            EmbeddedResource(resource=TextResourceContents(uri="x:a", text="inside")),
            EmbeddedResource(resource=BlobResourceContents(uri="x:b", blob=b"1")),
        ]
    )
    assert result_text(result).splitlines() == [
        "[image/png, 3 bytes; --json has them]",
        "[file:///a]",
        "inside",
        "[x:b, 1 bytes; --json has them]",
    ]


def test_a_terminal_is_not_commanded() -> None:
    assert visible("a\x1b[2Jb\r\x07\x9b0m\n\tc") == "a�[2Jb���0m\n\tc"
    assert msgspec.json.encode(visible("é…")) == msgspec.json.encode("é…")
