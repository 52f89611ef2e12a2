"""The method table against the published schemas, and what its decoders refuse."""

import json
from typing import Any

import msgspec
import pytest
from core.schemas import definitions

from mcpcore import types as mcp
from mcpcore.errors import CODE_INVALID_PARAMS, RemoteProtocolError
from mcpcore.methods import CACHEABLE, MULTI_ROUND, NOTIFICATIONS, REQUESTS, Method, decode_input_responses
from mcpcore.revisions import REVISIONS, Era, Revision

METHODS = {**REQUESTS, **NOTIFICATIONS}
DEEP = b'{"_meta":{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}}"


def union_methods(revision: Revision, union: str) -> set[str]:
    """The methods of the messages in one of the schema's unions, such as ClientRequest."""
    known = definitions(revision)
    schema = known.get(union, {"anyOf": []})
    members = [known[member["$ref"].split("/")[-1]] for member in schema.get("anyOf", [])] or [schema]
    return {member["properties"]["method"]["const"] for member in members}


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize("sender", ["client", "server"])
@pytest.mark.parametrize("table", [REQUESTS, NOTIFICATIONS], ids=["requests", "notifications"])
def test_table_says_what_the_schema_says(revision: Revision, sender: Any, table: dict[str, Method]) -> None:
    ours = {name for name, method in table.items() if method.known_in(revision, sender)}
    kind = "Request" if table is REQUESTS else "Notification"
    union = f"{sender.capitalize()}{kind}"
    theirs = union_methods(revision, union) if union in definitions(revision) else set()
    assert ours == theirs


@pytest.mark.parametrize("revision", REVISIONS)
def test_only_2026_07_28_embeds(revision: Revision) -> None:
    embedded = {name for name, method in REQUESTS.items() if method.embedded_in(revision)}
    expected = set() if revision.era is Era.LEGACY else union_methods(revision, "InputRequest")
    assert embedded == expected


def test_cacheable_methods_are_those_of_the_schema() -> None:
    known = definitions(Revision.R2026_07_28)
    cacheable = {
        name
        for name, method in REQUESTS.items()
        if method.result is not None and "ttlMs" in known.get(method.result.__name__, {}).get("properties", {})
    }
    assert cacheable == CACHEABLE
    assert len(CACHEABLE) == 6


def test_multi_round_methods_are_those_of_the_schema() -> None:
    known = definitions(Revision.R2026_07_28)
    answered = {
        name.removesuffix("ResultResponse")
        for name, schema in known.items()
        if name.endswith("ResultResponse")
        and {"$ref": "#/$defs/InputRequiredResult"} in schema["properties"]["result"].get("anyOf", [])
    }
    assert answered == {"CallTool", "GetPrompt", "ReadResource"}
    assert {REQUESTS[name].params.__name__.removesuffix("RequestParams") for name in MULTI_ROUND} == answered


def test_rows_are_whole() -> None:
    assert all(method.result is not None for method in REQUESTS.values())
    assert all(method.result is None for method in NOTIFICATIONS.values())
    assert all(name == method.name for name, method in METHODS.items())


@pytest.mark.parametrize("raw", [b"", b"null", b" null ", msgspec.Raw(), msgspec.Raw(b"null"), None])
def test_absent_params(raw: Any) -> None:
    assert REQUESTS["tools/list"].decode_params(raw) == mcp.PaginatedRequestParams()
    with pytest.raises(RemoteProtocolError, match="tools/call: the parameters are missing") as caught:
        REQUESTS["tools/call"].decode_params(raw)
    assert caught.value.reply.code == CODE_INVALID_PARAMS


def test_params_from_json_dict_and_struct_agree() -> None:
    method = REQUESTS["completion/complete"]
    wire = {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "v"}, "unknown": 1}
    decoded = method.decode_params(json.dumps(wire).encode())
    assert decoded == mcp.CompleteRequestParams(
        ref=mcp.PromptReference(name="p"), argument=mcp.CompletionArgument(name="a", value="v")
    )
    assert method.decode_params(wire) == decoded
    assert method.decode_params(msgspec.Raw(json.dumps(wire).encode())) == decoded
    assert method.decode_params(decoded) is decoded


def test_params_of_a_base_class_are_read_as_the_method_has_them() -> None:
    decoded = REQUESTS["tools/list"].decode_params(mcp.RequestParams(meta={"a": 1}))
    assert decoded == mcp.PaginatedRequestParams(meta={"a": 1})


@pytest.mark.parametrize(
    ("name", "raw", "text"),
    [
        ("tools/call", b'{"name":1}', r"tools/call: invalid parameters: .*\$\.name"),
        ("tools/call", b'{"nam":"x"}', "missing required field `name`"),
        ("tools/call", b"[]", "Expected `object`"),
        ("tools/call", b"{", "truncated"),
        ("tools/call", b'{"name":"\xff"}', "not valid UTF-8"),
        ("tools/call", b'{"name":"\\ud800"}', "invalid parameters"),
        ("ping", DEEP, "nested too deeply"),
        ("completion/complete", b'{"ref":{"type":"ref/x"}}', r"\$\.ref\.type"),
        ("logging/setLevel", b'{"level":"loud"}', r"'loud'.*\$\.level"),
        ("elicitation/create", b'{"mode":"page","message":""}', "Unknown elicitation mode 'page'"),
        ("elicitation/create", b'{"mode":"url","message":""}', "`url`"),
        ("elicitation/create", b'{"message":""}', "`requestedSchema`"),
    ],
)
def test_bad_params_are_the_peers_fault(name: str, raw: bytes, text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text) as caught:
        REQUESTS[name].decode_params(raw)
    assert caught.value.reply.code == CODE_INVALID_PARAMS


