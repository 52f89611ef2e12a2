"""One table: which methods there are, what they carry, who sends them, and in which revisions.

Parameters and results stay raw until somebody knows the method; then they are decoded once, straight into the
struct of the method. Extensions are not in the table.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from mcpcore.errors import CODE_INVALID_PARAMS, RemoteProtocolError
from mcpcore.revisions import Era, Revision
from mcpcore.types.base import (
    CacheableResult,
    EmptyResult,
    Model,
    NotificationParams,
    PaginatedRequestParams,
    RequestParams,
    Result,
)
from mcpcore.types.completion import CompleteRequestParams, CompleteResult
from mcpcore.types.elicitation import ElicitationCompleteNotificationParams, ElicitRequestParams, ElicitResult
from mcpcore.types.input_required import InputRequest, InputRequiredResult
from mcpcore.types.lifecycle import (
    CancelledNotificationParams,
    DiscoverResult,
    InitializeRequestParams,
    InitializeResult,
    ProgressNotificationParams,
)
from mcpcore.types.logs import LoggingMessageNotificationParams, SetLevelRequestParams
from mcpcore.types.prompts import GetPromptRequestParams, GetPromptResult, ListPromptsResult
from mcpcore.types.resources import (
    ListResourcesResult,
    ListResourceTemplatesResult,
    ReadResourceRequestParams,
    ReadResourceResult,
    ResourceUpdatedNotificationParams,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)
from mcpcore.types.roots import ListRootsResult
from mcpcore.types.sampling import CreateMessageRequestParams, CreateMessageResult
from mcpcore.types.shapes import wire_decoder
from mcpcore.types.subscriptions import (
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
)
from mcpcore.types.tasks import (
    CancelTaskRequestParams,
    CancelTaskResult,
    GetTaskPayloadRequestParams,
    GetTaskPayloadResult,
    GetTaskRequestParams,
    GetTaskResult,
    ListTasksResult,
    TaskStatusNotificationParams,
)
from mcpcore.types.tools import CallToolRequestParams, CallToolResult, ListToolsResult

__all__ = ("CACHEABLE", "MULTI_ROUND", "NOTIFICATIONS", "REQUESTS", "Method", "Sender", "decode_input_responses")

Sender: TypeAlias = Literal["client", "server", "both"]

MULTI_ROUND: frozenset[str] = frozenset({"prompts/get", "resources/read", "tools/call"})
"""Requests that 2026-07-28 allows to be answered with `InputRequiredResult`."""

# What a decoder and what is raised below it can raise on bad input: wrong type or broken JSON, invalid UTF-8,
# nesting beyond the interpreter's recursion limit.
_DECODING_ERRORS = (msgspec.MsgspecError, ValueError, RecursionError)

_COMPLETE = (None, "complete")


class _ResultType(Model, frozen=True, kw_only=True):
    result_type: str | None = None


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table."""

    name: str
    params: type[Any]
    result: type[Any] | None = None
    """The struct of a complete result; None for a notification."""

    sent_by: Sender
    first: Revision = Revision.R2024_11_05
    last: Revision = Revision.R2026_07_28
    sent_by_modern: Sender | None = None
    """Who sends it in the modern era, where that differs from `sent_by`."""

    embedded_since: Revision | None = None
    """From this revision on it travels only inside an `InputRequiredResult`, as an `InputRequest`."""

    def known_in(self, revision: Revision, sender: Literal["client", "server"]) -> bool:
        """Whether this peer may send it as a message of its own under this revision."""
        if not (revision.at_least(self.first) and self.last.at_least(revision)):
            return False
        allowed = self.sent_by
        if self.sent_by_modern is not None and revision.era is Era.MODERN:
            allowed = self.sent_by_modern
        return allowed == "both" or allowed == sender

    def embedded_in(self, revision: Revision) -> bool:
        """Whether it travels as an `InputRequest` under this revision."""
        return self.embedded_since is not None and revision.at_least(self.embedded_since)

    def decode_params(self, raw: Any) -> Any:
        """The parameter struct from JSON (bytes or `msgspec.Raw`), a dict, or that struct, which comes back as it is.

        Empty input, null and None mean that there are no parameters. Raises RemoteProtocolError (-32602) that names
        the member when the input is wrong, invalid UTF-8 and too deep nesting included.
        """
        if isinstance(raw, self.params):
            return raw
        try:
            return wire_decoder(self.params).decode(_as_json(raw))
        except _DECODING_ERRORS as error:
            if _is_absent(raw):
                try:
                    return self.params()
                except TypeError:
                    text = f"{self.name}: the parameters are missing"
            else:
                text = f"{self.name}: invalid parameters: {_reason(error)}"
            raise RemoteProtocolError(text, code=CODE_INVALID_PARAMS) from error

    def decode_result(self, raw: Any) -> Any:
        """The result struct from JSON (bytes or `msgspec.Raw`), a dict, or a struct, which comes back as it is.

        The methods in `MULTI_ROUND` may yield an `InputRequiredResult` instead, with its questions decoded.
        Raises RemoteProtocolError when the peer's answer is invalid or has a `resultType` that is not known here.
        """
        kind = self.result
        if kind is None:
            raise TypeError(f"{self.name} is a notification: it has no result")
        if isinstance(raw, kind) or (isinstance(raw, InputRequiredResult) and self.name in MULTI_ROUND):
            return raw
        try:
            json = _as_json(raw)
            result = wire_decoder(kind).decode(json)
        except _DECODING_ERRORS as error:
            # What is no complete result may be a valid one of another type.
            other = self._decode_other(raw, _peek_result_type(raw))
            if other is None:
                raise self._invalid_result(_reason(error)) from error
            return other
        result_type = getattr(result, "result_type", None)
        if result_type in _COMPLETE:
            return result
        return self._decode_other(json, result_type)

    def _decode_other(self, raw: Any, result_type: str | None) -> InputRequiredResult | None:
        if result_type in _COMPLETE:
            return None
        if result_type != "input_required" or self.name not in MULTI_ROUND:
            raise self._invalid_result(f"resultType {result_type!r} is not allowed here")
        try:
            result = wire_decoder(InputRequiredResult).decode(_as_json(raw))
        except _DECODING_ERRORS as error:
            raise self._invalid_result(_reason(error)) from error
        if not result.input_requests:
            if result.request_state is None:
                raise self._invalid_result("input_required with neither inputRequests nor requestState")
            return result
        questions = {key: self._decode_question(key, request) for key, request in result.input_requests.items()}
        return msgspec.structs.replace(result, input_requests=questions)

    def _decode_question(self, key: str, request: InputRequest) -> InputRequest:
        try:
            params = REQUESTS[request.method].decode_params(request.params)
        except RemoteProtocolError as error:
            raise self._invalid_result(f"inputRequests[{key!r}]: {error}") from error
        return msgspec.structs.replace(request, params=params)

    def _invalid_result(self, reason: str) -> RemoteProtocolError:
        return RemoteProtocolError(f"the peer answered {self.name} with an invalid result: {reason}")


