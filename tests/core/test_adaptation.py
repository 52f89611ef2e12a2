"""What each revision is sent. That it is valid is shown by `test_types`; here, that it says the right thing."""

import json
from typing import Any

import jsonschema
import msgspec
import pytest

from mcpcore import types as mcp
from mcpcore.adaptation import adapt, complete
from mcpcore.errors import LocalProtocolError
from mcpcore.members import MEMBERS
from mcpcore.revisions import HANDSHAKE_REVISIONS, LATEST, REVISIONS, Revision

R24, R25_03, R25_06, R25_11, R26 = REVISIONS
OBJECT = {"type": "object", "properties": {"a": {"type": "integer"}}}
SERVER_INFO = {"name": "s", "version": "1"}


def wire(value: Any) -> Any:
    return json.loads(msgspec.json.encode(value))


def tool(**members: Any) -> mcp.Tool:
    return mcp.Tool(name="t", input_schema={"type": "object"}, **members)


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize(
    "value",
    [
        mcp.CallToolResult(content=[mcp.TextContent(text="a", annotations=mcp.Annotations(priority=1))]),
        mcp.ListToolsResult(tools=[tool(description="d")]),
        mcp.CallToolRequestParams(name="t", meta={"progressToken": 1}),
        mcp.ReadResourceResult(contents=[mcp.BlobResourceContents(uri="x:", blob=b"")]),
        mcp.EmptyResult(),
        mcp.CreateMessageRequestParams(
            messages=[mcp.SamplingMessage(role="user", content=mcp.TextContent(text="a"))], max_tokens=1
        ),
        mcp.InitializeRequestParams(
            protocol_version="x",
            capabilities=mcp.ClientCapabilities(roots=mcp.RootsCapability(), experimental={"a": {}}),
            client_info=mcp.Implementation(name="c", version="1"),
        ),
        None,
        {"resultType": "x"},
        msgspec.Raw(b"{}"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_every_revision_knows_is_not_copied(value: Any, revision: Revision) -> None:
    assert adapt(value, revision) is value


def test_members_exist() -> None:
    assert all(name in kind.__struct_fields__ for kind, name in MEMBERS)


@pytest.mark.parametrize("revision", HANDSHAKE_REVISIONS)
def test_an_empty_result_is_empty(revision: Revision) -> None:
    meta = {mcp.META_SERVER_INFO: SERVER_INFO, mcp.META_SUBSCRIPTION_ID: 1}
    assert wire(complete(mcp.EmptyResult(result_type="complete", meta=meta), revision, server_info=SERVER_INFO)) == {}
    assert wire(adapt(mcp.EmptyResult(meta={}), revision)) == {}
    kept = mcp.ListToolsResult(tools=[], ttl_ms=5, cache_scope="public", meta={**meta, "com.example/a": 1})
    assert wire(adapt(kept, revision)) == {"tools": [], "_meta": {"com.example/a": 1}}


def test_tool_gains_its_members_one_revision_after_another() -> None:
    full = tool(
        title="T",
        output_schema=OBJECT,
        annotations=mcp.ToolAnnotations(read_only_hint=True),
        icons=[mcp.Icon(src="https://x")],
        execution=mcp.ToolExecution(task_support="optional"),
        meta={"a": 1},
    )
    base = {"name", "inputSchema"}
    assert [set(wire(adapt(full, revision))) - base for revision in REVISIONS] == [
        set(),
        {"annotations"},
        {"annotations", "title", "outputSchema", "_meta"},
        {"annotations", "title", "outputSchema", "_meta", "icons", "execution"},
        {"annotations", "title", "outputSchema", "_meta", "icons"},
    ]


def test_nested_members_are_cut_too() -> None:
    value = mcp.CallToolResult(
        content=[mcp.TextContent(text="a", meta={"a": 1}, annotations=mcp.Annotations(last_modified="x", priority=1))]
    )
    assert wire(adapt(value, R25_03)) == {"content": [{"type": "text", "text": "a", "annotations": {"priority": 1}}]}
    assert adapt(value, R25_06) is value


def test_related_task_belongs_to_2025_11_25() -> None:
    params = mcp.CallToolRequestParams(name="t", meta={mcp.META_RELATED_TASK: {"taskId": "x"}})
    assert adapt(params, R25_11) is params
    assert adapt(params, R26).meta is None
    assert adapt(params, R25_06).meta is None


@pytest.mark.parametrize("revision", [R25_06, R25_11])
@pytest.mark.parametrize("value", [None, 1, "a", [1], 1.5, False])
def test_structured_values_are_wrapped_before_2026(value: Any, revision: Revision) -> None:
    result = mcp.CallToolResult(content=[], structured_content=value)
    assert wire(adapt(result, revision)) == {
        "content": [{"type": "text", "text": json.dumps(value)}],
        "structuredContent": {"result": value},
    }
    assert adapt(result, R26) is result


class Point(msgspec.Struct):
    x: int


@pytest.mark.parametrize("value", [{"x": 1}, Point(1), msgspec.Raw(b' {"x":1}')], ids=["dict", "struct", "raw"])
def test_structured_objects_are_not_wrapped(value: Any) -> None:
    result = mcp.CallToolResult(content=[mcp.TextContent(text="said")], structured_content=value)
    assert adapt(result, R25_06) is result
    assert adapt(result, R25_11) is result


@pytest.mark.parametrize("revision", [R24, R25_03])
def test_structured_content_becomes_text_where_there_is_none(revision: Revision) -> None:
    silent = mcp.CallToolResult(content=[], structured_content={"a": [1]})
    assert wire(adapt(silent, revision)) == {"content": [{"type": "text", "text": '{"a":[1]}'}]}
    said = mcp.CallToolResult(content=[mcp.TextContent(text="said")], structured_content=[1])
    assert wire(adapt(said, revision)) == {"content": [{"type": "text", "text": "said"}]}


RECURSIVE: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "anyOf": [
        {"$ref": "#/$defs/Leaf"},
        {"type": "array", "items": {"$ref": "#"}},
        {"type": "object", "properties": {"$ref": {"$ref": "#/anyOf/0"}}, "additionalProperties": False},
        {"const": {"$ref": "#"}},
    ],
    "$defs": {"Leaf": {"type": "integer"}, "Other": {"$ref": "#"}},
}


def valid(value: Any, schema: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


@pytest.mark.parametrize("revision", [R25_06, R25_11])
@pytest.mark.parametrize(
    "value", [1, [1, [2]], "x", ["x"], {"$ref": 3}, {"$ref": "x"}, {"b": 1}, {"$ref": "#"}, [{"$ref": "#"}]]
)
def test_wrapped_schema_accepts_the_wrapped_values(value: Any, revision: Revision) -> None:
    schema = adapt(tool(output_schema=RECURSIVE), revision).output_schema
    assert schema is not None
    assert schema["type"] == "object"
    assert set(schema["$defs"]) == {"Leaf", "Other"}
    assert schema["$schema"] == RECURSIVE["$schema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert valid({"result": value}, schema) == valid(value, RECURSIVE)
    assert not valid({}, schema)


def test_a_schema_with_an_id_keeps_its_references() -> None:
    inner = {"$id": "https://x/y", "$ref": "#/$defs/A", "$defs": {"A": {"type": "integer"}}}
    schema = adapt(tool(output_schema=inner), R25_11).output_schema
    assert schema == {"type": "object", "properties": {"result": inner}, "required": ["result"]}
    assert valid({"result": 1}, schema)
    assert not valid({"result": "1"}, schema)


def test_output_schema_is_whole_in_2026() -> None:
    whole = tool(output_schema=RECURSIVE)
    assert adapt(whole, R26) is whole


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (OBJECT, {"a": 1}),
        ({"anyOf": [OBJECT, {"type": "null"}]}, {"result": {"a": 1}}),
        ({"$ref": "#/$defs/A", "$defs": {"A": OBJECT}}, {"result": {"a": 1}}),
        (None, {"a": 1}),
    ],
)
def test_value_follows_the_schema_of_its_tool(schema: Any, expected: Any) -> None:
    result = mcp.CallToolResult(content=[], structured_content={"a": 1})
    sent = wire(complete(result, R25_11, output_schema=schema))
    assert sent == {"content": [{"type": "text", "text": '{"a":1}'}], "structuredContent": expected}
    if schema is not None:
        assert valid(sent["structuredContent"], adapt(tool(output_schema=schema), R25_11).output_schema)
    assert wire(complete(result, R26, output_schema=schema))["structuredContent"] == {"a": 1}
    assert "structuredContent" not in wire(complete(result, R25_03, output_schema=schema))


@pytest.mark.parametrize("revision", HANDSHAKE_REVISIONS)
def test_boolean_properties_become_objects(revision: Revision) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"any": True, "none": False, "text": {"type": "string"}}}
    sent = adapt(mcp.Tool(name="t", input_schema=schema), revision)
    assert sent.input_schema["properties"] == {"any": {}, "none": {"not": {}}, "text": {"type": "string"}}
    assert schema["properties"]["any"] is True