def test_elicitation_without_mode_is_a_form() -> None:
    decode = REQUESTS["elicitation/create"].decode_params
    form = decode({"message": "m", "requestedSchema": {"type": "object", "properties": {}}})
    assert type(form) is mcp.ElicitRequestFormParams
    assert decode(form) is form
    assert type(decode({"mode": "url", "message": "m", "url": "https://x"})) is mcp.ElicitRequestURLParams


@pytest.mark.parametrize("result_type", [None, "complete"])
def test_complete_result(result_type: str | None) -> None:
    wire = {"content": [{"type": "text", "text": "a"}], "resultType": result_type}
    result = REQUESTS["tools/call"].decode_result(json.dumps(wire).encode())
    assert result == mcp.CallToolResult(content=[mcp.TextContent(text="a")], result_type=result_type)
    assert REQUESTS["tools/call"].decode_result(result) is result


@pytest.mark.parametrize("name", sorted(MULTI_ROUND))
def test_result_that_asks_back(name: str) -> None:
    wire = {
        "resultType": "input_required",
        "inputRequests": {
            "r": {"method": "roots/list"},
            "e": {"method": "elicitation/create", "params": {"message": "m", "requestedSchema": {}}},
        },
        "requestState": "s",
    }
    result = REQUESTS[name].decode_result(json.dumps(wire).encode())
    assert result == mcp.InputRequiredResult(
        input_requests={
            "r": mcp.InputRequest(method="roots/list", params=mcp.RequestParams()),
            "e": mcp.InputRequest(
                method="elicitation/create", params=mcp.ElicitRequestFormParams(message="m", requested_schema={})
            ),
        },
        request_state="s",
    )
    assert REQUESTS[name].decode_result(result) is result


def test_asking_back_wins_over_members_of_a_complete_result() -> None:
    wire = {"content": [], "resultType": "input_required", "requestState": "s"}
    assert isinstance(REQUESTS["tools/call"].decode_result(wire), mcp.InputRequiredResult)


ASKING = {"resultType": "input_required", "requestState": "s"}


@pytest.mark.parametrize(
    ("name", "wire", "text"),
    [
        ("tools/call", {"resultType": "banana", "content": []}, "'banana' is not allowed"),
        ("tools/call", {"resultType": "task", "taskId": "t"}, "'task' is not allowed"),
        ("tools/list", ASKING, "'input_required' is not allowed"),
        ("tools/list", {**ASKING, "tools": []}, "'input_required' is not allowed"),
        ("tools/list", mcp.InputRequiredResult(request_state="s"), "'input_required' is not allowed"),
        ("tools/call", {"resultType": "input_required"}, "neither inputRequests nor requestState"),
        ("tools/call", {"resultType": "input_required", "inputRequests": {}}, "neither"),
        ("tools/call", {**ASKING, "inputRequests": {"k": {"method": "ping"}}}, "'ping'"),
        ("tools/call", {**ASKING, "inputRequests": {"k": {"method": "sampling/createMessage"}}}, r"\['k'\]"),
        ("tools/call", {}, "`content`"),
        ("tools/call", {"content": [{"type": "video"}]}, r"'video'.*\$\.content"),
        ("resources/read", {"contents": [{"uri": "x"}]}, "neither `text` nor `blob`"),
    ],
)
def test_bad_results_are_the_peers_fault(name: str, wire: Any, text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=f"the peer answered {name} with an invalid result: .*{text}"):
        REQUESTS[name].decode_result(wire)


def test_task_payload_stays_raw() -> None:
    raw = REQUESTS["tasks/result"].decode_result(b'{"content":[]}')
    assert REQUESTS["tools/call"].decode_result(raw) == mcp.CallToolResult(content=[])


def test_a_notification_has_no_result() -> None:
    with pytest.raises(TypeError, match="notification"):
        NOTIFICATIONS["notifications/progress"].decode_result(b"{}")


QUESTIONS = {
    "e": mcp.InputRequest(method="elicitation/create"),
    "r": mcp.InputRequest(method="roots/list"),
}


def test_answers_are_read_by_their_question() -> None:
    given = mcp.ListRootsResult(roots=[])
    responses = {"e": msgspec.Raw(b'{"action":"accept","content":{"a":1.5}}'), "r": given, "extra": msgspec.Raw(b"1")}
    answers = decode_input_responses(QUESTIONS, responses)
    assert answers == {"e": mcp.ElicitResult(action="accept", content={"a": 1.5}), "r": given}
    assert answers["r"] is given


@pytest.mark.parametrize("responses", [None, {}])
def test_missing_answers_are_left_out(responses: Any) -> None:
    assert decode_input_responses(QUESTIONS, responses) == {}


def test_malformed_answer() -> None:
    with pytest.raises(RemoteProtocolError, match=r"inputResponses\['e'\].*elicitation/create.*'maybe'") as caught:
        decode_input_responses(QUESTIONS, {"e": {"action": "maybe"}})
    assert caught.value.reply.code == CODE_INVALID_PARAMS
