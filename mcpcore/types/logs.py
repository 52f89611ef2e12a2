"""Log messages to the client, with the severities of RFC 5424."""

from typing import Any, Literal, TypeAlias

from mcpcore.types.base import NotificationParams, RequestParams

__all__ = ("LOGGING_LEVELS", "LoggingLevel", "LoggingMessageNotificationParams", "SetLevelRequestParams", "severity")

LoggingLevel: TypeAlias = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]

LOGGING_LEVELS: tuple[LoggingLevel, ...] = (
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
)
_SEVERITY: dict[str, int] = {level: number for number, level in enumerate(LOGGING_LEVELS)}


def severity(level: LoggingLevel) -> int:
    """0 for debug to 7 for emergency: more urgent is greater. Raises KeyError for any other word."""
    return _SEVERITY[level]


class SetLevelRequestParams(RequestParams, frozen=True, kw_only=True):
    """Up to 2025-11-25; later the request's `_meta` carries the level."""

    level: LoggingLevel


class LoggingMessageNotificationParams(NotificationParams, frozen=True, kw_only=True):
    level: LoggingLevel
    data: Any
    """Any JSON value."""

    logger: str | None = None