LINK = mcp.ResourceLink(name="n", title="T", uri="file:///a", description="d", meta={"a": 1})
AUDIO = mcp.AudioContent(data=b"abc", mime_type="audio/wav", annotations=mcp.Annotations(last_modified="x", priority=1))


def kinds(value: Any) -> list[str]:
    return [block.type for block in value.content]


def test_blocks_a_revision_has_not_become_text() -> None:
    result = mcp.CallToolResult(content=[LINK, AUDIO, mcp.ImageContent(data=b"", mime_type="image/png")])
    assert [kinds(adapt(result, revision)) for revision in REVISIONS] == [
        ["text", "text", "image"],
        ["text", "audio", "image"],
        ["resource_link", "audio", "image"],
        ["resource_link", "audio", "image"],
        ["resource_link", "audio", "image"],
    ]
    link, audio, _ = adapt(result, R24).content
    assert link == mcp.TextContent(text="T: file:///a\nd")
    assert audio == mcp.TextContent(
        text="[audio, audio/wav, 3 bytes, left out]", annotations=mcp.Annotations(priority=1)
    )


def test_prompt_messages_are_downgraded_too() -> None:
    prompt = mcp.GetPromptResult(messages=[mcp.PromptMessage(role="user", content=LINK)])
    message = adapt(prompt, R25_03).messages[0]
    assert (message.role, message.content.type) == ("user", "text")


