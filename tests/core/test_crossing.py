"""The rules of crossing from one era into the other."""

from typing import Any

import msgspec
import pytest

from mcpcore.crossing import (
    discovery_of,
    honoured_by,
    initialization_of,
    legacy_answer,
    legacy_params,
    legacy_result,
    modern_answer,
    modern_envelope,
    modern_error,
    modern_params,
    modern_result,
    wrapped_tools,
)
from mcpcore.errors import RemoteProtocolError, RequestError
from mcpcore.methods import CACHEABLE, REQUESTS
from mcpcore.revisions import HANDSHAKE_REVISIONS, LATEST_HANDSHAKE, Revision
from mcpcore.types import (
    ClientCapabilities,
    DiscoverResult,
    Implementation,
    InitializeRequestParams,
    InitializeResult,
    ListChangedCapability,
    ResourcesCapability,
    RootsCapability,
    ServerCapabilities,
    SubscriptionFilter,
)

KEY = "io.modelcontextprotocol/"
INFO = {"name": "behind", "version": "1"}


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(value if isinstance(value, bytes) else msgspec.json.encode(value))


def read(payload: msgspec.Raw) -> Any:
    return msgspec.json.decode(payload)


def test_there_and_back_parameters_are_what_they_were() -> None:
    first = InitializeRequestParams(
        protocol_version="2025-06-18",
        capabilities=ClientCapabilities(roots=RootsCapability(list_changed=True)),
        client_info=Implementation(name="c", version="1"),
    )
    envelope = modern_envelope(first)
    assert envelope[f"{KEY}clientCapabilities"] == {"roots": {}}
    for given in (b"", b'{"name": "x"}', b'{"name":"x","_meta":{"progressToken":1}}'):
        crossed = modern_params(raw(given), envelope)
        assert read(crossed)["_meta"][f"{KEY}protocolVersion"] == "2026-07-28"
        assert read(legacy_params(crossed)) == (read(raw(given)) if given else {})


def test_answers_and_state_stay_behind() -> None:
    given = raw({"name": "x", "arguments": {"requestState": 1}, "requestState": "s", "inputResponses": {}})
    assert read(legacy_params(given)) == {"name": "x", "arguments": {"requestState": 1}}


@pytest.mark.parametrize("method", sorted(REQUESTS))
def test_results_get_what_their_method_needs(method: str) -> None:
    result = read(modern_result(method, raw({"a": 1}), INFO))
    assert result["resultType"] == "complete"
    assert ("ttlMs" in result, "cacheScope" in result) == (method in CACHEABLE, method in CACHEABLE)
    kept = read(modern_result(method, raw({"ttlMs": 7, "resultType": "other"}), INFO))
    assert (kept["ttlMs"], kept["resultType"]) == (7, "other")


def test_results_lose_what_their_revision_has_no_word_for() -> None:
    result = {
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
        "tools": [],
        "_meta": {f"{KEY}serverInfo": INFO},
    }
    assert read(legacy_result("tools/list", raw(result), LATEST_HANDSHAKE)) == {"tools": []}


@pytest.mark.parametrize(
    ("value", "wrapped", "seen"),
    [
        ({"a": 1}, False, {"a": 1}),
        ({"a": 1}, True, {"result": {"a": 1}}),
        ([1], False, {"result": [1]}),
        (None, False, {"result": None}),
    ],
)
def test_structured_content(value: Any, wrapped: bool, seen: Any) -> None:
    result = raw({"content": [], "structuredContent": value})
    assert read(legacy_result("tools/call", result, LATEST_HANDSHAKE, wrapped=wrapped))["structuredContent"] == seen


def test_a_result_that_is_none() -> None:
    with pytest.raises(RemoteProtocolError):
        legacy_result("tools/call", raw({"content": 7}), Revision.R2024_11_05)
    with pytest.raises(RemoteProtocolError):
        legacy_result("tools/call", raw([]), LATEST_HANDSHAKE)