def _as_json(raw: Any) -> Any:
    """JSON as it is; anything built locally (a dict, another struct) goes through the encoder."""
    return raw if isinstance(raw, (msgspec.Raw, bytes, bytearray, memoryview)) else msgspec.json.encode(raw)


def _is_absent(raw: Any) -> bool:
    return bytes(_as_json(raw)).strip() in (b"", b"null")


def _peek_result_type(raw: Any) -> str | None:
    try:
        return wire_decoder(_ResultType).decode(_as_json(raw)).result_type
    except _DECODING_ERRORS:
        return None  # The caller reports what was wrong with the whole.


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not valid UTF-8"
    return str(error)


def decode_input_responses(
    questions: Mapping[str, InputRequest], responses: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The answers of a retry, each decoded into the result struct of its question.

    Answers to keys that were not asked are left out, and so are missing ones. Raises RemoteProtocolError (-32602)
    when an answer is malformed.
    """
    answers: dict[str, Any] = {}
    for key, question in questions.items():
        if responses is None or key not in responses:
            continue
        kind = REQUESTS[question.method].result
        raw = responses[key]
        try:
            answers[key] = raw if isinstance(raw, Result) else wire_decoder(kind or EmptyResult).decode(_as_json(raw))
        except _DECODING_ERRORS as error:
            raise RemoteProtocolError(
                f"inputResponses[{key!r}] is no answer to {question.method}: {_reason(error)}",
                code=CODE_INVALID_PARAMS,
            ) from error
    return answers


_START = Revision.R2024_11_05
_ELICITATION = Revision.R2025_06_18
_LEGACY = Revision.R2025_11_25
_MODERN = Revision.R2026_07_28


def _row(
    name: str, params: Any, result: Any, sent_by: Sender, first: Revision = _START, last: Revision = _MODERN
) -> Method:
    return Method(name=name, params=params, result=result, sent_by=sent_by, first=first, last=last)


def _question(name: str, params: Any, result: Any, first: Revision = _START) -> Method:
    """A question to the client: a request in the legacy era, embedded in a result after it."""
    return msgspec.structs.replace(_row(name, params, result, "server", first, _LEGACY), embedded_since=_MODERN)


_REQUEST_ROWS = (
    _row("initialize", InitializeRequestParams, InitializeResult, "client", last=_LEGACY),
    _row("ping", RequestParams, EmptyResult, "both", last=_LEGACY),
    _row("server/discover", RequestParams, DiscoverResult, "client", first=_MODERN),
    _row("tools/list", PaginatedRequestParams, ListToolsResult, "client"),
    _row("tools/call", CallToolRequestParams, CallToolResult, "client"),
    _row("resources/list", PaginatedRequestParams, ListResourcesResult, "client"),
    _row("resources/templates/list", PaginatedRequestParams, ListResourceTemplatesResult, "client"),
    _row("resources/read", ReadResourceRequestParams, ReadResourceResult, "client"),
    _row("resources/subscribe", SubscribeRequestParams, EmptyResult, "client", last=_LEGACY),
    _row("resources/unsubscribe", UnsubscribeRequestParams, EmptyResult, "client", last=_LEGACY),
    _row("prompts/list", PaginatedRequestParams, ListPromptsResult, "client"),
    _row("prompts/get", GetPromptRequestParams, GetPromptResult, "client"),
    _row("completion/complete", CompleteRequestParams, CompleteResult, "client"),
    _row("logging/setLevel", SetLevelRequestParams, EmptyResult, "client", last=_LEGACY),
    _row("subscriptions/listen", SubscriptionsListenRequestParams, SubscriptionsListenResult, "client", first=_MODERN),
    _question("sampling/createMessage", CreateMessageRequestParams, CreateMessageResult),
    _question("roots/list", RequestParams, ListRootsResult),
    _question("elicitation/create", ElicitRequestParams, ElicitResult, first=_ELICITATION),
    _row("tasks/get", GetTaskRequestParams, GetTaskResult, "both", _LEGACY, _LEGACY),
    _row("tasks/result", GetTaskPayloadRequestParams, GetTaskPayloadResult, "both", _LEGACY, _LEGACY),
    _row("tasks/list", PaginatedRequestParams, ListTasksResult, "both", _LEGACY, _LEGACY),
    _row("tasks/cancel", CancelTaskRequestParams, CancelTaskResult, "both", _LEGACY, _LEGACY),
)

_NOTIFICATION_ROWS = (
    _row("notifications/initialized", NotificationParams, None, "client", last=_LEGACY),
    # A modern server cancels nothing but a listen request of the client.
    _row("notifications/cancelled", CancelledNotificationParams, None, "both"),
    msgspec.structs.replace(
        _row("notifications/progress", ProgressNotificationParams, None, "both"), sent_by_modern="server"
    ),
    _row("notifications/message", LoggingMessageNotificationParams, None, "server"),
    _row("notifications/tools/list_changed", NotificationParams, None, "server"),
    _row("notifications/prompts/list_changed", NotificationParams, None, "server"),
    _row("notifications/resources/list_changed", NotificationParams, None, "server"),
    _row("notifications/resources/updated", ResourceUpdatedNotificationParams, None, "server"),
    _row("notifications/roots/list_changed", NotificationParams, None, "client", last=_LEGACY),
    _row("notifications/elicitation/complete", ElicitationCompleteNotificationParams, None, "server", _LEGACY, _LEGACY),
    _row("notifications/tasks/status", TaskStatusNotificationParams, None, "both", _LEGACY, _LEGACY),
    _row(
        "notifications/subscriptions/acknowledged",
        SubscriptionsAcknowledgedNotificationParams,
        None,
        "server",
        first=_MODERN,
    ),
)

REQUESTS: dict[str, Method] = {method.name: method for method in _REQUEST_ROWS}
NOTIFICATIONS: dict[str, Method] = {method.name: method for method in _NOTIFICATION_ROWS}

CACHEABLE: frozenset[str] = frozenset(
    method.name
    for method in _REQUEST_ROWS
    if method.result is not None and issubclass(method.result, CacheableResult) and method.last.at_least(_MODERN)
)
"""Requests whose 2026-07-28 results carry `ttlMs` and `cacheScope`."""