CALL = mcp.ToolUseContent(id="1", name="add", input={"a": 1})
ANSWER = mcp.ToolResultContent(tool_use_id="1", content=[mcp.TextContent(text="2")], structured_content=2)
ASK = mcp.CreateMessageRequestParams(
    messages=[
        mcp.SamplingMessage(role="user", content=[mcp.TextContent(text="sum"), AUDIO], meta={"a": 1}),
        mcp.SamplingMessage(role="assistant", content=[CALL]),
        mcp.SamplingMessage(role="user", content=ANSWER),
    ],
    max_tokens=10,
    tools=[tool()],
    tool_choice=mcp.ToolChoice(mode="auto"),
    task=mcp.TaskMetadata(ttl=1),
    meta={"progressToken": 1},
)


def test_sampling_messages_hold_one_block_before_2025_11_25() -> None:
    sent = adapt(ASK, R25_06)
    assert [(message.role, message.content) for message in sent.messages] == [
        ("user", mcp.TextContent(text="sum")),
        ("user", AUDIO),
        ("assistant", mcp.TextContent(text='[tool call 1: add({"a":1})]')),
        ("user", mcp.TextContent(text="[tool result 1]\n2")),
    ]
    assert (sent.tools, sent.tool_choice, sent.task, sent.meta) == (None, None, None, {"progressToken": 1})
    assert sent.messages[0].meta is None


