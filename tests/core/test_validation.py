"""Structured results against the schema their server published."""

import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from core.scripted import Frame, Peer, Scripted, stateless

from mcpcore import Client, LocalProtocolError, RemoteProtocolError, Server
from mcpcore.validation import validator_of

OBJECT: Frame = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails a test in which anything was fetched, whatever became of the attempt."""
    attempts: list[Any] = []

    def refuse(*arguments: Any, **options: Any) -> None:
        attempts.append(arguments)
        raise OSError("there is no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    yield
    assert attempts == []


def served(schema: Frame | None, result: Frame) -> Scripted:
    async def answer(peer: Peer, frame: Frame) -> Any:
        if frame["method"] == "tools/list":
            tool: Frame = {"name": "t", "inputSchema": {"type": "object"}}
            return {"tools": [tool if schema is None else {**tool, "outputSchema": schema}]}
        return {"content": [], **result}

    return Scripted(stateless(answer))


@pytest.mark.anyio
async def test_what_the_server_published_is_what_it_must_keep() -> None:
    async with Client(served(OBJECT, {"structuredContent": {"n": "one"}})) as client:
        await client.list_tools()
        with pytest.raises(RemoteProtocolError, match=r"'t'.*\$\.n.*integer"):
            await client.call_tool("t")
    async with Client(served(OBJECT, {})) as client:
        await client.list_tools()
        with pytest.raises(RemoteProtocolError, match="structuredContent"):
            await client.call_tool("t")
    async with Client(served(OBJECT, {"structuredContent": {"n": 1, "more": True}})) as client:
        await client.list_tools()
        assert (await client.call_tool("t")).structured_content == {"n": 1, "more": True}


@pytest.mark.anyio
async def test_what_is_not_checked() -> None:
    wrong = {"structuredContent": {"n": "one"}}
    async with Client(served(OBJECT, wrong)) as client:  # never listed
        assert (await client.call_tool("t")).structured_content == {"n": "one"}
    async with Client(served(OBJECT, {**wrong, "isError": True})) as client:  # a failure is no output
        await client.list_tools()
        assert (await client.call_tool("t")).is_error
    async with Client(served(None, wrong)) as client:  # no schema
        await client.list_tools()
        assert (await client.call_tool("t")).structured_content == {"n": "one"}
    async with Client(served(OBJECT, wrong), validate_output=False) as client:  # not wanted
        await client.list_tools()
        assert (await client.call_tool("t")).structured_content == {"n": "one"}


@pytest.mark.anyio
async def test_a_reference_to_another_document_is_never_followed() -> None:
    schema = {"type": "object", "properties": {"n": {"$ref": "http://schemas.example.com/n.json"}}}
    async with Client(served(schema, {"structuredContent": {"n": 1}})) as client:
        await client.list_tools()
        with pytest.raises(RemoteProtocolError, match="another document"):
            await client.call_tool("t")


@pytest.mark.parametrize(
    "ref", ["http://127.0.0.1:9/x.json", "https://example.com/x", "file:///etc/passwd", "other.json"]
)
def test_no_kind_of_reference_leaves_the_document(ref: str) -> None:
    validate = validator_of("t", {"$ref": ref})
    with pytest.raises(RemoteProtocolError, match="another document"):
        validate({"n": 1})


def test_references_inside_the_document_work() -> None:
    schema = {"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}
    validate = validator_of("t", schema)
    validate(3)
    with pytest.raises(RemoteProtocolError, match="integer"):
        validate("x")


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "array", "prefixItems": [{"type": "string"}], "items": False}, ["x"], ["x", "y"]),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None, 3),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1, "b": 2}, {"a": 1}),
        ({"unevaluatedProperties": False, "properties": {"a": {}}}, {"a": 1}, {"b": 1}),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "type": "integer"}, 3, "x"),
    ],
)
def test_every_keyword_counts(schema: Frame, good: Any, bad: Any) -> None:
    validate = validator_of("t", schema)
    validate(good)
    with pytest.raises(RemoteProtocolError, match="'t'"):
        validate(bad)


@pytest.mark.parametrize("schema", [{"type": "strnig"}, {"required": "n"}, {"properties": 3}])
def test_a_schema_that_is_none_is_the_servers_mistake(schema: Frame) -> None:
    with pytest.raises(RemoteProtocolError, match="not valid"):
        validator_of("t", schema)


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jsonschema", "jsonschema.validators"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("mcpcore.client.available", lambda: False)
    with pytest.raises(LocalProtocolError, match=r"mcpcore\[validation\]"):
        validator_of("t", {})
    with pytest.raises(LocalProtocolError, match=r"mcpcore\[validation\]"):
        Client(Server("x"), validate_output=True)


@pytest.mark.anyio
async def test_without_the_extra_results_pass_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpcore.client.available", lambda: False)
    async with Client(served(OBJECT, {"structuredContent": {"n": "one"}})) as client:
        await client.list_tools()
        assert (await client.call_tool("t")).structured_content == {"n": "one"}


def doubling(levels: int) -> dict[str, Any]:
    """A schema whose size doubles with each level of references."""
    definitions: dict[str, Any] = {"d0": {"type": "object"}}
    for level in range(1, levels):
        twice = {"$ref": f"#/$defs/d{level - 1}"}
        definitions[f"d{level}"] = {"allOf": [twice, twice]}
    return {"type": "object", "$defs": definitions, "$ref": f"#/$defs/d{levels - 1}"}


def test_references_that_multiply_are_refused() -> None:
    validator_of("small", doubling(5))({})
    with pytest.raises(RemoteProtocolError, match="more than 100000 parts"):
        validator_of("t", doubling(40))


def test_a_pattern_of_the_server_is_never_run() -> None:
    schema = {
        "type": "object",
        "properties": {
            "s": {"type": "string", "pattern": "^(a+)+$"},
            "pattern": {"type": "integer"},  # a name, not a keyword
        },
        "patternProperties": {"^(b+)+$": {"type": "integer"}},
        "additionalProperties": {"const": {"pattern": "kept"}},
    }
    validate = validator_of("t", schema)
    validate({"s": "a" * 50 + "!", "pattern": 1, "c": {"pattern": "kept"}})
    with pytest.raises(RemoteProtocolError, match="pattern"):
        validate({"pattern": "one"})
    with pytest.raises(RemoteProtocolError):
        validate({"c": {"pattern": "other"}})


def test_a_recursive_schema_is_followed_as_far_as_the_value_goes() -> None:
    tree = {
        "type": "object",
        "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}},
        "additionalProperties": False,
    }
    validate = validator_of("t", tree)
    validate({"left": {"right": {}}, "right": {"left": {"left": {}}}})
    with pytest.raises(RemoteProtocolError):
        validate({"left": {"right": {"x": 1}}})
