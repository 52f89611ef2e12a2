"""Multi round-trip requests: a result that asks back, and the parameters of the retry. 2026-07-28 and later."""

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from mcpcore.types.base import Model, RequestParams, Result

__all__ = ("InputRequest", "InputRequestMethod", "InputRequiredResult", "InputResponseRequestParams")

InputRequestMethod: TypeAlias = Literal["elicitation/create", "roots/list", "sampling/createMessage"]

if TYPE_CHECKING:
    _Raw: TypeAlias = Any
else:
    _Raw = msgspec.Raw


class InputRequest(Model, frozen=True, kw_only=True):
    """One question to the client: a request without id and envelope.

    `params` is the parameter struct of `method`. A decoder leaves it raw; `mcpcore.methods` puts the struct in.
    """

    method: InputRequestMethod
    params: _Raw = msgspec.Raw()


class InputRequiredResult(Result, frozen=True, kw_only=True):
    """The server needs answers before it can complete: at least one of the two members is there."""

    # A factory, because a plain default would be left out when encoding.
    result_type: str | None = msgspec.field(default_factory=lambda: "input_required")
    input_requests: dict[str, InputRequest] | None = None
    """Questions by a key that the server chose; the retry answers under the same keys."""

    request_state: str | None = None
    """Opaque; goes back unchanged with the retry."""


class InputResponseRequestParams(RequestParams, frozen=True, kw_only=True):
    """Parameters of a request that the server may answer with `InputRequiredResult`."""

    input_responses: dict[str, _Raw] | None = None
    """Result structs (raw when decoded) by the key of the question they answer."""

    request_state: str | None = None