def test_sampling_in_newer_revisions() -> None:
    sent = adapt(ASK, R25_11)
    assert sent.messages[:2] == ASK.messages[:2]
    assert wire(sent)["messages"][2]["content"]["structuredContent"] == {"result": 2}
    newest = adapt(ASK, R26)
    assert newest.messages is ASK.messages
    assert (newest.task, newest.meta) == (None, None)


def test_sampling_answer_is_one_block_before_2025_11_25() -> None:
    answer = mcp.CreateMessageResult(role="assistant", model="m", content=[mcp.TextContent(text="a"), CALL])
    assert adapt(answer, R25_06).content == mcp.TextContent(text='a\n\n[tool call 1: add({"a":1})]')
    alone = mcp.CreateMessageResult(role="assistant", model="m", content=[AUDIO])
    assert adapt(alone, R25_06).content is AUDIO
    assert adapt(answer, R25_11) is answer


CHOICES = [{"const": "a", "title": "A"}, {"const": "b", "title": "B"}]


def form(**properties: Any) -> mcp.ElicitRequestFormParams:
    schema = {"type": "object", "properties": properties}
    return mcp.ElicitRequestFormParams(message="m", mode="form", requested_schema=schema)


def test_form_of_2025_06_18() -> None:
    sent = adapt(
        form(
            text={"type": "string", "default": "x", "maxLength": 3},
            flag={"type": "boolean", "default": True},
            choice={"type": "string", "oneOf": CHOICES, "default": "b"},
        ),
        R25_06,
    )
    assert sent.mode is None
    assert sent.requested_schema["properties"] == {
        "text": {"type": "string", "maxLength": 3},
        "flag": {"type": "boolean", "default": True},
        "choice": {"type": "string", "enum": ["a", "b"], "enumNames": ["A", "B"]},
    }


def test_form_with_several_choices_is_refused_by_name() -> None:
    several = form(colours={"type": "array", "items": {"enum": ["a"]}})
    with pytest.raises(LocalProtocolError, match="'colours'"):
        adapt(several, R25_06)
    assert adapt(several, R25_11) is several


def test_url_elicitation() -> None:
    page = mcp.ElicitRequestURLParams(message="m", url="https://x", meta={"a": 1})
    with pytest.raises(LocalProtocolError, match="2025-06-18"):
        adapt(page, R25_06)
    first, second = adapt(page, R25_11), adapt(page, R25_11)
    assert first.elicitation_id
    assert first.elicitation_id != second.elicitation_id
    chosen = msgspec.structs.replace(page, elicitation_id="mine")
    assert adapt(chosen, R25_11) is chosen
    assert wire(adapt(chosen, R26)) == {"mode": "url", "message": "m", "url": "https://x"}


def test_answers_are_bare_in_2026() -> None:
    answer = mcp.ElicitResult(action="accept", content={"a": ["x", "y"]}, meta={"a": 1}, result_type="complete")
    bare = {"action": "accept", "content": {"a": ["x", "y"]}}
    assert wire(complete(answer, R26, server_info=SERVER_INFO)) == bare
    assert wire(complete(answer, R25_11)) == {**bare, "_meta": {"a": 1}}
    assert wire(adapt(answer, R25_06))["content"] == {"a": "x, y"}
    kept = mcp.CreateMessageResult(role="user", model="m", content=CALL, meta={"a": 1}, result_type="complete")
    assert set(wire(complete(kept, R26))) == {"role", "model", "content", "_meta"}


def test_embedded_questions_and_answers_are_adapted() -> None:
    page = mcp.ElicitRequestURLParams(message="m", url="https://x", elicitation_id="i")
    asks = mcp.InputRequiredResult(input_requests={"k": mcp.InputRequest(method="elicitation/create", params=page)})
    assert wire(complete(asks, R26)) == {
        "resultType": "input_required",
        "inputRequests": {
            "k": {"method": "elicitation/create", "params": {"mode": "url", "message": "m", "url": "https://x"}}
        },
    }
    answer = mcp.ElicitResult(action="decline", meta={"a": 1})
    retry = mcp.CallToolRequestParams(name="t", input_responses={"k": answer}, request_state="s")
    assert wire(adapt(retry, R26)) == {
        "name": "t",
        "inputResponses": {"k": {"action": "decline"}},
        "requestState": "s",
    }
    assert wire(adapt(retry, R25_11)) == {"name": "t"}