def test_boolean_properties_become_objects() -> None:
    tool = {"name": "x", "inputSchema": {"type": "object", "properties": {"a": True}}, "later": 1}
    (seen,) = read(legacy_result("tools/list", raw({"tools": [tool]}), LATEST_HANDSHAKE))["tools"]
    assert seen == {"name": "x", "inputSchema": {"type": "object", "properties": {"a": {}}}, "later": 1}


def test_which_tools_are_wrapped() -> None:
    tools = [
        {"name": "none"},
        {"name": "object", "outputSchema": {"type": "object"}},
        {"name": "list", "outputSchema": {"type": "array"}},
    ]
    assert wrapped_tools(raw({"tools": tools})) == {"list"}
    assert wrapped_tools(raw({})) == frozenset()


@pytest.mark.parametrize(
    ("code", "seen"), [(-32002, -32602), (-32042, -32603), (-32050, -32603), (-32021, -32021), (-32601, -32601), (5, 5)]
)
def test_errors(code: int, seen: int) -> None:
    crossed = modern_error(RequestError(code, "m", [1]))
    assert (crossed.code, crossed.message, crossed.data) == (seen, "m", [1])


def test_answers_to_questions() -> None:
    given = {"action": "accept", "content": {"a": ["x", "y"]}, "_meta": {"b": 1}}
    assert read(modern_answer("elicitation/create", raw(given))) == {"action": "accept", "content": {"a": ["x", "y"]}}
    sampled = {"role": "assistant", "content": {"type": "text", "text": "t"}, "model": "m", "_meta": {"b": 1}}
    assert read(modern_answer("sampling/createMessage", raw(sampled))) == sampled
    kept = legacy_answer("elicitation/create", raw(given), LATEST_HANDSHAKE)
    assert read(kept) == given
    older = legacy_answer("elicitation/create", raw(given), Revision.R2025_06_18)
    assert read(older)["content"] == {"a": "x, y"}
    with pytest.raises(RemoteProtocolError):
        legacy_answer("elicitation/create", raw({"action": "maybe"}), Revision.R2025_06_18)


@pytest.mark.parametrize("requested", [*HANDSHAKE_REVISIONS, "2026-07-28", "1999-01-01"])
def test_handshake_and_discovery_say_the_same(requested: str) -> None:
    capabilities = ServerCapabilities(tools=ListChangedCapability(list_changed=True), logging={})
    initialized = InitializeResult(
        protocol_version="2025-11-25",
        capabilities=capabilities,
        server_info=Implementation(name="behind", version="1"),
        instructions="Mind.",
    )
    discovered = discovery_of(initialized, handshake=False)
    assert discovered.supported_versions == ["2026-07-28"]
    again = initialization_of(discovered, requested)
    expected = requested if requested in HANDSHAKE_REVISIONS else LATEST_HANDSHAKE
    assert again == msgspec.structs.replace(initialized, protocol_version=expected)


def test_a_server_that_does_not_say_who_it_is() -> None:
    discovered = DiscoverResult(supported_versions=[], capabilities=ServerCapabilities(), meta={f"{KEY}serverInfo": 7})
    assert initialization_of(discovered, LATEST_HANDSHAKE).server_info.name == "unnamed"


def test_a_filter_is_cut_down_to_what_is_told() -> None:
    wanted = SubscriptionFilter(
        tools_list_changed=True, prompts_list_changed=True, resources_list_changed=True, resource_subscriptions=["a"]
    )
    assert honoured_by(wanted, ServerCapabilities()) == SubscriptionFilter()
    some = ServerCapabilities(tools=ListChangedCapability(), resources=ResourcesCapability(subscribe=True))
    assert honoured_by(wanted, some) == SubscriptionFilter(resource_subscriptions=["a"])
    lists = ServerCapabilities(prompts=ListChangedCapability(list_changed=True))
    assert honoured_by(wanted, lists) == SubscriptionFilter(prompts_list_changed=True)
