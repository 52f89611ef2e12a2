"""What has to change when a payload crosses from one era into the other: rules on raw JSON, without I/O.

A payload whose members both eras share passes with its bytes untouched; only the members that an era lacks, or has a
different form for, are taken out, put in or rewritten. `mcpcore.adaptation` has the forms.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from mcpcore import downgrade
from mcpcore.adaptation import adapt, complete
from mcpcore.eras.handshake import answered_revision
from mcpcore.eras.stateless import allowed_error
from mcpcore.errors import CODE_INVALID_PARAMS, CODE_RESOURCE_NOT_FOUND, RequestError
from mcpcore.methods import CACHEABLE, REQUESTS
from mcpcore.revisions import HANDSHAKE_REVISIONS, LATEST, MODERN_REVISIONS, Revision
from mcpcore.splicing import joined, members_of, with_members, with_meta
from mcpcore.types import (
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_LOG_LEVEL,
    META_PROTOCOL_VERSION,
    META_SERVER_INFO,
    META_SUBSCRIPTION_ID,
    DiscoverResult,
    Implementation,
    InitializeRequestParams,
    InitializeResult,
    Meta,
    ServerCapabilities,
    SubscriptionFilter,
)

__all__ = (
    "discovery_of",
    "honoured_by",
    "initialization_of",
    "legacy_answer",
    "legacy_params",
    "legacy_result",
    "modern_answer",
    "modern_envelope",
    "modern_error",
    "modern_params",
    "modern_result",
    "wrapped_tools",
)

_ENVELOPE = (META_CLIENT_CAPABILITIES, META_CLIENT_INFO, META_LOG_LEVEL, META_PROTOCOL_VERSION)
_OF_RESULTS = (META_SERVER_INFO, META_SUBSCRIPTION_ID)
_ROUND = ("inputResponses", "requestState")
_MODERN_MEMBERS = ("cacheScope", "resultType", "ttlMs")
_NOBODY = Implementation(name="unnamed", version="0")


# ---------------------------------------------------------------------- requests and their answers


def modern_envelope(params: InitializeRequestParams) -> Meta:
    """What each request carries on behalf of a client that has said so once, when it initialized."""
    return {
        META_PROTOCOL_VERSION: str(LATEST),
        META_CLIENT_CAPABILITIES: msgspec.to_builtins(adapt(params.capabilities, LATEST)),
        META_CLIENT_INFO: msgspec.to_builtins(params.client_info),
    }


def modern_params(params: msgspec.Raw, envelope: Meta) -> msgspec.Raw:
    """A legacy request's parameters for a modern server."""
    return with_meta(params, envelope)


def legacy_params(params: msgspec.Raw) -> msgspec.Raw:
    """A modern request's parameters for a legacy server: without envelope, answers and state."""
    plain = with_meta(params, {}, _ENVELOPE)
    raw = bytes(plain)
    return with_members(plain, {}, _ROUND) if any(f'"{name}"'.encode() in raw for name in _ROUND) else plain


def modern_result(method: str, result: msgspec.Raw, server_info: Mapping[str, Any]) -> msgspec.Raw:
    """A legacy server's result for a modern client."""
    members = members_of(result)
    put: dict[str, Any] = {}
    if "resultType" not in members:
        put["resultType"] = "complete"
    if method in CACHEABLE:
        put |= {name: value for name, value in (("ttlMs", 0), ("cacheScope", "private")) if name not in members}
    meta: dict[str, Any] = dict(members_of(members.get("_meta", msgspec.Raw())))
    put["_meta"] = {META_SERVER_INFO: server_info, **meta}
    return joined({**members, **put})


def legacy_result(method: str, result: msgspec.Raw, revision: Revision, *, wrapped: bool = False) -> msgspec.Raw:
    """A modern server's result for a legacy client.

    `wrapped` says that the tool which was called has an output schema that the client sees as `{"result": ...}`.
    Raises `RemoteProtocolError` for a result that has to be read and is none.
    """
    if not revision.at_least(Revision.R2025_06_18):
        # These know fewer kinds of content, at any depth.
        spec = REQUESTS.get(method)
        return result if spec is None else _encoded(complete(spec.decode_result(result), revision))
    members = members_of(result)
    kept: dict[str, Any] = {name: value for name, value in members.items() if name not in _MODERN_MEMBERS}
    if "_meta" in kept:
        meta = {name: value for name, value in members_of(members["_meta"]).items() if name not in _OF_RESULTS}
        if meta:
            kept["_meta"] = meta
        else:
            del kept["_meta"]
    value = kept.get("structuredContent")
    if method == "tools/call" and value is not None and (wrapped or not downgrade.is_json_object(value)):
        kept["structuredContent"] = {"result": value}
    if method == "tools/list" and "tools" in members:
        kept["tools"] = [_legacy_tool(tool) for tool in _list_of(members["tools"])]
    return joined(kept)