@pytest.mark.parametrize("revision", HANDSHAKE_REVISIONS)
def test_asking_back_is_refused_in_the_handshake_era(revision: Revision) -> None:
    with pytest.raises(LocalProtocolError, match="input_required"):
        complete(mcp.InputRequiredResult(request_state="s"), revision)


@pytest.mark.parametrize(
    ("modes", "expected"),
    [({}, {}), ({"form": {}}, {}), ({"form": {}, "url": {}}, {}), ({"url": {}}, None)],
)
def test_elicitation_capability_means_forms_before_2025_11_25(modes: Any, expected: Any) -> None:
    capabilities = mcp.ClientCapabilities(elicitation=mcp.ElicitationCapability(**modes))
    assert wire(adapt(capabilities, R25_06)).get("elicitation") == expected
    assert wire(adapt(capabilities, R25_11)) == {"elicitation": modes}
    assert wire(adapt(capabilities, R25_03)) == {}


def test_capabilities_of_each_revision() -> None:
    client = mcp.ClientCapabilities(
        roots=mcp.RootsCapability(list_changed=True),
        sampling=mcp.SamplingCapability(tools={}),
        tasks={"list": {}},
        extensions={"io.modelcontextprotocol/tasks": {}, "io.modelcontextprotocol/ui": {}},
    )
    ui: dict[str, Any] = {"io.modelcontextprotocol/ui": {}}
    assert wire(adapt(client, R26)) == {"roots": {}, "sampling": {"tools": {}}, "extensions": client.extensions}
    assert wire(adapt(client, R25_11)) == {
        "roots": {"listChanged": True},
        "sampling": {"tools": {}},
        "tasks": {"list": {}},
        "extensions": ui,
    }
    assert wire(adapt(client, R25_06)) == {"roots": {"listChanged": True}, "sampling": {}, "extensions": ui}
    server = mcp.ServerCapabilities(completions={}, extensions={"io.modelcontextprotocol/tasks": {}})
    assert wire(adapt(server, R25_03)) == {"completions": {}}
    assert wire(adapt(server, R24)) == {}


def test_a_modern_result_is_stamped() -> None:
    sent = complete(mcp.ListToolsResult(tools=[]), LATEST, server_info=SERVER_INFO)
    assert wire(sent) == {
        "tools": [],
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": {mcp.META_SERVER_INFO: SERVER_INFO},
    }
    assert wire(complete(mcp.EmptyResult(), LATEST)) == {"resultType": "complete"}


def test_what_the_handler_set_is_kept() -> None:
    meta = {mcp.META_SERVER_INFO: {"name": "own", "version": "1"}, "com.example/a": 1}
    result = mcp.ReadResourceResult(contents=[], ttl_ms=7, cache_scope="public", result_type="x", meta=meta)
    assert complete(result, LATEST, server_info=SERVER_INFO) is result
    mine = mcp.CallToolResult(content=[], meta={"com.example/a": 1})
    sent = complete(mine, LATEST, server_info=SERVER_INFO)
    assert sent.meta == {"com.example/a": 1, mcp.META_SERVER_INFO: SERVER_INFO}
    assert mine.meta == {"com.example/a": 1}


def test_asking_back_carries_no_cache_hints() -> None:
    sent = complete(mcp.InputRequiredResult(request_state="s"), LATEST, server_info=SERVER_INFO)
    assert wire(sent) == {
        "resultType": "input_required",
        "requestState": "s",
        "_meta": {mcp.META_SERVER_INFO: SERVER_INFO},
    }


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_raw_result_is_left_alone(revision: Revision) -> None:
    raw = msgspec.Raw(b"{}")
    assert complete(raw, revision, server_info=SERVER_INFO) is raw
