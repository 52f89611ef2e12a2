"""cli/arguments: key=value words and the input schema."""

from typing import Any

import pytest

from mcpcore.cli.arguments import arguments_of, takes_text
from mcpcore.cli.usage import WrongUsage

SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "values": {"type": "array", "items": {"type": "integer"}},
        "place": {"$ref": "#/$defs/Place"},
        "level": {"enum": [1, 2]},
        "anything": {},
    },
    "$defs": {"Place": {"type": "object"}},
}


def test_the_schema_decides_what_is_json() -> None:
    words = [
        "text=12",
        "count=12",
        "maybe=null",
        "values=[1, 2]",
        'place={"x": 1}',
        "level=2",
        "anything=12",
        "extra=a=b",
        "empty=",
    ]
    assert arguments_of(words, None, SCHEMA) == {
        "text": "12",
        "count": 12,
        "maybe": "null",
        "values": [1, 2],
        "place": {"x": 1},
        "level": 2,
        "anything": "12",
        "extra": "a=b",
        "empty": "",
    }


def test_words_add_to_the_whole() -> None:
    assert arguments_of(["text=b"], '{"text": "a", "count": 1}', SCHEMA) == {"text": "b", "count": 1}


@pytest.mark.parametrize(
    ("words", "whole", "message"),
    [
        (["text"], None, "'text' is no argument: write key=value"),
        (["=1"], None, "is no argument"),
        (["text=a", "text=b"], None, "text is given twice"),
        (["count=many"], None, "argument count: 'many' is not JSON, and the tool wants integer"),
        (["values=1 2"], None, r"the tool wants array\[integer\]"),
        ([], "[1]", "--args is no JSON object"),
        ([], "{", "--args is no JSON object"),
    ],
)
def test_wrong_words(words: list[str], whole: str | None, message: str) -> None:
    with pytest.raises(WrongUsage, match=message):
        arguments_of(words, whole, SCHEMA)


@pytest.mark.parametrize(
    ("schema", "yes"),
    [
        (True, True),
        ({"type": ["integer", "string"]}, True),
        ({"type": ["integer", "null"]}, False),
        ({"oneOf": [{"type": "integer"}, {"type": "boolean"}]}, False),
        ({"enum": ["a", 1]}, True),
        ({"const": 1}, False),
        ({"$ref": "#/$defs/loop"}, True),
        ({"$ref": "#/$defs/missing"}, True),
    ],
)
def test_takes_text(schema: Any, yes: bool) -> None:
    assert takes_text(schema, {"$defs": {"loop": {"$ref": "#/$defs/loop"}}}) is yes
