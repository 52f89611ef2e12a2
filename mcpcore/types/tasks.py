"""Tasks as an experimental part of 2025-11-25, and of no other revision."""

from typing import Literal, TypeAlias

import msgspec

from mcpcore.types.base import Model, NotificationParams, PaginatedResult, RequestParams, Result
from mcpcore.types.shapes import Number

__all__ = (
    "CancelTaskRequestParams",
    "CancelTaskResult",
    "CreateTaskResult",
    "GetTaskPayloadRequestParams",
    "GetTaskPayloadResult",
    "GetTaskRequestParams",
    "GetTaskResult",
    "ListTasksResult",
    "RelatedTaskMetadata",
    "Task",
    "TaskMetadata",
    "TaskStatus",
    "TaskStatusNotificationParams",
)

TaskStatus: TypeAlias = Literal["working", "input_required", "completed", "failed", "cancelled"]

GetTaskPayloadResult: TypeAlias = msgspec.Raw
"""The result of the request that the task runs: decode it with the method table's row of that request."""


class TaskMetadata(Model, frozen=True, kw_only=True):
    """In the parameters of a request: run it as a task."""

    ttl: Number | None = None
    """Milliseconds the requestor wants the task kept after its creation."""


class RelatedTaskMetadata(Model, frozen=True, kw_only=True):
    """The value of the `_meta` key `META_RELATED_TASK`."""

    task_id: str


class Task(Model, frozen=True, kw_only=True):
    """The state of a task. `GetTaskResult` and `TaskStatusNotificationParams` have the same members."""

    task_id: str
    status: TaskStatus
    created_at: str
    """ISO 8601."""

    last_updated_at: str
    """ISO 8601."""

    ttl: Number | None
    """Milliseconds the task is kept after its creation; None, on the wire null, means without limit."""

    status_message: str | None = None
    poll_interval: Number | None = None
    """Milliseconds the requestor should wait between polls."""


class CreateTaskResult(Result, frozen=True, kw_only=True):
    task: Task


class GetTaskRequestParams(RequestParams, frozen=True, kw_only=True):
    task_id: str


class GetTaskResult(Result, frozen=True, kw_only=True):
    task_id: str
    status: TaskStatus
    created_at: str
    last_updated_at: str
    ttl: Number | None
    status_message: str | None = None
    poll_interval: Number | None = None


class GetTaskPayloadRequestParams(RequestParams, frozen=True, kw_only=True):
    """`tasks/result`."""

    task_id: str


class CancelTaskRequestParams(RequestParams, frozen=True, kw_only=True):
    task_id: str


class CancelTaskResult(GetTaskResult, frozen=True, kw_only=True):
    """The state after the cancellation."""


class ListTasksResult(PaginatedResult, frozen=True, kw_only=True):
    tasks: list[Task]


class TaskStatusNotificationParams(NotificationParams, frozen=True, kw_only=True):
    task_id: str
    status: TaskStatus
    created_at: str
    last_updated_at: str
    ttl: Number | None
    status_message: str | None = None
    poll_interval: Number | None = None
