"""Elicitation: a server asks the user, by a form or by a page to open. 2025-06-18 and later."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from mcpcore.types.base import Model, NotificationParams, RequestParams, Result
from mcpcore.types.shapes import ByShape
from mcpcore.types.tasks import TaskMetadata

__all__ = (
    "ElicitRequestFormParams",
    "ElicitRequestParams",
    "ElicitRequestURLParams",
    "ElicitResult",
    "ElicitationCompleteNotificationParams",
    "ElicitationValue",
    "URLElicitationRequiredErrorData",
)

ElicitationValue: TypeAlias = str | int | float | bool | list[str]
"""What a form field holds; a list from 2025-11-25 on."""


class ElicitRequestFormParams(RequestParams, frozen=True, kw_only=True):
    message: str
    requested_schema: dict[str, Any]
    """A flat JSON Schema object of strings, numbers, booleans and enumerations, kept whole."""

    mode: Literal["form"] | None = None
    """Absent means form; 2025-06-18 has no such member."""

    task: TaskMetadata | None = None
    """2025-11-25 only."""


class ElicitRequestURLParams(RequestParams, frozen=True, kw_only=True, tag_field="mode", tag="url"):
    """2025-11-25 and later."""

    message: str
    url: str
    elicitation_id: str | None = None
    """2025-11-25 only, and required there."""

    task: TaskMetadata | None = None
    """2025-11-25 only."""

    @property
    def mode(self) -> Literal["url"]:
        return "url"


class _ElicitParamsShape(ByShape):
    structs: ClassVar[tuple[type[Model], ...]] = (ElicitRequestFormParams, ElicitRequestURLParams)

    @classmethod
    def pick(cls, members: Mapping[str, Any]) -> type[Model]:
        mode = members.get("mode")
        if mode == "url":
            return ElicitRequestURLParams
        if mode is None or mode == "form":
            return ElicitRequestFormParams
        raise ValueError(f"Unknown elicitation mode {mode!r}, expected `form` or `url`")


for _struct in _ElicitParamsShape.structs:
    _ElicitParamsShape.register(_struct)

if TYPE_CHECKING:
    ElicitRequestParams: TypeAlias = ElicitRequestFormParams | ElicitRequestURLParams
else:
    ElicitRequestParams = _ElicitParamsShape


class ElicitResult(Result, frozen=True, kw_only=True):
    action: Literal["accept", "decline", "cancel"]
    content: dict[str, ElicitationValue] | None = None
    """Only when a form was accepted."""


class ElicitationCompleteNotificationParams(NotificationParams, frozen=True, kw_only=True):
    """2025-11-25 only: what the page was opened for is done."""

    elicitation_id: str


class URLElicitationRequiredErrorData(Model, frozen=True, kw_only=True):
    """`data` of error -32042. 2025-11-25 only."""

    elicitations: list[ElicitRequestURLParams]