def _encoded(result: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(result))


def wrapped_tools(result: msgspec.Raw) -> frozenset[str]:
    """Of a modern tools/list result: the tools whose output a legacy client sees as `{"result": ...}`."""
    found = set()
    for tool in _list_of(members_of(result).get("tools", msgspec.Raw(b"[]"))):
        members = members_of(tool)
        if "outputSchema" in members and downgrade.wraps_output(msgspec.json.decode(members["outputSchema"])):
            found.add(msgspec.json.decode(members["name"]))
    return frozenset(found)


def _legacy_tool(tool: msgspec.Raw) -> msgspec.Raw:
    members = members_of(tool)
    put: dict[str, Any] = {}
    for name in ("inputSchema", "outputSchema"):
        if name not in members:
            continue
        schema = msgspec.json.decode(members[name])
        if not isinstance(schema, dict):
            continue
        changed = downgrade.wrap_output_schema(schema) if name[0] == "o" and downgrade.wraps_output(schema) else schema
        changed = downgrade.boolean_properties_as_objects(changed)
        if changed is not schema:
            put[name] = changed
    return joined({**members, **put}) if put else tool


def _list_of(items: msgspec.Raw) -> list[msgspec.Raw]:
    return msgspec.json.decode(items, type=list[msgspec.Raw])


def modern_error(error: RequestError) -> RequestError:
    """A legacy server's error with a code that a modern client may be sent."""
    if error.code == CODE_RESOURCE_NOT_FOUND:
        return RequestError(CODE_INVALID_PARAMS, error.message, error.data)
    return allowed_error(error)


# ---------------------------------------------------------------------- questions and their answers


def modern_answer(method: str, answer: msgspec.Raw) -> msgspec.Raw:
    """A legacy client's answer to a question, as a modern server finds it in `inputResponses`."""
    return with_members(answer, {}, ("resultType", *(() if method == "sampling/createMessage" else ("_meta",))))


def legacy_answer(method: str, answer: msgspec.Raw, revision: Revision) -> msgspec.Raw:
    """A modern client's entry of `inputResponses`, as a legacy server gets it for the question that it asked.

    Raises `RemoteProtocolError` for what does not answer that question.
    """
    if revision is HANDSHAKE_REVISIONS[-1]:
        return with_members(answer, {}, ("resultType",))
    return _encoded(adapt(REQUESTS[method].decode_result(answer), revision))


# ---------------------------------------------------------------------- handshake and discovery


def discovery_of(initialized: InitializeResult, *, handshake: bool) -> DiscoverResult:
    """What a legacy server said when it was initialized, as the answer to server/discover."""
    return DiscoverResult(
        supported_versions=[*map(str, MODERN_REVISIONS), *(map(str, HANDSHAKE_REVISIONS) if handshake else ())],
        capabilities=adapt(initialized.capabilities, LATEST),
        instructions=initialized.instructions,
        result_type="complete",
        ttl_ms=0,
        cache_scope="private",
        meta={META_SERVER_INFO: msgspec.to_builtins(initialized.server_info)},
    )


def initialization_of(discovered: DiscoverResult, requested: str) -> InitializeResult:
    """What a modern server said about itself, as the answer to an initialize that asks for some revision."""
    revision = answered_revision(requested)
    try:
        info = msgspec.convert((discovered.meta or {}).get(META_SERVER_INFO), Implementation)
    except msgspec.ValidationError:
        info = _NOBODY
    result = InitializeResult(
        protocol_version=revision,
        capabilities=discovered.capabilities,
        server_info=info,
        instructions=discovered.instructions,
    )
    return adapt(result, revision)


def honoured_by(wanted: SubscriptionFilter, offered: ServerCapabilities) -> SubscriptionFilter:
    """The part of a listen's filter that a legacy server tells of."""
    tools, prompts, resources = offered.tools, offered.prompts, offered.resources
    return SubscriptionFilter(
        tools_list_changed=(wanted.tools_list_changed and tools is not None and tools.list_changed) or None,
        prompts_list_changed=(wanted.prompts_list_changed and prompts is not None and prompts.list_changed) or None,
        resources_list_changed=(
            (wanted.resources_list_changed and resources is not None and resources.list_changed) or None
        ),
        resource_subscriptions=(
            wanted.resource_subscriptions if resources is not None and resources.subscribe else None
        ),
    )
